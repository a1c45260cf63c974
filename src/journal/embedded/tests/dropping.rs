//! Damaged rows that go: nobody needs what they said, so nobody is ended for them, and the counters are right afterwards.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use redb::ReadableTable;

use super::history::{History, assert_is};
use super::media::{Disk, TestDir};
use super::retention::{at, commit, retention, swap_on, swapped};
use crate::journal::embedded::age::wall as now;
use crate::journal::embedded::rows::{RowKey, SealedTable};
use crate::journal::embedded::tables::{DYING, EVENTS, META, REQUESTS, SPECS, TASKS, counters, dying_bytes, log_bytes};
use crate::journal::testing::event;
use crate::journal::{EmbeddedStore, Failure, Group, Range, ReadError, Retention, Store};
use crate::model::{EventType, Remembered, Sequence, State, Task};

/// Changes a row behind the back of its seal.
fn damage<K: RowKey>(store: &EmbeddedStore, table: SealedTable<K>, key: K, act: impl FnOnce(&mut Vec<u8>)) {
    let transaction = store.shared.database().expect("open").begin_write().expect("begun");
    let mut rows = transaction.open_table(table.raw()).expect("there");
    let mut row = rows.get(key).expect("read").expect("there").value().to_vec();
    act(&mut row);
    rows.insert(key, row.as_slice()).expect("written");
    drop(rows);
    transaction.commit().expect("committed");
}

fn flip(byte: usize) -> impl FnOnce(&mut Vec<u8>) {
    move |row| row[byte] ^= 4
}

fn flip_seal(row: &mut [u8]) {
    *row.last_mut().expect("sealed") ^= 1;
}

fn keys<K: RowKey>(store: &EmbeddedStore, table: SealedTable<K>) -> Vec<K> {
    let transaction = store.shared.database().expect("open").begin_read().expect("begun");
    let rows = transaction.open_table(table.raw()).expect("there");
    rows.iter().expect("read").map(|row| row.expect("read").0.value()).collect()
}

/// Every row is sound, and the counters are what the tables have: on the disk, and as the writer knows them.
fn assert_counted(store: &EmbeddedStore) {
    let transaction = store.shared.database().expect("open").begin_read().expect("begun");
    let counters = counters(&transaction.open_table(META).expect("there")).expect("sealed");
    let events = EVENTS.read(&transaction).expect("there");
    let (dying, specs) = (DYING.read(&transaction).expect("there"), SPECS.read(&transaction).expect("there"));
    let (tasks, requests) = (TASKS.read(&transaction).expect("there"), REQUESTS.read(&transaction).expect("there"));
    let faults = [
        events.every(counters.events).expect("read").find_map(Result::err),
        dying.every(counters.dying).expect("read").find_map(Result::err),
        specs.every(counters.specs).expect("read").find_map(Result::err),
        tasks.every(counters.tasks).expect("read").find_map(Result::err),
        requests.every(counters.requests).expect("read").find_map(Result::err),
    ];
    let faults: Vec<_> = faults.iter().flatten().map(ToString::to_string).collect();
    assert!(faults.is_empty(), "{faults:?}");
    assert_eq!(counters.log_bytes, log_bytes(&events).expect("counted"));
    assert_eq!(counters.dying_bytes, dying_bytes(&dying, &specs).expect("counted"));
    assert_eq!(store.written.as_ref().expect("open").counters, counters);
}

fn read(store: &EmbeddedStore, after: u64, through: u64) -> Result<usize, ReadError> {
    let range = Range { after: Sequence::new(after), through: Sequence::new(through) };
    store.reader().read(range, 1_000).map(|events| events.len())
}

/// The same, in brief and to the end.
fn read_briefly(store: &EmbeddedStore, after: u64) -> Result<usize, ReadError> {
    let mut seen = 0;
    let range = Range { after: Sequence::new(after), through: Sequence::new(u64::MAX) };
    store.reader().read_briefly(range, &mut |_| {
        seen += 1;
        ControlFlow::Continue(())
    })?;
    Ok(seen)
}

fn is_trimmed(read: &Result<usize, ReadError>) -> bool {
    matches!(read, Err(ReadError::Trimmed))
}

