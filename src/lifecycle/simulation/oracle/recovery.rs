//! Whether a server goes on rightly with what an earlier one has left (lifecycle.md §7, 3): a second opinion, formed from the log that
//! was kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::super::{Input, Lifecycle, RootEnd, Timer};
use super::super::Rng;
use super::history::History;
use super::observations::is_to_go_back;
use super::orphan::Orphan;
use super::roles::Roles;
use super::{Checked, View, check};
use crate::model::*;

/// What a crash has left, and when the next server begins.
pub(in crate::lifecycle::simulation) struct Crash<'a> {
    pub(in crate::lifecycle::simulation) head: Sequence,
    pub(in crate::lifecycle::simulation) requests: &'a [Remembered],
    pub(in crate::lifecycle::simulation) unknown_kinds: &'a BTreeSet<String>,
    pub(in crate::lifecycle::simulation) now: Now,
}

/// The log that was kept, and its fold.
pub(super) struct Kept<'a> {
    pub(super) history: &'a History,
    pub(super) view: &'a View,
    pub(super) now: Now,
}

#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// The tasks that were left, and that nobody has taken over.
    orphans: BTreeMap<Uid, Orphan>,
    /// Those of them that may be taken over in this step.
    at_hand: BTreeSet<Uid>,
    /// When what was due under an earlier server is due under this one, where its clock says something else.
    due: BTreeMap<(Uid, Timestamp), Timestamp>,
    /// Those that were taken over in this step.
    taken_over: BTreeSet<Uid>,
    /// How many restarts count of what was left, and until when at least.
    counted: BTreeMap<Uid, (u32, Timestamp)>,
    adopts: bool,
    /// When the server began.
    began: Timestamp,
    /// Those that go on in this step since their pause was over by then.
    overslept: BTreeSet<Uid>,
}

impl Recovery {
    pub(super) fn crashed(&mut self, kept: &Kept<'_>, unknown_kinds: &BTreeSet<String>) {
        *self = Self { began: kept.now.wall, ..Self::default() };
        for task in kept.view.values() {
            self.counts(task, kept.now);
            match task.end {
                // A clock that was set back keeps nothing for longer than its owner wanted.
                Some(end) => {
                    let latest = kept.now.wall + task.spec.terminal_ttl();
                    self.is_due(task.uid, end.expire_time, latest, kept.now);
                }
                None => {
                    let known = !unknown_kinds.contains(task.spec.monitor().kind());
                    self.orphans.insert(task.uid, Orphan { left: Arc::clone(task), known });
                }
            }
        }
    }

    /// Restarts count on, unless it has been healthy for long enough; when they were made is not known.
    fn counts(&mut self, task: &Task, now: Now) {
        let policy = task.spec.restart();
        let ready = task.instance.as_ref().and_then(|instance| instance.ready_time);
        if ready.is_none_or(|ready| now.wall.since(ready) < policy.window()) {
            let counted = task.restart.count.min(policy.max_restarts());
            self.counted.insert(task.uid, (counted, now.wall + policy.window()));
        }
    }

