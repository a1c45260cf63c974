//! A store's rows on their way into a copy: read on one thread and written on another, so that a destination that hangs keeps no read
//! transaction open. As long as one is, no page that is freed can be used again, and the file grows.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use redb::{ReadTransaction, WriteTransaction};

use super::containment::Database;
use super::error::Fault;
use super::form::{Counters, Tally};
use super::rows::{RowKey, SealedTable};
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
        counters: Counters,
        until: Instant,
        rows: usize,
    ) -> io::Result<Self> {
        let (batches, receiver) = sync_channel(WAITING);
        let reader = Reader { transaction, counters, until, rows, batches };
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
    counters: Counters,
    until: Instant,
    rows: usize,
    batches: SyncSender<Batch>,
}

impl Reader {
    /// Reads every row there should be: where one is damaged or missing, there is no copy.
    fn read(&self) -> Result<(), Fault> {
        let Counters { events, tasks, specs, dying, requests, .. } = self.counters;
        self.table(EVENTS, events)?;
        self.table(TASKS, tasks)?;
        self.table(SPECS, specs)?;
        self.table(DYING, dying)?;
        self.table(REQUESTS, requests)
    }

    fn table<K: RowKey + Send>(&self, table: SealedTable<K>, tally: Tally) -> Result<(), Fault> {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for row in table.read(&self.transaction)?.every(tally)? {
            let (key, row) = row?;
            bytes += size_of::<K>() + row.bytes();
            rows.push((key, row.value().to_vec()));
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

fn batch<K: RowKey + Send>(table: SealedTable<K>, rows: Vec<(K, Vec<u8>)>) -> Batch {
    Box::new(move |transaction| {
        // The copy's tallies are the original's, and there already.
        let mut copy = table.write(transaction, Tally::default())?;
        for (key, value) in &rows {
            copy.put_bytes(*key, value)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::Reading;
    use crate::journal::embedded::containment::Database;
    use crate::journal::embedded::error::Fault;
    use crate::journal::embedded::tests::filled;

    fn reading(longest: Duration) -> (Reading, std::sync::Weak<Database>) {
        let store = filled();
        let database = store.shared.database().expect("open");
        let transaction = database.begin_read().expect("begun");
        let held = Arc::downgrade(&database);
        let counters = store.written.as_ref().expect("open").counters;
        let reading = Reading::begin(database, transaction, counters, Instant::now() + longest, 1).expect("begun");
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
