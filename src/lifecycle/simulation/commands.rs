//! Random commands; many of them are about what there is.

use std::sync::Arc;

use uuid::Uuid;

use super::super::Command;
use super::Rng;
use super::oracle::Oracle;
use super::world;
use crate::model::*;

/// Requests that clients may send again, at the most.
const MEMORY: u64 = 16;

/// Clients. Some vanish before they have their answer, and ask again later: in a moment, or after days.
#[derive(Debug)]
pub(super) struct Clients {
    sent: Vec<Command>,
    /// They pause and resume all the time.
    restless: bool,
}

impl Clients {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self { sent: Vec::new(), restless: rng.one_in(3) }
    }

    pub(super) fn ask(&mut self, rng: &mut Rng, oracle: &Oracle, now: Now) -> Command {
        let again = usize::try_from(rng.below(3 * MEMORY)).expect("small");
        if let Some(sent) = self.sent.get(again) {
            return sent.clone();
        }
        let command = random(self.restless, rng, oracle, now);
        if command.request().1.is_some() {
            self.sent.push(command.clone());
            let over = self.sent.len().saturating_sub(usize::try_from(MEMORY).expect("small"));
            self.sent.drain(..over);
        }
        command
    }
}

fn random(restless: bool, rng: &mut Rng, oracle: &Oracle, now: Now) -> Command {
    let any = TaskName::parse(&format!("namespaces/default/tasks/t{}", rng.below(8))).expect("valid");
    let name = match rng.below(4) {
        0 => oracle.eventful().first().map_or(any, |most| (*most).clone()),
        1 => pick(rng, &oracle.eventful()).map_or(any, |some| (*some).clone()),
        _ => any,
    };
    let cause = Cause::system("simulation", if rng.one_in(2) { "because" } else { "" });
    let request = rng.below(80);
    // A few ids, so that they come again, with the same request or another.
    let idempotency =
        (request < 20).then(|| Idempotency::new(Uuid::from_u128(request.into()), name.as_str().as_bytes()));
    let seen = oracle.task(&name);
    let etag = rng.one_in(10).then(|| match seen {
        Some(task) if rng.one_in(2) => task.etag(),
        _ => Etag::given("stale"),
    });
    match kind(restless, seen.is_some(), rng) {
        0..=5 => {
            let validate_only = rng.one_in(10);
            let (labels, annotations) = (labels(rng), annotations(rng));
            let spec = world::spec(rng);
            let start = StartTask { name, labels, annotations, spec, validate_only, cause, idempotency };
            Command::Start(Box::new(start), world::target(rng))
        }
        6..=12 => {
            let spec = match seen {
                Some(task) if rng.one_in(5) => Arc::unwrap_or_clone(Arc::clone(&task.spec)),
                _ => world::spec(rng),
            };
            let swap = SwapTask {
                name,
                labels: if rng.one_in(8) { labels(rng) } else { Labels::default() },
                annotations: annotations(rng),
                spec,
                former: None,
                strategy: rng.one_in(4).then(|| SwapStrategy::ALL[usize::from(rng.one_in(2))]),
                state_policy: rng.one_in(3).then(|| StatePolicy::ALL[usize::from(rng.one_in(2))]),
                preempt: rng.one_in(3),
                validate_only: rng.one_in(10),
                etag,
                cause,
                idempotency,
            };
            Command::Swap(Box::new(swap), world::target(rng))
        }
        13..=14 => {
            let etag = etag.or_else(|| rng.one_in(8).then(|| Etag::given("stale")));
            Command::Cancel(CancelTask { name, force: rng.one_in(4), etag, cause, idempotency })
        }
        15 => Command::Delete(DeleteTask { name, etag, cause, idempotency }),
        16..=18 => {
            let expire_time = expiry(rng, seen.map(Arc::as_ref), now);
            Command::Pause(PauseTask { name, expire_time, etag, cause, idempotency })
        }
        19..=20 => Command::Resume(ResumeTask { name, etag, cause, idempotency }),
        21..=23 => {
            let (to_generation, strategy) = (None, None);
            let validate_only = rng.one_in(10);
            let state_policy = rng.one_in(3).then(|| StatePolicy::ALL[usize::from(rng.one_in(2))]);
            let preempt = rng.one_in(3);
            let rollback = RollbackTask {
                name,
                to_generation,
                strategy,
                state_policy,
                preempt,
                validate_only,
                etag,
                cause,
                idempotency,
            };
            back(rollback, seen.map(Arc::as_ref), rng, oracle)
        }
        24..=26 => Command::Run(RunTask { name, etag, cause, idempotency }),
        27..=30 => {
            let lies = seen.and_then(|task| task.circuit.overriding.as_deref());
            let (mode, expire_time) = overriding(rng, lies, now);
            Command::Override(OverrideCircuit { name, mode, expire_time, etag, cause, idempotency })
        }
        _ => Command::ResetCircuit(ResetCircuit { name, etag, cause, idempotency }),
    }
}

