//! Shards: current-thread runtimes, each on a thread of its own, that monitors run on. One blocked monitor stops its shard's
//! timers (tokio #4730), so no deadline lives here, and built-in kinds share no shard with custom ones.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// A shard whose present poll has lasted this long is passed over when an instance needs a place.
const BLOCKED: Duration = Duration::from_millis(50);

/// Names a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ShardId {
    built_in: bool,
    index: usize,
}

/// Every shard; dropping it ends them, but for those that are blocked.
#[derive(Debug)]
pub(super) struct Shards {
    built_in: Vec<Shard>,
    custom: Vec<Shard>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Shard {
    runtime: Handle,
    slot: Arc<Slot>,
    instances: usize,
}

impl Shards {
    /// At least one of each sort. By these names the panic hook of `telemetry::logging` knows monitors' panics.
    pub(super) fn start(built_in: usize, custom: usize) -> std::io::Result<Self> {
        // Dropped with an error, it ends the shards that have started.
        let mut shards = Self { built_in: Vec::new(), custom: Vec::new(), stop: CancellationToken::new() };
        for n in 0..built_in.max(1) {
            shards.built_in.push(Shard::start(format!("shard-{n}"), shards.stop.clone())?);
        }
        for n in 0..custom.max(1) {
            shards.custom.push(Shard::start(format!("custom-{n}"), shards.stop.clone())?);
        }
        Ok(shards)
    }

    /// Chooses a shard for an instance: the one with the fewest, among those that are not blocked. The place is taken until
    /// [`Self::leave`].
    pub(super) fn enter(&mut self, built_in: bool) -> (ShardId, Handle, Arc<Slot>) {
        let shards = if built_in { &mut self.built_in } else { &mut self.custom };
        let best = shards.iter_mut().enumerate().min_by_key(|(_, shard)| (shard.slot.is_blocked(), shard.instances));
        let Some((index, shard)) = best else { unreachable!("there is at least one shard of each sort") };
        shard.instances += 1;
        (ShardId { built_in, index }, shard.runtime.clone(), Arc::clone(&shard.slot))
    }

    pub(super) fn leave(&mut self, ShardId { built_in, index }: ShardId) {
        let shards = if built_in { &mut self.built_in } else { &mut self.custom };
        if let Some(shard) = shards.get_mut(index) {
            shard.instances -= 1;
        }
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Shard {
    fn start(name: String, stop: CancellationToken) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        std::thread::Builder::new().name(name).spawn(move || {
            runtime.block_on(stop.cancelled());
            // Dropping a runtime waits for its blocking calls, which may be a monitor's and hang.
            runtime.shutdown_background();
        })?;
        Ok(Self { runtime: handle, slot: Arc::new(Slot::new()), instances: 0 })
    }
}

/// Since when a shard has been polling a custom monitor.
#[derive(Debug)]
pub(super) struct Slot {
    origin: Instant,
    /// Nanoseconds since the origin; 0 while no poll runs.
    since: AtomicU64,
}

impl Slot {
    fn new() -> Self {
        Self { origin: Instant::now(), since: AtomicU64::new(0) }
    }

    fn nanos(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1)
    }

    fn is_blocked(&self) -> bool {
        let since = self.since.load(Ordering::Relaxed);
        since > 0 && Duration::from_nanos(self.nanos().saturating_sub(since)) > BLOCKED
    }
}

/// A future that tells its shard's slot while it is polled.
pub(super) struct Slotted<F> {
    slot: Arc<Slot>,
    inner: Pin<Box<F>>,
}

impl<F: Future> Slotted<F> {
    pub(super) fn new(slot: Arc<Slot>, inner: F) -> Self {
        Self { slot, inner: Box::pin(inner) }
    }
}

impl<F: Future> Future for Slotted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        /// Empties the slot also where the poll panics.
        struct Polling<'a>(&'a Slot);
        impl Drop for Polling<'_> {
            fn drop(&mut self) {
                self.0.since.store(0, Ordering::Relaxed);
            }
        }
        let slot = Arc::clone(&self.slot);
        slot.since.store(slot.nanos(), Ordering::Relaxed);
        let _polling = Polling(&slot);
        self.inner.as_mut().poll(context)
    }
}
