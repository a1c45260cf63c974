//! Whether the stories of the generations, which are folded from events alone, tell what the tasks show.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Checked, check};
use crate::model::*;

#[derive(Debug, Default)]
pub(super) struct Generations(BTreeMap<Uid, crate::model::History>);

impl Generations {
    pub(super) fn of(&self, uid: Uid) -> &[KeptGeneration] {
        self.0.get(&uid).map_or(&[], |history| history.generations())
    }

    /// As the stores do.
    pub(super) fn event(&mut self, event: &Event, task: &Task) -> Checked {
        if event.kind == EventType::TaskDeleted {
            self.0.remove(&task.uid);
            return Ok(());
        }
        let history = self.0.entry(task.uid).or_default();
        history.note(event);
        tells(history.generations(), task)
    }

    /// Folded anew from the log that was kept.
    pub(super) fn crashed<'a>(&mut self, mut log: impl Iterator<Item = (&'a Event, &'a Arc<Task>)>) -> Checked {
        *self = Self::default();
        log.try_for_each(|(event, task)| self.event(event, task))
    }
}

/// One generation is active, and it is the task's; the newest swap stands where its generation does; and no more are kept than must be.
fn tells(kept: &[KeptGeneration], task: &Task) -> Checked {
    let wrong = |what: &str| format!("{what}: {kept:?} of {task:?}");
    let numbers: Vec<_> = kept.iter().map(|kept| kept.generation).collect();
    check(numbers.is_sorted_by(|a, b| a < b), || wrong("out of order"))?;
    // The active one may be older than the newest ten.
    check(numbers.len() <= limits::KEPT_GENERATIONS + 1, || wrong("too many are kept"))?;
    check(kept.iter().all(|kept| kept.story.origin.is_some()), || wrong("one has no origin"))?;
    let is_active = |kept: &&KeptGeneration| matches!(kept.story.standing, Standing::Active { since: Some(_) });
    let mut active = kept.iter().filter(is_active);
    let right = active.next().is_some_and(|kept| {
        let annotations = kept.story.annotations.as_ref() == Some(&task.annotations);
        kept.generation == task.generation && kept.spec == task.spec && annotations
    });
    check(right && active.next().is_none(), || wrong("not the active one"))?;
    let candidates = kept.iter().filter(|kept| kept.story.standing == Standing::Candidate);
    let undecided = task.swap.iter().filter(|swap| swap.phase < SwapPhase::Committed);
    check(candidates.map(|kept| kept.generation).eq(undecided.map(|swap| swap.to_generation)), || wrong("candidates"))?;
    let Some(swap) = &task.swap else { return Ok(()) };
    let newest = kept.iter().find(|kept| kept.generation == swap.to_generation);
    let right = newest.is_some_and(|kept| match &kept.story.standing {
        Standing::RolledBack { error, .. } => swap.phase == SwapPhase::RolledBack && *error == swap.error,
        Standing::Cancelled { error, .. } => swap.phase == SwapPhase::Cancelled && *error == swap.error,
        Standing::Candidate => swap.phase < SwapPhase::Committed && kept.spec == swap.to_spec,
        Standing::Active { .. } => {
            matches!(swap.phase, SwapPhase::Committed | SwapPhase::Draining | SwapPhase::Done)
        }
        Standing::Superseded { .. } | Standing::Reverted { .. } | Standing::Unknown => false,
    });
    check(right, || wrong("the newest swap"))?;
    let is_decided = matches!(swap.phase, SwapPhase::Committed | SwapPhase::Draining | SwapPhase::Done);
    let left = kept.iter().find(|kept| is_decided && kept.generation == swap.from_generation);
    let right =
        left.filter(|left| left.generation != swap.to_generation).is_none_or(|left| match &left.story.standing {
            Standing::Superseded { .. } => swap.revert_reason.is_empty(),
            Standing::Reverted { error, .. } => *error == swap.revert_reason && !error.is_empty(),
            _ => false,
        });
    check(right, || wrong("what the newest swap has replaced"))
}
