//! Specs, every default filled in.

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};

use super::time::duration;
use crate::model::{
    CircuitPolicy, ConfigValue, CustomSpec, ExecSpec, HttpSpec, MonitorSpec, RestartPolicy, Schedule, ShutdownPolicy,
    SwapPolicy, TaskSpec, TcpSpec, TcpStep, WatchdogPolicy,
};
use crate::pb::v1;

/// A spec.
pub fn spec(spec: &TaskSpec) -> v1::TaskSpec {
    v1::TaskSpec {
        monitor: Some(monitor(spec.monitor())),
        schedule: Some(schedule(spec.schedule())),
        start_timeout: Some(duration(spec.start_timeout())),
        shutdown: Some(shutdown(spec.shutdown())),
        watchdog: Some(watchdog(spec.watchdog())),
        restart: Some(restart(spec.restart())),
        terminal_ttl: Some(duration(spec.terminal_ttl())),
        circuit: Some(circuit(spec.circuit())),
        swap: Some(swap(spec.swap())),
        isolation: v1::Isolation::from(spec.isolation()).into(),
    }
}

fn monitor(monitor: &MonitorSpec) -> v1::task_spec::Monitor {
    match monitor {
        MonitorSpec::Http(spec) => v1::task_spec::Monitor::Http(http(spec)),
        MonitorSpec::Tcp(spec) => v1::task_spec::Monitor::Tcp(tcp(spec)),
        MonitorSpec::Exec(spec) => v1::task_spec::Monitor::Exec(exec(spec)),
        MonitorSpec::Custom(CustomSpec { kind, config }) => {
            v1::task_spec::Monitor::Custom(v1::CustomMonitor { kind: kind.clone(), config: object(config) })
        }
    }
}

fn http(spec: &HttpSpec) -> v1::HttpMonitor {
    let header = |(name, value): &(String, String)| v1::HttpHeader { name: name.clone(), value: value.clone() };
    let body_match = spec.body_match();
    v1::HttpMonitor {
        url: spec.url().to_string(),
        method: spec.method().to_owned(),
        headers: spec.headers().iter().map(header).collect(),
        body: spec.body().to_vec(),
        expected_status: spec.expected_status().iter().map(ToString::to_string).collect(),
        body_contains: body_match.contains().unwrap_or_default().to_owned(),
        body_regex: body_match.regex().map(|regex| regex.as_str().to_owned()).unwrap_or_default(),
    }
}

fn tcp(spec: &TcpSpec) -> v1::TcpMonitor {
    let step = |TcpStep { send, expect }: &TcpStep| v1::TcpStep { send: send.clone(), expect: expect.clone() };
    v1::TcpMonitor {
        address: format!("{}:{}", spec.host(), spec.port()),
        steps: spec.steps().iter().map(step).collect(),
    }
}

fn exec(spec: &ExecSpec) -> v1::ExecMonitor {
    let variable = |(name, value): &(String, String)| v1::ExecVariable { name: name.clone(), value: value.clone() };
    v1::ExecMonitor {
        command: spec.command().to_owned(),
        args: spec.args().to_vec(),
        env: spec.env().iter().map(variable).collect(),
    }
}

fn schedule(schedule: &Schedule) -> v1::Schedule {
    v1::Schedule {
        interval: Some(duration(schedule.interval())),
        timeout: Some(duration(schedule.timeout())),
        max_runs: schedule.max_runs().unwrap_or(0),
    }
}

fn shutdown(policy: &ShutdownPolicy) -> v1::ShutdownPolicy {
    v1::ShutdownPolicy {
        grace_timeout: Some(duration(policy.grace_timeout())),
        abort_timeout: Some(duration(policy.abort_timeout())),
    }
}

fn watchdog(policy: &WatchdogPolicy) -> v1::WatchdogPolicy {
    v1::WatchdogPolicy {
        slow_cancellation_after: Some(duration(policy.slow_cancellation_after())),
        long_running_after: Some(duration(policy.long_running_after())),
        blocked_poll_after: Some(duration(policy.blocked_poll_after())),
    }
}

fn restart(policy: &RestartPolicy) -> v1::RestartPolicy {
    v1::RestartPolicy {
        max_restarts: Some(policy.max_restarts()),
        initial_backoff: Some(duration(policy.initial_backoff())),
        max_backoff: Some(duration(policy.max_backoff())),
        window: Some(duration(policy.window())),
    }
}

fn circuit(policy: &CircuitPolicy) -> v1::CircuitPolicy {
    v1::CircuitPolicy {
        consecutive_failures: Some(policy.consecutive_failures().unwrap_or(0)),
        active_window: policy.active_window(),
        active_min: policy.active_min(),
        failure_rate: Some(policy.failure_rate().unwrap_or(0)),
        slow_rate: Some(policy.slow_rate().unwrap_or(0)),
        slow_threshold: policy.slow_threshold().map(duration),
        open_base: Some(duration(policy.open_base())),
        open_max: Some(duration(policy.open_max())),
        multiplier: Some(policy.multiplier()),
        jitter: Some(policy.jitter()),
        close_successes: policy.close_successes(),
        trial_interval: Some(duration(policy.trial_interval())),
        half_open_max: Some(duration(policy.half_open_max())),
        stable_for: Some(duration(policy.stable_for())),
        streak_cap: policy.streak_cap(),
        passive_window: Some(duration(policy.passive().window())),
        passive_min: policy.passive().min(),
        min_reporters: policy.passive().min_reporters(),
        trial_permits: Some(policy.passive().trial_permits()),
        trial_concurrency: policy.passive().trial_concurrency(),
        lease_ttl: Some(duration(policy.passive().lease_ttl())),
    }
}

fn swap(policy: &SwapPolicy) -> v1::SwapPolicy {
    v1::SwapPolicy {
        strategy: v1::SwapStrategy::from(policy.strategy()).into(),
        readiness_timeout: Some(duration(policy.readiness_timeout())),
        min_healthy_time: Some(duration(policy.min_healthy_time())),
        auto_revert: policy.auto_revert(),
        observation_time: Some(duration(policy.observation_time())),
    }
}

/// A configuration is an object: the model takes nothing else.
fn object(config: &ConfigValue) -> Option<Struct> {
    match value(config).kind {
        Some(Kind::StructValue(fields)) => Some(fields),
        _ => None,
    }
}

/// The recursion is as deep as the model lets a configuration be.
fn value(config: &ConfigValue) -> Value {
    let kind = match config {
        ConfigValue::Null => Kind::NullValue(prost_types::NullValue::NullValue.into()),
        ConfigValue::Bool(value) => Kind::BoolValue(*value),
        ConfigValue::Number(value) => Kind::NumberValue(*value),
        ConfigValue::String(value) => Kind::StringValue(value.clone()),
        ConfigValue::List(values) => Kind::ListValue(ListValue { values: values.iter().map(value).collect() }),
        ConfigValue::Object(fields) => {
            let fields = fields.iter().map(|(key, field)| (key.clone(), value(field))).collect();
            Kind::StructValue(Struct { fields })
        }
    };
    Value { kind: Some(kind) }
}
