//! What the oracle forgets when the server is killed, and what it must not.

use std::hash::Hash;
use std::sync::Arc;

use super::super::super::Reply;
use super::promises::Promises;
use super::recovery::{Crash, Kept};
use super::roles::Roles;
use super::{Checked, Oracle, View};
use crate::model::*;

impl Oracle {
    /// The server was killed, and this is left. The tasks, as they stand in the log that was kept.
    pub(in crate::lifecycle::simulation) fn crashed(&mut self, crash: &Crash<'_>) -> Result<Vec<Arc<Task>>, String> {
        let Crash { head, requests, unknown_kinds, now } = *crash;
        format!("killed at {head}").hash(&mut self.hasher);
        self.commits.crashed(head)?;
        self.history.cut(head)?;
        (self.head, self.view) = (head, self.history.fold());
        let kept = Kept { history: &self.history, view: &self.view, now };
        self.answers.crashed(head, requests, now)?;
        self.promises = Promises::default();
        self.roles.crashed(&kept);
        self.swaps.crashed(&kept);
        self.circuits.crashed(&kept);
        self.pauses.crashed(&kept);
        self.observations.crashed(&kept);
        self.relief.crashed();
        self.recovery.crashed(&kept, unknown_kinds);
        self.intake.crashed(head, &self.view);
        self.launched.clear();
        self.ended_in_step.clear();
        self.step.clear();
        (self.must_end, self.draining, self.drain, self.ticked) = (None, false, None, false);
        Ok(self.view.values().cloned().collect())
    }

    /// Where the present command is about a task that is taken over by that: what there was right after the command itself.
    pub(super) fn taken_over(&self, reply: &Result<Reply, Refusal>) -> Option<View> {
        let name = self.answers.asked().filter(|_| self.recovery.is_commanded())?;
        let place = match reply {
            Ok(Reply::Accepted { sequence, .. }) => *sequence,
            _ => self.head,
        };
        let mut view = self.view.clone();
        match self.history.at(name, place) {
            Some(task) => view.insert(name.clone(), Arc::clone(task)),
            None => view.remove(name),
        };
        Some(view)
    }

    /// Everything that was ever started, under whatever server, has ended once.
    pub(in crate::lifecycle::simulation) fn everything_has_ended_once(&self) -> Checked {
        self.history.is_over()
    }
}

impl Roles {
    /// Nothing lives any more, and what the log has lost never was.
    fn crashed(&mut self, kept: &Kept<'_>) {
        let held = kept.view.values().filter_map(|task| Some((task.uid, task.fate?))).collect();
        *self = Self { known: kept.history.started(), restarts: kept.history.restarts(), held, ..Self::default() };
    }
}
