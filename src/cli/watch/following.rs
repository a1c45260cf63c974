//! Following a stream: where it begins, how it goes on, and where the next one is to begin.

use std::path::PathBuf;

use clap::Args;
use prost_types::Timestamp;

use super::Failure;
use super::cursor_file::CursorFile;
use super::view::View;
use crate::cli::look_back::{self, ATTEMPTS, is_overtaken};
use crate::cli::moment;
use crate::cli::output::{Format, Output, OutputArgs, note};
use crate::cli::remote::Remote;
use crate::cli::signals::Signals;
use crate::client::{Client, Error, Update, Watch as Stream};
use crate::pb::v1;
use v1::watch_tasks_request::Start;

/// Where a watch begins, and how it is shown.
#[derive(Args, Debug)]
pub(in crate::cli) struct Following {
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
    pub(in crate::cli) async fn run(
        &self,
        namespaces: bool,
        open: impl Fn(&Client, Option<Start>) -> Stream,
    ) -> Result<(), Failure> {
        let mut ended = Signals::new()?;
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
        ended: &mut Signals,
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
            let mut view = View::new(namespaces, output, since);
            match show_until_it_ends(&mut view, &mut stream, file, ended).await? {
                End::Asked => {
                    leave(&stream, output, file.as_ref());
                    return Ok(());
                }
                // It was overtaken before it had anything to show, so nothing that was shown has a gap behind it.
                End::Error(error) if is_overtaken(&error) && view.is_skipping() && attempts < ATTEMPTS => attempts += 1,
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

/// How a stream ended.
enum End {
    Asked,
    Error(Error),
}

/// Shows what comes of a stream, and keeps the place, until the stream ends or the user wants no more.
async fn show_until_it_ends(
    view: &mut View,
    stream: &mut Stream,
    file: &mut Option<CursorFile>,
    ended: &mut Signals,
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
        view.show(update, stream.cursor())?;
        note_place(file, stream)?;
    }
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

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        following: Following,
    }

    fn is_allowed(arguments: &[&str]) -> bool {
        Command::try_parse_from(["watch"].iter().chain(arguments)).is_ok()
    }

    #[test]
    fn there_is_one_place_to_begin_and_a_file_goes_with_those_of_a_first_run() {
        let refused: [&[&str]; 4] = [
            &["--cursor", "c", "--initial"],
            &["--cursor", "c", "--since", "1m"],
            &["--cursor", "c", "--cursor-file", "f"],
            &["--initial", "--since", "1m"],
        ];
        for refused in refused {
            assert!(!is_allowed(refused), "{refused:?}");
        }
        assert!(is_allowed(&["--cursor-file", "f", "--initial"]));
        assert!(is_allowed(&["--cursor-file", "f", "--since", "2026-12-01T06:00:00Z"]));
        assert!(!is_allowed(&["--since", "yesterday"]));
    }
}
