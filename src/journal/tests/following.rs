//! Followers: from the ring, from the store, and beyond what is kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;

use crate::journal::testing::{ScriptedStore, commit, created, in_memory, numbers, put, sequence, start};
use crate::journal::{
    CursorError, Digest, Failure, Fed, FollowError, Follower, Group, MemoryStore, Range, ReadError, Reader, Recovered,
    Store, StoreError, Taken, Trimmed,
};
use crate::model::{Brief, Event, KeptGeneration, Sequence, Task};

/// Pulls until `through`; every batch must be within `limit` and lead on from the one before.
async fn pull(follower: &mut Follower, limit: usize, through: Sequence) -> Vec<Arc<Event>> {
    let mut all = Vec::new();
    while follower.position() < through {
        let batch = follower.next(limit).await.expect("kept").expect("not ended");
        assert!((1..=limit).contains(&batch.events.len()));
        assert_eq!(batch.through, batch.events.last().expect("some").sequence);
        assert_eq!(batch.through, follower.position());
        all.extend(batch.events);
    }
    all
}

#[tokio::test]
async fn a_follower_crosses_from_the_store_to_the_ring() {
    let (store, script) = ScriptedStore::new(1_000);
    let (journal, _writer) = start(store, 10);
    commit(&journal, (1..=50).map(created)).await;
    let mut follower = journal.follow(sequence(3)).expect("all is there");
    let all = pull(&mut follower, 7, sequence(50)).await;
    assert_eq!(numbers(&all), (4..=50).collect::<Vec<_>>());
    // 4..=45 in sevens leaves the follower at 45, within the ring of 41..=50.
    assert_eq!(script.reads(), 6);

    let waits = follower.next(7).now_or_never();
    assert!(waits.is_none(), "at the head it waits");
    commit(&journal, [created(51)]).await;
    assert_eq!(numbers(&pull(&mut follower, 7, sequence(51)).await), [51]);
    assert_eq!(script.reads(), 6, "at the head it never reads from the store");
}

