//! ApplyTasks: the set is taken in and vetted as it comes, the plan answered at the half-close, and then told how far it is.
//!
//! The roll-out runs beside the stream, so that a client that reads slowly holds up nothing; but it ends with the stream, so that a
//! client that has gone begins nothing more.

use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use prost::Message;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Status, Streaming};

use super::batch::wire_status;
use super::error::Error;
use crate::journal::Journal;
use crate::manager::{Handle, Planned};
use crate::model::{self, Actor, Applied, ApplyCounts, ApplyFailure, ApplyOutcome, PlanItem, Refusal};
use crate::pb::parse::{ApplySet, apply_header};
use crate::pb::{render, v1};

/// The items of a frame: with the longest names and a refusal each, it stays well below the 4 MiB that clients take.
const PLAN_ITEMS: usize = 1_000;
/// How often a client hears how far it is.
const PROGRESS: Duration = Duration::from_millis(100);
/// How long a client may be silent before its set is whole: it takes one of the few places there are.
const IDLE: Duration = Duration::from_secs(30);
/// Frames that wait for the client: what is read in bulk shall not wait for a thread each time.
const FRAMES: usize = 4;

/// A call of ApplyTasks.
pub(super) struct Apply {
    pub(super) manager: Handle,
    pub(super) journal: Journal,
    /// Cancelled when the drain has come to the streams.
    pub(super) closing: CancellationToken,
    pub(super) actor: Actor,
    pub(super) requests: Streaming<v1::ApplyTasksRequest>,
}

type Frames = mpsc::Sender<v1::ApplyTasksResponse>;

impl Apply {
    /// What the call is answered with.
    pub(super) fn answers(self) -> impl Stream<Item = Result<v1::ApplyTasksResponse, Status>> + use<> {
        let (frames, receiver) = mpsc::channel(FRAMES);
        let running = AbortOnDropHandle::new(tokio::spawn(self.run(frames)));
        unfold(Some((receiver, running)), |state| async move {
            let (mut receiver, mut running) = state?;
            if let Some(frame) = receiver.recv().await {
                return Some((Ok(frame), Some((receiver, running))));
            }
            match (&mut running).await {
                Ok(Ok(())) => None,
                Ok(Err(status)) => Some((Err(status), None)),
                Err(panic) => Some((Err(Error::Bug(panic.into()).into()), None)),
            }
        })
    }

    async fn run(mut self, frames: Frames) -> Result<(), Status> {
        let planned = self.gather().await?;
        let actor = self.actor.clone();
        let mut parts = planned.items().chunks(PLAN_ITEMS);
        // A plan of nothing is one, too.
        let first = parts.next().unwrap_or_default();
        for part in std::iter::once(first).chain(parts) {
            let plan = part.iter().map(plan_item).collect();
            let frame = v1::ApplyTasksResponse { plan, ..Default::default() };
            if frames.send(frame).await.is_err() {
                // The client has gone.
                return Ok(());
            }
        }
        if planned.is_all() {
            return Ok(());
        }
        let applied = carry_out(planned, &frames, actor).await?;
        let result = Some(self.result(applied));
        // A client that has gone needs none.
        let _ = frames.send(v1::ApplyTasksResponse { result, ..Default::default() }).await;
        Ok(())
    }

    /// Takes the set in, and plans once it is whole.
    async fn gather(&mut self) -> Result<Planned, Status> {
        let v1::ApplyTasksRequest { header, tasks } = self.next().await?.unwrap_or_default();
        let apply = apply_header(header, self.actor.clone()).map_err(Error::from)?;
        let mut gathering = self.manager.gather(apply).map_err(Error::from)?;
        let mut set = ApplySet::new(gathering.owner());
        let (mut bytes, mut tasks) = (0, tasks);
        loop {
            bytes += tasks.iter().map(Message::encoded_len).sum::<usize>();
            if bytes > model::Apply::MOST_BYTES {
                return Err(Error::from(Refusal::SetBytes(model::Apply::MOST_BYTES)).into());
            }
            let (numbers, desired): (Vec<_>, Vec<_>) = set.parse(std::mem::take(&mut tasks)).into_iter().unzip();
            for (n, refusal) in gathering.add(desired).await.map_err(Error::from)? {
                set.refuse(numbers[n], refusal).map_err(Error::from)?;
            }
            let Some(next) = self.next().await? else { break };
            if next.header.is_some() {
                set.another_header();
            }
            tasks = next.tasks;
        }
        set.finish().map_err(Error::from)?;
        Ok(gathering.plan())
    }

