//! Whether circuits move as circuit.md says: a second opinion, formed from the events and the evidence alone.

mod callers;
mod left;
mod overrides;

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::super::{Command, Effect, Input};
use super::super::world::World;
use super::recovery::Recovery;
use super::roles::{Key, Role, Roles};
use super::{Checked, View, check};
use crate::model::*;
use callers::{Callers, Heard, Step};
use left::Left;

#[derive(Debug, Default)]
pub(super) struct Circuits {
    known: BTreeMap<Uid, Known>,
    /// The target that the present command names.
    target: Option<(Target, Option<StatePolicy>)>,
    /// What the present input proves, and whose check that was.
    evidence: Option<(Key, Evidence)>,
    callers: Callers,
    /// What an operator decides by the present input.
    decision: Option<Command>,
}

#[derive(Debug)]
struct Known {
    status: CircuitStatus,
    target: Target,
    /// What the running swap would bring.
    next_target: Target,
    /// What it was asked to do with the circuit.
    policy: Option<StatePolicy>,
    /// Another target has been committed: what follows directly is the reset.
    reset_due: bool,
    tally: Tally,
    heard: Heard,
    /// How long the state has lasted until `since`, not counting suspensions, and how long it may.
    lasted: Duration,
    since: Mono,
    limit: Duration,
    /// That was over while the journal took nothing in, so that the next tick moves it.
    put_off: bool,
    /// Since when this server looks after it: no earlier can its override be taken away.
    kept_since: Option<Timestamp>,
    /// It was left by an earlier server, and nothing has shown it since.
    left: Option<Left>,
}

/// The evidence of the present epoch that counts.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    results: u32,
    passes: u32,
    bad_in_a_row: u32,
    /// What the present input proves, where that counts: whether it is bad.
    newest: Option<bool>,
}

impl Known {
    /// Whether it may last for longer than it may, until there is a tick.
    fn waits(&mut self, puts_off: bool, ticked: bool, now: Now) {
        let over = self.lasted(now.mono) >= self.limit || self.status.until.is_some_and(|until| until <= now.wall);
        if puts_off {
            self.put_off |= over;
        } else if ticked && !self.status.suspended {
            self.put_off = false;
        }
    }

    fn lasted(&self, now: Mono) -> Duration {
        if self.status.suspended { self.lasted } else { self.lasted + now.since(self.since) }
    }
}

impl Circuits {
    /// Evidence counts if its check was begun by the active, ready instance, under the present epoch. `refusal`: why the journal
    /// takes nothing in, where that is so; then nothing is evidence.
    pub(super) fn before(
        &mut self,
        input: &Input,
        view: &View,
        (roles, world): (&Roles, &World),
        refusal: Option<Refusal>,
        now: Now,
    ) {
        self.target = target(input);
        self.decision = match input {
            Input::Command(command @ (Command::Override(_) | Command::ResetCircuit(_))) => Some(command.clone()),
            _ => None,
        };
        self.evidence = match input {
            Input::CheckEnded(id, _, evidence) if refusal.is_none() => world.key(*id).map(|key| (key, *evidence)),
            _ => None,
        };
        for known in self.known.values_mut() {
            known.tally.newest = None;
        }
        if let Input::Call(call) = input {
            self.asked(call, view, refusal, now);
        }
        let Some((key, Evidence { regime, verdict, latency })) = self.evidence else { return };
        let Some(task) = view.values().find(|task| task.uid == key.0) else { return };
        let Some(known) = self.known.get_mut(&key.0) else { return };
        let counts = roles.get(&key).is_some_and(|live| live.role == Role::Active)
            && roles.is_ready(key.0)
            && regime.counted
            && regime.epoch == known.status.epoch
            && verdict != Verdict::Neutral;
        if counts {
            let slow = task.spec.circuit().slow_threshold().is_some_and(|slow| latency > slow);
            known.tally.add(verdict == Verdict::Fail || slow);
        }
    }

