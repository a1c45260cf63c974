//! Whether anything becomes visible before it is committed, or out of order (lifecycle.md §6).

use std::collections::{BTreeMap, VecDeque};

use super::super::super::{Effect, Input};
use super::super::world::{Note, World};
use super::{Checked, check};
use crate::model::{InstanceId, Sequence};

#[derive(Debug, Default)]
pub(super) struct Commits {
    committed: Sequence,
    /// The answers that are not released yet, in their order.
    answers: VecDeque<Sequence>,
    /// The instances that were replaced by what is not known to be committed.
    replaced: BTreeMap<InstanceId, Sequence>,
}

impl Commits {
    /// What the journal has made visible of the log up to `head`.
    pub(super) fn hears(&mut self, notes: Vec<Note>, head: Sequence) -> Checked {
        for note in notes {
            match note {
                Note::Committed(sequence) => {
                    let forward = self.committed < sequence && sequence <= head;
                    check(forward, || format!("{sequence} is committed after {} at {head}", self.committed))?;
                    self.committed = sequence;
                }
                Note::Answered(after) => {
                    let first = self.answers.pop_front();
                    check(first == Some(after), || format!("an answer after {after} overtakes that after {first:?}"))?;
                    check(after <= self.committed, || {
                        format!("an answer shows {after}, committed: {}", self.committed)
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Whether everything up to there is visible.
    pub(super) fn shows(&self, place: Sequence) -> bool {
        place <= self.committed
    }

    /// What was committed is kept, whatever else is.
    pub(super) fn crashed(&mut self, head: Sequence) -> Checked {
        check(self.committed <= head, || format!("{} was committed, and {head} kept", self.committed))?;
        *self = Self { committed: head, ..Self::default() };
        Ok(())
    }

    pub(super) fn before(&mut self, input: &Input) -> Checked {
        let Input::Committed(id) = input else { return Ok(()) };
        let after =
            self.replaced.remove(id).ok_or_else(|| format!("nobody waits for the commit that replaces {id}"))?;
        check(after <= self.committed, || format!("{id} is told of {after}, committed: {}", self.committed))
    }

    /// Who does not wait is answered at once.
    pub(super) fn effect(&mut self, effect: &Effect, world: &World) {
        match effect {
            Effect::Answer { after, .. } if world.journal.keeps_waiting(*after) => self.answers.push_back(*after),
            Effect::AwaitCommit { after, instance } => {
                self.replaced.insert(*instance, *after);
            }
            _ => {}
        }
    }

    /// At rest, everything is committed, and nobody waits.
    pub(super) fn is_at_rest(&self, head: Sequence) -> bool {
        self.committed == head && self.answers.is_empty() && self.replaced.is_empty()
    }
}
