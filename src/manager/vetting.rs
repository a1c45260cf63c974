//! Custom code that runs before there is an instance: a kind's `validate` and `build`. It runs on the blocking pool, each call
//! bounded to a second, with panics caught, so that no kind can hold up the control runtime or the loop.

mod turns;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use self::turns::Turns;
use super::reaper::{discard, panic_message};
use crate::model::{CustomSpec, MonitorSpec, Refusal, Target, TaskSpec, Violations};
use crate::monitor::{Config, Kind, Monitor, Registry};

/// How long a call may take.
const WITHIN: Duration = Duration::from_secs(1);
/// How long it may wait for its turn before: a kind whose calls are quick frees a turn long before that.
const QUEUE: Duration = Duration::from_secs(5);

/// The steps, as refusals name them.
const VALIDATE: &str = "validate";
const BUILD: &str = "build";

const SPEC: &str = "task.spec";
const CONFIG: &str = "task.spec.custom.config";

/// Asks kinds whether they take a spec, and has them build monitors. Cheap to clone.
#[derive(Clone)]
pub(super) struct Vetting {
    registry: Arc<Registry>,
    turns: Arc<BTreeMap<String, Arc<Turns<Mutex<Place>>>>>,
    unknown_kind_hint: fn(&str) -> &'static str,
}

impl Vetting {
    pub(super) fn new(registry: Registry, unknown_kind_hint: fn(&str) -> &'static str) -> Self {
        let turns = registry.names().map(|kind| (kind.to_owned(), Arc::new(Turns::new()))).collect();
        Self { registry: Arc::new(registry), turns: Arc::new(turns), unknown_kind_hint }
    }

    /// Whether there is a kind of that name.
    pub(super) fn knows(&self, kind: &str) -> bool {
        self.registry.knows(kind)
    }

    /// Validates a spec; says what it watches. A built-in one is valid by its type, if this server allows it.
    pub(super) async fn validate(&self, spec: &MonitorSpec) -> Result<Target, Refusal> {
        self.registry.validate_built_in(spec).map_err(|found| Refusal::Invalid(below(SPEC, &found)))?;
        match spec {
            MonitorSpec::Http(http) => Ok(http.target()),
            MonitorSpec::Tcp(tcp) => Ok(tcp.target()),
            MonitorSpec::Exec(exec) => Ok(exec.target()),
            MonitorSpec::Custom(custom) => {
                self.bounded(custom, VALIDATE, |kind, config, _| validate(kind, config)).await
            }
        }
    }

    /// Validates a spec and says what it watches; builds the monitor of a custom one in the same turn. A built-in one is cheap to
    /// build when it is needed: `None`.
    pub(super) async fn vet(&self, spec: &MonitorSpec) -> Result<(Target, Option<Built>), Refusal> {
        let MonitorSpec::Custom(custom) = spec else { return Ok((self.validate(spec).await?, None)) };
        let both = |kind: &dyn Kind, config: &Config, steps: &Steps| {
            let target = validate(kind, config)?;
            let built = steps.begin(BUILD).then(|| build(kind, config)).transpose()?;
            Ok((target, built))
        };
        self.bounded(custom, VALIDATE, both).await
    }

    /// Builds a monitor for an instance: at once for built-in kinds, on the blocking pool for custom ones.
    pub(super) async fn build_for(&self, spec: &Arc<TaskSpec>) -> Result<Built, String> {
        match spec.monitor() {
            MonitorSpec::Custom(custom) => {
                let built = self.bounded(custom, BUILD, |kind, config, _| build(kind, config)).await;
                built.map_err(|refusal| refusal.to_string())
            }
            MonitorSpec::Http(_) | MonitorSpec::Tcp(_) | MonitorSpec::Exec(_) => {
                self.build_built_in(spec).ok_or_else(|| {
                    format!("this server has no built-in kind {}, or does not allow this", spec.monitor().kind())
                })
            }
        }
    }

    pub(super) fn build_built_in(&self, spec: &Arc<TaskSpec>) -> Option<Built> {
        let monitor = self.registry.build_built_in(spec)?;
        Some(Built { monitor: Some(monitor), declares_readiness: true })
    }

    fn kind(&self, custom: &CustomSpec) -> Result<(Arc<dyn Kind>, Config), Refusal> {
        let kind = self.registry.get(&custom.kind).ok_or_else(|| Refusal::UnknownKind {
            field: "task.spec.custom.kind",
            kind: custom.kind.clone(),
            hint: (self.unknown_kind_hint)(&custom.kind),
        })?;
        Ok((kind, Config::new(custom.config.clone())))
    }

