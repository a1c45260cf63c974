//! From older forms to the one that this version writes, each in one transaction: a crash leaves the older form whole.

use prost::Message;
use redb::{ReadableTable, TableDefinition, TableHandle, Value, WriteTransaction};

use super::containment::Database;
use super::database::writing;
use super::error::Fault;
use super::form::{Counters, FORM, Identity, Tally};
use super::rows::{RowKey, SealedTable};
use super::tables::{
    COUNTERS_KEY, DYING, EVENTS, IDENTITY_KEY, META, REQUESTS, SPECS, TASKS, dying_bytes, log_bytes, put_counters,
    put_form, put_identity,
};

/// What a table of an older form is called while its rows move to the one that takes its name. So none of them is taken for a
/// sealed one; and no more of them is in memory than redb itself keeps there.
const OLDER: &str = "older";

/// From this form on everything is sealed. All that differs since is what rows may say.
const SEALED: u32 = 4;

/// Brings a store of form `older` up.
pub(super) fn migrate(database: &mut Database, older: u32) -> Result<(), Fault> {
    tracing::info!(from = older, to = FORM, "the store is of an older form, and is being migrated");
    if !(1..=SEALED).contains(&older) {
        return Err(Fault::damaged("its form", format!("there never was a form {older}")));
    }
    // What has flipped would be sealed as it is. `false` is a record of free pages that has been put right.
    database.check_integrity()?;
    let transaction = writing(database)?;
    // Form 1 did not know how many bytes the log has, and form 2 not what the specs have that are kept for it.
    if older < SEALED {
        seal_all(&transaction)?;
    }
    put_form(&transaction)?;
    Ok(transaction.commit()?)
}

fn seal_all(transaction: &WriteTransaction) -> Result<(), Fault> {
    let identity: Identity = unsealed(transaction, IDENTITY_KEY)?;
    let Counters { oldest, head, .. } = unsealed(transaction, COUNTERS_KEY)?;
    let events = seal_rows::<_, &[u8]>(transaction, EVENTS)?;
    let tasks = seal_rows::<_, &[u8]>(transaction, TASKS)?;
    let specs = seal_rows::<_, &[u8]>(transaction, SPECS)?;
    let dying = seal_rows::<_, ()>(transaction, DYING)?;
    let requests = seal_rows::<_, &[u8]>(transaction, REQUESTS)?;
    let log_bytes = log_bytes(&*EVENTS.write(transaction, events)?)?;
    let dying_bytes = dying_bytes(&*DYING.write(transaction, dying)?, &*SPECS.write(transaction, specs)?)?;
    put_identity(transaction, &identity)?;
    put_counters(transaction, &Counters { oldest, head, log_bytes, dying_bytes, events, tasks, specs, dying, requests })
}

fn unsealed<T: Message + Default>(transaction: &WriteTransaction, key: &'static str) -> Result<T, Fault> {
    let meta = transaction.open_table(META)?;
    let row = meta.get(key)?.ok_or_else(|| Fault::damaged("", "it is missing").at(META.name(), key))?;
    T::decode(row.value()).map_err(|problem| Fault::damaged("", problem).at(META.name(), key))
}

/// Seals the rows of a table whose values were of another type, or none.
fn seal_rows<K: RowKey, V: Value + 'static>(
    transaction: &WriteTransaction,
    table: SealedTable<K>,
) -> Result<Tally, Fault> {
    let older: TableDefinition<'_, K, V> = TableDefinition::new(OLDER);
    transaction.rename_table(table.raw(), older)?;
    let mut sealed = table.write(transaction, Tally::default())?;
    let unsealed = transaction.open_table(older)?;
    for row in unsealed.iter()? {
        let (key, value) = row?;
        sealed.put_bytes(key.value(), V::as_bytes(&value.value()).as_ref())?;
    }
    drop(unsealed);
    transaction.delete_table(older)?;
    sealed.tally()
}
