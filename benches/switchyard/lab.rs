//! Where measuring is done: the runtimes, how long, how often.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures_util::future::try_join_all;
use hdrhistogram::Histogram;
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Channel, Endpoint};

/// Connections that calls are spread over; more calls are in flight than one connection carries streams.
const CONNECTIONS: usize = 4;
/// The windows that `switchyard::client` asks for, so that streams flow as they do for it.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;

/// The runtimes, and how thorough to be.
pub(crate) struct Lab {
    /// Where servers serve; as the binary has it.
    pub(crate) serving: Runtime,
    /// Where clients call.
    pub(crate) clients: Runtime,
    quick: bool,
}

/// What came of calling for a while.
pub(crate) struct Calls {
    /// Calls that were answered in each second.
    pub(crate) per_second: f64,
    /// The median of how long they took, in milliseconds.
    pub(crate) p50: f64,
    /// What all but one in a hundred took at the most, in milliseconds.
    pub(crate) p99: f64,
}

impl Lab {
    pub(crate) fn new(quick: bool) -> Result<Self> {
        let runtime = |name| Builder::new_multi_thread().worker_threads(2).thread_name(name).enable_all().build();
        Ok(Self { serving: runtime("control")?, clients: runtime("client")?, quick })
    }

    /// How often a row and its baseline take their turns.
    pub(crate) fn turns(&self) -> usize {
        if self.quick { 1 } else { 7 }
    }

    /// How long a turn lasts.
    pub(crate) fn window(&self) -> Duration {
        if self.quick { Duration::from_millis(200) } else { Duration::from_secs(1) }
    }

    /// How many of a thing to take that there is a right number of.
    pub(crate) fn scaled(&self, number: usize) -> usize {
        if self.quick { (number / 20).max(1) } else { number }
    }

    /// The turns of a row and its baseline, one after the other.
    pub(crate) fn take_turns<T, U>(
        &self,
        mut row: impl FnMut() -> Result<T>,
        mut baseline: impl FnMut() -> Result<U>,
    ) -> Result<Vec<(T, U)>> {
        (0..self.turns()).map(|_| Ok((row()?, baseline()?))).collect()
    }

    /// Connects as often as calls want it.
    pub(crate) fn connect(&self, address: SocketAddr) -> Result<Vec<Channel>> {
        self.clients.block_on(connect(address, CONNECTIONS))
    }

    /// Calls for a window's length, `in_flight` calls at a time: each loop calls again once it is answered. `call` is given a
    /// connection and the number of the call.
    pub(crate) fn call<F, Fut>(&self, channels: &[Channel], in_flight: usize, call: F) -> Result<Calls>
    where
        F: Fn(Channel, usize) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Result<()>> + Send,
    {
        let until = Instant::now() + self.window();
        let began = Instant::now();
        let loops = (0..in_flight).map(|number| {
            let (channel, call) = (channels[number % channels.len()].clone(), call.clone());
            self.clients.spawn(async move {
                let mut took = Histogram::<u64>::new(3)?;
                for round in 0.. {
                    let asked = Instant::now();
                    if asked >= until {
                        break;
                    }
                    call(channel.clone(), round * in_flight + number).await?;
                    took.record(nanos(asked.elapsed()))?;
                }
                anyhow::Ok(took)
            })
        });
        let all = self.clients.block_on(try_join_all(loops))?;
        let elapsed = began.elapsed();
        let mut took = Histogram::<u64>::new(3)?;
        for one in all {
            took.add(one?)?;
        }
        Ok(Calls {
            per_second: took.len() as f64 / elapsed.as_secs_f64(),
            p50: millis(took.value_at_quantile(0.5)),
            p99: millis(took.value_at_quantile(0.99)),
        })
    }
}

/// Connects so often.
pub(crate) async fn connect(address: SocketAddr, connections: usize) -> Result<Vec<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    try_join_all((0..connections).map(|_| endpoint.connect())).await.context("cannot connect")
}

/// A duration in nanoseconds, as histograms count it.
pub(crate) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds in milliseconds.
pub(crate) fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}
