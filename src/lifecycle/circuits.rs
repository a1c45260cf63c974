//! What drives each task's circuit, and what follows when it moves.

use super::io::{Chance, Effect};
use super::record::Change;
use super::{Lifecycle, Timer};
use crate::circuit::{Sample, Source, Transition};
use crate::model::{Cause, CircuitPolicy, CircuitReason, CircuitState, EventType, Evidence, InstanceId, Now, Uid};

impl<C: Chance> Lifecycle<C> {
    /// The active instance has finished a check. What others find, and what began before they became active, drives nothing; nor does
    /// what is found while the journal takes nothing in.
    pub(super) fn on_evidence(&mut self, id: InstanceId, evidence: Evidence, now: Now) {
        if !self.intake.is_open() {
            return;
        }
        let chance = self.chance.unit();
        let Some((uid, entry)) = self.entry_of(id) else { return };
        if !entry.is_active(id) || !entry.is_ready() || !evidence.regime.counted {
            return;
        }
        let Evidence { regime, verdict, latency } = evidence;
        let sample = Sample { epoch: regime.epoch, verdict, latency, source: Source::Active };
        let before = entry.circuit.counts();
        let (_, transition) = entry.circuit.report(sample, entry.task.spec.circuit(), chance, now);
        if transition.is_some_and(|it| (it.from, it.to) == (CircuitState::Closed, CircuitState::Open)) {
            entry.fails("has tripped its circuit");
        }
        let counts = entry.circuit.counts();
        self.log.effects.push(Effect::Counted(uid, counts));
        self.on_transition(uid, transition, before.consecutive + 1, now);
        self.revert(uid, now);
    }

    /// The open span of a circuit is over, or the deadline of its trial.
    pub(super) fn on_circuit_due(&mut self, uid: Uid, now: Now) {
        let chance = self.chance.unit();
        let Some(entry) = self.tasks.get_mut(&uid) else { return };
        let transition = entry.circuit.settle(entry.task.spec.circuit(), chance, now);
        self.log.effects.push(Effect::Counted(uid, entry.circuit.counts()));
        self.on_transition(uid, transition, 0, now);
    }

    /// What was known is to say nothing any more.
    pub(super) fn reset_circuit(&mut self, uid: Uid, why: &'static str, now: Now) {
        let Some(entry) = self.tasks.get_mut(&uid) else { return };
        // Whatever it led from, it is told of as what it is.
        let _transition = entry.circuit.reset(now);
        let counts = entry.circuit.counts();
        self.log.effects.push(Effect::Counted(uid, counts));
        self.tell(uid, EventType::CircuitReset, why.to_owned(), now);
    }

    /// Each transition is one event, and the active instance is told under what its checks run from here.
    fn on_transition(&mut self, uid: Uid, transition: Option<Transition>, bad_in_a_row: u32, now: Now) {
        let Some(transition) = transition else { return self.set_circuit_timer(uid) };
        let Some(entry) = self.tasks.get(&uid) else { return };
        let (kind, words) = words(transition, bad_in_a_row, entry.task.spec.circuit());
        self.tell(uid, kind, words, now);
    }

    fn tell(&mut self, uid: Uid, kind: EventType, reason: String, now: Now) {
        self.record(uid, Cause::system("circuit", reason), Change::Circuit(kind), now);
        let Some(entry) = self.tasks.get(&uid) else { return };
        if let Some(active) = &entry.active {
            self.log.effects.push(Effect::Regime(active.id, entry.regime()));
        }
    }

    /// Has the circuit's own deadline, if it has one, fire.
    pub(super) fn set_circuit_timer(&mut self, uid: Uid) {
        match self.tasks.get(&uid).and_then(|entry| entry.circuit.next_due()) {
            Some(due) => self.timers.set(Timer::Circuit(uid), due),
            None => self.timers.clear(Timer::Circuit(uid)),
        }
    }
}

/// A transition as an event, and in words.
fn words(
    Transition { from, to, reason }: Transition,
    bad_in_a_row: u32,
    policy: &CircuitPolicy,
) -> (EventType, String) {
    let words = match (from, reason) {
        (_, CircuitReason::Reset) => "it begins anew".to_owned(),
        (CircuitState::Open, _) => "the open span is over; the next checks decide".to_owned(),
        (_, CircuitReason::Recovered) => format!("{} checks in a row passed", policy.close_successes()),
        (_, CircuitReason::Waived) => "nothing spoke against it until the deadline of the trial".to_owned(),
        (_, CircuitReason::Inconclusive) => "too few checks had a result until the deadline of the trial".to_owned(),
        (CircuitState::HalfOpen, CircuitReason::Failure) => "a check on trial failed or was slow".to_owned(),
        (_, CircuitReason::Failure) => format!("too many checks failed or were slow, the last {bad_in_a_row} in a row"),
    };
    let kind = match (to, reason) {
        (_, CircuitReason::Reset) => EventType::CircuitReset,
        (CircuitState::Open, _) => EventType::CircuitTripped,
        (CircuitState::HalfOpen, _) => EventType::CircuitHalfOpened,
        (CircuitState::Closed, _) => EventType::CircuitRecovered,
    };
    (kind, words)
}
