//! Callers: they ask whether they may call, call, and tell what has come of it; late, twice, or with what they have made up.

use std::time::Duration;

use uuid::Uuid;

use super::super::Call;
use super::Rng;
use super::oracle::Oracle;
use crate::model::*;

/// What calls find for a while, so that circuits open and close.
#[derive(Debug)]
pub(super) struct Callers {
    mood: Verdict,
    lasts: u64,
}

impl Default for Callers {
    fn default() -> Self {
        Self { mood: Verdict::Pass, lasts: 0 }
    }
}

impl Callers {
    pub(super) fn call(&mut self, rng: &mut Rng, oracle: &Oracle) -> Call {
        let name = some_name(rng, oracle);
        let task = oracle.task(&name);
        let on_trial = task.is_some_and(|task| task.circuit.state == CircuitState::HalfOpen);
        // A trial takes a permit for each call.
        if rng.one_in(if on_trial { 2 } else { 5 }) {
            return Call::Acquire(name);
        }
        let outcomes = (0..=rng.below(4)).filter_map(|_| {
            let of_another = rng.one_in(8).then(|| oracle.task(&some_name(rng, oracle))).flatten();
            self.outcome(of_another.or(task)?, rng, oracle)
        });
        match outcomes.collect::<Vec<_>>() {
            outcomes if outcomes.is_empty() => Call::Acquire(name),
            outcomes => Call::Report(outcomes),
        }
    }

    /// With one of the newest permits, used before perhaps; or with the epoch alone that everybody sees.
    fn outcome(&mut self, task: &Task, rng: &mut Rng, oracle: &Oracle) -> Option<CallOutcome> {
        let permits = oracle.permits(task.uid);
        let back = if rng.one_in(3) { rng.below(8) } else { rng.below(2) };
        let newest = permits.iter().rev().nth(usize::try_from(back).expect("small"));
        let (mut epoch, mut lease) = match newest {
            Some(permit) if !rng.one_in(4) => (permit.epoch, permit.lease),
            _ => (task.circuit.epoch, None),
        };
        match rng.below(40) {
            0 => lease = None,
            // None comes to that.
            1 => epoch = Epoch::new(epoch.get() + 1_000_000),
            2 => lease = lease.map(|lease| Lease { number: lease.number + 1, ..lease }),
            _ => {}
        }
        let uid = if rng.one_in(40) { Uid::new(Uuid::from_u128(1)) } else { task.uid };
        let latency = Duration::from_millis(if rng.one_in(8) { 300 } else { 10 });
        let source = Source::Passive { reporter: rng.below(3), lease };
        Some(CallOutcome { uid, sample: Sample { epoch, verdict: self.verdict(rng), latency, source } })
    }

    fn verdict(&mut self, rng: &mut Rng) -> Verdict {
        if self.lasts == 0 {
            self.mood = if rng.one_in(2) { Verdict::Pass } else { Verdict::Fail };
            self.lasts = 4 + rng.below(30);
        }
        self.lasts -= 1;
        if rng.one_in(10) { Verdict::Neutral } else { self.mood }
    }
}

/// Mostly of what is on trial, where anything is: that does not last for long.
fn some_name(rng: &mut Rng, oracle: &Oracle) -> TaskName {
    let any = TaskName::parse(&format!("namespaces/default/tasks/t{}", rng.below(8))).expect("valid");
    let names = oracle.names();
    let on_trial = |name: &&TaskName| {
        oracle.task(name).is_some_and(|task| task.circuit.state == CircuitState::HalfOpen && !task.circuit.suspended)
    };
    match rng.below(8) {
        0 => any,
        1..=4 => names.iter().find(on_trial).cloned().unwrap_or(any),
        _ => {
            let nth = usize::try_from(rng.below(names.len().max(1) as u64)).expect("small");
            names.get(nth).cloned().unwrap_or(any)
        }
    }
}
