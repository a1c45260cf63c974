//! The tables.

use prost::Message;
use redb::{ReadableTable, TableDefinition, TableHandle, WriteTransaction};

use super::error::Fault;
use super::form::{Counters, FORM, Identity};
use super::rows::{RawTable, Rows, SealedTable};
use super::seal;

/// Its rows are sealed too, but for the form's number: older and newer versions must read that.
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
pub(super) const EVENTS: SealedTable<u64> = SealedTable::new("events").expendable();
pub(super) const TASKS: SealedTable<u64> = SealedTable::new("tasks");
pub(super) const SPECS: SealedTable<(u64, u64)> = SealedTable::new("specs").expendable();
pub(super) const DYING: SealedTable<(u64, u64, u64)> = SealedTable::new("dying").expendable();
pub(super) const REQUESTS: SealedTable<u64> = SealedTable::new("requests").expendable();

/// The form's number: the one row that every version, older or newer, must find and understand.
pub(super) const FORM_KEY: &str = "form";
pub(super) const IDENTITY_KEY: &str = "identity";
pub(super) const COUNTERS_KEY: &str = "counters";

/// Makes every table, so that reading never finds one missing.
pub(super) fn make_tables(transaction: &WriteTransaction) -> Result<(), Fault> {
    transaction.open_table(META)?;
    transaction.open_table(EVENTS.raw())?;
    transaction.open_table(TASKS.raw())?;
    transaction.open_table(SPECS.raw())?;
    transaction.open_table(DYING.raw())?;
    transaction.open_table(REQUESTS.raw())?;
    Ok(())
}

/// A row of `meta` that is a message; each store has it.
fn meta<T: Message + Default>(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    key: &'static str,
) -> Result<T, Fault> {
    let row = table.get(key)?.ok_or_else(|| Fault::damaged("", "it is missing").at(META.name(), key))?;
    let (value, _) = seal::open(META.name(), key, row.value())?;
    T::decode(value).map_err(|problem| Fault::damaged("", problem).at(META.name(), key))
}

fn put_meta(transaction: &WriteTransaction, key: &'static str, value: &impl Message) -> Result<(), Fault> {
    let row = seal::sealed(META.name(), key, value)?;
    transaction.open_table(META)?.insert(key, row.as_slice())?;
    Ok(())
}

pub(super) fn counters(table: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<Counters, Fault> {
    meta(table, COUNTERS_KEY)
}

pub(super) fn put_counters(transaction: &WriteTransaction, counters: &Counters) -> Result<(), Fault> {
    put_meta(transaction, COUNTERS_KEY, counters)
}

pub(super) fn identity(table: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<Identity, Fault> {
    meta(table, IDENTITY_KEY)
}

pub(super) fn put_identity(transaction: &WriteTransaction, identity: &Identity) -> Result<(), Fault> {
    put_meta(transaction, IDENTITY_KEY, identity)
}

/// The number of the form, if the store has one.
pub(super) fn form(table: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<Option<u32>, Fault> {
    let Some(row) = table.get(FORM_KEY)? else { return Ok(None) };
    let bytes = <[u8; 4]>::try_from(row.value());
    bytes
        .map(|bytes| Some(u32::from_le_bytes(bytes)))
        .map_err(|problem| Fault::damaged("", problem).at(META.name(), FORM_KEY))
}

/// Notes that the store is of the form that this version writes.
pub(super) fn put_form(transaction: &WriteTransaction) -> Result<(), Fault> {
    transaction.open_table(META)?.insert(FORM_KEY, FORM.to_le_bytes().as_slice())?;
    Ok(())
}

/// How many bytes the pieces have, damaged ones too.
pub(super) fn log_bytes(events: &Rows<u64, impl RawTable<u64>>) -> Result<u64, Fault> {
    events.range(..)?.unopened().try_fold(0, |bytes, row| Ok(bytes + row?.1.bytes() as u64))
}

/// How many bytes the specs have that are kept for events alone, damaged ones too. One that is missing is for others to find.
pub(super) fn dying_bytes(
    dying: &Rows<(u64, u64, u64), impl RawTable<(u64, u64, u64)>>,
    specs: &Rows<(u64, u64), impl RawTable<(u64, u64)>>,
) -> Result<u64, Fault> {
    dying.range(..)?.unopened().try_fold(0, |bytes, row| {
        let ((_, born, generation), _) = row?;
        Ok(bytes + spec_bytes(specs, (born, generation))?)
    })
}

/// How many bytes a spec has, though it be damaged; none, if it is not there.
pub(super) fn spec_bytes(specs: &Rows<(u64, u64), impl RawTable<(u64, u64)>>, key: (u64, u64)) -> Result<u64, Fault> {
    Ok(specs.unopened(key)?.map_or(0, |spec| spec.bytes() as u64))
}
