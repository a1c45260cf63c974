//! The watchdog: a thread that looks at every shard's slot, a hundred times a second, and tells the loop of polls that last for too
//! long. It needs no help from the shards, which is the point: they are what may be blocked.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::shards::ShardId;
use crate::model::InstanceId;
use crate::monitor::{CoarseClock, Running, Slot};
use crate::telemetry::Polls;

/// How often it looks.
const TICK: Duration = Duration::from_millis(10);
/// What one tick counts for at the most: a process that was suspended, or got no processor at all, must not take its own absence
/// for a poll's.
const LONGEST_TICK: Duration = Duration::from_millis(50);
/// A shard that is blocked for longer than this is to be relieved; told of again each time that it has passed, relieved or not.
pub(super) const STALL_AFTER: Duration = Duration::from_secs(1);
/// News that wait for the loop. More are told of at a later tick.
pub(super) const NEWS: usize = 256;

/// What the watchdog tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A poll of the instance lasts for longer than its spec allows, and this long by now.
    Blocked { instance: InstanceId, lasts: Duration },
    /// That poll has returned; also one that was told of as a stall alone.
    Returned { instance: InstanceId },
    /// The shard has stood still for [`STALL_AFTER`], in that poll of the instance's.
    Stalled { shard: ShardId, turn: u64, culprit: InstanceId },
}

/// The slots that are looked at. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    clock: Arc<CoarseClock>,
    polls: Polls,
    slots: Arc<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    all: Mutex<BTreeMap<ShardId, Arc<Slot>>>,
    /// Grows with each slot that comes or goes.
    version: AtomicU64,
}

/// The running watchdog; dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Watchdog {
    _stop: SyncSender<()>,
}

impl Watchdog {
    /// Starts looking.
    pub(super) fn start(watch: Watch, news: mpsc::Sender<News>) -> io::Result<Self> {
        let (stop, stopped) = sync_channel(0);
        let run = move || Look::new(watch).run(&news, &stopped);
        std::thread::Builder::new().name("watchdog".to_owned()).spawn(run)?;
        Ok(Self { _stop: stop })
    }
}

impl Watch {
    /// Nothing to look at yet.
    pub(super) fn new(polls: Polls) -> Self {
        Self { clock: Arc::default(), polls, slots: Arc::default() }
    }

    /// A slot for a new shard.
    pub(super) fn slot(&self, id: ShardId) -> Arc<Slot> {
        let slot = Arc::new(Slot::new(Arc::clone(&self.clock), self.polls.clone()));
        self.change(|slots| drop(slots.insert(id, Arc::clone(&slot))));
        slot
    }

    /// The shard is gone.
    pub(super) fn forget(&self, id: ShardId) {
        self.change(|slots| drop(slots.remove(&id)));
    }

    #[cfg(test)]
    pub(super) fn advance(&self, span: Duration) {
        self.clock.advance(span);
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<ShardId, Arc<Slot>>)) {
        change(&mut self.lock());
        self.slots.version.fetch_add(1, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ShardId, Arc<Slot>>> {
        // The map is whole at every step.
        self.slots.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the thread looks at, and what it has told.
struct Look {
    watch: Watch,
    version: u64,
    watched: BTreeMap<ShardId, Watched>,
}

/// A slot, and what has been told of it.
#[derive(Debug)]
struct Watched {
    slot: Arc<Slot>,
    /// The poll that was told of as blocked, and whose it is.
    blocked: Option<(u64, InstanceId)>,
    /// The poll that was told of as a stall, whose it is, and how long it had lasted by then.
    stalled: Option<(u64, InstanceId, Duration)>,
}

impl Look {
    fn new(watch: Watch) -> Self {
        Self { watch, version: 0, watched: BTreeMap::new() }
    }

    fn run(mut self, news: &mpsc::Sender<News>, stopped: &Receiver<()>) {
        let mut last = Instant::now();
        while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            let now = Instant::now();
            self.watch.clock.advance(now.duration_since(last).min(LONGEST_TICK));
            last = now;
            self.look(|it| news.try_send(it).is_ok());
        }
    }

    /// Looks at every slot once, and tells what is new. `tell` says whether it could; what could not be told is at the next look.
    fn look(&mut self, mut tell: impl FnMut(News) -> bool) {
        self.catch_up();
        let mut blocked = 0;
        for (id, watched) in &mut self.watched {
            let running = watched.slot.running();
            watched.tell_returned(running, &mut tell);
            if let Some(running) = running {
                watched.tell_blocked(running, &mut tell);
                watched.tell_stalled(*id, running, &mut tell);
                blocked += usize::from(running.lasts >= running.limit);
            }
        }
        self.watch.polls.set_blocked(blocked);
    }

    /// Only where slots have come or gone it takes their lock, and never while it tells: the loop that is woken takes it, too.
    fn catch_up(&mut self) {
        let version = self.watch.slots.version.load(Ordering::Acquire);
        if std::mem::replace(&mut self.version, version) == version {
            return;
        }
        let slots = self.watch.lock().clone();
        self.watched.retain(|id, _| slots.contains_key(id));
        for (id, slot) in slots {
            self.watched.entry(id).or_insert(Watched { slot, blocked: None, stalled: None });
        }
    }
}

impl Watched {
    fn tell_returned(&mut self, running: Option<Running>, tell: &mut impl FnMut(News) -> bool) {
        // Its thread may have been given up without a word of it as blocked: its spec allows it more than a stall takes.
        let stalled = self.stalled.map(|(turn, instance, _)| (turn, instance));
        let Some((turn, instance)) = self.blocked.or(stalled) else { return };
        let returned = running.is_none_or(|running| running.turn != turn);
        if returned && tell(News::Returned { instance }) {
            self.blocked = None;
            self.stalled = self.stalled.filter(|(of, ..)| *of != turn);
        }
    }

    fn tell_blocked(&mut self, running: Running, tell: &mut impl FnMut(News) -> bool) {
        let Running { turn, instance, lasts, limit } = running;
        if self.blocked.is_none() && lasts >= limit && tell(News::Blocked { instance, lasts }) {
            self.blocked = Some((turn, instance));
        }
    }

    fn tell_stalled(&mut self, shard: ShardId, running: Running, tell: &mut impl FnMut(News) -> bool) {
        let Running { turn, instance, lasts, .. } = running;
        let told = self.stalled.filter(|(of, ..)| *of == turn).map_or(Duration::ZERO, |(.., lasted)| lasted);
        if lasts >= told + STALL_AFTER && tell(News::Stalled { shard, turn, culprit: instance }) {
            self.stalled = Some((turn, instance, lasts));
        }
    }
}

#[cfg(test)]
mod tests;
