//! Specs: what a task is to do. A `…Draft` is what a client wrote, every field optional; `try_new` checks it as a whole, fills
//! in the defaults and reports all violations at once. Limits and defaults are those of contract.md, "TaskSpec".

mod circuit;
mod config_value;
mod exec;
mod http;
mod policy;
mod swap;
mod tcp;

pub use circuit::{CircuitDraft, CircuitPolicy, PassiveDraft, PassivePolicy};
pub use config_value::ConfigValue;
pub use exec::{ExecDraft, ExecSpec};
pub use http::{BodyMatch, BodyMatchDraft, HttpDraft, HttpSpec, StatusRange};
pub use policy::{
    RestartDraft, RestartPolicy, Schedule, ScheduleDraft, ShutdownDraft, ShutdownPolicy, WatchdogDraft, WatchdogPolicy,
};
pub use swap::{SwapDraft, SwapPolicy, SwapStrategy};
pub use tcp::{TcpDraft, TcpSpec, TcpStep};

use std::time::Duration;

use super::Violations;
use policy::ranged;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// A spec as a client wrote it.
#[derive(Clone, Debug, Default)]
pub struct SpecDraft {
    /// What to watch.
    pub monitor: Option<MonitorDraft>,
    /// When checks run.
    pub schedule: ScheduleDraft,
    /// How long until ready.
    pub start_timeout: Option<Duration>,
    /// The bounds of a stop.
    pub shutdown: ShutdownDraft,
    /// When to alert.
    pub watchdog: WatchdogDraft,
    /// What follows a failure.
    pub restart: RestartDraft,
    /// When the circuit opens, and how it closes.
    pub circuit: CircuitDraft,
    /// How a new spec takes over.
    pub swap: SwapDraft,
    /// How long an ended task is kept.
    pub terminal_ttl: Option<Duration>,
    /// With whom its instances share a thread.
    pub isolation: Option<Isolation>,
}

/// With whom an instance shares a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isolation {
    /// With others of its sort.
    #[default]
    Shared,
    /// With none.
    Thread,
}

impl Isolation {
    /// Every isolation.
    pub const ALL: [Self; 2] = [Self::Shared, Self::Thread];
}

/// A monitor as a client wrote it.
#[derive(Clone, Debug)]
pub enum MonitorDraft {
    /// HTTP.
    Http(HttpDraft),
    /// TCP.
    Tcp(TcpDraft),
    /// A command.
    Exec(ExecDraft),
    /// A custom kind's name and configuration.
    Custom(CustomSpec),
}

/// A valid spec. Immutable.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskSpec {
    monitor: MonitorSpec,
    schedule: Schedule,
    start_timeout: Duration,
    shutdown: ShutdownPolicy,
    watchdog: WatchdogPolicy,
    restart: RestartPolicy,
    circuit: CircuitPolicy,
    swap: SwapPolicy,
    terminal_ttl: Duration,
    isolation: Isolation,
}

/// What a task watches.
#[derive(Clone, Debug, PartialEq)]
pub enum MonitorSpec {
    /// HTTP. On the heap: it is several times as large as the others.
    Http(Box<HttpSpec>),
    /// TCP.
    Tcp(TcpSpec),
    /// A command.
    Exec(ExecSpec),
    /// A custom kind.
    Custom(CustomSpec),
}

impl MonitorSpec {
    /// The kind's name: `http`, `tcp`, `exec`, or the custom kind's own.
    pub fn kind(&self) -> &str {
        match self {
            Self::Http(_) => "http",
            Self::Tcp(_) => "tcp",
            Self::Exec(_) => "exec",
            Self::Custom(custom) => &custom.kind,
        }
    }

    /// Whether the kind is one of ours, which runs on the built-in shards.
    pub const fn is_built_in(&self) -> bool {
        !matches!(self, Self::Custom(_))
    }
}

/// A custom kind's name and configuration. Whether the kind exists, and what it takes, the registry knows.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomSpec {
    /// The kind's registered name.
    pub kind: String,
    /// Its configuration, an object.
    pub config: ConfigValue,
}

