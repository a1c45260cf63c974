//! The journal, as far as the machine depends on it: what a turn appends goes into one transaction, the transactions come in order and
//! later than what they commit, and release what waits for them in the order in which that was appended. A crash leaves what was
//! committed, and of what is being written all or nothing.

use crate::model::{InstanceId, Remembered, Sequence};

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
    committed: Sequence,
    /// The requests that are committed, the oldest first.
    requests: Vec<Remembered>,
    /// The present transaction.
    writing: Option<Group>,
    /// What the next one will take.
    waiting: Group,
    notes: Vec<Note>,
}

/// What is committed together, and what that releases.
#[derive(Debug, Default)]
struct Group {
    through: Sequence,
    requests: Vec<Remembered>,
    releases: Vec<Release>,
}

#[derive(Clone, Copy, Debug)]
enum Release {
    /// An answer that shows the log up to there.
    Client(Sequence),
    /// Of a cut-over: the instance that was replaced.
    Replaced(InstanceId),
}

impl Journal {
    pub(super) fn append(&mut self, sequence: Sequence) {
        self.appended = sequence;
    }

    pub(super) fn remember(&mut self, request: Remembered) {
        self.waiting.requests.push(request);
    }

    pub(super) fn answer(&mut self, after: Sequence) {
        self.waiting.releases.push(Release::Client(after));
    }

    pub(super) fn await_commit(&mut self, replaced: InstanceId) {
        self.waiting.releases.push(Release::Replaced(replaced));
    }

    /// At the end of a turn: begins a transaction, where there is something to write and nothing is being written. Where there is
    /// nothing to write, answers wait for nothing.
    pub(super) fn begin(&mut self) -> bool {
        if self.writing.is_some() {
            return false;
        }
        let group = Group { through: self.appended, ..std::mem::take(&mut self.waiting) };
        let begins = group.through > self.committed || !group.requests.is_empty();
        if begins {
            self.writing = Some(group);
        } else {
            self.release(group.releases);
        }
        begins
    }

    /// The transaction is done: which instances have been replaced for good.
    pub(super) fn written(&mut self) -> Vec<InstanceId> {
        let Some(group) = self.writing.take() else { return Vec::new() };
        if group.through > self.committed {
            self.notes.push(Note::Committed(group.through));
        }
        self.keep(group.through, group.requests);
        self.release(group.releases)
    }

    fn keep(&mut self, through: Sequence, requests: Vec<Remembered>) {
        self.committed = through;
        self.requests.extend(requests);
    }

    fn release(&mut self, releases: Vec<Release>) -> Vec<InstanceId> {
        let mut replaced = Vec::new();
        for release in releases {
            match release {
                Release::Client(after) => self.notes.push(Note::Answered(after)),
                Release::Replaced(instance) => replaced.push(instance),
            }
        }
        replaced
    }

    /// What has become visible since the last call.
    pub(in crate::lifecycle::simulation) fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// The server is killed; what is being written has `come_through` whole, or not at all. The log's head, and the requests that
    /// are remembered.
    pub(super) fn crash(&mut self, come_through: bool) -> (Sequence, Vec<Remembered>) {
        if let Some(group) = self.writing.take().filter(|_| come_through) {
            self.keep(group.through, group.requests);
        }
        self.waiting = Group::default();
        self.appended = self.committed;
        (self.committed, self.requests.clone())
    }
}
