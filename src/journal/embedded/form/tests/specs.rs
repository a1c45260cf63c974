//! Specs of every kind.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::option;
use proptest::prelude::*;

use crate::model::{
    BodyMatchDraft, CircuitDraft, ConfigValue, CustomSpec, ExecDraft, HttpDraft, Isolation, MonitorDraft, PassiveDraft,
    RestartDraft, ScheduleDraft, ShutdownDraft, SpecDraft, SwapDraft, SwapStrategy, TaskSpec, TcpDraft, TcpStep,
    Violations, WatchdogDraft,
};

/// A span of a range of milliseconds, to the nanosecond.
fn span(millis: std::ops::Range<u64>) -> BoxedStrategy<Option<Duration>> {
    option::of(
        (millis, 0..1_000_000_u32)
            .prop_map(|(millis, nanos)| Duration::from_millis(millis) + Duration::from_nanos(nanos.into())),
    )
    .boxed()
}

pub(super) fn specs() -> BoxedStrategy<TaskSpec> {
    let schedule = (span(1_000..80_000_000), span(10..999), 0..9_u32);
    let shutdown = (span(0..59_999), span(100..29_999));
    let watchdog = (span(10..3_599_999), span(10..3_599_999), span(10..3_599_999));
    let restart = (option::of(0..4_u32), span(10..900), span(1_000..60_000));
    let rest = (
        span(100..20_000),
        span(0..2_591_999_000),
        option::of(prop::sample::select(SwapStrategy::ALL.to_vec())),
        (span(100..599_999), span(0..599_999), any::<bool>(), span(100..599_999)),
        option::of(prop::sample::select(Isolation::ALL.to_vec())),
    );
    (monitors(), schedule, shutdown, watchdog, restart, circuits(), rest)
        .prop_filter_map("the model refuses some", |(monitor, schedule, shutdown, watchdog, restart, circuit, rest)| {
            let (start_timeout, terminal_ttl, strategy, gate, isolation) = rest;
            let (readiness_timeout, min_healthy_time, auto_revert, observation_time) = gate;
            let draft = SpecDraft {
                monitor: Some(monitor),
                schedule: ScheduleDraft { interval: schedule.0, timeout: schedule.1, max_runs: schedule.2 },
                start_timeout,
                shutdown: ShutdownDraft { grace_timeout: shutdown.0, abort_timeout: shutdown.1 },
                watchdog: WatchdogDraft {
                    slow_cancellation_after: watchdog.0,
                    long_running_after: watchdog.1,
                    blocked_poll_after: watchdog.2,
                },
                restart: RestartDraft {
                    max_restarts: restart.0,
                    initial_backoff: restart.1,
                    max_backoff: restart.2,
                    window: None,
                },
                circuit,
                swap: SwapDraft { strategy, readiness_timeout, min_healthy_time, auto_revert, observation_time },
                terminal_ttl,
                isolation,
            };
            TaskSpec::try_new(draft, &mut Violations::new())
        })
        .boxed()
}

fn circuits() -> BoxedStrategy<CircuitDraft> {
    let counts = (option::of(0..5_u32), option::of(5..20_u32), option::of(1..5_u32), option::of(0..=10_000_u32));
    let shapes = (option::of(1.0..10.0_f64), option::of(0.0..0.5_f64), option::of(1..5_u32), option::of(1..=64_u32));
    let spans = (span(1..9), span(100..3_000), span(4_000..80_000_000), span(100..400), span(0..80_000_000));
    let passive = (
        (span(1_000..3_600_000), option::of(1..1_000_000_u32), option::of(1..100_u32)),
        (option::of(0..=1_000_u32), span(300_000..600_000)),
    )
        .prop_map(|((window, min, min_reporters), (trial_permits, lease_ttl))| PassiveDraft {
            window,
            min,
            min_reporters,
            trial_permits,
            trial_concurrency: trial_permits.map(|permits| permits.div_ceil(2).max(1)),
            lease_ttl,
        });
    (counts, shapes, spans, option::of(0..=10_000_u32), passive)
        .prop_map(|(counts, shapes, spans, slow_rate, passive)| CircuitDraft {
            consecutive_failures: counts.0,
            active_window: counts.1,
            active_min: counts.2,
            failure_rate: counts.3,
            slow_rate,
            slow_threshold: spans.0,
            open_base: spans.1,
            open_max: spans.2,
            multiplier: shapes.0,
            jitter: shapes.1,
            close_successes: shapes.2,
            trial_interval: spans.3,
            half_open_max: None,
            stable_for: spans.4,
            streak_cap: shapes.3,
            passive,
        })
        .boxed()
}

