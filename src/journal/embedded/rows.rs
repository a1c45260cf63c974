//! Tables whose rows are sealed; no row of theirs is to be had but through here.
//!
//! And a tally of every table: how many rows it has, and the sum of their seals. It is kept in the counters, so that whoever reads a
//! whole table notices rows that are missing, or are those of an earlier commit, as where the way to a page is damaged.

use std::marker::PhantomData;
use std::ops::{Bound, Deref, RangeBounds, RangeInclusive};

use prost::Message;
use redb::{
    AccessGuard, Key, Range, ReadOnlyTable, ReadTransaction, ReadableTable, Table, TableDefinition, Value,
    WriteTransaction,
};

use super::error::Fault;
use super::form::Tally;
use super::seal::{Place, close, encode, open};

/// What the rows of a table are found by.
pub(super) trait RowKey: Place + Ord + Key + for<'a> Value<SelfType<'a> = Self> + 'static {}

impl<K: Place + Ord + Key + for<'a> Value<SelfType<'a> = Self> + 'static> RowKey for K {}

/// A table whose rows are sealed.
#[derive(Clone, Copy)]
pub(super) struct SealedTable<K: RowKey> {
    name: &'static str,
    key: PhantomData<fn(K)>,
}

impl<K: RowKey> SealedTable<K> {
    pub(super) const fn new(name: &'static str) -> Self {
        Self { name, key: PhantomData }
    }

    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    /// As redb has it, seals and all: for whoever damages it, or has an older form.
    pub(super) const fn raw(&self) -> TableDefinition<'static, K, &'static [u8]> {
        TableDefinition::new(self.name)
    }

    pub(super) fn read(&self, transaction: &ReadTransaction) -> Result<ReadRows<K>, Fault> {
        Ok(Rows { name: self.name, table: transaction.open_table(self.raw())?, key: PhantomData })
    }

    /// To be changed; it has the rows of the tally.
    pub(super) fn write<'t>(&self, transaction: &'t WriteTransaction, tally: Tally) -> Result<Writing<'t, K>, Fault> {
        let rows = Rows { name: self.name, table: transaction.open_table(self.raw())?, key: PhantomData };
        Ok(Writing { rows, tally, buffer: Vec::new() })
    }
}

/// A row whose seal is sound.
pub(super) struct Row<'a> {
    guard: AccessGuard<'a, &'static [u8]>,
    bytes: usize,
    seal: u32,
}

impl Row<'_> {
    pub(super) fn value(&self) -> &[u8] {
        &self.guard.value()[..self.bytes]
    }

    /// How many bytes the value has.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}

/// A table of redb's, open in a transaction of either sort.
pub(super) trait RawTable<K: RowKey>: ReadableTable<K, &'static [u8]> {}

impl<K: RowKey, T: ReadableTable<K, &'static [u8]>> RawTable<K> for T {}

/// The rows of a table, to be read.
pub(super) struct Rows<K, T> {
    name: &'static str,
    table: T,
    key: PhantomData<fn(K)>,
}

/// The rows of a table, in a transaction that only reads.
pub(super) type ReadRows<K> = Rows<K, ReadOnlyTable<K, &'static [u8]>>;

impl<K: RowKey, T: RawTable<K>> Rows<K, T> {
    pub(super) fn get(&self, key: K) -> Result<Option<Row<'_>>, Fault> {
        self.table.get(key)?.map(|row| opened(self.name, key, row)).transpose()
    }

    pub(super) fn first(&self) -> Result<Option<(K, Row<'_>)>, Fault> {
        self.keyed(self.table.first()?)
    }

    pub(super) fn last(&self) -> Result<Option<(K, Row<'_>)>, Fault> {
        self.keyed(self.table.last()?)
    }

    fn keyed<'a>(&self, row: Option<RawRow<'a, K>>) -> Result<Option<(K, Row<'a>)>, Fault> {
        let Some((key, row)) = row else { return Ok(None) };
        let key = key.value();
        Ok(Some((key, opened(self.name, key, row)?)))
    }

    /// The rows of a range, in order.
    pub(super) fn range(&self, range: impl RangeBounds<K>) -> Result<Scan<'_, K>, Fault> {
        let bounds = (range.start_bound().cloned(), range.end_bound().cloned());
        let rows = self.table.range(bounds)?;
        Ok(Scan {
            name: self.name,
            rows,
            bounds,
            last: None,
            counted: Tally::default(),
            expected: None,
            is_over: false,
        })
    }

    /// The last rows of a range, the very last one first.
    pub(super) fn newest(&self, range: RangeInclusive<K>, most: usize) -> Result<Vec<(K, Row<'_>)>, Fault> {
        let mut found: Vec<(K, Row<'_>)> = Vec::new();
        for row in self.table.range(range.clone())?.rev().take(most) {
            let (key, row) = row?;
            let key = key.value();
            if !range.contains(&key) || found.last().is_some_and(|(last, _)| *last <= key) {
                return Err(displaced(self.name, key));
            }
            found.push((key, opened(self.name, key, row)?));
        }
        Ok(found)
    }

    /// All rows, in order. Where they are not those of the tally, the last item says so.
    pub(super) fn every(&self, tally: Tally) -> Result<Scan<'_, K>, Fault> {
        Ok(Scan { expected: Some(tally), ..self.range(..)? })
    }
}

