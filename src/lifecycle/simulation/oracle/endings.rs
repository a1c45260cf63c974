//! How instances end, and what becomes of their tasks then: a second opinion (lifecycle.md §1).

use super::super::super::RootEnd;
use super::observations::is_to_go_back;
use super::roles::{Key, Live, Role, Roles, is_running};
use super::{Checked, check};
use crate::model::*;

impl Roles {
    pub(super) fn instance_ended(&mut self, key: Key, task: &Task, before: Option<&Task>, draining: bool) -> Checked {
        let live = self.live.remove(&key).ok_or("ended, but not live")?;
        self.ended += usize::from(!live.past);
        let (root, child_aborted) = self.ends.get(&key).ok_or("ended by nothing that ends an instance")?;
        let asked = live.asked != Asked::None;
        let unbounded = live.spec.monitor().is_built_in() && live.spec.schedule().max_runs().is_none();
        let expected = match root {
            RootEnd::Failed(_) => Exit::Error,
            RootEnd::Panicked(_) => Exit::Panic,
            RootEnd::Cancelled => Exit::Aborted,
            RootEnd::Displaced => Exit::Displaced,
            RootEnd::Interrupted => Exit::Interrupted,
            RootEnd::Returned if !asked && unbounded => Exit::Error,
            RootEnd::Returned if !asked => Exit::Completed,
            RootEnd::Returned if *child_aborted => Exit::Aborted,
            RootEnd::Returned => Exit::Graceful,
        };
        let exit = live.instance.exit;
        check(exit == Some(expected), || format!("{exit:?} instead of {expected:?}"))?;
        self.is_displaced(key, &live, expected, task, draining);
        if live.role != Role::Active {
            let same = before.is_some_and(|before| before.outcome == task.outcome);
            check(same, || format!("{}'s outcome is that of another instance", task.name))?;
            let over = task.intent == Intent::Cancel && self.of(key.0).next().is_none();
            return check(task.state.is_ended() == over, || format!("{:?} as {:?} ends", task.state, live.role));
        }
        let outcome = task.outcome.as_ref().ok_or("ended without an outcome")?;
        let asked = if expected == Exit::Displaced && !asked { Asked::Relief } else { live.asked };
        check(outcome.exit == expected && outcome.asked == asked, || format!("{outcome:?}"))?;
        self.becomes(&live, outcome, task, before, draining)
    }

    /// Whether another is to take the place of this one: it may stand where this one could, and is what this one was.
    fn is_displaced(&mut self, key: Key, live: &Live, exit: Exit, task: &Task, draining: bool) {
        let runs = task.intent == Intent::Run && !draining && exit == Exit::Displaced && !live.resumed;
        let again = match live.role {
            Role::Active => matches!(live.asked, Asked::None | Asked::StartTimeout),
            Role::Candidate => live.asked == Asked::None,
            Role::Replaced => false,
        };
        if runs && again {
            // A candidate that was ready has used its time, and the next one begins from the beginning.
            let anew = live.role == Role::Candidate && live.instance.ready_time.is_some();
            self.displaced.insert((key.0, live.role), if anew { task.update_time } else { live.since });
            if live.once {
                self.revived.insert(key.0);
            }
        }
    }

    /// What becomes of a task whose active instance has ended.
    fn becomes(
        &mut self,
        live: &Live,
        outcome: &Outcome,
        task: &Task,
        before: Option<&Task>,
        draining: bool,
    ) -> Checked {
        let alone = self.of(task.uid).next().is_none();
        let failed_for_good = live.once && live.instance.ready_time.is_none();
        let end = match (task.intent, outcome.asked, outcome.exit) {
            (Intent::Cancel, ..) => alone.then_some(State::Cancelled),
            (Intent::Pause, ..) => None,
            // It is started again.
            (Intent::Run, ..) if live.past => None,
            // Whatever it had been asked for: its owner wants it to run.
            (Intent::Run, ..) if live.resumed => None,
            (Intent::Run, Asked::None, Exit::Completed) => Some(State::Succeeded),
            (Intent::Run, Asked::Drain | Asked::Swap, _) => None,
            _ if draining => None,
            (Intent::Run, _, Exit::Displaced) => None,
            _ if task.restart.next_time.is_some() => {
                self.failing.insert(task.uid);
                check(!failed_for_good, || format!("{} is started more than once more", task.name))?;
                None
            }
            _ => {
                let early = !failed_for_good && task.restart.count < task.spec.restart().max_restarts();
                check(!early, || format!("{} is given up after {} restarts", task.name, task.restart.count))?;
                self.failing.insert(task.uid);
                Some(State::Failed)
            }
        };
        let decided_later = !alone || before.is_some_and(is_running) || is_to_go_back(task);
        let waits = task.intent == Intent::Run && decided_later;
        if let Some(end) = end.filter(|_| waits) {
            self.held.insert(task.uid, end);
        }
        let now = end.filter(|_| !waits);
        let is = task.state.is_ended().then_some(task.state);
        check(is == now, || format!("{:?} instead of {end:?}", task.state))
    }

    pub(super) fn task_ended(&mut self, task: &Task, before: Option<&Task>, unknown: bool) -> Checked {
        let held = self.held.remove(&task.uid);
        let before = before.map(|task| task.state).filter(|state| state.is_ended());
        let due = if task.intent == Intent::Cancel {
            Some(State::Cancelled)
        } else {
            before.or(held).or(unknown.then_some(State::Failed))
        };
        check(due == Some(task.state), || format!("{} ends {:?} instead of {due:?}", task.name, task.state))
    }
}
