//! Specs.

use prost_types::value::Kind;
use prost_types::{Duration, Struct, Value};
use switchyard::pb::v1::task_spec::Monitor;
use switchyard::pb::v1::{
    CircuitPolicy, CustomMonitor, ExecMonitor, ExecVariable, HttpHeader, HttpMonitor, RestartPolicy, Schedule,
    ShutdownPolicy, SwapPolicy, TaskSpec, TcpMonitor, TcpStep, WatchdogPolicy,
};
use tonic::Code;

use super::{Case, call};
use crate::harness;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = http();
    cases.extend(tcp());
    cases.extend(exec());
    cases.extend(custom());
    cases.extend(schedule());
    cases.extend(policies());
    cases.extend(circuit());
    cases.extend(swap());
    cases.extend(whole());
    cases
}

fn monitored(what: impl Into<String>, field: &'static str, monitor: Monitor) -> Case {
    Case::invalid(what, field, call!(start_task, harness::start("fresh", monitor)))
}

fn with_http(what: impl Into<String>, field: &'static str, spoil: impl FnOnce(&mut HttpMonitor)) -> Case {
    let mut http = HttpMonitor { url: "http://127.0.0.1:1/".to_owned(), ..Default::default() };
    spoil(&mut http);
    monitored(what, field, Monitor::Http(http))
}

fn http() -> Vec<Case> {
    let mut cases = Vec::new();
    let long = format!("http://a/{}", "x".repeat(3 * 1024));
    for url in [
        "",
        "example.com",
        "/health",
        "ftp://a/",
        "http://",
        "http:a/",
        "http:/a/",
        "http:///a/",
        "http:\\\\a/",
        "http://\\a/",
        "https://",
        "https:///a/",
        "https://user@a/",
        "https://a:0/",
        "https://a!b/",
        "https://-a/",
        "https://a-/",
        "https://a..b/",
        "http://user@a/",
        "http://user:secret@a/",
        "http://a:0/",
        "http://a:65536/",
        "http://a/\r\nHost: b",
        "http://a/ b",
        "http://[::1/",
        long.as_str(),
    ] {
        let what = format!("url {:.40}", url);
        cases.push(with_http(what, "task.spec.http.url", |http| http.url = url.to_owned()));
    }
    for method in ["G T", "GET\r\n", "CONNECT", "ä"] {
        cases.push(with_http(method, "task.spec.http.method", |http| http.method = method.to_owned()));
    }
    let header = |name: &str, value: &str| HttpHeader { name: name.to_owned(), value: value.to_owned() };
    let long = "x".repeat(9 * 1024);
    for (name, value, field) in [
        ("", "v", "task.spec.http.headers[1].name"),
        ("a b", "v", "task.spec.http.headers[1].name"),
        ("a\r\nb", "v", "task.spec.http.headers[1].name"),
        ("Content-Length", "3", "task.spec.http.headers[1].name"),
        ("transfer-encoding", "chunked", "task.spec.http.headers[1].name"),
        ("a", "b\r\nc: d", "task.spec.http.headers[1].value"),
        ("a", "\u{0}", "task.spec.http.headers[1].value"),
        ("a", " b", "task.spec.http.headers[1].value"),
        ("a", long.as_str(), "task.spec.http.headers[1]"),
    ] {
        let what = format!("header {:?}: {:.20?}", name, value);
        cases.push(with_http(what, field, |http| http.headers = vec![header("ok", "ok"), header(name, value)]));
    }
    cases.push(with_http("65 headers", "task.spec.http.headers", |http| http.headers = vec![header("a", "b"); 65]));
    cases.push(with_http("a body of 17 KiB", "task.spec.http.body", |http| http.body = vec![0; 17 * 1024]));
    for status in ["", "20x", "99", "600", "300-200", "200-", "200-299-399"] {
        let statuses = vec!["200".to_owned(), status.to_owned()];
        let what = format!("expected_status {status}");
        cases.push(with_http(what, "task.spec.http.expected_status", |http| http.expected_status = statuses));
    }
    cases.push(with_http("65 statuses", "task.spec.http.expected_status", |http| {
        http.expected_status = vec!["200".to_owned(); 65];
    }));
    for (what, regex) in
        [("an unclosed group", "(".to_owned()), ("a pattern that explodes", "(a{999}){999}".to_owned())]
    {
        cases.push(with_http(what, "task.spec.http.body_regex", |http| http.body_regex = regex));
    }
    cases.push(with_http("5 KiB to contain", "task.spec.http.body_contains", |http| {
        http.body_contains = "x".repeat(5 * 1024);
    }));
    cases
}

