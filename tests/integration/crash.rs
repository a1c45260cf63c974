//! kill -9 at any moment, again and again, under load: no acknowledged operation is lost, none is half done, and whoever watches
//! across all of it sees each event once.
//!
//! As many rounds as are wanted, and another course of things by another seed:
//!
//! ```text
//! SWITCHYARD_CRASH_ROUNDS=2000 SWITCHYARD_SEED=7 cargo test --locked --test integration crash -- --nocapture
//! ```

mod observed;
mod owner;
mod swaps;
mod watcher;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use switchyard::pb::v1;
use switchyard::pb::v1::task_service_client::TaskServiceClient;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use crate::cli::process::{Served, Starting};
use crate::harness::Client;
use crate::scratch::Scratch;
use owner::Owner;
use watcher::Watcher;

/// How many rounds CI makes.
const ROUNDS: usize = 200;
/// Those who start, swap, cancel and delete, each its own tasks, all at once.
const OWNERS: usize = 16;
/// A server is killed when this many operations have been acknowledged, or fewer.
const MOST_ACKNOWLEDGED: u64 = 160;
/// In one of so many rounds the next server is killed twice before it is through with what the last one has left.
const KILLED_IN_RECOVERY: usize = 4;
/// How long it then has before that: some are not up yet, some listen already, some have taken over part of the tasks.
const RECOVERY_MILLIS: u64 = 60;

/// A small generator (SplitMix64), so that a round can be made again.
pub(super) struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(super) fn uuid(&mut self) -> String {
        Uuid::from_u64_pair(self.next(), self.next()).to_string()
    }
}

/// How many operations of this round were acknowledged; tells when that is enough.
pub(super) struct Acknowledged {
    count: AtomicUsize,
    wanted: usize,
    enough: Notify,
}

impl Acknowledged {
    fn until(wanted: usize) -> Arc<Self> {
        Arc::new(Self { count: AtomicUsize::new(0), wanted, enough: Notify::new() })
    }

    pub(super) fn one(&self) {
        if self.count.fetch_add(1, Ordering::Relaxed) + 1 == self.wanted {
            self.enough.notify_one();
        }
    }
}

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

async fn serve(directory: &Path) -> Served {
    let directory = directory.to_owned();
    spawn_blocking(move || Served::begin_in(&directory, &["--log", "error"])).await.expect("the server starts")
}

/// A server that is killed on its way up.
async fn killed_in_recovery(directory: &Path, millis: u64) {
    let server = Starting::begin_in(directory, &["--log", "error"]);
    tokio::time::sleep(Duration::from_millis(millis)).await;
    drop(server);
}

async fn client(address: &str) -> Client {
    TaskServiceClient::connect(format!("http://{address}")).await.expect("listening")
}

/// Everything that the owners know of is as they know it.
async fn verify(owners: &mut [Owner], address: &str) {
    let client = client(address).await;
    join_all(owners.iter_mut().map(|owner| owner.verify(client.clone()))).await;
}

/// The owners go about their business until enough was acknowledged; then the server is killed under them.
async fn business(owners: Vec<Owner>, server: Served, wanted: usize) -> Vec<Owner> {
    let acknowledged = Acknowledged::until(wanted);
    let client = client(&server.address).await;
    let work = owners.into_iter().map(|owner| {
        let (client, acknowledged) = (client.clone(), Arc::clone(&acknowledged));
        tokio::spawn(owner.work(client, acknowledged))
    });
    let work: Vec<_> = work.collect();
    acknowledged.enough.notified().await;
    drop(server);
    join_all(work).await.into_iter().map(|owner| owner.expect("no operation was refused that may not be")).collect()
}

/// What the log says is what the tasks are.
async fn compare(watcher: &Watcher, address: &str) {
    let mut client = client(address).await;
    let request = || v1::ListTasksRequest { parent: "namespaces/-".to_owned(), page_size: 1_000, ..Default::default() };
    loop {
        let before = client.list_tasks(request()).await.expect("lists").into_inner();
        watcher.reach(&before.cursor).await;
        let after = client.list_tasks(request()).await.expect("lists").into_inner();
        // A list is compared with what was seen up to its own place, so nothing may have happened since.
        if before.cursor == after.cursor {
            let listed = after.tasks.iter().map(|task| (task.name.clone(), watcher::durable(task))).collect();
            assert_eq!(watcher.tasks(), listed, "the tasks are what the events say");
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_and_every_event_is_seen_once() {
    let rounds = number("SWITCHYARD_CRASH_ROUNDS", ROUNDS);
    let mut rng = Rng(number("SWITCHYARD_SEED", 1) as u64);
    let scratch = Scratch::new("crash");
    let data = scratch.join("data");
    let mut owners: Vec<_> = (0..OWNERS).map(|number| Owner::new(number, rng.next())).collect();
    let mut server = serve(&data).await;
    let watcher = Watcher::start(&server.address).await;
    for round in 0..rounds {
        verify(&mut owners, &server.address).await;
        let wanted = 1 + usize::try_from(rng.below(MOST_ACKNOWLEDGED)).expect("small");
        owners = business(owners, server, wanted).await;
        if round % KILLED_IN_RECOVERY == 0 {
            for _ in 0..2 {
                killed_in_recovery(&data, rng.below(RECOVERY_MILLIS)).await;
            }
        }
        server = serve(&data).await;
        watcher.go_on_at(&server.address);
        if round % 100 == 99 {
            println!("{} rounds, {} events", round + 1, watcher.events());
        }
    }
    verify(&mut owners, &server.address).await;
    compare(&watcher, &server.address).await;
    let exit = spawn_blocking(move || server.terminate()).await.expect("ends");
    assert_eq!(exit, Some(0), "a drain of what was left");
}