#[tokio::test]
async fn a_ring_of_none_leaves_everything_to_the_store() {
    let (journal, _writer) = start(MemoryStore::default(), 0);
    commit(&journal, (1..=20).map(created)).await;
    let mut follower = journal.follow(Sequence::default()).expect("all is there");
    assert_eq!(numbers(&pull(&mut follower, 256, sequence(20)).await), (1..=20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_limit_of_none_counts_as_one() {
    let (journal, _writer) = in_memory();
    commit(&journal, (1..=2).map(created)).await;
    let mut follower = journal.follow(Sequence::default()).expect("all is there");
    assert_eq!(follower.next(0).await.expect("kept").expect("not ended").events.len(), 1);
}

#[tokio::test]
async fn what_retention_has_passed_is_refused_with_what_is_kept() {
    let (journal, _writer) = start(MemoryStore::new(10), 5);
    let mut slow = journal.follow(Sequence::default()).expect("all is there");
    commit(&journal, (1..=50).map(created)).await;
    let trimmed = Trimmed { oldest: sequence(40), head: sequence(50) };
    assert_eq!(journal.follow(sequence(39)).err(), Some(trimmed));
    assert!(matches!(slow.next(256).await, Err(FollowError::Trimmed(told)) if told == trimmed));

    let mut follower = journal.follow(sequence(40)).expect("the oldest place");
    assert_eq!(numbers(&pull(&mut follower, 256, sequence(50)).await), (41..=50).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_slow_read_holds_up_no_commit_and_comes_again_when_dropped() {
    let (store, script) = ScriptedStore::new(1_000);
    let (journal, _writer) = start(store, 1);
    commit(&journal, (1..=5).map(created)).await;
    script.hold_reads(true);
    let mut follower = journal.follow(Sequence::default()).expect("all is there");
    assert!(follower.next(256).now_or_never().is_none());
    script.await_reads(1);
    commit(&journal, (6..=8).map(created)).await;
    script.hold_reads(false);
    assert_eq!(numbers(&pull(&mut follower, 256, sequence(8)).await), (1..=8).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_follower_that_catches_up_is_one_read_ahead_and_no_more() {
    let (store, script) = ScriptedStore::new(1_000);
    let (journal, _writer) = start(store, 10);
    commit(&journal, (1..=50).map(created)).await;
    let mut follower = journal.follow(Sequence::default()).expect("all is there");
    let first = follower.next(10).await.expect("kept").expect("not ended");
    assert_eq!(numbers(&first.events), (1..=10).collect::<Vec<_>>());
    script.await_reads(2);
    tokio::task::spawn_blocking(|| ()).await.expect("no panic");
    assert_eq!(script.reads(), 2, "11 to 20, and nothing beyond");
    // What was read ahead is given up to whatever limit is asked for, and the rest of it comes again.
    assert_eq!(numbers(&pull(&mut follower, 3, sequence(13)).await), [11, 12, 13]);
    assert_eq!(numbers(&pull(&mut follower, 10, sequence(50)).await), (14..=50).collect::<Vec<_>>());
}

/// Takes up to five at a time; a sixth it refuses, or does not wait for.
#[derive(Clone, Debug, Default, PartialEq)]
struct Five {
    refuses: bool,
    taken: Vec<u64>,
}

impl Digest for Five {
    fn take(&mut self, event: &Brief<'_>) -> Taken {
        if self.taken.len() == 5 {
            return Taken::No;
        }
        self.taken.push(event.sequence.get());
        if self.taken.len() == 5 && !self.refuses { Taken::Last } else { Taken::Yes }
    }
}

#[tokio::test]
async fn a_feed_is_digested_where_the_store_is_read_and_comes_as_it_is_from_memory() {
    for refuses in [false, true] {
        let (store, script) = ScriptedStore::new(1_000);
        let (journal, _writer) = start(store, 10);
        commit(&journal, (1..=32).map(created)).await;
        let mut feed =
            journal.feed(Sequence::default(), Some(Five { refuses, taken: Vec::new() })).expect("all is there");
        let mut digested = Vec::new();
        for read_by_then in [2, 3, 4, 5, 5] {
            let Some(Fed::Digest(Five { taken, .. }, through)) = feed.next(1).await.expect("kept") else {
                panic!("not digested")
            };
            assert_eq!(taken.last().copied(), Some(through.get()));
            digested.extend(taken);
            script.await_reads(read_by_then);
            tokio::task::spawn_blocking(|| ()).await.expect("no panic");
            assert_eq!(script.reads(), read_by_then, "one ahead, and none where memory goes on");
        }
        assert_eq!(digested, (1..=25).collect::<Vec<_>>());
        let Some(Fed::Events(batch)) = feed.next(100).await.expect("kept") else { panic!("of late") };
        assert_eq!(numbers(&batch.events), (26..=32).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn few_followers_read_from_the_store_at_once() {
    let (store, script) = ScriptedStore::new(1_000);
    let (journal, _writer) = start(store, 1);
    commit(&journal, (1..=5).map(created)).await;
    script.hold_reads(true);
    let pulls: Vec<_> = (0..20)
        .map(|_| {
            let mut follower = journal.follow(Sequence::default()).expect("all is there");
            tokio::spawn(async move { numbers(&pull(&mut follower, 256, sequence(5)).await) })
        })
        .collect();
    while script.reads() < 4 {
        tokio::task::yield_now().await;
    }
    // The blocking pool takes in order: once it has come to this, it has come to every read that was let through.
    tokio::task::spawn_blocking(|| ()).await.expect("no panic");
    assert_eq!(script.reads(), 4);
    script.hold_reads(false);
    for pulled in pulls {
        assert_eq!(pulled.await.expect("no panic"), [1, 2, 3, 4, 5]);
    }
}

#[tokio::test]
async fn a_hundred_followers_see_the_same() {
    const EVENTS: usize = 3_000;
    let (journal, _writer) = start(MemoryStore::default(), 64);
    let pulls: Vec<_> = (1..=100)
        .map(|limit| {
            let mut follower = journal.follow(Sequence::default()).expect("all is there");
            tokio::spawn(async move { pull(&mut follower, limit, sequence(EVENTS)).await })
        })
        .collect();
    for number in 1..=EVENTS {
        put(&journal, vec![created(number)], Vec::new());
        if number % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let expected: Vec<_> = (1..=sequence(EVENTS).get()).collect();
    for pulled in pulls {
        assert_eq!(numbers(&pulled.await.expect("no panic")), expected);
    }
}

#[tokio::test]
async fn cursors_are_accepted_from_the_oldest_place_to_the_head() {
    let (journal, _writer) = start(MemoryStore::new(10), 5);
    commit(&journal, (1..=50).map(created)).await;
    let parse = |number| journal.parse_cursor(&journal.cursor(sequence(number)));
    assert_eq!(parse(39), Err(CursorError::Expired));
    assert_eq!(parse(40), Ok(sequence(40)));
    assert_eq!(parse(50), Ok(sequence(50)));
    assert_eq!(parse(51), Err(CursorError::Expired));
    let (other, _writer) = in_memory();
    assert_eq!(journal.parse_cursor(&other.cursor(sequence(50))), Err(CursorError::Expired));
    assert_ne!(journal.store_id(), other.store_id());
}

/// A store of which some of the reads fail.
struct Hiccups {
    inner: MemoryStore,
    reads: Arc<AtomicUsize>,
    /// Which ones, the first being 1, and with what.
    fails: (usize, Failure),
}

struct HiccupsReader {
    inner: Arc<dyn Reader>,
    reads: Arc<AtomicUsize>,
    fails: (usize, Failure),
}

impl Store for Hiccups {
    fn recover(&mut self) -> Result<Recovered, StoreError> {
        self.inner.recover()
    }

    fn commit(&mut self, group: Group<'_>) -> Result<(), StoreError> {
        self.inner.commit(group)
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::new(HiccupsReader { inner: self.inner.reader(), reads: Arc::clone(&self.reads), fails: self.fails })
    }
}

impl Reader for HiccupsReader {
    fn oldest(&self) -> Sequence {
        self.inner.oldest()
    }

    fn read(&self, range: Range, limit: usize) -> Result<Vec<Arc<Event>>, ReadError> {
        let (which, failure) = self.fails;
        let failed = self.reads.fetch_add(1, Ordering::SeqCst) + 1 == which;
        if failed { Err(StoreError::of(failure, "a hiccup").into()) } else { self.inner.read(range, limit) }
    }

    fn generations(&self, task: &Task) -> Result<Vec<KeptGeneration>, StoreError> {
        self.inner.generations(task)
    }
}

/// What the second pull is told, of which read it was that failed, and how many there were.
async fn second_pull(which: usize, failure: Failure) -> (Result<Vec<u64>, FollowError>, usize) {
    let reads = Arc::new(AtomicUsize::new(0));
    let store = Hiccups { inner: MemoryStore::new(1_000), reads: Arc::clone(&reads), fails: (which, failure) };
    let (journal, _writer) = start(store, 10);
    commit(&journal, (1..=50).map(created)).await;
    let mut follower = journal.follow(Sequence::default()).expect("all is there");
    let first = follower.next(10).await;
    if which > 1 {
        assert_eq!(first.expect("kept").expect("not ended").events.len(), 10);
        // The read ahead is over before anyone asks for it.
        while reads.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        tokio::task::spawn_blocking(|| ()).await.expect("no panic");
        let next = follower.next(10).await;
        return (next.map(|batch| numbers(&batch.expect("not ended").events)), reads.load(Ordering::SeqCst));
    }
    (first.map(|batch| numbers(&batch.expect("not ended").events)), reads.load(Ordering::SeqCst))
}

#[tokio::test]
async fn an_error_of_a_read_ahead_is_told_of_only_if_it_is_so_still() {
    let (next, _) = second_pull(2, Failure::Passing).await;
    assert_eq!(next.expect("the store is well again"), (11..=20).collect::<Vec<_>>());
    let (next, reads) = second_pull(2, Failure::Final).await;
    assert!(matches!(next, Err(FollowError::Store(error)) if error.failure() == Failure::Final));
    assert_eq!(reads, 2, "what is final is not read again");
    let (first, reads) = second_pull(1, Failure::Passing).await;
    assert!(matches!(first, Err(FollowError::Store(_))) && reads == 1, "an error of now is told of now");
}

/// Takes whatever there is.
#[derive(Clone, Debug, Default, PartialEq)]
struct Everything(Vec<u64>);

impl Digest for Everything {
    fn take(&mut self, event: &Brief<'_>) -> Taken {
        self.0.push(event.sequence.get());
        Taken::Yes
    }
}

#[tokio::test]
async fn what_was_digested_before_an_error_comes_first() {
    // Of the first digest's reads, of 256 events each, a later one fails; the next digest begins with what it was of.
    for which in 2..=3 {
        let inner = MemoryStore::new(1_000);
        let store = Hiccups { inner, reads: Arc::default(), fails: (which, Failure::Final) };
        let (journal, _writer) = start(store, 10);
        commit(&journal, (1..=600).map(created)).await;
        let mut feed = journal.feed(Sequence::default(), Some(Everything::default())).expect("all is there");
        let mut seen = Vec::new();
        while let Ok(Some(Fed::Digest(Everything(numbers), through))) = feed.next(1).await {
            assert_eq!(numbers.last().copied(), Some(through.get()));
            seen.extend(numbers);
            if through == sequence(600) {
                break;
            }
        }
        assert_eq!(seen, (1..=600).collect::<Vec<_>>(), "read {which} fails");
    }
}