fn tcp() -> Vec<Case> {
    let mut cases = Vec::new();
    for address in ["", "a", "a:", ":1", "a:0", "a:65536", "a:-1", "a:http", "::1:53", "a b:1", "http://a:1"] {
        let tcp = TcpMonitor { address: address.to_owned(), steps: Vec::new() };
        cases.push(monitored(format!("address {address}"), "task.spec.tcp.address", Monitor::Tcp(tcp)));
    }
    let step = |send: usize, expect: usize| TcpStep { send: vec![0; send], expect: vec![0; expect] };
    for (what, field, steps) in [
        ("an empty step", "task.spec.tcp.steps[1]", vec![step(1, 0), step(0, 0)]),
        ("17 steps", "task.spec.tcp.steps", vec![step(1, 0); 17]),
        ("17 KiB to send", "task.spec.tcp.steps[0].send", vec![step(17 * 1024, 0)]),
        ("5 KiB to expect", "task.spec.tcp.steps[0].expect", vec![step(0, 5 * 1024)]),
    ] {
        cases.push(monitored(what, field, Monitor::Tcp(TcpMonitor { address: "a:1".to_owned(), steps })));
    }
    cases
}

/// The server runs no commands at all; what is wrong with the spec itself is told before that.
fn exec() -> Vec<Case> {
    let with = |what: &str, field, spoil: fn(&mut ExecMonitor)| {
        let mut exec = ExecMonitor { command: "/bin/true".to_owned(), ..Default::default() };
        spoil(&mut exec);
        monitored(what, field, Monitor::Exec(exec))
    };
    fn variable(name: &str, value: &str) -> ExecVariable {
        ExecVariable { name: name.to_owned(), value: value.to_owned() }
    }
    vec![
        with("a command where there are none", "task.spec.exec.command", |_| {}),
        with("no command", "task.spec.exec.command", |exec| exec.command.clear()),
        with("a relative command", "task.spec.exec.command", |exec| exec.command = "true".to_owned()),
        with("a command with NUL", "task.spec.exec.command", |exec| exec.command.push('\0')),
        with("65 arguments", "task.spec.exec.args", |exec| exec.args = vec![String::new(); 65]),
        with("9 KiB of an argument", "task.spec.exec.args[0]", |exec| exec.args = vec!["x".repeat(9 * 1024)]),
        with("an argument with NUL", "task.spec.exec.args[1]", |exec| {
            exec.args = vec![String::new(), "\0".to_owned()];
        }),
        with("65 variables", "task.spec.exec.env", |exec| {
            exec.env = (0..65).map(|n| variable(&n.to_string(), "")).collect();
        }),
        with("a variable without a name", "task.spec.exec.env[0].name", |exec| exec.env = vec![variable("", "")]),
        with("a name with =", "task.spec.exec.env[0].name", |exec| exec.env = vec![variable("a=b", "")]),
        with("a variable that loads code", "task.spec.exec.env[0].name", |exec| {
            exec.env = vec![variable("LD_PRELOAD", "/tmp/a.so")];
        }),
        with("a variable that is given twice", "task.spec.exec.env[2].name", |exec| {
            exec.env = vec![variable("a", "1"), variable("b", "2"), variable("a", "1")];
        }),
        with("a value with NUL", "task.spec.exec.env[0].value", |exec| exec.env = vec![variable("a", "\0")]),
        with("9 KiB of a value", "task.spec.exec.env[0].value", |exec| {
            exec.env = vec![variable("a", &"x".repeat(9 * 1024))];
        }),
    ]
}

fn custom() -> Vec<Case> {
    let kind =
        |kind: &str, config: Struct| Monitor::Custom(CustomMonitor { kind: kind.to_owned(), config: Some(config) });
    let field = |value: Option<Kind>| Struct { fields: [("behaviour".to_owned(), Value { kind: value })].into() };
    let deep = (0..32).fold(Struct::default(), |inner, _| field(Some(Kind::StructValue(inner))));
    let unknown = harness::start("fresh", kind("nonesuch", Struct::default()));
    vec![
        monitored("no kind", "task.spec.custom.kind", kind("", Struct::default())),
        monitored("a long kind", "task.spec.custom.kind", kind(&"k".repeat(64), Struct::default())),
        Case::new(
            "an unknown kind",
            call!(start_task, unknown),
            Code::InvalidArgument,
            "UNKNOWN_KIND",
            "task.spec.custom.kind",
        ),
        monitored("NaN", "task.spec.custom.config", kind("drill", field(Some(Kind::NumberValue(f64::NAN))))),
        monitored("infinity", "task.spec.custom.config", kind("drill", field(Some(Kind::NumberValue(f64::INFINITY))))),
        monitored("a value of no kind", "task.spec.custom.config", kind("drill", field(None))),
        monitored("33 levels", "task.spec.custom.config", kind("drill", deep)),
        monitored("what the kind does not take", "task.spec.custom.config.behaviour", {
            kind("drill", field(Some(Kind::StringValue("nonsense".to_owned()))))
        }),
    ]
}

