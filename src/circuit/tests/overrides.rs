//! What operators decide over a circuit.

use super::*;
use CircuitReason::Failure;
use CircuitState::{Closed, HalfOpen, Open};
use Override::{ForcedClosed, ForcedOpen, Shadow};
use Verdict::{Fail, Pass};

impl Bench {
    fn override_with(&mut self, mode: Override, span: Option<Duration>) -> CircuitOverride {
        let expire_time = span.map(|span| self.now.wall + span);
        let lies = CircuitOverride { mode, reason: Reason::default(), since_time: self.now.wall, expire_time };
        self.circuit.override_with(Some(lies.clone()), self.now);
        lies
    }
}

fn granted(epoch: u64) -> Permission {
    Permission::Granted(Permit { epoch: Epoch::new(epoch), lease: None })
}

fn denied(retry_after: Option<Duration>) -> Permission {
    Permission::Denied(Denial { retry_after })
}

#[test]
fn forced_open_denies_whatever_is_known() {
    let mut bench = Bench::new(in_a_row());
    bench.override_with(ForcedOpen, None);
    assert_eq!(bench.acquire(), denied(None));
    bench.override_with(ForcedOpen, Some(3 * SECOND));
    bench.advance(SECOND);
    assert_eq!(bench.acquire(), denied(Some(2 * SECOND)), "for as long as it lies there");
}

#[test]
fn forced_closed_and_shadow_permit_whatever_is_known() {
    for mode in [ForcedClosed, Shadow] {
        let mut bench = Bench::opened(in_a_row());
        bench.override_with(mode, None);
        assert_eq!(bench.acquire(), granted(2));
        bench.trial();
        assert_eq!(bench.acquire(), granted(3), "no lease is taken");
        assert_eq!(bench.circuit.counts().passive.leases, 0);
    }
}

#[test]
fn the_machine_goes_on_beneath() {
    for mode in Override::ALL {
        let mut bench = Bench::new(in_a_row());
        bench.override_with(mode, None);
        bench.fail_until_open();
        assert_eq!(bench.circuit.status().state, Open);
        bench.trial();
        assert_eq!(bench.check(Fail), step(HalfOpen, Open, Failure));
        bench.trial();
        bench.recover();
        assert_eq!((bench.circuit.state(), bench.circuit.overriding()), (Closed, Some(mode)));
    }
}

#[test]
fn an_override_shows_and_moves_nothing() {
    for mut bench in [Bench::new(in_a_row()), Bench::opened(in_a_row()), Bench::half_open(in_a_row())] {
        let (before, due) = (bench.circuit.status(), bench.circuit.next_due());
        let lies = bench.override_with(Shadow, Some(SECOND));
        let expected = CircuitStatus { overriding: Some(lies.into()), ..before.clone() };
        assert_eq!((bench.circuit.status(), bench.circuit.next_due()), (expected, due));
        bench.circuit.override_with(None, bench.now);
        assert_eq!((bench.circuit.status(), bench.circuit.override_due()), (before, None));
    }
}

#[test]
fn it_ends_at_its_time_and_not_before() {
    let mut bench = Bench::new(in_a_row());
    bench.override_with(ForcedOpen, Some(SECOND));
    assert_eq!(bench.circuit.override_due(), Some(bench.now.mono + SECOND));
    bench.advance(SECOND - MS);
    assert!(!bench.circuit.expire_override(bench.now));
    assert_eq!(bench.circuit.overriding(), Some(ForcedOpen));
    bench.advance(MS);
    assert!(bench.circuit.expire_override(bench.now));
    assert!(!bench.circuit.expire_override(bench.now), "once");
    assert_eq!(bench.acquire(), granted(1));
}

#[test]
fn one_without_an_end_stays() {
    let mut bench = Bench::new(in_a_row());
    bench.override_with(ForcedOpen, None);
    bench.advance(1_000_000 * SECOND);
    assert!(!bench.circuit.expire_override(bench.now));
    assert_eq!((bench.circuit.override_due(), bench.acquire()), (None, denied(None)));
}

#[test]
fn another_takes_its_place_with_an_end_of_its_own() {
    let mut bench = Bench::new(in_a_row());
    bench.override_with(ForcedOpen, Some(SECOND));
    bench.override_with(ForcedClosed, Some(9 * SECOND));
    bench.advance(SECOND);
    assert!(!bench.circuit.expire_override(bench.now));
    assert_eq!(bench.circuit.overriding(), Some(ForcedClosed));
}

#[test]
fn a_suspended_circuit_is_overridden_and_its_override_ends_all_the_same() {
    let mut bench = Bench::new(in_a_row());
    bench.circuit.suspend(bench.now);
    assert_eq!(bench.acquire(), denied(None));
    bench.override_with(ForcedClosed, Some(SECOND));
    assert_eq!(bench.acquire(), granted(1));
    bench.advance(SECOND);
    assert!(bench.circuit.expire_override(bench.now));
    assert_eq!(bench.acquire(), denied(None));
}

#[test]
fn a_reset_leaves_it_where_it_lies() {
    let mut bench = Bench::opened(in_a_row());
    let lies = bench.override_with(ForcedOpen, None);
    bench.circuit.reset(bench.now);
    assert_eq!(bench.circuit.status().overriding.as_deref(), Some(&lies));
}

#[test]
fn a_restored_circuit_keeps_it_for_what_is_left_of_its_time_and_keeps_who_had_opened_it() {
    let mut bench = Bench::new(CircuitDraft { failure_rate: Some(5_000), ..in_a_row() });
    while bench.circuit.state() == Closed {
        bench.call(Fail, 1);
    }
    bench.override_with(Shadow, Some(9 * SECOND));
    let (status, seen) = (bench.circuit.status(), bench.now.wall);
    bench.advance(4 * SECOND);
    // Another process has another clock.
    let now = Now { mono: Mono::from_nanos(7), wall: bench.now.wall };
    let restored = Circuit::restore(&status, &bench.policy, seen, now);
    assert_eq!(restored.override_due(), Some(now.mono + 5 * SECOND));
    assert_eq!(restored.status().overriding, status.overriding);
    assert_eq!(restored.status().trip_source, Some(EvidenceSource::Passive));
    let late = Now { wall: now.wall + 60 * SECOND, ..now };
    assert_eq!(Circuit::restore(&status, &bench.policy, seen, late).override_due(), Some(late.mono), "due at once");
}

#[test]
fn whom_callers_have_opened_is_known_until_a_reset() {
    let mut draft = in_a_row();
    (draft.failure_rate, draft.passive.trial_permits) = (Some(5_000), Some(0));
    let mut bench = Bench::new(draft);
    while bench.circuit.state() == Closed {
        bench.call(Fail, 1);
    }
    bench.trial();
    for _ in 0..3 {
        bench.check(Pass);
    }
    let status = bench.circuit.status();
    assert_eq!((status.state, status.trip_source), (Closed, Some(EvidenceSource::Passive)));
    bench.circuit.reset(bench.now);
    assert_eq!(bench.circuit.status().trip_source, None);
}
