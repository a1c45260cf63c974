//! `diff`.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;
use serde_json::Value as Json;

use super::output::{Format, Output, OutputArgs, Paint, Tone, clean, note, out, width};
use super::remote::{Namespace, Remote};
use super::swap::is_ended;
use super::task_source::TaskSource;
use super::{Failure, json, words};
use crate::client::Client;
use crate::pb::v1;

/// Show what a swap would change of a task, field by field.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard diff api -f task.yaml
  switchyard diff -f task.yaml                          of the task that the file names
  switchyard diff api --tcp 127.0.0.1:5433
  switchyard diff api --to-generation 3                 what `rollback` would change

The server checks the swap and says what the task would be, defaults filled in; nothing is
changed. Compared is what runs, also while a swap is under way. As for `swap`, the annotations
stay where none are given. Exit code 0 where nothing
would change, 1 where something would, as diff(1) has it; 2 and more where it cannot be told.")]
pub(super) struct Diff {
    /// The task's name; may be left out where the file has one.
    name: Option<String>,
    /// Compare with this former generation; `history` shows them.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    to_generation: Option<u64>,
    #[command(flatten)]
    source: TaskSource,
    #[command(flatten)]
    namespace: Namespace,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    output: OutputArgs,
}

/// What a task is compared with.
enum Other {
    Task(Box<v1::Task>),
    Generation(u64),
}

/// A field that differs; `None` is one that is not set.
#[derive(Debug, PartialEq, Serialize)]
struct Difference {
    field: String,
    old: Option<Json>,
    new: Option<Json>,
}

impl Diff {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Self { name, to_generation, source, namespace, remote, output } = self;
        let output = Output::new(&output);
        let (name, other) = match (to_generation, name) {
            (Some(_), _) if !source.is_empty() => {
                return Err(Failure::Usage("give --to-generation, or what the task would be; not both".to_owned()));
            }
            (Some(_), None) => return Err(Failure::Usage("which task? give NAME".to_owned())),
            (Some(to_generation), Some(name)) => (name, Other::Generation(to_generation)),
            (None, name) => {
                let (name, task) = source.task(name)?;
                (name, Other::Task(Box::new(task)))
            }
        };
        let name = namespace.task(&name);
        let client = remote.connect().await?;
        let before = client.get(v1::GetTaskRequest { name: name.clone() }).await?.task.unwrap_or_default();
        let after = match other {
            Other::Generation(to_generation) => rolled_back(&client, name, to_generation).await?,
            Other::Task(task) => swapped(&client, name, *task, &before).await?,
        };
        if let Some(swap) = before.swap.as_ref().filter(|swap| !is_ended(swap)) {
            let (from, phase) = (before.generation, words::swap_phase(swap.phase));
            note(&format!("a swap runs ({}, {phase}); compared is generation {from}", clean(&words::swap(swap))));
        }
        let differences = differences(&before, &after.unwrap_or_default())?;
        match output.format {
            Format::Table => out(&table(&differences, output.paint))?,
            format => out(&json::document(&differences, format)?)?,
        }
        if differences.is_empty() {
            note("no difference");
            return Ok(());
        }
        Err(Failure::Negative(String::new()))
    }
}

/// The task as it would be after a swap.
async fn swapped(
    client: &Client,
    name: String,
    mut task: v1::Task,
    before: &v1::Task,
) -> Result<Option<v1::Task>, Failure> {
    if task.annotations.is_empty() {
        task.annotations = before.annotations.clone();
    }
    // A swap that runs is not in the way of what only compares.
    let request =
        v1::SwapTaskRequest { name, task: Some(task), validate_only: true, preempt: true, ..Default::default() };
    Ok(client.swap(request).await?.task)
}

/// The task as it would be after a roll-back.
async fn rolled_back(client: &Client, name: String, to_generation: u64) -> Result<Option<v1::Task>, Failure> {
    let request =
        v1::RollbackTaskRequest { name, to_generation, validate_only: true, preempt: true, ..Default::default() };
    Ok(client.rollback(request).await?.task)
}

/// What a swap may change, and would.
fn differences(before: &v1::Task, after: &v1::Task) -> Result<Vec<Difference>, Failure> {
    let (mut before, mut after) = (fields(before)?, fields(after)?);
    let names: Vec<_> =
        before.keys().chain(after.keys()).cloned().collect::<std::collections::BTreeSet<_>>().into_iter().collect();
    let each = names.into_iter().map(|field| {
        let (old, new) = (before.remove(&field), after.remove(&field));
        Difference { field, old, new }
    });
    Ok(each.filter(|difference| difference.old != difference.new).collect())
}