    pub(super) fn event(
        &mut self,
        event: &Event,
        (task, before): (&Task, Option<&Task>),
        (roles, reverts): (&Roles, Option<(Target, Option<StatePolicy>)>),
        now: Now,
    ) -> Checked {
        let (kind, status) = (event.kind, &task.circuit);
        check(status.suspended != roles.is_ready(task.uid), || format!("{kind:?}: {status:?}, suspended wrongly"))?;
        check(status.until.is_some() == (status.state != CircuitState::Closed && !status.suspended), || {
            format!("{kind:?}: {status:?}")
        })?;
        if kind == EventType::TaskCreated {
            return self.created(task, now);
        }
        let (step, decided) = (self.callers.next(task.uid), self.decided(event, task, now)?);
        let known = self.known.get_mut(&task.uid).ok_or("a circuit of nothing")?;
        let moves = is_of_circuit(kind);
        let due = std::mem::take(&mut known.reset_due) || decided && kind == EventType::CircuitReset;
        check(due == (kind == EventType::CircuitReset), || format!("{kind:?}, where a reset is due: {due}"))?;
        if let Some(left) = known.left.take() {
            known.limit = known.goes_on(kind, left, task, now)?;
        } else if moves {
            known.moves(kind, event, task, step, now)?;
        } else {
            check(step.is_none(), || format!("{kind:?}, where {step:?} is due"))?;
            known.stays(kind, status)?;
        }
        (known.lasted, known.since) = (known.lasted(now.mono), now.mono);
        if moves {
            (known.lasted, known.tally) = (Duration::ZERO, Tally::default());
            known.heard = Heard::default();
            known.limit = limit(status.state, task.spec.circuit());
            known.put_off = false;
        }
        known.status = status.clone();
        if kind == EventType::SwapCommitted {
            known.committed(task);
            known.heard.retunes(before.unwrap_or(task).spec.circuit(), task.spec.circuit());
        }
        // What a restart will know of it.
        check(task.target == known.target, || format!("{kind:?} of {} shows another target", task.name))?;
        let goes_back = task.swap.as_ref().is_some_and(|swap| !swap.revert_reason.is_empty());
        match (kind, if goes_back { reverts } else { self.target }) {
            (EventType::SwapStarted, Some((target, policy))) => (known.next_target, known.policy) = (target, policy),
            (EventType::TaskDeleted, _) => {
                self.known.remove(&task.uid);
            }
            _ => {}
        }
        Ok(())
    }

    fn created(&mut self, task: &Task, now: Now) -> Checked {
        let (status, (target, policy)) = (&task.circuit, self.target.ok_or("nobody asked")?);
        let known = Known {
            status: status.clone(),
            target,
            next_target: target,
            policy,
            reset_due: false,
            tally: Tally::default(),
            heard: Heard::default(),
            lasted: Duration::ZERO,
            since: now.mono,
            limit: Duration::MAX,
            put_off: false,
            kept_since: None,
            left: None,
        };
        self.known.insert(task.uid, known);
        let fresh = (status.state, status.reason, status.streak) == (CircuitState::Closed, None, 0);
        check(fresh && status.epoch == Epoch::new(1), || format!("a new circuit is {status:?}"))
    }

    /// Only evidence that counts is counted.
    pub(super) fn effect(&self, effect: &Effect) -> Checked {
        let Effect::Counted(uid, counts) = effect else { return Ok(()) };
        let Some(known) = self.known.get(uid) else { return Err("counts of nothing".to_owned()) };
        self.counted(known, counts)?;
        let Tally { results, bad_in_a_row, .. } = known.tally;
        let more = counts.results > results || counts.consecutive > bad_in_a_row;
        check(!more, || format!("{counts:?} are counted, of {results} results"))
    }

