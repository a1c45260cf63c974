//! A thousand watchers, half of which never read: what those who read, and those who publish, notice of the others. The clock
//! starts once those have been sent all that their windows hold: until then they cost what any watcher costs.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::future::try_join_all;
use switchyard::journal::Journal;
use tonic::{Code, Streaming};

use crate::lab::Lab;
use crate::served::Log;
use crate::table::{Bar, Case, Row, Unit};
use crate::watching::{Frame, channels, watch};

const READING: usize = 500;
const STALLED: usize = 500;
/// Each of them appended, and committed, before the next.
const GROUPS: usize = 200;
const GROUP: usize = 20;
/// Appended before the clock starts: several times of what a stream's window holds.
const FILLING: usize = 4_000;
/// For so long nothing must be sent until all who do not read count as stalled.
const SETTLED: Duration = Duration::from_millis(250);
/// How long anything may take; no figure.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("1,000 watchers, 500 of which never read", run)]
}

fn run(lab: &Lab) -> Result<Vec<Row>> {
    let groups = lab.scaled(GROUPS);
    let turns = lab.take_turns(|| turn(lab, groups, STALLED), || turn(lab, groups, 0))?;
    let pairs = |figure: fn(&Turn) -> f64| -> Vec<_> {
        turns.iter().map(|(row, baseline)| (figure(row), figure(baseline))).collect()
    };
    let held = turns.iter().map(|(row, baseline)| row.held - baseline.held).collect();
    let name = |what: &str| format!("1,000 watchers, 500 of which never read: {what}");
    Ok(vec![
        Row::beside(name("commits"), Unit::Milliseconds, &pairs(|turn| turn.published), Bar::TimesBaseline(1.1)),
        Row::beside(
            name("until the others have all"),
            Unit::Milliseconds,
            &pairs(|turn| turn.read),
            Bar::TimesBaseline(1.1),
        ),
        Row::alone(name("memory for each that stalls"), Unit::Bytes, held, Bar::AtMost(512.0 * 1024.0)),
    ])
}

/// What one turn took, in milliseconds, and what each stalled watcher then holds, in bytes.
struct Turn {
    published: f64,
    read: f64,
    held: f64,
}

fn turn(lab: &Lab, groups: usize, stalled: usize) -> Result<Turn> {
    let mut log = Log::start(lab)?;
    let events = groups * GROUP;
    lab.clients.block_on(async {
        let before = resident()?;
        let asleep = open(&log, stalled).await?;
        log.append(FILLING);
        settled(&log).await;
        let reading = open(&log, READING).await?;
        let began = Instant::now();
        let readers: Vec<_> = reading.into_iter().map(|stream| tokio::spawn(read(stream, events))).collect();
        for _ in 0..groups {
            let last = log.append(GROUP);
            committed(&log.journal, last).await?;
        }
        let published = began.elapsed();
        for reader in try_join_all(readers).await? {
            reader?;
        }
        let read = began.elapsed();
        let held = if stalled == 0 { 0.0 } else { (resident()?.saturating_sub(before)) as f64 / stalled as f64 };
        catch_up(asleep, FILLING + events).await?;
        Ok(Turn { published: published.as_secs_f64() * 1e3, read: read.as_secs_f64() * 1e3, held })
    })
}

/// So many watchers, from now on.
async fn open(log: &Log, watchers: usize) -> Result<Vec<Streaming<Frame>>> {
    let opening = channels(log.address, watchers).await?.into_iter().map(async |channel| {
        let mut stream = watch(channel, None).await?;
        // A bookmark: from here on nothing is missed.
        stream.message().await?.context("the stream has ended")?;
        anyhow::Ok(stream)
    });
    try_join_all(opening).await
}

/// Waits until the streams have been sent all that they take.
async fn settled(log: &Log) {
    let (mut sent, mut since) = (0, Instant::now());
    while since.elapsed() < SETTLED {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let now = log.events_sent();
        if now != sent {
            (sent, since) = (now, Instant::now());
        }
    }
}

async fn committed(journal: &Journal, last: u64) -> Result<()> {
    let began = Instant::now();
    while journal.view().head().get() < last {
        ensure!(began.elapsed() < PATIENCE, "nothing is committed any more");
        tokio::task::yield_now().await;
    }
    Ok(())
}

async fn read(mut stream: Streaming<Frame>, events: usize) -> Result<()> {
    let mut seen = 0;
    while seen < events {
        seen += stream.message().await?.context("the stream has ended")?.events;
    }
    ensure!(seen == events, "{seen} of {events} events came");
    Ok(())
}

/// Those who did not read so far find everything, or are told that they cannot.
async fn catch_up(asleep: Vec<Streaming<Frame>>, events: usize) -> Result<()> {
    let reading = asleep.into_iter().map(async |stream| match read(stream, events).await {
        Ok(()) => Ok(()),
        Err(error) => match error.downcast_ref::<tonic::Status>() {
            Some(status) if status.code() == Code::OutOfRange => Ok(()),
            _ => bail!("a stalled watcher did not catch up: {error:#}"),
        },
    });
    try_join_all(reading).await.map(drop)
}

/// The memory that this process has resident, in bytes.
#[expect(clippy::disallowed_methods, reason = "a file of the kernel's, and nothing else to do meanwhile")]
fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("the kernel does not tell")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
}
