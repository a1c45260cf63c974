//! `watch`.

mod cursor_file;
mod documents;

use std::collections::HashMap;
use std::path::PathBuf;

use clap::Args;
use prost_types::Timestamp;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::json::local;
use super::look_back::{self, ATTEMPTS, Skip, is_overtaken};
use super::output::{Format, Output, OutputArgs, check_reader, clean, note, out};
use super::remote::Remote;
use super::selection::Selection;
use super::{Failure, event_view, moment, words};
use crate::client::{Client, Error, Update, Watch as Stream};
use crate::pb::v1;
use cursor_file::CursorFile;
use v1::watch_tasks_request::Start;

/// Follow what happens to tasks: a line for each event, as it comes.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard watch
  switchyard watch api --initial
  switchyard watch --since 10m                what has happened, then what happens
  switchyard watch -A --filter 'labels.team = core AND type = ALERT_RAISED'
  switchyard watch -o json | jq 'select(.event.type == \"EVENT_TYPE_TASK_ENDED\")'
  switchyard watch --cursor CURSOR            go on where an earlier watch ended
  switchyard watch --cursor-file api.cursor   the same by itself, run after run

After a lost connection it goes on from where it was: nothing is lost, nothing repeated. Where
the server no longer has what comes next, it says so (OUT_OF_RANGE, exit code 5).

A cursor file is for one watch at a time. Ended by SIGINT or SIGTERM, the next run goes on with
exactly the next event, also when the server has been restarted in between (with a durable store).
Ended otherwise (kill -9, a reader that goes away), events since the last save come again, a
quarter of a second of them at the most, and none is missed. While there is no file yet, the watch
begins now, or as --initial or --since say.

With -o json each line is an object with one key: event, task (of the initial state),
initialComplete, or cursor (where to go on after what stands above).

A filter is `field (= | != | :) value`, joined by AND. Fields: name (exact, or a prefix ending
in *), labels.KEY (:* for present), type.")]
pub(super) struct Watch {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    following: Following,
}

impl Watch {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let namespaces = self.selection.which.scope.all_namespaces;
        let request = self.selection.request()?;
        self.following
            .run(namespaces, |client, start| client.watch(v1::WatchTasksRequest { start, ..request.clone() }))
            .await
    }
}

/// Where a watch begins, and how it is shown.
#[derive(Args, Debug)]
pub(super) struct Following {
    /// Begin with how all is now.
    #[arg(long)]
    initial: bool,
    /// Begin right after this cursor, instead of now.
    #[arg(long, conflicts_with_all = ["initial", "since", "cursor_file"])]
    cursor: Option<String>,
    /// Begin with what has happened since: a duration back from now by this machine's clock, or a time, as
    /// 2026-12-01T06:00:00Z.
    #[arg(long, value_name = "WHEN", value_parser = moment::back, conflicts_with = "initial")]
    since: Option<Timestamp>,
    /// Begin where the last run with this file has ended, and keep the place in it.
    #[arg(long, value_name = "FILE")]
    cursor_file: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    output: OutputArgs,
}

impl Following {
    /// Follows a stream that begins where it is told to, until it is asked to end. Names stand in full where several namespaces are
    /// shown.
    pub(super) async fn run(
        &self,
        namespaces: bool,
        open: impl Fn(&Client, Option<Start>) -> Stream,
    ) -> Result<(), Failure> {
        let mut ended = Asked::listen()?;
        let mut file = self.cursor_file.as_deref().map(CursorFile::open).transpose()?;
        let client = self.remote.connect().await?;
        let open = |start| open(&client, start);
        let followed = self.follow(&client, namespaces, open, &mut file, &mut ended).await;
        // Whatever it ended by, what has been shown is on record.
        followed.and(file.as_mut().map_or(Ok(()), CursorFile::save))
    }

