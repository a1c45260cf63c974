//! Whom a shard's thread is polling, and since when: one slot for each thread, written by the thread and read by the watchdog.
//!
//! Written around every poll, so it costs a few relaxed stores and no look at a clock: the time is a coarse one, which the watchdog
//! advances. The thread finds its slot by itself, so that no instance has to hold on to it.

use std::cell::OnceCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::model::InstanceId;
use crate::telemetry::Polls;

/// A poll that took longer than this is counted as slow. A few ticks of the watchdog, which is what the coarse clock can tell.
pub const SLOW: Duration = Duration::from_millis(50);

thread_local! {
    static OWN: OnceCell<Arc<Slot>> = const { OnceCell::new() };
}

/// Microseconds of time that this process has lived through, as the watchdog counts them. While the process is suspended they stand.
#[derive(Debug, Default)]
pub struct CoarseClock(AtomicU64);

impl CoarseClock {
    /// The present moment.
    pub fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Lets time pass.
    pub fn advance(&self, span: Duration) {
        self.0.fetch_add(micros(span), Ordering::Relaxed);
    }
}

/// Who may be polled: an instance, and how long one poll of it may take until that is an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupant {
    instance: InstanceId,
    limit: u64,
}

impl Occupant {
    /// `limit` is `watchdog.blocked_poll_after`.
    pub fn new(instance: InstanceId, limit: Duration) -> Self {
        Self { instance, limit: micros(limit) }
    }
}

/// What one thread is polling.
///
/// A seqlock with one writer: `turn` is odd while a poll goes on, and grows at its beginning and at its end.
#[derive(Debug)]
pub struct Slot {
    clock: Arc<CoarseClock>,
    polls: Polls,
    turn: AtomicU64,
    instance: AtomicU64,
    since: AtomicU64,
    limit: AtomicU64,
}

/// A poll that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// Names the poll among those of its slot.
    pub turn: u64,
    /// Who is polled.
    pub instance: InstanceId,
    /// For how long.
    pub lasts: Duration,
    /// How long it may, until that is an alert.
    pub limit: Duration,
}

impl Slot {
    /// Nobody is polled yet.
    pub fn new(clock: Arc<CoarseClock>, polls: Polls) -> Self {
        let zero = || AtomicU64::new(0);
        Self { clock, polls, turn: zero(), instance: zero(), since: zero(), limit: zero() }
    }

    /// Makes it the slot of the present thread, for good. A thread has one at the most; a second one is ignored.
    pub fn adopt(self: &Arc<Self>) {
        OWN.with(|own| {
            let _ = own.set(Arc::clone(self));
        });
    }

    /// The poll that goes on, if one does; also `None` where it began or ended just now.
    pub fn running(&self) -> Option<Running> {
        let turn = self.turn.load(Ordering::Acquire);
        let [instance, since, limit] = [&self.instance, &self.since, &self.limit].map(|it| it.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let whole = turn % 2 == 1 && self.turn.load(Ordering::Relaxed) == turn;
        whole.then(|| Running {
            turn,
            instance: InstanceId::new(instance),
            lasts: Duration::from_micros(self.clock.now().saturating_sub(since)),
            limit: Duration::from_micros(limit),
        })
    }

    fn enter(&self, Occupant { instance, limit }: Occupant) -> Leave<'_> {
        let (turn, since) = (self.turn.load(Ordering::Relaxed), self.clock.now());
        // A reader that sees any of what follows sees that the poll before is over, too.
        fence(Ordering::Release);
        self.instance.store(instance.get(), Ordering::Relaxed);
        self.since.store(since, Ordering::Relaxed);
        self.limit.store(limit, Ordering::Relaxed);
        self.turn.store(turn + 1, Ordering::Release);
        Leave { slot: self, turn: turn + 2, since }
    }

    fn occupant(&self) -> Option<Occupant> {
        let polling = self.turn.load(Ordering::Relaxed) % 2 == 1;
        polling.then(|| Occupant {
            instance: InstanceId::new(self.instance.load(Ordering::Relaxed)),
            limit: self.limit.load(Ordering::Relaxed),
        })
    }
}

/// Empties the slot, also where a poll panics.
struct Leave<'a> {
    slot: &'a Slot,
    turn: u64,
    since: u64,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.slot.turn.store(self.turn, Ordering::Release);
        let took = Duration::from_micros(self.slot.clock.now().saturating_sub(self.since));
        if took >= SLOW {
            self.slot.polls.slow(took);
        }
    }
}

/// Runs code of an instance's, and tells the thread's slot meanwhile; a thread without one just runs it.
pub fn occupy<T>(occupant: Occupant, run: impl FnOnce() -> T) -> T {
    OWN.with(|own| {
        let _leave = own.get().map(|slot| slot.enter(occupant));
        run()
    })
}

/// Who is being polled on this thread: what is spawned now is spawned by it.
pub(super) fn occupant() -> Option<Occupant> {
    OWN.with(|own| own.get().and_then(|slot| slot.occupant()))
}

