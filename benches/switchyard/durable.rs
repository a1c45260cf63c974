//! Starts that are answered once they are on the disk, against a bare call that waits for a group commit of as many bytes: the same
//! engine and file system, one transaction for all that waits, synced as Switchyard's are.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result};
use redb::{Database, Durability, TableDefinition};
use switchyard::journal::{EmbeddedStore, Retention};
use switchyard::pb::v1;
use switchyard::pb::v1::task_spec::Monitor;
use tokio::sync::oneshot;

use crate::bare::{self, Bare};
use crate::handle;
use crate::lab::{Calls, Lab};
use crate::rpcs::{Starts, row_of, start};
use crate::scratch::Scratch;
use crate::served::{IDLE, Managed, Served, custom, tcp};
use crate::table::{Case, Row};

/// Started to see what one start takes.
const WEIGHED: usize = 2_000;
const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in ["tcp", "custom"] {
        for in_flight in [1, 64, 256] {
            let name = format!("durable StartTask, {kind}, {in_flight} in flight");
            cases.push(Case::new(name.clone(), move |lab| run(lab, name, (kind, in_flight), Commit::Once)));
        }
        // A task that is ready at once is an event more, whose commit the next start waits for.
        let name =
            format!("durable StartTask, {kind}, 1 in flight, beside a call that commits once more after its answer");
        cases.push(Case::new(name.clone(), move |lab| run(lab, name, (kind, 1), Commit::Twice)));
    }
    cases
}

fn run(lab: &Lab, name: String, (kind, in_flight): (&'static str, usize), commit: Commit) -> Result<Vec<Row>> {
    // As many in all.
    let bytes = match (weigh(lab, kind)?, commit) {
        (bytes, Commit::Once) => bytes,
        (bytes, Commit::Twice) => bytes.div_ceil(2),
    };
    let monitor = match kind {
        "tcp" => Monitor::Tcp(v1::TcpMonitor { address: "127.0.0.1:1".to_owned(), steps: Vec::new() }),
        _ => Monitor::Custom(v1::CustomMonitor { kind: IDLE.to_owned(), config: None }),
    };
    let call = start(monitor);
    let served = Served::start(lab)?;
    let (asked, answered) = lab.clients.block_on(call(lab.connect(served.address)?[0].clone(), 0))?;
    served.stop(lab)?;
    let request = bare::request(asked, answered, 1);
    let row = || -> Result<Calls> {
        let scratch = Scratch::new();
        let served = Served::keeping(lab, EmbeddedStore::open(scratch.path(), Retention::default())?)?;
        let call = call.clone();
        let calls = lab.call(&lab.connect(served.address)?, in_flight, move |channel, number| {
            let called = call(channel, number);
            async { called.await.map(drop) }
        })?;
        served.stop(lab)?;
        Ok(calls)
    };
    let baseline = || -> Result<Calls> {
        let scratch = Scratch::new();
        let bare = Bare::committing(lab, Commits::start(&scratch, bytes, commit)?)?;
        let request = request.clone();
        lab.call(&lab.connect(bare.address)?, in_flight, move |channel, _| {
            let called = bare::call(channel, request.clone());
            async { called.await.map(drop) }
        })
    };
    let turns = lab.take_turns(row, baseline)?;
    Ok(vec![row_of(name, in_flight, Starts::Many, &turns)])
}

/// How many bytes the store holds for each task that was started and is running.
fn weigh(lab: &Lab, kind: &str) -> Result<usize> {
    let scratch = Scratch::new();
    lab.clients.block_on(async {
        let managed = Managed::durable(scratch.path())?;
        let spec = || if kind == "tcp" { tcp("127.0.0.1:1", 0) } else { custom() };
        handle::start(&managed, 0..WEIGHED, spec).await?;
        handle::reached(&managed, switchyard::model::State::Running, WEIGHED).await?;
        managed.close().await
    })?;
    Ok(usize::try_from(scratch.bytes()?.0)? / WEIGHED)
}

/// Something that a call waits for.
type Waits = oneshot::Sender<()>;

/// More calls than are ever in flight.
const WAITING: usize = 1_024;

/// How often a call of the baseline's commits.
#[derive(Clone, Copy)]
enum Commit {
    /// Before its answer.
    Once,
    /// And once more, which it does not wait for.
    Twice,
}

/// The baseline's group commit: everything that waits goes into one transaction, as one record for each call.
#[derive(Clone)]
pub(crate) struct Commits(SyncSender<Waits>, Commit);

impl Commits {
    fn start(scratch: &Scratch, bytes: usize, commit: Commit) -> Result<Self> {
        std::fs::create_dir_all(scratch.path())?;
        let database = Database::create(scratch.path().join("bare.redb"))?;
        let (waits, waiting) = sync_channel(WAITING);
        // It ends when nobody can wait any more.
        let _: JoinHandle<Result<()>> = thread::spawn(move || write(&database, &waiting, bytes));
        Ok(Self(waits, commit))
    }

    pub(crate) async fn commit(&self) -> Result<()> {
        let (waits, committed) = oneshot::channel();
        self.0.send(waits)?;
        committed.await.context("the commit failed")?;
        if let Commit::Twice = self.1 {
            self.0.send(oneshot::channel().0)?;
        }
        Ok(())
    }
}

fn write(database: &Database, waiting: &Receiver<Waits>, bytes: usize) -> Result<()> {
    let record = vec![7; bytes];
    let mut number = 0;
    while let Ok(first) = waiting.recv() {
        let group: Vec<_> = std::iter::once(first).chain(waiting.try_iter()).collect();
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction.set_two_phase_commit(true);
        {
            let mut records = transaction.open_table(RECORDS)?;
            for _ in &group {
                records.insert(number, record.as_slice())?;
                number += 1;
            }
        }
        transaction.commit()?;
        for waits in group {
            // Who waited may be gone.
            let _ = waits.send(());
        }
    }
    Ok(())
}
