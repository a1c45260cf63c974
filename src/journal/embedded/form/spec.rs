//! Specs as they are stored: every value, the defaults too, since a later version may have others. Each goes back through the
//! model's own checks.

use super::codes::Code;
use super::monitor::MonitorForm;
use super::{Read, Unreadable, nanos, spans};
use crate::model::{
    CircuitDraft, CircuitPolicy, Isolation, PassiveDraft, RestartDraft, RestartPolicy, Schedule, ScheduleDraft,
    ShutdownDraft, ShutdownPolicy, SpecDraft, SwapDraft, SwapPolicy, SwapStrategy, TaskSpec, Violations, WatchdogDraft,
    WatchdogPolicy,
};

/// A spec.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::journal::embedded) struct SpecForm {
    #[prost(oneof = "MonitorForm", tags = "1, 2, 3, 4")]
    monitor: Option<MonitorForm>,
    #[prost(uint64, tag = "5")]
    interval: u64,
    #[prost(uint64, tag = "6")]
    timeout: u64,
    #[prost(uint32, tag = "7")]
    max_runs: u32,
    #[prost(uint64, tag = "8")]
    start_timeout: u64,
    #[prost(uint64, tag = "9")]
    grace_timeout: u64,
    #[prost(uint64, tag = "10")]
    abort_timeout: u64,
    #[prost(uint64, tag = "11")]
    slow_cancellation_after: u64,
    #[prost(uint64, tag = "12")]
    long_running_after: u64,
    #[prost(uint64, tag = "13")]
    blocked_poll_after: u64,
    #[prost(message, optional, tag = "14")]
    restart: Option<RestartPolicyForm>,
    #[prost(message, optional, tag = "15")]
    circuit: Option<CircuitPolicyForm>,
    #[prost(uint32, tag = "16")]
    swap_strategy: u32,
    #[prost(uint64, tag = "17")]
    readiness_timeout: u64,
    #[prost(uint64, tag = "18")]
    terminal_ttl: u64,
    #[prost(uint32, tag = "19")]
    isolation: u32,
    /// Absent in stores of before: 0, as all had it.
    #[prost(uint64, tag = "20")]
    min_healthy_time: u64,
    #[prost(bool, tag = "21")]
    auto_revert: bool,
    /// Absent in stores of before: the default, which without `auto_revert` is of no effect.
    #[prost(uint64, optional, tag = "22")]
    observation_time: Option<u64>,
}

/// A restart policy.
#[derive(Clone, PartialEq, prost::Message)]
struct RestartPolicyForm {
    #[prost(uint32, tag = "1")]
    max_restarts: u32,
    #[prost(uint64, tag = "2")]
    initial_backoff: u64,
    #[prost(uint64, tag = "3")]
    max_backoff: u64,
    #[prost(uint64, tag = "4")]
    window: u64,
}

/// A circuit policy; 0 is off.
#[derive(Clone, PartialEq, prost::Message)]
struct CircuitPolicyForm {
    #[prost(uint32, tag = "1")]
    consecutive_failures: u32,
    #[prost(uint32, tag = "2")]
    active_window: u32,
    #[prost(uint32, tag = "3")]
    active_min: u32,
    #[prost(uint32, tag = "4")]
    failure_rate: u32,
    #[prost(uint32, tag = "5")]
    slow_rate: u32,
    #[prost(uint64, optional, tag = "6")]
    slow_threshold: Option<u64>,
    #[prost(uint64, tag = "7")]
    open_base: u64,
    #[prost(uint64, tag = "8")]
    open_max: u64,
    #[prost(double, tag = "9")]
    multiplier: f64,
    #[prost(double, tag = "10")]
    jitter: f64,
    #[prost(uint32, tag = "11")]
    close_successes: u32,
    #[prost(uint64, tag = "12")]
    trial_interval: u64,
    #[prost(uint64, tag = "13")]
    half_open_max: u64,
    #[prost(uint64, tag = "14")]
    stable_for: u64,
    #[prost(uint32, tag = "15")]
    streak_cap: u32,
    /// What callers have a say in: absent in stores of before, and then the defaults.
    #[prost(uint64, optional, tag = "16")]
    passive_window: Option<u64>,
    #[prost(uint32, optional, tag = "17")]
    passive_min: Option<u32>,
    #[prost(uint32, optional, tag = "18")]
    min_reporters: Option<u32>,
    #[prost(uint32, optional, tag = "19")]
    trial_permits: Option<u32>,
    #[prost(uint32, optional, tag = "20")]
    trial_concurrency: Option<u32>,
    #[prost(uint64, optional, tag = "21")]
    lease_ttl: Option<u64>,
}

impl SpecForm {
    pub(in crate::journal::embedded) fn of(spec: &TaskSpec) -> Self {
        let (schedule, shutdown, watchdog): (&Schedule, &ShutdownPolicy, &WatchdogPolicy) =
            (spec.schedule(), spec.shutdown(), spec.watchdog());
        let swap: &SwapPolicy = spec.swap();
        Self {
            monitor: Some(MonitorForm::of(spec.monitor())),
            interval: nanos(schedule.interval()),
            timeout: nanos(schedule.timeout()),
            max_runs: schedule.max_runs().unwrap_or(0),
            start_timeout: nanos(spec.start_timeout()),
            grace_timeout: nanos(shutdown.grace_timeout()),
            abort_timeout: nanos(shutdown.abort_timeout()),
            slow_cancellation_after: nanos(watchdog.slow_cancellation_after()),
            long_running_after: nanos(watchdog.long_running_after()),
            blocked_poll_after: nanos(watchdog.blocked_poll_after()),
            restart: Some(RestartPolicyForm::of(spec.restart())),
            circuit: Some(CircuitPolicyForm::of(spec.circuit())),
            swap_strategy: swap.strategy().code(),
            readiness_timeout: nanos(swap.readiness_timeout()),
            terminal_ttl: nanos(spec.terminal_ttl()),
            isolation: spec.isolation().code(),
            min_healthy_time: nanos(swap.min_healthy_time()),
            auto_revert: swap.auto_revert(),
            observation_time: Some(nanos(swap.observation_time())),
        }
    }

