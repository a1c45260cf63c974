//! `circuit`: whether targets should be called, and what callers and operators say to that.

mod force;
mod outlook;
mod report;
mod view;

use std::time::SystemTime;

use clap::{Args, Subcommand};

use super::Failure;
use super::output::{Output, OutputArgs, note};
use super::remote::{Namespace, Remote, Scope};
use super::selection::Which;
use super::watch::Following;
use crate::client::Client;
use crate::pb::v1;
use force::{Force, Reset};
use report::Report;
use v1::watch_circuits_request::Start as CircuitsStart;
use v1::watch_tasks_request::Start;

/// What a page may hold at the most.
const PAGE: usize = 1_000;

/// Show, follow, override and reset circuits, and report to them what has come of calls.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard circuit list                             which targets should be called
  switchyard circuit get api                          one of them, with why and what comes next
  switchyard circuit watch                            a line for each transition, as it comes
  switchyard circuit force api open --for 30m --reason maintenance
  switchyard circuit force api off
  switchyard circuit reset api
  switchyard circuit report api --outcome failure --count 3

A circuit bears its task's name, and lives as long as the task.")]
pub(super) struct Circuit {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(List),
    Get(Get),
    Watch(Watch),
    Force(Box<Force>),
    Reset(Box<Reset>),
    Report(Report),
}

impl Circuit {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::List(list) => list.run().await,
            Command::Get(get) => get.run().await,
            Command::Watch(watch) => watch.run().await,
            Command::Force(force) => force.run().await,
            Command::Reset(reset) => reset.run().await,
            Command::Report(report) => report.run().await,
        }
    }
}

/// List circuits, by name: their states, since when, what comes next, and why.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard circuit list
  switchyard circuit list --filter 'circuit.state = OPEN AND labels.team = core'
  switchyard circuit list -A -o json

STATE is what callers go by: an override, where one lies there. A filter is that of `switchyard
list`, of the circuits' tasks.")]
struct List {
    /// Which circuits to show.
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    filter: String,
    /// Show at most so many; all by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    output: OutputArgs,
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let output = Output::new(&self.output);
        let client = self.remote.connect().await?;
        let (listed, more) = self.pages(&client).await?;
        output.message(&listed, |listed| match listed.circuits.as_slice() {
            [] => String::new(),
            circuits => view::list(circuits, self.scope.all_namespaces, output, SystemTime::now()),
        })?;
        if listed.circuits.is_empty() {
            note("no circuits");
        }
        if more {
            note("there are more; raise --limit");
        }
        Ok(())
    }

    /// All pages as one, and whether there are more than asked for. They show one snapshot.
    async fn pages(&self, client: &Client) -> Result<(v1::ListCircuitsResponse, bool), Failure> {
        let limit = self.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let mut all = v1::ListCircuitsResponse::default();
        let mut page_token = String::new();
        loop {
            let request = v1::ListCircuitsRequest {
                parent: self.scope.parent(),
                page_size: i32::try_from((limit - all.circuits.len()).min(PAGE)).unwrap_or(i32::MAX),
                page_token,
                filter: self.filter.clone(),
            };
            let v1::ListCircuitsResponse { circuits, next_page_token, cursor } = client.circuits(request).await?;
            all.circuits.extend(circuits);
            all.cursor = cursor;
            let more = !next_page_token.is_empty();
            if !more || all.circuits.len() >= limit {
                return Ok((all, more));
            }
            page_token = next_page_token;
        }
    }
}

/// Show a circuit: its state, since when and why, what comes next, and the token of calls.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard circuit get api
  switchyard circuit get api -o json | jq -r .state")]
struct Get {
    /// The task's name.
    name: String,
    #[command(flatten)]
    namespace: Namespace,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    output: OutputArgs,
}

impl Get {
    async fn run(self) -> Result<(), Failure> {
        let output = Output::new(&self.output);
        let client = self.remote.connect().await?;
        let request = v1::GetCircuitRequest { name: self.namespace.task(&self.name) };
        let circuit = client.circuit(request).await?.circuit.unwrap_or_default();
        output.message(&circuit, |circuit| view::describe(circuit, output.paint, SystemTime::now()))
    }
}

/// Follow circuits: a line for each transition, as it comes.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard circuit watch
  switchyard circuit watch api --initial
  switchyard circuit watch -A --filter 'labels.team = core' -o json
  switchyard circuit watch --cursor-file circuits.cursor

After a lost connection it goes on from where it was; cursors, those of `switchyard watch` too, and
cursor files are as there. What changes a circuit without a transition, such as a pause that
suspends it, is a line of how it has stood since its last one. With -o json each line is an object
with one key: event, circuit (as it stands then), initialComplete, or cursor.")]
struct Watch {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    following: Following,
}

impl Watch {
    async fn run(self) -> Result<(), Failure> {
        let (parent, filter) = self.which.terms()?;
        let open = |client: &Client, start: Option<Start>| {
            let start = start.map(|start| match start {
                Start::Cursor(cursor) => CircuitsStart::Cursor(cursor),
                Start::SendInitialState(send) => CircuitsStart::SendInitialState(send),
            });
            let (parent, filter) = (parent.clone(), filter.clone());
            client.watch_circuits(v1::WatchCircuitsRequest { parent, filter, start })
        };
        self.following.run(self.which.scope.all_namespaces, open).await
    }
}