fn seconds(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}

fn nanos(seconds: i64, nanos: i32) -> Option<Duration> {
    Some(Duration { seconds, nanos })
}

fn with_spec(what: impl Into<String>, field: &'static str, spoil: impl FnOnce(&mut TaskSpec)) -> Case {
    let mut request = harness::idle("fresh");
    spoil(request.task.as_mut().and_then(|task| task.spec.as_mut()).expect("set"));
    Case::invalid(what, field, call!(start_task, request))
}

fn schedule() -> Vec<Case> {
    let with = |what: &str, field, schedule| with_spec(what, field, |spec| spec.schedule = Some(schedule));
    let interval =
        |what: &str, interval| with(what, "task.spec.schedule.interval", Schedule { interval, ..Default::default() });
    let timeout = |what: &str, interval, timeout| {
        with(what, "task.spec.schedule.timeout", Schedule { interval, timeout, max_runs: 0 })
    };
    vec![
        interval("an interval of 0", seconds(0)),
        interval("a negative interval", seconds(-1)),
        interval("an interval of -1 ns", nanos(0, -1)),
        interval("an interval of 25 h", seconds(90_000)),
        interval("an overflowing interval", seconds(i64::MAX)),
        interval("an underflowing interval", seconds(i64::MIN)),
        interval("too many nanoseconds", nanos(1, 1_000_000_000)),
        interval("signs that differ", nanos(1, -1)),
        timeout("a timeout of 0", None, seconds(0)),
        timeout("a timeout longer than the interval", seconds(5), seconds(6)),
        timeout("a timeout of 6 min", seconds(3_600), seconds(360)),
        with(
            "2 thousand million runs",
            "task.spec.schedule.max_runs",
            Schedule { max_runs: 2_000_000_000, ..Default::default() },
        ),
    ]
}

fn policies() -> Vec<Case> {
    let shutdown = |what: &str, field, policy| with_spec(what, field, |spec| spec.shutdown = Some(policy));
    let watchdog = |what: &str, field, policy| with_spec(what, field, |spec| spec.watchdog = Some(policy));
    let restart = |what: &str, field, policy| with_spec(what, field, |spec| spec.restart = Some(policy));
    vec![
        shutdown(
            "a grace of 61 s",
            "task.spec.shutdown.grace_timeout",
            ShutdownPolicy { grace_timeout: seconds(61), abort_timeout: None },
        ),
        shutdown(
            "an abort of 0",
            "task.spec.shutdown.abort_timeout",
            ShutdownPolicy { grace_timeout: None, abort_timeout: seconds(0) },
        ),
        watchdog(
            "slow at once",
            "task.spec.watchdog.slow_cancellation_after",
            WatchdogPolicy { slow_cancellation_after: seconds(0), ..WatchdogPolicy::default() },
        ),
        watchdog(
            "long after 2 h",
            "task.spec.watchdog.long_running_after",
            WatchdogPolicy { long_running_after: seconds(7_200), ..WatchdogPolicy::default() },
        ),
        watchdog(
            "blocked at once",
            "task.spec.watchdog.blocked_poll_after",
            WatchdogPolicy { blocked_poll_after: seconds(0), ..WatchdogPolicy::default() },
        ),
        restart(
            "101 restarts",
            "task.spec.restart.max_restarts",
            RestartPolicy { max_restarts: Some(101), window: seconds(600_000), ..Default::default() },
        ),
        restart(
            "no back-off",
            "task.spec.restart.initial_backoff",
            RestartPolicy { initial_backoff: seconds(0), ..Default::default() },
        ),
        restart(
            "a back-off that shrinks",
            "task.spec.restart.max_backoff",
            RestartPolicy { initial_backoff: seconds(10), max_backoff: seconds(5), ..Default::default() },
        ),
        restart(
            "a window that a crash loop outlasts",
            "task.spec.restart.window",
            RestartPolicy { window: seconds(60), ..Default::default() },
        ),
        restart(
            "a window of 8 d",
            "task.spec.restart.window",
            RestartPolicy { window: seconds(8 * 86_400), ..Default::default() },
        ),
    ]
}

