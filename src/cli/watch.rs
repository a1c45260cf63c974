//! `watch`.

use clap::Args;
use prost::Message;
use serde::Serialize;
use serde::ser::SerializeMap;
use tokio::signal::unix::{SignalKind, signal};

use super::json::{self, Named, local};
use super::output::{Format, Output, OutputArgs, check_reader, note, out};
use super::remote::{Remote, Scope};
use super::{Failure, event_view, words};
use crate::client::{Update, Watch as Stream};
use crate::pb::v1;
use v1::watch_tasks_request::Start;

/// Follow what happens to tasks: a line for each event, as it comes.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard watch
  switchyard watch api --initial
  switchyard watch -A --filter 'labels.team = core AND type = ALERT_RAISED'
  switchyard watch -o json | jq 'select(.event.type == \"EVENT_TYPE_TASK_ENDED\")'
  switchyard watch --cursor CURSOR            go on where an earlier watch ended

After a lost connection it goes on from where it was: nothing is lost, nothing repeated. Where
the server no longer has what comes next, it says so (OUT_OF_RANGE, exit code 5).

With -o json each line is an object with one key: event, task (of the initial state),
initialComplete, or cursor (where to go on after what stands above).

A filter is `field (= | != | :) value`, joined by AND. Fields: name (exact, or a prefix ending
in *), labels.KEY (:* for present), type.")]
pub(super) struct Watch {
    /// Only this task.
    name: Option<String>,
    /// Only what matches.
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    filter: String,
    /// Begin with the tasks as they are.
    #[arg(long)]
    initial: bool,
    /// Begin right after this cursor, instead of now.
    #[arg(long, conflicts_with = "initial")]
    cursor: Option<String>,
    /// Have each event carry the task as it stood after it.
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    output: OutputArgs,
}

impl Watch {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let output = Output::new(&self.output);
        let mut interrupt = signal(SignalKind::interrupt()).map_err(local)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(local)?;
        let mut stream = self.remote.connect().await?.watch(self.request()?);
        loop {
            let update = tokio::select! {
                update = stream.next() => Some(update),
                _ = interrupt.recv() => None,
                _ = terminate.recv() => None,
            };
            let Some(update) = update else {
                leave(&stream, output);
                return Ok(());
            };
            match update {
                Ok(update) => self.show(update, &stream, output)?,
                Err(error) => {
                    if error.reason == "CURSOR_EXPIRED" {
                        note("there is a gap: the server no longer has what comes next; watch anew, with --initial");
                    }
                    return Err(error.into());
                }
            }
        }
    }

    fn request(&self) -> Result<v1::WatchTasksRequest, Failure> {
        let name = self.name.as_ref().map(|name| self.scope.namespace.task(name));
        // A full name lies in its own namespace, whatever the flags say.
        let parent = name.as_deref().and_then(|name| name.split_once("/tasks/")).map(|(parent, _)| parent.to_owned());
        let named = name.map(|name| format!("name = \"{name}\""));
        let terms: Vec<_> = named.into_iter().chain((!self.filter.is_empty()).then(|| self.filter.clone())).collect();
        if self.name.is_some() && self.scope.all_namespaces {
            return Err(Failure::Usage("a name lies in one namespace; leave out -A, or use --filter".to_owned()));
        }
        Ok(v1::WatchTasksRequest {
            parent: parent.unwrap_or_else(|| self.scope.parent()),
            filter: terms.join(" AND "),
            start: match (&self.cursor, self.initial) {
                (Some(cursor), _) => Some(Start::Cursor(cursor.clone())),
                (None, true) => Some(Start::SendInitialState(true)),
                (None, false) => None,
            },
            view: if self.full { v1::EventView::Full } else { v1::EventView::Basic }.into(),
        })
    }

    fn show(&self, update: Update, stream: &Stream, output: Output) -> Result<(), Failure> {
        match update {
            Update::Frame { events, tasks, initial_complete } => {
                let text = match output.format {
                    Format::Table => self.lines(&events, &tasks, output),
                    Format::Json | Format::Yaml => {
                        documents(&events, &tasks, initial_complete, stream.cursor(), output.format)?
                    }
                };
                if text.is_empty() { check_reader() } else { out(&text) }
            }
            Update::Lost { error, retry_in } => {
                let words = super::output::clean(&error.message);
                note(&format!("{words}; trying again in {}", words::rough(retry_in)));
                Ok(())
            }
            Update::Resumed { anew: false } => {
                note("the stream stands again; nothing was missed");
                Ok(())
            }
            Update::Resumed { anew: true } => {
                note("the stream stands again; the initial state follows anew");
                Ok(())
            }
        }
    }

    fn lines(&self, events: &[v1::Event], tasks: &[v1::Task], output: Output) -> String {
        let namespaces = self.scope.all_namespaces;
        let tasks = tasks.iter().map(|task| event_view::initial(task, namespaces, output.paint));
        let events = events.iter().map(|event| event_view::line(event, namespaces, output.paint));
        tasks.chain(events).map(|line| line + "\n").collect()
    }
}