/// One event in each of so many pieces.
fn of_pieces(disk: &Disk, pieces: usize, kept: u64) -> EmbeddedStore {
    let mut store = EmbeddedStore::with_medium(disk.clone(), retention(kept)).expect("opened");
    for number in 1..=pieces {
        commit(&mut store, vec![at(number, now())]);
    }
    store
}

#[test]
fn a_damaged_piece_is_told_of_until_it_is_dropped_and_then_it_is_gone() {
    let hurts: [fn(&mut Vec<u8>); 4] =
        [|row| row[1] ^= 1, |row| flip_seal(row), |row| row.truncate(row.len() / 2), |row| row.clear()];
    for hurt in hurts {
        let disk = Disk::default();
        let mut store = of_pieces(&disk, 20, 20);
        damage(&store, EVENTS, 5, hurt);
        damage(&store, EVENTS, 6, |row| flip_seal(row));
        for number in 21..=24 {
            commit(&mut store, vec![at(number, now())]);
        }
        assert_eq!((store.reader().oldest().get(), read(&store, 6, 24).expect("sound")), (4, 18));
        assert!(matches!(read(&store, 4, 24), Err(ReadError::Store(error)) if error.failure() == Failure::Final));
        assert!(matches!(read_briefly(&store, 4), Err(ReadError::Store(error)) if error.failure() == Failure::Final));
        assert_eq!(read_briefly(&store, 6).expect("sound"), 18);
        // The first piece is the damaged one: that refuses nobody.
        drop(store);
        let mut store = EmbeddedStore::with_medium(disk.clone(), retention(20)).expect("opened");
        store.recover().expect("read");
        commit(&mut store, vec![at(25, now()), at(26, now())]);
        assert_eq!(store.reader().oldest().get(), 6);
        assert!(is_trimmed(&read(&store, 4, 26)) && is_trimmed(&read(&store, 5, 26)));
        assert!(is_trimmed(&read_briefly(&store, 5)));
        assert_eq!(read(&store, 6, 26).expect("sound"), 20);
        assert_counted(&store);
        drop(store);
        let mut store = EmbeddedStore::with_medium(disk, retention(20)).expect("opened");
        commit(&mut store, vec![at(27, now())]);
        assert_counted(&store);
    }
}

#[test]
fn what_is_damaged_goes_by_age_with_what_follows_it() {
    let disk = Disk::default();
    let mut store =
        EmbeddedStore::with_medium(disk, Retention { age: Duration::MAX, ..retention(1_000) }).expect("opened");
    let old = now().before(Duration::from_secs(86_400));
    commit(&mut store, vec![at(1, old), at(2, old)]);
    commit(&mut store, vec![at(3, old)]);
    commit(&mut store, vec![at(4, now())]);
    damage(&store, EVENTS, 2, flip(1));
    store.retention.age = Duration::from_secs(3_600);
    store.written = None;
    while store.maintain().expect("maintained") {}
    assert_eq!(store.reader().oldest().get(), 3);
    assert_counted(&store);
    // The last one, too, once something that is as old follows it.
    damage(&store, EVENTS, 4, flip(1));
    store.retention.events = Some(1);
    commit(&mut store, vec![at(5, now())]);
    assert_eq!(store.reader().oldest().get(), 4);
    assert_counted(&store);
}

/// Where the key itself has flipped, as in the file.
#[test]
fn a_piece_whose_key_is_wrong_ends_where_the_next_one_begins() {
    let disk = Disk::default();
    let mut store = EmbeddedStore::with_medium(disk, retention(1_000)).expect("opened");
    commit(&mut store, (1..=10).map(|number| at(number, now())).collect());
    commit(&mut store, (11..=20).map(|number| at(number, now())).collect());
    let transaction = store.shared.database().expect("open").begin_write().expect("begun");
    let mut rows = transaction.open_table(EVENTS.raw()).expect("there");
    let row = rows.remove(10).expect("removed").expect("there").value().to_vec();
    rows.insert(8, row.as_slice()).expect("written");
    drop(rows);
    transaction.commit().expect("committed");
    store.retention.events = Some(10);
    store.written = None;
    commit(&mut store, vec![at(21, now())]);
    assert_eq!((store.reader().oldest().get(), read(&store, 10, 21).expect("sound")), (10, 11));
    assert_counted(&store);
}