fn circuit() -> Vec<Case> {
    let with = |what: &str, field, policy| with_spec(what, field, |spec| spec.circuit = Some(policy));
    let hourly = Some(Schedule { interval: seconds(3_600), ..Default::default() });
    let off = CircuitPolicy { consecutive_failures: Some(0), failure_rate: Some(0), ..Default::default() };
    vec![
        with("a circuit that can never open", "task.spec.circuit.consecutive_failures", off),
        with_spec("a circuit that opens in half a day", "task.spec.circuit.consecutive_failures", |spec| {
            let failures = Some(12);
            spec.schedule = hourly;
            spec.circuit =
                Some(CircuitPolicy { consecutive_failures: failures, active_min: 20, active_window: 20, ..off });
        }),
        with(
            "more results than the window has",
            "task.spec.circuit.active_min",
            CircuitPolicy { active_window: 4, active_min: 5, ..Default::default() },
        ),
        with(
            "101 %",
            "task.spec.circuit.failure_rate",
            CircuitPolicy { failure_rate: Some(10_100), ..Default::default() },
        ),
        with(
            "slow as late as failed",
            "task.spec.circuit.slow_threshold",
            CircuitPolicy { slow_threshold: seconds(10), ..Default::default() },
        ),
        with(
            "a back-off that shrinks",
            "task.spec.circuit.open_max",
            CircuitPolicy { open_base: seconds(10), open_max: seconds(5), ..Default::default() },
        ),
        with(
            "a multiplier that is none",
            "task.spec.circuit.multiplier",
            CircuitPolicy { multiplier: Some(f64::NAN), ..Default::default() },
        ),
        with(
            "a negative jitter",
            "task.spec.circuit.jitter",
            CircuitPolicy { jitter: Some(-0.1), ..Default::default() },
        ),
        with(
            "a trial without time",
            "task.spec.circuit.half_open_max",
            CircuitPolicy { half_open_max: seconds(1), ..Default::default() },
        ),
        with(
            "a negative stable period",
            "task.spec.circuit.stable_for",
            CircuitPolicy { stable_for: seconds(-1), ..Default::default() },
        ),
    ]
}

fn swap() -> Vec<Case> {
    let with = |what: &str, field, policy| with_spec(what, field, |spec| spec.swap = Some(policy));
    vec![
        with("a strategy of the future", "task.spec.swap.strategy", SwapPolicy { strategy: 3, ..Default::default() }),
        with(
            "ready at once",
            "task.spec.swap.readiness_timeout",
            SwapPolicy { readiness_timeout: seconds(0), ..Default::default() },
        ),
        with(
            "ready after 11 min",
            "task.spec.swap.readiness_timeout",
            SwapPolicy { readiness_timeout: seconds(660), ..Default::default() },
        ),
        with(
            "healthy before it began",
            "task.spec.swap.min_healthy_time",
            SwapPolicy { min_healthy_time: seconds(-1), ..Default::default() },
        ),
        with(
            "healthy for 11 min",
            "task.spec.swap.min_healthy_time",
            SwapPolicy { min_healthy_time: seconds(660), ..Default::default() },
        ),
        with(
            "observed for no time",
            "task.spec.swap.observation_time",
            SwapPolicy { observation_time: seconds(0), ..Default::default() },
        ),
        with(
            "observed for 11 min",
            "task.spec.swap.observation_time",
            SwapPolicy { observation_time: seconds(660), ..Default::default() },
        ),
    ]
}

fn whole() -> Vec<Case> {
    vec![
        with_spec("no monitor", "task.spec.monitor", |spec| spec.monitor = None),
        with_spec("a start timeout of 0", "task.spec.start_timeout", |spec| spec.start_timeout = seconds(0)),
        with_spec("a start timeout of 11 min", "task.spec.start_timeout", |spec| spec.start_timeout = seconds(660)),
        with_spec("an isolation of the future", "task.spec.isolation", |spec| spec.isolation = 3),
        with_spec("a negative isolation", "task.spec.isolation", |spec| spec.isolation = -1),
        with_spec("a negative time to live", "task.spec.terminal_ttl", |spec| spec.terminal_ttl = seconds(-1)),
        with_spec("a time to live of 31 d", "task.spec.terminal_ttl", |spec| spec.terminal_ttl = seconds(31 * 86_400)),
        with_http("a spec of 1 MiB", "task.spec", |http| http.body_contains = "x".repeat(1024 * 1024)),
    ]
}
