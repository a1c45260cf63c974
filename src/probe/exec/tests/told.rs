//! What a script tells the test, and who is left of its group.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use tokio::time::{Instant, sleep};

use super::AMPLE;

/// A file in which a script says things, the pid of its group's leader first.
pub(super) struct Told(PathBuf);

impl Told {
    pub(super) fn new() -> Self {
        Self(std::env::temp_dir().join(format!("switchyard-exec-{}", uuid::Uuid::new_v4())))
    }

    pub(super) fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }

    /// The lines that were said, once there are so many.
    pub(super) async fn lines(&self, count: usize) -> Vec<String> {
        let deadline = Instant::now() + AMPLE;
        loop {
            let text = read(&self.0).unwrap_or_default();
            let lines: Vec<_> = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).collect();
            if lines.len() >= count {
                return lines.into_iter().map(str::to_owned).collect();
            }
            assert!(Instant::now() < deadline, "only {lines:?} were said");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until the group is there whose leader has said its pid.
    pub(super) async fn group(&self) -> i32 {
        self.lines(1).await[0].parse().expect("a pid")
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        // Nothing may have been said.
        let _ = fs::remove_file(&self.0);
    }
}

#[expect(clippy::disallowed_methods, reason = "memory, or as good as that, and nobody else is on this thread")]
pub(super) fn read(path: impl AsRef<Path>) -> io::Result<String> {
    fs::read_to_string(path)
}

/// Who is of the group still: those that live, and those that are ours to reap.
pub(super) fn left(group: i32) -> Vec<String> {
    let ours = std::process::id().to_string();
    let of_group = |stat: &String| {
        // state, parent, group; the name before them has its own parentheses.
        let fields: Vec<_> = stat.rsplit_once(')').map_or(Vec::new(), |(_, rest)| rest.split_whitespace().collect());
        let [state, parent, of, ..] = fields[..] else { return false };
        of == group.to_string() && (state != "Z" || parent == ours)
    };
    let processes = fs::read_dir("/proc").expect("Linux").filter_map(Result::ok);
    processes.filter_map(|process| read(process.path().join("stat")).ok()).filter(of_group).collect()
}

/// Waits until nobody is left.
pub(super) async fn gone(group: i32) {
    let deadline = Instant::now() + AMPLE;
    while !left(group).is_empty() {
        assert!(Instant::now() < deadline, "{:?}", left(group));
        sleep(Duration::from_millis(5)).await;
    }
}