/// Ends the watch at the user's wish, and says how to go on.
fn leave(stream: &Stream, output: Output) {
    if let (Format::Table, Some(cursor)) = (output.format, stream.cursor()) {
        note(&format!("to go on from here: --cursor {cursor}"));
    }
}

/// An object with one key.
struct Entry<'a, T>(&'a str, T);

impl<T: Serialize> Serialize for Entry<'_, T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.0, &self.1)?;
        map.end()
    }
}

fn documents(
    events: &[v1::Event],
    tasks: &[v1::Task],
    initial_complete: bool,
    cursor: Option<&str>,
    format: Format,
) -> Result<String, Failure> {
    let mut text = String::new();
    for task in tasks {
        text += &message("task", task, format)?;
    }
    for event in events {
        text += &message("event", event, format)?;
    }
    if initial_complete {
        text += &document(&Entry("initialComplete", true), format)?;
    }
    if let Some(cursor) = cursor {
        text += &document(&Entry("cursor", cursor), format)?;
    }
    Ok(text)
}

fn message<M: Message + Named>(key: &str, message: &M, format: Format) -> Result<String, Failure> {
    document(&Entry(key, json::dynamic(message)?), format)
}

fn document(document: &impl Serialize, format: Format) -> Result<String, Failure> {
    match format {
        Format::Yaml => Ok(format!("---\n{}", serde_saphyr::to_string(document).map_err(local)?)),
        Format::Table | Format::Json => Ok(serde_json::to_string(document).map_err(local)? + "\n"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        watch: Watch,
    }

    fn request(arguments: &[&str]) -> Result<v1::WatchTasksRequest, Failure> {
        Command::try_parse_from(["watch"].iter().chain(arguments)).expect("parses").watch.request()
    }

    #[test]
    fn a_name_becomes_a_filter_in_its_own_namespace() {
        let named = request(&["api", "-n", "prod", "--filter", "type = TASK_ENDED"]).expect("valid");
        assert_eq!(named.parent, "namespaces/prod");
        assert_eq!(named.filter, "name = \"namespaces/prod/tasks/api\" AND type = TASK_ENDED");
        assert_eq!(request(&["namespaces/a/tasks/b"]).expect("valid").parent, "namespaces/a");
        let all = request(&["-A", "--initial", "--full"]).expect("valid");
        assert_eq!((all.parent.as_str(), all.filter.as_str()), ("namespaces/-", ""));
        assert_eq!((all.start, all.view), (Some(Start::SendInitialState(true)), v1::EventView::Full.into()));
        assert!(matches!(request(&["api", "-A"]), Err(Failure::Usage(_))));
    }

    #[test]
    fn json_has_one_object_with_one_key_a_line() {
        let event = v1::Event { sequence: 7, r#type: v1::EventType::TaskEnded.into(), ..v1::Event::default() };
        let text = documents(&[event], &[v1::Task::default()], true, Some("c7"), Format::Json).expect("written");
        let expected = "{\"task\":{}}\n{\"event\":{\"sequence\":\"7\",\"type\":\"EVENT_TYPE_TASK_ENDED\"}}\n\
                        {\"initialComplete\":true}\n{\"cursor\":\"c7\"}\n";
        assert_eq!(text, expected);
    }
}
