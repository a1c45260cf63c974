//! What drives each task's circuit, and what follows when it moves.

use super::io::{Chance, Effect};
use super::record::Change;
use super::{Lifecycle, Timer};
use crate::circuit::Transition;
use crate::model::{
    Cause, CircuitPolicy, CircuitReason, CircuitState, EventType, Evidence, EvidenceSource, InstanceId, Now, Sample,
    Source, Uid,
};

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
        self.on_transition(uid, transition, Told::Check { bad_in_a_row: before.consecutive + 1 }, now);
        self.revert(uid, now);
    }

    /// The open span of a circuit is over, or the deadline of its trial.
    pub(super) fn on_circuit_due(&mut self, uid: Uid, now: Now) {
        let chance = self.chance.unit();
        let Some(entry) = self.tasks.get_mut(&uid) else { return };
        let transition = entry.circuit.settle(entry.task.spec.circuit(), chance, now);
        self.log.effects.push(Effect::Counted(uid, entry.circuit.counts()));
        self.on_transition(uid, transition, Told::Time, now);
    }

    /// What was known is to say nothing any more.
    pub(super) fn reset_circuit(&mut self, uid: Uid, cause: Cause, now: Now) {
        let Some(entry) = self.tasks.get_mut(&uid) else { return };
        // Whatever it led from, it is told of as what it is.
        let _transition = entry.circuit.reset(now);
        let counts = entry.circuit.counts();
        self.log.effects.push(Effect::Counted(uid, counts));
        self.tell(uid, EventType::CircuitReset, cause, now);
    }

    /// Each transition is one event, and the active instance is told under what its checks run from here.
    pub(super) fn on_transition(&mut self, uid: Uid, transition: Option<Transition>, told: Told, now: Now) {
        let Some(transition) = transition else { return self.set_circuit_timer(uid) };
        let Some(entry) = self.tasks.get(&uid) else { return };
        let by_callers = entry.circuit.status().trip_source == Some(EvidenceSource::Passive);
        let (kind, words) = words(transition, told, by_callers, entry.task.spec.circuit());
        self.tell(uid, kind, Cause::system("circuit", words), now);
    }

    fn tell(&mut self, uid: Uid, kind: EventType, cause: Cause, now: Now) {
        self.record(uid, cause, Change::Circuit(kind), now);
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

/// What a transition follows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Told {
    Time,
    Check { bad_in_a_row: u32 },
    Call,
}

/// A transition as an event, and in words; of a circuit that callers had opened, or checks.
fn words(
    Transition { from, to, reason }: Transition,
    told: Told,
    by_callers: bool,
    policy: &CircuitPolicy,
) -> (EventType, String) {
    let words = match (from, reason) {
        (_, CircuitReason::Reset) => "it begins anew".to_owned(),
        (CircuitState::Open, _) => "the open span is over; the next checks decide".to_owned(),
        (_, CircuitReason::Recovered) if by_callers => {
            let (checks, calls) = (policy.close_successes(), policy.passive().trial_permits());
            format!("{checks} checks in a row passed, and {calls} trial calls went well")
        }
        (_, CircuitReason::Recovered) => format!("{} checks in a row passed", policy.close_successes()),
        (_, CircuitReason::Waived) => "nothing spoke against it until the deadline of the trial".to_owned(),
        (_, CircuitReason::Inconclusive) => "too few checks had a result until the deadline of the trial".to_owned(),
        (CircuitState::HalfOpen, CircuitReason::Failure) => match told {
            Told::Call => "a trial call failed or was slow".to_owned(),
            Told::Check { .. } | Told::Time => "a check on trial failed or was slow".to_owned(),
        },
        (_, CircuitReason::Failure) => match told {
            Told::Check { bad_in_a_row } => {
                format!("too many checks failed or were slow, the last {bad_in_a_row} in a row")
            }
            Told::Call | Told::Time => "too many calls failed or were slow, as callers report".to_owned(),
        },
    };
    let kind = match (to, reason) {
        (_, CircuitReason::Reset) => EventType::CircuitReset,
        (CircuitState::Open, _) => EventType::CircuitTripped,
        (CircuitState::HalfOpen, _) => EventType::CircuitHalfOpened,
        (CircuitState::Closed, _) => EventType::CircuitRecovered,
    };
    (kind, words)
}
