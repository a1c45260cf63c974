use super::*;

#[test]
fn spans_are_told_to_what_matters() {
    let cases = [
        (3_456, "3us"),
        (3_456_789, "3.4ms"),
        (3_456_789_000, "3.45s"),
        (65_900_000_000, "1m5s"),
        (7_384_000_000_000, "2h3m"),
        (183_999_000_000_000, "2d3h"),
        (0, "0s"),
    ];
    for (nanos, text) in cases {
        assert_eq!(rough(Duration::from_nanos(nanos)), text);
    }
}

#[test]
fn times_have_milliseconds() {
    assert_eq!(time(&Timestamp { seconds: 1_795_341_600, nanos: 123_456_789 }), "2026-11-22T10:00:00.123Z");
    assert_eq!(time(&Timestamp { seconds: 0, nanos: 0 }), "1970-01-01T00:00:00.000Z");
}

#[test]
fn a_swap_says_from_where_to_where_and_what_went_wrong() {
    let done = v1::Swap { from_generation: 1, to_generation: 2, ..v1::Swap::default() };
    assert_eq!(swap(&done), "1 → 2");
    assert_eq!(swap(&v1::Swap { to_generation: 1, ..done.clone() }), "annotations");
    assert_eq!(swap(&v1::Swap { error: "not ready within 30s".to_owned(), ..done }), "1 → 2: not ready within 30s");
}

#[test]
fn a_circuit_says_what_it_does_for_how_long_and_why() {
    let now = Timestamp { seconds: 1_795_341_600, nanos: 0 };
    let open = v1::Circuit {
        state: v1::CircuitState::Open.into(),
        reason: v1::CircuitReason::Failure.into(),
        open_until: Some(Timestamp { seconds: now.seconds + 5, nanos: 500_000_000 }),
        streak: 2,
        ..v1::Circuit::default()
    };
    assert_eq!(circuit(&open, Some(&now)), "open for 5.5s, until 10:00:05.500Z (FAILURE, streak 2)");
    let suspended = v1::Circuit { suspended: true, open_until: None, ..open };
    assert_eq!(circuit(&suspended, Some(&now)), "open, suspended (FAILURE, streak 2)");
    let closed = v1::Circuit { state: v1::CircuitState::Closed.into(), ..v1::Circuit::default() };
    assert_eq!(circuit(&closed, None), "closed");
}

#[test]
fn a_command_line_can_be_told_apart() {
    let exec = v1::ExecMonitor {
        command: "/bin/check".to_owned(),
        args: ["-w", "5", "it's", "", "a b"].map(str::to_owned).to_vec(),
        env: Vec::new(),
    };
    assert_eq!(command_line(&exec), r"/bin/check -w 5 'it'\''s' '' 'a b'");
}

#[test]
fn values_of_a_newer_server_are_shown_by_number() {
    assert_eq!((state(3), state(99), exit(2)), ("RUNNING".into(), "99".into(), "GRACEFUL".into()));
}

#[test]
fn names_come_apart() {
    let name = "namespaces/prod/tasks/api";
    assert_eq!((namespace(name), id(name), id("api"), namespace("api")), ("prod", "api", "api", ""));
}

#[test]
fn bytes_have_the_largest_unit_that_fits() {
    let said = [0, 1_023, 1_024, 1_536, 5 << 20, (1 << 30) - 1, 1 << 40, 1 << 50].map(bytes);
    assert_eq!(said, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 MiB", "1023.9 MiB", "1.0 TiB", "1024.0 TiB"]);
}
