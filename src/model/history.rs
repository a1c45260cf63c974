//! What has become of a task's generations: each one's story, folded from the task's events.

use std::sync::Arc;

use super::{Annotations, Cause, Detail, Event, EventType, Generation, SwapPhase, Task, TaskSpec, Timestamp, limits};

/// A generation of a task that is still kept.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptGeneration {
    /// Its number.
    pub generation: Generation,
    /// Its spec.
    pub spec: Arc<TaskSpec>,
    /// What is known of it besides.
    pub story: Story,
}

/// What has become of a generation. The default is that of one which a server made that kept no stories.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Story {
    /// How it came about, if that is known.
    pub origin: Option<Origin>,
    /// The task's annotations as they last stood while it was the active one; `None` where it never was, or that is not known.
    pub annotations: Option<Annotations>,
    /// Where it stands.
    pub standing: Standing,
}

/// How a generation came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// When it was accepted.
    pub time: Timestamp,
    /// By whose request, and why.
    pub cause: Cause,
    /// Whose spec it has, where it was a roll-back.
    pub rollback_to: Option<Generation>,
}

/// Where a generation stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Not known: it is of a server that kept no stories.
    #[default]
    Unknown,
    /// The swap that brings it in has not been decided.
    Candidate,
    /// It is the task's.
    Active {
        /// Since when, if that is known.
        since: Option<Timestamp>,
    },
    /// It was the task's.
    Superseded {
        /// Since when, if that is known.
        since: Option<Timestamp>,
        /// Until when.
        until: Timestamp,
    },
    /// It was the task's, and failed while it was observed: the server itself went back to the spec before.
    Reverted {
        /// Since when it was the task's, if that is known.
        since: Option<Timestamp>,
        /// Until when.
        until: Timestamp,
        /// How it failed; not empty.
        error: String,
    },
    /// Its swap was rolled back.
    RolledBack {
        /// When.
        time: Timestamp,
        /// Why.
        error: String,
    },
    /// A cancel or a drain came before its swap was decided.
    Cancelled {
        /// When.
        time: Timestamp,
        /// Why.
        error: String,
    },
}

/// What an event says of one generation.
#[derive(Clone, Debug, PartialEq)]
pub enum Chapter {
    /// It was accepted.
    Begins(Origin),
    /// It became the task's, with these annotations.
    Activated(Timestamp, Annotations),
    /// Its task has other annotations.
    Annotated(Annotations),
    /// Another one has become the task's.
    Superseded(Timestamp),
    /// It has failed so, and the spec before it has become the task's again.
    Reverted(Timestamp, String),
    /// Its swap has ended without it.
    GivenUp(SwapPhase, Timestamp, String),
}

/// What an event says of the generations of its task.
pub fn chapters(event: &Event) -> Vec<(Generation, Chapter)> {
    let Some(task) = event.task.as_deref() else { return Vec::new() };
    let origin = |rollback_to| Origin { time: event.time, cause: event.cause.clone(), rollback_to };
    let activated = || Chapter::Activated(event.time, task.annotations.clone());
    let swap = match &event.detail {
        Some(Detail::Swap(swap)) => Some(&**swap),
        _ => None,
    };
    match (event.kind, swap) {
        (EventType::TaskCreated, _) => {
            vec![(task.generation, Chapter::Begins(origin(None))), (task.generation, activated())]
        }
        (EventType::SwapStarted, Some(swap)) => {
            vec![(swap.to_generation, Chapter::Begins(origin(swap.rollback_to)))]
        }
        (EventType::SwapCommitted, Some(swap)) if swap.from_generation == swap.to_generation => {
            vec![(swap.to_generation, Chapter::Annotated(task.annotations.clone()))]
        }
        (EventType::SwapCommitted, Some(swap)) => {
            let left = match swap.revert_reason.as_str() {
                "" => Chapter::Superseded(event.time),
                reason => Chapter::Reverted(event.time, reason.to_owned()),
            };
            vec![(swap.from_generation, left), (swap.to_generation, activated())]
        }
        (EventType::SwapRolledBack, Some(swap)) => {
            vec![(swap.to_generation, Chapter::GivenUp(swap.phase, event.time, swap.error.clone()))]
        }
        _ => Vec::new(),
    }
}

impl Story {
    /// Goes on with it.
    pub fn tell(&mut self, chapter: Chapter) {
        match chapter {
            Chapter::Begins(origin) => (self.origin, self.standing) = (Some(origin), Standing::Candidate),
            Chapter::Activated(time, annotations) => {
                (self.annotations, self.standing) = (Some(annotations), Standing::Active { since: Some(time) });
            }
            Chapter::Annotated(annotations) => self.annotations = Some(annotations),
            Chapter::Superseded(until) => self.standing = Standing::Superseded { since: self.active_since(), until },
            Chapter::Reverted(until, error) => {
                self.standing = Standing::Reverted { since: self.active_since(), until, error };
            }
            Chapter::GivenUp(SwapPhase::Cancelled, time, error) => self.standing = Standing::Cancelled { time, error },
            Chapter::GivenUp(_, time, error) => self.standing = Standing::RolledBack { time, error },
        }
    }

    /// Whether it is the task's, or was; as far as is known.
    pub const fn was_active(&self) -> bool {
        matches!(self.standing, Standing::Active { .. } | Standing::Superseded { .. } | Standing::Reverted { .. })
    }

    const fn active_since(&self) -> Option<Timestamp> {
        match self.standing {
            Standing::Active { since } => since,
            _ => None,
        }
    }
}

/// The generations of one task that are kept: the newest ones, and those that its image refers to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History(Vec<KeptGeneration>);

impl History {
    /// Takes note of an event of the task.
    pub fn note(&mut self, event: &Event) {
        for (generation, chapter) in chapters(event) {
            let place = match self.0.binary_search_by_key(&generation, |kept| kept.generation) {
                Ok(place) => place,
                Err(place) => {
                    let Some(spec) = event.spec_of(generation).map(Arc::clone) else { continue };
                    self.0.insert(place, KeptGeneration { generation, spec, story: Story::default() });
                    place
                }
            };
            if let Some(kept) = self.0.get_mut(place) {
                kept.story.tell(chapter);
            }
        }
        if let Some(task) = &event.task {
            self.forget_superseded(task);
        }
    }

    fn forget_superseded(&mut self, task: &Task) {
        let Some(old) = self.0.len().checked_sub(limits::KEPT_GENERATIONS).filter(|old| *old > 0) else { return };
        let swapped_to = task.swap.as_ref().map(|swap| swap.to_generation);
        let mut place = 0;
        self.0.retain(|kept| {
            let stays = place >= old || kept.generation == task.generation || Some(kept.generation) == swapped_to;
            place += 1;
            stays
        });
    }

    /// What is kept, the oldest first.
    pub fn generations(&self) -> &[KeptGeneration] {
        &self.0
    }
}
