//! What a store held, for the server that begins with it.

use std::sync::Arc;

use prost::Message;

use super::containment::Database;
use super::error::Fault;
use super::form::{RequestForm, SpecKey, TaskRow, Unreadable};
use super::rows::{RawTable, Rows, Scan};
use super::specs::read_spec;
use super::tables::{META, REQUESTS, SPECS, TASKS, counters, identity};
use super::trimming::REQUEST_AGE;
use crate::journal::Recovered;
use crate::model::{Remembered, Sequence, Task, TaskSpec, Timestamp};

/// Reads the tasks, and the requests that are not too old `now`.
pub(super) fn recover(database: &Database, now: Timestamp) -> Result<Recovered, Fault> {
    let transaction = database.begin_read()?;
    let meta = transaction.open_table(META)?;
    let (identity, counters) = (identity(&meta)?, counters(&meta)?);
    let specs = SPECS.read(&transaction)?;
    let tasks = read_tasks(TASKS.read(&transaction)?.every(counters.tasks)?, &specs, counters.head)?;
    let requests = read_requests(REQUESTS.read(&transaction)?.every(counters.requests)?, now)?;
    Ok(Recovered { store_id: identity.id(), head: Sequence::new(counters.head), tasks, requests })
}

fn read_tasks(
    rows: Scan<'_, u64>,
    specs: &Rows<(u64, u64), impl RawTable<(u64, u64)>>,
    head: u64,
) -> Result<Vec<Arc<Task>>, Fault> {
    let mut tasks = Vec::new();
    // A task and its newest swap mostly refer to the same one.
    let mut last: Option<(SpecKey, Arc<TaskSpec>)> = None;
    let mut spec_of = |key: SpecKey| -> Result<Arc<TaskSpec>, Fault> {
        if let Some((of, spec)) = &last
            && *of == key
        {
            return Ok(Arc::clone(spec));
        }
        let spec = read_spec(key, specs)?.spec;
        last = Some((key, Arc::clone(&spec)));
        Ok(spec)
    };
    for row in rows {
        let (born, row) = row?;
        tasks.push(read_task(row.value(), head, &mut spec_of).map_err(|fault| fault.at(TASKS.name(), born))?);
    }
    Ok(tasks)
}

/// A task, from its row.
pub(super) fn read_task(
    row: &[u8],
    head: u64,
    spec_of: &mut dyn FnMut(SpecKey) -> Result<Arc<TaskSpec>, Fault>,
) -> Result<Arc<Task>, Fault> {
    let row = TaskRow::decode(row).map_err(Unreadable::from)?;
    if row.sequence > head {
        return Err(Fault::damaged("", format!("it is of event {}, though the last one is {head}", row.sequence)));
    }
    row.read(spec_of)
}

fn read_requests(rows: Scan<'_, u64>, now: Timestamp) -> Result<Vec<Remembered>, Fault> {
    let mut requests = Vec::new();
    for row in rows {
        let (number, row) = row?;
        let form = RequestForm::decode(row.value()).map_err(Unreadable::from);
        let request =
            form.and_then(RequestForm::read).map_err(|problem| Fault::from(problem).at(REQUESTS.name(), number))?;
        // The clock may have moved on while no server was there to forget.
        if now.since(request.time) <= REQUEST_AGE {
            requests.push(request);
        }
    }
    Ok(requests)
}
