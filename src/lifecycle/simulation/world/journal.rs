//! The journal, as far as the machine depends on it: commits come in order, later than what they commit, and release what waits for
//! them in the order in which that was appended.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::{Admission, InstanceId, Mono, Sequence};

/// After how long without a commit it counts as stalled, where something waits.
pub(super) const STALLED_AFTER: Duration = Duration::from_secs(1);

/// What has become visible.
#[derive(Clone, Copy, Debug)]
pub(in crate::lifecycle::simulation) enum Note {
    /// Everything up to there.
    Committed(Sequence),
    /// An answer that waited for that.
    Answered(Sequence),
}

#[derive(Debug, Default)]
pub(in crate::lifecycle::simulation) struct Journal {
    appended: Sequence,
    /// Up to where the present transaction goes.
    writing: Option<Sequence>,
    committed: Sequence,
    waiting: VecDeque<Release>,
    notes: Vec<Note>,
    /// Since when something waits, without a commit.
    since: Option<Mono>,
    /// The present transaction fails for want of space.
    pub(super) fails: bool,
    /// There is hardly any left.
    pub(super) nearly_full: bool,
    /// How it was when the machine was told last.
    told: Condition,
    /// Its storage works well from here on.
    pub(in crate::lifecycle::simulation) steady: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Condition {
    stalled: bool,
    full: bool,
}

#[derive(Clone, Copy, Debug)]
struct Release {
    after: Sequence,
    what: Waits,
}

#[derive(Clone, Copy, Debug)]
enum Waits {
    Client,
    /// Of a cut-over: the instance that was replaced.
    Replaced(InstanceId),
}

impl Journal {
    /// Whether it has waited for nothing before.
    pub(super) fn append(&mut self, sequence: Sequence, now: Mono) -> bool {
        self.appended = sequence;
        let first = self.since.is_none();
        self.since.get_or_insert(now);
        first
    }

    /// As the shell has it: nobody waits who need not, or who might for long.
    pub(super) fn answer(&mut self, after: Sequence) {
        if self.keeps_waiting(after) {
            self.waiting.push_back(Release { after, what: Waits::Client });
        }
    }

    /// Whether an answer waits for the commit; if not, it is given at once: itself if what it shows is committed, or else that it is
    /// not yet durable.
    pub(in crate::lifecycle::simulation) fn keeps_waiting(&self, after: Sequence) -> bool {
        match self.told {
            Condition { stalled: false, full: false } => true,
            Condition { stalled, .. } => after > self.committed && !stalled,
        }
    }

    /// Looks how it does: what the machine is told, if that has changed.
    pub(super) fn look(&mut self, now: Mono) -> Option<Admission> {
        let stalled = self.since.is_some_and(|since| now.since(since) >= STALLED_AFTER);
        let condition = Condition { stalled, full: self.fails || self.nearly_full };
        let changed = std::mem::replace(&mut self.told, condition) != condition;
        changed.then_some(match condition {
            Condition { full: true, .. } => Admission::Full,
            Condition { stalled: true, .. } => Admission::Stalled,
            Condition { .. } => Admission::Open,
        })
    }

    pub(super) fn await_commit(&mut self, after: Sequence, replaced: InstanceId) {
        self.waiting.push_back(Release { after, what: Waits::Replaced(replaced) });
    }

    /// Begins a transaction, where there is something to write and nothing is being written.
    pub(super) fn begin(&mut self) -> bool {
        let begins = self.writing.is_none() && self.appended > self.committed;
        if begins {
            self.writing = Some(self.appended);
        }
        begins
    }

    /// The transaction is done: which instances have been replaced for good.
    pub(super) fn written(&mut self, now: Mono) -> Vec<InstanceId> {
        self.fails = false;
        if let Some(sequence) = self.writing.take() {
            self.committed = sequence;
            self.since = (self.appended > sequence).then_some(now);
            self.notes.push(Note::Committed(sequence));
        }
        self.release()
    }

    /// Lets everything go that waits for nothing any more.
    pub(super) fn release(&mut self) -> Vec<InstanceId> {
        let mut replaced = Vec::new();
        while let Some(Release { after, what }) = self.waiting.pop_front_if(|release| release.after <= self.committed) {
            match what {
                Waits::Client => self.notes.push(Note::Answered(after)),
                Waits::Replaced(instance) => replaced.push(instance),
            }
        }
        replaced
    }

    /// What has become visible since the last call.
    pub(in crate::lifecycle::simulation) fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }
}
