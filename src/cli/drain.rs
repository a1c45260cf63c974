//! `drain`.

mod fates;

use std::time::Duration;

use clap::Args;
use tokio::time::{sleep, timeout};

use super::change::Audit;
use super::output::{Format, Output, OutputArgs, clean, note, out};
use super::remote::Remote;
use super::{Failure, duration};
use crate::client::{Client, Error, Update, Watch};
use crate::pb::v1;
use fates::Fates;
use v1::watch_tasks_request::Start;

/// How long a server is waited for that drains: it has gone within 10 s, unless it or its machine is in trouble.
const GONE_WITHIN: Duration = Duration::from_secs(30);
/// How often it is looked for, once its stream has ended.
const LOOK: Duration = Duration::from_millis(100);

/// Have the server stop every task and end, as SIGTERM does.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard drain --reason 'a new version'
  switchyard drain --wait --server http://10.0.0.7:6710

The server starts nothing any more, stops all tasks side by side in two phases, ends all streams,
and is gone within 10 s. A drain is no cancel: the tasks are still to run. With --wait, exit code
1 where an instance is left behind STUCK, where it could not be seen how all of them ended, or where
the server has not gone within 30 s.")]
pub(super) struct Drain {
    /// Wait until the server has gone, and say how its instances have ended.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    audit: Audit,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    output: OutputArgs,
}

impl Drain {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Self { wait, audit: Audit { reason, request_id }, remote, output } = self;
        let output = Output::new(&output);
        let client = remote.connect().await?;
        let started = client.info().await?.start_time;
        // Before the drain, which may be over before a watch that is opened after it arrives.
        let following = if wait { Some(Following::begin(&client).await?) } else { None };
        let answer = client.drain(v1::DrainServerRequest { reason, request_id }).await?;
        output.message(&answer, |_| "the server drains: it stops every task, and ends within 10s\n".to_owned())?;
        let Some(Following { mut watch, opened, mut fates }) = following else { return Ok(()) };
        let whereabouts = Whereabouts { remote: &remote, started };
        let followed = async {
            let followed = match opened {
                Ok(()) => follow(&mut watch, &mut fates, &whereabouts).await,
                Err(error) => Err(error),
            };
            whereabouts.gone().await;
            followed
        };
        let Ok(followed) = timeout(GONE_WITHIN, followed).await else {
            let within = duration::print(GONE_WITHIN);
            return Err(Failure::Negative(format!("the server has not gone within {within}; {}", fates.so_far())));
        };
        let text = match &followed {
            Ok(()) => format!("the server has gone; {}", fates.told()),
            Err(error) => {
                let why = clean(&error.message);
                format!("the server has gone; its events could not be followed to the end ({why}); {}", fates.so_far())
            }
        };
        // Machines get one document.
        if output.format == Format::Table {
            out(&format!("{text}\n"))?;
        } else {
            note(&text);
        }
        if followed.is_ok() && fates.are_good() { Ok(()) } else { Err(Failure::Negative(String::new())) }
    }
}

/// What is known of the instances, and the stream that tells the rest.
struct Following {
    watch: Watch,
    /// A server that has no room for the stream drains all the same.
    opened: Result<(), Error>,
    fates: Fates,
}

impl Following {
    async fn begin(client: &Client) -> Result<Self, Error> {
        let (fates, cursor) = Fates::before(client).await?;
        let mut watch = client.watch(v1::WatchTasksRequest {
            parent: "namespaces/-".to_owned(),
            start: Some(Start::Cursor(cursor)),
            ..v1::WatchTasksRequest::default()
        });
        let opened = watch.open().await;
        Ok(Self { watch, opened, fates })
    }
}

/// Gathers what becomes of the instances, until the server ends the stream as drains do. A stream that breaks before is taken up
/// again, as long as there is a server.
async fn follow(watch: &mut Watch, fates: &mut Fates, whereabouts: &Whereabouts<'_>) -> Result<(), Error> {
    let mut lost: Option<Error> = None;
    loop {
        let update = match &lost {
            None => watch.next().await,
            Some(error) => tokio::select! {
                biased;
                update = watch.next() => update,
                () = whereabouts.gone() => return Err(error.clone()),
            },
        };
        match update {
            Ok(Update::Frame { events, .. }) => {
                lost = None;
                events.iter().for_each(|event| fates.add(event));
            }
            Ok(Update::Resumed { .. }) => {}
            Ok(Update::Lost { error, .. }) | Err(error) if error.reason == "SERVER_DRAINING" => return Ok(()),
            // What broke it says more than that it could not be taken up again.
            Ok(Update::Lost { error, .. }) => drop(lost.get_or_insert(error)),
            Err(error) => return Err(lost.unwrap_or(error)),
        }
    }
}

/// Where a server is looked for, which is known by its start.
struct Whereabouts<'a> {
    remote: &'a Remote,
    started: Option<prost_types::Timestamp>,
}

impl Whereabouts<'_> {
    /// Resolves when nobody listens there any more, or another server does: this one has closed its store by then, and keeps its
    /// address until it has.
    async fn gone(&self) {
        while self.remote.is_listening().await {
            let client = self.remote.connect().await.ok();
            let info = match &client {
                Some(client) => client.info().await.ok(),
                None => None,
            };
            if info.is_some_and(|info| info.start_time != self.started) {
                return;
            }
            sleep(LOOK).await;
        }
    }
}