    pub(in crate::journal::embedded) fn read(self) -> Read<TaskSpec> {
        let Self {
            monitor,
            interval,
            timeout,
            max_runs,
            start_timeout,
            grace_timeout,
            abort_timeout,
            slow_cancellation_after,
            long_running_after,
            blocked_poll_after,
            restart,
            circuit,
            swap_strategy,
            readiness_timeout,
            terminal_ttl,
            isolation,
            min_healthy_time,
            auto_revert,
            observation_time,
        } = self;
        let draft = SpecDraft {
            monitor: Some(monitor.ok_or(Unreadable::Missing("monitor"))?.read()?),
            schedule: ScheduleDraft { interval: spans(Some(interval)), timeout: spans(Some(timeout)), max_runs },
            start_timeout: spans(Some(start_timeout)),
            shutdown: ShutdownDraft {
                grace_timeout: spans(Some(grace_timeout)),
                abort_timeout: spans(Some(abort_timeout)),
            },
            watchdog: WatchdogDraft {
                slow_cancellation_after: spans(Some(slow_cancellation_after)),
                long_running_after: spans(Some(long_running_after)),
                blocked_poll_after: spans(Some(blocked_poll_after)),
            },
            restart: restart.ok_or(Unreadable::Missing("restart policy"))?.draft(),
            circuit: circuit.ok_or(Unreadable::Missing("circuit policy"))?.draft(),
            swap: SwapDraft {
                strategy: Some(SwapStrategy::of(swap_strategy)?),
                readiness_timeout: spans(Some(readiness_timeout)),
                min_healthy_time: spans(Some(min_healthy_time)),
                auto_revert,
                observation_time: spans(observation_time),
            },
            terminal_ttl: spans(Some(terminal_ttl)),
            isolation: Some(Isolation::of(isolation)?),
        };
        let mut violations = Violations::new();
        let spec = TaskSpec::try_new(draft, &mut violations);
        violations.finish(spec).map_err(|violations| Unreadable::violations("spec", violations))
    }
}

impl RestartPolicyForm {
    fn of(restart: &RestartPolicy) -> Self {
        Self {
            max_restarts: restart.max_restarts(),
            initial_backoff: nanos(restart.initial_backoff()),
            max_backoff: nanos(restart.max_backoff()),
            window: nanos(restart.window()),
        }
    }

    fn draft(&self) -> RestartDraft {
        let Self { max_restarts, initial_backoff, max_backoff, window } = *self;
        RestartDraft {
            max_restarts: Some(max_restarts),
            initial_backoff: spans(Some(initial_backoff)),
            max_backoff: spans(Some(max_backoff)),
            window: spans(Some(window)),
        }
    }
}

impl CircuitPolicyForm {
    fn of(circuit: &CircuitPolicy) -> Self {
        Self {
            consecutive_failures: circuit.consecutive_failures().unwrap_or(0),
            active_window: circuit.active_window(),
            active_min: circuit.active_min(),
            failure_rate: circuit.failure_rate().unwrap_or(0),
            slow_rate: circuit.slow_rate().unwrap_or(0),
            slow_threshold: circuit.slow_threshold().map(nanos),
            open_base: nanos(circuit.open_base()),
            open_max: nanos(circuit.open_max()),
            multiplier: circuit.multiplier(),
            jitter: circuit.jitter(),
            close_successes: circuit.close_successes(),
            trial_interval: nanos(circuit.trial_interval()),
            half_open_max: nanos(circuit.half_open_max()),
            stable_for: nanos(circuit.stable_for()),
            streak_cap: circuit.streak_cap(),
            passive_window: Some(nanos(circuit.passive().window())),
            passive_min: Some(circuit.passive().min()),
            min_reporters: Some(circuit.passive().min_reporters()),
            trial_permits: Some(circuit.passive().trial_permits()),
            trial_concurrency: Some(circuit.passive().trial_concurrency()),
            lease_ttl: Some(nanos(circuit.passive().lease_ttl())),
        }
    }

    fn draft(&self) -> CircuitDraft {
        let Self {
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
        } = *self;
        CircuitDraft {
            consecutive_failures: Some(consecutive_failures),
            active_window: Some(active_window),
            active_min: Some(active_min),
            failure_rate: Some(failure_rate),
            slow_rate: Some(slow_rate),
            slow_threshold: spans(slow_threshold),
            open_base: spans(Some(open_base)),
            open_max: spans(Some(open_max)),
            multiplier: Some(multiplier),
            jitter: Some(jitter),
            close_successes: Some(close_successes),
            trial_interval: spans(Some(trial_interval)),
            half_open_max: spans(Some(half_open_max)),
            stable_for: spans(Some(stable_for)),
            streak_cap: Some(streak_cap),
            passive: PassiveDraft {
                window: spans(passive_window),
                min: passive_min,
                min_reporters,
                trial_permits,
                trial_concurrency,
                lease_ttl: spans(lease_ttl),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::embedded::tests::spec;

    #[test]
    fn a_spec_from_before_gates_and_observations_has_neither() {
        let old = SpecForm { min_healthy_time: 0, observation_time: None, ..SpecForm::of(&spec("t1", 1)) };
        let read = old.read().expect("valid");
        assert_eq!((read.swap().min_healthy_time().is_zero(), read.swap().auto_revert()), (true, false));
        assert_eq!(&read, &*spec("t1", 1));
    }
}
