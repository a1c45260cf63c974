//! The one place that writes to the terminal.

use std::io::{self, IsTerminal, Write};

use clap::{Args, ValueEnum};
use prost::Message;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use unicode_width::UnicodeWidthChar;

use super::Failure;
use super::json::{self, Named};

/// How results are written.
#[derive(Args, Clone, Debug)]
pub(super) struct OutputArgs {
    /// How to write the result.
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    output: Format,
    /// When to use colours; `auto` means on a terminal, unless NO_COLOR is set.
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Color::Auto)]
    color: Color,
}

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Table,
    /// The messages of the API in the JSON mapping of protobuf.
    Json,
    /// The same as YAML.
    Yaml,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

/// What a piece of text means, which is what its colour says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    #[default]
    Plain,
    Title,
    Faint,
    Good,
    Changing,
    Bad,
}

/// Looks whether whoever read the standard output is gone: for a stream that has nothing to write, and so would not find out.
pub(super) fn check_reader() -> Result<(), Failure> {
    let stdout = io::stdout();
    let mut polled = [PollFd::new(&stdout, PollFlags::empty())];
    match poll(&mut polled, Some(&Timespec::default())) {
        Ok(_) if polled[0].revents().contains(PollFlags::ERR) => Err(Failure::ReaderGone),
        // Where it cannot be told, the next line will.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Where results go, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    pub(super) format: Format,
    pub(super) paint: Paint,
    /// The terminal's width; `None` where there is none, so nothing is cut.
    pub(super) width: Option<usize>,
}

/// Colours text, or does not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint(pub(super) bool);

impl Paint {
    /// Colours on a terminal, unless NO_COLOR is set.
    pub(super) fn auto() -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(io::stdout().is_terminal() && !no_color)
    }

    pub(super) fn text(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Title => "1",
            Tone::Faint => "2",
            Tone::Good => "32",
            Tone::Changing => "33",
            Tone::Bad => "31",
        };
        if self.0 && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

impl Output {
    pub(super) fn new(args: &OutputArgs) -> Self {
        let paint = match args.color {
            Color::Auto => Paint::auto(),
            Color::Always => Paint(true),
            Color::Never => Paint(false),
        };
        Self { format: args.output, paint, width: terminal_width() }
    }

    /// Writes a message: by `table` for people, else by its JSON mapping.
    pub(super) fn message<M: Message + Named>(
        self,
        message: &M,
        table: impl FnOnce(&M) -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Table => out(&table(message)),
            Format::Json => out(&format!("{}\n", json::pretty(message)?)),
            // A document of its own, so that several can follow each other.
            Format::Yaml => out(&format!("---\n{}", json::yaml(message)?)),
        }
    }
}

/// How wide the standard output is: as COLUMNS says, or else as the terminal does; `None` where it goes to no terminal.
fn terminal_width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let terminal = || rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col));
    columns.filter(|width| *width > 0).or_else(terminal).filter(|width| *width > 0)
}

/// Writes to the standard output, at once.
pub(super) fn out(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Failure::from_stdout)
}

/// Writes a line to the standard error.
pub(super) fn note(text: &str) {
    // Where nobody hears notes, there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Text from elsewhere, made safe to show: a probed server must not be able to move the cursor or forge a line.
pub(super) fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => clean.push(' '),
            c if c.is_control() || is_directional(c) => clean.extend(c.escape_unicode()),
            c => clean.push(c),
        }
    }
    clean
}

/// Reorders what stands around it.
fn is_directional(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// How many columns the text takes.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// The text, cut with `…` where it is wider.
pub(super) fn cut(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut cut = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > most {
            break;
        }
        cut.push(c);
    }
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_elsewhere_cannot_control_the_terminal() {
        assert_eq!(clean("a\x1b[31mb\nc\u{202e}d"), "a\\u{1b}[31mb c\\u{202e}d");
    }

    #[test]
    fn wide_characters_count_double() {
        assert_eq!((width("äb"), width("日本")), (2, 4));
        assert_eq!((cut("日本語", 4), cut("日本語", 6), cut("abc", 2)), ("日…".into(), "日本語".into(), "a…".into()));
    }

    #[test]
    fn colours_are_there_only_where_asked_for() {
        assert_eq!(Paint(true).text(Tone::Bad, "x"), "\x1b[31mx\x1b[0m");
        assert_eq!(Paint(true).text(Tone::Plain, "x"), "x");
        assert_eq!(Paint(false).text(Tone::Bad, "x"), "x");
    }
}
