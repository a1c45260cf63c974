//! Specs. Absent messages are drafts with nothing set: the model fills in the defaults.

use prost::Message;

use super::config_value::config;
use super::duration::duration;
use super::{isolation, swap_strategy};
use crate::model::{
    BodyMatchDraft, CircuitDraft, CustomSpec, ExecDraft, HttpDraft, MonitorDraft, PassiveDraft, RestartDraft,
    ScheduleDraft, ShutdownDraft, SpecDraft, SwapDraft, TaskSpec, TcpDraft, TcpStep, Violations, WatchdogDraft, limits,
};
use crate::pb::v1;

/// Reads a spec; violations are relative to the spec's own path. One that is too large is not looked into.
pub(super) fn spec(v: &mut Violations, wire: Option<v1::TaskSpec>) -> Option<TaskSpec> {
    let Some(wire) = wire else {
        v.add("", "required");
        return None;
    };
    let bytes = wire.encoded_len();
    if bytes > limits::SPEC_BYTES {
        v.add("", format!("at most {} bytes when encoded, got {bytes}", limits::SPEC_BYTES));
        return None;
    }
    let before = v.as_slice().len();
    let draft = draft(v, wire);
    let spec = TaskSpec::try_new(draft, v);
    spec.filter(|_| v.as_slice().len() == before)
}

fn draft(v: &mut Violations, wire: v1::TaskSpec) -> SpecDraft {
    let v1::TaskSpec {
        monitor,
        schedule,
        start_timeout,
        shutdown,
        watchdog,
        restart,
        terminal_ttl,
        circuit,
        swap,
        isolation: shares,
    } = wire;
    SpecDraft {
        monitor: monitor.map(|wire| monitor_draft(v, wire)),
        schedule: v.within("schedule", |v| schedule_draft(v, schedule)),
        start_timeout: duration(v, "start_timeout", start_timeout),
        shutdown: v.within("shutdown", |v| shutdown_draft(v, shutdown)),
        watchdog: v.within("watchdog", |v| watchdog_draft(v, watchdog)),
        restart: v.within("restart", |v| restart_draft(v, restart)),
        terminal_ttl: duration(v, "terminal_ttl", terminal_ttl),
        circuit: v.within("circuit", |v| circuit_draft(v, circuit)),
        swap: v.within("swap", |v| swap_draft(v, swap)),
        isolation: isolation(v, shares),
    }
}

fn monitor_draft(v: &mut Violations, wire: v1::task_spec::Monitor) -> MonitorDraft {
    match wire {
        v1::task_spec::Monitor::Http(wire) => MonitorDraft::Http(http_draft(wire)),
        v1::task_spec::Monitor::Tcp(v1::TcpMonitor { address, steps }) => {
            let step = |v1::TcpStep { send, expect }| TcpStep { send, expect };
            MonitorDraft::Tcp(TcpDraft { address, steps: steps.into_iter().map(step).collect() })
        }
        v1::task_spec::Monitor::Exec(v1::ExecMonitor { command, args, env }) => {
            let variable = |v1::ExecVariable { name, value }| (name, value);
            MonitorDraft::Exec(ExecDraft { command, args, env: env.into_iter().map(variable).collect() })
        }
        v1::task_spec::Monitor::Custom(v1::CustomMonitor { kind, config: wire }) => {
            MonitorDraft::Custom(CustomSpec { kind, config: v.within("custom", |v| config(v, wire)) })
        }
    }
}

fn http_draft(wire: v1::HttpMonitor) -> HttpDraft {
    let v1::HttpMonitor { url, method, headers, body, expected_status, body_contains, body_regex } = wire;
    let header = |v1::HttpHeader { name, value }| (name, value);
    HttpDraft {
        url,
        method,
        headers: headers.into_iter().map(header).collect(),
        body,
        expected_status,
        body_match: BodyMatchDraft { contains: body_contains, regex: body_regex },
    }
}

