//! Tests of what their process as a whole holds: whatever ran beside them would count, too.

use std::process::Command;

/// Runs an ignored test of this binary, alone in a process of its own; what it has said, once it has passed.
pub(crate) fn alone(test: &str) -> String {
    let this = std::env::current_exe().expect("a test binary");
    let run = Command::new(this).args([test, "--exact", "--ignored", "--nocapture"]).output().expect("runs");
    let (told, errors) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success() && told.contains("1 passed"), "{told}\n{errors}");
    told.into_owned()
}
