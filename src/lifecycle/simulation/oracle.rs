//! The invariants, checked from outside: what the machine was told, what it said, and what the world knows.

mod admission;
mod answers;
mod circuits;
mod commits;
mod crashes;
mod endings;
mod events;
mod generations;
mod history;
mod observations;
mod orphan;
mod pauses;
mod promises;
mod recovery;
mod relief;
mod roles;
mod shape;
mod swaps;
mod telling;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::super::{Effect, Input, Lifecycle, Limits, Reply};
use super::Rng;
use super::world::{Note, World};
use crate::model::*;
use admission::Intake;
use answers::Answers;
use circuits::Circuits;
use commits::Commits;
use generations::Generations;
use history::History;
use observations::Observations;
use pauses::Pauses;
use promises::Promises;
pub(super) use recovery::Crash;
use recovery::Recovery;
use relief::Relief;
use roles::{Role, Roles, is_running};
use swaps::Swaps;

/// What clients see: the fold of the log.
type View = BTreeMap<TaskName, Arc<Task>>;

/// What was seen so far.
#[derive(Debug)]
pub(super) struct Oracle {
    head: Sequence,
    hasher: DefaultHasher,
    view: View,
    uids: BTreeSet<Uid>,
    launched: BTreeSet<InstanceId>,
    answers: Answers,
    promises: Promises,
    roles: Roles,
    swaps: Swaps,
    circuits: Circuits,
    commits: Commits,
    pauses: Pauses,
    relief: Relief,
    history: History,
    observations: Observations,
    generations: Generations,
    recovery: Recovery,
    intake: Intake,
    /// The instance that the present input has ended, as the world knows.
    must_end: Option<InstanceId>,
    /// The tasks an instance of which has ended in the present step.
    ended_in_step: BTreeSet<Uid>,
    /// The present step's events, and what it was fed with.
    step: Vec<(Uid, EventType)>,
    ticked: bool,
    /// The present input is a caller's.
    called: bool,
    /// What the present input is about has ended: nothing follows.
    late: bool,
    draining: bool,
    /// Who wants a drain that nobody has been told of.
    drain: Option<Cause>,
}

/// What there is before a command, or with its answer.
struct Seen<'a> {
    view: &'a View,
    /// What the command is about is taken over in its step.
    recovers: bool,
    roles: &'a Roles,
    relief: &'a Relief,
    world: &'a World,
    intake: &'a Intake,
    head: Sequence,
    draining: bool,
    now: Now,
}

type Checked = Result<(), String>;

fn check(holds: bool, violation: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(violation()) }
}

/// An effect in one line.
pub(super) fn line(effect: &Effect) -> String {
    match effect {
        Effect::Append(event) => {
            let task = event.task.as_ref();
            let (name, state) = (task.map(|task| task.name.id()), task.map(|task| task.state.name()));
            format!("#{} {} {name:?} attempt {} {state:?}", event.sequence, event.kind.name(), event.attempt)
        }
        Effect::Launch(launch) => format!("launch {} for {}", launch.instance, launch.task.name.id()),
        Effect::Build { instance, spec } => format!("build {instance} by {}", spec.swap().strategy().name()),
        Effect::Answer { after, reply: Ok(Reply::Accepted { task, sequence }) } => {
            format!("answer {} as {} of {sequence}, after {after}", task.name.id(), task.state.name())
        }
        other => format!("{other:?}"),
    }
}

/// The instance that a fact is about.
fn about(input: &Input) -> Option<InstanceId> {
    match input {
        Input::Ready(id) | Input::CheckBegan(id, _) | Input::CheckEnded(id, ..) | Input::Committed(id) => Some(*id),
        Input::PollBlocked(id, _) | Input::PollReturned(id) => Some(*id),
        Input::RootEnded { instance, .. } | Input::ChildrenEnded { instance, .. } => Some(*instance),
        Input::HeldUp(id) => Some(*id),
        Input::Command(_) | Input::Call(_) | Input::Built(..) | Input::Stalled { .. } => None,
        Input::Drain { .. } | Input::Admission(_) | Input::Tick | Input::Adopt => None,
    }
}

/// Who is given up, wherever it runs.
fn displaced(input: &Input) -> &[InstanceId] {
    match input {
        Input::Stalled { displaced, .. } => displaced,
        Input::HeldUp(id) => std::slice::from_ref(id),
        _ => &[],
    }
}

