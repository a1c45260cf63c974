//! A store's rows on their way into a copy: read on one thread and written on another, so that a destination that hangs keeps no read
//! transaction open. As long as one is, no page that is freed can be used again, and the file grows.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use redb::{Database, Key, ReadTransaction, ReadableTable, TableDefinition, Value, WriteTransaction};

use super::error::Fault;
use super::tables::{DYING, EVENTS, REQUESTS, SPECS, TASKS};

/// How many batches wait: one, so that reading and writing overlap.
const WAITING: usize = 1;
/// How many bytes of rows make a batch.
const BATCH_BYTES: usize = 4 << 20;

/// Rows that are committed to the copy together.
pub(super) type Batch = Box<dyn FnOnce(&WriteTransaction) -> Result<(), Fault> + Send>;

/// A thread that reads a store.
pub(super) struct Reading {
    batches: Receiver<Batch>,
    thread: JoinHandle<Result<(), Fault>>,
}

impl Reading {
    /// Begins to read all but `meta`, in batches of so many rows at the most. At `until`, the transaction is given up.
    pub(super) fn begin(
        database: Arc<Database>,
        transaction: ReadTransaction,
        until: Instant,
        rows: usize,
    ) -> io::Result<Self> {
        let (batches, receiver) = sync_channel(WAITING);
        let reader = Reader { transaction, until, rows, batches };
        let read = move || {
            let read = reader.read();
            drop(reader);
            drop(database);
            read
        };
        let thread = thread::Builder::new().name("backup".to_owned()).spawn(read)?;
        Ok(Self { batches: receiver, thread })
    }

    /// The next batch; `None` at the end, whatever it is.
    pub(super) fn next(&self) -> Option<Batch> {
        let batch = self.batches.recv().ok();
        self.thread.thread().unpark();
        batch
    }

    /// Ends it, and says whether it was whole.
    pub(super) fn end(self) -> Result<(), Fault> {
        let Self { batches, thread } = self;
        drop(batches);
        thread.thread().unpark();
        thread.join().unwrap_or_else(|_| Err(Fault::damaged("the file", "reading it panicked")))
    }
}

struct Reader {
    transaction: ReadTransaction,
    until: Instant,
    rows: usize,
    batches: SyncSender<Batch>,
}

impl Reader {
    fn read(&self) -> Result<(), Fault> {
        self.table(EVENTS)?;
        self.table(TASKS)?;
        self.table(SPECS)?;
        self.table(DYING)?;
        self.table(REQUESTS)
    }

    fn table<K: Key + Send + 'static, V: Value + Send + 'static>(
        &self,
        table: TableDefinition<'static, K, V>,
    ) -> Result<(), Fault> {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for row in self.transaction.open_table(table)?.iter()? {
            let (key, value) = row?;
            let row = (owned::<K>(&key.value()), owned::<V>(&value.value()));
            bytes += row.0.len() + row.1.len();
            rows.push(row);
            if rows.len() >= self.rows || bytes >= BATCH_BYTES {
                self.send(batch(table, std::mem::take(&mut rows)))?;
                bytes = 0;
            }
        }
        self.send(batch(table, rows))
    }

    /// Waits for the writer, but not for ever.
    fn send(&self, mut batch: Batch) -> Result<(), Fault> {
        loop {
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Fault::Medium(io::Error::new(io::ErrorKind::TimedOut, "it took too long")));
            }
            match self.batches.try_send(batch) {
                Ok(()) => return Ok(()),
                // The writer has failed, and says why.
                Err(TrySendError::Disconnected(_)) => return Err(Fault::Medium(io::ErrorKind::BrokenPipe.into())),
                Err(TrySendError::Full(full)) => batch = full,
            }
            thread::park_timeout(left);
        }
    }
}

fn owned<T: Value>(value: &T::SelfType<'_>) -> Vec<u8> {
    T::as_bytes(value).as_ref().to_vec()
}

fn batch<K: Key + Send + 'static, V: Value + Send + 'static>(
    table: TableDefinition<'static, K, V>,
    rows: Vec<(Vec<u8>, Vec<u8>)>,
) -> Batch {
    Box::new(move |transaction| {
        let mut copy = transaction.open_table(table)?;
        for (key, value) in &rows {
            copy.insert(K::from_bytes(key), V::from_bytes(value))?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use redb::ReadableDatabase;

    use super::Reading;
    use crate::journal::embedded::error::Fault;
    use crate::journal::embedded::tests::filled;

    fn reading(longest: Duration) -> (Reading, std::sync::Weak<redb::Database>) {
        let store = filled();
        let database = store.shared.database().expect("open");
        let transaction = database.begin_read().expect("begun");
        let held = Arc::downgrade(&database);
        let reading = Reading::begin(database, transaction, Instant::now() + longest, 1).expect("begun");
        (reading, held)
    }

    #[test]
    fn a_writer_that_hangs_does_not_keep_the_transaction_open() {
        let (reading, database) = reading(Duration::from_millis(50));
        // It takes nothing, and does not go away either.
        let Reading { batches, thread } = reading;
        let ended = thread.join().expect("no panic");
        assert!(matches!(&ended, Err(Fault::Medium(error)) if error.kind() == ErrorKind::TimedOut), "{ended:?}");
        assert!(database.upgrade().is_none(), "nothing holds it any more");
        drop(batches);
    }

    #[test]
    fn a_writer_that_fails_ends_the_reading() {
        let (reading, database) = reading(Duration::from_secs(3_600));
        assert!(reading.next().is_some());
        let ended = reading.end();
        assert!(matches!(&ended, Err(Fault::Medium(error)) if error.kind() == ErrorKind::BrokenPipe), "{ended:?}");
        assert!(database.upgrade().is_none());
    }
}
