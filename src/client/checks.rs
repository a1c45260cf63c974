//! A watch of checks, which comes back after its connections and says so: what ended in between is not told.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};
use tonic::{Code, Streaming};

use super::backoff::Backoff;
use super::patience::Patience;
use super::{Client, DEADLINE, Error, Outlook};
use crate::pb::v1;

/// Follows what checks find.
#[derive(Debug)]
pub struct Checks {
    client: Client,
    request: v1::WatchChecksRequest,
    stream: Option<Box<Streaming<v1::WatchChecksResponse>>>,
    /// When to connect again.
    again: Option<Instant>,
    established: bool,
    patience: Patience,
    backoff: Backoff,
}

/// What a watch of checks has to tell.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckUpdate {
    /// Some results, and how many were dropped.
    Frame(v1::WatchChecksResponse),
    /// The stream broke; the next call of `Checks::next` waits and connects again.
    Lost {
        /// Why.
        error: Error,
        /// How long it will wait.
        retry_in: Duration,
    },
    /// The stream stands again.
    Resumed,
}

impl Client {
    /// Follows what checks find; nothing happens before the first `Checks::next`.
    pub fn watch_checks(&self, request: v1::WatchChecksRequest) -> Checks {
        let (client, patience, backoff) = (self.clone(), Patience::default(), Backoff::new());
        Checks { client, request, stream: None, again: None, established: false, patience, backoff }
    }
}

impl Checks {
    /// What comes next. An error is final: the first connection failed, or the server refused. May be dropped while it waits, and
    /// called again.
    pub async fn next(&mut self) -> Result<CheckUpdate, Error> {
        loop {
            match &mut self.stream {
                Some(stream) => match self.patience.wait_for(stream.message()).await {
                    Ok(Some(frame)) => {
                        self.established = true;
                        self.backoff = Backoff::new();
                        return Ok(CheckUpdate::Frame(frame));
                    }
                    Ok(None) => return self.lose(Error::new(Code::Unavailable, "the stream was cut")),
                    Err(error) => return self.lose(error),
                },
                None => {
                    if let Some(again) = self.again {
                        sleep_until(again).await;
                    }
                    // The deadline is for the answer's head only, so the server is not told of it.
                    match timeout(DEADLINE, self.client.tasks.watch_checks(self.request.clone())).await {
                        Ok(Ok(response)) => self.stream = Some(Box::new(response.into_inner())),
                        Ok(Err(status)) => return self.lose(status.into()),
                        Err(_) => return self.lose(Error::deadline(DEADLINE)),
                    }
                    if self.established {
                        return Ok(CheckUpdate::Resumed);
                    }
                }
            }
        }
    }

    fn lose(&mut self, error: Error) -> Result<CheckUpdate, Error> {
        self.stream = None;
        if !self.established || error.outlook() == Outlook::ForGood {
            return Err(error);
        }
        let retry_in = self.backoff.wait(error.retry_after);
        self.again = Some(Instant::now() + retry_in);
        Ok(CheckUpdate::Lost { error, retry_in })
    }
}
