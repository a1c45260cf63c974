//! `switchyard demo`: the story is told to its end, or until Ctrl-C, and nothing is left behind.

use std::fs;
use std::path::PathBuf;

use uuid::Uuid;

use crate::cli::process::{Alone, Said};

/// What each chapter announces, in order.
const STORY: [&[&str]; 7] = [
    &["1  A server", "INSTANCE_READY       api", "INSTANCE_READY       mule", "check PASS  circuit CLOSED"],
    &["2  The target fails", "CIRCUIT_TRIPPED      api   open for 2s", "check FAIL"],
    &[
        "3  A trial",
        "CIRCUIT_HALF_OPENED  api",
        "CIRCUIT_TRIPPED      api   open for 4s",
        "answers 200 again",
        "CIRCUIT_HALF_OPENED  api",
        "CIRCUIT_RECOVERED    api",
        "circuit CLOSED, streak",
    ],
    &[
        "4  A hot swap",
        "SWAP_STARTED         api   1 → 2  [swap BUILDING]",
        "INSTANCE_READY       api   generation 2",
        "SWAP_COMMITTED       api   1 → 2  [swap COMMITTED]",
        "[swap DONE]",
        "of release 1, ",
        "of release 2; longest gap ",
        "RUNNING  generation 2  check PASS  circuit CLOSED, streak",
    ],
    &[
        "5  A bad swap",
        "SWAP_ROLLED_BACK     api   2 → 3: the candidate was not ready within 1.5s  [swap ROLLED_BACK]",
        "(SwapTask)           api   ROLLED_BACK",
        "RUNNING  generation 2",
    ],
    &[
        "6  A stubborn task",
        "INSTANCE_STOPPING    mule",
        "INSTANCE_ABORTING    mule  generation 1  phase 1 took ",
        "ABORT_REQUIRED",
        "INSTANCE_ENDED       mule  generation 1  ABORTED",
        "CANCELLED  ABORTED  phase 1 took ",
    ],
    &[
        "7  The drain",
        "SERVER_DRAINING",
        "the stream has ended: UNAVAILABLE SERVER_DRAINING",
        "The server has ended: every task has stopped",
        "switchyard serve",
    ],
];

/// An empty directory, of this run alone, that is gone when the test has passed.
fn directory(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", Uuid::new_v4()));
    fs::create_dir_all(&path).expect("made");
    path
}

/// Ends the demo; it must have ended well, and have left no process and no file.
fn end(demo: Alone, directory: PathBuf) -> Said {
    let (said, left) = demo.end();
    assert_eq!((said.code, said.stderr.as_str(), left), (0, "", false), "{}", said.stdout);
    // Fails where it is not empty.
    fs::remove_dir(directory).expect("nothing is left");
    said
}

#[test]
fn it_tells_the_story_to_its_end_and_leaves_nothing_behind() {
    let directory = directory("demo");
    let said = end(Alone::begin(&directory, &["demo", "--fast"]), directory);
    let mut rest = said.stdout.as_str();
    for fact in STORY.iter().copied().flatten() {
        let at = rest.find(fact).unwrap_or_else(|| panic!("{fact:?} is not in its place:\n{}", said.stdout));
        rest = &rest[at + fact.len()..];
    }
    let widest = said.stdout.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(100), "{widest:?}:\n{}", said.stdout);
    assert!(!said.stdout.contains('\x1b'), "colours are for terminals:\n{}", said.stdout);
}

#[test]
fn ctrl_c_ends_it_by_a_drain() {
    let directory = directory("demo-interrupted");
    let mut demo = Alone::begin(&directory, &["demo"]);
    demo.until("INSTANCE_READY       api");
    demo.interrupt();
    let said = end(demo, directory);
    for told in ["Told to end: the server drains.", "The server has ended: every task has stopped"] {
        assert!(said.stdout.contains(told), "{}", said.stdout);
    }
    assert!(!said.stdout.contains("To go on"), "{}", said.stdout);
}
