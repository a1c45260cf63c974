//! Metric families. Each is a field, registered once and passed in; labels are enums or registered names, but in `perfdata`.
//! Gauges are set from what is there, never counted up and down, so they cannot drift (tokio #7910).

mod checks;
mod circuit_series;
mod circuits;
mod family;
mod journal;
mod perfdata;
mod polls;

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use crate::model::{AlertKind, Exit, State};

use super::process::ProcessCollector;

pub use checks::Checks;
pub use circuit_series::CircuitSeries;
pub use circuits::{Circuits, Swaps};
pub use journal::{Commits, Journal};
pub use perfdata::{Perfdata, PerfdataValue, PerfdataWriter};
pub use polls::{Polls, Threads};

/// Half a millisecond to a minute: checks, RPCs.
const LATENCY: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
/// Around the seed's bounds of 5 s and 2 s.
const SHUTDOWN: [f64; 12] = [0.001, 0.01, 0.1, 0.5, 1.0, 2.0, 2.5, 5.0, 5.5, 7.5, 30.0, 60.0];
/// A step of the loop: microseconds.
const STEP: [f64; 8] = [1e-6, 5e-6, 2.5e-5, 1e-4, 5e-4, 2.5e-3, 1e-2, 1e-1];

/// Every family, and the registry that renders them.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    /// About instances and their shutdown.
    pub instances: Instances,
    /// About checks.
    pub checks: Checks,
    /// About what commands say.
    pub perfdata: Perfdata,
    /// About circuits.
    pub circuits: Circuits,
    /// About single circuits, where that is asked for.
    pub circuit_series: CircuitSeries,
    /// About swaps.
    pub swaps: Swaps,
    /// About polls, and the threads that make them.
    pub polls: Polls,
    /// About the manager's loop.
    pub manager: Loop,
    /// About the journal.
    pub journal: Journal,
    /// About RPCs and watch streams.
    pub rpcs: Rpcs,
}

/// About instances and their shutdown.
#[derive(Clone, Debug)]
pub struct Instances {
    started: IntCounter,
    live: IntGauge,
    tasks: IntGaugeVec,
    exits: IntCounterVec,
    restarts: IntCounter,
    alerts_raised: IntCounterVec,
    alerts_active: IntGaugeVec,
    shutdown: HistogramVec,
}

/// About the manager's loop.
#[derive(Clone, Debug)]
pub struct Loop {
    /// Commands and reports that wait for the loop.
    pub queue_length: IntGauge,
    /// How long one turn takes, in seconds.
    pub step: Histogram,
    /// Tasks that an earlier server has left, and this one has not taken over: nothing of them runs, whatever they show.
    pub tasks_left: IntGauge,
}

/// About RPCs and watch streams.
#[derive(Clone, Debug)]
pub struct Rpcs {
    total: IntCounterVec,
    duration: HistogramVec,
    /// Open watch streams.
    pub watch_streams: IntGauge,
    /// Events sent to watchers.
    pub events_sent: IntCounter,
}

impl Metrics {
    /// Registers every family, those of the process itself included. Fails only where two share a name, which is a bug.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let families = Families(&registry);
        families.build_info()?;
        if let Some(process) = ProcessCollector::new()? {
            registry.register(Box::new(process))?;
        }
        Ok(Self {
            instances: Instances::register(&families)?,
            checks: Checks::register(&families)?,
            perfdata: Perfdata::register(&families)?,
            circuits: Circuits::register(&families)?,
            circuit_series: CircuitSeries::register(&families)?,
            swaps: Swaps::register(&families)?,
            polls: Polls::register(&families)?,
            manager: Loop::register(&families)?,
            journal: Journal::register(&families)?,
            rpcs: Rpcs::register(&families)?,
            registry,
        })
    }

    /// Adds a collector of another room's.
    pub fn register(&self, collector: Box<dyn Collector>) -> prometheus::Result<()> {
        self.registry.register(collector)
    }

    /// The text exposition of everything registered. Reads `/proc/self`: call it on the blocking pool.
    pub fn render(&self) -> prometheus::Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

impl Instances {
    fn register(families: &Families<'_>) -> prometheus::Result<Self> {
        let metrics = Self {
            started: families.counter("monitoring_task_count", "Monitoring tasks (instances) started.")?,
            live: families.gauge("active_tasks", "Monitoring tasks (instances) that are live, stuck ones included.")?,
            tasks: families.gauges("tasks", "Tasks by state.", &["state"])?,
            exits: families.counters("instance_exits_total", "Instances that have ended, by exit.", &["exit"])?,
            restarts: families.counter("restarts_total", "Instances started again after a failure.")?,
            alerts_raised: families.counters("alerts_raised_total", "Alerts raised, by kind.", &["alert"])?,
            alerts_active: families.gauges("alerts_active", "Alerts open now, by kind.", &["alert"])?,
            shutdown: families.histograms(
                "shutdown_duration_seconds",
                "How long each phase of a shutdown took, by how it ended.",
                &["phase", "outcome"],
                &SHUTDOWN,
            )?,
        };
        // A series that appears only with its first event cannot be alerted on by its increase.
        for kind in AlertKind::ALL {
            metrics.alerts_raised.with_label_values(&[kind.label()]);
            metrics.alerts_active.with_label_values(&[kind.label()]);
        }
        for exit in Exit::ALL {
            metrics.exits.with_label_values(&[exit_label(exit)]);
        }
        Ok(metrics)
    }

