//! When alerts are raised, and when they are resolved.

use super::*;

#[test]
fn a_monitor_that_marks_nothing_is_one_piece_of_work() {
    let (mut bench, id) = Bench::ready(custom());
    bench.pass(10 * SECOND - MS);
    assert!(bench.open_alerts().is_empty());
    bench.pass(MS);
    assert_eq!(bench.open_alerts(), [AlertKind::LongRunningTask]);
    bench.pass(3600 * SECOND);
    assert_eq!(bench.kinds().iter().filter(|kind| **kind == EventType::AlertRaised).count(), 1);
    bench.end(id, RootEnd::Returned);
    assert!(bench.open_alerts().is_empty());
}

#[test]
fn a_monitor_that_marks_its_checks_is_measured_check_by_check() {
    let (mut bench, id) = Bench::ready(tcp());
    for _ in 0..20 {
        bench.feed(Input::CheckBegan(id, bench.now.mono));
        bench.pass(9 * SECOND);
        bench.feed(Input::CheckEnded(id, bench.now.mono, evidence()));
        bench.pass(9 * SECOND);
    }
    assert!(!bench.kinds().contains(&EventType::AlertRaised));
    bench.feed(Input::CheckBegan(id, bench.now.mono));
    bench.pass(11 * SECOND);
    assert_eq!(bench.open_alerts(), [AlertKind::LongRunningTask]);
    bench.feed(Input::CheckEnded(id, bench.now.mono, evidence()));
    assert_eq!(bench.open_alerts(), [AlertKind::LongRunningTask], "that piece was too long");
    bench.feed(Input::CheckBegan(id, bench.now.mono));
    bench.pass(SECOND);
    bench.feed(Input::CheckEnded(id, bench.now.mono, evidence()));
    assert!(bench.open_alerts().is_empty(), "a later piece has ended in time");
}

/// Both are 10 s by default.
#[test]
fn a_check_that_is_given_up_after_a_timeout_as_long_as_the_threshold_is_no_long_piece_of_work() {
    let (mut bench, id) = Bench::ready(tcp());
    bench.feed(Input::CheckBegan(id, bench.now.mono));
    bench.pass(11 * SECOND - MS);
    bench.feed(Input::CheckEnded(id, bench.now.mono, evidence()));
    assert!(!bench.kinds().contains(&EventType::AlertRaised));

    bench.feed(Input::CheckBegan(id, bench.now.mono));
    bench.pass(11 * SECOND);
    assert_eq!(bench.open_alerts(), [AlertKind::LongRunningTask], "its timeout does not end it");
}

#[test]
fn a_threshold_below_the_timeout_is_kept_to_the_millisecond() {
    let watchdog = WatchdogDraft { long_running_after: Some(9 * SECOND), ..WatchdogDraft::default() };
    let (mut bench, id) = Bench::ready(SpecDraft { watchdog, ..tcp() });
    bench.feed(Input::CheckBegan(id, bench.now.mono));
    bench.pass(9 * SECOND - MS);
    assert!(bench.open_alerts().is_empty());
    bench.pass(MS);
    assert_eq!(bench.open_alerts(), [AlertKind::LongRunningTask]);
}

#[test]
fn slow_cancellation_has_its_own_threshold() {
    let watchdog = WatchdogDraft { slow_cancellation_after: Some(100 * MS), ..WatchdogDraft::default() };
    let (mut bench, _) = Bench::ready(SpecDraft { watchdog, ..custom() });
    bench.cancel(false).unwrap();
    bench.pass(100 * MS);
    assert_eq!(bench.open_alerts(), [AlertKind::SlowCancellation]);
    assert_eq!(bench.task().state, State::Stopping);
}