    /// What must hold after every step; where `ticked`, what is due now has happened, too.
    pub(super) fn after(
        &mut self,
        view: &View,
        roles: &Roles,
        world: &World,
        (recovery, puts_off): (&Recovery, bool),
        ticked: bool,
        now: Now,
    ) -> Checked {
        self.callers.after()?;
        for task in view.values().filter(|task| !recovery.is_left(task.uid)) {
            let known = self.known.get_mut(&task.uid).ok_or("a task without a circuit")?;
            known.waits(puts_off, ticked, now);
            known.kept_since.get_or_insert(now.wall);
            let known = &*known;
            let wrong = |what: &str| format!("the circuit of {} is {:?}: {what}", task.name, known.status);
            check(!known.reset_due, || wrong("a reset is due"))?;
            check(puts_off || !known.is_overridden_for_too_long(ticked, now), || wrong("its override is over"))?;
            let lasted = known.lasted(now.mono);
            let over = lasted > known.limit || ticked && lasted == known.limit;
            let waits = known.status.suspended || known.put_off;
            check(waits || !over, || wrong("it has lasted for too long"))?;
            let until = known.status.until;
            let ends = until.is_some_and(|until| until < now.wall || ticked && until == now.wall);
            check(waits || !ends, || wrong("it is over"))?;
            let row = task.spec.circuit().consecutive_failures().filter(|_| known.tally.newest == Some(true));
            let holds =
                known.status.state != CircuitState::Closed || row.is_none_or(|row| known.tally.bad_in_a_row < row);
            check(holds, || wrong("it had to open"))?;
            let trial = task.spec.circuit();
            let half_open = known.status.state == CircuitState::HalfOpen;
            let passed = half_open && known.tally.newest == Some(false);
            check(!passed || !known.is_well(trial), || wrong("it had to close"))?;
            let regime = Regime {
                epoch: known.status.epoch,
                counted: true,
                trial_interval: half_open.then(|| trial.trial_interval()),
            };
            for actor in world.actors.values().filter(|actor| actor.uid == task.uid && actor.alive()) {
                let role = roles.get(&(actor.uid, actor.generation, actor.attempt)).map(|live| live.role);
                let right = match role {
                    Some(Role::Active) => actor.regime == regime,
                    Some(Role::Candidate) => !actor.regime.counted && actor.regime.trial_interval.is_none(),
                    Some(Role::Replaced) | None => true,
                };
                check(right, || wrong(&format!("the {role:?} instance runs under {:?}", actor.regime)))?;
            }
        }
        Ok(())
    }
}

impl Tally {
    fn add(&mut self, bad: bool) {
        self.results += 1;
        self.passes += u32::from(!bad);
        self.bad_in_a_row = if bad { self.bad_in_a_row + 1 } else { 0 };
        self.newest = Some(bad);
    }
}

impl Known {
    /// A transition, and its reason.
    fn moves(&self, kind: EventType, event: &Event, task: &Task, step: Option<Step>, now: Now) -> Checked {
        use CircuitReason::{Failure, Inconclusive, Recovered, Reset, Waived};
        use CircuitState::{Closed, HalfOpen, Open};
        let (was, is, tally) = (&self.status, &task.circuit, self.tally);
        let wrong = || format!("{kind:?} of {}: from {was:?} to {is:?} by {tally:?}", task.name);
        check(event.detail == Some(Detail::Circuit(is.clone())) && was.epoch < is.epoch, wrong)?;
        check(!was.suspended || kind == EventType::CircuitReset, wrong)?;
        let policy = task.spec.circuit();
        let over = self.lasted(now.mono) >= self.limit;
        let fewest = policy.consecutive_failures().unwrap_or(u32::MAX).min(policy.active_min());
        let enough = tally.passes >= policy.close_successes();
        let trips = (was.state, is.state, is.reason) == (Closed, Open, Some(Failure));
        let source = match is.reason {
            Some(Reset) => None,
            _ if trips => Some(EvidenceSource::Active),
            _ => was.trip_source,
        };
        let shown = |reason| Step { to: is.state, reason, trip_source: is.trip_source };
        if let Some(step) = step {
            let told = is.reason.map(shown) == Some(step) && is.epoch == was.epoch.next();
            return check(told && kind_of(step) == kind, || format!("{}, and {step:?} is due", wrong()));
        }
        check(is.trip_source == source, wrong)?;
        let right = match (kind, was.state, is.state, is.reason) {
            (EventType::CircuitTripped, Closed, Open, Some(Failure)) => {
                tally.newest == Some(true) && tally.results >= fewest && is.streak > 0
            }
            (EventType::CircuitTripped, HalfOpen, Open, Some(Failure)) => tally.newest == Some(true) && is.streak > 0,
            (EventType::CircuitTripped, HalfOpen, Open, Some(Inconclusive)) => {
                over && !enough && is.streak == was.streak
            }
            (EventType::CircuitHalfOpened, Open, HalfOpen, reason) => {
                reason == was.reason && was.until.is_some_and(|until| until <= now.wall)
            }
            (EventType::CircuitRecovered, HalfOpen, Closed, Some(Recovered)) => {
                tally.newest == Some(false) && self.is_well(policy)
            }
            (EventType::CircuitRecovered, HalfOpen, Closed, Some(Waived)) => over && enough,
            (EventType::CircuitReset, _, Closed, Some(Reset)) => is.streak == 0,
            _ => false,
        };
        let most = if is.state == Open { policy.open_max() } else { policy.half_open_max() };
        let in_time = is.until.is_none_or(|until| until <= now.wall + most);
        check(right && in_time, wrong)
    }

