//! A line that tells how far something long has come: on a terminal only, and only where it takes long.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// What is over sooner needs no line.
const PATIENCE: Duration = Duration::from_secs(1);
/// Fast enough to look alive, slow enough to be read.
const INTERVAL: Duration = Duration::from_millis(200);

/// The line; gone when dropped.
pub(super) struct Progress {
    /// When to write it anew; never where there is no terminal.
    next: Option<Instant>,
    written: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { next: io::stderr().is_terminal().then(|| Instant::now() + PATIENCE), written: false }
    }

    /// Tells how far it is, now and then.
    pub(super) fn tell(&mut self, text: impl FnOnce() -> String) {
        let now = Instant::now();
        if self.next.is_some_and(|next| next <= now) {
            self.next = Some(now + INTERVAL);
            self.written = true;
            write(&text());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.written {
            write("");
        }
    }
}

/// Replaces the line. Where nobody reads it, there is nobody to tell.
fn write(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "\r\x1b[K{text}").and_then(|()| stderr.flush());
}
