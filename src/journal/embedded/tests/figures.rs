//! Figures, for whoever changes the form or the pieces:
//!
//! ```sh
//! cargo test --locked --release --lib -- --ignored --nocapture embedded::tests::figures
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redb::{Database, TableDefinition};
use uuid::Uuid;

use super::history::spec;
use super::media::TestDir;
use crate::journal::testing::task;
use crate::journal::{EmbeddedStore, Group, Range, Retention, Store};
use crate::model::{
    Actor, Attempt, Cause, Detail, Event, EventType, Instance, InstanceState, Sequence, State, Task, Timestamp, Uid,
};

const TASKS: usize = 100_000;
const EVENTS: usize = 1_000_000;

fn instance(task: &Task, state: InstanceState, time: Timestamp) -> Instance {
    Instance {
        generation: task.generation,
        attempt: Attempt::new(1),
        state,
        start_time: time,
        ready_time: (state == InstanceState::Ready).then_some(time),
        stop_time: None,
        exit: None,
        shutdown: None,
        blocked_since: None,
    }
}

/// What a server with so many tasks commits: each is created, started and ready; then circuits move, here and there.
fn event(number: usize, tasks: &mut Vec<Arc<Task>>, base: Timestamp) -> Arc<Event> {
    let time = base + Duration::from_micros(number as u64);
    let mut detail = None;
    let (kind, place) = match number / 3 {
        place if place < TASKS => match number % 3 {
            0 => {
                let id = format!("checkout-api-{place}");
                let uid = Uid::new(Uuid::new_v4());
                let task = Task { uid, state: State::Pending, spec: spec(&id, 1), create_time: time, ..task(&id, 1) };
                tasks.push(Arc::new(task));
                (EventType::TaskCreated, place)
            }
            1 => (EventType::InstanceStarting, place),
            _ => (EventType::InstanceReady, place),
        },
        _ => (EventType::CircuitTripped, number.wrapping_mul(7_919) % TASKS),
    };
    let mut task = Task::clone(&tasks[place]);
    task.update_time = time;
    match kind {
        EventType::InstanceStarting | EventType::InstanceReady => {
            let ready = kind == EventType::InstanceReady;
            task.state = if ready { State::Running } else { State::Starting };
            let state = if ready { InstanceState::Ready } else { InstanceState::Starting };
            task.instance = Some(instance(&task, state, time));
            detail = task.instance.clone().map(Detail::Instance);
        }
        EventType::CircuitTripped => {
            task.circuit.since_time = time;
            task.circuit.epoch = task.circuit.epoch.next();
            detail = Some(Detail::Circuit(task.circuit.clone()));
        }
        _ => {}
    }
    tasks[place] = Arc::new(task);
    let cause = match kind {
        EventType::TaskCreated => Cause { actor: Actor::Anonymous([127, 0, 0, 1].into()), ..Cause::system("rpc", "") },
        _ => Cause::system("restart", ""),
    };
    let attempt = Attempt::new(1);
    let generation = tasks[place].generation;
    let task = Some(Arc::clone(&tasks[place]));
    Arc::new(Event { sequence: Sequence::new(number as u64 + 1), time, kind, generation, attempt, cause, detail, task })
}

fn size(dir: &Path) -> u64 {
    dir.join("journal.redb").metadata().expect("there").len()
}

fn commit(store: &mut EmbeddedStore, events: &[Arc<Event>]) {
    store.commit(Group { events, requests: &[] }).expect("committed");
}

/// Commits one event at a time.
fn singles(store: &mut EmbeddedStore, mut make: impl FnMut() -> Vec<Arc<Event>>) {
    let before = written();
    let mut took: Vec<_> = (0..2_001)
        .map(|_| {
            let group = make();
            let since = Instant::now();
            commit(store, &group);
            since.elapsed()
        })
        .collect();
    took.sort();
    let bytes = (written() - before) / 2_001;
    println!("groups of 1: p50 {:?}, p99 {:?}, {bytes} bytes written for each", took[1_000], took[1_980]);
}

/// How many bytes this process has written.
fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").expect("Linux");
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: ")).expect("there");
    line.parse().expect("a number")
}

