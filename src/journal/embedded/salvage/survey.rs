//! What is sound in a damaged store, and what of that goes together.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use prost::Message;
use redb::ReadTransaction;

use crate::journal::embedded::containment::caught;
use crate::journal::embedded::error::Fault;
use crate::journal::embedded::form::{
    Counters, EventForm, PieceForm, RequestForm, SpecKey, Tally, TaskForm, TaskRow, Unreadable,
};
use crate::journal::embedded::report::LeftOut;
use crate::journal::embedded::rows::{ReadRows, RowKey, SealedTable};
use crate::journal::embedded::specs::{SpecCache, read_spec};
use crate::journal::embedded::tables::{DYING, EVENTS, META, REQUESTS, SPECS, TASKS, counters};
use crate::model::EventType;

/// What is to be kept of a store.
pub(super) struct Survey {
    pub(super) oldest: u64,
    pub(super) head: u64,
    /// By the sequence at which each was first heard of.
    pub(super) tasks: BTreeMap<u64, TaskRow>,
    pub(super) specs: BTreeSet<(u64, u64)>,
    /// The specs that are kept for events alone, and the sequence from which on none refers to them.
    pub(super) dying: BTreeMap<(u64, u64), u64>,
    pub(super) requests: BTreeSet<u64>,
    pub(super) left_out: Vec<LeftOut>,
}

/// The log from after the last piece that cannot be read.
#[derive(Default)]
struct Log {
    oldest: u64,
    /// What would come next.
    next: u64,
    /// The last image of each task it has; `None` where that was deleted.
    images: BTreeMap<u64, Option<(u64, TaskForm)>>,
    /// The last event that refers to a spec.
    referred: BTreeMap<(u64, u64), u64>,
}

impl Log {
    fn after(oldest: u64) -> Self {
        Self { oldest, next: oldest + 1, ..Self::default() }
    }
}

struct Surveyor<'a> {
    transaction: &'a ReadTransaction,
    /// What there should be, as far as that is known.
    counters: Option<Counters>,
    spec_rows: ReadRows<(u64, u64)>,
    known: SpecCache,
    left_out: Vec<LeftOut>,
}

impl Survey {
    /// Reads every row there is.
    pub(super) fn of(transaction: &ReadTransaction) -> Result<Self, Fault> {
        let mut surveyor = Surveyor {
            transaction,
            counters: None,
            spec_rows: SPECS.read(transaction)?,
            known: SpecCache::default(),
            left_out: Vec::new(),
        };
        match caught(|| counters(&transaction.open_table(META)?)) {
            Ok(counters) => surveyor.counters = Some(counters),
            Err(fault) => surveyor.leave_out(META.to_string(), "counters", None, &fault),
        }
        let specs = surveyor.specs();
        let mut rows = surveyor.rows();
        let log = surveyor.log(&rows);
        let head = log.next - 1;
        // The log has each task as it was after every one of its events, so it is a second copy of what changed last.
        for (born, image) in log.images {
            match image {
                None => drop(rows.remove(&born)),
                Some((sequence, image)) => {
                    let newer =
                        rows.get(&born).is_none_or(|row| row.as_ref().map_or(true, |row| row.sequence < sequence));
                    if newer {
                        rows.insert(born, Ok(TaskRow { sequence, image: Some(image) }));
                    }
                }
            }
        }
        let tasks = surveyor.tasks(rows, head);
        let (specs, dying) = surveyor.kept_specs(specs, &tasks, &log.referred);
        let requests = surveyor.requests();
        Ok(Self { oldest: log.oldest, head, tasks, specs, dying, requests, left_out: surveyor.left_out })
    }
}

/// The first sequence of a piece; and its events, with whether each is that its task was deleted.
type Piece = (u64, Vec<(u64, EventForm, bool)>);

/// Specs; and of those that are dying, from when on nothing refers to them.
type Specs = (BTreeSet<(u64, u64)>, BTreeMap<(u64, u64), u64>);

/// A row that is damaged: why, and the name that it seems to have.
type Lost = (Fault, Option<String>);

