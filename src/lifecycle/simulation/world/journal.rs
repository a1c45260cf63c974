//! The journal, as far as the machine depends on it: what a turn appends goes into one transaction, the transactions come in order and
//! later than what they commit, and release what waits for them in the order in which that was appended. A crash leaves what was
//! committed, and of what is being written all or nothing.

use std::time::Duration;

use crate::model::{Admission, InstanceId, Mono, Remembered, Sequence};

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
    committed: Sequence,
    /// The requests that are committed, the oldest first.
    requests: Vec<Remembered>,
    /// The present transaction.
    writing: Option<Group>,
    /// What the next one will take.
    waiting: Group,
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
    /// Whether nothing had to be written before.
    pub(super) fn append(&mut self, sequence: Sequence, now: Mono) -> bool {
        self.appended = sequence;
        self.waits_since(now)
    }

    /// Whether nothing had to be written before.
    pub(super) fn remember(&mut self, request: Remembered, now: Mono) -> bool {
        self.waiting.requests.push(request);
        self.waits_since(now)
    }

    fn waits_since(&mut self, now: Mono) -> bool {
        let first = self.since.is_none();
        self.since.get_or_insert(now);
        first
    }

    /// As the shell has it: nobody waits who need not, or who might for long.
    pub(super) fn answer(&mut self, after: Sequence) {
        if self.keeps_waiting(after) {
            self.waiting.releases.push(Release::Client(after));
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
    pub(in crate::lifecycle::simulation) fn look(&mut self, now: Mono) -> Option<Admission> {
        let stalled = self.since.is_some_and(|since| now.since(since) >= STALLED_AFTER);
        let condition = Condition { stalled, full: self.fails || self.nearly_full };
        let changed = std::mem::replace(&mut self.told, condition) != condition;
        changed.then_some(match condition {
            Condition { full: true, .. } => Admission::Full,
            Condition { stalled: true, .. } => Admission::Stalled,
            Condition { .. } => Admission::Open,
        })
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
    pub(super) fn written(&mut self, now: Mono) -> Vec<InstanceId> {
        self.fails = false;
        let Some(group) = self.writing.take() else { return Vec::new() };
        if group.through > self.committed {
            self.notes.push(Note::Committed(group.through));
        }
        self.keep(group.through, group.requests);
        let more = self.appended > self.committed || !self.waiting.requests.is_empty();
        self.since = more.then_some(now);
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
    /// are remembered. The next server thinks well of it until somebody looks; what space there is does not change by that.
    pub(super) fn crash(&mut self, come_through: bool) -> (Sequence, Vec<Remembered>) {
        if let Some(group) = self.writing.take().filter(|_| come_through) {
            self.keep(group.through, group.requests);
        }
        self.waiting = Group::default();
        self.appended = self.committed;
        (self.since, self.fails, self.told) = (None, false, Condition::default());
        (self.committed, self.requests.clone())
    }
}