    async fn follow(
        &self,
        client: &Client,
        namespaces: bool,
        open: impl Fn(Option<Start>) -> Stream,
        file: &mut Option<CursorFile>,
        ended: &mut Asked,
    ) -> Result<(), Failure> {
        let output = Output::new(&self.output);
        // A place that is known wins over where a first run is to begin.
        let known = file.as_ref().and_then(CursorFile::cursor).or(self.cursor.as_deref()).map(str::to_owned);
        let since = self.since.filter(|_| known.is_none());
        let mut attempts = 1;
        loop {
            let start = match &known {
                Some(cursor) => Some(Start::Cursor(cursor.clone())),
                None => self.start(client).await?,
            };
            let mut stream = open(start);
            let mut view = View { namespaces, output, skip: Skip::until(since), stood: HashMap::new() };
            match view.follow(&mut stream, file, ended).await? {
                End::Asked => {
                    leave(&stream, output, file.as_ref());
                    return Ok(());
                }
                // It was overtaken before it had anything to show, so nothing that was shown has a gap behind it.
                End::Error(error) if is_overtaken(&error) && view.skip.is_skipping() && attempts < ATTEMPTS => {
                    attempts += 1
                }
                End::Error(error) => {
                    explain(&error, file.as_ref());
                    return Err(error.into());
                }
            }
        }
    }

    /// Where to begin when no place is known.
    async fn start(&self, client: &Client) -> Result<Option<Start>, Failure> {
        Ok(match &self.since {
            Some(since) => Some(Start::Cursor(look_back::kept(client, Some(since)).await?.oldest)),
            None => self.initial.then_some(Start::SendInitialState(true)),
        })
    }
}

/// What asks a watch to end.
pub(super) struct Asked {
    interrupt: Signal,
    terminate: Signal,
}

impl Asked {
    pub(super) fn listen() -> Result<Self, Failure> {
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(local)
}

/// How a stream ended.
enum End {
    Asked,
    Error(Error),
}

/// One stream, as it is shown.
struct View {
    namespaces: bool,
    output: Output,
    skip: Skip,
    /// How each circuit stood when that was last told.
    stood: HashMap<String, String>,
}

impl View {
    async fn follow(
        &mut self,
        stream: &mut Stream,
        file: &mut Option<CursorFile>,
        ended: &mut Asked,
    ) -> Result<End, Failure> {
        loop {
            let update = tokio::select! {
                update = stream.next() => update,
                () = ended.next() => return Ok(End::Asked),
                Some(()) = due(file.as_ref()) => {
                    file.as_mut().map_or(Ok(()), CursorFile::save)?;
                    continue;
                }
            };
            let update = match update {
                Ok(update) => update,
                Err(error) => return Ok(End::Error(error)),
            };
            if matches!(&update, Update::Frame { events, .. } if events.is_empty()) {
                // There is nothing to be shown first; and before anybody knows of the place, it is on record.
                note_place(file, stream)?;
            }
            self.show(update, stream)?;
            note_place(file, stream)?;
        }
    }

