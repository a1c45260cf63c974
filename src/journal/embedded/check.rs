//! A look at all that a store holds, with nothing taken for granted.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use redb::ReadTransaction;

use super::containment::{Database, caught};
use super::database::{self, Empty};
use super::directory::Directory;
use super::error::{Fault, gap};
use super::form::{Counters, EventForm, PieceForm, RequestForm, SpecKey, TaskForm, TaskRow, Unreadable, read_story};
use super::medium::Fence;
use super::recovery::read_task;
use super::report::{CheckReport, Compaction};
use super::rows::ReadRows;
use super::specs::{KnownSpecs, read_spec};
use super::tables::{DYING, EVENTS, META, REQUESTS, SPECS, TASKS, counters, identity};
use crate::journal::Failure;
use crate::model::{EventType, TaskSpec};

/// As many findings are reported: what is damaged is often so in many places, for one reason.
const FINDINGS: usize = 100;

/// Checks the store in a directory, and changes nothing there: repairs and migrations go to memory.
pub(super) fn check(directory: &Directory) -> Result<CheckReport, Fault> {
    let mut report = CheckReport { file_bytes: file_bytes(directory)?, ..CheckReport::default() };
    let mut database = database::look(directory)?;
    // Pages first: what they say of themselves is what all the rest is read from.
    match database.check_integrity() {
        Ok(true) => {}
        Ok(false) => {
            let problem = "redb found its own record of the pages in use wrong; a server that opens it repairs it";
            report.problems.push(problem.to_owned());
        }
        // Which row it is, the rows say; redb, having said so much, uses the file no more.
        Err(fault) if fault.failure() == Failure::Final => {
            report.problems.push(format!("redb finds pages of which the checksums are wrong: {fault}"));
            drop(database);
            database = database::look(directory)?;
        }
        Err(fault) => return Err(fault),
    }
    caught(|| {
        database::bring_up(&mut database)?;
        look_through(&database, report)
    })
}

/// Gives back what the store in a directory does not use.
pub(super) fn compact(directory: &Directory) -> Result<Compaction, Fault> {
    let before = file_bytes(directory)?;
    database::refuse_unfit(directory)?;
    let mut database = database::open(directory, Fence::default(), Empty::Refuse)?;
    caught(|| database::bring_up(&mut database))?;
    while database.compact()? {}
    database.close()?;
    Ok(Compaction { before, after: file_bytes(directory)? })
}

fn file_bytes(directory: &Directory) -> Result<u64, Fault> {
    Ok(directory.store().metadata().map_err(Fault::Medium)?.len())
}

fn look_through(database: &Database, report: CheckReport) -> Result<CheckReport, Fault> {
    let transaction = database.begin_read()?;
    let meta = transaction.open_table(META)?;
    let counters = counters(&meta)?;
    let mut check = Check {
        report,
        transaction: &transaction,
        specs: Specs { table: SPECS.read(&transaction)?, known: KnownSpecs::default() },
        images: BTreeMap::new(),
    };
    check.report.store_id = identity(&meta)?.id();
    (check.report.oldest, check.report.head) = (counters.oldest, counters.head);
    check.log(counters)?;
    check.tasks(counters)?;
    check.kept_specs(counters)?;
    check.requests(counters)?;
    Ok(check.report)
}

struct Check<'a> {
    report: CheckReport,
    transaction: &'a ReadTransaction,
    specs: Specs,
    /// What the log says last of each task that it has: the event and the image; `None` where it was deleted.
    images: BTreeMap<u64, Option<(u64, TaskForm)>>,
}

/// The specs, some of them decoded.
struct Specs {
    table: ReadRows<(u64, u64)>,
    known: KnownSpecs,
}

impl Specs {
    fn get(&mut self, key: SpecKey) -> Result<Arc<TaskSpec>, Fault> {
        if let Some(spec) = self.known.get(key) {
            return Ok(spec);
        }
        let read = read_spec(key, &self.table)?;
        let spec = Arc::clone(&read.spec);
        self.known.put(key, read);
        Ok(spec)
    }
}

