//! Wall clocks that are wrong: what is kept is what should be, or it is so again once they are right.

use std::sync::Arc;
use std::time::Duration;

use super::history::History;
use super::media::Disk;
use super::retention::{at, commit, retention};
use crate::journal::embedded::age::{AgeClock, wall as now};
use crate::journal::{EmbeddedStore, Group, Store};
use crate::model::{Remembered, Timestamp};

fn days_ago() -> Timestamp {
    now().before(Duration::from_secs(8 * 86_400))
}

fn in_a_year() -> Timestamp {
    now() + Duration::from_secs(365 * 86_400)
}

/// A store that runs as its wall clock jumps ahead by eight days, and has an event and a request of before.
fn jumped(disk: &Disk) -> EmbeddedStore {
    let mut store = EmbeddedStore::with_medium(disk.clone(), retention(1_000)).expect("opened");
    store.clock = AgeClock::start_by(days_ago).jumped(now);
    store.written.as_mut().expect("open").clock = store.clock;
    let before = days_ago();
    let request = Remembered { time: before, ..History::new(5, 3).batch(50).requests.swap_remove(0) };
    let created = [1, 2].map(|number| Arc::new(at(number, before)));
    store.commit(Group { events: &created[..1], requests: &[request] }).expect("committed");
    store.commit(Group { events: &created[1..], requests: &[] }).expect("committed");
    store
}

#[test]
fn a_clock_that_jumps_ahead_makes_nothing_old() {
    let mut store = jumped(&Disk::default());
    assert!(!store.maintain().expect("maintained"));
    commit(&mut store, vec![at(3, now())]);
    assert_eq!(store.reader().oldest().get(), 0);
    assert_eq!(store.recover().expect("read").requests.len(), 1);
    // Opened anew, as after an I/O error, it is the same.
    store.let_go();
    while store.maintain().expect("maintained") {}
    assert_eq!(store.reader().oldest().get(), 0);
    assert_eq!(store.recover().expect("read").requests.len(), 1);
}

#[test]
fn what_has_grown_old_while_no_server_ran_goes_when_one_does() {
    let disk = Disk::default();
    drop(jumped(&disk));
    let mut store = EmbeddedStore::with_medium(disk, retention(1_000)).expect("opened");
    while store.maintain().expect("maintained") {}
    assert_eq!(store.reader().oldest().get(), 2);
    assert!(store.recover().expect("read").requests.is_empty());
}

#[test]
fn events_of_a_future_time_keep_nothing_behind_them_for_ever() {
    let disk = Disk::default();
    let mut store = EmbeddedStore::with_medium(disk.clone(), retention(1_000)).expect("opened");
    // Its clock is a year ahead when it is started.
    store.written.as_mut().expect("open").clock = AgeClock::start_by(in_a_year);
    let requests = History::new(5, 3).batch(50).requests;
    let of = |time: Timestamp| Remembered { time, ..requests[0].clone() };
    for number in 1..=3 {
        let events = [Arc::new(at(number, in_a_year()))];
        store.commit(Group { events: &events, requests: &[of(in_a_year())] }).expect("committed");
    }
    drop(store);
    let mut store = EmbeddedStore::with_medium(disk, retention(1_000)).expect("opened");
    // Put right, it goes on for two days.
    store.written.as_mut().expect("open").clock = AgeClock::start_by(days_ago);
    for number in 4..=5 {
        let events = [Arc::new(at(number, days_ago()))];
        store.commit(Group { events: &events, requests: &[of(days_ago())] }).expect("committed");
    }
    assert_eq!(store.reader().oldest().get(), 0);
    store.written.as_mut().expect("open").clock = AgeClock::start();
    while store.maintain().expect("maintained") {}
    assert_eq!(store.reader().oldest().get(), 5);
    assert!(store.recover().expect("read").requests.is_empty());
}
