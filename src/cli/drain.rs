//! `drain`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::Args;
use tokio::time::{sleep, timeout};

use super::change::Audit;
use super::output::{Format, Output, OutputArgs, clean, note, out};
use super::remote::Remote;
use super::{Failure, duration, words};
use crate::client::{Client, Error, Update, Watch};
use crate::pb::v1;
use v1::event::Detail;
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
1 where an instance is left behind STUCK, or the server has not gone within 30 s.")]
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
        let followed = async {
            let followed = match opened {
                Ok(()) => follow(&mut watch, &mut fates).await,
                Err(error) => Err(error),
            };
            gone(&remote, started).await;
            followed
        };
        let Ok(followed) = timeout(GONE_WITHIN, followed).await else {
            let within = duration::print(GONE_WITHIN);
            return Err(Failure::Negative(format!("the server has not gone within {within}; {}", fates.told())));
        };
        let text = match followed {
            Ok(()) => format!("the server has gone; {}", fates.told()),
            Err(error) => {
                let why = clean(&error.message);
                format!("the server has gone; its events could not be followed to the end ({why}); {}", fates.told())
            }
        };
        // Machines get one document.
        if output.format == Format::Table {
            out(&format!("{text}\n"))?;
        } else {
            note(&text);
        }
        if fates.stuck.is_empty() { Ok(()) } else { Err(Failure::Negative(String::new())) }
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

/// Gathers what becomes of the instances, until the server ends the stream.
async fn follow(watch: &mut Watch, fates: &mut Fates) -> Result<(), Error> {
    loop {
        match watch.next().await {
            Ok(Update::Frame { events, .. }) => events.iter().for_each(|event| fates.add(event)),
            Ok(Update::Resumed { .. }) => {}
            Ok(Update::Lost { error, .. }) | Err(error) if error.reason == "SERVER_DRAINING" => return Ok(()),
            Ok(Update::Lost { error, .. }) | Err(error) => return Err(error),
        }
    }
}

/// Resolves when that server, known by its start, does not answer any more, or another one does in its place.
async fn gone(remote: &Remote, started: Option<prost_types::Timestamp>) {
    while let Ok(client) = remote.connect().await {
        if client.info().await.is_ok_and(|info| info.start_time != started) {
            return;
        }
        sleep(LOOK).await;
    }
}

/// How instances have ended since just before the drain, and which are stuck.
#[derive(Debug, Default)]
struct Fates {
    ended: BTreeMap<String, usize>,
    /// By name, generation and attempt.
    stuck: BTreeSet<(String, u64, u32)>,
}

impl Fates {
    /// What is stuck already, and the cursor to follow on from.
    async fn before(client: &Client) -> Result<(Self, String), Error> {
        let request = v1::ListTasksRequest {
            parent: "namespaces/-".to_owned(),
            // What every stuck instance has. There are a few, or something else has been wrong for long.
            filter: "alert = ABORT_TIMEOUT".to_owned(),
            page_size: 1_000,
            page_token: String::new(),
        };
        let v1::ListTasksResponse { tasks, cursor, next_page_token: _ } = client.list(request).await?;
        let instances = tasks.iter().flat_map(|task| {
            let live = task.instance.iter().chain(&task.draining);
            live.map(|instance| (instance, (task.name.clone(), instance.generation, instance.attempt)))
        });
        let stuck = instances.filter(|(instance, _)| instance.state() == v1::InstanceState::Stuck).map(|(_, key)| key);
        Ok((Self { stuck: stuck.collect(), ended: BTreeMap::new() }, cursor))
    }

    fn add(&mut self, event: &v1::Event) {
        let key = || (event.name.clone(), event.generation, event.attempt);
        match (event.r#type(), &event.detail) {
            (v1::EventType::InstanceEnded, Some(Detail::Instance(instance))) => {
                *self.ended.entry(words::exit(instance.exit)).or_default() += 1;
                self.stuck.remove(&key());
            }
            (v1::EventType::InstanceStuck, _) => drop(self.stuck.insert(key())),
            _ => {}
        }
    }

    /// `of its instances 11 ended GRACEFUL, 1 ABORTED; abandoned as STUCK: mule`.
    fn told(&self) -> String {
        let ended: Vec<_> = self.ended.iter().map(|(exit, count)| format!("{count} ended {exit}")).collect();
        let stuck: Vec<_> = self.stuck.iter().map(|(name, ..)| words::id(name)).collect();
        let mut text = match (ended.as_slice(), stuck.as_slice()) {
            ([], []) => "nothing was running".to_owned(),
            ([], _) => "no instance has ended".to_owned(),
            (ended, _) => format!("of its instances {}", ended.join(", ")),
        };
        if !stuck.is_empty() {
            text += &format!("; left behind STUCK: {}", clean(&stuck.join(", ")));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: v1::EventType, name: &str, exit: v1::Exit) -> v1::Event {
        let instance = v1::Instance { exit: exit.into(), ..v1::Instance::default() };
        let name = format!("namespaces/default/tasks/{name}");
        v1::Event { r#type: kind.into(), name, detail: Some(Detail::Instance(instance)), ..v1::Event::default() }
    }

    #[test]
    fn what_is_stuck_is_told_by_name_until_it_has_ended() {
        let mut fates = Fates::default();
        assert_eq!(fates.told(), "nothing was running");
        fates.add(&event(v1::EventType::InstanceStuck, "mule", v1::Exit::Unspecified));
        assert_eq!(fates.told(), "no instance has ended; left behind STUCK: mule");
        for name in ["api", "db"] {
            fates.add(&event(v1::EventType::InstanceEnded, name, v1::Exit::Graceful));
        }
        assert_eq!(fates.told(), "of its instances 2 ended GRACEFUL; left behind STUCK: mule");
        fates.add(&event(v1::EventType::InstanceEnded, "mule", v1::Exit::Aborted));
        assert_eq!(fates.told(), "of its instances 1 ended ABORTED, 2 ended GRACEFUL");
    }
}