#[test]
fn a_row_that_is_missing_is_not_forgiven_for_one_that_is_damaged() {
    let mut store = of_pieces(&Disk::default(), 20, 20);
    damage(&store, EVENTS, 1, flip(1));
    let transaction = store.shared.database().expect("open").begin_write().expect("begun");
    transaction.open_table(EVENTS.raw()).expect("there").remove(15).expect("removed");
    transaction.commit().expect("committed");
    let events = [Arc::new(at(21, now()))];
    let error = store.commit(Group { events: &events, requests: &[] }).expect_err("missed");
    assert!(error.failure() == Failure::Final && error.to_string().contains("counters say"), "{error}");
}

/// So many requests, which are older than that by now.
fn requests(count: usize, age: Duration) -> Vec<Remembered> {
    let mut history = History::new(5, 3);
    let requests = std::iter::repeat_with(|| history.batch(5).requests).flatten();
    requests.map(|request| Remembered { time: now().before(age), ..request }).take(count).collect()
}

#[test]
fn a_damaged_request_is_overwritten() {
    let mut store = EmbeddedStore::with_medium(Disk::default(), retention(1_000)).expect("opened");
    let requests = requests(4, Duration::ZERO);
    store.commit(Group { events: &[], requests: &requests }).expect("committed");
    damage(&store, REQUESTS, 1, flip(3));
    store.written.as_mut().expect("open").ends.next_request = 1;
    store.commit(Group { events: &[], requests: &requests[..1] }).expect("overwritten");
    assert_eq!(keys(&store, REQUESTS), [0, 1, 2, 3]);
    assert_counted(&store);
}

#[test]
fn damaged_requests_are_forgotten_when_it_is_time() {
    let mut store = EmbeddedStore::with_medium(Disk::default(), retention(1_000)).expect("opened");
    let (old, new) = (requests(20, Duration::from_secs(2 * 86_400)), requests(10, Duration::ZERO));
    // What is first and new keeps what follows it; damaged, it is as old as that.
    let all = [&new[..1], &old, &new].concat();
    store.commit(Group { events: &[], requests: &all }).expect("committed");
    assert_eq!(keys(&store, REQUESTS).len(), 31);
    damage(&store, REQUESTS, 0, |row| flip_seal(row));
    damage(&store, REQUESTS, 5, flip(3));
    damage(&store, REQUESTS, 6, flip(3));
    store.written = None;
    while store.maintain().expect("maintained") {}
    assert_eq!(keys(&store, REQUESTS), (21..31).collect::<Vec<_>>());
    assert_counted(&store);
}

#[test]
fn damaged_specs_die_and_go_with_the_events_that_referred_to_them() {
    let mut store = EmbeddedStore::with_medium(Disk::default(), retention(1_000)).expect("opened");
    // The first dies with the eleventh swap, and was damaged before that; the others after.
    let (task, number) = swapped(&mut store, 9, true);
    damage(&store, SPECS, (1, 1), flip(3));
    let swapped_on = swap_on(&mut store, task, number, 5, true);
    damage(&store, SPECS, (1, 2), |row| row.truncate(10));
    assert!(store.written.as_ref().expect("open").counters.dying_bytes > 0);
    store.retention.events = Some(1);
    while store.maintain().expect("maintained") {}
    assert_eq!(keys(&store, SPECS).len(), 10);
    assert_counted(&store);
    assert_eq!(store.recover().expect("read").tasks, [Arc::new(swapped_on)]);
}

