//! `circuit`: whether targets should be called, and what callers and operators say to that.

mod force;
pub(super) mod outlook;
mod report;
mod view;

use std::time::SystemTime;

use clap::{Args, Subcommand};

use super::Failure;
use super::listing::{Listing, Page, Pages, note_rest};
use super::output::{Output, OutputArgs};
use super::remote::{Namespace, Remote};
use super::selection::Which;
use super::watch::Following;
use crate::client::Client;
use crate::pb::v1;
use force::{Force, Reset};
use report::Report;
use v1::watch_circuits_request::Start as CircuitsStart;
use v1::watch_tasks_request::Start;

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
  switchyard circuit list --filter 'circuit.override != NONE'
  switchyard circuit list -A -o json

STATE is what callers go by: an override, where one lies there. A filter is that of `switchyard
list`, of the circuits' tasks; its circuit.state is what lies beneath an override.")]
struct List {
    #[command(flatten)]
    listing: Listing,
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let Listing { filter, limit, scope, remote, output } = self.listing;
        let output = Output::new(&output);
        let client = remote.connect().await?;
        let page = async |page_size, page_token| {
            let (parent, filter) = (scope.parent(), filter.clone());
            let request = v1::ListCircuitsRequest { parent, page_size, page_token, filter };
            let v1::ListCircuitsResponse { circuits: items, next_page_token, cursor } =
                client.circuits(request).await?;
            Ok(Page { items, next_page_token, cursor })
        };
        let Pages { items: circuits, cursor, more } = Pages::get(limit, page).await?;
        let listed = v1::ListCircuitsResponse { circuits, cursor, ..v1::ListCircuitsResponse::default() };
        output.message(&listed, |listed| match listed.circuits.as_slice() {
            [] => String::new(),
            circuits => view::list(circuits, scope.all_namespaces, output, SystemTime::now()),
        })?;
        note_rest(listed.circuits.is_empty(), more, "circuits");
        Ok(())
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
