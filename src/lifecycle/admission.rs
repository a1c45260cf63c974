//! What is refused while the journal takes nothing in, and what is put off until it does (lifecycle.md §6). Facts are recorded
//! whenever they come, so what makes them without end has to wait: then what piles up is a fixed number of facts for each task.

use std::collections::BTreeSet;

use super::io::{Chance, Command, Reply};
use super::{Lifecycle, Timer};
use crate::model::{Admission, AlertKind, InstanceId, Now, Refusal, Sequence, Uid};

/// Whether the journal takes in what clients command, and what waits until it does. Timers that wait are where timers are.
#[derive(Debug, Default)]
pub(super) struct Intake {
    admission: Admission,
    /// The tasks of which an instance is to be started that waited for another one to end.
    launches: BTreeSet<Uid>,
    /// The tasks that are to go back to the spec before.
    reverts: BTreeSet<Uid>,
    /// The alerts whose reason is gone.
    resolutions: BTreeSet<(InstanceId, AlertKind)>,
}

impl Intake {
    pub(super) fn is_open(&self) -> bool {
        self.admission == Admission::Open
    }

    pub(super) fn put_off_launch(&mut self, uid: Uid) {
        self.launches.insert(uid);
    }

    pub(super) fn put_off_revert(&mut self, uid: Uid) {
        self.reverts.insert(uid);
    }

    pub(super) fn put_off_resolution(&mut self, id: InstanceId, kind: AlertKind) {
        self.resolutions.insert((id, kind));
    }

    /// The alert has a reason again.
    pub(super) fn keep_alert(&mut self, id: InstanceId, kind: AlertKind) {
        self.resolutions.remove(&(id, kind));
    }
}

impl<C: Chance> Lifecycle<C> {
    /// What was put off is made up for once the journal is open again: timers with the next tick, which comes after the exits that
    /// have come by then.
    pub(super) fn on_admission(&mut self, admission: Admission, now: Now) {
        self.intake.admission = admission;
        if !self.intake.is_open() {
            return;
        }
        self.timers.call_in(now.mono);
        for uid in std::mem::take(&mut self.intake.launches) {
            self.settle_held(uid, now);
        }
        for uid in std::mem::take(&mut self.intake.reverts) {
            self.revert(uid, now);
        }
        for (id, kind) in std::mem::take(&mut self.intake.resolutions) {
            self.resolve_live(id, kind, now);
        }
    }

    /// Whether what is due may happen now. The deadlines of a shutdown, and what is told of them, always may.
    pub(super) fn is_admitted(&self, timer: Timer) -> bool {
        let waits = match timer {
            Timer::Healthy(_)
            | Timer::Restart(_)
            | Timer::PauseExpires(_)
            | Timer::Circuit(_)
            | Timer::Override(_)
            | Timer::Expire(_) => true,
            Timer::StartTimeout(_)
            | Timer::Grace(_)
            | Timer::Abort(_)
            | Timer::SlowCancellation(_)
            | Timer::Observed(_)
            | Timer::LongRunning(_) => false,
        };
        self.intake.is_open() || !waits
    }

    /// Why a command that was not done before is refused. A cancel always acts, and a dry run changes nothing.
    pub(super) fn admit(&self, command: &Command) -> Result<(), Refusal> {
        if command.is_dry() || matches!(command, Command::Cancel(_)) { Ok(()) } else { self.admit_new() }
    }

    /// Why nothing that may leave an event is taken in.
    pub(super) fn admit_new(&self) -> Result<(), Refusal> {
        match self.intake.admission {
            Admission::Open => Ok(()),
            Admission::Stalled => Err(Refusal::JournalStalled),
            Admission::Full => Err(Refusal::StoreFull),
        }
    }

    /// What has to be visible before a reply is. With an open journal simply everything, for that is there in a moment; with another
    /// one only what the reply shows, so that what has long been committed waits for nothing.
    pub(super) fn shown_by(&self, reply: &Result<Reply, Refusal>) -> Sequence {
        let head = self.log.head;
        match reply {
            _ if self.intake.is_open() => head,
            Err(Refusal::JournalStalled | Refusal::StoreFull) => Sequence::default(),
            Ok(Reply::Accepted { task, sequence }) => {
                let told = self.tasks.get(&task.uid).map_or(head, |entry| entry.told);
                told.max(*sequence)
            }
            Ok(Reply::Deleted { sequence }) => *sequence,
            Ok(Reply::Checking { .. } | Reply::Permission { .. } | Reply::Dispositions(_)) | Err(_) => head,
        }
    }
}
