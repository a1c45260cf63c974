//! The tables.

use prost::Message;
use redb::{ReadableTable, TableDefinition};

use super::error::Fault;
use super::form::{Counters, Identity};

pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
pub(super) const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
pub(super) const TASKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("tasks");
pub(super) const SPECS: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("specs");
pub(super) const DYING: TableDefinition<'_, (u64, u64, u64), ()> = TableDefinition::new("dying");
pub(super) const REQUESTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("requests");

/// The form's number: the one row that every version, older or newer, must find and understand.
pub(super) const FORM_KEY: &str = "form";
pub(super) const IDENTITY_KEY: &str = "identity";
pub(super) const COUNTERS_KEY: &str = "counters";

/// A row of `meta` that is a message; each store has it.
pub(super) fn meta<T: Message + Default>(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    key: &str,
) -> Result<T, Fault> {
    let row = table.get(key)?.ok_or_else(|| Fault::damaged("", "it is missing").at(&META, key))?;
    T::decode(row.value()).map_err(|problem| Fault::damaged("", problem).at(&META, key))
}

pub(super) fn counters(table: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<Counters, Fault> {
    meta(table, COUNTERS_KEY)
}

pub(super) fn identity(table: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<Identity, Fault> {
    meta(table, IDENTITY_KEY)
}

/// The number of the form, if the store has one.
pub(super) fn form(table: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<Option<u32>, Fault> {
    let Some(row) = table.get(FORM_KEY)? else { return Ok(None) };
    let bytes = <[u8; 4]>::try_from(row.value());
    bytes
        .map(|bytes| Some(u32::from_le_bytes(bytes)))
        .map_err(|problem| Fault::damaged("", problem).at(&META, FORM_KEY))
}

/// How many bytes the pieces have.
pub(super) fn log_bytes(events: &impl ReadableTable<u64, &'static [u8]>) -> Result<u64, Fault> {
    events.iter()?.try_fold(0, |bytes, row| Ok(bytes + row?.1.value().len() as u64))
}

/// How many bytes the specs have that are kept for events alone. One that is missing is for others to find.
pub(super) fn dying_bytes(
    dying: &impl ReadableTable<(u64, u64, u64), ()>,
    specs: &impl ReadableTable<(u64, u64), &'static [u8]>,
) -> Result<u64, Fault> {
    dying.iter()?.try_fold(0, |bytes, row| {
        let (_, born, generation) = row?.0.value();
        Ok(bytes + specs.get((born, generation))?.map_or(0, |spec| spec.value().len() as u64))
    })
}
