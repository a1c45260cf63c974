use std::time::Duration;

use prost_types::Timestamp;

use super::*;
use crate::cli::output::{Format, width};

const NOW: i64 = 1_795_341_600;

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: NOW + seconds, nanos: 0 })
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW.unsigned_abs())
}

fn task() -> v1::Task {
    let http = v1::HttpMonitor {
        url: "http://10.0.0.7:8080/internal/health?verbose=yes".to_owned(),
        ..v1::HttpMonitor::default()
    };
    let check = v1::Check {
        time: at(-3),
        duration: Some(prost_types::Duration { seconds: 0, nanos: 12_345_678 }),
        verdict: v1::Verdict::Fail.into(),
        reason: "STATUS".to_owned(),
        message: "503 \x1b[2J".to_owned(),
        ..v1::Check::default()
    };
    v1::Task {
        name: "namespaces/default/tasks/checkout-api-frontend".to_owned(),
        state: v1::State::Running.into(),
        intent: v1::Intent::Run.into(),
        spec: Some(v1::TaskSpec {
            monitor: Some(v1::task_spec::Monitor::Http(http)),
            start_timeout: Some(prost_types::Duration { seconds: 30, nanos: 0 }),
            ..v1::TaskSpec::default()
        }),
        create_time: at(-7_500),
        instance: Some(v1::Instance {
            generation: 1,
            attempt: 2,
            state: v1::InstanceState::Ready.into(),
            start_time: at(-100),
            ready_time: at(-99),
            ..v1::Instance::default()
        }),
        alerts: vec![v1::Alert {
            kind: v1::AlertKind::LongRunningTask.into(),
            message: "11s".to_owned(),
            ..v1::Alert::default()
        }],
        draining: vec![v1::Instance {
            generation: 1,
            attempt: 1,
            state: v1::InstanceState::Stopping.into(),
            ..v1::Instance::default()
        }],
        swap: Some(v1::Swap {
            from_generation: 1,
            to_generation: 2,
            strategy: v1::SwapStrategy::MakeBeforeBreak.into(),
            phase: v1::SwapPhase::Draining.into(),
            ..v1::Swap::default()
        }),
        circuit: Some(v1::Circuit {
            state: v1::CircuitState::Open.into(),
            reason: v1::CircuitReason::Failure.into(),
            open_until: at(4),
            streak: 1,
            ..v1::Circuit::default()
        }),
        live: Some(v1::Live {
            last_check: Some(check),
            circuit: Some(v1::CircuitCounts { results: 4, failed: 3, slow: 0, consecutive: 3, passive: None }),
            ..v1::Live::default()
        }),
        ..v1::Task::default()
    }
}

fn listed(most: Option<usize>) -> String {
    let output = Output { format: Format::Table, paint: Paint(false), width: most };
    list(&[task()], true, output, now())
}

#[test]
fn a_list_shows_everything_where_there_is_room() {
    let text = listed(None);
    let expected = "\
NAMESPACE  NAME                   KIND  STATE    CIRCUIT  AGE   ATTEMPT  LAST CHECK          ALERTS             TARGET
default    checkout-api-frontend  http  RUNNING  OPEN     2h5m  2        FAIL STATUS 3s ago  LONG_RUNNING_TASK  \
http://10.0.0.7:8080/internal/health?verbose=yes
";
    assert_eq!(text, expected);
}

#[test]
fn a_list_shows_what_callers_go_by_where_a_circuit_is_overridden() {
    let mut forced = task();
    forced.circuit.as_mut().expect("set").set_override(v1::Override::ForcedClosed);
    let output = Output { format: Format::Table, paint: Paint(false), width: Some(80) };
    let text = list(&[forced], false, output, now());
    assert!(text.contains("  FORCED_CLOSED  ") && !text.contains("  OPEN  "), "{text}");
}

