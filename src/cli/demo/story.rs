//! The story, chapter by chapter. Each waits for the facts that it announces.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::specs::{self, INTERVAL, name};
use super::stage::Stage;
use super::target::{Hit, Target};
use crate::cli::output::clean;
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
        self.drain(shutdown).await
    }

    async fn begin(&mut self) -> Result<(), Failure> {
        let text = format!(
            "\
This process runs a server (gRPC at {}, metrics at {}) and an HTTP
target ({}). A client starts three tasks: `api` asks the target every {}, `port`
connects to it every second, and `mule` is a drill: a task that misbehaves on purpose.",
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
        self.look("api", |task| is_well(task) && results(task) >= 3).await?;
        self.look("port", is_well).await
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
        self.look("port", is_well).await
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
        self.look("api", is_well).await
    }

    async fn swap(&mut self) -> Result<(), Failure> {
        let text = format!(
            "\
`api` gets a new spec while it runs: a check every {} instead of {}, and another value of
the header x-release. The new instance is ready before the old one stops, so no check is missed;
and the target is the same, so the circuit keeps what it knows. The target's own log is the witness.",
            words::rough(INTERVAL / 2),
            words::rough(INTERVAL),
        );
        self.stage.chapter("4  A hot swap", &text).await?;
        let (start, target) = (Instant::now(), self.target);
        let logged = |release: &str, least: usize| of(&target.requests_since(start), release) >= least;
        self.stage.until_logged(|| logged("1", 3)).await?;
        let ends = [Type::SwapCommitted, Type::InstanceEnded];
        self.replace(specs::next_api(target.address()), v1::SwapPhase::Done, &ends).await?;
        self.stage.until_logged(|| logged("2", 6)).await?;
        self.stage.tell("target's log", "api", &witness(&target.requests_since(start)))?;
        self.look("api", |task| task.generation == 2 && is_well(task)).await
    }

    async fn roll_back(&mut self) -> Result<(), Failure> {
        let text = "\
The next spec is no good: its page takes 10 s to answer, and a candidate has 1.5 s to become ready.
The candidate is stopped, the swap is rolled back, and the old instance has never noticed.";
        self.stage.chapter("5  A bad swap, rolled back", text).await?;
        let (start, target) = (Instant::now(), self.target);
        let ends = [Type::SwapRolledBack];
        self.replace(specs::bad_api(target.address()), v1::SwapPhase::RolledBack, &ends).await?;
        self.stage.until_logged(|| of(&target.requests_since(start), "2") > 0).await?;
        self.stage.tell("target's log", "api", &witness(&target.requests_since(start)))?;
        self.look("api", |task| task.generation == 2 && is_well(task)).await
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
        let exit = task.outcome.as_ref().map(|outcome| words::exit(outcome.exit)).unwrap_or_default();
        let shutdown = task.instance.and_then(|instance| words::shutdown(&instance.shutdown?)).unwrap_or_default();
        self.stage.tell("CancelTask", "mule", &format!("{}  {exit}  {shutdown}", words::state(task.state)))?;
        match task.outcome.map(|outcome| outcome.exit()) {
            Some(v1::Exit::Aborted) => Ok(()),
            _ => Err(Failure::Negative("error: mule was not aborted".to_owned())),
        }
    }

    async fn drain(&mut self, shutdown: &CancellationToken) -> Result<(), Failure> {
        let text = "\
The server is told to end, as by SIGTERM. Every task stops by the same two phases, within 10 s, and
every stream delivers its last event before it ends with a status that says why.";
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
        let text = format!("the stream has ended: {} {}", end.code_name(), clean(&end.reason));
        self.stage.tell("WatchTasks", "", &text)?;
        if end.reason == "SERVER_DRAINING" { Ok(()) } else { Err(end.into()) }
    }

    /// Swaps the spec of `api`, and waits for the swap's end: in this phase, and with these events.
    async fn replace(&mut self, spec: v1::TaskSpec, phase: v1::SwapPhase, ends: &[Type]) -> Result<(), Failure> {
        let task = Some(v1::Task { spec: Some(spec), ..v1::Task::default() });
        let request = v1::SwapTaskRequest { name: name("api"), task, wait: true, ..v1::SwapTaskRequest::default() };
        let client = self.stage.client.clone();
        let answer = self.stage.during(client.swap(request)).await??;
        let swap = answer.task.and_then(|task| task.swap).unwrap_or_default();
        let told = format!("{}  {}", words::swap_phase(swap.phase), words::swap(&swap));
        if swap.phase() != phase {
            let wanted = words::swap_phase(phase.into());
            return Err(Failure::Negative(format!("error: the swap should have ended {wanted}, not {told}")));
        }
        for end in ends {
            self.stage.until("api", *end).await?;
        }
        self.stage.tell("SwapTask", "api", &told)
    }

    /// Waits until a task is as wanted, and tells how it is.
    async fn look(&mut self, id: &str, wanted: impl Fn(&v1::Task) -> bool) -> Result<(), Failure> {
        let task = self.stage.look(id, wanted).await?;
        let mut text = format!("{}  generation {}", words::state(task.state), task.generation);
        if let Some(check) = task.live.as_ref().and_then(|live| live.last_check.as_ref()) {
            text += &format!("  check {} {}", words::verdict(check.verdict), check.reason);
            text.truncate(text.trim_end().len());
        }
        if let Some(circuit) = &task.circuit {
            text += &format!("  circuit {}", words::circuit_state(circuit.state));
            text += &Some(format!(", streak {}", circuit.streak)).filter(|_| circuit.streak > 0).unwrap_or_default();
        }
        self.stage.tell("GetTask", id, &text)
    }
}

/// Whether its last check has passed, and its circuit is closed.
fn is_well(task: &v1::Task) -> bool {
    let circuit = task.circuit.as_ref().map(v1::Circuit::state);
    verdict(task) == v1::Verdict::Pass && circuit == Some(v1::CircuitState::Closed)
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
    let counts = ["1", "2", "3"].map(|release| (release, of(hits, release)));
    let told = counts.iter().filter(|(_, count)| *count > 0);
    let told: Vec<_> = told.map(|(release, count)| format!("{count} of release {release}")).collect();
    let gap = hits.windows(2).map(|pair| pair[1].at - pair[0].at).max().unwrap_or(Duration::ZERO);
    format!("requests: {}; longest gap {}", told.join(", "), words::rough(gap))
}