    /// An instance was started.
    pub fn started(&self) {
        self.started.inc();
    }

    /// An instance has ended.
    pub fn ended(&self, exit: Exit) {
        self.exits.with_label_values(&[exit_label(exit)]).inc();
    }

    /// An instance will be started again after a failure.
    pub fn restarted(&self) {
        self.restarts.inc();
    }

    /// An alert was raised.
    pub fn alert_raised(&self, kind: AlertKind) {
        self.alerts_raised.with_label_values(&[kind.label()]).inc();
    }

    /// Phase 1 of a shutdown is over: the instance has ended, or phase 2 begins.
    pub fn graceful_phase(&self, took: Duration, ended: bool) {
        self.phase("graceful", took, ended);
    }

    /// Phase 2 is over: the instance has ended, or is stuck.
    pub fn abort_phase(&self, took: Duration, ended: bool) {
        self.phase("abort", took, ended);
    }

    fn phase(&self, phase: &str, took: Duration, ended: bool) {
        let outcome = if ended { "ended" } else { "timed_out" };
        self.shutdown.with_label_values(&[phase, outcome]).observe(took.as_secs_f64());
    }

    /// How many instances are live now.
    pub fn set_live(&self, live: usize) {
        self.live.set(gauge(live));
    }

    /// How many tasks are in a state now.
    pub fn set_tasks(&self, state: State, tasks: usize) {
        self.tasks.with_label_values(&[&state.name().to_ascii_lowercase()]).set(gauge(tasks));
    }

    /// How many alerts of a kind are open now.
    pub fn set_alerts(&self, kind: AlertKind, open: usize) {
        self.alerts_active.with_label_values(&[kind.label()]).set(gauge(open));
    }
}

impl Loop {
    fn register(families: &Families<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            queue_length: families
                .gauge("loop_queue_length", "Commands and reports that wait for the manager's loop.")?,
            step: families.histogram(
                "loop_step_duration_seconds",
                "How long a turn of the manager's loop takes.",
                &STEP,
            )?,
            tasks_left: families.gauge(
                "tasks_left",
                "Tasks that an earlier server has left and this one has not taken over: nothing checks them, whatever they show.",
            )?,
        })
    }
}

impl Rpcs {
    fn register(families: &Families<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            total: families.counters("rpcs_total", "RPCs that have ended, by method and code.", &["method", "code"])?,
            duration: families.histograms(
                "rpc_duration_seconds",
                "How long unary RPCs took.",
                &["method"],
                &LATENCY,
            )?,
            watch_streams: families.gauge("watch_streams", "Watch streams open now.")?,
            events_sent: families.counter("events_sent_total", "Events sent to watchers.")?,
        })
    }

    /// An RPC has ended. `method` is a known one's path, or `unknown`; `code` is the status code's name. A call that the client
    /// dropped counts as `CANCELLED`.
    pub fn ended(&self, method: &str, code: &str) {
        self.total.with_label_values(&[method, code]).inc();
    }

    /// How long a unary RPC took.
    pub fn took(&self, method: &str, took: Duration) {
        self.duration.with_label_values(&[method]).observe(took.as_secs_f64());
    }
}

/// An exit as metrics and logs write it.
pub(super) fn exit_label(exit: Exit) -> &'static str {
    match exit {
        Exit::Completed => "completed",
        Exit::Graceful => "graceful",
        Exit::Aborted => "aborted",
        Exit::Error => "error",
        Exit::Panic => "panic",
        Exit::Interrupted => "interrupted",
        Exit::Displaced => "displaced",
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Makes families under the one prefix that the seed document gave, and registers them.
struct Families<'a>(&'a Registry);

impl Families<'_> {
    const PREFIX: &'static str = "circuit_breaker";

    fn opts(name: &str, help: &str) -> Opts {
        Opts::new(name, help).namespace(Self::PREFIX)
    }

    fn add<C: Collector + Clone + 'static>(&self, family: C) -> prometheus::Result<C> {
        self.0.register(Box::new(family.clone()))?;
        Ok(family)
    }

    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.add(IntCounter::with_opts(Self::opts(name, help))?)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
        self.add(IntCounterVec::new(Self::opts(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.add(IntGauge::with_opts(Self::opts(name, help))?)
    }

    fn level(&self, name: &str, help: &str) -> prometheus::Result<Gauge> {
        self.add(Gauge::with_opts(Self::opts(name, help))?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.add(IntGaugeVec::new(Self::opts(name, help), labels)?)
    }

    /// The version as a label of a constant 1, so that other series can be joined with it.
    fn build_info(&self) -> prometheus::Result<()> {
        let opts = Self::opts("build_info", "The version of this program.");
        self.add(IntGauge::with_opts(opts.const_label("version", env!("CARGO_PKG_VERSION")))?)?.set(1);
        Ok(())
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> prometheus::Result<Histogram> {
        let opts = HistogramOpts::from(Self::opts(name, help)).buckets(buckets.to_vec());
        self.add(Histogram::with_opts(opts)?)
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> prometheus::Result<HistogramVec> {
        let opts = HistogramOpts::from(Self::opts(name, help)).buckets(buckets.to_vec());
        self.add(HistogramVec::new(opts, labels)?)
    }
}
