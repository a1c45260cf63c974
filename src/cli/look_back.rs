//! Beginning in the past: at the oldest event that the server still has, or at the first one since some time.

use prost_types::Timestamp;

use super::output::note;
use super::{Failure, moment, words};
use crate::client::{Client, Error, Update};
use crate::pb::v1;
use v1::watch_tasks_request::Start;

/// How often to begin anew where retention is faster than the reading: each time there is less to read.
pub(super) const ATTEMPTS: u32 = 5;

/// The stretch of the log that the server has now.
pub(super) struct Kept {
    pub(super) oldest: String,
    pub(super) head: String,
}

/// Asks what the server has. Where that begins later than `since`, says so.
pub(super) async fn kept(client: &Client, since: Option<&Timestamp>) -> Result<Kept, Failure> {
    for _ in 1..ATTEMPTS {
        let v1::GetServerInfoResponse { oldest_cursor, head_cursor, .. } = client.info().await?;
        let kept = Kept { oldest: oldest_cursor, head: head_cursor };
        let Some(since) = since else { return Ok(kept) };
        match first(client, &kept).await {
            Ok(first) => {
                tell_late(first.as_ref(), since);
                return Ok(kept);
            }
            Err(error) if is_overtaken(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::Local("the server forgets events faster than they can be read; try again".to_owned()))
}

/// Whether retention came first.
pub(super) fn is_overtaken(error: &Error) -> bool {
    error.reason == "CURSOR_EXPIRED"
}

/// The first event of the stretch, whomever it is about.
async fn first(client: &Client, kept: &Kept) -> Result<Option<v1::Event>, Error> {
    let mut watch = client.watch(v1::WatchTasksRequest {
        parent: "namespaces/-".to_owned(),
        start: Some(Start::Cursor(kept.oldest.clone())),
        end_cursor: kept.head.clone(),
        ..v1::WatchTasksRequest::default()
    });
    while let Some(update) = watch.next_before_end().await? {
        if let Update::Frame { events, .. } = update
            && let Some(event) = events.into_iter().next()
        {
            return Ok(Some(event));
        }
    }
    Ok(None)
}

fn tell_late(first: Option<&v1::Event>, since: &Timestamp) {
    let begins = first.and_then(|event| event.time.as_ref());
    if let Some(begins) = begins.filter(|begins| moment::is_before(since, begins)) {
        let (begins, since) = (words::time(begins), words::time(since));
        note(&format!("the server's events begin at {begins}, which is later than {since}"));
    }
}

/// Passes over what happened before a point of time.
pub(super) struct Skip(Option<Timestamp>);

impl Skip {
    pub(super) fn until(since: Option<Timestamp>) -> Self {
        Self(since)
    }

    /// Whether none that is late enough has come yet.
    pub(super) fn is_skipping(&self) -> bool {
        self.0.is_some()
    }

    /// Drops the events before the first that is late enough; those after it stay, also where a clock was set back.
    pub(super) fn pass_over(&mut self, events: &mut Vec<v1::Event>) {
        let Some(since) = &self.0 else { return };
        let is_early = |event: &v1::Event| event.time.as_ref().is_some_and(|time| moment::is_before(time, since));
        let early = events.iter().take_while(|event| is_early(event)).count();
        events.drain(..early);
        if !events.is_empty() {
            self.0 = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_first_event_that_is_late_enough_stays() {
        let at = |seconds| v1::Event { time: Some(Timestamp { seconds, nanos: 0 }), ..v1::Event::default() };
        let mut skip = Skip::until(Some(Timestamp { seconds: 5, nanos: 0 }));
        let mut passed = |times: &[i64]| {
            let mut events: Vec<_> = times.iter().map(|seconds| at(*seconds)).collect();
            skip.pass_over(&mut events);
            events.iter().filter_map(|event| event.time.map(|time| time.seconds)).collect::<Vec<_>>()
        };
        assert_eq!(
            (passed(&[1, 2]), passed(&[]), passed(&[4, 5, 3]), passed(&[4])),
            (vec![], vec![], vec![5, 3], vec![4])
        );
        let mut all = vec![at(1)];
        Skip::until(None).pass_over(&mut all);
        assert_eq!(all.len(), 1);
    }
}