/// Its key may be what is wrong: then it names a spec that is needed.
#[test]
fn a_damaged_word_that_a_spec_is_dying_lets_it_live_until_that_is_certain() {
    let mut store = EmbeddedStore::with_medium(Disk::default(), retention(1_000)).expect("opened");
    let (task, number) = swapped(&mut store, 14, true);
    let (first, last) = (keys(&store, DYING)[0], keys(&store, DYING).len());
    damage(&store, DYING, first, |row| row.push(1));
    // And one that names a spec of the task that is there.
    let transaction = store.shared.database().expect("open").begin_write().expect("begun");
    let mut rows = transaction.open_table(DYING.raw()).expect("there");
    let row = rows.remove(keys(&store, DYING)[1]).expect("removed").expect("there").value().to_vec();
    rows.insert((2, 1, 15), row.as_slice()).expect("written");
    drop(rows);
    transaction.commit().expect("committed");
    store.retention.events = Some(1);
    while store.maintain().expect("maintained") {}
    assert_counted(&store);
    assert_eq!(keys(&store, DYING), [(number as u64 + 1, 1, 1)], "of {last}");
    assert!(keys(&store, SPECS).contains(&(1, 15)) && keys(&store, SPECS).contains(&(1, 1)));
    for number in number + 1..number + 3 {
        commit(
            &mut store,
            vec![crate::model::Event { time: now(), ..event(number, EventType::InstanceReady, task.clone()) }],
        );
    }
    while store.maintain().expect("maintained") {}
    assert!(keys(&store, DYING).is_empty() && !keys(&store, SPECS).contains(&(1, 1)));
    assert_eq!(store.recover().expect("read").tasks, [Arc::new(task)]);
    assert_counted(&store);
}

/// An old event has flipped in the file, which redb would find out of a file that was not closed.
fn flip_on_disk(disk: &Disk, what: &[u8]) {
    let mut bytes = disk.bytes();
    let places: Vec<_> =
        bytes.windows(what.len()).enumerate().filter(|(_, at)| *at == what).map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    for place in places {
        bytes[place] ^= 1;
    }
    disk.set(bytes);
}

#[test]
fn a_server_that_ends_over_damage_leaves_a_store_that_is_opened_again_and_says_where() {
    let disk = Disk::default();
    let mut store = of_pieces(&disk, 30, 1_000);
    let piece = {
        let transaction = store.shared.database().expect("open").begin_read().expect("begun");
        transaction.open_table(EVENTS.raw()).expect("there").get(3).expect("read").expect("there").value().to_vec()
    };
    flip_on_disk(&disk, &piece);
    assert!(EmbeddedStore::with_medium(Disk::of(disk.bytes()), retention(1_000)).is_err(), "killed, it is refused");
    // Nonsense, which is final; but the store is asked to go on all the same.
    let nonsense = [Arc::new(at(99, now()))];
    for _ in 0..2 {
        let error = store.commit(Group { events: &nonsense, requests: &[] }).expect_err("nonsense");
        assert_eq!(error.failure(), Failure::Final);
    }
    commit(&mut store, vec![at(31, now())]);
    damage(&store, TASKS, 7, |row| flip_seal(row));
    let ended = Task { state: State::Cancelled, ..at(7, now()).task.map(Arc::unwrap_or_clone).expect("of a task") };
    let events = [Arc::new(crate::model::Event { time: now(), ..event(32, EventType::TaskDeleted, ended) })];
    let error = store.commit(Group { events: &events, requests: &[] }).expect_err("a task is needed");
    assert!(error.failure() == Failure::Final && error.to_string().contains("table tasks, key 7"), "{error}");
    drop(store);
    let told = EmbeddedStore::with_medium(disk.clone(), retention(1_000)).err().expect("refused").to_string();
    assert!(told.contains("table tasks, key 7"), "{told}");
}

#[test]
fn a_check_finds_nothing_once_what_was_damaged_has_gone() {
    let dir = TestDir::new();
    let mut store = EmbeddedStore::open(&dir.path(), retention(60)).expect("opened");
    let mut history = History::new(21, 6);
    let mut log = Vec::new();
    for round in 0..300 {
        if round % 40 == 20 {
            for key in keys(&store, EVENTS).into_iter().step_by(3) {
                damage(&store, EVENTS, key, flip(2));
            }
        }
        let batch = history.batch(6);
        store.commit(batch.group()).expect("committed");
        log.extend(batch.events);
    }
    while store.maintain().expect("maintained") {}
    assert_is(&mut store, &history.fold, &log, "trimmed");
    assert_counted(&store);
    drop(store);
    assert_eq!(EmbeddedStore::check(&dir.path()).expect("checked").problems, Vec::<String>::new());
}
