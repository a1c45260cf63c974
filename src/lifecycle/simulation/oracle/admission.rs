//! What happens, and what does not, while the journal takes nothing in (lifecycle.md §6).

use std::collections::BTreeMap;

use super::super::super::{Command, Effect, Input, Launch, Reply};
use super::super::world::World;
use super::recovery::Recovery;
use super::{Checked, View, check};
use crate::model::*;

/// How many facts of a task may pile up: two instances that become ready, stop, abort, stick and end, each with every alert raised and
/// resolved; a swap's candidate that does, too; and what becomes of the swap, the circuit and the task.
const MOST: usize = 64;
/// And for each time that an instance of it is given up because another one blocks its thread: its end and the next one's life.
const DISPLACED: usize = 20;

#[derive(Debug, Default)]
pub(super) struct Intake {
    admission: Admission,
    /// When it was opened again, until the next tick: then what was put off is made up for.
    opened: Option<Mono>,
    /// The last event of each task.
    told: BTreeMap<Uid, Sequence>,
    /// What each task has to say since the journal took in nothing any more, and how much of that there may be.
    piled: BTreeMap<Uid, (usize, usize)>,
    input: Option<Input>,
}

impl Intake {
    /// The next server has yet to hear how the journal does, and of the tasks it has nothing but what the log shows.
    pub(super) fn crashed(&mut self, head: Sequence, view: &View) {
        *self = Self { told: view.values().map(|task| (task.uid, head)).collect(), ..Self::default() };
    }

    pub(super) fn before(&mut self, input: &Input, now: Now) {
        match input {
            Input::Admission(admission) => {
                self.admission = *admission;
                if self.is_open() {
                    self.opened = Some(now.mono);
                    self.piled.clear();
                }
            }
            Input::Tick => self.opened = None,
            _ => {}
        }
        self.input = Some(input.clone());
    }

    pub(super) fn is_open(&self) -> bool {
        self.admission == Admission::Open
    }

    /// Whether what is due may still wait: for the journal, or for the tick that follows.
    pub(super) fn puts_off(&self, now: Now) -> bool {
        !self.is_open() || self.opened == Some(now.mono)
    }

    /// Whether the present step is the one that opens it.
    pub(super) fn opens(&self) -> bool {
        self.is_open() && matches!(self.input, Some(Input::Admission(_)))
    }

    /// The last event of a task.
    pub(super) fn told(&self, uid: Uid) -> Sequence {
        self.told.get(&uid).copied().unwrap_or_default()
    }

    /// Why a command that is new is refused.
    pub(super) fn refuses(&self, command: &Command) -> Option<Refusal> {
        let passes = match command {
            Command::Start(start, _) => start.validate_only,
            Command::Swap(swap, _) => swap.validate_only,
            Command::Vain(rollback, _) => rollback.validate_only,
            Command::Cancel(_) => true,
            Command::Delete(_) | Command::Pause(_) | Command::Resume(_) | Command::Run(_) => false,
            Command::Override(_) | Command::ResetCircuit(_) => false,
        };
        self.refuses_new().filter(|_| !passes)
    }

    /// Why nothing new is taken in, and no caller answered.
    pub(super) fn refuses_new(&self) -> Option<Refusal> {
        match self.admission {
            Admission::Open => None,
            Admission::Stalled => Some(Refusal::JournalStalled),
            Admission::Full => Some(Refusal::StoreFull),
        }
    }

    /// An answer waits for everything that it shows; while the journal takes nothing in, for no more.
    pub(super) fn answered(&self, after: Sequence, reply: &Result<Reply, Refusal>, head: Sequence) -> Checked {
        let wrong = || format!("{reply:?} waits for {after} at {head}");
        if matches!(self.input, Some(Input::Call(_))) {
            return check(after == self.shown_to_callers(reply), wrong);
        }
        if self.is_open() {
            return check(after == head, wrong);
        }
        match reply {
            Err(Refusal::JournalStalled | Refusal::StoreFull) => check(after == Sequence::default(), wrong),
            Ok(Reply::Accepted { task, sequence }) => {
                let shown = self.told.get(&task.uid).copied().unwrap_or(head);
                check(after == shown.max(*sequence) && after <= head, wrong)
            }
            Ok(Reply::Deleted { sequence }) => check(after == *sequence, wrong),
            Ok(Reply::Checking { .. } | Reply::Permission { .. } | Reply::Dispositions(_)) => Err(wrong()),
            Err(_) => check(after == head, wrong),
        }
    }

    /// Callers wait for what has come of their call, and for the epoch that they are told.
    fn shown_to_callers(&self, reply: &Result<Reply, Refusal>) -> Sequence {
        match reply {
            Ok(Reply::Permission { uid, .. }) => self.told(*uid),
            _ => Sequence::default(),
        }
    }

    pub(super) fn event(&mut self, event: &Event, task: &Task, ended: bool) -> Checked {
        use EventType::{
            AlertResolved, CircuitHalfOpened, CircuitOverridden, CircuitRecovered, CircuitTripped, SwapStarted,
            TaskCreated, TaskDeleted, TaskResumed,
        };
        self.told.insert(task.uid, event.sequence);
        if self.is_open() {
            return Ok(());
        }
        let waits = match event.kind {
            TaskCreated | TaskDeleted | TaskResumed | SwapStarted => true,
            CircuitTripped | CircuitHalfOpened | CircuitRecovered | CircuitOverridden => true,
            AlertResolved => !ended,
            _ => false,
        };
        check(!waits, || format!("{:?} of {}, and the journal is {:?}", event.kind, task.name, self.admission))?;
        self.piles(task.uid)
    }

    pub(super) fn effect(&mut self, effect: &Effect, view: &View, recovery: &Recovery, world: &World) -> Checked {
        match effect {
            _ if self.is_open() => Ok(()),
            Effect::Remember(request) => self.piles(request.uid),
            Effect::Displace(id) => {
                if let Some((uid, ..)) = world.key(*id) {
                    self.piled.entry(uid).or_insert((0, MOST)).1 += DISPLACED;
                }
                Ok(())
            }
            Effect::Counted(uid, _) => {
                let swapped = |task: &Task| task.uid == *uid && task.swap.is_some();
                check(view.values().any(|task| swapped(task)), || format!("the circuit of {uid} is stepped"))
            }
            Effect::Launch(launch) => self.launched(launch, recovery),
            _ => Ok(()),
        }
    }

    /// Nothing is started but for a swap that had begun, in the place of what was displaced, or where an earlier server has left it.
    fn launched(&self, launch: &Launch, recovery: &Recovery) -> Checked {
        let swapped = launch.generation != launch.task.generation || matches!(self.input, Some(Input::Built(..)));
        let displaced = matches!(self.input, Some(Input::Stalled { .. } | Input::HeldUp(_)));
        check(swapped || displaced || recovery.is_at_hand(launch.task.uid), || {
            format!("{} is started, and the journal is {:?}", launch.task.name, self.admission)
        })
    }

    fn piles(&mut self, uid: Uid) -> Checked {
        let (piled, most) = self.piled.entry(uid).or_insert((0, MOST));
        *piled += 1;
        check(piled <= most, || format!("{piled} facts of {uid} pile up"))
    }
}
