//! The log from its beginning, and what can be counted in it: all that a crash leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::roles::Key;
use super::{Checked, View, check};
use crate::model::*;

#[derive(Debug, Default)]
pub(super) struct History {
    log: Vec<Event>,
    /// The log's head after each step.
    steps: Vec<Sequence>,
}

impl History {
    pub(super) fn event(&mut self, event: &Event) {
        self.log.push(event.clone());
    }

    pub(super) fn step_ends(&mut self, head: Sequence) {
        if self.steps.last().is_none_or(|last| *last < head) {
            self.steps.push(head);
        }
    }

    /// Nothing after `head` has been kept.
    pub(super) fn cut(&mut self, head: Sequence) -> Checked {
        let whole = head == Sequence::default() || self.steps.binary_search(&head).is_ok();
        check(whole, || format!("the log is cut at {head}, in the midst of a step"))?;
        self.log.retain(|event| event.sequence <= head);
        self.steps.retain(|step| *step <= head);
        Ok(())
    }

    /// What clients see.
    pub(super) fn fold(&self) -> View {
        let mut view = View::new();
        for (event, task) in self.with_tasks() {
            match event.kind {
                EventType::TaskDeleted => view.remove(&task.name),
                _ => view.insert(task.name.clone(), Arc::clone(task)),
            };
        }
        view
    }

    /// The task as it stood at a place in the log.
    pub(super) fn at(&self, name: &TaskName, place: Sequence) -> Option<&Arc<Task>> {
        let earlier = self.log.iter().rev().filter(|event| event.sequence <= place);
        let mut last = earlier.filter_map(|event| Some((event.kind, event.task.as_ref()?)));
        let found = last.find(|(_, task)| task.name == *name)?;
        Some(found.1).filter(|_| found.0 != EventType::TaskDeleted)
    }

    pub(super) fn with_tasks(&self) -> impl Iterator<Item = (&Event, &Arc<Task>)> {
        self.log.iter().filter_map(|event| Some((event, event.task.as_ref()?)))
    }

    fn instances(&self, kind: EventType) -> impl Iterator<Item = Key> {
        let of_kind = self.with_tasks().filter(move |(event, _)| event.kind == kind);
        of_kind.map(|(event, task)| (task.uid, event.generation, event.attempt))
    }

    /// Every instance that was ever started.
    pub(super) fn started(&self) -> BTreeSet<Key> {
        self.instances(EventType::InstanceStarting).collect()
    }

    /// Each instance that was started has ended, and once.
    pub(super) fn is_over(&self) -> Checked {
        let mut started: BTreeMap<Key, usize> = self.started().into_iter().map(|key| (key, 0)).collect();
        for key in self.instances(EventType::InstanceEnded) {
            *started.get_mut(&key).ok_or_else(|| format!("{key:?} has ended, and never started"))? += 1;
        }
        let wrong = started.into_iter().find(|(_, ends)| *ends != 1);
        check(wrong.is_none(), || format!("an instance, and how often it has ended: {wrong:?}"))
    }

    /// The newest generation that was given to a spec of each task.
    pub(super) fn generations(&self) -> BTreeMap<Uid, Generation> {
        let mut newest = BTreeMap::new();
        for (event, task) in self.with_tasks() {
            let given = match (event.kind, &task.swap) {
                (EventType::TaskCreated, _) => task.generation,
                (EventType::SwapStarted, Some(swap)) => swap.to_generation,
                _ => continue,
            };
            newest.entry(task.uid).and_modify(|known: &mut Generation| *known = given.max(*known)).or_insert(given);
        }
        newest
    }

    /// The restarts of each task since its newest spec took over.
    pub(super) fn restarts(&self) -> BTreeMap<Uid, u32> {
        let mut restarts = BTreeMap::new();
        for (event, task) in self.with_tasks() {
            match (event.kind, &event.detail) {
                (EventType::RestartScheduled, _) => *restarts.entry(task.uid).or_default() += 1,
                (EventType::SwapCommitted, Some(Detail::Swap(swap))) if swap.from_generation != swap.to_generation => {
                    restarts.remove(&task.uid);
                }
                _ => {}
            }
        }
        restarts
    }

    /// The highest epoch that the circuit of each task has had.
    pub(super) fn epochs(&self) -> BTreeMap<Uid, Epoch> {
        let mut epochs = BTreeMap::new();
        for (_, task) in self.with_tasks() {
            let epoch = task.circuit.epoch;
            epochs.entry(task.uid).and_modify(|known: &mut Epoch| *known = epoch.max(*known)).or_insert(epoch);
        }
        epochs
    }

    /// The latest time of any event.
    pub(super) fn latest(&self) -> Timestamp {
        self.log.iter().map(|event| event.time).max().unwrap_or_default()
    }
}
