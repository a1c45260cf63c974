//! What requests may say, and that what is rendered reads back as the same.

mod swap;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use prost::Message;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};

use super::*;
use crate::model::{Actor, ConfigValue, MonitorSpec, State, Violations, limits};
use crate::pb::render::EventView;
use crate::pb::v1::task_spec::Monitor;
use crate::pb::{render, v1};

const ACTOR: Actor = Actor::Anonymous(IpAddr::V4(Ipv4Addr::LOCALHOST));
const ID: &str = "8f14e45f-ceea-467f-a9c3-4b2f5d1e7c90";

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn http(url: &str) -> Option<Monitor> {
    Some(Monitor::Http(v1::HttpMonitor { url: url.to_owned(), ..Default::default() }))
}

fn spec() -> v1::TaskSpec {
    v1::TaskSpec { monitor: http("http://127.0.0.1:1/"), ..Default::default() }
}

fn custom(config: Struct) -> v1::TaskSpec {
    let custom = v1::CustomMonitor { kind: "drill".to_owned(), config: Some(config) };
    v1::TaskSpec { monitor: Some(Monitor::Custom(custom)), ..Default::default() }
}

fn object(kind: Option<Kind>) -> Struct {
    Struct { fields: [("a".to_owned(), Value { kind })].into() }
}

fn start(spec: v1::TaskSpec) -> v1::StartTaskRequest {
    let task = v1::Task { spec: Some(spec), ..Default::default() };
    v1::StartTaskRequest { task_id: "api".to_owned(), task: Some(task), ..Default::default() }
}

fn fields(violations: &Violations) -> Vec<&str> {
    violations.as_slice().iter().map(|violation| violation.field.as_str()).collect()
}

/// The fields that a StartTask of `request` is refused for.
fn refused(request: v1::StartTaskRequest) -> Vec<String> {
    let violations = start_task(request, ACTOR).expect_err("refused");
    fields(&violations).into_iter().map(str::to_owned).collect()
}

#[test]
fn all_violations_come_back_together_in_the_order_of_the_fields() {
    let header = |name: &str, value: &str| v1::HttpHeader { name: name.to_owned(), value: value.to_owned() };
    let monitor = v1::HttpMonitor {
        url: "ftp://x".to_owned(),
        headers: vec![header("a", "b"), header("a", "b"), header("a", "b\r\nc: d")],
        ..Default::default()
    };
    let spec = v1::TaskSpec {
        monitor: Some(Monitor::Http(monitor)),
        schedule: Some(v1::Schedule { interval: seconds(-1), timeout: seconds(1), max_runs: u32::MAX }),
        terminal_ttl: seconds(i64::MAX),
        ..Default::default()
    };
    let mut request = start(spec);
    request.parent = "namespaces/A".to_owned();
    request.task_id = String::new();
    request.reason = "r".repeat(limits::REASON_BYTES + 1);
    request.request_id = "not-a-uuid".to_owned();
    request.task.as_mut().expect("set").labels.insert("k".to_owned(), "v".repeat(64));
    assert_eq!(
        refused(request),
        [
            "request_id",
            "parent",
            "task_id",
            "task.labels.k",
            "task.spec.schedule.interval",
            "task.spec.terminal_ttl",
            "task.spec.http.url",
            "task.spec.http.headers[2].value",
            "task.spec.schedule.max_runs",
            "reason",
        ]
    );
}

#[test]
fn what_is_required_is_named() {
    assert_eq!(refused(v1::StartTaskRequest { task_id: "a".to_owned(), ..Default::default() }), ["task"]);
    let mut request = start(spec());
    request.task = Some(v1::Task::default());
    assert_eq!(refused(request), ["task.spec"]);
    assert_eq!(refused(start(v1::TaskSpec::default())), ["task.spec.monitor"]);
    let violations = get_task(v1::GetTaskRequest::default()).expect_err("no name");
    assert_eq!(fields(&violations), ["name"]);
}

#[test]
fn an_oversize_spec_is_one_violation() {
    let mut spec = spec();
    spec.monitor = http(&"x".repeat(limits::SPEC_BYTES));
    spec.terminal_ttl = seconds(-1);
    assert_eq!(refused(start(spec)), ["task.spec"]);
}

#[test]
fn output_only_fields_are_ignored() {
    let mut request = start(spec());
    let task = request.task.as_mut().expect("set");
    task.name = "nonsense".to_owned();
    task.uid = "nonsense".to_owned();
    task.state = 4711;
    task.generation = 9;
    assert!(start_task(request, ACTOR).is_ok());
}

