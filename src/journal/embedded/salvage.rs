//! A new store of what is sound in a damaged one.
//!
//! What it has is what a server could have left: a log without gaps, the tasks as their last events left them, every spec that a task or
//! an event refers to, and counters that are counted anew. Its id is new, so no cursor of the original is taken for one of its own.

mod survey;

use std::path::Path;

use redb::{ReadTransaction, WriteTransaction};
use uuid::Uuid;

use self::survey::Survey;
use super::archive::{BackupError, Unfinished};
use super::containment::{Database, caught};
use super::database::{self, open_backend, put_meta, writing};
use super::directory::{Directory, STORE, backend, options};
use super::error::Fault;
use super::form::{Counters, Identity, Tally};
use super::medium::{Fence, Medium};
use super::report::Salvaged;
use super::rows::{RowKey, SealedTable, Writing};
use super::tables::{DYING, EVENTS, REQUESTS, SPECS, TASKS, dying_bytes, log_bytes, make_tables};

/// Writes what is sound of the store in `directory` to the new directory `dest`: whole, or not at all.
pub(super) fn salvage(directory: &Directory, dest: &Path) -> Result<Salvaged, BackupError> {
    let write = |source: Box<dyn std::error::Error + Send + Sync>| BackupError::Write { path: dest.to_owned(), source };
    if dest.try_exists().map_err(|error| write(error.into()))? {
        return Err(BackupError::Exists(dest.to_owned()));
    }
    let surveyed = database::look(directory).and_then(|mut database| {
        caught(|| database::bring_up(&mut database))?;
        let transaction = database.begin_read()?;
        let survey = Survey::of(&transaction)?;
        Ok((database, transaction, survey))
    });
    let (_database, transaction, survey) = surveyed.map_err(|fault| fault.opening(directory.place()))?;
    let unfinished = Unfinished::make(dest).map_err(|error| write(error.into()))?;
    let written = write_new(&transaction, survey, unfinished.path());
    let salvaged = written.map_err(|fault| write(fault.into()))?;
    unfinished.finish(dest).map_err(|error| write(error.into()))?;
    Ok(salvaged)
}

fn write_new(source: &ReadTransaction, survey: Survey, to: &Path) -> Result<Salvaged, Fault> {
    let file = options().create_new(true).open(to.join(STORE)).map_err(Fault::Medium)?;
    let database: Database = open_backend(backend(file)?, Fence::default())?;
    let transaction = writing(&database)?;
    make_tables(&transaction)?;
    let counters = write_rows(source, &survey, &transaction)?;
    let store_id = Uuid::new_v4();
    put_meta(&transaction, &Identity::new(store_id), &counters)?;
    transaction.commit()?;
    database.close()?;
    let Counters { oldest, head, tasks, specs, requests, .. } = counters;
    let left_out = survey.left_out;
    Ok(Salvaged { store_id, oldest, head, tasks: tasks.rows, specs: specs.rows, requests: requests.rows, left_out })
}

fn write_rows(source: &ReadTransaction, survey: &Survey, to: &WriteTransaction) -> Result<Counters, Fault> {
    let none = Tally::default;
    let (oldest, head) = (survey.oldest, survey.head);
    let mut events = EVENTS.write(to, none())?;
    copy(source, EVENTS, &mut events, |last| last > oldest && last <= head)?;
    let mut tasks = TASKS.write(to, none())?;
    for (born, row) in &survey.tasks {
        tasks.put(*born, row)?;
    }
    let mut specs = SPECS.write(to, none())?;
    copy(source, SPECS, &mut specs, |key| survey.specs.contains(&key))?;
    let mut dying = DYING.write(to, none())?;
    for ((born, generation), from) in &survey.dying {
        dying.put((*from, *born, *generation), &())?;
    }
    let mut requests = REQUESTS.write(to, none())?;
    copy(source, REQUESTS, &mut requests, |number| survey.requests.contains(&number))?;
    Ok(Counters {
        oldest,
        head,
        log_bytes: log_bytes(&events)?,
        dying_bytes: dying_bytes(&dying, &specs)?,
        events: events.tally()?,
        tasks: tasks.tally()?,
        specs: specs.tally()?,
        dying: dying.tally()?,
        requests: requests.tally()?,
    })
}

/// Copies the rows that are wanted. Each has been read once already; what cannot be read has been told of.
fn copy<K: RowKey>(
    source: &ReadTransaction,
    table: SealedTable<K>,
    to: &mut Writing<'_, K>,
    is_wanted: impl Fn(K) -> bool,
) -> Result<(), Fault> {
    caught(|| {
        for row in table.read(source)?.range(..)?.unopened().map_while(Result::ok) {
            let (key, row) = row;
            if is_wanted(key) {
                to.put_bytes(key, row.open(key)?.value())?;
            }
        }
        Ok(())
    })
}
