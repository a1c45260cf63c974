//! Tables whose rows are sealed; no row of theirs is to be had but through here.
//!
//! And a tally of every table: how many rows it has, and the sum of their seals. It is kept in the counters, so that whoever reads a
//! whole table notices rows that are missing, or are those of an earlier commit, as where the way to a page is damaged.

mod writing;

use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds, RangeInclusive};

use redb::{
    AccessGuard, Key, Range, ReadOnlyTable, ReadTransaction, ReadableTable, TableDefinition, Value, WriteTransaction,
};

pub(super) use self::writing::Writing;
use super::error::Fault;
use super::form::Tally;
use super::seal::{Place, SEAL_BYTES, open};

/// What the rows of a table are found by.
pub(super) trait RowKey: Place + Ord + Key + for<'a> Value<SelfType<'a> = Self> + 'static {}

impl<K: Place + Ord + Key + for<'a> Value<SelfType<'a> = Self> + 'static> RowKey for K {}

/// A table whose rows are sealed.
#[derive(Clone, Copy)]
pub(super) struct SealedTable<K: RowKey> {
    name: &'static str,
    key: PhantomData<fn(K)>,
    is_expendable: bool,
}

impl<K: RowKey> SealedTable<K> {
    pub(super) const fn new(name: &'static str) -> Self {
        Self { name, key: PhantomData, is_expendable: false }
    }

    /// The same, but nobody needs what a row of it said that is removed or overwritten: one that is damaged may go, too.
    pub(super) const fn expendable(self) -> Self {
        Self { is_expendable: true, ..self }
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
        Ok(Writing::new(rows, tally, self.is_expendable))
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

/// A row at whose seal nobody has looked.
pub(super) struct Unopened<'a> {
    table: &'static str,
    guard: AccessGuard<'a, &'static [u8]>,
}

impl<'a> Unopened<'a> {
    /// The row, if its seal is sound.
    pub(super) fn open(self, key: impl Place) -> Result<Row<'a>, Fault> {
        let (value, seal) = open(self.table, key, self.guard.value())?;
        let bytes = value.len();
        Ok(Row { guard: self.guard, bytes, seal })
    }

    /// How many bytes its value has.
    pub(super) fn bytes(&self) -> usize {
        self.guard.value().len().saturating_sub(SEAL_BYTES)
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
        self.unopened(key)?.map(|row| row.open(key)).transpose()
    }

    /// The same, damaged or not.
    pub(super) fn unopened(&self, key: K) -> Result<Option<Unopened<'_>>, Fault> {
        Ok(self.table.get(key)?.map(|guard| Unopened { table: self.name, guard }))
    }

    /// The first row, damaged or not.
    pub(super) fn first(&self) -> Result<Option<(K, Unopened<'_>)>, Fault> {
        let row = self.table.first()?;
        Ok(row.map(|(key, guard)| (key.value(), Unopened { table: self.name, guard })))
    }

    pub(super) fn last(&self) -> Result<Option<(K, Row<'_>)>, Fault> {
        let Some((key, guard)) = self.table.last()? else { return Ok(None) };
        let key = key.value();
        Ok(Some((key, Unopened { table: self.name, guard }.open(key)?)))
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
            let (key, guard) = row?;
            let key = key.value();
            if !range.contains(&key) || found.last().is_some_and(|(last, _)| *last <= key) {
                return Err(displaced(self.name, key));
            }
            found.push((key, Unopened { table: self.name, guard }.open(key)?));
        }
        Ok(found)
    }

    /// All rows, in order. Where they are not those of the tally, the last item says so.
    pub(super) fn every(&self, tally: Tally) -> Result<Scan<'_, K>, Fault> {
        Ok(Scan { expected: Some(tally), ..self.range(..)? })
    }
}

type RawRow<'a, K> = (AccessGuard<'a, K>, AccessGuard<'a, &'static [u8]>);

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
    /// Rows that may be damaged, each with its key. After an error comes nothing.
    pub(super) fn unopened(mut self) -> impl Iterator<Item = Result<(K, Unopened<'a>), Fault>> {
        std::iter::from_fn(move || if self.is_over { None } else { self.rows.next().map(|row| self.place(row)) })
    }

    fn place(&mut self, row: Result<RawRow<'a, K>, redb::StorageError>) -> Result<(K, Unopened<'a>), Fault> {
        let (key, guard) = row.inspect_err(|_| self.is_over = true)?;
        let key = key.value();
        // Where the way to a page is damaged, it may lead back, and for ever.
        if self.last.is_some_and(|last| last >= key) || !self.bounds.contains(&key) {
            self.is_over = true;
            return Err(displaced(self.name, key));
        }
        self.last = Some(key);
        Ok((key, Unopened { table: self.name, guard }))
    }

    fn row(&mut self, row: Result<RawRow<'a, K>, redb::StorageError>) -> Result<(K, Row<'a>), Fault> {
        let (key, row) = self.place(row)?;
        let row = row.open(key)?;
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