impl Check<'_> {
    fn find(&mut self, problem: impl ToString) {
        if self.report.problems.len() < FINDINGS {
            self.report.problems.push(problem.to_string());
        }
    }

    /// The row, if it is sound. What is wrong with one says nothing of the next.
    fn sound<T>(&mut self, row: Result<T, Fault>) -> Result<Option<T>, Fault> {
        match row {
            Ok(row) => Ok(Some(row)),
            Err(fault @ Fault::Damaged { .. }) => {
                self.find(fault);
                Ok(None)
            }
            Err(fault) => Err(fault),
        }
    }

    fn log(&mut self, counters: Counters) -> Result<(), Fault> {
        let mut next = counters.oldest + 1;
        for row in EVENTS.read(self.transaction)?.every(counters.events)? {
            let Some((last, piece)) = self.sound(row)? else { continue };
            self.report.event_bytes += piece.bytes() as u64;
            match PieceForm::read(piece.value(), last) {
                Ok(piece) => {
                    if piece.first != next {
                        self.find(gap(next - 1, piece.first).at(EVENTS.name(), last));
                    }
                    self.events(piece);
                }
                Err(problem) => self.find(Fault::from(problem).at(EVENTS.name(), last)),
            }
            next = last + 1;
        }
        if next != counters.head + 1 {
            self.find(format!("the log ends at {}, where the counters say {}", next - 1, counters.head));
        }
        let bytes = self.report.event_bytes;
        if bytes != counters.log_bytes {
            self.find(format!("the log has {bytes} bytes, where the counters say {}", counters.log_bytes));
        }
        Ok(())
    }

    fn events(&mut self, piece: PieceForm) {
        for (sequence, event) in (piece.first..).zip(piece.events) {
            self.report.events += 1;
            if let Err(fault) = self.event(sequence, event) {
                self.find(format!("event {sequence}: {fault}"));
            }
        }
    }

    fn event(&mut self, sequence: u64, event: Bytes) -> Result<(), Fault> {
        let form = EventForm::decode(event).map_err(Unreadable::from)?;
        let image = form.task.clone();
        let event = form.read(sequence, &mut |key| self.specs.get(key))?;
        if let Some(image) = image {
            let is_deleted = event.kind == EventType::TaskDeleted;
            self.images.insert(image.born, (!is_deleted).then_some((sequence, image)));
        }
        Ok(())
    }

    /// Each task is as its last event left it, as far as the log still has that.
    fn tasks(&mut self, counters: Counters) -> Result<(), Fault> {
        let mut names = HashSet::new();
        for row in TASKS.read(self.transaction)?.every(counters.tasks)? {
            let Some((born, row)) = self.sound(row)? else { continue };
            self.report.tasks += 1;
            let row = row.value();
            let task = match read_task(row, counters.head, &mut |key| self.specs.get(key)) {
                Ok(task) => task,
                Err(fault) => {
                    self.find(fault.at(TASKS.name(), born));
                    continue;
                }
            };
            if !names.insert(task.name.clone()) {
                self.find(format!("there are two tasks {}", task.name));
            }
            let row = TaskRow::decode(row).map_err(Unreadable::from)?;
            match self.images.remove(&born) {
                Some(None) => self.find(format!("{} is there, though the log says that it was deleted", task.name)),
                Some(last) if last != row.image.map(|image| (row.sequence, image)) => {
                    self.find(format!("{} is not as its last event left it", task.name));
                }
                None if row.sequence > self.report.oldest => {
                    self.find(format!("{} is of event {}, which the log does not have", task.name, row.sequence));
                }
                _ => {}
            }
        }
        let missing = std::mem::take(&mut self.images).into_values().flatten();
        for (sequence, _) in missing {
            self.find(format!("the task of event {sequence} is missing, though no event says that it was deleted"));
        }
        Ok(())
    }

    /// Every spec decodes, and its story; and is there for a task or an event.
    fn kept_specs(&mut self, counters: Counters) -> Result<(), Fault> {
        let dying = self.dying(counters)?;
        let tasks = TASKS.read(self.transaction)?;
        let table = SPECS.read(self.transaction)?;
        for row in table.every(counters.specs)? {
            let Some(((born, generation), row)) = self.sound(row)? else { continue };
            self.report.specs += 1;
            let told = read_story(row.value()).map(drop).map_err(Fault::from);
            if let Err(fault) = self.specs.get(SpecKey { born, generation }).and(told) {
                self.find(fault.at(SPECS.name(), (born, generation)));
            }
            let task = tasks.get(born);
            if !dying.contains(&(born, generation)) && self.sound(task)?.is_some_and(|task| task.is_none()) {
                self.find(format!("the spec {born}/{generation} is kept for no task and no event"));
            }
        }
        Ok(())
    }

    /// Looks at the specs that are kept for events alone, and says which they are.
    fn dying(&mut self, counters: Counters) -> Result<HashSet<(u64, u64)>, Fault> {
        let (mut dying, mut bytes) = (HashSet::new(), 0);
        for row in DYING.read(self.transaction)?.every(counters.dying)? {
            let Some(((from, born, generation), _)) = self.sound(row)? else { continue };
            dying.insert((born, generation));
            let spec = self.specs.table.get((born, generation)).map(|spec| spec.map(|spec| spec.bytes()));
            let Some(spec) = self.sound(spec)? else { continue };
            match spec {
                Some(spec) => bytes += spec as u64,
                // What is due goes a step at a time; but it does not refer to what is not there.
                None if from > counters.oldest + 1 => {
                    self.find(format!("the spec {born}/{generation}, which events refer to until {from}, is missing"));
                }
                None => {}
            }
        }
        if bytes != counters.dying_bytes {
            self.find(format!(
                "the specs of events alone have {bytes} bytes, where the counters say {}",
                counters.dying_bytes
            ));
        }
        Ok(dying)
    }

    fn requests(&mut self, counters: Counters) -> Result<(), Fault> {
        for row in REQUESTS.read(self.transaction)?.every(counters.requests)? {
            let Some((number, row)) = self.sound(row)? else { continue };
            self.report.requests += 1;
            let form = RequestForm::decode(row.value()).map_err(Unreadable::from);
            if let Err(problem) = form.and_then(RequestForm::read) {
                self.find(Fault::from(problem).at(REQUESTS.name(), number));
            }
        }
        Ok(())
    }
}
