//! Custom code that runs before there is an instance: a kind's `validate` and `build`. It runs on the blocking pool, each call
//! bounded to a second, with panics caught, so that no kind can hold up the control runtime or the loop.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::model::{CustomSpec, MonitorSpec, Refusal, TaskSpec, Violations};
use crate::monitor::{Config, Kind, Monitor, Registry};

/// How long a call may take, waiting for its turn included.
const WITHIN: Duration = Duration::from_secs(1);
/// Calls at once. One that hangs keeps its place until it returns, so hanging kinds cost at most this many threads.
const AT_ONCE: usize = 16;

const CONFIG: &str = "task.spec.custom.config";

/// Asks kinds whether they take a spec, and has them build monitors. Cheap to clone.
#[derive(Clone)]
pub(super) struct Vetting {
    registry: Arc<Registry>,
    turns: Arc<Semaphore>,
    unknown_kind_hint: fn(&str) -> &'static str,
}

impl Vetting {
    pub(super) fn new(registry: Registry, unknown_kind_hint: fn(&str) -> &'static str) -> Self {
        Self { registry: Arc::new(registry), turns: Arc::new(Semaphore::new(AT_ONCE)), unknown_kind_hint }
    }

    /// Validates a custom spec and builds its monitor. A built-in spec is valid by its type and cheap to build: `None`.
    pub(super) async fn vet(&self, spec: &MonitorSpec) -> Result<Option<Box<dyn Monitor>>, Refusal> {
        let MonitorSpec::Custom(custom) = spec else { return Ok(None) };
        let (kind, config) = self.kind(custom)?;
        let validated = {
            let (kind, config) = (Arc::clone(&kind), config.clone());
            self.bounded(&custom.kind, "validate", move || kind.validate(&config)).await?
        };
        match validated {
            Ok(Ok(())) => self.build(custom).await.map(Some),
            Ok(Err(found)) => Err(Refusal::Invalid(below_config(&found))),
            Err(panic) => Err(invalid_config(format!("the kind panicked while it validated this: {panic}"))),
        }
    }

    /// Builds a monitor for an instance: at once for built-in kinds, on the blocking pool for custom ones.
    pub(super) async fn build_for(&self, spec: &Arc<TaskSpec>) -> Result<Box<dyn Monitor>, String> {
        match spec.monitor() {
            MonitorSpec::Custom(custom) => self.build(custom).await.map_err(|refusal| refusal.to_string()),
            MonitorSpec::Http(_) | MonitorSpec::Tcp(_) => self
                .build_built_in(spec)
                .ok_or_else(|| format!("no built-in kind {} is registered", spec.monitor().kind())),
        }
    }

    pub(super) fn build_built_in(&self, spec: &Arc<TaskSpec>) -> Option<Box<dyn Monitor>> {
        self.registry.build_built_in(spec)
    }

    /// Whether the kind says itself when it is ready.
    pub(super) fn declares_readiness(&self, spec: &MonitorSpec) -> bool {
        match spec {
            MonitorSpec::Http(_) | MonitorSpec::Tcp(_) => true,
            MonitorSpec::Custom(custom) => {
                self.registry.get(&custom.kind).is_some_and(|kind| kind.declares_readiness())
            }
        }
    }

    async fn build(&self, custom: &CustomSpec) -> Result<Box<dyn Monitor>, Refusal> {
        let (kind, config) = self.kind(custom)?;
        // The error's own text is the kind's code, too.
        let build = move || kind.build(&config).map_err(|error| error.to_string());
        match self.bounded(&custom.kind, "build", build).await? {
            Ok(Ok(monitor)) => Ok(monitor),
            Ok(Err(error)) => Err(invalid_config(format!("the kind cannot build this: {error}"))),
            Err(panic) => Err(invalid_config(format!("the kind panicked while it built this: {panic}"))),
        }
    }

    fn kind(&self, custom: &CustomSpec) -> Result<(Arc<dyn Kind>, Config), Refusal> {
        let kind = self.registry.get(&custom.kind).ok_or_else(|| Refusal::UnknownKind {
            field: "task.spec.custom.kind",
            kind: custom.kind.clone(),
            hint: (self.unknown_kind_hint)(&custom.kind),
        })?;
        Ok((kind, Config::new(custom.config.clone())))
    }

    async fn bounded<T: Send + 'static>(
        &self,
        kind: &str,
        step: &'static str,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Result<T, String>, Refusal> {
        let turns = Arc::clone(&self.turns);
        let called = tokio::time::timeout(WITHIN, async move {
            let turn = turns.acquire_owned().await;
            tokio::task::spawn_blocking(move || {
                let _turn = turn;
                catch_unwind(AssertUnwindSafe(call)).map_err(|panic| super::reaper::panic_message(&*panic))
            })
            .await
        });
        match called.await {
            Ok(Ok(called)) => Ok(called),
            Ok(Err(_)) | Err(_) => Err(Refusal::KindUnresponsive { kind: kind.to_owned(), step, within: WITHIN }),
        }
    }
}

fn invalid_config(problem: String) -> Refusal {
    Refusal::Invalid(Violations::one(CONFIG, problem))
}

fn below_config(found: &Violations) -> Violations {
    let mut violations = Violations::new();
    violations.within(CONFIG, |v| {
        for violation in found.as_slice() {
            v.add(&violation.field, violation.description.clone());
        }
    });
    violations
}
