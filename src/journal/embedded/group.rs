//! A group becomes one transaction.

use std::sync::Arc;

use prost::Message;
use redb::WriteTransaction;

use super::Retention;
use super::age::AgeClock;
use super::births::Births;
use super::containment::Database;
use super::database::writing;
use super::error::Fault;
use super::form::{Counters, Pieces, RequestForm, SpecKey, TaskRow, Whole, read_story, storied};
use super::index::{Changes, Index};
use super::rows::Writing;
use super::tables::{DYING, EVENTS, META, REQUESTS, SPECS, TASKS, counters, put_counters, spec_bytes};
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
        let events = EVENTS.read(&transaction)?;
        let ends = Ends::of(&events, &REQUESTS.read(&transaction)?, clock.now())?;
        ends.check(&counters, &events)?;
        Ok(Self { counters, index: Index::load(&transaction, &counters, births)?, ends, clock })
    }

    /// Whether the group is in the store: it was committed, though the writer was told that it failed.
    pub(super) fn holds(&self, database: &Database, group: Group<'_>) -> Result<bool, Fault> {
        if let Some(last) = group.events.last() {
            return Ok(last.sequence.get() <= self.counters.head);
        }
        let rows = REQUESTS.read(&database.begin_read()?)?;
        let Some(first) = self.ends.next_request.checked_sub(group.requests.len() as u64) else { return Ok(false) };
        for (number, request) in (first..).zip(group.requests) {
            let Some(row) = rows.get(number)? else { return Ok(false) };
            if RequestForm::of(request).encode_to_vec() != row.value() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes the group, and trims what exceeds retention.
    pub(super) fn commit(&mut self, database: &Database, group: Group<'_>, retention: &Retention) -> Result<(), Fault> {
        self.check_order(group.events)?;
        let transaction = writing(database)?;
        let before = self.counters.head;
        let changes = self.write_events(&transaction, group.events)?;
        self.write_changes(&transaction, changes, before)?;
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
        put_counters(&transaction, &self.counters)?;
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
            let mut table = EVENTS.write(transaction, self.counters.events)?;
            for Whole { last, piece } in pieces.finish() {
                self.counters.log_bytes += table.put(last, &piece)?;
                self.counters.head = last;
            }
            self.counters.events = table.tally()?;
        }
        Ok(changes)
    }

    fn write_requests(&mut self, transaction: &WriteTransaction, group: Group<'_>) -> Result<(), Fault> {
        if !group.requests.is_empty() {
            let mut table = REQUESTS.write(transaction, self.counters.requests)?;
            for request in group.requests {
                table.put(self.ends.next_request, &RequestForm::of(request))?;
                self.ends.next_request += 1;
            }
            self.counters.requests = table.tally()?;
        }
        Ok(())
    }

    /// Writes what changes beside the log, whose last event was `before`.
    fn write_changes(&mut self, transaction: &WriteTransaction, changes: Changes, before: u64) -> Result<(), Fault> {
        let Changes { tasks, specs, chapters, dying } = changes;
        if !tasks.is_empty() {
            let mut table = TASKS.write(transaction, self.counters.tasks)?;
            for (born, row) in tasks {
                let rows = table.len() + u64::from(row.is_some());
                match row {
                    Some(row) => table.put(born, &row).map(|_| ())?,
                    None => table.remove(born).map(|_| ())?,
                }
                // One that is not found may be there: it would be there twice, or come again after it was deleted.
                if table.len() + u64::from(born <= before) != rows {
                    return Err(Fault::damaged("", "it is not where it belongs").at(TASKS.name(), born));
                }
            }
            self.counters.tasks = table.tally()?;
        }
        if specs.is_empty() && chapters.is_empty() && dying.is_empty() {
            return Ok(());
        }
        let mut kept = SPECS.write(transaction, self.counters.specs)?;
        for (key, (story, spec)) in specs {
            kept.put_bytes((key.born, key.generation), &storied(&story, &spec))?;
        }
        for (key, chapter) in chapters {
            tell(&mut kept, key, chapter)?;
        }
        let mut table = DYING.write(transaction, self.counters.dying)?;
        for (from, key) in dying {
            table.put((from, key.born, key.generation), &())?;
            self.counters.dying_bytes += spec_bytes(&kept, (key.born, key.generation))?;
        }
        (self.counters.specs, self.counters.dying) = (kept.tally()?, table.tally()?);
        Ok(())
    }
}

/// Goes on with the story of a spec that is kept.
fn tell(
    specs: &mut Writing<'_, (u64, u64)>,
    SpecKey { born, generation }: SpecKey,
    chapter: Chapter,
) -> Result<(), Fault> {
    let row = match specs.get((born, generation))? {
        Some(row) => {
            let at = |problem| Fault::from(problem).at(SPECS.name(), (born, generation));
            let (mut story, spec) = read_story(row.value()).map_err(at)?;
            story.tell(chapter);
            storied(&story, spec)
        }
        // Whatever has become of it is for a check to tell: the log must go on.
        None => return Ok(()),
    };
    specs.put_bytes((born, generation), &row).map(drop)
}