fn monitors() -> BoxedStrategy<MonitorDraft> {
    let named = || prop::collection::vec(("[A-Za-z][A-Za-z0-9]{0,8}", "[!-~]{0,9}"), 0..3);
    let bytes = || prop::collection::vec(any::<u8>(), 0..20);
    let host = prop_oneof![
        "[a-z]{1,9}\\.example",
        Just("[2001:db8::1]".to_owned()),
        Just("10.0.0.1".to_owned()),
        "[äöü]{1,5}\\.example"
    ];
    let statuses = prop::collection::vec(prop_oneof!["[1-5][0-9]{2}", Just("200-299".to_owned())], 0..3);
    let patterns = ("[a-zä]{0,5}", prop_oneof![Just(String::new()), Just("a(b|ä)+".to_owned())]);
    let url = (host.clone(), "[a-zä/]{0,9}", prop::bool::ANY);
    let http = (url, "(GET|POST)?", named(), bytes(), statuses, patterns).prop_map(
        |((host, path, tls), method, headers, body, expected_status, (contains, regex))| {
            let body_match = BodyMatchDraft { contains, regex };
            let url = format!("{}://{host}/{path}", if tls { "https" } else { "http" });
            MonitorDraft::Http(HttpDraft { url, method, headers, body, expected_status, body_match })
        },
    );
    let step = (bytes(), bytes()).prop_map(|(send, expect)| TcpStep { send, expect });
    let steps = prop::collection::vec(step, 0..3);
    let tcp = (host, 1..=u16::MAX, steps)
        .prop_map(|(host, port, steps)| MonitorDraft::Tcp(TcpDraft { address: format!("{host}:{port}"), steps }));
    let exec = ("/[a-z]{1,9}", prop::collection::vec(".{0,9}", 0..3), named())
        .prop_map(|(command, args, env)| MonitorDraft::Exec(ExecDraft { command, args, env }));
    let custom = ("[a-z]{1,9}", prop::collection::btree_map(".{0,5}", values(), 0..4))
        .prop_map(|(kind, config)| MonitorDraft::Custom(CustomSpec { kind, config: ConfigValue::Object(config) }));
    prop_oneof![http, tcp, exec, custom].boxed()
}

fn values() -> BoxedStrategy<ConfigValue> {
    let leaf = prop_oneof![
        Just(ConfigValue::Null),
        any::<bool>().prop_map(ConfigValue::Bool),
        (-1e300..1e300_f64).prop_map(ConfigValue::Number),
        ".{0,9}".prop_map(ConfigValue::String),
    ];
    leaf.prop_recursive(5, 20, 4, |inner| {
        let object = prop::collection::btree_map(".{0,5}", inner.clone(), 0..4);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(ConfigValue::List),
            object.prop_map(|fields: BTreeMap<_, _>| ConfigValue::Object(fields)),
        ]
    })
    .boxed()
}

/// The deepest configuration that the model allows must not be too deep for the stored form.
#[test]
fn the_deepest_configuration_reads_back() {
    let deepest = (1..ConfigValue::MAX_DEPTH - 1).fold(ConfigValue::Null, |inner, n| match n % 2 {
        0 => ConfigValue::List(vec![inner]),
        _ => ConfigValue::Object([("in".to_owned(), inner)].into()),
    });
    let config = ConfigValue::Object([("in".to_owned(), deepest)].into());
    let monitor = MonitorDraft::Custom(CustomSpec { kind: "deep".to_owned(), config });
    let draft = SpecDraft { monitor: Some(monitor), ..SpecDraft::default() };
    let spec = TaskSpec::try_new(draft, &mut Violations::new()).expect("as deep as allowed");
    assert_eq!(super::again(&spec), spec);
}

/// What the model accepts must be accepted again as the store writes it, which may be longer: as ASCII.
#[test]
fn a_host_or_url_that_would_be_too_long_as_it_is_stored_is_refused_at_once() {
    let monitors = [
        MonitorDraft::Tcp(TcpDraft { address: format!("{}:1", "ä.".repeat(80)), ..TcpDraft::default() }),
        MonitorDraft::Http(HttpDraft { url: format!("http://a/{}", "ä".repeat(1_000)), ..HttpDraft::default() }),
    ];
    for monitor in monitors {
        let draft = SpecDraft { monitor: Some(monitor), ..SpecDraft::default() };
        let mut violations = Violations::new();
        assert!(TaskSpec::try_new(draft, &mut violations).is_none());
        assert!(violations.as_slice()[0].description.contains("as ASCII"), "{violations}");
    }
}