type RawRow<'a, K> = (AccessGuard<'a, K>, AccessGuard<'a, &'static [u8]>);

fn opened<'a>(table: &str, key: impl Place, guard: AccessGuard<'a, &'static [u8]>) -> Result<Row<'a>, Fault> {
    let (value, seal) = open(table, key, guard.value())?;
    let bytes = value.len();
    Ok(Row { guard, bytes, seal })
}

fn displaced(table: &str, key: impl Place) -> Fault {
    Fault::damaged("", "it is not where it belongs").at(table, key)
}

/// Rows, in order. After one that is damaged come the others; after an error of redb's nothing.
pub(super) struct Scan<'a, K: RowKey> {
    name: &'static str,
    rows: Range<'a, K, &'static [u8]>,
    bounds: (Bound<K>, Bound<K>),
    last: Option<K>,
    counted: Tally,
    expected: Option<Tally>,
    is_over: bool,
}

impl<'a, K: RowKey> Scan<'a, K> {
    fn row(&mut self, row: Result<RawRow<'a, K>, redb::StorageError>) -> Result<(K, Row<'a>), Fault> {
        let (key, row) = row.inspect_err(|_| self.is_over = true)?;
        let key = key.value();
        // Where the way to a page is damaged, it may lead back, and for ever.
        if self.last.is_some_and(|last| last >= key) || !self.bounds.contains(&key) {
            self.is_over = true;
            return Err(displaced(self.name, key));
        }
        self.last = Some(key);
        let row = opened(self.name, key, row)?;
        self.counted.add(row.seal);
        Ok((key, row))
    }

    fn missing(&mut self) -> Option<Fault> {
        self.is_over = true;
        let expected = self.expected.filter(|expected| *expected != self.counted)?;
        let problem = match (self.counted.rows, expected.rows) {
            (found, expected) if found == expected => "its rows are not those that were committed last".to_owned(),
            (found, expected) => format!("it has {found} sound rows, where the counters say {expected}"),
        };
        Some(Fault::damaged(format!("table {}", self.name), problem))
    }
}

impl<'a, K: RowKey> Iterator for Scan<'a, K> {
    type Item = Result<(K, Row<'a>), Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        match self.rows.next() {
            Some(row) => Some(self.row(row)),
            None => self.missing().map(Err),
        }
    }
}

/// The rows of a table, to be changed.
pub(super) struct Writing<'t, K: RowKey> {
    rows: Rows<K, Table<'t, K, &'static [u8]>>,
    tally: Tally,
    buffer: Vec<u8>,
}

impl<'t, K: RowKey> Deref for Writing<'t, K> {
    type Target = Rows<K, Table<'t, K, &'static [u8]>>;

    fn deref(&self) -> &Self::Target {
        &self.rows
    }
}

impl<K: RowKey> Writing<'_, K> {
    /// What it has now: for the counters, once it has been changed.
    pub(super) const fn tally(&self) -> Tally {
        self.tally
    }

    /// Puts a row there, in place of one with its key; says how many bytes its value has.
    pub(super) fn put(&mut self, key: K, value: &impl Message) -> Result<u64, Fault> {
        self.buffer.clear();
        encode(value, &mut self.buffer)?;
        self.put_buffer(key)
    }

    /// The same, of a value that is encoded.
    pub(super) fn put_bytes(&mut self, key: K, value: &[u8]) -> Result<u64, Fault> {
        self.buffer.clear();
        self.buffer.extend_from_slice(value);
        self.put_buffer(key)
    }

    fn put_buffer(&mut self, key: K) -> Result<u64, Fault> {
        let bytes = self.buffer.len() as u64;
        self.tally.add(close(self.rows.name, key, &mut self.buffer));
        if let Some(before) = self.rows.table.insert(key, self.buffer.as_slice())? {
            self.tally.remove(opened(self.rows.name, key, before)?.seal);
        }
        Ok(bytes)
    }

    /// Removes a row; says how many bytes its value had.
    pub(super) fn remove(&mut self, key: K) -> Result<Option<u64>, Fault> {
        let Some(removed) = self.rows.table.remove(key)? else { return Ok(None) };
        let removed = opened(self.rows.name, key, removed)?;
        self.tally.remove(removed.seal);
        Ok(Some(removed.bytes as u64))
    }
}
