//! The states of single circuits and what lies over them, where an operator has asked for that: what there are of them is input, so they
//! are bounded. They are shown anew by each scrape, so none outlives its task.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::IntGauge;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::family::Family;
use super::{Families, gauge};
use crate::model::{CircuitState, CircuitStatus, Override, TaskName};

const STATE: Family<2> = Family {
    name: "circuit_state",
    help: "1 for the state that the circuit of a task is in, 0 for the others; for as many tasks as circuit_series says.",
    labels: ["name", "state"],
};
const OVERRIDE: Family<2> = Family {
    name: "circuit_override",
    help: "1 for the override that lies over the circuit of a task, for the tasks that circuit_state shows; where none lies there is no series.",
    labels: ["name", "override"],
};

/// A circuit that is shown.
#[derive(Clone, Debug)]
struct Single {
    name: TaskName,
    state: CircuitState,
    overridden: Option<Override>,
}

type Shown = Arc<Mutex<Arc<[Single]>>>;

/// The states of single circuits, and what lies over them.
#[derive(Clone, Debug)]
pub struct CircuitSeries {
    shown: Shown,
    left_out: IntGauge,
}

impl CircuitSeries {
    pub(super) fn register(families: &Families<'_>) -> prometheus::Result<Self> {
        let shown = Shown::default();
        let descs = [STATE.desc()?, OVERRIDE.desc()?];
        families.0.register(Box::new(SeriesCollector { shown: Arc::clone(&shown), descs }))?;
        let left_out = families.gauge(
            "circuit_state_left_out",
            "Circuits that circuit_state does not show, because there are more than circuit_series says.",
        )?;
        Ok(Self { shown, left_out })
    }

    /// Shows the first of these, `most` of them, in place of those before.
    pub fn show<'a>(&self, mut circuits: impl Iterator<Item = (&'a TaskName, &'a CircuitStatus)>, most: usize) {
        let shown = circuits.by_ref().take(most).map(|(name, circuit)| Single {
            name: name.clone(),
            state: circuit.state,
            overridden: circuit.overriding.as_ref().map(|overriding| overriding.mode),
        });
        let shown = shown.collect();
        self.left_out.set(gauge(circuits.count()));
        *lock(&self.shown) = shown;
    }
}

struct SeriesCollector {
    shown: Shown,
    descs: [Desc; 2],
}

impl Collector for SeriesCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let shown = Arc::clone(&lock(&self.shown));
        let states_of = |Single { name, state: is, .. }: &Single| {
            CircuitState::ALL
                .map(|state| STATE.series([name.as_str(), state.label()], f64::from(u8::from(state == *is))))
        };
        let override_of = |Single { name, overridden, .. }: &Single| {
            overridden.map(|mode| OVERRIDE.series([name.as_str(), mode.label()], 1.0))
        };
        let states = shown.iter().flat_map(states_of).collect();
        let overrides = shown.iter().filter_map(override_of).collect();
        [STATE.of(states), OVERRIDE.of(overrides)].into_iter().flatten().collect()
    }
}

fn lock(shown: &Shown) -> MutexGuard<'_, Arc<[Single]>> {
    shown.lock().unwrap_or_else(PoisonError::into_inner)
}
