//! The states of single circuits, where an operator has asked for them: what there are of them is input, so they are bounded. They are
//! shown anew by each scrape, so none outlives its task.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::IntGauge;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::{Families, gauge};
use crate::model::{CircuitState, TaskName};

const NAME: &str = "circuit_state";
const HELP: &str =
    "1 for the state that the circuit of a task is in, 0 for the others; for as many tasks as circuit_series says.";
/// In the order in which the text form has them.
const LABELS: [&str; 2] = ["name", "state"];

type Shown = Arc<Mutex<Arc<[(TaskName, CircuitState)]>>>;

/// The states of single circuits.
#[derive(Clone, Debug)]
pub struct CircuitSeries {
    shown: Shown,
    left_out: IntGauge,
}

impl CircuitSeries {
    pub(super) fn register(families: &Families<'_>) -> prometheus::Result<Self> {
        let shown = Shown::default();
        let desc = Families::opts(NAME, HELP);
        let desc = Desc::new(desc.fq_name(), HELP.to_owned(), LABELS.map(str::to_owned).to_vec(), HashMap::new())?;
        families.0.register(Box::new(SeriesCollector { shown: Arc::clone(&shown), desc }))?;
        let left_out = families.gauge(
            "circuit_state_left_out",
            "Circuits that circuit_state does not show, because there are more than circuit_series says.",
        )?;
        Ok(Self { shown, left_out })
    }

    /// Shows the first of these, `most` of them, in place of those before.
    pub fn show<'a>(&self, mut circuits: impl Iterator<Item = (&'a TaskName, CircuitState)>, most: usize) {
        let shown = circuits.by_ref().take(most).map(|(name, state)| (name.clone(), state)).collect();
        self.left_out.set(gauge(circuits.count()));
        *lock(&self.shown) = shown;
    }
}

struct SeriesCollector {
    shown: Shown,
    desc: Desc,
}

impl Collector for SeriesCollector {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let shown = Arc::clone(&lock(&self.shown));
        if shown.is_empty() {
            // The text form has no families without series.
            return Vec::new();
        }
        let of_circuit =
            |(name, is): &(TaskName, CircuitState)| CircuitState::ALL.map(|state| metric(name, state, state == *is));
        let mut family = MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(HELP.to_owned());
        family.set_field_type(MetricType::GAUGE);
        family.set_metric(shown.iter().flat_map(of_circuit).collect());
        vec![family]
    }
}

fn metric(name: &TaskName, state: CircuitState, is: bool) -> Metric {
    let pair = |(name, value): (&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    };
    let mut gauge = Gauge::default();
    gauge.set_value(if is { 1.0 } else { 0.0 });
    let mut metric = Metric::default();
    metric.set_label(LABELS.into_iter().zip([name.as_str(), state.label()]).map(pair).collect());
    metric.set_gauge(gauge);
    metric
}

fn lock(shown: &Shown) -> MutexGuard<'_, Arc<[(TaskName, CircuitState)]>> {
    shown.lock().unwrap_or_else(PoisonError::into_inner)
}