    /// Nothing else changes a circuit, but that it is suspended or not, and what a swap shortens.
    fn stays(&self, kind: EventType, is: &CircuitStatus) -> Checked {
        let was = &self.status;
        let wrong = || format!("{kind:?} changes a circuit from {was:?} to {is:?}");
        let key =
            |status: &CircuitStatus| (status.state, status.epoch, status.reason, status.since_time, status.trip_source);
        check(key(was) == key(is), wrong)?;
        check(was.streak == is.streak || was.state == CircuitState::Closed && is.streak < was.streak, wrong)?;
        let (Some(before), Some(after)) = (was.until, is.until) else { return Ok(()) };
        check(before == after || kind == EventType::SwapCommitted && after < before, wrong)
    }

    /// What the new policy would have made shorter ends earlier; another target begins anew.
    fn committed(&mut self, task: &Task) {
        if task.swap.as_ref().is_some_and(|swap| swap.from_generation == swap.to_generation) {
            return;
        }
        let another = self.next_target != self.target;
        self.reset_due = self.policy.map_or(another, |policy| policy == StatePolicy::Reset);
        self.target = self.next_target;
        if !self.reset_due {
            let limit = limit(self.status.state, task.spec.circuit());
            self.limit = self.limit.min(self.lasted.saturating_add(limit));
        }
    }
}

/// The target that a command names, and what it says of the circuit.
fn target(input: &Input) -> Option<(Target, Option<StatePolicy>)> {
    match input {
        Input::Command(Command::Start(_, target)) => Some((*target, None)),
        Input::Command(Command::Swap(swap, target)) => Some((*target, swap.state_policy)),
        _ => None,
    }
}

fn is_of_circuit(kind: EventType) -> bool {
    use EventType::{CircuitHalfOpened, CircuitRecovered, CircuitReset, CircuitTripped};
    matches!(kind, CircuitTripped | CircuitHalfOpened | CircuitRecovered | CircuitReset)
}

/// What a step is told by.
fn kind_of(step: Step) -> EventType {
    match step.to {
        CircuitState::Closed => EventType::CircuitRecovered,
        CircuitState::Open => EventType::CircuitTripped,
        CircuitState::HalfOpen => EventType::CircuitHalfOpened,
    }
}

/// How long a state may last with an instance that is ready.
fn limit(state: CircuitState, policy: &CircuitPolicy) -> Duration {
    match state {
        CircuitState::Closed => Duration::MAX,
        CircuitState::Open => policy.open_max(),
        CircuitState::HalfOpen => policy.half_open_max(),
    }
}
