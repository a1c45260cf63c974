//! `swap` and `completions`.

use std::net::TcpListener;

use super::process::{Said, Served, switchyard};

fn ready(served: &Served) {
    let started = served.run(&["start", "api", "--kind", "drill", "--config", COOPERATIVE, "--wait"]);
    assert_eq!(started.code, 0, "{started:?}");
}

const COOPERATIVE: &str = r#"{"behaviour": "cooperative"}"#;
const OTHER: [&str; 4] = ["--kind", "drill", "--config", r#"{"behaviour": "cooperative", "duration": "2h"}"#];

fn swap(served: &Served, flags: &[&str]) -> Said {
    served.run(&[&["swap", "api"], flags].concat())
}

#[test]
fn a_swap_tells_its_phases_in_their_order_and_then_the_outcome() {
    let served = Served::begin(&["--enable-drills"]);
    ready(&served);
    let swapped = swap(&served, &[&OTHER[..], &["--wait"]].concat());
    assert_eq!(swapped.code, 0, "{swapped:?}");
    let lines: Vec<_> = swapped.stdout.lines().collect();
    let (outcome, phases) = lines.split_last().expect("lines");
    assert_eq!(*outcome, "api  DONE  1 → 2");
    let phases: Vec<_> = phases.iter().filter_map(|line| line.split_whitespace().last()).collect();
    assert_eq!(phases, ["BUILDING", "STARTING", "GATING", "COMMITTED", "DRAINING", "DONE"]);
    assert_eq!(served.run(&["wait", "api", "--swap"]).stdout, "api  DONE  1 → 2\n");

    let again = swap(&served, &[&OTHER[..], &["--wait"]].concat());
    assert_eq!((again.code, again.stdout.as_str()), (0, "api  unchanged: it has this spec and these annotations\n"));
    let got = served.run(&["get", "api"]).stdout;
    for line in ["Swap:        DONE, MAKE_BEFORE_BREAK, 1 → 2", "Circuit:     closed"] {
        assert!(got.contains(line), "{line} is not in\n{got}");
    }
    let list = served.run(&["list", "--filter", "circuit.state = CLOSED"]).stdout;
    assert!(list.contains("CIRCUIT") && list.contains("CLOSED"), "{list}");
}

#[test]
fn a_swap_that_is_rolled_back_is_a_negative_outcome() {
    let served = Served::begin(&["--enable-drills"]);
    ready(&served);
    // It accepts connections, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let unready = format!(
        "\
spec:
  tcp: {{address: '{}', steps: [{{expect: aGVsbG8=}}]}}
  schedule: {{interval: 5m, timeout: 5m}}
  swap: {{readinessTimeout: 100ms}}
",
        silent.local_addr().expect("bound")
    );
    let swapped = served.run_with(&["swap", "api", "-f", "-", "--wait", "-o", "json"], &unready);
    assert_eq!(swapped.code, 1, "{swapped:?}");
    assert_eq!(swapped.json()["task"]["swap"]["phase"], "SWAP_PHASE_ROLLED_BACK");
    let waited = served.run(&["wait", "api", "--swap"]);
    assert_eq!(waited.code, 1, "{waited:?}");
    assert!(waited.stdout.starts_with("api  ROLLED_BACK  1 → 2: the candidate was not ready"), "{waited:?}");
}

#[test]
fn a_swap_keeps_the_annotations_that_it_does_not_give() {
    let served = Served::begin(&["--enable-drills"]);
    let flags = ["--kind", "drill", "--config", COOPERATIVE, "--annotation", "owner=core", "--wait"];
    assert_eq!(served.run(&[&["start", "api"], &flags[..]].concat()).code, 0);
    let dry = swap(&served, &[&OTHER[..], &["--dry-run"]].concat());
    assert_eq!((dry.code, dry.stderr.as_str()), (0, "valid; nothing was swapped\n"));
    assert!(dry.stdout.contains("duration: 2h"), "{dry:?}");
    assert_eq!(swap(&served, &[&OTHER[..], &["--wait"]].concat()).code, 0);
    let got = served.run(&["get", "api", "-o", "json"]).json();
    assert_eq!((&got["annotations"]["owner"], &got["generation"]), (&"core".into(), &"2".into()));
    let annotated = swap(&served, &[&OTHER[..], &["--annotation", "owner=edge"]].concat());
    assert_eq!((annotated.code, annotated.stdout.as_str()), (0, "api  DONE  annotations\n"));

    assert_eq!(served.run(&["wait", "nonesuch", "--swap"]).code, 3);
    assert_eq!(served.run(&["swap", "nonesuch", "--tcp", "127.0.0.1:1"]).code, 3);
    let labelled = swap(&served, &[&OTHER[..], &["--label", "team=core"]].concat());
    assert_eq!(labelled.code, 2, "{labelled:?}");
    assert!(labelled.stderr.contains("LABELS_IMMUTABLE"), "{labelled:?}");
}

#[test]
fn a_task_that_was_never_swapped_has_no_swap_to_wait_for() {
    let served = Served::begin(&["--enable-drills"]);
    ready(&served);
    let waited = served.run(&["wait", "api", "--swap", "--timeout", "1h"]);
    assert_eq!(waited.code, 1, "{waited:?}");
    assert!(waited.stderr.contains("never swapped"), "{waited:?}");
}

#[test]
fn completions_need_no_server() {
    let script = switchyard(&["completions", "bash"], "");
    assert_eq!(script.code, 0, "{script:?}");
    assert!(script.stdout.contains("_switchyard") && script.stdout.contains("swap"));
    assert_eq!(switchyard(&["completions", "csh"], "").code, 2);
}