/// A future of an instance's, which tells its thread's slot while it is polled, and while it is dropped: that is the monitor's own
/// code, too.
pub struct Polled<F> {
    occupant: Occupant,
    /// On the heap: a future may be large, and a `None` is not.
    inner: Option<Pin<Box<F>>>,
}

impl<F: Future> Polled<F> {
    /// Wraps a future of that instance's.
    pub fn new(occupant: Occupant, inner: F) -> Self {
        Self { occupant, inner: Some(Box::pin(inner)) }
    }
}

impl<F: Future> Future for Polled<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let occupant = self.occupant;
        match &mut self.inner {
            Some(inner) => occupy(occupant, || inner.as_mut().poll(context)),
            // It is there until it is dropped.
            None => Poll::Pending,
        }
    }
}

impl<F> Drop for Polled<F> {
    fn drop(&mut self) {
        let inner = self.inner.take();
        occupy(self.occupant, || drop(inner));
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn, ready};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use futures_util::FutureExt;

    use super::*;
    use crate::telemetry::Metrics;

    const LIMIT: Duration = Duration::from_secs(1);

    fn id(number: u64) -> Occupant {
        Occupant::new(InstanceId::new(number), LIMIT)
    }

    /// On a thread of its own, since a slot is a thread's for good.
    fn with_slot(test: impl FnOnce(&Arc<Slot>, &CoarseClock) + Send + 'static) {
        let run = || {
            let clock = Arc::new(CoarseClock::default());
            let slot = Arc::new(Slot::new(Arc::clone(&clock), Metrics::new().expect("registers").polls));
            slot.adopt();
            test(&slot, &clock);
        };
        std::thread::spawn(run).join().expect("no panic");
    }

    #[test]
    fn it_tells_who_is_polled_and_for_how_long() {
        with_slot(|slot, clock| {
            assert_eq!(slot.running(), None);
            clock.advance(Duration::from_micros(70));
            let inside = occupy(id(7), || {
                clock.advance(Duration::from_millis(30));
                slot.running()
            });
            let expected =
                Running { turn: 1, instance: InstanceId::new(7), lasts: Duration::from_millis(30), limit: LIMIT };
            assert_eq!((inside, slot.running()), (Some(expected), None));
            assert_eq!(occupy(id(8), || slot.running()).map(|running| running.turn), Some(3));
        });
    }

    #[test]
    fn a_panic_leaves_it_empty() {
        with_slot(|slot, _clock| {
            let caught = catch_unwind(AssertUnwindSafe(|| occupy(id(7), || panic!("on purpose"))));
            assert!(caught.is_err() && slot.running().is_none());
        });
    }

    #[test]
    fn a_future_tells_it_when_it_is_polled_and_when_it_is_dropped() {
        struct Seen(Arc<Slot>, Arc<AtomicU64>);
        impl Drop for Seen {
            fn drop(&mut self) {
                self.1.store(self.0.running().map_or(0, |running| running.instance.get()), Ordering::Relaxed);
            }
        }
        with_slot(|slot, _clock| {
            let polled = poll_fn(|_| Poll::Ready(slot.running().map(|running| running.instance)));
            assert_eq!(Polled::new(id(7), polled).now_or_never(), Some(Some(InstanceId::new(7))));
            let dropped = Arc::new(AtomicU64::new(0));
            let seen = Seen(Arc::clone(slot), Arc::clone(&dropped));
            let held = Polled::new(id(8), async move {
                pending::<()>().await;
                drop(seen);
            });
            assert!(held.now_or_never().is_none());
            assert_eq!((dropped.load(Ordering::Relaxed), slot.running()), (8, None));
        });
    }

    #[test]
    fn what_is_spawned_meanwhile_is_spawned_by_the_one_that_is_polled() {
        with_slot(|_slot, _clock| {
            assert_eq!(occupant(), None);
            assert_eq!(occupy(id(7), occupant), Some(id(7)));
        });
    }

    #[test]
    fn only_slow_polls_are_measured() {
        let metrics = Metrics::new().expect("registers");
        let polls = metrics.polls.clone();
        let run = || {
            let clock = Arc::new(CoarseClock::default());
            Arc::new(Slot::new(Arc::clone(&clock), polls)).adopt();
            occupy(id(7), || clock.advance(Duration::from_millis(49)));
            occupy(id(7), || clock.advance(Duration::from_millis(50)));
        };
        std::thread::spawn(run).join().expect("no panic");
        let text = String::from_utf8(metrics.render().expect("renders")).expect("text");
        assert!(text.contains("\ncircuit_breaker_slow_poll_duration_seconds_count 1\n"), "{text}");
    }

    #[test]
    fn a_thread_without_one_just_runs_it() {
        assert_eq!(Polled::new(id(7), ready(5)).now_or_never(), Some(5));
        assert_eq!(occupant(), None);
    }
}
