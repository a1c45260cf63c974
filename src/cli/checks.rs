//! `checks`.

use std::time::SystemTime;

use clap::Args;

use super::json::{self, Entry};
use super::output::{Format, Output, OutputArgs, Paint, Tone, check_reader, clean, note, out};
use super::remote::Remote;
use super::selection::Which;
use super::signals::Signals;
use super::table::{self, Cell, Column};
use super::{Failure, read, words};
use crate::client::{CheckUpdate, Client};
use crate::pb::v1;

const COLUMNS: [Column; 6] = [
    Column { title: "NAMESPACE", rank: 1, least: Some(8) },
    Column { title: "NAME", rank: 0, least: Some(16) },
    Column { title: "CHECK", rank: 0, least: None },
    Column { title: "AGE", rank: 2, least: None },
    Column { title: "NEXT", rank: 4, least: None },
    Column { title: "MESSAGE", rank: 3, least: Some(20) },
];

/// Show what checks find: the last one of each task, or all as they come.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard checks api
  switchyard checks api --follow
  switchyard checks -A --filter 'labels.team = core' --follow
  switchyard checks --filter 'circuit.state = OPEN'
  switchyard checks api --follow -o json | jq -r 'select(.check) | .check.check.verdict'

--follow is a live tail, best effort: where this end is too slow, or the connection is lost, results
are dropped, and it says how many, of all tasks, or that it does not know. Events are what misses
nothing: see `switchyard watch`. With -o json each line of a tail is an object with one key: check
or dropped.

A filter is that of `switchyard list`.")]
pub(super) struct Checks {
    #[command(flatten)]
    which: Which,
    /// Show what checks find as they end, until it is interrupted.
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    output: OutputArgs,
}

impl Checks {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let output = Output::new(&self.output);
        let (parent, filter) = self.which.terms()?;
        let client = self.remote.connect().await?;
        if let Some(name) = self.which.name() {
            // A filter would only find nothing, whether there is such a task or not.
            client.get(v1::GetTaskRequest { name }).await?;
        }
        if self.follow {
            self.tail(&client, parent, filter, output).await
        } else {
            self.last(&client, &parent, &filter, output).await
        }
    }

    /// Shows the last check of each.
    async fn last(&self, client: &Client, parent: &str, filter: &str, output: Output) -> Result<(), Failure> {
        let tasks = match self.which.name() {
            Some(name) if self.which.takes_all() => {
                client.get(v1::GetTaskRequest { name }).await?.task.into_iter().collect()
            }
            _ => read::tasks(client, parent, filter, None).await?.items,
        };
        let last = v1::WatchChecksResponse { checks: tasks.iter().filter_map(last).collect(), dropped: 0 };
        let namespaces = self.which.scope.all_namespaces;
        output.message(&last, |last| match last.checks.as_slice() {
            [] => String::new(),
            checks => listed(checks, &tasks, namespaces, output, SystemTime::now()),
        })?;
        if last.checks.is_empty() {
            note("no checks yet");
        }
        Ok(())
    }

    /// Shows checks as they come, until it is asked to end.
    async fn tail(&self, client: &Client, parent: String, filter: String, output: Output) -> Result<(), Failure> {
        let mut ended = Signals::new()?;
        let request = match self.which.name() {
            Some(name) if self.which.takes_all() => v1::WatchChecksRequest { name, ..Default::default() },
            _ => v1::WatchChecksRequest { name: String::new(), parent, filter },
        };
        let namespaces = self.which.scope.all_namespaces;
        let mut checks = client.watch_checks(request);
        loop {
            let update = tokio::select! {
                update = checks.next() => update?,
                () = ended.next() => return Ok(()),
            };
            match update {
                CheckUpdate::Frame(frame) => {
                    let text = match output.format {
                        Format::Table => lines(&frame, namespaces, output.paint),
                        Format::Json | Format::Yaml => documents(&frame, output.format)?,
                    };
                    if text.is_empty() { check_reader()? } else { out(&text)? }
                }
                CheckUpdate::Lost { error, retry_in } => {
                    note(&format!("{}; trying again in {}", clean(&error.message), words::rough(retry_in)));
                }
                CheckUpdate::Resumed => note("the stream stands again; what checks found in between is not known"),
            }
        }
    }
}

/// The newest check of a task that has made one.
fn last(task: &v1::Task) -> Option<v1::CheckRecord> {
    let check = task.live.as_ref()?.last_check.clone()?;
    let generation = task.instance.as_ref().map_or(task.generation, |instance| instance.generation);
    Some(v1::CheckRecord {
        name: task.name.clone(),
        uid: task.uid.clone(),
        generation,
        shadow: false,
        check: Some(check),
    })
}

