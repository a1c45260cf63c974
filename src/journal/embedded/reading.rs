//! Reading beside the writer.

use std::ops::{ControlFlow, RangeInclusive};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use prost::Message;

use super::births::Births;
use super::containment::{Database, caught};
use super::error::{Fault, gap};
use super::form::{Counters, EventForm, Piece, SpecKey, SpecOf, Unreadable, read_brief, read_story};
use super::specs::SpecCache;
use super::tables::{EVENTS, META, SPECS, counters};
use crate::journal::{Failure, Range, ReadError, Reader, Show, StoreError};
use crate::model::{Event, Generation, KeptGeneration, Sequence, Task, limits};

/// What one read decodes at the most, so that it is short: pages that are freed meanwhile cannot be used again until it ends.
const READ_BYTES: usize = 1 << 20;

/// The open store, as the writer and its readers share it.
#[derive(Default)]
pub(super) struct Opened {
    /// `None` where it can neither be written nor read.
    database: RwLock<Option<Arc<Database>>>,
    oldest: AtomicU64,
    /// A read failed, by which redb refuses all that follows: the writer is to open it anew.
    failed: AtomicBool,
    specs: SpecCache,
    pub(super) births: Arc<Births>,
}

impl Opened {
    pub(super) fn replace(&self, database: Option<Arc<Database>>) {
        let mut held = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *held, database);
        self.failed.store(false, Ordering::Relaxed);
        drop(held);
        // Closing writes; nobody should wait for that at the lock.
        drop(before);
    }

    pub(super) fn database(&self) -> Result<Arc<Database>, StoreError> {
        let held = self.database.read().unwrap_or_else(PoisonError::into_inner);
        held.clone().ok_or_else(|| StoreError::new("it cannot be opened"))
    }

    pub(super) fn database_or_fault(&self) -> Result<Arc<Database>, Fault> {
        Ok(self.database().map_err(|_| redb::Error::DatabaseClosed)?)
    }

    /// Whether nothing else has been opened in its place.
    pub(super) fn is_current(&self, database: &Arc<Database>) -> bool {
        let held = self.database.read().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().is_some_and(|held| Arc::ptr_eq(held, database))
    }

    /// Whether readers can read it, for all that is known.
    pub(super) fn is_sound(&self) -> bool {
        self.database().is_ok() && !self.has_failed()
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Notes that this one refuses all reads from now on. `false`: another has been opened in its place.
    fn has_failed_by(&self, database: &Arc<Database>) -> bool {
        let held = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let current = held.as_ref().is_some_and(|held| Arc::ptr_eq(held, database));
        if current {
            // Under the lock, by which it is reset.
            self.failed.store(true, Ordering::Relaxed);
        }
        current
    }

    pub(super) fn set_oldest(&self, oldest: u64) {
        self.oldest.store(oldest, Ordering::Release);
    }

    /// Takes the events of a range, as they are stored, until no more are wanted or these are enough for one read. `false`: its
    /// beginning is gone.
    fn scan(&self, database: &Database, range: Range, take: Take<'_>) -> Result<bool, Fault> {
        let Range { after, through } = range;
        let (after, through) = (after.get(), through.get());
        let transaction = database.begin_read()?;
        let Counters { oldest, head, .. } = counters(&transaction.open_table(META)?)?;
        if after < oldest {
            return Ok(false);
        }
        if after >= through {
            return Ok(true);
        }
        let specs = SPECS.read(&transaction)?;
        let mut spec_of = |key| self.specs.get(key, &specs);
        let (mut next, mut bytes) = (after + 1, 0);
        for row in EVENTS.read(&transaction)?.range(next..)? {
            let (last, piece) = row?;
            bytes += piece.bytes();
            let taken = scan_piece(piece.value(), last, next..=through, &mut spec_of, take);
            next = last + 1;
            if taken.map_err(|fault| fault.at(EVENTS.name(), last))?.is_break()
                || last >= through
                || bytes >= READ_BYTES
            {
                return Ok(true);
            }
        }
        if next <= through.min(head) {
            return Err(Fault::damaged("", format!("the log ends before {next}")).at(EVENTS.name(), next));
        }
        Ok(true)
    }

    /// The newest, and the active one where it is older than these; the oldest first.
    fn read_generations(&self, database: &Database, task: &Task) -> Result<Vec<KeptGeneration>, Fault> {
        let Some(born) = self.births.get(task.uid) else { return Ok(Vec::new()) };
        let specs = SPECS.read(&database.begin_read()?)?;
        let mut found = Vec::new();
        let mut take = |generation: u64, row: &[u8]| -> Result<(), Fault> {
            let at = |fault: Fault| fault.at(SPECS.name(), (born, generation));
            let (story, _) = read_story(row).map_err(|problem| at(problem.into()))?;
            let spec = self.specs.get(SpecKey { born, generation }, &specs)?;
            found.push(KeptGeneration { generation: Generation::new(generation), spec, story });
            Ok(())
        };
        let mut oldest = u64::MAX;
        for ((_, generation), row) in specs.newest((born, 0)..=(born, u64::MAX), limits::KEPT_GENERATIONS)? {
            oldest = generation;
            take(generation, row.value())?;
        }
        let active = task.generation.get();
        if active < oldest
            && let Some(row) = specs.get((born, active))?
        {
            take(active, row.value())?;
        }
        found.reverse();
        Ok(found)
    }

    /// Has the present database read something.
    fn attempt<T>(&self, mut read: impl FnMut(&Database) -> Result<T, Fault>) -> Result<T, StoreError> {
        loop {
            let database = self.database()?;
            // redb trusts what it has written: over damage it may panic.
            let fault = match caught(|| read(&database)) {
                Ok(read) => return Ok(read),
                Err(fault) => fault,
            };
            // What no longer counts says nothing of what does; and what is damaged is not mended by opening it anew.
            if fault.failure() == Failure::Final || self.has_failed_by(&database) {
                return Err(fault.into());
            }
        }
    }
}

