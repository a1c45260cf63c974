//! Random specs, their limits wide.

use std::time::Duration;

use super::Rng;
use crate::model::*;

/// One of a few targets, so that swaps often keep it.
pub(in crate::lifecycle::simulation) fn target(rng: &mut Rng) -> Target {
    Target::of("scripted", if rng.one_in(3) { "other" } else { "same" })
}

/// A random spec.
pub(in crate::lifecycle::simulation) fn spec(rng: &mut Rng) -> TaskSpec {
    let monitor = if rng.one_in(5) {
        MonitorDraft::Tcp(TcpDraft { address: "127.0.0.1:9".to_owned(), steps: Vec::new() })
    } else {
        MonitorDraft::Custom(CustomSpec { kind: "scripted".to_owned(), config: ConfigValue::default() })
    };
    let milliseconds = |least: u64, millis: Duration| Some(Duration::from_millis(least) + millis);
    let draft = SpecDraft {
        monitor: Some(monitor),
        schedule: ScheduleDraft {
            interval: milliseconds(1_000, Duration::ZERO),
            max_runs: u32::from(rng.one_in(2)),
            ..ScheduleDraft::default()
        },
        start_timeout: milliseconds(100, rng.millis(5_000)),
        shutdown: ShutdownDraft {
            grace_timeout: milliseconds(0, rng.millis(7_000)),
            abort_timeout: milliseconds(100, rng.millis(3_000)),
        },
        watchdog: WatchdogDraft {
            slow_cancellation_after: milliseconds(10, rng.millis(12_000)),
            // Some are told of before their thread is given up, some after that, and some never.
            blocked_poll_after: milliseconds(10, if rng.one_in(3) { rng.millis(30_000) } else { rng.millis(900) }),
            // About as long as a check may take, below which it is another rule, or far above.
            long_running_after: rng.one_in(2).then(|| Duration::from_millis(800) + rng.millis(600)),
        },
        restart: RestartDraft {
            max_restarts: u32::try_from(rng.below(4)).ok(),
            initial_backoff: milliseconds(100, if rng.one_in(3) { rng.millis(20_000) } else { rng.millis(1_000) }),
            max_backoff: milliseconds(20_100, rng.millis(10_000)),
            ..RestartDraft::default()
        },
        isolation: None,
        terminal_ttl: milliseconds(0, if rng.one_in(3) { rng.millis(86_400_000) } else { rng.millis(60_000) }),
        circuit: circuit(rng),
        swap: SwapDraft {
            strategy: rng.one_in(3).then_some(SwapStrategy::BreakBeforeMake),
            readiness_timeout: milliseconds(100, rng.millis(4_000)),
            min_healthy_time: rng.one_in(3).then(|| rng.millis(3_000)),
            auto_revert: rng.one_in(2),
            observation_time: milliseconds(100, if rng.one_in(2) { rng.millis(5_000) } else { rng.millis(500_000) }),
        },
    };
    let mut violations = Violations::new();
    TaskSpec::try_new(draft, &mut violations).unwrap_or_else(|| panic!("{violations}"))
}

fn circuit(rng: &mut Rng) -> CircuitDraft {
    let milliseconds = |millis: u64| Some(Duration::from_millis(millis));
    // Mostly long: a circuit of which nobody hears any more goes round and round.
    let half_open = if rng.one_in(3) { 10_000 } else { 36_000_000 };
    let passive = passive(rng);
    let mut number = |least: u64, below: u64| u32::try_from(least + rng.below(below)).ok();
    CircuitDraft {
        consecutive_failures: number(1, 4),
        active_min: number(2, 6),
        close_successes: number(1, 3),
        streak_cap: number(1, 5),
        multiplier: number(1, 4).map(f64::from),
        slow_threshold: rng.one_in(3).then(|| Duration::from_millis(250)),
        open_base: milliseconds(100 + rng.below(2_000)),
        open_max: milliseconds(2_100 + rng.below(6_000)),
        trial_interval: milliseconds(100 + rng.below(1_000)),
        half_open_max: milliseconds(6_400 + rng.below(half_open)),
        stable_for: milliseconds(rng.below(60_000)),
        passive,
        ..CircuitDraft::default()
    }
}

/// Few calls are enough, for there are few.
fn passive(rng: &mut Rng) -> PassiveDraft {
    let permits = rng.below(4);
    let number = |number: u64| u32::try_from(number).ok();
    PassiveDraft {
        window: Some(Duration::from_secs(1) + rng.millis(60_000)),
        min: number(1 + rng.below(4)),
        min_reporters: number(1 + rng.below(2)),
        trial_permits: number(permits),
        trial_concurrency: number(1 + rng.below(permits.max(1))),
        lease_ttl: Some(Duration::from_secs(1) + rng.millis(20_000)),
    }
}