#[test]
fn a_request_id_fingerprints_everything_else() {
    let idempotency = |id: &str, reason: &str, labels: &[&str]| {
        let mut request = start(spec());
        request.request_id = id.to_owned();
        request.reason = reason.to_owned();
        let task = request.task.as_mut().expect("set");
        task.labels = labels.iter().map(|key| ((*key).to_owned(), String::new())).collect();
        start_task(request, ACTOR).expect("valid").idempotency
    };
    assert_eq!(idempotency("", "", &[]), None);
    let first = idempotency(ID, "why", &["a", "b"]).expect("given");
    assert_eq!(idempotency(ID, "why", &["b", "a"]), Some(first));
    assert_ne!(idempotency(ID, "", &["a", "b"]), Some(first));
    assert_eq!(first.request_id.to_string(), ID);
    let mut nil = start(spec());
    nil.request_id = uuid::Uuid::nil().to_string();
    assert_eq!(refused(nil), ["request_id"]);
}

#[test]
fn an_empty_etag_is_not_given() {
    let request = |etag: &str| v1::DeleteTaskRequest {
        name: "namespaces/default/tasks/api".to_owned(),
        etag: etag.to_owned(),
        ..Default::default()
    };
    assert!(delete_task(request(""), ACTOR).expect("valid").etag.is_none());
    assert!(delete_task(request("x"), ACTOR).expect("valid").etag.is_some());
}

#[test]
fn page_sizes_have_a_default_and_a_most() {
    let page_size = |page_size| list_tasks(v1::ListTasksRequest { page_size, ..Default::default() });
    let sizes = [(0, 50), (1, 1), (1_000, 1_000), (1_001, 1_000), (i32::MAX, 1_000)];
    for (asked, given) in sizes {
        assert_eq!(page_size(asked).expect("valid").page_size, given);
    }
    assert_eq!(fields(&page_size(-1).expect_err("negative")), ["page_size"]);
}

#[test]
fn waits_have_a_default_and_a_most() {
    let wait = |until: &[i32], timeout| {
        let name = "namespaces/default/tasks/api".to_owned();
        wait_task(v1::WaitTaskRequest { name, until: until.to_vec(), timeout, swap_ended: false })
    };
    let default = wait(&[], None).expect("valid");
    assert_eq!(default.timeout, Duration::from_secs(60));
    assert_eq!(default.until, Until::States([State::Succeeded, State::Failed, State::Cancelled].into()));
    assert!(wait(&[], seconds(600)).is_ok());
    for timeout in [seconds(0), seconds(-1), seconds(601), seconds(i64::MAX)] {
        assert!(fields(&wait(&[], timeout).expect_err("out of range")).contains(&"timeout"));
    }
    let running = v1::State::Running.into();
    assert_eq!(wait(&[running, running], None).expect("valid").until, Until::States([State::Running].into()));
    assert_eq!(
        fields(&wait(&[running, 0, 11, 4711], None).expect_err("unknown")),
        ["until[1]", "until[2]", "until[3]"]
    );
}

#[test]
fn a_watch_begins_where_it_is_told_to() {
    let watch = |start| watch_tasks(v1::WatchTasksRequest { start, ..Default::default() }).expect("valid");
    use v1::watch_tasks_request::Start as Wire;
    assert_eq!(watch(None).start, Start::Now);
    assert_eq!(watch(Some(Wire::SendInitialState(false))).start, Start::Now);
    assert_eq!(watch(Some(Wire::SendInitialState(true))).start, Start::InitialState);
    assert_eq!(watch(Some(Wire::Cursor(String::new()))).start, Start::Cursor(String::new()));
    assert_eq!(watch(None).view, EventView::Basic);
    let violations = watch_tasks(v1::WatchTasksRequest {
        parent: "x".to_owned(),
        filter: "state = RUNNING".to_owned(),
        view: 9,
        end_cursor: "c".to_owned(),
        ..Default::default()
    });
    assert_eq!(fields(&violations.expect_err("all bad")), ["parent", "filter", "view", "end_cursor"]);
    let (start, end_cursor) = (Some(Wire::Cursor("a".to_owned())), "c".to_owned());
    let bounded = watch_tasks(v1::WatchTasksRequest { start, end_cursor, ..Default::default() }).expect("valid");
    assert_eq!(bounded.end.as_deref(), Some("c"));
}

#[test]
fn configurations_are_jsons() {
    for (kind, valid) in [
        (Some(Kind::NumberValue(1.5)), true),
        (Some(Kind::NullValue(0)), true),
        (Some(Kind::NumberValue(f64::NAN)), false),
        (Some(Kind::NumberValue(f64::INFINITY)), false),
        (None, false),
    ] {
        let request = start(custom(object(kind.clone())));
        if valid {
            assert!(start_task(request, ACTOR).is_ok(), "{kind:?}");
        } else {
            assert_eq!(refused(request), ["task.spec.custom.config"], "{kind:?}");
        }
    }
}

#[test]
fn an_unset_configuration_is_an_empty_object() {
    let mut wire = custom(Struct::default());
    if let Some(Monitor::Custom(custom)) = &mut wire.monitor {
        custom.config = None;
    }
    let request = start_task(start(wire), ACTOR).expect("valid");
    let MonitorSpec::Custom(custom) = request.spec.monitor() else { panic!("not custom") };
    assert_eq!(custom.config, ConfigValue::default());
}

