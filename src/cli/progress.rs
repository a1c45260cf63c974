//! A line that tells how far something long has come: on a terminal only, and only where it takes long.

use std::io::{self, IsTerminal, Stderr, Write};
use std::time::{Duration, Instant};

/// What is over sooner needs no line.
const PATIENCE: Duration = Duration::from_secs(1);
/// Fast enough to look alive, slow enough to be read.
const INTERVAL: Duration = Duration::from_millis(200);

/// The line; gone when dropped.
pub(super) struct Progress<W: Write = Stderr> {
    terminal: W,
    /// When to write it anew; never where there is no terminal.
    next: Option<Instant>,
    written: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        let stderr = io::stderr();
        let is_terminal = stderr.is_terminal();
        Self::on(stderr, is_terminal, Instant::now())
    }

    /// Tells how far it is, now and then.
    pub(super) fn tell(&mut self, text: impl FnOnce() -> String) {
        self.tell_at(Instant::now(), text);
    }
}

impl<W: Write> Progress<W> {
    fn on(terminal: W, is_terminal: bool, now: Instant) -> Self {
        Self { terminal, next: is_terminal.then(|| now + PATIENCE), written: false }
    }

    fn tell_at(&mut self, now: Instant, text: impl FnOnce() -> String) {
        if self.next.is_some_and(|next| next <= now) {
            self.next = Some(now + INTERVAL);
            self.written = true;
            self.write(&text());
        }
    }

    /// Replaces the line. Where nobody reads it, there is nobody to tell.
    fn write(&mut self, text: &str) {
        let _ = write!(self.terminal, "\r\x1b[K{text}").and_then(|()| self.terminal.flush());
    }
}

impl<W: Write> Drop for Progress<W> {
    fn drop(&mut self) {
        if self.written {
            self.write("");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Goes to the line's beginning, and erases it.
    const ANEW: &str = "\r\x1b[K";

    /// What a terminal gets that is told something each so many milliseconds after the beginning.
    fn shown(is_terminal: bool, at: &[u32]) -> String {
        let (mut terminal, began) = (Vec::new(), Instant::now());
        let mut progress = Progress::on(&mut terminal, is_terminal, began);
        for millis in at {
            progress.tell_at(began + *millis * MS, || format!("at {millis}"));
        }
        drop(progress);
        String::from_utf8(terminal).expect("text")
    }

    #[test]
    fn what_takes_long_has_a_line_that_is_written_anew_and_gone_in_the_end() {
        let expected = ["at 1000", "at 1200", "at 1500", ""].map(|text| format!("{ANEW}{text}")).concat();
        assert_eq!(shown(true, &[0, 999, 1_000, 1_100, 1_199, 1_200, 1_500]), expected);
    }

    #[test]
    fn what_is_over_soon_has_none_and_what_is_no_terminal_never_gets_one() {
        assert_eq!(shown(true, &[0, 500, 999]), "");
        assert_eq!(shown(false, &[0, 1_000, 60_000]), "");
    }

    #[test]
    fn a_terminal_that_has_gone_ends_nothing() {
        let mut room = [0_u8; 3];
        let began = Instant::now();
        let mut progress = Progress::on(room.as_mut_slice(), true, began);
        progress.tell_at(began + PATIENCE, || "too long for what room there is".to_owned());
        drop(progress);
        assert_eq!(room, [b'\r', 0x1b, b'[']);
    }
}
