use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::model::ScheduleDraft;
use crate::monitor::testing::{Uncooperative, assignment, check_cooperative};
use crate::monitor::{CancellationToken, Children, Fact};

fn parse(config: Value) -> Result<Exercise, Vec<String>> {
    let fields = |violations: Violations| violations.as_slice().iter().map(|v| v.field.clone()).collect();
    Exercise::parse(&Config::from(config)).map_err(fields)
}

#[test]
fn every_behaviour_has_its_name() {
    for (name, behaviour) in Behaviour::ALL {
        let duration = Duration::from_secs(30);
        assert_eq!(parse(json!({"behaviour": name})), Ok(Exercise { behaviour, duration }));
    }
}

#[test]
fn durations_are_written_as_people_write_them() {
    for (text, millis) in [("30s", 30_000), ("500ms", 500), ("1m30s", 90_000), ("0s", 0), ("24h", 86_400_000)] {
        let exercise = parse(json!({"behaviour": "spin", "duration": text})).expect("valid");
        assert_eq!(exercise.duration, Duration::from_millis(millis));
    }
}

#[test]
fn what_is_wrong_has_its_field() {
    let cases = [
        (json!({}), vec!["behaviour"]),
        (json!({"behaviour": "dance"}), vec!["behaviour"]),
        (json!({"behaviour": 5}), vec!["behaviour"]),
        (json!({"behaviour": "spin", "duration": "soon"}), vec!["duration"]),
        (json!({"behaviour": "spin", "duration": 5}), vec!["duration"]),
        (json!({"behaviour": "spin", "duration": "-1s"}), vec!["duration"]),
        (json!({"behaviour": "spin", "duration": "25h"}), vec!["duration"]),
        (json!({"behaviour": "spin", "pace": 1}), vec!["pace"]),
        (json!({"behaviour": "dance", "duration": "soon"}), vec!["behaviour", "duration"]),
    ];
    for (config, fields) in cases {
        assert_eq!(parse(config.clone()), Err(fields.into_iter().map(str::to_owned).collect()), "{config}");
    }
}

/// A drill on the present runtime, and its hold.
fn start(config: Value) -> (tokio::task::JoinHandle<Result<(), MonitorError>>, CancellationToken, Children) {
    let (reports, mut inbox) = mpsc::channel(16);
    let (token, children) = (CancellationToken::new(), Children::new());
    let assignment = assignment(Drill::NAME, ScheduleDraft::default(), reports).expect("valid");
    let context = Context::new(assignment, token.clone(), children.clone());
    let monitor = Drill.build(&Config::from(config)).expect("valid");
    let root = tokio::spawn(async move {
        let outcome = monitor.run(context).await;
        assert_eq!(inbox.recv().await.map(|report| report.fact), Some(Fact::Ready));
        outcome
    });
    (root, token, children)
}

#[tokio::test(start_paused = true)]
async fn exit_early_and_panic_act_after_their_duration() {
    let begin = Instant::now();
    let (root, _, _) = start(json!({"behaviour": "exit_early", "duration": "7s"}));
    assert!(root.await.expect("no panic").is_ok());
    assert_eq!(begin.elapsed().as_secs(), 7);
    let (root, _, _) = start(json!({"behaviour": "panic", "duration": "7s"}));
    assert!(root.await.expect_err("a panic").is_panic());
    assert_eq!(begin.elapsed().as_secs(), 14);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_before_their_duration_ends_them_at_once() {
    for behaviour in ["exit_early", "panic", "cooperative"] {
        let begin = Instant::now();
        let (root, token, _) = start(json!({ "behaviour": behaviour }));
        token.cancel();
        assert!(root.await.expect("no panic").is_ok());
        assert_eq!(begin.elapsed(), Duration::ZERO, "{behaviour}");
    }
}

#[tokio::test(start_paused = true)]
async fn ignoring_and_slow_ones_outlast_the_cancel_by_their_duration() {
    for behaviour in ["ignore_cancel", "slow_cleanup"] {
        let begin = Instant::now();
        let (root, token, _) = start(json!({"behaviour": behaviour, "duration": "8s"}));
        yield_now().await;
        token.cancel();
        assert!(root.await.expect("no panic").is_ok());
        assert_eq!(begin.elapsed().as_secs(), 8, "{behaviour}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_abort_ends_one_that_ignores_the_token() {
    let (root, token, _) = start(json!({"behaviour": "ignore_cancel", "duration": "24h"}));
    yield_now().await;
    token.cancel();
    root.abort();
    assert!(root.await.expect_err("aborted").is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_leaked_child_outlives_its_root() {
    let (root, token, children) = start(json!({"behaviour": "leak_children", "duration": "9s"}));
    yield_now().await;
    yield_now().await;
    token.cancel();
    assert!(root.await.expect("no panic").is_ok());
    assert!(!children.is_empty());
    children.abort_all();
    children.ended().await;
    assert!(children.aborted());
}

#[tokio::test]
async fn the_testing_kit_knows_every_drill() {
    let verdict = async |behaviour: &str, duration: &str| {
        check_cooperative(Drill, Config::from(json!({"behaviour": behaviour, "duration": duration}))).await
    };
    // The threads of those that block theirs are left to themselves, so that they are to end soon; but not before they are found out
    // on a busy machine.
    let (cooperative, early, ignoring, slow, blocking, spinning, panicking, leaking) = tokio::join!(
        verdict("cooperative", "1h"),
        verdict("exit_early", "1h"),
        verdict("ignore_cancel", "1h"),
        verdict("slow_cleanup", "1h"),
        verdict("block_thread", "6s"),
        verdict("spin", "6s"),
        verdict("panic_in_cleanup", "1h"),
        verdict("leak_children", "1h"),
    );
    assert!(cooperative.is_ok());
    assert!(early.is_ok());
    assert!(matches!(ignoring, Err(Uncooperative::IgnoresToken)));
    assert!(matches!(slow, Err(Uncooperative::CleansUpTooLong { after: None, .. })));
    assert!(matches!(blocking, Err(Uncooperative::BlocksThread)));
    // Elsewhere nobody tells what a silent thread does.
    let spins = if cfg!(target_os = "linux") { Uncooperative::Computes } else { Uncooperative::BlocksThread };
    assert_eq!(spinning.expect_err("uncooperative").rule(), spins.rule());
    assert!(matches!(panicking, Err(Uncooperative::Panics(_))));
    assert!(matches!(leaking, Err(Uncooperative::LeavesChildren)));
}