impl Oracle {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            head: Sequence::default(),
            hasher: DefaultHasher::default(),
            view: View::new(),
            uids: BTreeSet::new(),
            launched: BTreeSet::new(),
            answers: Answers::default(),
            promises: Promises::default(),
            roles: Roles::default(),
            swaps: Swaps::default(),
            circuits: Circuits::default(),
            commits: Commits::default(),
            pauses: Pauses::default(),
            relief: Relief::new(limits.max_stuck),
            history: History::default(),
            observations: Observations::default(),
            generations: Generations::default(),
            recovery: Recovery::default(),
            intake: Intake::default(),
            must_end: None,
            ended_in_step: BTreeSet::new(),
            step: Vec::new(),
            ticked: false,
            called: false,
            late: false,
            draining: false,
            drain: None,
        }
    }

    pub(super) fn task(&self, name: &TaskName) -> Option<&Arc<Task>> {
        self.view.get(name)
    }

    /// The generations of a task that are kept.
    pub(super) fn generations(&self, uid: Uid) -> &[KeptGeneration] {
        self.generations.of(uid)
    }

    /// What callers hold of a task, the newest last.
    pub(super) fn permits(&self, uid: Uid) -> &[Permit] {
        self.circuits.permits(uid)
    }

    pub(super) fn names(&self) -> Vec<TaskName> {
        self.view.keys().cloned().collect()
    }

    /// The tasks that are in the middle of something, those first that are in the middle of most.
    pub(super) fn eventful(&self) -> Vec<&TaskName> {
        let score = |task: &Task| {
            let waits = usize::from(task.restart.next_time.is_some()) + usize::from(task.pause.is_some());
            task.draining.len() + waits + usize::from(is_running(task))
        };
        let mut tasks: Vec<_> = self.view.values().filter(|task| score(task) > 0).collect();
        tasks.sort_by_key(|task| std::cmp::Reverse(score(task)));
        tasks.into_iter().map(|task| &task.name).collect()
    }

    pub(super) fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    /// What has become visible since the last step.
    pub(super) fn hears(&mut self, notes: Vec<Note>) -> Checked {
        for note in &notes {
            if matches!(note, Note::Answered(_)) {
                self.answers.acknowledged();
                self.circuits.callers().acknowledged();
            }
        }
        self.commits.hears(notes, self.head)
    }

    pub(super) fn before(&mut self, input: &Input, world: &World, now: Now) -> Checked {
        self.step.clear();
        self.ended_in_step.clear();
        self.ticked = matches!(input, Input::Tick);
        self.late = about(input).is_some_and(|id| world.key(id).is_none());
        self.intake.before(input, now);
        self.recovery.reaches(input, &self.view);
        let (roles, relief, intake) = (&self.roles, &self.relief, &self.intake);
        let closed = self.recovery.as_closed(input, &self.view, now);
        let (view, recovers) = (closed.as_ref().unwrap_or(&self.view), closed.is_some());
        let (head, draining) = (self.head, self.draining);
        let seen = Seen { view, recovers, roles, relief, world, intake, head, draining, now };
        self.answers.before(input, &seen)?;
        self.commits.before(input)?;
        self.relief.before(input, &self.view, roles, world, (self.draining, now))?;
        self.promises.before(input, now.mono);
        self.roles.before(input, world, now);
        if let Some((uid, cause)) = self.answers.stops() {
            self.roles.joins(uid, &cause);
        }
        self.recovery.before(&mut self.roles);
        self.swaps.before(input);
        self.pauses.before(input);
        self.observations.before(input);
        let refusal = self.intake.refuses_new();
        self.circuits.before(input, &self.view, (&self.roles, world), refusal, now);
        self.called = matches!(input, Input::Call(_));
        self.must_end = match input {
            Input::RootEnded { instance, .. } | Input::ChildrenEnded { instance, .. } => {
                world.actors.get(instance).filter(|actor| !actor.alive()).map(|_| *instance)
            }
            _ => None,
        };
        if let Input::Drain { cause, .. } = input
            && !std::mem::replace(&mut self.draining, true)
        {
            self.drain = Some(cause.clone());
        }
        check(now.mono > Mono::ZERO, || "time does not begin".to_owned())
    }

    pub(super) fn effect(&mut self, effect: &Effect, world: &World, now: Now) -> Checked {
        line(effect).hash(&mut self.hasher);
        check(!self.late, || format!("what has ended brings about {effect:?}"))?;
        self.commits.effect(effect, world);
        self.intake.effect(effect, &self.view, &self.recovery, world)?;
        match effect {
            Effect::Append(event) => self.event(event, world, now),
            Effect::Launch(launch) => self.launch(launch, world),
            Effect::Signal(id) => check(self.state_of(*id, world) == Some(InstanceState::Stopping), || {
                format!("instance {id} is signalled before the log says so")
            }),
            Effect::Abort(id) => check(self.state_of(*id, world) == Some(InstanceState::Aborting), || {
                format!("instance {id} is aborted before the log says so")
            }),
            Effect::Answer { after, reply } => {
                self.intake.answered(*after, reply, self.head)?;
                let (roles, relief, intake) = (&self.roles, &self.relief, &self.intake);
                // Where its task was taken over, the command may have been done before that goes on.
                let earlier = self.taken_over(reply);
                let (view, recovers) = (earlier.as_ref().unwrap_or(&self.view), earlier.is_some());
                let (head, draining) = (self.head, self.draining);
                let seen = Seen { view, recovers, roles, relief, world, intake, head, draining, now };
                if self.called {
                    self.circuits.answered(reply, now)?;
                    self.answers.called();
                } else {
                    self.answers.answered(reply, &seen)?;
                }
                self.circuits.callers().answered(reply);
                if !world.journal.keeps_waiting(*after) {
                    let shows = self.commits.shows(*after);
                    self.answers.at_once(shows);
                    self.circuits.callers().at_once(shows);
                }
                Ok(())
            }
            Effect::CheckNow(id) => {
                self.answers.checks(*id);
                Ok(())
            }
            Effect::Forget(uid) => check(!self.view.values().any(|task| task.uid == *uid), || {
                format!("{uid} is forgotten though it exists")
            }),
            Effect::AwaitCommit { after, .. } => {
                check(*after == self.head, || format!("a cut-over waits for {after} at {}", self.head))
            }
            Effect::Promote { instance, uid, .. } => {
                let key = world.key(*instance).filter(|key| key.0 == *uid);
                let active = key.and_then(|key| self.roles.get(&key)).is_some_and(|live| live.role == Role::Active);
                check(active, || format!("instance {instance} is not active"))
            }
            _ => Ok(()),
        }?;
        self.promises.effect(effect, now)?;
        self.relief.effect(effect, &self.recovery)?;
        self.circuits.effect(effect)?;
        self.swaps.effect(effect, &self.view, (&self.roles, &self.relief), world, now)
    }

    /// What the log says of an instance of the world.
    fn state_of(&self, id: InstanceId, world: &World) -> Option<InstanceState> {
        self.roles.get(&world.key(id)?).map(|live| live.instance.state)
    }

    /// What must hold between any two steps.
    pub(super) fn after(&mut self, machine: &Lifecycle<Rng>, world: &World, now: Now) -> Checked {
        self.history.step_ends(self.head);
        let admits = self.intake.is_open();
        self.recovery.after(machine, &self.view, &mut self.roles, (&self.step, self.draining, admits, now))?;
        if let Some(id) = self.must_end {
            check(!self.ended_in_step.is_empty(), || format!("instance {id} has ended, and nobody says so"))?;
        }
        let live = world.actors.values().filter(|actor| actor.alive()).count();
        check(machine.live() == live, || format!("{} instances are counted, {live} live", machine.live()))?;
        let (known, ended) = (self.roles.live.len(), self.roles.ended);
        let sum = known == live && self.launched.len() == live + ended;
        check(sum, || format!("{} launched, {live} live, {known} shown, {ended} ended", self.launched.len()))?;
        let folded = machine.tasks.len() == self.view.len()
            && machine.tasks.values().all(|entry| {
                self.view
                    .get(&entry.task.name)
                    .is_some_and(|task| Arc::ptr_eq(task, &entry.task) || *task == entry.task)
            });
        check(folded, || "the machine's tasks are not the fold of its events".to_owned())?;
        let (recovery, intake) = (&self.recovery, &self.intake);
        self.observations.after(&self.view, (recovery, intake), (self.ticked, self.draining), now)?;
        self.timers_are_needed(machine, world, now)?;
        self.ended_in_step.iter().try_for_each(|uid| self.the_end_is_told(*uid))?;
        let left = |task: &Task| self.recovery.is_left(task.uid);
        check(self.drain.is_none(), || "it drains, and nobody is told".to_owned())?;
        let (recovery, intake, puts_off) = (&self.recovery, &self.intake, self.intake.puts_off(now));
        self.promises.after(&self.view, &self.roles, world, (recovery, intake), self.ticked, now)?;
        self.swaps.after(&self.view, &self.roles, world, (recovery, intake), self.ticked, now)?;
        self.pauses.after(&self.view, &self.roles, recovery, (self.ticked, self.draining || puts_off), now)?;
        self.relief.after(machine, &self.view, &self.roles, world, intake.is_open())?;
        self.circuits.after(&self.view, &self.roles, world, (recovery, puts_off), self.ticked, now)?;
        self.view.values().filter(|task| !left(task)).try_for_each(|task| self.task_is_sound(task))
    }

    fn task_is_sound(&self, task: &Task) -> Checked {
        let alone = self.roles.of(task.uid).next().is_none();
        check(!alone || task.alerts.is_empty(), || format!("{} has ended, its alerts have not", task.name))?;
        check(alone || !task.state.is_ended(), || format!("{} has ended, and something lives", task.name))?;
        let keys: BTreeSet<_> = task.alerts.iter().map(|open| (open.kind, open.generation, open.attempt)).collect();
        check(keys.len() == task.alerts.len(), || format!("{} has the same alert twice", task.name))?;
        self.roles.after(task)
    }

    /// Nothing is left that a client could still wait to see.
    pub(super) fn everything_is_visible(&self) -> Checked {
        check(self.commits.is_at_rest(self.head), || "something never becomes visible".to_owned())
    }

    /// Whether a candidate that was built was left behind.
    pub(super) fn has_builds(&self) -> bool {
        self.swaps.has_builds()
    }
}
