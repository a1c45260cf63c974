//! From older forms to the one that this version writes, each in one transaction: a crash leaves the older form whole.

use prost::Message;
use redb::Database;

use super::database::writing;
use super::error::Fault;
use super::form::FORM;
use super::tables::{COUNTERS_KEY, DYING, EVENTS, FORM_KEY, META, SPECS, counters, dying_bytes, log_bytes};

/// Brings a store of form `older` up.
pub(super) fn migrate(database: &Database, older: u32) -> Result<(), Fault> {
    tracing::info!(from = older, to = FORM, "the store is of an older form, and is being migrated");
    let transaction = writing(database)?;
    match older {
        // Form 1 did not know how many bytes the log has, and form 2 not what the specs have that are kept for it.
        1 | 2 => count_bytes(&transaction)?,
        unknown => return Err(Fault::damaged("its form", format!("there never was a form {unknown}"))),
    }
    transaction.open_table(META)?.insert(FORM_KEY, FORM.to_le_bytes().as_slice())?;
    Ok(transaction.commit()?)
}

fn count_bytes(transaction: &redb::WriteTransaction) -> Result<(), Fault> {
    let mut meta = transaction.open_table(META)?;
    let mut counters = counters(&meta)?;
    counters.log_bytes = log_bytes(&transaction.open_table(EVENTS)?)?;
    counters.dying_bytes = dying_bytes(&transaction.open_table(DYING)?, &transaction.open_table(SPECS)?)?;
    meta.insert(COUNTERS_KEY, counters.encode_to_vec().as_slice())?;
    Ok(())
}
