//! From the commit of an event until each of many clients has it, at a steady rate, against a bare stream that sends as many
//! frames of the same size to as many clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::try_join_all;
use hdrhistogram::Histogram;
use tokio::runtime::Builder;
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};
use tonic::Streaming;

use crate::bare::{self, Bare};
use crate::lab::{Lab, millis, nanos};
use crate::scratch::Scratch;
use crate::served::Log;
use crate::table::{Bar, Case, Row, Unit};
use crate::watching::{Frame, Frames, channels, watch};

/// How often something is sent: as often as tokio's timers tell.
const TICK: Duration = Duration::from_millis(1);
/// How long the last event may take; no row that counts comes near.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn cases() -> Vec<Case> {
    [(1_000, 1, Bar::None), (1_000, 20, Bar::None), (1_000, 100, Bar::AtMost(25.0)), (10_000, 10, Bar::AtMost(25.0))]
        .map(|(rate, watchers, bar)| {
            let name = format!("fan-out of {},000 events/s to {watchers}", rate / 1_000);
            Case::new(name.clone(), move |lab| run(lab, Log::start(lab)?, &name, (rate, watchers), bar))
        })
        .into_iter()
        .chain([(1_000, 100), (10_000, 10)].map(|(rate, watchers)| {
            let name = format!("durable fan-out of {},000 events/s to {watchers}", rate / 1_000);
            Case::new(name.clone(), move |lab| {
                let scratch = Scratch::new();
                run(lab, Log::durable(lab, scratch.path())?, &name, (rate, watchers), Bar::AtMost(25.0))
            })
        }))
        .collect()
}

fn run(lab: &Lab, mut log: Log, name: &str, (rate, watchers): (usize, usize), bar: Bar) -> Result<Vec<Row>> {
    let bare = Bare::start(lab)?;
    let ticks = lab.window().as_millis().try_into().map(|window: usize| 2 * window)?;
    let mut sent = Frames::default();
    let mut turns = Vec::new();
    for _ in 0..lab.turns().min(5) {
        let (took, frames) = watched(lab, &mut log, rate, watchers, ticks)?;
        sent.count += frames.count;
        sent.bytes += frames.bytes;
        let each = frames.count / watchers;
        turns.push((took, followed(lab, &bare, watchers, ticks, each, sent.size())?));
    }
    let at = |quantile| -> Vec<_> {
        let at = |took: &Histogram<u64>| millis(took.value_at_quantile(quantile));
        turns.iter().map(|(row, baseline)| (at(row), at(baseline))).collect()
    };
    Ok(vec![
        Row::beside(format!("{name}: p50"), Unit::Milliseconds, &at(0.5), Bar::None),
        Row::beside(format!("{name}: p99"), Unit::Milliseconds, &at(0.99), bar),
    ])
}

/// Calls `send` for every tick.
fn pace(ticks: usize, mut send: impl FnMut(usize) -> Result<()>) -> Result<()> {
    Builder::new_current_thread().enable_time().build()?.block_on(async {
        // What is late is made up for at once: the rate stays what it is.
        let mut ticker = interval(TICK);
        for tick in 0..ticks {
            ticker.tick().await;
            send(tick)?;
        }
        Ok(())
    })
}

type Reading<T> = JoinHandle<Result<T>>;

fn all_read<T: Send + 'static>(lab: &Lab, reading: Vec<Reading<T>>) -> Result<Vec<T>> {
    let all = lab.clients.block_on(async { timeout(PATIENCE, try_join_all(reading)).await })??;
    all.into_iter().collect()
}

/// How long each event took to each watcher, and the frames in which they came.
fn watched(lab: &Lab, log: &mut Log, rate: usize, watchers: usize, ticks: usize) -> Result<(Histogram<u64>, Frames)> {
    let origin = Instant::now();
    let each = rate / 1_000;
    let sent: Arc<Vec<AtomicU64>> = Arc::new((0..ticks * each).map(|_| AtomicU64::new(0)).collect());
    let streams = lab.clients.block_on(async {
        let opening = channels(log.address, watchers).await?.into_iter().map(async |channel| {
            let mut stream = watch(channel, None).await?;
            // A bookmark: from here on nothing is missed.
            stream.message().await?.context("the stream has ended")?;
            anyhow::Ok(stream)
        });
        try_join_all(opening).await
    })?;
    let reading =
        streams.into_iter().map(|stream| lab.clients.spawn(read(stream, Arc::clone(&sent), origin))).collect();
    pace(ticks, |tick| {
        let now = nanos(origin.elapsed());
        sent[tick * each..(tick + 1) * each].iter().for_each(|event| event.store(now, Ordering::Release));
        log.append(each);
        Ok(())
    })?;
    let (mut took, mut frames) = (Histogram::new(3)?, Frames::default());
    for (one, came) in all_read(lab, reading)? {
        took.add(one)?;
        frames.count += came.count;
        frames.bytes += came.bytes;
    }
    Ok((took, frames))
}

/// Reads every event that will be sent. They come in order and without gaps, so each is known by its place.
async fn read(
    mut stream: Streaming<Frame>,
    sent: Arc<Vec<AtomicU64>>,
    origin: Instant,
) -> Result<(Histogram<u64>, Frames)> {
    let (mut took, mut frames) = (Histogram::new(3)?, Frames::default());
    let mut awaited = sent.iter();
    while awaited.len() > 0 {
        let frame = stream.message().await?.context("the stream has ended")?;
        let now = nanos(origin.elapsed());
        for event in awaited.by_ref().take(frame.events) {
            took.record(now.saturating_sub(event.load(Ordering::Acquire)))?;
        }
        frames.add(&frame);
    }
    Ok((took, frames))
}

/// How long each of so many frames took to each client of the bare server.
fn followed(
    lab: &Lab,
    bare: &Bare,
    watchers: usize,
    ticks: usize,
    count: usize,
    size: usize,
) -> Result<Histogram<u64>> {
    let origin = Instant::now();
    let streams = lab.clients.block_on(async {
        try_join_all(channels(bare.address, watchers).await?.into_iter().map(bare::follow)).await
    })?;
    let reading = streams.into_iter().map(|stream| lab.clients.spawn(read_bare(stream, count, origin))).collect();
    pace(ticks, |tick| {
        // Spread evenly over the ticks.
        for _ in tick * count / ticks..(tick + 1) * count / ticks {
            let mut frame = BytesMut::zeroed(bare::payload(size).max(8));
            (&mut frame[..8]).put_u64(nanos(origin.elapsed()));
            bare.frames.send(frame.freeze())?;
        }
        Ok(())
    })?;
    let mut took = Histogram::new(3)?;
    all_read(lab, reading)?.iter().try_for_each(|one| took.add(one))?;
    Ok(took)
}

async fn read_bare(mut stream: Streaming<Bytes>, count: usize, origin: Instant) -> Result<Histogram<u64>> {
    let mut took = Histogram::new(3)?;
    for _ in 0..count {
        let frame = stream.message().await?.context("the stream has ended")?;
        let sent = frame.first_chunk().map(|stamp| u64::from_be_bytes(*stamp)).context("a frame without a stamp")?;
        took.record(nanos(origin.elapsed()).saturating_sub(sent))?;
    }
    Ok(took)
}
