//! A group becomes one transaction.

use std::sync::Arc;

use prost::Message;
use redb::{Database, ReadableDatabase, ReadableTable, Table, WriteTransaction};

use super::Retention;
use super::age::AgeClock;
use super::births::Births;
use super::database::writing;
use super::error::Fault;
use super::form::{Counters, Pieces, RequestForm, SpecKey, TaskRow, read_story, storied};
use super::index::{Changes, Index};
use super::tables::{COUNTERS_KEY, DYING, EVENTS, META, REQUESTS, SPECS, TASKS, counters};
use super::trimming::Ends;
use crate::journal::Group;
use crate::model::{Chapter, Event};

/// What the writer knows by heart of a store that is open. Changes with each transaction; where one fails, it is read anew.
pub(super) struct Written {
    pub(super) counters: Counters,
    pub(super) index: Index,
    pub(super) ends: Ends,
    pub(super) clock: AgeClock,
}

impl Written {
    /// Reads it.
    pub(super) fn load(database: &Database, clock: AgeClock, births: Arc<Births>) -> Result<Self, Fault> {
        let transaction = database.begin_read()?;
        let counters = counters(&transaction.open_table(META)?)?;
        let ends = Ends::of(&transaction.open_table(EVENTS)?, &transaction.open_table(REQUESTS)?, clock.now())?;
        ends.check(&counters, &transaction.open_table(EVENTS)?)?;
        Ok(Self { counters, index: Index::load(&transaction, births)?, ends, clock })
    }

    /// Whether the group is in the store: it was committed, though the writer was told that it failed.
    pub(super) fn holds(&self, database: &Database, group: Group<'_>) -> Result<bool, Fault> {
        if let Some(last) = group.events.last() {
            return Ok(last.sequence.get() <= self.counters.head);
        }
        let table = database.begin_read()?.open_table(REQUESTS)?;
        let mut rows = table.iter()?;
        for request in group.requests.iter().rev() {
            let Some(row) = rows.next_back() else { return Ok(false) };
            if RequestForm::of(request).encode_to_vec() != row?.1.value() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes the group, and trims what exceeds retention.
    pub(super) fn commit(&mut self, database: &Database, group: Group<'_>, retention: &Retention) -> Result<(), Fault> {
        self.check_order(group.events)?;
        let transaction = writing(database)?;
        let changes = self.write_events(&transaction, group.events)?;
        self.counters.dying_bytes += write_changes(&transaction, changes)?;
        self.write_requests(&transaction, group)?;
        // Twice what came in, and some: so the log shrinks where it has to, and no commit waits for more than its own size's worth.
        let budget = 2 * (group.events.len() + group.requests.len()) + 32;
        self.trim(&transaction, retention, budget)?;
        self.finish(transaction)
    }

    /// A commit of nothing. What is found after a failed sync may be in the system's cache alone; once something has been committed
    /// on top of it, it is on the disk.
    pub(super) fn confirm(&mut self, database: &Database) -> Result<(), Fault> {
        self.finish(writing(database)?)
    }

    /// Trims, without a group.
    pub(super) fn tidy(&mut self, database: &Database, retention: &Retention, budget: usize) -> Result<(), Fault> {
        let transaction = writing(database)?;
        self.trim(&transaction, retention, budget)?;
        self.finish(transaction)
    }

    fn finish(&mut self, transaction: WriteTransaction) -> Result<(), Fault> {
        transaction.open_table(META)?.insert(COUNTERS_KEY, self.counters.encode_to_vec().as_slice())?;
        Ok(transaction.commit()?)
    }

    fn check_order(&self, events: &[Arc<Event>]) -> Result<(), Fault> {
        let mut head = self.counters.head;
        for event in events {
            let sequence = event.sequence.get();
            if sequence != head + 1 {
                return Err(Fault::Refused(format!("an event of sequence {sequence} cannot follow {head}")));
            }
            head = sequence;
        }
        Ok(())
    }

    fn write_events(&mut self, transaction: &WriteTransaction, events: &[Arc<Event>]) -> Result<Changes, Fault> {
        let mut changes = Changes::default();
        let mut pieces = Pieces::new(self.counters.head + 1);
        let now = self.clock.now();
        for event in events {
            let form = self.index.note(event, &mut changes);
            // Where the clock has jumped ahead, the event says so, and is no older for it.
            pieces.push(&form, event.time.min(now).as_nanos());
            if let Some(born) = form.task.as_ref().map(|task| task.born)
                && changes.tasks.get(&born) != Some(&None)
            {
                changes.tasks.insert(born, TaskRow::after(form, event.sequence.get()));
            }
        }
        if !events.is_empty() {
            let mut table = transaction.open_table(EVENTS)?;
            for piece in pieces.finish() {
                self.counters.log_bytes += piece.bytes.len() as u64;
                self.counters.head = piece.last;
                table.insert(piece.last, piece.bytes.as_slice())?;
            }
        }
        Ok(changes)
    }

    fn write_requests(&mut self, transaction: &WriteTransaction, group: Group<'_>) -> Result<(), Fault> {
        if !group.requests.is_empty() {
            let mut table = transaction.open_table(REQUESTS)?;
            for request in group.requests {
                table.insert(self.ends.next_request, RequestForm::of(request).encode_to_vec().as_slice())?;
                self.ends.next_request += 1;
            }
        }
        Ok(())
    }
}

/// Says how many bytes the specs have that are kept for events alone from now on.
fn write_changes(transaction: &WriteTransaction, changes: Changes) -> Result<u64, Fault> {
    let Changes { tasks, specs, chapters, dying } = changes;
    if !tasks.is_empty() {
        let mut table = transaction.open_table(TASKS)?;
        for (born, row) in tasks {
            match row {
                Some(row) => table.insert(born, row.encode_to_vec().as_slice())?,
                None => table.remove(born)?,
            };
        }
    }
    if !specs.is_empty() {
        let mut table = transaction.open_table(SPECS)?;
        for (key, (story, spec)) in specs {
            table.insert((key.born, key.generation), storied(&story, &spec).as_slice())?;
        }
    }
    if !chapters.is_empty() {
        let mut table = transaction.open_table(SPECS)?;
        for (key, chapter) in chapters {
            tell(&mut table, key, chapter)?;
        }
    }
    let mut dying_bytes = 0;
    if !dying.is_empty() {
        let (mut table, specs) = (transaction.open_table(DYING)?, transaction.open_table(SPECS)?);
        for (from, key) in dying {
            table.insert((from, key.born, key.generation), ())?;
            dying_bytes += specs.get((key.born, key.generation))?.map_or(0, |spec| spec.value().len() as u64);
        }
    }
    Ok(dying_bytes)
}

/// Goes on with the story of a spec that is kept.
fn tell(
    specs: &mut Table<'_, (u64, u64), &'static [u8]>,
    SpecKey { born, generation }: SpecKey,
    chapter: Chapter,
) -> Result<(), Fault> {
    let row = match specs.get((born, generation))? {
        Some(row) => {
            let read = read_story(row.value()).map_err(|problem| Fault::from(problem).at(&SPECS, (born, generation)));
            let (mut story, spec) = read?;
            story.tell(chapter);
            storied(&story, spec)
        }
        // Whatever has become of it is for a check to tell: the log must go on.
        None => return Ok(()),
    };
    specs.insert((born, generation), row.as_slice())?;
    Ok(())
}
