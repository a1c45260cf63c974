//! Bits that flip in a store's file: whoever reads is told of it, or gets what was written.
//!
//! Harmless are flips of what nobody reads: free space, and what redb keeps of free pages as long as that agrees with itself.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use redb::StorageBackend;
use uuid::Uuid;

use super::history::{Fold, History, Random, assert_briefly};
use super::media::Disk;
use crate::journal::{EmbeddedStore, Medium, Range, Retention, Store};
use crate::model::{Event, Sequence};

const PAGE: u64 = 4_096;
/// How a page of redb's begins that leads to others: there are few, but a flip there may hide many rows.
const BRANCH: u8 = 2;
/// And how much of it has something to say, here.
const WAYS: usize = 640;
/// What redb has no checksum of: which of the two slots counts, whether the file was closed, and how large it is.
const UNCHECKED: usize = 64;
/// Which of the slots counts is its lowest bit.
const SLOT_BYTE: usize = 9;
/// All that, and both slots, which say where the last two commits are.
const HEADER: usize = 320;

/// All that a store says of what was written.
#[derive(Debug, PartialEq)]
struct Said {
    id: Uuid,
    fold: Fold,
    oldest: u64,
    events: Vec<Arc<Event>>,
}

/// Reads everything. An error is what a server or a reader would be told.
fn read(medium: impl Medium) -> Result<Said, String> {
    let mut store = EmbeddedStore::with_medium(medium, Retention::default()).map_err(|error| error.to_string())?;
    let recovered = store.recover().map_err(|error| error.to_string())?;
    let reader = store.reader();
    let oldest = reader.oldest();
    let (mut after, mut events) = (oldest, Vec::new());
    while after < recovered.head {
        let found = reader.read(Range { after, through: recovered.head }, 100).map_err(|error| error.to_string())?;
        // None where there should be some: that is for the comparison to find.
        let Some(last) = found.last() else { break };
        after = last.sequence;
        events.extend(found);
    }
    assert_briefly(&*reader, &events, "as the whole ones are").map_err(|error| error.to_string())?;
    Ok(Said { id: recovered.store_id, fold: Fold::of(&recovered), oldest: oldest.get(), events })
}

/// A store with some of everything, several pages of each table, and its oldest events gone.
struct Stored {
    /// As a process leaves it that ends.
    closed: Vec<u8>,
    /// As one that is killed does.
    killed: Vec<u8>,
    /// The same, but for its last commit.
    before: Vec<u8>,
}

fn stored() -> Stored {
    let disk = Disk::default();
    let retention = Retention { events: Some(120), ..Retention::default() };
    let mut store = EmbeddedStore::with_medium(disk.clone(), retention).expect("opened");
    let mut history = History::new(11, 40);
    let mut before = Vec::new();
    for _ in 0..45 {
        before = disk.bytes();
        store.commit(history.batch(10).group()).expect("committed");
    }
    assert!(store.reader().oldest() > Sequence::default());
    let killed = disk.bytes();
    drop(store);
    Stored { closed: disk.bytes(), killed, before }
}

/// A disk that notes what is read of it.
#[derive(Clone)]
struct Watched {
    disk: Disk,
    pages: Arc<Mutex<BTreeSet<u64>>>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.disk.fmt(f)
    }
}

impl Medium for Watched {
    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        Ok(Box::new(self.clone()))
    }
}

impl StorageBackend for Watched {
    fn len(&self) -> io::Result<u64> {
        StorageBackend::len(&self.disk)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        pages.extend(offset / PAGE..(offset + out.len() as u64).div_ceil(PAGE));
        self.disk.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.write(offset, data)
    }
}

/// What became of the flips.
#[derive(Debug, Default)]
struct Outcomes {
    told: usize,
    harmless: usize,
    panicked: Vec<(usize, u8)>,
    altered: Vec<(usize, u8)>,
}

/// Flips one bit at each place, and reads everything.
fn flip(places: impl Iterator<Item = (usize, u8)>, whole: &[u8], expected: &Said) -> Outcomes {
    let mut outcomes = Outcomes::default();
    for (place, bit) in places {
        let mut bytes = whole.to_vec();
        bytes[place] ^= 1 << bit;
        match catch_unwind(AssertUnwindSafe(|| read(Disk::of(bytes)))) {
            Ok(Ok(said)) if said == *expected => outcomes.harmless += 1,
            Ok(Ok(_)) => outcomes.altered.push((place, bit)),
            Ok(Err(_)) => outcomes.told += 1,
            Err(_) => outcomes.panicked.push((place, bit)),
        }
    }
    outcomes
}

/// Flips of a store's pages in use, about one bit in `step` bytes; more in the header, and where pages lead to others.
fn flips(whole: Vec<u8>, step: usize) -> Outcomes {
    let watched = Watched { disk: Disk::of(whole.clone()), pages: Arc::default() };
    let expected = read(watched.clone()).expect("sound");
    let pages = watched.pages.lock().expect("free").clone();
    let mut random = Random(step as u64);
    let mut places: Vec<_> = (0..UNCHECKED).flat_map(|place| (0..8).map(move |bit| (place, bit))).collect();
    places.extend((UNCHECKED..HEADER).map(|place| (place, random.below(8) as u8)));
    for page in pages {
        let mut place = page as usize * PAGE as usize;
        let is_branch = whole.get(place) == Some(&BRANCH);
        let (step, end) = if is_branch { (step.div_ceil(64), place + WAYS) } else { (step, place + PAGE as usize) };
        loop {
            place += 1 + random.below(2 * step - 1);
            if place >= end.min(whole.len()) {
                break;
            }
            places.push((place, random.below(8) as u8));
        }
    }
    flip(places.into_iter(), &whole, &expected)
}

#[test]
fn whichever_bit_flips_nothing_is_altered_and_nothing_is_missing() {
    let outcomes = flips(stored().closed, 601);
    println!("{outcomes:?}");
    assert!(outcomes.panicked.is_empty() && outcomes.altered.is_empty(), "{outcomes:?}");
    assert!(outcomes.told > 0 && outcomes.harmless > 0, "{outcomes:?}");
}

/// After a kill redb looks at every checksum of its pages, but for those of the header's first bytes. So what remains is the one bit
/// that says which of the two slots counts: the other one's commit is whole too. It is the same as where a process is killed between
/// the two phases of a commit that nobody was told of.
#[test]
fn of_a_store_that_was_not_closed_one_bit_alone_takes_back_the_last_commit() {
    let Stored { killed, before, .. } = stored();
    let before = read(Disk::of(before)).expect("sound");
    let outcomes = flips(killed.clone(), 3_001);
    println!("{outcomes:?}");
    assert_eq!((outcomes.panicked, outcomes.altered), (vec![], vec![(SLOT_BYTE, 0)]));
    let mut bytes = killed;
    bytes[SLOT_BYTE] ^= 1;
    assert_eq!(read(Disk::of(bytes)), Ok(before));
}

/// ```sh
/// cargo test --locked --release --lib -- --ignored --nocapture embedded::tests::flips
/// ```
#[test]
#[ignore = "takes minutes"]
fn whichever_of_many_bits_flips_nothing_is_altered_and_nothing_is_missing() {
    let outcomes = flips(stored().closed, 7);
    println!("{outcomes:?}");
    assert!(outcomes.panicked.is_empty() && outcomes.altered.is_empty(), "{outcomes:?}");
}
