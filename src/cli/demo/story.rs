//! The story, chapter by chapter. Each waits for the facts that it announces.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::specs::{self, INTERVAL, name};
use super::stage::Stage;
use super::target::{Hit, Target};
use crate::cli::output::out;
use crate::cli::{Failure, words};
use crate::pb::v1;
use v1::EventType as Type;

/// What the story is told with.
pub(super) struct Story<'a> {
    pub(super) stage: Stage,
    pub(super) target: &'a Target,
    pub(super) grpc: SocketAddr,
    pub(super) http: SocketAddr,
}

impl Story<'_> {
    /// Tells all of it; ends the server by `shutdown` in the last chapter.
    pub(super) async fn tell(mut self, shutdown: &CancellationToken) -> Result<(), Failure> {
        self.begin().await?;
        self.trip().await?;
        self.recover().await?;
        self.swap().await?;
        self.roll_back().await?;
        self.abort().await?;
        self.drain(shutdown).await?;
        out(SUMMARY)
    }

    async fn begin(&mut self) -> Result<(), Failure> {
        let text = format!(
            "\
This process runs a server (gRPC at {}, metrics at http://{}/metrics) and an
HTTP target at {}. Over gRPC a client starts three tasks: `api` asks the target every
{}, `port` connects to it every second, and `mule` is a drill that never looks at its token.",
            self.grpc,
            self.http,
            self.target.address(),
            words::rough(INTERVAL),
        );
        self.stage.chapter("1  A server, a target, three tasks: the checks pass", &text).await?;
        let target = self.target.address();
        for (id, spec) in [("api", specs::api(target)), ("port", specs::port(target)), ("mule", specs::mule())] {
            let task = v1::Task { spec: Some(spec), ..v1::Task::default() };
            let request =
                v1::StartTaskRequest { task_id: id.to_owned(), task: Some(task), ..v1::StartTaskRequest::default() };
            let client = self.stage.client.clone();
            self.stage.during(client.start(request)).await??;
            self.stage.until(id, Type::InstanceReady).await?;
        }
        let healthy = |task: &v1::Task| verdict(task) == v1::Verdict::Pass && results(task) >= 3;
        self.look("api", healthy).await?;
        self.look("port", |task| verdict(task) == v1::Verdict::Pass).await
    }

    async fn trip(&mut self) -> Result<(), Failure> {
        let text = "\
The target begins to answer 503. After three failures in a row the circuit of `api` opens: whoever
follows the events knows within moments not to send traffic there. The checks go on, and `port`
still passes: the port is open, only the service behind it is not well.";
        self.stage.chapter("2  The target fails: the circuit trips", text).await?;
        self.target.fail(true);
        self.stage.tell("target", "", "answers 503 from now on")?;
        self.stage.until("api", Type::CircuitTripped).await?;
        self.look("api", |task| verdict(task) == v1::Verdict::Fail).await?;
        self.look("port", |task| verdict(task) == v1::Verdict::Pass).await
    }

    async fn recover(&mut self) -> Result<(), Failure> {
        let text = "\
When its time is over the circuit is half-open: the target is on trial. One failure opens it again,
for twice as long. Then the target recovers, and the next trial, three passes in a row, closes it.";
        self.stage.chapter("3  A trial in vain, and one that is passed", text).await?;
        // The pause may have seen more than one trial fail: the next to be seen is one of a target that is well.
        self.stage.until("api", Type::CircuitHalfOpened).await?;
        self.stage.until("api", Type::CircuitTripped).await?;
        self.target.fail(false);
        self.stage.tell("target", "", "answers 200 again")?;
        self.stage.until("api", Type::CircuitHalfOpened).await?;
        self.stage.until("api", Type::CircuitRecovered).await?;
        self.look("api", |task| verdict(task) == v1::Verdict::Pass).await
    }

    async fn swap(&mut self) -> Result<(), Failure> {
        let text = "\
`api` gets a new spec while it runs: twice as many checks, and another value of the header
x-release. The new instance is ready before the old one is stopped, so no check is missed; and since
the target is the same, the circuit keeps what it knows. The target's own log is the witness.";
        self.stage.chapter("4  A hot swap", text).await?;
        let (start, target) = (Instant::now(), self.target);
        let logged = |release: &str, least: usize| of(&target.requests_since(start), release) >= least;
        self.stage.until_logged(|| logged("1", 3)).await?;
        let task = self.replace(specs::next_api(target.address())).await?;
        self.expect_swap(&task, v1::SwapPhase::Done)?;
        self.stage.until("api", Type::SwapCommitted).await?;
        self.stage.until_logged(|| logged("2", 6)).await?;
        self.stage.tell("target's log", "", &witness(&target.requests_since(start)))?;
        self.look("api", |task| task.generation == 2 && verdict(task) == v1::Verdict::Pass).await
    }

    async fn roll_back(&mut self) -> Result<(), Failure> {
        let text = "\
The next spec is no good: its page takes 10 s to answer, and a candidate has 1.5 s to become ready.
The candidate is stopped, the swap is rolled back, and the old instance has never noticed.";
        self.stage.chapter("5  A bad swap, rolled back", text).await?;
        let (start, target) = (Instant::now(), self.target);
        let task = self.replace(specs::bad_api(target.address())).await?;
        self.expect_swap(&task, v1::SwapPhase::RolledBack)?;
        self.stage.until("api", Type::SwapRolledBack).await?;
        self.stage.until_logged(|| of(&target.requests_since(start), "2") > 0).await?;
        self.stage.tell("target's log", "", &witness(&target.requests_since(start)))?;
        self.look("api", |task| task.generation == 2 && task.state() == v1::State::Running).await
    }

    async fn abort(&mut self) -> Result<(), Failure> {
        let text = "\
`mule` is cancelled, and ignores its token. Phase 1 gives it 5 s to return; then, in phase 2, it is
aborted. The answer of CancelTask is no hope but a proven outcome, and operators get alerts.";
        self.stage.chapter("6  A stubborn task, aborted in phase 2", text).await?;
        let request = v1::CancelTaskRequest { name: name("mule"), wait: true, ..v1::CancelTaskRequest::default() };
        let client = self.stage.client.clone();
        let answer = self.stage.during(client.cancel(request)).await??;
        self.stage.until("mule", Type::InstanceAborting).await?;
        self.stage.until("mule", Type::AlertRaised).await?;
        self.stage.until("mule", Type::TaskEnded).await?;
        let task = answer.task.unwrap_or_default();
        let outcome = task.outcome.as_ref().map(words::outcome).unwrap_or_default();
        self.stage.tell("CancelTask", "mule", &format!("{}: {outcome}", words::state(task.state)))?;
        let shutdown = task.instance.and_then(|instance| words::shutdown(&instance.shutdown?)).unwrap_or_default();
        self.stage.tell("CancelTask", "mule", &shutdown)?;
        match task.outcome.map(|outcome| outcome.exit()) {
            Some(v1::Exit::Aborted) => Ok(()),
            _ => Err(Failure::Negative("error: mule was not aborted".to_owned())),
        }
    }

    async fn drain(&mut self, shutdown: &CancellationToken) -> Result<(), Failure> {
        let text = "\
The server is told to end, as by SIGTERM. Every task stops by the same two phases, within 10 s; every
stream delivers its last event, and then ends with a status that says why.";
        self.stage.chapter("7  The drain", text).await?;
        shutdown.cancel();
        self.stage.until("", Type::ServerDraining).await?;
        let end = self.stage.until_ended().await?;
        // They stop side by side: either may be the first.
        for id in ["api", "port"] {
            if !self.stage.has_seen(id, Type::InstanceEnded) {
                return Err(Failure::Negative(format!("error: the stream ended before {id} had")));
            }
        }
        self.stage.tell("WatchTasks", "", &format!("the stream has ended: {} {}", end.code_name(), end.reason))
    }

    /// Swaps the spec of `api`, and waits for the swap's end.
    async fn replace(&mut self, spec: v1::TaskSpec) -> Result<v1::Task, Failure> {
        let task = Some(v1::Task { spec: Some(spec), ..v1::Task::default() });
        let request = v1::SwapTaskRequest { name: name("api"), task, wait: true, ..v1::SwapTaskRequest::default() };
        let client = self.stage.client.clone();
        Ok(self.stage.during(client.swap(request)).await??.task.unwrap_or_default())
    }

    fn expect_swap(&self, task: &v1::Task, phase: v1::SwapPhase) -> Result<(), Failure> {
        let swap = task.swap.clone().unwrap_or_default();
        self.stage.tell("SwapTask", "api", &format!("{}  {}", words::swap_phase(swap.phase), words::swap(&swap)))?;
        if swap.phase() == phase {
            return Ok(());
        }
        Err(Failure::Negative(format!("error: the swap should have ended as {}", words::swap_phase(phase.into()))))
    }

    /// Waits until a task is as wanted, and tells how it is.
    async fn look(&mut self, id: &str, wanted: impl Fn(&v1::Task) -> bool) -> Result<(), Failure> {
        let task = self.stage.look(id, wanted).await?;
        let mut text = format!("{}, generation {}", words::state(task.state), task.generation);
        if let Some(check) = task.live.as_ref().and_then(|live| live.last_check.as_ref()) {
            text += &format!(", last check {}", words::check(check));
        }
        if let Some(circuit) = &task.circuit {
            // Until when it is open, its event has told.
            text += &format!(", circuit {}", words::circuit_state(circuit.state));
        }
        self.stage.tell("GetTask", id, &text)
    }
}