    /// A restart comes after those that count.
    pub(super) fn event(&mut self, event: &Event, task: &Task) -> Checked {
        match event.kind {
            EventType::RestartScheduled => match self.counted.get(&task.uid) {
                Some((counted, until)) if event.time < *until => {
                    check(task.restart.count > *counted, || format!("{} has made {counted} restarts", task.name))
                }
                _ => Ok(()),
            },
            EventType::SwapCommitted => {
                self.counted.remove(&task.uid);
                Ok(())
            }
            EventType::TaskResumed => {
                let Some(Detail::Pause(pause)) = &event.detail else { return Ok(()) };
                let by_time = event.cause.actor == Actor::System("pause".into());
                if by_time && pause.expire_time.is_some_and(|expires| expires <= self.began) {
                    self.overslept.insert(task.uid);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn is_due(&mut self, uid: Uid, time: Timestamp, latest: Timestamp, now: Now) {
        self.due.insert((uid, time), time.min(latest).max(now.wall));
    }

    /// When it is due what is due then.
    pub(super) fn due(&self, uid: Uid, time: Timestamp) -> Timestamp {
        self.due.get(&(uid, time)).copied().unwrap_or(time)
    }

    /// Whether the task is as it was left: nothing of it lives, whatever it shows.
    pub(super) fn is_left(&self, uid: Uid) -> bool {
        self.orphans.contains_key(&uid)
    }

    /// Whether the task is taken over in this step.
    pub(super) fn is_at_hand(&self, uid: Uid) -> bool {
        self.at_hand.contains(&uid)
    }

    /// Whether the task was taken over in this step.
    pub(super) fn is_taken_over(&self, uid: Uid) -> bool {
        self.taken_over.contains(&uid)
    }

    /// Whether the task goes on in this step since its pause was over before the server began.
    pub(super) fn is_overslept(&self, uid: Uid) -> bool {
        self.overslept.contains(&uid)
    }

    /// Whether a command is about a task that is taken over by that.
    pub(super) fn is_commanded(&self) -> bool {
        !self.adopts && !self.at_hand.is_empty()
    }

    /// Whether it ends in this step because nobody knows its kind.
    pub(super) fn is_unknown(&self, uid: Uid) -> bool {
        self.is_at_hand(uid) && self.orphans.get(&uid).is_some_and(|orphan| !orphan.known)
    }

    /// Who may be taken over in this step, however the journal does.
    pub(super) fn reaches(&mut self, input: &Input, view: &View) {
        self.adopts = matches!(input, Input::Adopt);
        self.taken_over.clear();
        self.overslept.clear();
        self.at_hand = match input {
            Input::Adopt => self.orphans.keys().copied().collect(),
            Input::Command(command) => {
                let named = view.get(command.name()).map(|task| task.uid);
                named.into_iter().filter(|uid| self.orphans.contains_key(uid)).collect()
            }
            _ => BTreeSet::new(),
        };
    }

    /// The view that a command finds: that of which it speaks is closed first.
    pub(super) fn as_closed(&self, input: &Input, view: &View, now: Now) -> Option<View> {
        let Input::Command(command) = input else { return None };
        let task = view.get(command.name()).filter(|task| self.is_at_hand(task.uid))?;
        let orphan = self.orphans.get(&task.uid)?;
        let mut view = view.clone();
        view.insert(task.name.clone(), Arc::new(orphan.closed(now)));
        Some(view)
    }

    /// Whoever may be taken over in this step is shown to end in it.
    pub(super) fn before(&self, roles: &mut Roles) {
        for uid in &self.at_hand {
            let Some(orphan) = self.orphans.get(uid) else { continue };
            for (key, live) in orphan.ghosts() {
                roles.ends.insert(key, (RootEnd::Interrupted, false));
                roles.live.insert(key, live);
            }
        }
    }

    /// What was taken over is what it had to become; of the others nothing was told.
    pub(super) fn after(
        &mut self,
        machine: &Lifecycle<Rng>,
        view: &View,
        roles: &mut Roles,
        (step, draining, now): (&[(Uid, EventType)], bool, Now),
    ) -> Checked {
        let at_hand = std::mem::take(&mut self.at_hand);
        let (before, kept) =
            (self.orphans.len(), at_hand.iter().filter(|uid| machine.orphans.contains_key(uid)).count());
        check(!self.adopts || !draining && (kept < before || before == 0), || {
            "nothing is taken over, or too much".to_owned()
        })?;
        for uid in at_hand {
            let told: Vec<_> = step.iter().filter(|(of, _)| *of == uid).map(|(_, kind)| *kind).collect();
            if machine.orphans.contains_key(&uid) {
                check(told.is_empty(), || format!("{told:?} of {uid}, which nobody has taken over"))?;
                roles.live.retain(|key, _| key.0 != uid);
                continue;
            }
            let Some(orphan) = self.orphans.remove(&uid) else { continue };
            self.taken_over.insert(uid);
            let ghost = roles.of(uid).find(|(_, live)| live.past);
            check(ghost.is_none(), || format!("{ghost:?} has not been shown as ended"))?;
            // Unless it was deleted at once.
            let Some(task) = view.values().find(|task| task.uid == uid) else { continue };
            let wrong = |what: &str| format!("{} was taken over, {told:?}: {what}", task.name);
            orphan.told(task, &told, self.adopts).map_err(|what| wrong(&what))?;
            self.goes_on(&orphan, task, &told, machine, (draining, now)).map_err(|what| wrong(&what))?;
        }
        let left = self.orphans.keys().eq(machine.orphans.keys());
        check(left, || "what is left to take over differs".to_owned())
    }

    /// It ends, rests, waits or runs, as it had been decided.
    fn goes_on(
        &mut self,
        orphan: &Orphan,
        task: &Task,
        told: &[EventType],
        machine: &Lifecycle<Rng>,
        (draining, now): (bool, Now),
    ) -> Checked {
        let Orphan { left, known } = orphan;
        let started = told.iter().filter(|kind| **kind == EventType::InstanceStarting).count();
        let due_at = |due: Timestamp| Some(now.mono + due.since(now.wall));
        // What was due meanwhile is started with all others.
        let waits = left.restart.next_time.filter(|next| now.wall < *next);
        let goes_back = is_to_go_back(left) && task.observation.is_some();
        let state = match (task.intent, left.fate) {
            (Intent::Cancel, _) => State::Cancelled,
            (_, Some(fate)) if !goes_back => fate,
            _ if !known => State::Failed,
            (Intent::Pause, _) => State::Paused,
            (Intent::Run, fate) if waits.is_some() || draining || fate.is_some() => State::Pending,
            (Intent::Run, _) => State::Starting,
        };
        check(task.state == state, || format!("{:?} instead of {state:?}", task.state))?;
        check(started == usize::from(state == State::Starting), || format!("started {started} times"))?;
        check(task.restart.count == left.restart.count, || "that the server was started again counts".to_owned())?;
        if state == State::Failed && (left.fate.is_none() || goes_back) {
            let outcome =
                task.outcome.as_ref().is_some_and(|it| it.exit == Exit::Error && it.message == "UNKNOWN_KIND");
            check(outcome, || format!("{:?}", task.outcome))?;
        }
        if state == State::Starting {
            let last = left.instance.as_ref().filter(|last| last.generation == task.generation);
            let next = last.map_or(Attempt::default(), |last| last.attempt).next();
            let attempt = task.instance.as_ref().map(|instance| instance.attempt);
            check(attempt == Some(next), || format!("attempt {attempt:?} instead of {next}"))?;
        }
        match (state, task.restart.next_time, task.pause.as_ref().and_then(|pause| pause.expire_time)) {
            (State::Pending, Some(next), _) => {
                self.is_due(task.uid, next, now.wall + task.spec.restart().max_backoff(), now);
                let due = waits.and_then(|next| due_at(self.due(task.uid, next)));
                let right = machine.timers.due(Timer::Restart(task.uid)) == due;
                check(right && task.restart == left.restart, || "its back-off has another end".to_owned())
            }
            (State::Paused, _, Some(expires)) => {
                self.is_due(task.uid, expires, expires, now);
                let right = machine.timers.due(Timer::PauseExpires(task.uid)) == due_at(self.due(task.uid, expires));
                check(right, || "its pause has another end".to_owned())
            }
            _ => Ok(()),
        }
    }
}
