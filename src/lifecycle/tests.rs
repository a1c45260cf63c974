//! The edges that lifecycle.md §2 names, and those beside them, one synchronous test each.

mod admission;
mod alerts;
mod callers;
mod circuits;
mod commands;
mod pauses;
mod relief;
mod restarts;
mod restore;
mod restore_found;
mod shutdown;
mod swap;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::model::*;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Counts up, and always takes the same jitter.
#[derive(Debug, Default)]
pub(super) struct Fixed(u128);

impl Chance for Fixed {
    fn uuid(&mut self) -> Uuid {
        self.0 += 1;
        Uuid::from_u128(self.0)
    }

    fn unit(&mut self) -> f64 {
        0.0
    }
}

/// The machine, its clock, and everything it has said so far.
struct Bench {
    machine: Lifecycle<Fixed>,
    now: Now,
    events: Vec<Event>,
    effects: Vec<Effect>,
}

fn custom() -> SpecDraft {
    let custom = CustomSpec { kind: "test".to_owned(), config: ConfigValue::default() };
    SpecDraft { monitor: Some(MonitorDraft::Custom(custom)), ..SpecDraft::default() }
}

fn tcp() -> SpecDraft {
    let tcp = TcpDraft { address: "127.0.0.1:1".to_owned(), steps: Vec::new() };
    SpecDraft { monitor: Some(MonitorDraft::Tcp(tcp)), ..SpecDraft::default() }
}

fn grace(grace: Duration, abort: Duration) -> SpecDraft {
    let shutdown = ShutdownDraft { grace_timeout: Some(grace), abort_timeout: Some(abort) };
    SpecDraft { shutdown, ..custom() }
}

fn cause() -> Cause {
    Cause { actor: Actor::Anonymous(IpAddr::V4(Ipv4Addr::LOCALHOST)), reason: Reason::default(), request_id: None }
}

fn name() -> TaskName {
    TaskName::parse("namespaces/default/tasks/api").unwrap()
}

fn request(id: u128, body: &[u8]) -> Option<Idempotency> {
    Some(Idempotency::new(Uuid::from_u128(id), body))
}

impl Bench {
    fn new() -> Self {
        let wall = Timestamp::from_nanos(1_700_000_000_000_000_000);
        let now = Now { mono: Mono::from_nanos(1_000_000_000), wall };
        Self {
            machine: Lifecycle::new(Sequence::default(), Limits { max_tasks: 10, max_stuck: 2 }, Fixed::default()),
            now,
            events: vec![],
            effects: vec![],
        }
    }

    /// With one task, started by `draft`.
    fn started(draft: SpecDraft) -> (Self, InstanceId) {
        let mut bench = Self::new();
        bench.start(draft).expect("starts");
        let id = bench.launched();
        (bench, id)
    }

    /// With one ready task.
    fn ready(draft: SpecDraft) -> (Self, InstanceId) {
        let (mut bench, id) = Self::started(draft);
        bench.feed(Input::Ready(id));
        assert_eq!(bench.task().state, State::Running);
        (bench, id)
    }

    fn feed(&mut self, input: Input) -> Vec<Effect> {
        let effects = self.machine.step(input, self.now);
        for effect in &effects {
            if let Effect::Append(event) = effect {
                self.events.push(event.clone());
            }
        }
        self.effects.extend(effects.clone());
        effects
    }

    fn command(&mut self, command: Command) -> Result<Reply, Refusal> {
        let effects = self.feed(Input::Command(command));
        let answer = effects.into_iter().find_map(|effect| match effect {
            Effect::Answer { reply, .. } => Some(reply),
            _ => None,
        });
        answer.expect("every command is answered in its own step")
    }

    /// Has the server drain, and everything stop by `bound`.
    fn drain(&mut self, bound: Mono) -> Vec<Effect> {
        self.feed(Input::Drain { bound, cause: cause() })
    }

    fn start(&mut self, draft: SpecDraft) -> Result<Reply, Refusal> {
        self.command(Command::Start(Box::new(start(draft, None)), target("a")))
    }

    /// Asks for a swap to a spec that watches `watched`.
    fn swap(&mut self, draft: SpecDraft, watched: &str) -> Result<Reply, Refusal> {
        self.command(Command::Swap(Box::new(swap(draft)), target(watched)))
    }

    /// The candidate that the newest swap has had built.
    fn candidate(&self) -> InstanceId {
        let build = self.effects.iter().rev().find_map(|effect| match effect {
            Effect::Build { instance, .. } => Some(*instance),
            _ => None,
        });
        build.expect("a candidate was to be built")
    }

