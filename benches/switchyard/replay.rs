//! What was committed before, as fast as it can be had, against a bare stream of as many frames of the same size.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use switchyard::journal::Journal;
use switchyard::model::Sequence;
use tonic::transport::Channel;

use crate::bare::{self, Bare};
use crate::lab::Lab;
use crate::scratch::Scratch;
use crate::served::Log;
use crate::table::{Bar, Case, Row, Unit};
use crate::watching::{Frames, channels, watch};

/// From the disk, all but the newest of them.
const STORED: &str = "replay from the store of 1,000,000 events, events";
/// Appended at once.
const GROUP: usize = 1_000;

pub(crate) fn cases() -> Vec<Case> {
    // Fewer events for more watchers: a turn is to last for a second or two.
    [(1, 50_000), (20, 20_000), (100, 10_000)]
        .map(|(watchers, events)| {
            let plural = if watchers == 1 { "" } else { "s" };
            let name = format!("replay from memory to {watchers} watcher{plural}, events");
            Case::new(name.clone(), move |lab| run(lab, Log::start(lab)?, name, watchers, events))
        })
        .into_iter()
        .chain([Case::new(STORED, |lab| {
            let scratch = Scratch::new();
            run(lab, Log::durable(lab, scratch.path())?, STORED.to_owned(), 1, 1_000_000)
        })])
        .collect()
}

fn run(lab: &Lab, mut log: Log, name: String, watchers: usize, events: usize) -> Result<Vec<Row>> {
    let bare = Bare::start(lab)?;
    let events = lab.scaled(events).next_multiple_of(GROUP);
    let mut last = 0;
    for _ in 0..events / GROUP {
        last = log.append(GROUP);
    }
    lab.clients.block_on(committed(&log.journal, last))?;
    let cursor = log.journal.cursor(Sequence::default());
    let channels = |address| lab.clients.block_on(channels(address, watchers));
    let (watched, bared) = (channels(log.address)?, channels(bare.address)?);
    let replayed = |channel: &Channel| {
        let (channel, cursor) = (channel.clone(), cursor.clone());
        lab.clients.spawn(async move { read(channel, cursor, events).await })
    };

    let frames = lab.clients.block_on(async { replayed(&watched[0]).await? })?;
    let delivered = (watchers * events) as f64;
    let row = || {
        let began = Instant::now();
        let all = lab.clients.block_on(try_join_all(watched.iter().map(replayed)))?;
        all.into_iter().try_for_each(|read| read.map(drop))?;
        Ok(delivered / began.elapsed().as_secs_f64())
    };
    let baseline = || {
        let began = Instant::now();
        let streamed = |channel: &Channel| lab.clients.spawn(read_bare(channel.clone(), frames));
        let all = lab.clients.block_on(try_join_all(bared.iter().map(streamed)))?;
        all.into_iter().try_for_each(|read| read)?;
        Ok(delivered / began.elapsed().as_secs_f64())
    };
    let turns = lab.take_turns(row, baseline)?;
    Ok(vec![Row::beside(name, Unit::PerSecond, &turns, Bar::OfBaseline(0.5))])
}

pub(crate) async fn committed(journal: &Journal, last: u64) -> Result<()> {
    let mut follower = journal.follow(Sequence::default())?;
    let mut seen = 0;
    while seen < last {
        let batch = follower.next(GROUP).await?.context("the journal has ended")?;
        seen += batch.events.len() as u64;
    }
    Ok(())
}

async fn read(channel: Channel, cursor: String, events: usize) -> Result<Frames> {
    let mut stream = watch(channel, Some(cursor)).await?;
    let (mut seen, mut frames) = (0, Frames::default());
    while seen < events {
        let frame = stream.message().await?.context("the stream has ended")?;
        seen += frame.events;
        frames.add(&frame);
    }
    Ok(frames)
}

async fn read_bare(channel: Channel, frames: Frames) -> Result<()> {
    let mut stream = bare::replay(channel, bare::request(0, frames.size(), frames.count)).await?;
    let mut seen = 0;
    while stream.message().await?.is_some() {
        seen += 1;
    }
    ensure!(seen == frames.count, "{seen} of {} frames came", frames.count);
    Ok(())
}