/// Wherever prost gives up by itself, the model has refused before: so that no legal depth fails to decode.
#[test]
fn every_legal_depth_decodes_and_the_next_is_a_violation() {
    let objects = |depth: usize| (1..depth).fold(Struct::default(), |inner, _| object(Some(Kind::StructValue(inner))));
    let lists = |depth: usize| {
        let list = |inner, _| Kind::ListValue(ListValue { values: vec![Value { kind: Some(inner) }] });
        object(Some((2..depth).fold(Kind::ListValue(ListValue::default()), list)))
    };
    for nested in [&objects as &dyn Fn(usize) -> Struct, &lists] {
        for (depth, valid) in [(ConfigValue::MAX_DEPTH, true), (ConfigValue::MAX_DEPTH + 1, false)] {
            let encoded = start(custom(nested(depth))).encode_to_vec();
            let request = v1::StartTaskRequest::decode(encoded.as_slice()).expect("decodes");
            assert_eq!(start_task(request, ACTOR).is_ok(), valid, "{depth}");
        }
    }
}

#[test]
fn a_rendered_spec_reads_back_as_the_same() {
    let http = v1::HttpMonitor {
        url: "http://user-less.example:8080/a?b=c".to_owned(),
        method: "POST".to_owned(),
        headers: vec![v1::HttpHeader { name: "Accept".to_owned(), value: "x".to_owned() }],
        body: vec![0, 255],
        expected_status: vec!["204".to_owned(), "300-399".to_owned()],
        body_contains: "ok".to_owned(),
        body_regex: "^a+$".to_owned(),
    };
    let tcp = v1::TcpMonitor {
        address: "[::1]:53".to_owned(),
        steps: vec![v1::TcpStep { send: vec![1], expect: Vec::new() }],
    };
    let exec = v1::ExecMonitor {
        command: "/bin/a b".to_owned(),
        args: vec!["-c".to_owned(), String::new()],
        env: vec![v1::ExecVariable { name: "B".to_owned(), value: "c=d".to_owned() }],
    };
    let values = vec![Value { kind: Some(Kind::BoolValue(true)) }, Value { kind: Some(Kind::NullValue(0)) }];
    let config = object(Some(Kind::ListValue(ListValue { values })));
    let policies = v1::TaskSpec {
        schedule: Some(v1::Schedule { interval: seconds(3), timeout: seconds(2), max_runs: 7 }),
        start_timeout: seconds(9),
        shutdown: Some(v1::ShutdownPolicy { grace_timeout: seconds(0), abort_timeout: seconds(1) }),
        watchdog: Some(v1::WatchdogPolicy {
            slow_cancellation_after: seconds(1),
            long_running_after: seconds(2),
            blocked_poll_after: seconds(3),
        }),
        restart: Some(v1::RestartPolicy {
            max_restarts: Some(0),
            initial_backoff: seconds(1),
            max_backoff: seconds(2),
            window: seconds(3),
        }),
        terminal_ttl: seconds(0),
        circuit: Some(v1::CircuitPolicy {
            consecutive_failures: Some(0),
            active_window: 20,
            active_min: 20,
            failure_rate: Some(0),
            slow_rate: Some(1),
            slow_threshold: seconds(1),
            open_base: seconds(7),
            open_max: seconds(8),
            multiplier: Some(1.5),
            jitter: Some(0.0),
            close_successes: 1,
            trial_interval: seconds(9),
            half_open_max: seconds(86_400),
            stable_for: seconds(0),
            streak_cap: 64,
            passive_window: seconds(45),
            passive_min: 9,
            min_reporters: 2,
            trial_permits: Some(0),
            trial_concurrency: 1,
            lease_ttl: seconds(99),
        }),
        isolation: v1::Isolation::Thread.into(),
        swap: Some(v1::SwapPolicy {
            strategy: v1::SwapStrategy::BreakBeforeMake.into(),
            readiness_timeout: seconds(11),
            min_healthy_time: seconds(12),
            auto_revert: true,
            observation_time: seconds(13),
        }),
        ..spec()
    };
    let specs = [
        spec(),
        v1::TaskSpec { monitor: Some(Monitor::Http(http)), ..Default::default() },
        v1::TaskSpec { monitor: Some(Monitor::Tcp(tcp)), ..Default::default() },
        v1::TaskSpec { monitor: Some(Monitor::Exec(exec)), ..Default::default() },
        custom(config),
        policies.clone(),
    ];
    for wire in specs {
        let parsed = start_task(start(wire), ACTOR).expect("valid").spec;
        let rendered = render::spec(&parsed);
        assert_eq!(start_task(start(rendered), ACTOR).expect("valid").spec, parsed);
    }
    let rendered = render::spec(&start_task(start(policies.clone()), ACTOR).expect("valid").spec);
    assert_eq!(v1::TaskSpec { monitor: None, ..rendered }, v1::TaskSpec { monitor: None, ..policies });
}
