//! Tasks that files say: applied as the server begins, and again whenever it is told to, by the way that clients' sets go.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::Error;
use crate::config::Config;
use crate::manager::{Handle, Planned};
use crate::model::{
    Actor, Applied, Apply, ApplyCounts, ApplyFailure, Cause, Desired, Namespace, Reason, Refusal, Rollout,
};
use crate::pb::parse::ApplySet;
use crate::task_files::{Found, gather, told};

/// When to try again what the whole server refused: it may be out of space, or its disk stalled, for a while.
const AGAIN: Duration = Duration::from_secs(10);
/// How many lines of the log one apply may take for what is wrong.
const LINES: usize = 20;

/// Tells a server to read its task files again. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reload(mpsc::Sender<()>);

impl Reload {
    /// Has the files read and applied again, once what is under way has ended. What is wrong with them is logged, and changes nothing.
    pub fn again(&self) {
        // Full where that has been asked for already; closed where the server ends.
        let _ = self.0.try_send(());
    }
}

/// What has tasks be as files say, until it is dropped.
pub(super) struct Following {
    reload: Reload,
    draining: CancellationToken,
    following: AbortOnDropHandle<()>,
}

impl Following {
    pub(super) fn reload(&self) -> Reload {
        self.reload.clone()
    }

    /// Has it begin nothing more; what is under way stops with all else. What it answers with ends once an apply that was cut by that
    /// has been logged.
    pub(super) fn drain(self) -> AbortOnDropHandle<()> {
        self.draining.cancel();
        self.following
    }
}

/// The task files of a server.
pub(super) struct TaskFiles {
    path: Arc<Path>,
    owner: String,
}

/// What the files say, and where.
pub(super) struct Said {
    found: Vec<Found>,
    desired: Vec<Desired>,
}

impl TaskFiles {
    /// Those that the configuration names, if it does.
    fn of(config: &Config) -> Option<Self> {
        Some(Self { path: config.tasks()?.into(), owner: config.tasks_owner().to_owned() })
    }