/// Takes an event, which is stored like this.
type Take<'a> = &'a mut dyn FnMut(u64, &[u8], SpecOf<'_, Fault>) -> Result<ControlFlow<()>, Fault>;

/// Takes the events of a piece that are wanted, the first of which is not to be in a later one.
fn scan_piece(
    piece: &[u8],
    last: u64,
    wanted: RangeInclusive<u64>,
    spec_of: SpecOf<'_, Fault>,
    take: Take<'_>,
) -> Result<ControlFlow<()>, Fault> {
    let piece = Piece::read(piece, last)?;
    if piece.first > *wanted.start() {
        return Err(gap(wanted.start() - 1, piece.first));
    }
    for (sequence, event) in (piece.first..).zip(piece.events).filter(|(sequence, _)| wanted.contains(sequence)) {
        if take(sequence, event, spec_of)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

impl Reader for Opened {
    fn oldest(&self) -> Sequence {
        Sequence::new(self.oldest.load(Ordering::Acquire))
    }

    fn read(&self, range: Range, limit: usize) -> Result<Vec<Arc<Event>>, ReadError> {
        let through = range.through.get().min(range.after.get().saturating_add(limit as u64));
        let range = Range { through: Sequence::new(through), ..range };
        let read = self.attempt(|database| {
            let mut found = Vec::new();
            let kept = self.scan(database, range, &mut |sequence, event, spec_of| {
                let form = EventForm::decode(event).map_err(Unreadable::from)?;
                found.push(Arc::new(form.read(sequence, spec_of)?));
                Ok(ControlFlow::Continue(()))
            })?;
            Ok(kept.then_some(found))
        });
        read?.ok_or(ReadError::Trimmed)
    }

    fn read_briefly(&self, range: Range, show: Show<'_>) -> Result<(), ReadError> {
        // Another attempt goes on where the one before was interrupted.
        let (mut after, mut flow) = (range.after, ControlFlow::Continue(()));
        let kept = self.attempt(|database| {
            if flow.is_break() {
                return Ok(true);
            }
            self.scan(database, Range { after, ..range }, &mut |sequence, event, spec_of| {
                flow = show(&read_brief(event, sequence, spec_of)?);
                after = Sequence::new(sequence);
                Ok(flow)
            })
        });
        if kept? { Ok(()) } else { Err(ReadError::Trimmed) }
    }

    fn generations(&self, task: &Task) -> Result<Vec<KeptGeneration>, StoreError> {
        self.attempt(|database| self.read_generations(database, task))
    }
}