fn listed(checks: &[v1::CheckRecord], tasks: &[v1::Task], namespaces: bool, output: Output, now: SystemTime) -> String {
    let first = usize::from(!namespaces);
    let checked = tasks.iter().filter(|task| task.live.as_ref().is_some_and(|live| live.last_check.is_some()));
    let rows: Vec<_> =
        checks.iter().zip(checked).map(|(record, task)| row(record, task, now).split_off(first)).collect();
    table::render(&COLUMNS[first..], &rows, output.width, output.paint)
}

fn row(record: &v1::CheckRecord, task: &v1::Task, now: SystemTime) -> Vec<Cell> {
    let check = record.check.clone().unwrap_or_default();
    let next = task.live.as_ref().and_then(|live| live.next_check_time.as_ref());
    let next = words::between(Some(&now.into()), next).map(|left| format!("in {}", words::rough_seconds(left)));
    let or_dash = |text: String| Cell::from(if text.is_empty() { "-".to_owned() } else { text });
    vec![
        words::namespace(&record.name).to_owned().into(),
        words::id(&record.name).to_owned().into(),
        Cell::new(words::verdict_tone(check.verdict), &words::check(&check)),
        or_dash(words::age(check.time.as_ref(), now).unwrap_or_default()),
        or_dash(next.unwrap_or_default()),
        or_dash(check.message),
    ]
}

/// A line for each result, below one for those that were dropped.
fn lines(frame: &v1::WatchChecksResponse, namespaces: bool, paint: Paint) -> String {
    let dropped = (frame.dropped > 0).then(|| paint.text(Tone::Changing, &format!("… {} dropped", frame.dropped)));
    let checks = frame.checks.iter().map(|record| line(record, namespaces, paint));
    dropped.into_iter().chain(checks).map(|line| line + "\n").collect()
}

/// `2026-11-22T10:00:00.000Z  api  FAIL STATUS in 3.2ms: 503 Service Unavailable`.
fn line(record: &v1::CheckRecord, namespaces: bool, paint: Paint) -> String {
    let v1::CheckRecord { name, generation, shadow, check, uid: _ } = record;
    let check = check.clone().unwrap_or_default();
    let time = check.time.as_ref().map(words::time).unwrap_or_default();
    let name = if namespaces { name.as_str() } else { words::id(name) };
    let found = paint.text(words::verdict_tone(check.verdict), &clean(&words::check(&check)));
    let message = if check.message.is_empty() { String::new() } else { format!(": {}", clean(&check.message)) };
    let whose = if *shadow { format!("  (generation {generation}, which drives nothing)") } else { String::new() };
    format!("{}  {}  {found}{message}{whose}", paint.text(Tone::Faint, &time), clean(name))
}

fn documents(frame: &v1::WatchChecksResponse, format: Format) -> Result<String, Failure> {
    let mut text = String::new();
    if frame.dropped > 0 {
        text += &json::document(&Entry("dropped", frame.dropped), format)?;
    }
    for record in &frame.checks {
        text += &json::keyed("check", record, format)?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> v1::WatchChecksResponse {
        let check = v1::Check {
            time: Some(prost_types::Timestamp { seconds: 1_795_341_600, nanos: 0 }),
            duration: Some(prost_types::Duration { seconds: 0, nanos: 3_200_000 }),
            verdict: v1::Verdict::Fail.into(),
            reason: "STATUS".to_owned(),
            message: "503\nService Unavailable".to_owned(),
            ..v1::Check::default()
        };
        let name = "namespaces/default/tasks/api".to_owned();
        let record = v1::CheckRecord { name, generation: 2, check: Some(check), ..Default::default() };
        let shadow = v1::CheckRecord { shadow: true, ..record.clone() };
        v1::WatchChecksResponse { checks: vec![record, shadow], dropped: 7 }
    }

    #[test]
    fn a_tail_has_a_line_for_each_result_and_says_what_was_dropped() {
        let found = "2026-11-22T10:00:00.000Z  api  FAIL STATUS in 3.2ms: 503 Service Unavailable";
        let expected = format!("… 7 dropped\n{found}\n{found}  (generation 2, which drives nothing)\n");
        assert_eq!(lines(&frame(), false, Paint(false)), expected);
        assert_eq!(lines(&v1::WatchChecksResponse::default(), false, Paint(false)), "");
    }

    #[test]
    fn programs_get_an_object_for_each_result_and_one_for_what_was_dropped() {
        let text = documents(&frame(), Format::Json).expect("written");
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("{\"dropped\":7}"));
        assert!(lines.all(|line| line.starts_with("{\"check\":{\"name\":\"namespaces/default/tasks/api\"")), "{text}");
    }
}