fn fields(task: &v1::Task) -> Result<BTreeMap<String, Json>, Failure> {
    let swappable = v1::Task { annotations: task.annotations.clone(), spec: task.spec.clone(), ..v1::Task::default() };
    let mut fields = BTreeMap::new();
    flatten(String::new(), serde_json::to_value(json::dynamic(&swappable)?).map_err(json::local)?, &mut fields);
    Ok(fields)
}

/// The leaves, by their paths: `spec.http.headers[0].value`.
fn flatten(path: String, value: Json, into: &mut BTreeMap<String, Json>) {
    match value {
        Json::Object(map) if !map.is_empty() || path.is_empty() => {
            for (key, value) in map {
                let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                flatten(path, value, into);
            }
        }
        Json::Array(items) if !items.is_empty() => {
            for (n, value) in items.into_iter().enumerate() {
                flatten(format!("{path}[{n}]"), value, into);
            }
        }
        leaf => drop(into.insert(path, leaf)),
    }
}

/// `spec.schedule.interval  30s → 5s`, each on its line.
fn table(differences: &[Difference], paint: Paint) -> String {
    let widest = differences.iter().map(|difference| width(&difference.field)).max().unwrap_or(0);
    let mut text = String::new();
    for Difference { field, old, new } in differences {
        let field = clean(field);
        let gap = " ".repeat(widest.saturating_sub(width(&field)) + 2);
        let (old, new) = (paint.text(Tone::Bad, &shown(old.as_ref())), paint.text(Tone::Good, &shown(new.as_ref())));
        text += &format!("{}{gap}{old} → {new}\n", paint.text(Tone::Title, &field));
    }
    text
}

/// A value on one line; what is not set is a dash, and a text that could be taken for something else is quoted.
fn shown(value: Option<&Json>) -> String {
    match value {
        None => "-".to_owned(),
        Some(Json::String(text)) if !text.is_empty() && text != "-" && text.trim() == text => clean(text),
        Some(other) => clean(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use v1::task_spec::Monitor;

    fn task(url: &str, statuses: &[&str], note: Option<&str>) -> v1::Task {
        let expected_status = statuses.iter().map(|status| (*status).to_owned()).collect();
        let http = v1::HttpMonitor { url: url.to_owned(), expected_status, ..Default::default() };
        let interval = Some(prost_types::Duration { seconds: 30, nanos: 0 });
        let schedule = Some(v1::Schedule { interval, ..Default::default() });
        let spec = v1::TaskSpec { monitor: Some(Monitor::Http(http)), schedule, ..Default::default() };
        let annotations = note.map(|note| ("note".to_owned(), note.to_owned())).into_iter().collect();
        // What a swap leaves as it is differs, too, and is none of a diff's business.
        v1::Task { uid: url.to_owned(), spec: Some(spec), annotations, ..Default::default() }
    }

    #[test]
    fn every_field_that_differs_has_its_line_and_nothing_else() {
        let before = task("http://a", &["200-299"], None);
        let mut after = task("http://b", &["200-299", "404"], Some("new"));
        after.spec.as_mut().expect("set").schedule = None;
        let text = table(&differences(&before, &after).expect("told"), Paint(false));
        let expected = "\
annotations.note             - → new
spec.http.expectedStatus[1]  - → 404
spec.http.url                http://a → http://b
spec.schedule.interval       30s → -
";
        assert_eq!(text, expected, "{text}");
        assert_eq!(differences(&before, &task("http://a", &["200-299"], None)).expect("told"), []);
    }

    #[test]
    fn another_kind_of_monitor_is_one_field_for_another() {
        let mut after = task("http://a", &[], None);
        let tcp = v1::TcpMonitor { address: "a:1".to_owned(), steps: Vec::new() };
        after.spec.as_mut().expect("set").monitor = Some(Monitor::Tcp(tcp));
        let found = differences(&task("http://a", &[], None), &after).expect("told");
        let fields: Vec<_> = found.iter().map(|difference| difference.field.as_str()).collect();
        assert_eq!(fields, ["spec.http.url", "spec.tcp.address"]);
        let written = json::document(&found, Format::Json).expect("written");
        assert!(written.contains(r#"{"field":"spec.tcp.address","old":null,"new":"a:1"}"#), "{written}");
    }

    #[test]
    fn values_cannot_be_taken_for_others_nor_move_the_cursor() {
        let text = |text: &str| shown(Some(&Json::from(text)));
        assert_eq!((text(""), text("-"), text(" a")), ("\"\"".into(), "\"-\"".into(), "\" a\"".into()));
        assert_eq!((text("a b"), shown(None), shown(Some(&Json::from(3)))), ("a b".into(), "-".into(), "3".into()));
        assert!(!text("a\u{1b}[31m").contains('\u{1b}'));
    }
}