    /// Has the candidate built, and launched where that follows; its name.
    fn built(&mut self) -> InstanceId {
        let id = self.candidate();
        self.feed(Input::Built(id, Ok(())));
        id
    }

    /// Makes a check of the instance, under the regime that it was last given.
    fn check(&mut self, id: InstanceId, verdict: Verdict) {
        let regime = self.regime(id);
        self.feed(Input::CheckBegan(id, self.now.mono));
        let evidence = Evidence { regime, verdict, latency: MS };
        self.feed(Input::CheckEnded(id, self.now.mono, evidence));
    }

    /// The regime that the instance was last given.
    fn regime(&self, id: InstanceId) -> Regime {
        let given = self.effects.iter().rev().find_map(|effect| match effect {
            Effect::Launch(launch) if launch.instance == id => Some(launch.regime),
            Effect::Regime(instance, regime) if *instance == id => Some(*regime),
            Effect::Promote { instance, regime, .. } if *instance == id => Some(*regime),
            _ => None,
        });
        given.expect("it was launched")
    }

    /// What is shown of the circuit's window.
    fn counted(&self) -> WindowCounts {
        let counts = self.effects.iter().rev().find_map(|effect| match effect {
            Effect::Counted(_, counts) => Some(*counts),
            _ => None,
        });
        counts.expect("a check has counted")
    }

    fn phase(&self) -> SwapPhase {
        self.task().swap.as_ref().expect("there was a swap").phase
    }

    fn cancel(&mut self, force: bool) -> Result<Reply, Refusal> {
        let cancel = CancelTask { name: name(), force, etag: None, cause: cause(), idempotency: None };
        self.command(Command::Cancel(cancel))
    }

    fn delete(&mut self) -> Result<Reply, Refusal> {
        self.command(Command::Delete(DeleteTask { name: name(), etag: None, cause: cause(), idempotency: None }))
    }

    fn pass(&mut self, time: Duration) -> Vec<Effect> {
        self.now = Now { mono: self.now.mono + time, wall: self.now.wall + time };
        self.feed(Input::Tick)
    }

    fn end(&mut self, instance: InstanceId, end: RootEnd) {
        self.feed(Input::RootEnded { instance, end, children: false });
    }

    fn task(&self) -> &Task {
        self.events.iter().rev().find_map(|event| event.task.as_deref()).expect("an event about a task")
    }

    fn launched(&self) -> InstanceId {
        let launch = self.effects.iter().rev().find_map(|effect| match effect {
            Effect::Launch(launch) => Some(launch.instance),
            _ => None,
        });
        launch.expect("an instance was launched")
    }

    fn kinds(&self) -> Vec<EventType> {
        self.events.iter().map(|event| event.kind).collect()
    }

    fn count(&self, wanted: fn(&Effect) -> bool) -> usize {
        self.effects.iter().filter(|effect| wanted(effect)).count()
    }

    fn open_alerts(&self) -> Vec<AlertKind> {
        self.task().alerts.iter().map(|alert| alert.kind).collect()
    }

    fn outcome(&self) -> (Exit, Asked) {
        let outcome = self.task().outcome.as_ref().expect("an instance has ended");
        (outcome.exit, outcome.asked)
    }
}

fn evidence() -> Evidence {
    let regime = Regime { epoch: Epoch::new(1), counted: true, trial_interval: None };
    Evidence { regime, verdict: Verdict::Pass, latency: MS }
}

fn target(key: &str) -> Target {
    Target::of("test", key)
}

fn swap(draft: SpecDraft) -> SwapTask {
    let StartTask { name, labels, annotations, spec, validate_only, cause, idempotency } = start(draft, None);
    let (former, strategy, state_policy, preempt, etag) = (None, None, None, false, None);
    SwapTask {
        name,
        labels,
        annotations,
        spec,
        former,
        strategy,
        state_policy,
        preempt,
        validate_only,
        etag,
        cause,
        idempotency,
    }
}

fn start(draft: SpecDraft, idempotency: Option<Idempotency>) -> StartTask {
    let mut violations = Violations::new();
    let spec = TaskSpec::try_new(draft, &mut violations).unwrap_or_else(|| panic!("{violations}"));
    let (labels, annotations) = (Labels::default(), Annotations::default());
    StartTask { name: name(), labels, annotations, spec, validate_only: false, cause: cause(), idempotency }
}