    /// Reads them; or all that is wrong with them, each with its file and field.
    async fn read(&self) -> Result<Said, Vec<String>> {
        let (path, owner) = (self.path.to_path_buf(), self.owner.clone());
        let read = spawn_blocking(move || {
            let found = gather(&[path], Namespace::default().id(), &owner)?;
            let mut set = ApplySet::new(&owner);
            let desired = set.parse(found.iter().map(|found| found.task.clone()).collect());
            let desired = desired.into_iter().map(|(_, desired)| desired).collect();
            set.finish().map_err(|violations| told(&found, &violations))?;
            Ok(Said { found, desired })
        });
        // A panic there goes on here, as if it had been called.
        read.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    /// Plans what has to be done, where the kinds find the specs good.
    async fn plan(&self, handle: &Handle, said: Said) -> Result<Planned, NotPlanned> {
        let Said { found, desired } = said;
        let actor = Actor::File(self.path.to_string_lossy().into());
        let cause = Cause { actor, reason: Reason::default(), request_id: None };
        let (owner, rollout) = (self.owner.clone(), Rollout::default());
        let mut gathering = handle.gather(Apply { owner, prune: true, rollout, validate_only: false, cause })?;
        let mut set = ApplySet::new(&self.owner);
        for (number, refusal) in gathering.add(desired).await? {
            set.refuse(number, refusal)?;
        }
        set.finish().map_err(|violations| NotPlanned::Invalid(told(&found, &violations)))?;
        Ok(gathering.plan())
    }

    /// Applies what was planned, and again whenever that is asked for; and what was refused for a reason that passes. Until the drain.
    async fn follow(
        self,
        handle: Handle,
        planned: Planned,
        mut asked: mpsc::Receiver<()>,
        draining: CancellationToken,
    ) {
        let mut planned = Ok(planned);
        loop {
            let again = match planned {
                Ok(planned) => self.apply(planned, &draining).await,
                Err(NotPlanned::Refused(refusal)) => self.refused(&refusal),
                Err(NotPlanned::Invalid(problems)) => {
                    self.invalid(&problems);
                    Next::WhenAsked
                }
            };
            let next = draining.run_until_cancelled(self.next(again, &handle, &mut asked)).await;
            let Some(Some(next)) = next else { return };
            planned = next;
        }
    }

    /// Waits until the files are to be read again, and plans what they say then; `None` where they never are.
    async fn next(
        &self,
        again: Next,
        handle: &Handle,
        asked: &mut mpsc::Receiver<()>,
    ) -> Option<Result<Planned, NotPlanned>> {
        match again {
            Next::Never => return None,
            Next::Soon => sleep(AGAIN).await,
            Next::WhenAsked => asked.recv().await?,
        }
        Some(match self.read().await {
            Ok(said) => self.plan(handle, said).await,
            Err(problems) => Err(NotPlanned::Invalid(problems)),
        })
    }

    async fn apply(&self, planned: Planned, draining: &CancellationToken) -> Next {
        let (tell, told) = watch::channel(ApplyCounts::default());
        let applied = draining.run_until_cancelled(planned.run(tell)).await;
        match applied.unwrap_or(Err(Refusal::ServerDraining)) {
            Ok(applied) => {
                self.applied(&applied);
                Next::WhenAsked
            }
            Err(refusal) => {
                self.cut(&refusal, *told.borrow());
                self.refused(&refusal)
            }
        }
    }

    fn applied(&self, applied: &Applied) {
        let Applied { outcome, counts, failures, failures_omitted, sequence: _ } = applied;
        let ApplyCounts { created, swapped, cancelled, left, failed, rolled_back: _, in_flight: _, waiting } = *counts;
        for ApplyFailure { name, action: _, why } in failures.iter().take(LINES) {
            tracing::warn!(task = %name, %why, "a task is not as its file says");
        }
        let untold = failures.len().saturating_sub(LINES) + failures_omitted;
        let path = self.path.display();
        tracing::info!(
            %path, owner = self.owner, ?outcome, created, swapped, left, cancelled, failed, more_failures = untold, not_begun = waiting,
            "the task files were applied"
        );
    }

    /// What was under way goes on, or stops with the server; what comes of it is not known here.
    fn cut(&self, refusal: &Refusal, done: ApplyCounts) {
        let ApplyCounts { created, swapped, cancelled, left, failed, rolled_back, in_flight, waiting } = done;
        let path = self.path.display();
        tracing::warn!(
            %path, owner = self.owner, %refusal, created, swapped, left, cancelled, failed, rolled_back, under_way = in_flight,
            not_begun = waiting, "the apply of the task files was cut"
        );
    }

    fn refused(&self, refusal: &Refusal) -> Next {
        let path = self.path.display();
        if *refusal == Refusal::ServerDraining {
            return Next::Never;
        }
        tracing::warn!(%path, %refusal, again_in = ?AGAIN, "the task files were not applied");
        Next::Soon
    }

    fn invalid(&self, problems: &[String]) {
        let path = self.path.display();
        for problem in problems.iter().take(LINES) {
            tracing::error!(%path, problem, "the task files are invalid: nothing was changed");
        }
        if problems.len() > LINES {
            tracing::error!(%path, problems = problems.len() - LINES, "and there is more that is wrong with them");
        }
    }
}

/// When the files are read next.
enum Next {
    Soon,
    WhenAsked,
    Never,
}

/// Why there is no plan.
#[derive(Debug)]
enum NotPlanned {
    /// What the files say is wrong.
    Invalid(Vec<String>),
    /// Not now.
    Refused(Refusal),
}

impl From<Refusal> for NotPlanned {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// What the files say that the configuration names, if it names any.
pub(super) async fn read(config: &Config) -> Result<Option<(TaskFiles, Said)>, Error> {
    let Some(files) = TaskFiles::of(config) else { return Ok(None) };
    let said = files.read().await.map_err(Error::TaskFiles)?;
    Ok(Some((files, said)))
}

/// Applies what the files say, and goes on with that.
pub(super) async fn follow(said: Option<(TaskFiles, Said)>, handle: &Handle) -> Result<Option<Following>, Error> {
    let Some((files, said)) = said else { return Ok(None) };
    let planned = files.plan(handle, said).await.map_err(|why| match why {
        NotPlanned::Invalid(problems) => Error::TaskFiles(problems),
        NotPlanned::Refused(refusal) => Error::ApplyTaskFiles(refusal),
    })?;
    // One wish is as good as many.
    let (again, asked) = mpsc::channel(1);
    let draining = CancellationToken::new();
    let following = tokio::spawn(files.follow(handle.clone(), planned, asked, draining.clone()));
    Ok(Some(Following { reload: Reload(again), draining, following: AbortOnDropHandle::new(following) }))
}
