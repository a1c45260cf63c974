//! The journal, as far as the machine depends on it: commits come in order, later than what they commit, and release what waits for
//! them in the order in which that was appended.

use std::collections::VecDeque;

use crate::model::{InstanceId, Sequence};

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
    pub(super) fn append(&mut self, sequence: Sequence) {
        self.appended = sequence;
    }

    pub(super) fn answer(&mut self, after: Sequence) {
        self.waiting.push_back(Release { after, what: Waits::Client });
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
    pub(super) fn written(&mut self) -> Vec<InstanceId> {
        if let Some(sequence) = self.writing.take() {
            self.committed = sequence;
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