impl Surveyor<'_> {
    fn leave_out(&mut self, table: impl ToString, key: impl ToString, task: Option<String>, problem: impl ToString) {
        let (table, key, problem) = (table.to_string(), key.to_string(), problem.to_string());
        self.left_out.push(LeftOut { table, key, task, problem });
    }

    fn leave_out_row(&mut self, table: SealedTable<impl RowKey>, key: impl Debug, task: Option<String>, fault: Fault) {
        // What is wrong may be with another row, as with the spec of an event.
        let at = format!("table {}, key {key:?}", table.name());
        let problem = match fault {
            Fault::Damaged { place, problem } if place.is_empty() || place == at => problem,
            fault => fault.to_string(),
        };
        self.leave_out(table.name(), format!("{key:?}"), task, problem);
    }

    /// Hands on every row there is, damaged or not, up to where the table itself is.
    fn each<K: RowKey>(
        &mut self,
        table: SealedTable<K>,
        tally: impl Fn(&Counters) -> Tally,
        mut take: impl FnMut(&mut Self, K, Result<&[u8], Fault>),
    ) {
        let (mut last, mut rows) = (None, 0);
        let transaction = self.transaction;
        let read = caught(|| {
            for row in table.read(transaction)?.range(..)?.unopened() {
                let (key, row) = row?;
                (last, rows) = (Some(key), rows + 1);
                match row.open(key) {
                    Ok(row) => take(self, key, Ok(row.value())),
                    Err(fault) => take(self, key, Err(fault)),
                }
            }
            Ok(())
        });
        let expected = self.counters.map_or(rows, |counters| tally(&counters).rows);
        if let Err(fault) = read {
            self.leave_out(table.name(), last.map_or("all".to_owned(), |last| format!("after {last:?}")), None, fault);
        } else if rows != expected {
            self.leave_out(
                table.name(),
                "unknown",
                None,
                format!("it has {rows} rows, where the counters say {expected}"),
            );
        }
    }

    fn specs(&mut self) -> BTreeSet<(u64, u64)> {
        let mut specs = BTreeSet::new();
        self.each(
            SPECS,
            |counters| counters.specs,
            |this, key, row| {
                let (born, generation) = key;
                match row.and_then(|_| read_spec(SpecKey { born, generation }, &this.spec_rows)) {
                    Ok(_) => drop(specs.insert(key)),
                    Err(fault) => this.leave_out_row(SPECS, key, None, fault),
                }
            },
        );
        specs
    }

    fn rows(&mut self) -> BTreeMap<u64, Result<TaskRow, Lost>> {
        let mut rows = BTreeMap::new();
        self.each(
            TASKS,
            |counters| counters.tasks,
            |this, born, row| {
                let decoded =
                    row.and_then(|row| TaskRow::decode(row).map_err(|problem| Unreadable::from(problem).into()));
                let row = decoded.map_err(|fault| (fault, this.seeming_name(born)));
                rows.insert(born, row);
            },
        );
        rows
    }

    /// The name of a task whose row is damaged, if that still has one: it may be wrong.
    fn seeming_name(&self, born: u64) -> Option<String> {
        let table = self.transaction.open_table(TASKS.raw()).ok()?;
        let row = table.get(born).ok()??;
        let value = row.value().split_last_chunk::<{ size_of::<u32>() }>()?.0;
        Some(format!("{} (as the damaged row has it)", TaskRow::decode(value).ok()?.image?.name()))
    }

    fn log(&mut self, rows: &BTreeMap<u64, Result<TaskRow, Lost>>) -> Log {
        let mut log = Log::after(self.counters.map_or(0, |counters| counters.oldest));
        self.each(
            EVENTS,
            |counters| counters.events,
            |this, last, row| match row.and_then(|row| this.piece(row, last)) {
                Ok((first, events)) => {
                    if first != log.next {
                        this.cut(&mut log, first - 1);
                    }
                    for (sequence, event, is_deleted) in events {
                        log.referred.extend(event.specs().map(|key| ((key.born, key.generation), sequence)));
                        if let Some(image) = event.task {
                            log.images.insert(image.born, (!is_deleted).then_some((sequence, image)));
                        }
                    }
                    log.next = last + 1;
                }
                Err(fault) => {
                    this.leave_out_row(EVENTS, last, None, fault);
                    this.cut(&mut log, last.min(u64::MAX - 1));
                }
            },
        );
        let newest = rows.values().flatten().map(|row| row.sequence).max().unwrap_or(0);
        let head = self.counters.map_or(newest.max(log.next - 1), |counters| counters.head);
        if log.next - 1 != head {
            self.cut(&mut log, head);
        }
        log
    }

    /// Lets the log begin after `oldest`: what came before does not go on.
    fn cut(&mut self, log: &mut Log, oldest: u64) {
        if log.next > log.oldest + 1 {
            let key = format!("events {} to {}", log.oldest + 1, log.next - 1);
            self.leave_out(EVENTS.name(), key, None, "they are sound, but what follows them is not");
        }
        *log = Log::after(oldest);
    }

    /// A piece, all events of which can be read.
    fn piece(&self, row: &[u8], last: u64) -> Result<Piece, Fault> {
        let piece = PieceForm::read(row, last)?;
        let events = (piece.first..).zip(piece.events).map(|(sequence, event)| {
            let form = EventForm::decode(event).map_err(Unreadable::from)?;
            let event = form.clone().read(sequence, &mut |key| self.known.get(key, &self.spec_rows))?;
            Ok((sequence, form, event.kind == EventType::TaskDeleted))
        });
        Ok((piece.first, events.collect::<Result<_, Fault>>()?))
    }

    fn tasks(&mut self, rows: BTreeMap<u64, Result<TaskRow, Lost>>, head: u64) -> BTreeMap<u64, TaskRow> {
        let mut tasks = BTreeMap::new();
        for (born, row) in rows {
            let read = row.and_then(|row| {
                let name = row.image.as_ref().map(|image| image.name());
                if row.sequence > head {
                    return Err((
                        Fault::damaged("", format!("it is of event {}, and the last is {head}", row.sequence)),
                        name,
                    ));
                }
                let read = row.clone().read(&mut |key| self.known.get(key, &self.spec_rows));
                read.map(|_| row).map_err(|fault| (fault, name))
            });
            match read {
                Ok(row) => drop(tasks.insert(born, row)),
                Err((fault, name)) => self.leave_out_row(TASKS, born, name, fault),
            }
        }
        tasks
    }

    /// The specs of tasks that are kept, and those that events refer to; and which of them are dying.
    fn kept_specs(
        &mut self,
        mut specs: BTreeSet<(u64, u64)>,
        tasks: &BTreeMap<u64, TaskRow>,
        referred: &BTreeMap<(u64, u64), u64>,
    ) -> Specs {
        specs.retain(|key| tasks.contains_key(&key.0) || referred.contains_key(key));
        let of_none = specs.iter().filter(|key| !tasks.contains_key(&key.0));
        let mut dying: BTreeMap<_, _> =
            of_none.filter_map(|key| referred.get(key).map(|last| (*key, last + 1))).collect();
        self.each(
            DYING,
            |counters| counters.dying,
            |this, key, row| {
                let (from, born, generation) = key;
                match row {
                    Ok(_) if specs.contains(&(born, generation)) => {
                        dying.entry((born, generation)).or_insert(from);
                    }
                    Ok(_) => {}
                    Err(fault) => this.leave_out_row(DYING, key, None, fault),
                }
            },
        );
        (specs, dying)
    }

    fn requests(&mut self) -> BTreeSet<u64> {
        let mut requests = BTreeSet::new();
        self.each(
            REQUESTS,
            |counters| counters.requests,
            |this, number, row| {
                let read = row.and_then(|row| Ok(RequestForm::decode(row).map_err(Unreadable::from)?.read()?));
                match read {
                    Ok(_) => drop(requests.insert(number)),
                    Err(fault) => this.leave_out_row(REQUESTS, number, None, fault),
                }
            },
        );
        requests
    }
}