impl TaskSpec {
    /// Checks a draft; `None` where `violations` grew.
    pub fn try_new(draft: SpecDraft, violations: &mut Violations) -> Option<Self> {
        let before = violations.as_slice().len();
        let SpecDraft {
            monitor,
            schedule,
            start_timeout,
            shutdown,
            watchdog,
            restart,
            circuit,
            swap,
            terminal_ttl,
            isolation,
        } = draft;
        let monitor = match monitor {
            None => {
                violations.add("monitor", "exactly one of http, tcp, exec and custom must be set");
                None
            }
            Some(MonitorDraft::Http(http)) => {
                violations.within("http", |v| HttpSpec::try_new(http, v)).map(|http| MonitorSpec::Http(Box::new(http)))
            }
            Some(MonitorDraft::Tcp(tcp)) => {
                violations.within("tcp", |v| TcpSpec::try_new(tcp, v)).map(MonitorSpec::Tcp)
            }
            Some(MonitorDraft::Exec(exec)) => {
                violations.within("exec", |v| ExecSpec::try_new(exec, v)).map(MonitorSpec::Exec)
            }
            Some(MonitorDraft::Custom(custom)) => {
                violations.within("custom", |v| check_custom(custom, v)).map(MonitorSpec::Custom)
            }
        };
        let schedule = violations.within("schedule", |v| Schedule::new(&schedule, v));
        let default = (30 * SECOND).max(schedule.timeout() + 5 * SECOND);
        let start_timeout = ranged(violations, "start_timeout", start_timeout, default, 100 * MS, 10 * MINUTE);
        let shutdown = violations.within("shutdown", |v| ShutdownPolicy::new(&shutdown, v));
        let watchdog = violations.within("watchdog", |v| WatchdogPolicy::new(&watchdog, v));
        let restart =
            violations.within("restart", |v| RestartPolicy::new(&restart, start_timeout + shutdown.total(), v));
        let circuit = violations.within("circuit", |v| CircuitPolicy::new(&circuit, &schedule, v));
        let swap = violations.within("swap", |v| SwapPolicy::new(&swap, v));
        let terminal_ttl = ranged(violations, "terminal_ttl", terminal_ttl, DAY, Duration::ZERO, 30 * DAY);
        match monitor {
            Some(monitor) if violations.as_slice().len() == before => Some(Self {
                monitor,
                schedule,
                start_timeout,
                shutdown,
                watchdog,
                restart,
                circuit,
                swap,
                terminal_ttl,
                isolation: isolation.unwrap_or_default(),
            }),
            _ => None,
        }
    }

    /// What to watch.
    pub const fn monitor(&self) -> &MonitorSpec {
        &self.monitor
    }

    /// When checks run.
    pub const fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// How long an instance may take to become ready.
    pub const fn start_timeout(&self) -> Duration {
        self.start_timeout
    }

    /// The bounds of a stop.
    pub const fn shutdown(&self) -> &ShutdownPolicy {
        &self.shutdown
    }

    /// When to alert.
    pub const fn watchdog(&self) -> &WatchdogPolicy {
        &self.watchdog
    }

    /// What follows a failure.
    pub const fn restart(&self) -> &RestartPolicy {
        &self.restart
    }

    /// When the circuit opens, and how it closes.
    pub const fn circuit(&self) -> &CircuitPolicy {
        &self.circuit
    }

    /// How a new spec takes over.
    pub const fn swap(&self) -> &SwapPolicy {
        &self.swap
    }

    /// How long an ended task is kept.
    pub const fn terminal_ttl(&self) -> Duration {
        self.terminal_ttl
    }

    /// With whom its instances share a thread.
    pub const fn isolation(&self) -> Isolation {
        self.isolation
    }
}

/// What can be said of a custom spec without its kind; a name that is too long is nobody's.
fn check_custom(custom: CustomSpec, violations: &mut Violations) -> Option<CustomSpec> {
    let before = violations.as_slice().len();
    if custom.kind.is_empty() {
        violations.add("kind", "required: the name of a registered kind");
    } else if custom.kind.len() > 63 {
        violations.add("kind", format!("at most 63 bytes, got {}", custom.kind.len()));
    }
    if let Some(problem) = custom.config.problem() {
        violations.add("config", problem);
    }
    (violations.as_slice().len() == before).then_some(custom)
}
