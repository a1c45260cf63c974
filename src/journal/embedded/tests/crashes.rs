//! Crashes: whatever a disk has lost of what was not synced, what was acknowledged is there, and what was under way is there whole
//! or not at all.

use std::sync::Arc;

use super::history::{Batch, Fold, History, Random, assert_is};
use super::media::{Disk, Done, put};
use crate::journal::{EmbeddedStore, Retention, Store};
use crate::model::Event;

/// What a disk may tear a write at.
const SECTOR: usize = 512;
/// So small that the workload trims.
const RETENTION: Retention =
    Retention { events: Some(40), age: std::time::Duration::from_secs(86_400), bytes: 1 << 30 };

/// What is left of the writes since the last sync.
#[derive(Clone, Copy, Debug)]
enum Left {
    None,
    All,
    /// Some, in any order.
    Some(u64),
    /// Some sectors of each.
    Torn(u64),
}

/// The disk's bytes after a crash at some moment: `base` has all that was synced.
fn image(base: &[u8], unsynced: &[Done], left: Left) -> Vec<u8> {
    let mut bytes = base.to_vec();
    let mut random = match left {
        Left::Some(seed) | Left::Torn(seed) => Random(seed),
        Left::None | Left::All => Random(0),
    };
    for done in unsynced {
        let is_kept = match left {
            Left::None => false,
            Left::All | Left::Torn(_) => true,
            Left::Some(_) => random.below(2) == 0,
        };
        match done {
            Done::SetLen(len) if is_kept && !(matches!(left, Left::Torn(_)) && random.below(2) == 0) => {
                bytes.resize(*len, 0)
            }
            Done::Write { offset, data } if is_kept => {
                for (n, sector) in data.chunks(SECTOR).enumerate() {
                    if !matches!(left, Left::Torn(_)) || random.below(2) == 0 {
                        put(&mut bytes, offset + n * SECTOR, sector);
                    }
                }
            }
            _ => {}
        }
    }
    bytes
}

/// What a disk was told, group by group.
struct Run {
    start: Vec<u8>,
    done: Vec<Done>,
    /// After each group, how much had been done when it was acknowledged.
    acknowledged: Vec<usize>,
    /// The fold after each group, from that of none on.
    folds: Vec<Fold>,
    log: Vec<Arc<Event>>,
    /// How many groups were found though their commit had failed.
    found: usize,
}

fn run(seed: u64, groups: usize) -> Run {
    run_failing(seed, groups, |_| None)
}

/// As many groups, each of whose first commit may have one sync fail: the store is opened anew, and gets the same group again.
fn run_failing(seed: u64, groups: usize, failing: impl Fn(usize) -> Option<usize>) -> Run {
    let disk = Disk::default();
    drop(EmbeddedStore::with_medium(disk.clone(), RETENTION).expect("begun"));
    let start = disk.bytes();
    disk.record();
    let mut store = EmbeddedStore::with_medium(disk.clone(), RETENTION).expect("opened");
    let mut history = History::new(seed, 6);
    let (mut acknowledged, mut folds, mut log) = (Vec::new(), vec![Fold::default()], Vec::new());
    let mut found = 0;
    for number in 0..groups {
        let batch: Batch = history.batch(8);
        disk.fail_one_sync_after(failing(number));
        let committed = store.commit(batch.group());
        disk.fail_one_sync_after(None);
        if let Err(error) = committed {
            assert!(failing(number).is_some(), "{error}");
            let mut other = EmbeddedStore::with_medium(Disk::of(disk.bytes()), RETENTION).expect("opened");
            found += usize::from(other.recover().expect("read").head.get() == history.fold.head);
            store.commit(batch.group()).expect("committed");
        }
        acknowledged.push(disk.len_recorded());
        folds.push(history.fold.clone());
        log.extend(batch.events);
    }
    Run { start, done: disk.recorded(), acknowledged, folds, log, found }
}

impl Run {
    /// Opens what a crash at `at` left, and looks at what is there.
    fn check(&self, at: usize, bytes: Vec<u8>, what: &str) {
        let committed = self.acknowledged.partition_point(|acknowledged| *acknowledged <= at);
        let disk = Disk::of(bytes);
        self.check_disk(&disk, committed, what);
    }

    fn check_every_moment(&self) {
        let mut base = self.start.clone();
        let mut unsynced = 0;
        for at in 0..=self.done.len() {
            let seed = at as u64;
            for left in [Left::None, Left::All, Left::Some(seed), Left::Torn(seed)] {
                self.check(at, image(&base, &self.done[unsynced..at], left), &format!("crash at {at}, left {left:?}"));
            }
            if let Some(Done::Sync) = self.done.get(at) {
                base = image(&base, &self.done[unsynced..at], Left::All);
                unsynced = at + 1;
            }
        }
    }

    fn check_disk(&self, disk: &Disk, committed: usize, what: &str) {
        let mut store = EmbeddedStore::with_medium(disk.clone(), RETENTION)
            .unwrap_or_else(|error| panic!("{what}: {error}: {:?}", std::error::Error::source(&error)));
        let head = store.recover().expect("read").head.get();
        let whole = self.folds[committed..].iter().take(2).find(|fold| fold.head == head);
        let fold = whole.unwrap_or_else(|| panic!("{what}: the head is {head}, after {committed} groups"));
        assert_is(&mut store, fold, &self.log, what);
    }
}

#[test]
fn after_a_crash_at_any_moment_what_was_acknowledged_is_there_and_the_rest_whole_or_not() {
    let run = run(11, 30);
    assert!(run.log.len() > 80, "the log is trimmed");
    run.check_every_moment();
}

/// Where the commit failed and left the group behind, that it is found is not enough: it must have been synced before it is
/// acknowledged.
#[test]
fn a_group_whose_sync_failed_is_on_the_disk_when_it_is_acknowledged_at_last() {
    // Each sync of a commit fails in its turn.
    let run = run_failing(13, 20, |number| (number > 1).then_some(number % 4));
    assert!(run.found > 2, "{}", run.found);
    run.check_every_moment();
}

#[test]
fn a_second_crash_while_the_first_is_repaired_loses_nothing_either() {
    let run = run(12, 8);
    let mut base = run.start.clone();
    let mut unsynced = 0;
    for at in 0..=run.done.len() {
        let committed = run.acknowledged.partition_point(|acknowledged| *acknowledged <= at);
        if at % 5 == 0 {
            let first = image(&base, &run.done[unsynced..at], Left::Torn(at as u64));
            let disk = Disk::of(first.clone());
            disk.record();
            // Opened, and closed: each writes.
            drop(EmbeddedStore::with_medium(disk.clone(), RETENTION).expect("opened"));
            second_crashes(&run, &first, &disk.recorded(), committed, &format!("crash at {at}"));
        }
        if let Some(Done::Sync) = run.done.get(at) {
            base = image(&base, &run.done[unsynced..at], Left::All);
            unsynced = at + 1;
        }
    }
}

fn second_crashes(run: &Run, first: &[u8], done: &[Done], committed: usize, what: &str) {
    let mut base = first.to_vec();
    let mut unsynced = 0;
    for at in 0..=done.len() {
        for left in [Left::None, Left::Torn(at as u64)] {
            let disk = Disk::of(image(&base, &done[unsynced..at], left));
            run.check_disk(&disk, committed, &format!("{what}, then at {at}, left {left:?}"));
        }
        if let Some(Done::Sync) = done.get(at) {
            base = image(&base, &done[unsynced..at], Left::All);
            unsynced = at + 1;
        }
    }
}