#[test]
#[ignore = "figures, not facts"]
fn of_a_store_of_many_tasks() {
    let dir = TestDir::new();
    let retention = Retention { events: Some(10_000_000), ..Retention::default() };
    let mut store = EmbeddedStore::open(&dir.path(), retention).expect("opened");
    let mut tasks = Vec::new();
    let base = super::super::age::wall();
    let mut made = 0;
    let mut make = |count: usize, tasks: &mut Vec<Arc<Task>>| {
        let events: Vec<_> = (made..made + count).map(|number| event(number, tasks, base)).collect();
        made += count;
        events
    };
    for (size, total) in [(64, 38_400), (256, 76_800)] {
        let groups: Vec<_> = (0..total / size).map(|_| make(size, &mut tasks)).collect();
        let since = Instant::now();
        groups.iter().for_each(|group| commit(&mut store, group));
        let took = since.elapsed();
        println!(
            "groups of {size}: {:.0} events/s, {:?} each",
            total as f64 / took.as_secs_f64(),
            took / (total / size) as u32
        );
    }
    singles(&mut store, || make(1, &mut tasks));
    let since = Instant::now();
    let mut left = EVENTS - 38_400 - 76_800 - 2 * 2_001;
    let mut started = None;
    while left > 0 {
        let count = left.min(512);
        let group = make(count, &mut tasks);
        commit(&mut store, &group);
        left -= count;
        if EVENTS - left > 3 * TASKS && started.is_none() {
            started = Some(size(&dir.path()));
        }
    }
    println!(
        "the rest in groups of 512 (made in between): {:.0} events/s",
        (EVENTS as f64) / since.elapsed().as_secs_f64()
    );
    singles(&mut store, || make(1, &mut tasks));
    println!("file after all started: {:?}, at the end {}", started, size(&dir.path()));
    let reader = store.reader();
    for _ in 0..2 {
        let since = Instant::now();
        let mut after = Sequence::default();
        let through = Sequence::new(EVENTS as u64);
        while after < through {
            let batch = reader.read(Range { after, through }, 256).expect("kept");
            after = batch.last().expect("more").sequence;
        }
        println!("replay of {EVENTS}: {:.0} events/s", EVENTS as f64 / since.elapsed().as_secs_f64());
    }
    drop(reader);
    // As after kill -9.
    let copy = dir.join("killed");
    std::fs::create_dir(&copy).expect("made");
    std::fs::copy(dir.path().join("journal.redb"), copy.join("journal.redb")).expect("copied");
    let since = Instant::now();
    drop(store);
    println!("closing: {:?}", since.elapsed());
    for (what, path) in [("closed", dir.path()), ("killed", copy)] {
        let since = Instant::now();
        let mut store = EmbeddedStore::open(&path, retention).expect("opened");
        let opened = since.elapsed();
        let since = Instant::now();
        let recovered = store.recover().expect("read");
        println!("{what}: opened in {opened:?}, {} tasks read in {:?}", recovered.tasks.len(), since.elapsed());
    }
    let since = Instant::now();
    let report = EmbeddedStore::check(&dir.path()).expect("checked");
    println!("check in {:?}: {report:?}", since.elapsed());
    println!("compact: {:?}", EmbeddedStore::compact(&dir.path()).expect("compacted"));
}

#[test]
#[ignore = "figures, not facts"]
fn of_plain_redb_with_the_same_bytes() {
    const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
    let dir = TestDir::new();
    let database = Database::create(dir.join("plain.redb")).expect("made");
    for (size, groups) in [(1, 2_001), (64, 600), (256, 300)] {
        let value = vec![7_u8; size * 230];
        let mut took: Vec<_> = (0..groups)
            .map(|n| {
                let since = Instant::now();
                let mut transaction = database.begin_write().expect("begun");
                transaction.set_two_phase_commit(true);
                transaction
                    .open_table(TABLE)
                    .expect("there")
                    .insert(size as u64 * 1_000_000 + n, value.as_slice())
                    .expect("in");
                transaction.commit().expect("committed");
                since.elapsed()
            })
            .collect();
        let total: Duration = took.iter().sum();
        took.sort();
        let rate = (groups as f64) * size as f64 / total.as_secs_f64();
        println!("plain redb, groups of {size}: {rate:.0} events/s, p50 {:?}", took[took.len() / 2]);
    }
}
