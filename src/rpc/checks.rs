//! WatchChecks: the lossy live tail of what checks find. A stream takes results as its client has room; what it does not take in time
//! is gone, and counted.

use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::error::Error;
use super::watch::{IDLE, LINGER, Slot, ages};
use crate::journal::Journal;
use crate::model::{CheckRecord, Refusal};
use crate::pb::parse::WatchChecks;
use crate::pb::{render, v1};
use crate::telemetry::{CheckResults, CheckShown, CheckTail};

/// The results in a frame: a third of a megabyte, where each has as long a message as it may have.
const FRAME_CHECKS: usize = 256;
/// How many results are looked at before the stream looks at the time again, where most are not what was asked for.
const LOOKED_AT: usize = 1_024;

/// What a stream needs of the server.
pub(super) struct Resources {
    pub(super) journal: Journal,
    pub(super) tail: CheckTail,
    /// Cancelled when the drain has come to the streams: all checks have ended by then.
    pub(super) closing: CancellationToken,
    pub(super) _slot: Slot,
}

/// Opens a watch of checks.
pub(super) fn open(
    selection: WatchChecks,
    resources: Resources,
) -> Result<impl Stream<Item = Result<v1::WatchChecksResponse, Status>> + use<>, Error> {
    if let WatchChecks::Of(name) = &selection
        && resources.journal.view().get(name).is_none()
    {
        return Err(Refusal::TaskNotFound(name.clone()).into());
    }
    let now = Instant::now();
    let watch = Watch {
        results: resources.tail.watch(),
        selection,
        frame: v1::WatchChecksResponse::default(),
        is_first: true,
        last_frame: now,
        ages: ages(now),
        end: None,
        resources,
    };
    Ok(unfold(Some(watch), async |watch| {
        let mut watch = watch?;
        match watch.next().await {
            Ok(frame) => Some((Ok(frame), Some(watch))),
            Err(error) => Some((Err(error.into()), None)),
        }
    }))
}

struct Watch {
    results: CheckResults,
    selection: WatchChecks,
    /// What the next frame will be.
    frame: v1::WatchChecksResponse,
    /// Whether that is the first one, which is empty and says that the watch stands.
    is_first: bool,
    last_frame: Instant,
    ages: Instant,
    /// What the stream ends with: in a drain once there is nothing more, and otherwise after the next frame.
    end: Option<Error>,
    resources: Resources,
}

impl Watch {
    /// The next frame, or what the stream ends with.
    async fn next(&mut self) -> Result<v1::WatchChecksResponse, Error> {
        if let Some(aged) = self.end.take_if(|end| matches!(end, Error::StreamAged)) {
            return Err(aged);
        }
        while !std::mem::take(&mut self.is_first) {
            let is_all = self.gather();
            if self.frame.checks.len() >= FRAME_CHECKS {
                // Where results come faster than they are read, each frame is full.
                if self.end.is_none() && Instant::now() >= self.ages {
                    self.end = Some(Error::StreamAged);
                    self.drop_the_rest();
                }
                break;
            }
            match self.end.take() {
                Some(end) if !is_all => {
                    self.end = Some(end);
                    tokio::task::yield_now().await;
                    continue;
                }
                Some(end) if self.is_idle() => return Err(end),
                Some(end) => {
                    self.end = Some(end);
                    break;
                }
                None => {}
            }
            let patience = if self.is_idle() { IDLE } else { LINGER };
            tokio::select! {
                biased;
                () = self.resources.closing.cancelled() => self.end = Some(Error::Draining),
                () = sleep_until(self.ages) => self.end = Some(Error::StreamAged),
                () = sleep_until(self.last_frame + patience) => break,
                shown = self.results.next() => self.take(shown),
            }
        }
        self.last_frame = Instant::now();
        Ok(std::mem::take(&mut self.frame))
    }

    fn is_idle(&self) -> bool {
        self.frame.checks.is_empty() && self.frame.dropped == 0
    }

    /// Takes what is there by now; whether that was all.
    fn gather(&mut self) -> bool {
        for _ in 0..LOOKED_AT {
            if self.frame.checks.len() >= FRAME_CHECKS {
                return false;
            }
            let Some(shown) = self.results.ready() else { return true };
            self.take(shown);
        }
        false
    }

    /// Counts what is there by now and is not going to be sent.
    fn drop_the_rest(&mut self) {
        for _ in 0..CheckTail::KEPT {
            match self.results.ready() {
                Some(CheckShown::Missed(missed)) => self.frame.dropped += missed,
                Some(CheckShown::Result(record)) => self.frame.dropped += u64::from(self.selects(&record)),
                None => return,
            }
        }
    }

    fn take(&mut self, shown: CheckShown) {
        match shown {
            CheckShown::Missed(missed) => self.frame.dropped += missed,
            CheckShown::Result(record) if self.selects(&record) => {
                self.frame.checks.push(render::check_record(&record));
            }
            CheckShown::Result(_) => {}
        }
    }

    /// Of a task that is gone by now, labels and the like are not known any more.
    fn selects(&self, record: &CheckRecord) -> bool {
        match &self.selection {
            WatchChecks::Of(name) => record.name == *name,
            WatchChecks::Matching { parent, filter } => {
                let view = self.resources.journal.view();
                let task = view.get(&record.name).filter(|task| task.uid == record.uid);
                parent.contains(&record.name) && task.is_some_and(|task| filter.matches(task))
            }
        }
    }
}

#[cfg(test)]
mod tests;