#[test]
fn the_flags_of_a_takeover_reach_the_spec_and_the_circuit() {
    let served = Served::begin(&["--enable-drills"]);
    ready(&served);
    let flags = ["--min-healthy-time", "100ms", "--state-policy", "reset", "--wait"];
    let swapped = swap(&served, &[&OTHER[..], &flags].concat());
    assert_eq!(swapped.code, 0, "{swapped:?}");
    let got = served.run(&["get", "api", "-o", "json"]).json();
    assert_eq!(got["spec"]["swap"]["minHealthyTime"], "0.100s");
    assert_eq!(got["circuit"]["reason"], "CIRCUIT_REASON_RESET");
    let refused = swap(&served, &[&OTHER[..], &["--min-healthy-time", "11m"]].concat());
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("task.spec.swap.min_healthy_time"), "{refused:?}");
}

/// Begins a swap, of the task's first generation, that is never ready while the listener is there.
fn never_ready(served: &Served) -> TcpListener {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let unready = format!(
        "spec: {{tcp: {{address: '{}', steps: [{{expect: aGVsbG8=}}]}}, schedule: {{interval: 5m, timeout: 5m}}}}",
        silent.local_addr().expect("bound")
    );
    let begun = served.run_with(&["swap", "api", "-f", "-"], &unready);
    assert_eq!((begun.code, begun.stdout.as_str()), (0, "api  BUILDING  1 → 2\n"), "{begun:?}");
    silent
}

#[test]
fn a_swap_that_runs_is_in_the_way_of_a_dry_run_only_as_of_the_swap_and_of_a_diff_never() {
    let served = Served::begin(&["--enable-drills"]);
    ready(&served);
    let _silent = never_ready(&served);
    let refused = swap(&served, &[&OTHER[..], &["--dry-run"]].concat());
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(refused.stderr.contains("what would be answered now. With --preempt"), "{refused:?}");
    let dry = swap(&served, &[&OTHER[..], &["--dry-run", "--preempt"]].concat());
    assert_eq!((dry.code, dry.stderr.as_str()), (0, "valid; nothing was swapped\n"), "{dry:?}");
    assert!(dry.stdout.contains("duration: 2h"), "{dry:?}");
    let differs = served.run(&[&["diff", "api"], &OTHER[..]].concat());
    assert_eq!((differs.code, differs.stdout.as_str()), (1, "spec.custom.config.duration  - → 2h\n"), "{differs:?}");
    assert!(differs.stderr.starts_with("a swap runs (1 → 2, ") && differs.stderr.ends_with("is generation 1\n"));
    let back = served.run(&["diff", "api", "--to-generation", "1"]);
    assert_eq!((back.code, back.stdout.as_str()), (0, ""), "{back:?}");

    let rollback = |flags: &[&str]| served.run(&[&["rollback", "api", "--to-generation", "1"], flags].concat());
    let refused = rollback(&[]);
    assert!(refused.code == 5 && refused.stderr.contains("SWAP_IN_PROGRESS"), "{refused:?}");
    let refused = rollback(&["--dry-run"]);
    assert!(refused.stderr.contains("With --preempt"), "{refused:?}");
    let dry = rollback(&["--dry-run", "--preempt", "--state-policy", "reset"]);
    assert_eq!(dry.code, 0, "{dry:?}");
    assert_eq!(served.run(&["get", "api", "-o", "json"]).json()["swap"]["toGeneration"], "2", "it goes on");
    // It has that spec, so that the swap ends, and nothing else happens.
    let back = rollback(&["--preempt", "--state-policy", "reset"]);
    assert_eq!(back.code, 0, "{back:?}");
    assert_eq!(served.run(&["get", "api", "-o", "json"]).json()["swap"]["phase"], "SWAP_PHASE_CANCELLED");
}

#[test]
fn a_swap_with_preempt_ends_the_one_that_runs() {
    let served = Served::begin(&["--enable-drills"]);
    ready(&served);
    let _silent = never_ready(&served);
    let refused = swap(&served, &OTHER);
    assert!(refused.code == 5 && refused.stderr.contains("SWAP_IN_PROGRESS"), "{refused:?}");
    let swapped = swap(&served, &[&OTHER[..], &["--preempt", "--wait"]].concat());
    assert_eq!((swapped.code, swapped.stdout.lines().last()), (0, Some("api  DONE  1 → 3")), "{swapped:?}");
}

#[test]
fn get_shows_until_when_a_generation_is_observed() {
    let served = Served::begin(&["--enable-drills"]);
    ready(&served);
    let swapped = swap(&served, &[&OTHER[..], &["--auto-revert", "--observation-time", "5m", "--wait"]].concat());
    assert_eq!(swapped.code, 0, "{swapped:?}");
    let hints: Vec<_> = swapped.stderr.lines().collect();
    let [observed, how] = hints.as_slice() else { panic!("{swapped:?}") };
    assert!(
        observed.starts_with("observed for ") && observed.ends_with("if it fails, back to the spec of generation 1")
    );
    assert!(how.contains("`switchyard watch api`") && how.contains("`switchyard history api`"), "{how}");
    let got = served.run(&["get", "api"]).stdout;
    let line = got.lines().find(|line| line.starts_with("Observed:")).expect("it is observed");
    assert!(line.contains(" more, until ") && line.ends_with("back to the spec of generation 1"), "{line}");
    let spec = &served.run(&["get", "api", "-o", "json"]).json()["spec"]["swap"];
    assert_eq!((&spec["autoRevert"], &spec["observationTime"]), (&true.into(), &"300s".into()));
}
