//! What the writer knows of each task by heart: where its row is, and which of its specs are kept.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use prost::Message;
use redb::ReadTransaction;

use super::births::Births;
use super::error::Fault;
use super::form::{Counters, EventForm, SpecForm, SpecKey, TaskRow, TaskRowUid};
use super::tables::{DYING, SPECS, TASKS};
use crate::model::limits::KEPT_GENERATIONS;
use crate::model::{Chapter, Event, EventType, Generation, Story, Uid, chapters};

/// The tasks there are. Costs about a hundred bytes for each.
pub(super) struct Index {
    tasks: HashMap<Uid, Known>,
    /// What readers know of it.
    births: Arc<Births>,
}

struct Known {
    /// The sequence at which it was first heard of: rows of tasks that are started together lie together, which a uid's would not,
    /// and a commit of many then touches few pages.
    born: u64,
    /// The generations whose specs are kept for its sake, in order.
    kept: Vec<u64>,
}

/// What a group changes beside the log.
#[derive(Default)]
pub(super) struct Changes {
    /// The last row of each task that changed; `None` where it was deleted.
    pub(super) tasks: BTreeMap<u64, Option<TaskRow>>,
    /// New specs, encoded, and their stories so far.
    pub(super) specs: BTreeMap<SpecKey, (Story, Vec<u8>)>,
    /// How the stories of others go on; in order.
    pub(super) chapters: Vec<(SpecKey, Chapter)>,
    /// Specs that are no longer kept for their tasks' sake, with the sequence from which on no event refers to them either.
    pub(super) dying: Vec<(u64, SpecKey)>,
}

impl Index {
    /// Reads what a store has.
    pub(super) fn load(transaction: &ReadTransaction, counters: &Counters, births: Arc<Births>) -> Result<Self, Fault> {
        let mut tasks = HashMap::new();
        let mut kept: HashMap<u64, Vec<u64>> = HashMap::new();
        let mut dying = HashSet::new();
        for row in DYING.read(transaction)?.every(counters.dying)? {
            let ((_, born, generation), _) = row?;
            dying.insert((born, generation));
        }
        for row in SPECS.read(transaction)?.every(counters.specs)? {
            let ((born, generation), _) = row?;
            if !dying.contains(&(born, generation)) {
                kept.entry(born).or_default().push(generation);
            }
        }
        for row in TASKS.read(transaction)?.every(counters.tasks)? {
            let (born, row) = row?;
            let uid = TaskRowUid::read(row.value()).map_err(|problem| Fault::from(problem).at(TASKS.name(), born))?;
            tasks.insert(uid, Known { born, kept: kept.remove(&born).unwrap_or_default() });
        }
        births.replace(tasks.iter().map(|(uid, known)| (*uid, known.born)).collect());
        Ok(Self { tasks, births })
    }

    /// How many tasks there are.
    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether a task keeps the spec for its own sake. Looks at every task.
    pub(super) fn keeps(&self, born: u64, generation: u64) -> bool {
        self.tasks.values().any(|known| known.born == born && known.kept.contains(&generation))
    }

    /// Takes note of an event, and gives its stored form.
    pub(super) fn note(&mut self, event: &Event, changes: &mut Changes) -> EventForm {
        let sequence = event.sequence.get();
        let Some(task) = &event.task else { return EventForm::of(event, 0) };
        let known = self.tasks.entry(task.uid).or_insert_with(|| {
            self.births.insert(task.uid, sequence);
            Known { born: sequence, kept: Vec::new() }
        });
        let form = EventForm::of(event, known.born);
        for key in form.specs() {
            if let Err(place) = known.kept.binary_search(&key.generation) {
                known.kept.insert(place, key.generation);
                let spec = event.spec_of(Generation::new(key.generation));
                let new = spec.map(|spec| (Story::default(), SpecForm::of(spec).encode_to_vec()));
                changes.specs.extend(new.map(|new| (key, new)));
            }
        }
        for (generation, chapter) in chapters(event) {
            let key = SpecKey { born: known.born, generation: generation.get() };
            if known.kept.binary_search(&key.generation).is_ok() {
                changes.tell(key, chapter);
            }
        }
        if event.kind == EventType::TaskDeleted {
            // The event itself still refers to them.
            let born = known.born;
            let kept = std::mem::take(&mut known.kept);
            changes.dying.extend(kept.into_iter().map(|generation| (sequence + 1, SpecKey { born, generation })));
            changes.tasks.insert(born, None);
            self.tasks.remove(&task.uid);
            self.births.remove(task.uid);
        } else {
            known.forget_superseded(&form, sequence, changes);
        }
        form
    }
}

impl Changes {
    fn tell(&mut self, key: SpecKey, chapter: Chapter) {
        match self.specs.get_mut(&key) {
            Some((story, _)) => story.tell(chapter),
            None => self.chapters.push((key, chapter)),
        }
    }
}

impl Known {
    /// What is neither among the newest nor referred to by the image is referred to by no later one: generations only grow, and
    /// the newest swap's is the highest but those that were rolled back before it.
    fn forget_superseded(&mut self, form: &EventForm, sequence: u64, changes: &mut Changes) {
        let Some(old) = self.kept.len().checked_sub(KEPT_GENERATIONS).filter(|old| *old > 0) else { return };
        let (born, mut place) = (self.born, 0);
        let referred: Vec<u64> = form.specs().map(|key| key.generation).collect();
        self.kept.retain(|&generation| {
            let stays = place >= old || referred.contains(&generation);
            place += 1;
            if !stays {
                changes.dying.push((sequence, SpecKey { born, generation }));
            }
            stays
        });
    }
}
