//! What the machine adds to a time that is bounded, by the kernel's own account.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// How long each thread of this process had waited for a processor at some moment, by its number.
pub(crate) struct Waits(HashMap<String, Duration>);

impl Waits {
    pub(crate) fn from_here() -> Self {
        Self(threads().into_iter().map(|thread| (thread.id, thread.waited)).collect())
    }

    /// How late work may be by now that went through the thread that asks, and one thread each whose name begins with one of these:
    /// of those of the same name counts the one that has waited longest since.
    pub(crate) fn through(&self, names: &[&str]) -> Duration {
        let ours = fs::read_link("/proc/thread-self").expect("a Linux");
        let ours = ours.file_name().expect("our number");
        let threads = threads();
        let worst = |is_one: &dyn Fn(&Thread) -> bool| {
            let since = |thread: &Thread| thread.waited - self.0.get(&thread.id).copied().unwrap_or_default();
            threads.iter().filter(|thread| is_one(thread)).map(since).max().unwrap_or_default()
        };
        let others = names.iter().map(|name| worst(&|thread| thread.name.starts_with(name)));
        worst(&|thread| *thread.id == *ours) + others.sum::<Duration>()
    }
}

struct Thread {
    id: String,
    name: String,
    waited: Duration,
}

fn threads() -> Vec<Thread> {
    let directories = fs::read_dir("/proc/self/task").expect("a Linux").filter_map(Result::ok);
    // Those that end meanwhile are none to ask for.
    directories.filter_map(|directory| thread(&directory.path())).collect()
}

#[expect(clippy::disallowed_methods, reason = "files of the kernel's, which do not block")]
fn thread(directory: &Path) -> Option<Thread> {
    let id = directory.file_name()?.to_str()?.to_owned();
    let name = fs::read_to_string(directory.join("comm")).ok()?;
    // How long it has run, how long it has waited to, and how often.
    let figures = fs::read_to_string(directory.join("schedstat")).ok()?;
    let waited = figures.split_whitespace().nth(1)?.parse().ok()?;
    Some(Thread { id, name, waited: Duration::from_nanos(waited) })
}
