//! Rows that come and go.

use std::ops::Deref;

use prost::Message;
use redb::Table;

use super::{RowKey, Rows};
use crate::journal::embedded::error::Fault;
use crate::journal::embedded::form::Tally;
use crate::journal::embedded::seal::{SEAL_BYTES, close, encode, open};

/// The rows of a table, to be changed.
pub(in crate::journal::embedded) struct Writing<'t, K: RowKey> {
    rows: Rows<K, Table<'t, K, &'static [u8]>>,
    tally: Tally,
    is_expendable: bool,
    /// A damaged row has gone: nobody knows what its seal was, so the tally's sum is to be taken anew.
    is_unsure: bool,
    buffer: Vec<u8>,
}

impl<'t, K: RowKey> Deref for Writing<'t, K> {
    type Target = Rows<K, Table<'t, K, &'static [u8]>>;

    fn deref(&self) -> &Self::Target {
        &self.rows
    }
}

impl<'t, K: RowKey> Writing<'t, K> {
    pub(super) const fn new(rows: Rows<K, Table<'t, K, &'static [u8]>>, tally: Tally, is_expendable: bool) -> Self {
        Self { rows, tally, is_expendable, is_unsure: false, buffer: Vec::new() }
    }

    /// How many rows it has now.
    pub(in crate::journal::embedded) const fn len(&self) -> u64 {
        self.tally.rows
    }

    /// Whether a damaged row has gone, so that what is counted of the rows is to be counted anew.
    pub(in crate::journal::embedded) const fn is_unsure(&self) -> bool {
        self.is_unsure
    }

    /// What it has now: for the counters, once it has been changed.
    ///
    /// Where a damaged row has gone, the sum of the seals is that of the rows that are left. Their number is not taken from them, so rows that
    /// are missing are noticed as ever.
    pub(in crate::journal::embedded) fn tally(&mut self) -> Result<Tally, Fault> {
        if self.is_unsure {
            let mut left = Tally::default();
            for row in self.rows.range(..)?.unopened() {
                let (key, row) = row?;
                // A damaged one is told of by whoever reads it; when it goes, they are counted again.
                left.add(row.open(key).map_or(0, |row| row.seal));
            }
            if left.rows != self.tally.rows {
                let problem = format!("it has {} rows, where the counters say {}", left.rows, self.tally.rows);
                return Err(Fault::damaged(format!("table {}", self.rows.name), problem));
            }
            (self.tally, self.is_unsure) = (left, false);
        }
        Ok(self.tally)
    }

    /// Puts a row there, in place of one with its key; says how many bytes its value has.
    pub(in crate::journal::embedded) fn put(&mut self, key: K, value: &impl Message) -> Result<u64, Fault> {
        self.buffer.clear();
        encode(value, &mut self.buffer)?;
        self.put_buffer(key)
    }

    /// The same, of a value that is encoded.
    pub(in crate::journal::embedded) fn put_bytes(&mut self, key: K, value: &[u8]) -> Result<u64, Fault> {
        self.buffer.clear();
        self.buffer.extend_from_slice(value);
        self.put_buffer(key)
    }

    fn put_buffer(&mut self, key: K) -> Result<u64, Fault> {
        let bytes = self.buffer.len() as u64;
        self.tally.add(close(self.rows.name, key, &mut self.buffer));
        if let Some(before) = self.rows.table.insert(key, self.buffer.as_slice())? {
            let gone = Gone::look(self.rows.name, key, before.value(), self.is_expendable)?;
            gone.leaves(&mut self.tally, &mut self.is_unsure);
        }
        Ok(bytes)
    }

    /// Removes a row; says how many bytes its value had.
    pub(in crate::journal::embedded) fn remove(&mut self, key: K) -> Result<Option<u64>, Fault> {
        let Some(removed) = self.rows.table.remove(key)? else { return Ok(None) };
        let gone = Gone::look(self.rows.name, key, removed.value(), self.is_expendable)?;
        Ok(Some(gone.leaves(&mut self.tally, &mut self.is_unsure)))
    }

    /// Removes the first row, which need not be where its key says: that may be what is damaged.
    pub(in crate::journal::embedded) fn remove_first(&mut self) -> Result<Option<u64>, Fault> {
        let Some((key, removed)) = self.rows.table.pop_first()? else { return Ok(None) };
        let gone = Gone::look(self.rows.name, key.value(), removed.value(), self.is_expendable)?;
        Ok(Some(gone.leaves(&mut self.tally, &mut self.is_unsure)))
    }
}

/// A row that has gone.
struct Gone {
    bytes: u64,
    /// `None`: it was damaged.
    seal: Option<u32>,
}

impl Gone {
    fn look(table: &'static str, key: impl RowKey, row: &[u8], is_expendable: bool) -> Result<Self, Fault> {
        let bytes = row.len().saturating_sub(SEAL_BYTES) as u64;
        match open(table, key, row) {
            Ok((_, seal)) => Ok(Self { bytes, seal: Some(seal) }),
            Err(fault) if is_expendable => {
                tracing::error!(table, ?key, %fault, "a damaged row of the store has gone, as it was due to");
                Ok(Self { bytes, seal: None })
            }
            Err(fault) => Err(fault),
        }
    }

    /// Says how many bytes its value had.
    fn leaves(self, tally: &mut Tally, is_unsure: &mut bool) -> u64 {
        *is_unsure |= self.seal.is_none();
        tally.remove(self.seal.unwrap_or(0));
        self.bytes
    }
}