fn verdict(task: &v1::Task) -> v1::Verdict {
    let check = task.live.as_ref().and_then(|live| live.last_check.as_ref());
    check.map_or(v1::Verdict::Unspecified, v1::Check::verdict)
}

/// How many checks the circuit's window holds.
fn results(task: &v1::Task) -> u32 {
    task.live.as_ref().and_then(|live| live.circuit.as_ref()).map_or(0, |circuit| circuit.results)
}

/// How many requests were of that release.
fn of(hits: &[Hit], release: &str) -> usize {
    hits.iter().filter(|hit| hit.release == release).count()
}

/// What the target's log says: how many requests of each release, and the longest time without one.
fn witness(hits: &[Hit]) -> String {
    let releases: Vec<_> = ["1", "2", "3"].iter().map(|release| (release, of(hits, release))).collect();
    let told: Vec<_> = releases.iter().filter(|(_, count)| *count > 0).collect();
    let told: Vec<_> = told.iter().map(|(release, count)| format!("{count} of release {release}")).collect();
    let gap = hits.windows(2).map(|pair| pair[1].at - pair[0].at).max().unwrap_or(Duration::ZERO);
    format!("requests: {}; the longest gap was {}", told.join(", "), words::rough(gap))
}

const SUMMARY: &str = "
That was: checks, a circuit that trips, half-opens and recovers, a hot swap, a roll-back, a proven
abort and a drain, all of it through the public gRPC API. To go on, in two terminals:

  switchyard serve
  switchyard start self --http http://127.0.0.1:6711/healthz --interval 5s --wait

";
