//! What callers ask of a task's circuit and tell it, and what operators decide over it. A call is gated by nobody here: callers ask,
//! and act on the answer.

use std::collections::BTreeSet;

use super::circuits::Told;
use super::io::{Call, Chance, Effect, Reply};
use super::record::Change;
use super::{Lifecycle, Timer};
use crate::model::{
    CallOutcome, Cause, CircuitOverride, Disposition, EventType, Now, OverrideCircuit, Permission, Permit, Refusal,
    ResetCircuit, Sequence, TaskName, Uid, Violations,
};

impl<C: Chance> Lifecycle<C> {
    /// Answers a caller. While the journal takes nothing in no circuit is stepped, so nobody is answered then.
    pub(super) fn on_call(&mut self, call: Call, now: Now) {
        let (reply, after) = match self.admit_new() {
            Err(refusal) => (Err(refusal), Sequence::default()),
            Ok(()) => match call {
                Call::Acquire(name) => self.acquire(&name, now),
                // What has counted has counted, whenever the transition that it brings about is committed: nobody must be told otherwise.
                Call::Report(outcomes) => (Ok(Reply::Dispositions(self.report(outcomes, now))), Sequence::default()),
            },
        };
        self.log.effects.push(Effect::Answer { after, reply });
    }

    /// A permit bears an epoch, and one that is not stored yet might come again after a crash. The epoch of a lease is that of an event,
    /// so the answer waits for the task's last one; a circuit that was restored has an epoch that no event bears yet, and until then
    /// what needs no lease bears the one before, under which nothing counts.
    fn acquire(&mut self, name: &TaskName, now: Now) -> (Result<Reply, Refusal>, Sequence) {
        let chance = self.chance.unit();
        let uid = self.names.get(name).copied();
        let Some((uid, entry)) = uid.and_then(|uid| Some((uid, self.tasks.get_mut(&uid)?))) else {
            return (Err(Refusal::TaskNotFound(name.clone())), Sequence::default());
        };
        let (permission, transition) = entry.circuit.acquire(entry.task.spec.circuit(), chance, now);
        self.log.effects.push(Effect::Counted(uid, entry.circuit.counts()));
        self.on_transition(uid, transition, Told::Time, now);
        let told = self.tasks.get(&uid).map(|entry| entry.told).unwrap_or_default();
        (Ok(Reply::Permission { uid, permission: self.as_shown(uid, permission), now }), told)
    }

    /// A permit bears the epoch that the log shows. A restored circuit has a new one at once, but nothing tells of that before an
    /// instance starts: after another crash it would come again. Until then an override alone permits anything, and no call counts.
    fn as_shown(&self, uid: Uid, permission: Permission) -> Permission {
        match (permission, self.tasks.get(&uid)) {
            (Permission::Granted(permit), Some(entry)) => {
                Permission::Granted(Permit { epoch: entry.task.circuit.epoch, ..permit })
            }
            (permission, _) => permission,
        }
    }

    fn report(&mut self, outcomes: Vec<CallOutcome>, now: Now) -> Vec<Disposition> {
        let mut told = BTreeSet::new();
        let dispositions = outcomes.into_iter().map(|outcome| {
            told.insert(outcome.uid);
            self.on_outcome(outcome, now)
        });
        let dispositions = dispositions.collect();
        for uid in told {
            if let Some(entry) = self.tasks.get(&uid) {
                self.log.effects.push(Effect::Counted(uid, entry.circuit.counts()));
            }
        }
        dispositions
    }

    fn on_outcome(&mut self, CallOutcome { uid, sample }: CallOutcome, now: Now) -> Disposition {
        let chance = self.chance.unit();
        // The task is gone, and its circuit with it.
        let Some(entry) = self.tasks.get_mut(&uid) else { return Disposition::Stale };
        let (disposition, transition) = entry.circuit.report(sample, entry.task.spec.circuit(), chance, now);
        // An observation is about the task's own checks: what callers tell may be of calls from before the swap.
        if transition.is_some() {
            self.on_transition(uid, transition, Told::Call, now);
        }
        disposition
    }

    /// Lays an override over a circuit, or takes it away. What is so already is told again only where anything of it changes.
    pub(super) fn override_circuit(&mut self, wanted: OverrideCircuit, now: Now) -> Result<(Uid, Reply), Refusal> {
        let OverrideCircuit { name, mode, expire_time, etag, cause, idempotency: _ } = wanted;
        if expire_time.is_some_and(|expires| expires <= now.wall) {
            return Err(Refusal::Invalid(Violations::one("expire_time", "must lie in the future")));
        }
        let (uid, _) = self.find(&name, etag.as_ref())?;
        if self.draining.is_some() {
            return Err(Refusal::ServerDraining);
        }
        let reason = cause.reason.clone();
        let wanted = mode.map(|mode| CircuitOverride { mode, reason, since_time: now.wall, expire_time });
        if let Some(entry) = self.tasks.get_mut(&uid) {
            let same = |a: &CircuitOverride, b: &CircuitOverride| {
                (a.mode, &a.reason, a.expire_time) == (b.mode, &b.reason, b.expire_time)
            };
            let stays = match (&entry.circuit.status().overriding, &wanted) {
                (Some(lies), Some(wanted)) => same(lies, wanted),
                (None, None) => true,
                _ => false,
            };
            if !stays {
                entry.circuit.override_with(wanted, now);
                self.on_overridden(uid, cause, now);
            }
        }
        Ok((uid, self.accepted(uid)?))
    }

    /// The override's time is over.
    pub(super) fn on_override_due(&mut self, uid: Uid, now: Now) {
        if self.tasks.get_mut(&uid).is_some_and(|entry| entry.circuit.expire_override(now)) {
            self.on_overridden(uid, Cause::system("circuit", "the override's time is over"), now);
        }
    }

    fn on_overridden(&mut self, uid: Uid, cause: Cause, now: Now) {
        self.record(uid, cause, Change::Circuit(EventType::CircuitOverridden), now);
        self.set_override_timer(uid);
    }

    /// Has the override's end, if it has one, fire.
    pub(super) fn set_override_timer(&mut self, uid: Uid) {
        match self.tasks.get(&uid).and_then(|entry| entry.circuit.override_due()) {
            Some(due) => self.timers.set(Timer::Override(uid), due),
            None => self.timers.clear(Timer::Override(uid)),
        }
    }

    /// Has a circuit begin anew, because somebody knows better. An override stays where it lies.
    pub(super) fn reset_circuit_of(&mut self, reset: ResetCircuit, now: Now) -> Result<(Uid, Reply), Refusal> {
        let ResetCircuit { name, etag, cause, idempotency: _ } = reset;
        let (uid, _) = self.find(&name, etag.as_ref())?;
        if self.draining.is_some() {
            return Err(Refusal::ServerDraining);
        }
        self.reset_circuit(uid, cause, now);
        Ok((uid, self.accepted(uid)?))
    }
}