fn schedule_draft(v: &mut Violations, wire: Option<v1::Schedule>) -> ScheduleDraft {
    let Some(v1::Schedule { interval, timeout, max_runs }) = wire else { return ScheduleDraft::default() };
    ScheduleDraft { interval: duration(v, "interval", interval), timeout: duration(v, "timeout", timeout), max_runs }
}

fn shutdown_draft(v: &mut Violations, wire: Option<v1::ShutdownPolicy>) -> ShutdownDraft {
    let Some(v1::ShutdownPolicy { grace_timeout, abort_timeout }) = wire else { return ShutdownDraft::default() };
    ShutdownDraft {
        grace_timeout: duration(v, "grace_timeout", grace_timeout),
        abort_timeout: duration(v, "abort_timeout", abort_timeout),
    }
}

fn watchdog_draft(v: &mut Violations, wire: Option<v1::WatchdogPolicy>) -> WatchdogDraft {
    let Some(v1::WatchdogPolicy { slow_cancellation_after, long_running_after, blocked_poll_after }) = wire else {
        return WatchdogDraft::default();
    };
    WatchdogDraft {
        slow_cancellation_after: duration(v, "slow_cancellation_after", slow_cancellation_after),
        long_running_after: duration(v, "long_running_after", long_running_after),
        blocked_poll_after: duration(v, "blocked_poll_after", blocked_poll_after),
    }
}

fn restart_draft(v: &mut Violations, wire: Option<v1::RestartPolicy>) -> RestartDraft {
    let Some(v1::RestartPolicy { max_restarts, initial_backoff, max_backoff, window }) = wire else {
        return RestartDraft::default();
    };
    RestartDraft {
        max_restarts,
        initial_backoff: duration(v, "initial_backoff", initial_backoff),
        max_backoff: duration(v, "max_backoff", max_backoff),
        window: duration(v, "window", window),
    }
}

fn circuit_draft(v: &mut Violations, wire: Option<v1::CircuitPolicy>) -> CircuitDraft {
    let Some(wire) = wire else { return CircuitDraft::default() };
    let v1::CircuitPolicy {
        consecutive_failures,
        active_window,
        active_min,
        failure_rate,
        slow_rate,
        slow_threshold,
        open_base,
        open_max,
        multiplier,
        jitter,
        close_successes,
        trial_interval,
        half_open_max,
        stable_for,
        streak_cap,
        passive_window,
        passive_min,
        min_reporters,
        trial_permits,
        trial_concurrency,
        lease_ttl,
    } = wire;
    CircuitDraft {
        consecutive_failures,
        active_window: set(active_window),
        active_min: set(active_min),
        failure_rate,
        slow_rate,
        slow_threshold: duration(v, "slow_threshold", slow_threshold),
        open_base: duration(v, "open_base", open_base),
        open_max: duration(v, "open_max", open_max),
        multiplier,
        jitter,
        close_successes: set(close_successes),
        trial_interval: duration(v, "trial_interval", trial_interval),
        half_open_max: duration(v, "half_open_max", half_open_max),
        stable_for: duration(v, "stable_for", stable_for),
        streak_cap: set(streak_cap),
        passive: PassiveDraft {
            window: duration(v, "passive_window", passive_window),
            min: set(passive_min),
            min_reporters: set(min_reporters),
            trial_permits,
            trial_concurrency: set(trial_concurrency),
            lease_ttl: duration(v, "lease_ttl", lease_ttl),
        },
    }
}

fn swap_draft(v: &mut Violations, wire: Option<v1::SwapPolicy>) -> SwapDraft {
    let Some(v1::SwapPolicy { strategy, readiness_timeout, min_healthy_time, auto_revert, observation_time }) = wire
    else {
        return SwapDraft::default();
    };
    SwapDraft {
        strategy: swap_strategy(v, strategy),
        readiness_timeout: duration(v, "readiness_timeout", readiness_timeout),
        min_healthy_time: duration(v, "min_healthy_time", min_healthy_time),
        auto_revert,
        observation_time: duration(v, "observation_time", observation_time),
    }
}

/// A count for which 0 has no meaning: it is one that was not given.
fn set(count: u32) -> Option<u32> {
    (count != 0).then_some(count)
}
