//! `events`: a look back.

use std::collections::VecDeque;

use clap::Args;
use prost_types::Timestamp;

use super::look_back::{self, ATTEMPTS, Kept, Skip, is_overtaken};
use super::output::{Format, Output, OutputArgs, clean, note, out};
use super::progress::Progress;
use super::remote::Remote;
use super::selection::Selection;
use super::{Failure, event_view, json, moment, words};
use crate::client::{Client, Error, Update};
use crate::pb::v1;
use v1::watch_tasks_request::Start;

/// Show the newest events: a look back that ends by itself.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard events
  switchyard events api --limit 20
  switchyard events --since 10m --limit 10000
  switchyard events -A --since 2026-12-01T06:00:00Z --filter 'type = ALERT_RAISED'
  switchyard events -o json | jq -r .type | sort | uniq -c

It reads what the server still has, up to where the log ends at that moment, and shows the newest
of it, the oldest first. With -o json each line is an event.

A filter is `field (= | != | :) value`, joined by AND. Fields: name (exact, or a prefix ending
in *), labels.KEY (:* for present), type.")]
pub(super) struct Events {
    #[command(flatten)]
    selection: Selection,
    /// Show so many, the newest.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// Only what has happened since: a duration back from now by this machine's clock, or a time, as 2026-12-01T06:00:00Z.
    #[arg(long, value_name = "WHEN", value_parser = moment::back)]
    since: Option<Timestamp>,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    output: OutputArgs,
}

impl Events {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let output = Output::new(&self.output);
        let request = self.selection.request()?;
        let client = self.remote.connect().await?;
        let newest = self.newest(&client, &request).await?;
        out(&self.text(&newest.events, output)?)?;
        if newest.events.is_empty() {
            note("no events");
        }
        if newest.left_out && self.since.is_some() {
            note("there are older ones; raise --limit");
        }
        Ok(())
    }

    async fn newest(&self, client: &Client, request: &v1::WatchTasksRequest) -> Result<Newest, Failure> {
        let mut attempts = 1;
        loop {
            let kept = look_back::kept(client, self.since.as_ref()).await?;
            match self.read(client, request, &kept).await {
                Err(error) if is_overtaken(&error) && attempts < ATTEMPTS => attempts += 1,
                read => return Ok(read?),
            }
        }
    }

    /// Reads a stretch of the log, and keeps the newest of it.
    async fn read(&self, client: &Client, request: &v1::WatchTasksRequest, kept: &Kept) -> Result<Newest, Error> {
        let start = Some(Start::Cursor(kept.oldest.clone()));
        let mut watch = client.watch(v1::WatchTasksRequest { start, end_cursor: kept.head.clone(), ..request.clone() });
        let mut skip = Skip::until(self.since);
        let mut newest = Newest::new(usize::try_from(self.limit).unwrap_or(usize::MAX));
        let mut progress = Progress::new();
        let mut read: u64 = 0;
        while let Some(update) = watch.next_before_end().await? {
            match update {
                Update::Frame { mut events, .. } => {
                    read += events.len() as u64;
                    let last = events.last().and_then(|event| event.time);
                    skip.pass_over(&mut events);
                    newest.add(events);
                    progress.tell(|| looked_through(read, last.as_ref()));
                }
                Update::Lost { error, retry_in } => {
                    note(&format!("{}; trying again in {}", clean(&error.message), words::rough(retry_in)));
                }
                Update::Resumed { .. } => {}
            }
        }
        Ok(newest)
    }

    fn text(&self, events: &VecDeque<v1::Event>, output: Output) -> Result<String, Failure> {
        let namespaces = self.selection.which.scope.all_namespaces;
        let text = |event: &v1::Event| match output.format {
            Format::Table => Ok(event_view::line(event, namespaces, output.paint) + "\n"),
            Format::Json | Format::Yaml => json::document(&json::dynamic(event)?, output.format),
        };
        events.iter().map(text).collect()
    }
}

fn looked_through(read: u64, last: Option<&Timestamp>) -> String {
    let through = last.map_or_else(String::new, |last| format!(", up to {}", words::time(last)));
    format!("looked through {read} events{through}")
}

/// The newest events of those that were added.
struct Newest {
    events: VecDeque<v1::Event>,
    most: usize,
    left_out: bool,
}

impl Newest {
    fn new(most: usize) -> Self {
        Self { events: VecDeque::new(), most, left_out: false }
    }

    fn add(&mut self, events: Vec<v1::Event>) {
        self.events.extend(events);
        let too_many = self.events.len().saturating_sub(self.most);
        self.events.drain(..too_many);
        self.left_out |= too_many > 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_in_their_order() {
        let events = |numbers: &[u64]| {
            numbers.iter().map(|sequence| v1::Event { sequence: *sequence, ..v1::Event::default() }).collect()
        };
        let mut newest = Newest::new(3);
        newest.add(events(&[1, 2, 3]));
        assert!(!newest.left_out);
        newest.add(events(&[4]));
        newest.add(events(&[5, 6, 7, 8, 9]));
        assert!(newest.left_out);
        assert_eq!(newest.events.iter().map(|event| event.sequence).collect::<Vec<_>>(), [7, 8, 9]);
    }
}