    /// Takes a turn of the kind's for a call whose first step this is. Each step has its time to itself.
    async fn bounded<T: Send + 'static>(
        &self,
        custom: &CustomSpec,
        first: &'static str,
        call: impl FnOnce(&dyn Kind, &Config, &Steps) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (kind, config) = self.kind(custom)?;
        let unresponsive = |step| Refusal::KindUnresponsive { kind: custom.kind.clone(), step, within: WITHIN };
        // Every kind has turns.
        let turns = self.turns.get(&custom.kind).ok_or_else(|| unresponsive(first))?;
        let came = Instant::now();
        let place = Arc::new(Mutex::new(Place::Waiting));
        let steps = Steps(Arc::downgrade(&place));
        let (answer, mut answered) = oneshot::channel();
        turns.take(Arc::downgrade(&place), move || {
            if steps.begin(first) {
                // Whoever waited may be gone; then what was made is dropped here, on the blocking pool.
                drop(answer.send(call(&*kind, &config, &steps)));
            }
        });
        let mut look = came + WITHIN;
        loop {
            match timeout_at(look, &mut answered).await {
                Ok(Ok(answer)) => return answer,
                // Panics are caught by each step: what it should have run on has ended.
                Ok(Err(_)) => return Err(unresponsive(first)),
                Err(_) => {}
            }
            look = match *place.lock().unwrap_or_else(PoisonError::into_inner) {
                Place::Waiting if look >= came + QUEUE => return Err(unresponsive(first)),
                // No step that begins by then is over its time before.
                Place::Waiting => (look + WITHIN).min(came + QUEUE),
                Place::At { step, until } if until <= look => return Err(unresponsive(step)),
                Place::At { until, .. } => until,
            };
        }
    }
}

/// How far a call has come.
#[derive(Clone, Copy)]
enum Place {
    /// For its turn.
    Waiting,
    /// In this step, which is to be done by then.
    At { step: &'static str, until: Instant },
}

/// How a call tells what it is doing, as long as somebody waits for it.
struct Steps(Weak<Mutex<Place>>);

impl Steps {
    /// Begins a step; false where nobody waits for it any more.
    fn begin(&self, step: &'static str) -> bool {
        let Some(place) = self.0.upgrade() else { return false };
        *place.lock().unwrap_or_else(PoisonError::into_inner) = Place::At { step, until: Instant::now() + WITHIN };
        true
    }
}

fn validate(kind: &dyn Kind, config: &Config) -> Result<Target, Refusal> {
    let validate = || kind.validate(config).map(|()| Target::of(kind.name(), &kind.target_key(config)));
    match caught(validate) {
        Ok(Ok(target)) => Ok(target),
        Ok(Err(found)) => Err(Refusal::Invalid(below(CONFIG, &found))),
        Err(panic) => Err(invalid_config(format!("the kind panicked while it validated this: {panic}"))),
    }
}

fn build(kind: &dyn Kind, config: &Config) -> Result<Built, Refusal> {
    let build = || {
        let declares_readiness = kind.declares_readiness();
        // The error's own text is the kind's code, too.
        let monitor = kind.build(config).map_err(|error| error.to_string())?;
        Ok::<_, String>(Built { monitor: Some(monitor), declares_readiness })
    };
    match caught(build) {
        Ok(Ok(built)) => Ok(built),
        Ok(Err(error)) => Err(invalid_config(format!("the kind cannot build this: {error}"))),
        Err(panic) => Err(invalid_config(format!("the kind panicked while it built this: {panic}"))),
    }
}

/// What the call returns, or the words of its panic.
fn caught<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let message = panic_message(&*panic);
        discard(panic);
        message
    })
}

/// A monitor that was built and does not run yet. Its `drop` is the monitor's own code, which may block or panic: wherever it is
/// given up, by a caller that went away or by a refusal, that happens on the blocking pool.
pub(super) struct Built {
    monitor: Option<Box<dyn Monitor>>,
    /// Whether the monitor says itself when it is ready.
    pub(super) declares_readiness: bool,
}

impl Built {
    /// The monitor, to be run; there is one unless it was taken before.
    pub(super) fn take(mut self) -> Option<Box<dyn Monitor>> {
        self.monitor.take()
    }
}

impl Drop for Built {
    fn drop(&mut self) {
        let Some(monitor) = self.monitor.take() else { return };
        // Without a runtime this is nobody's thread but the embedder's.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn_blocking(move || drop(monitor));
        }
    }
}

fn invalid_config(problem: String) -> Refusal {
    Refusal::Invalid(Violations::one(CONFIG, problem))
}

fn below(path: &str, found: &Violations) -> Violations {
    let mut violations = Violations::new();
    violations.within(path, |v| {
        for violation in found.as_slice() {
            v.add(&violation.field, violation.description.clone());
        }
    });
    violations
}

#[cfg(test)]
mod tests;