#[test]
fn a_list_fits_terminals_of_any_width() {
    for most in [40, 60, 80, 120] {
        let text = listed(Some(most));
        assert!(text.lines().all(|line| width(line) <= most), "{most}:\n{text}");
        assert!(text.contains("NAME") && text.contains("RUNNING"), "{most}:\n{text}");
    }
    assert!(listed(Some(120)).contains("TARGET") && listed(Some(80)).contains("OPEN"));
    assert!(!listed(Some(80)).contains("ATTEMPT") && listed(Some(80)).contains("LAST CHECK"));
    assert!(!listed(Some(70)).contains("KIND") && listed(Some(70)).contains("LAST CHECK"));
    assert!(listed(Some(60)).contains("LONG_RUNNING_TA"));
}

#[test]
fn a_list_tells_who_blocks_since_when_and_who_is_paused() {
    let mut blocking = task();
    let alert = |kind: v1::AlertKind, raised| v1::Alert {
        kind: kind.into(),
        raise_time: at(raised),
        generation: 1,
        attempt: 2,
        ..v1::Alert::default()
    };
    blocking.alerts = vec![alert(v1::AlertKind::LongRunningTask, -2), alert(v1::AlertKind::PollBlocked, -11)];
    blocking.instance.as_mut().expect("set").blocked_since = at(-12);
    blocking.spec = None;
    let output = |width| Output { format: Format::Table, paint: Paint(false), width };
    let text = list(std::slice::from_ref(&blocking), false, output(None), now());
    assert!(text.contains("  POLL_BLOCKED 12s, LONG_RUNNING_TASK 2s  ") && !text.contains("PAUSED"), "{text}");
    let text = describe(&blocking, Paint(false), now());
    assert!(text.contains("Blocked:     one poll keeps its thread, since 2026-11-22T09:59:48.000Z (12s)\n"), "{text}");

    let pause = v1::Pause { reason: "night shift".to_owned(), expire_time: at(7_140) };
    let paused = v1::Task { state: v1::State::Paused.into(), pause: Some(pause), alerts: Vec::new(), ..task() };
    let text = describe(&paused, Paint(false), now());
    assert!(text.contains("Paused:      until 2026-11-22T11:59:00.000Z: night shift\n"), "{text}");
    let both = [blocking, paused];
    let text = list(&both, false, output(None), now());
    assert!(text.contains("  1h59m more: night shift  "), "{text}");
    for most in [60, 80, 100] {
        let text = list(&both, false, output(Some(most)), now());
        assert!(text.lines().all(|line| width(line) <= most), "{most}:\n{text}");
        assert!(text.contains("POLL_BLOCKED 12") && text.contains("PAUSED"), "{most}:\n{text}");
    }
    let text = list(&both, false, output(Some(100)), now());
    assert!(text.contains("1h59m more"), "{text}");
}

#[test]
fn a_description_tells_what_is_there_and_nothing_else() {
    let text = describe(&task(), Paint(false), now());
    for line in [
        "Name:        namespaces/default/tasks/checkout-api-frontend\n",
        "State:       RUNNING\n",
        "Created:     2026-11-22T07:55:00.000Z (2h5m ago)\n",
        "Instance:    READY (generation 1, attempt 2), ready after 1s\n",
        "Draining:    STOPPING (generation 1, attempt 1)\n",
        "Swap:        DRAINING, MAKE_BEFORE_BREAK, 1 → 2\n",
        "Circuit:     open for 4s, until 10:00:04.000Z (FAILURE, streak 1)\n",
        "Evidence:    4 results, 3 failed, 0 slow, 3 bad in a row\n",
        "Last check:  FAIL STATUS in 12.3ms, 3s ago: 503 \\u{1b}[2J\n",
        "Alert:       LONG_RUNNING_TASK: 11s\n",
        "Spec:\n  http:\n    url: ",
        "  startTimeout: 30s\n",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("Outcome") && !text.contains("Labels"), "{text}");
}