    /// The client's next message; `None` once it has closed its side.
    async fn next(&mut self) -> Result<Option<v1::ApplyTasksRequest>, Status> {
        tokio::select! {
            biased;
            () = self.closing.cancelled() => Err(Error::Draining.into()),
            next = timeout(IDLE, self.requests.message()) => match next {
                // What has broken is gRPC's to say.
                Ok(next) => next,
                Err(_) => Err(Error::ApplyIdle(IDLE).into()),
            }
        }
    }

    fn result(&self, applied: Applied) -> v1::ApplyResult {
        let Applied { outcome, counts, failures, failures_omitted, sequence } = applied;
        v1::ApplyResult {
            outcome: render::apply_outcome(outcome).into(),
            counts: Some(render::apply_progress(&counts)),
            failures: failures.into_iter().map(failure).collect(),
            omitted_failures: u32::try_from(failures_omitted).unwrap_or(u32::MAX),
            cursor: self.journal.cursor(sequence),
        }
    }
}

/// What the log says of a whole set, whose events are logged at DEBUG: one line at its end, also where its client has gone in the
/// middle.
struct Account {
    actor: Actor,
    owner: String,
    counts: watch::Receiver<ApplyCounts>,
    end: Option<Result<ApplyOutcome, Refusal>>,
}

impl Drop for Account {
    fn drop(&mut self) {
        let (actor, owner) = (self.actor.clone(), std::mem::take(&mut self.owner));
        let (counts, end) = (*self.counts.borrow(), self.end.take());
        let line = move || {
            let ApplyCounts { created, swapped, cancelled, left, failed, rolled_back, in_flight, waiting } = counts;
            match end {
                Some(Ok(outcome)) if outcome == ApplyOutcome::Succeeded => tracing::info!(
                    %actor, owner, ?outcome, created, swapped, left, cancelled, failed, rolled_back, not_begun = waiting,
                    "a set of tasks was applied"
                ),
                Some(Ok(outcome)) => tracing::warn!(
                    %actor, owner, ?outcome, created, swapped, left, cancelled, failed, rolled_back, not_begun = waiting,
                    "a set of tasks was not applied as a whole"
                ),
                end => {
                    let why = match end {
                        Some(Err(refusal)) => refusal.to_string(),
                        _ => "its client has gone".to_owned(),
                    };
                    tracing::warn!(
                        %actor, owner, why, created, swapped, left, cancelled, failed, rolled_back, under_way = in_flight,
                        not_begun = waiting, "the apply of a set of tasks was cut"
                    );
                }
            }
        };
        // Standard error may be stuck, and then none but the line is to wait for it.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(line)),
            Err(_) => line(),
        }
    }
}

/// Carries the plan out, and tells now and then how far it is; a client that has not read what it was told last is told no more.
async fn carry_out(planned: Planned, frames: &Frames, actor: Actor) -> Result<Applied, Error> {
    let (tell, mut told) = watch::channel(Default::default());
    let mut account = Account { actor, owner: planned.owner().to_owned(), counts: told.clone(), end: None };
    let mut running = std::pin::pin!(planned.run(tell));
    let mut ticks = interval(PROGRESS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first one comes at once, and what is done by the second is told with the result.
    ticks.tick().await;
    loop {
        tokio::select! {
            biased;
            applied = &mut running => {
                let counts = Box::new(*told.borrow_and_update());
                account.end = Some(applied.as_ref().map(|applied| applied.outcome).map_err(Clone::clone));
                return applied.map_err(|refusal| Error::ApplyEnds(refusal, counts));
            }
            _ = ticks.tick() => {}
        }
        if told.has_changed().unwrap_or(false) {
            let progress = Some(render::apply_progress(&told.borrow_and_update()));
            // Full where the client is slow: the next one tells more.
            let _ = frames.try_send(v1::ApplyTasksResponse { progress, ..Default::default() });
        }
    }
}

fn plan_item(item: &PlanItem) -> v1::ApplyPlanItem {
    let refusal = item.action.as_ref().err().map(|refusal| status(refusal.clone().into()));
    v1::ApplyPlanItem { refusal, ..render::plan_item(item) }
}

fn failure(failure: ApplyFailure) -> v1::ApplyFailure {
    let ApplyFailure { name, action, why } = failure;
    v1::ApplyFailure { name: name.to_string(), action: render::action(action).into(), error: Some(status(why.into())) }
}

fn status(error: Error) -> tonic_types::Status {
    wire_status(&error.into())
}
