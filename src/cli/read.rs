//! `get`, `list`, `info`.

use std::time::SystemTime;

use clap::Args;

use super::listing::{Listing, Page, Pages, note_rest};
use super::output::{Output, OutputArgs, Tone};
use super::remote::{Namespace, Remote};
use super::table::{self, Cell, Column};
use super::{Failure, task_view, words};
use crate::client::Client;
use crate::pb::v1;

/// Show a task: its state, its last check, its outcome, its spec.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard get api
  switchyard get api -o yaml > task.yaml      what `start -f` reads
  switchyard get namespaces/prod/tasks/api -o json")]
pub(super) struct Get {
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
    pub(super) async fn run(self) -> Result<(), Failure> {
        let output = Output::new(&self.output);
        let request = v1::GetTaskRequest { name: self.namespace.task(&self.name) };
        let v1::GetTaskResponse { task } = self.remote.connect().await?.get(request).await?;
        let task = task.unwrap_or_default();
        output.message(&task, |task| task_view::describe(task, output.paint, SystemTime::now()))
    }
}

/// List tasks, by name.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard list
  switchyard list --filter 'state = RUNNING AND labels.team = core'
  switchyard list --filter 'circuit.state = OPEN'
  switchyard list -A --filter 'alert:*' -o json

A filter is `field (= | != | :) value`, joined by AND. Fields: name (exact, or a prefix ending
in *), labels.KEY (:* for present), state, monitor, alert, circuit.state,
circuit.override (!= NONE for any).")]
pub(super) struct List {
    #[command(flatten)]
    listing: Listing,
}

impl List {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Listing { filter, limit, scope, remote, output } = self.listing;
        let output = Output::new(&output);
        let client = remote.connect().await?;
        let Pages { items: tasks, cursor, more } = tasks(&client, &scope.parent(), &filter, limit).await?;
        let listed = v1::ListTasksResponse { tasks, cursor, ..v1::ListTasksResponse::default() };
        output.message(&listed, |listed| match listed.tasks.as_slice() {
            [] => String::new(),
            tasks => task_view::list(tasks, scope.all_namespaces, output, SystemTime::now()),
        })?;
        note_rest(listed.tasks.is_empty(), more, "tasks");
        Ok(())
    }
}

/// All tasks that match.
pub(super) async fn tasks(
    client: &Client,
    parent: &str,
    filter: &str,
    limit: Option<u32>,
) -> Result<Pages<v1::Task>, Failure> {
    let page = async |page_size, page_token| {
        let (parent, filter) = (parent.to_owned(), filter.to_owned());
        let request = v1::ListTasksRequest { parent, page_size, page_token, filter };
        let v1::ListTasksResponse { tasks: items, next_page_token, cursor } = client.list(request).await?;
        Ok(Page { items, next_page_token, cursor })
    };
    Pages::get(limit, page).await
}

/// Show what the server is and allows.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard info
  switchyard info -o json --server http://10.0.0.7:6710")]
pub(super) struct Info {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    output: OutputArgs,
}

impl Info {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let output = Output::new(&self.output);
        let info = self.remote.connect().await?.info().await?;
        output.message(&info, |info| particulars(info, output))
    }
}

fn particulars(info: &v1::GetServerInfoResponse, output: Output) -> String {
    const COLUMNS: [Column; 2] = [
        Column { title: "SERVER", rank: 0, least: None },
        // Cursors are there to be copied, so nothing is cut.
        Column { title: "", rank: 0, least: None },
    ];
    let v1::GetServerInfoResponse { version, store_id, oldest_cursor, head_cursor, start_time, limits } = info;
    let mut lines = vec![
        ("version", version.clone()),
        ("started", start_time.as_ref().map(words::time).unwrap_or_default()),
        ("store", store_id.clone()),
        ("oldest cursor", oldest_cursor.clone()),
        ("head cursor", head_cursor.clone()),
    ];
    if let Some(limits) = limits {
        let v1::ServerLimits {
            max_tasks,
            max_streams_per_connection,
            max_streams,
            max_request_bytes,
            max_spec_bytes,
            max_page_size,
            max_stuck,
            max_batch_requests,
        } = limits;
        lines.extend([
            ("tasks, at most", max_tasks.to_string()),
            ("stuck, at most", max_stuck.to_string()),
            ("watch streams", format!("{max_streams}, of one connection {max_streams_per_connection}")),
            ("request", format!("{max_request_bytes} bytes")),
            ("spec", format!("{max_spec_bytes} bytes")),
            ("page", format!("{max_page_size} tasks")),
            ("batch", format!("{max_batch_requests} requests")),
        ]);
    }
    let row = |(title, text): (&str, String)| vec![Cell::new(Tone::Plain, title), Cell::from(text)];
    let rows: Vec<_> = lines.into_iter().map(row).collect();
    table::render(&COLUMNS, &rows, output.width, output.paint)
}