/// What an operator lays over a circuit, and until when: something new, what lies there once more, or nothing.
fn overriding(rng: &mut Rng, lies: Option<&CircuitOverride>, now: Now) -> (Option<Override>, Option<Timestamp>) {
    let mode = Override::ALL[usize::try_from(rng.below(3)).expect("small")];
    match rng.below(8) {
        0..=1 => (None, None),
        2 => lies.map_or((None, None), |lies| (Some(lies.mode), lies.expire_time)),
        3 => (Some(mode), None),
        4 => (Some(mode), Some(now.wall.before(rng.millis(10_000)))),
        5 => (Some(mode), Some(now.wall + rng.millis(86_400_000))),
        _ => (Some(mode), Some(now.wall + rng.millis(8_000))),
    }
}

/// A roll-back as the shell has it: with what was found of a generation, some time ago perhaps; or in vain.
fn back(rollback: RollbackTask, seen: Option<&Task>, rng: &mut Rng, oracle: &Oracle) -> Command {
    let found = seen.and_then(|task| Some((task, pick(rng, oracle.generations(task.uid))?)));
    let Some((task, kept)) = found.filter(|(_, kept)| kept.story.was_active()) else {
        let refusal = Refusal::GenerationNotFound { name: rollback.name.clone(), generation: None };
        return Command::Vain(Box::new(rollback), refusal);
    };
    let RollbackTask {
        name,
        to_generation: _,
        strategy,
        state_policy,
        preempt,
        validate_only,
        etag,
        cause,
        idempotency,
    } = rollback;
    let before = match rng.below(6) {
        0 => Some(task.last_generation.next()),
        1..=2 => Some(task.generation),
        _ => None,
    };
    let uid = if rng.one_in(20) { Uid::new(Uuid::from_u128(1)) } else { task.uid };
    let swap = SwapTask {
        name,
        labels: Labels::default(),
        annotations: kept.story.annotations.clone().unwrap_or_default(),
        spec: Arc::unwrap_or_clone(Arc::clone(&kept.spec)),
        former: Some(Former { uid, generation: kept.generation, before }),
        strategy,
        state_policy,
        preempt,
        validate_only,
        etag,
        cause,
        idempotency,
    };
    Command::Swap(Box::new(swap), world::target(rng))
}

/// Which command it is, where the task is known or not.
fn kind(restless: bool, known: bool, rng: &mut Rng) -> u64 {
    match rng.one_in(2) {
        true if !known => 0,
        true if restless => 16 + rng.below(5),
        _ => rng.below(32),
    }
}

fn pick<'a, T>(rng: &mut Rng, from: &'a [T]) -> Option<&'a T> {
    let nth = rng.below(u64::try_from(from.len().max(1)).expect("small"));
    from.get(usize::try_from(nth).expect("small"))
}

/// Never, soon, late, in the past, or as it was.
fn expiry(rng: &mut Rng, seen: Option<&Task>, now: Now) -> Option<Timestamp> {
    match rng.below(8) {
        0..=2 => None,
        3..=4 => Some(now.wall + rng.millis(8_000)),
        5 => Some(now.wall + rng.millis(86_400_000)),
        6 => Some(now.wall.before(rng.millis(10_000))),
        _ => seen.and_then(|task| task.pause.as_ref()).and_then(|pause| pause.expire_time),
    }
}

fn annotations(rng: &mut Rng) -> Annotations {
    let note = rng.one_in(2).then(|| ("note".to_owned(), "b".to_owned()));
    Annotations::try_new(note).expect("valid")
}

fn labels(rng: &mut Rng) -> Labels {
    let team = rng.one_in(2).then(|| ("team".to_owned(), "pay".to_owned()));
    Labels::try_new(team).expect("valid")
}