    fn show(&mut self, update: Update, stream: &Stream) -> Result<(), Failure> {
        match update {
            Update::Frame { mut events, tasks, mut circuits, initial_complete } => {
                let was_empty = events.is_empty();
                self.skip.pass_over(&mut events);
                if events.is_empty() && !was_empty {
                    return check_reader();
                }
                if self.skip.is_skipping() {
                    circuits.clear();
                }
                let shown = Shown { events, tasks, circuits, initial_complete };
                let text = match self.output.format {
                    Format::Table => self.lines(&shown),
                    Format::Json | Format::Yaml => documents::frame(&shown, stream.cursor(), self.output.format)?,
                };
                if text.is_empty() { check_reader() } else { out(&text) }
            }
            Update::Lost { error, retry_in } => {
                note(&format!("{}; trying again in {}", clean(&error.message), words::rough(retry_in)));
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

    fn lines(&mut self, shown: &Shown) -> String {
        let Self { namespaces, output: Output { paint, .. }, .. } = *self;
        let Shown { events, tasks, circuits, initial_complete: _ } = shown;
        let tasks = tasks.iter().map(|task| event_view::initial(task, namespaces, paint));
        let mut lines: Vec<_> = tasks.collect();
        let mut rest = events.as_slice();
        for circuit in circuits {
            // Both are in the log's order, and each event of a circuit has its circuit. So one that is not the next such event's stood so
            // before it; but for a task that has the name of a deleted one, that was deleted first.
            let next = rest.iter().position(|event| matches!(event.detail, Some(v1::event::Detail::Circuit(_))));
            let until = match next.filter(|place| shows(&rest[*place], circuit)) {
                Some(place) => Some(place),
                None => rest[..next.unwrap_or(rest.len())].iter().rposition(|event| deletes_before(event, circuit)),
            };
            if let Some(place) = until {
                let (told, later) = rest.split_at(place + 1);
                lines.extend(self.told(told));
                rest = later;
            }
            if until.is_none() || until != next {
                // A pause has several events, which leave the circuit as it is.
                let line = event_view::circuit(circuit, namespaces, paint);
                if self.stood.insert(circuit.name.clone(), line.clone()).as_ref() != Some(&line) {
                    lines.push(line);
                }
            }
        }
        lines.extend(self.told(rest));
        lines.into_iter().map(|line| line + "\n").collect()
    }

    fn told(&mut self, events: &[v1::Event]) -> Vec<String> {
        for event in events.iter().filter(|event| event.r#type() == v1::EventType::TaskDeleted) {
            self.stood.remove(&event.name);
        }
        events.iter().map(|event| event_view::line(event, self.namespaces, self.output.paint)).collect()
    }
}

/// Whether an event says that a task is gone whose name the circuit's has.
fn deletes_before(event: &v1::Event, circuit: &v1::Circuit) -> bool {
    event.r#type() == v1::EventType::TaskDeleted && event.name == circuit.name && event.uid != circuit.task_uid
}

/// Whether an event shows this circuit, which bears what no event does.
fn shows(event: &v1::Event, circuit: &v1::Circuit) -> bool {
    let Some(v1::event::Detail::Circuit(shown)) = &event.detail else { return false };
    (&event.name, shown.epoch, shown.r#override, shown.suspended, &shown.override_time)
        == (&circuit.name, circuit.epoch, circuit.r#override, circuit.suspended, &circuit.override_time)
}

/// What there is to show of a frame.
struct Shown {
    events: Vec<v1::Event>,
    tasks: Vec<v1::Task>,
    circuits: Vec<v1::Circuit>,
    initial_complete: bool,
}

/// Notes how far the stream has come. The first place is saved at once: without a file the next run would begin elsewhere.
fn note_place(file: &mut Option<CursorFile>, stream: &Stream) -> Result<(), Failure> {
    let Some((file, cursor)) = file.as_mut().zip(stream.cursor()) else { return Ok(()) };
    file.note(cursor);
    if file.is_new() { file.save() } else { Ok(()) }
}

/// Waits until the file is to be saved; `None` where there is none.
async fn due(file: Option<&CursorFile>) -> Option<()> {
    file?.due().await;
    Some(())
}

/// Ends the watch at the user's wish, and says how to go on.
fn leave(stream: &Stream, output: Output, file: Option<&CursorFile>) {
    if let (Format::Table, None, Some(cursor)) = (output.format, file, stream.cursor()) {
        note(&format!("to go on from here: --cursor {cursor}"));
    }
}

/// What to do about a place that leads nowhere.
fn explain(error: &Error, file: Option<&CursorFile>) {
    match (error.reason.as_str(), file.map(|file| file.path().display())) {
        ("CURSOR_EXPIRED", None) => {
            note("there is a gap: the server no longer has what comes next; watch anew, with --initial");
        }
        ("CURSOR_EXPIRED", Some(file)) => note(&format!(
            "there is a gap: the server no longer has what comes after the cursor in {file} (retention has passed it, or the \
             store is another one); delete {file} to go on without what was missed, with --initial or --since to catch up"
        )),
        ("CURSOR_INVALID", Some(file)) => note(&format!("{file} does not hold a cursor; delete it to begin now")),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::output::Paint;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        watch: Watch,
    }

    fn parsed(arguments: &[&str]) -> Option<Watch> {
        Command::try_parse_from(["watch"].iter().chain(arguments)).ok().map(|command| command.watch)
    }

    fn request(arguments: &[&str]) -> Result<v1::WatchTasksRequest, Failure> {
        parsed(arguments).expect("parses").selection.request()
    }

    #[test]
    fn a_name_becomes_a_filter_in_its_own_namespace() {
        let named = request(&["api", "-n", "prod", "--filter", "type = TASK_ENDED"]).expect("valid");
        assert_eq!(named.parent, "namespaces/prod");
        assert_eq!(named.filter, "type = TASK_ENDED AND name = \"namespaces/prod/tasks/api\"");
        assert_eq!(request(&["namespaces/a/tasks/b"]).expect("valid").parent, "namespaces/a");
        let all = request(&["-A", "--initial", "--full"]).expect("valid");
        assert_eq!((all.parent.as_str(), all.filter.as_str()), ("namespaces/-", ""));
        assert_eq!((all.start, all.view), (None, v1::EventView::Full.into()));
        assert!(matches!(request(&["api", "-A"]), Err(Failure::Usage(_))));
    }

    #[test]
    fn a_circuit_has_a_line_unless_an_event_tells_of_it_and_stands_in_the_logs_order() {
        let circuit = |epoch, suspended| v1::Circuit {
            name: "namespaces/default/tasks/api".to_owned(),
            state: v1::CircuitState::Open.into(),
            epoch,
            suspended,
            ..v1::Circuit::default()
        };
        let tripped = v1::Event {
            r#type: v1::EventType::CircuitTripped.into(),
            name: "namespaces/default/tasks/api".to_owned(),
            detail: Some(v1::event::Detail::Circuit(circuit(2, false))),
            ..v1::Event::default()
        };
        let shown = |circuits: Vec<v1::Circuit>, events| {
            let output = Output { format: Format::Table, paint: Paint(false), width: None };
            let mut view = View { namespaces: false, output, skip: Skip::until(None), stood: HashMap::new() };
            let text = view.lines(&Shown { events, tasks: Vec::new(), circuits, initial_complete: false });
            let stands = |line: &str| if line.contains("(has stood since)") { "stands" } else { "event" };
            text.lines().map(stands).collect::<Vec<_>>()
        };
        // As the server sends it, with what calls are to bear.
        let told = v1::Circuit { token: "t".to_owned(), ..circuit(2, false) };
        assert_eq!(shown(vec![told.clone()], vec![tripped.clone()]), ["event"]);
        assert_eq!(shown(vec![told.clone(), circuit(2, true)], vec![tripped.clone()]), ["event", "stands"]);
        assert_eq!(shown(vec![circuit(1, true), told], vec![tripped.clone()]), ["stands", "event"]);
        assert_eq!(shown(vec![circuit(1, false)], vec![]), ["stands"]);
        assert_eq!(shown(vec![], vec![tripped.clone()]), ["event"]);
        let again = v1::Event { detail: Some(v1::event::Detail::Circuit(circuit(4, false))), ..tripped.clone() };
        let stands = [circuit(2, false), circuit(3, true), circuit(3, true), circuit(4, false)];
        assert_eq!(shown(stands.to_vec(), vec![tripped.clone(), again]), ["event", "stands", "event"], "each once");
        // The one of before is told by no event here; and none of after is mistaken for it.
        assert_eq!(shown(vec![circuit(4, false), circuit(2, false)], vec![tripped]), ["stands", "event"]);
        let deleted = v1::Event {
            r#type: v1::EventType::TaskDeleted.into(),
            name: circuit(0, false).name,
            uid: "old".to_owned(),
            ..v1::Event::default()
        };
        let of = |uid: &str, epoch| v1::Circuit { task_uid: uid.to_owned(), ..circuit(epoch, true) };
        assert_eq!(shown(vec![of("old", 5), of("new", 1)], vec![deleted]), ["stands", "event", "stands"]);
    }

    #[test]
    fn there_is_one_place_to_begin_and_a_file_goes_with_those_of_a_first_run() {
        for refused in [
            ["--cursor", "c", "--initial", "--full"],
            ["--cursor", "c", "--since", "1m"],
            ["--cursor", "c", "--cursor-file", "f"],
            ["--initial", "--full", "--since", "1m"],
        ] {
            assert!(parsed(&refused).is_none(), "{refused:?}");
        }
        assert!(parsed(&["--cursor-file", "f", "--initial"]).is_some());
        assert!(parsed(&["--cursor-file", "f", "--since", "2026-12-01T06:00:00Z"]).is_some());
        assert!(parsed(&["--since", "yesterday"]).is_none());
    }
}
