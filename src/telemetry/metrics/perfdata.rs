//! What commands say of themselves, as gauges. Here labels are input: the text of a program that the operator allowed, run with a
//! client's arguments. So everything is bounded, and no series outlives the instance that it came from.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::IntCounter;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::Families;
use super::family::Family;
use crate::model::TaskName;

/// Series in all. A scrape of that many is about 1 MB.
const SERIES: usize = 10_000;
const FAMILY: Family<3> = Family {
    name: "exec_perfdata",
    help: "Performance data of the last check of exec tasks, as their commands printed it.",
    labels: ["label", "name", "unit"],
};

/// One value of a command's performance data.
#[derive(Clone, Debug, PartialEq)]
pub struct PerfdataValue {
    /// What the command calls it.
    pub label: String,
    /// Its unit as the command gave it; may be empty.
    pub unit: String,
    /// The value.
    pub value: f64,
}

/// The performance data of every task's last check.
#[derive(Clone, Debug)]
pub struct Perfdata {
    shown: Arc<Mutex<Shown>>,
    writers: Arc<AtomicU64>,
    dropped: IntCounter,
}

#[derive(Debug)]
struct Shown {
    tasks: HashMap<TaskName, Entry>,
    series: usize,
    most: usize,
}

/// What a task shows, and whose it is.
#[derive(Debug)]
struct Entry {
    writer: u64,
    values: Arc<[PerfdataValue]>,
}

impl Perfdata {
    pub(super) fn register(families: &Families<'_>) -> prometheus::Result<Self> {
        let shown = Arc::new(Mutex::new(Shown { tasks: HashMap::new(), series: 0, most: SERIES }));
        families.0.register(Box::new(PerfdataCollector { shown: Arc::clone(&shown), desc: FAMILY.desc()? }))?;
        let dropped = families.counter(
            "exec_perfdata_dropped_total",
            "Values of performance data that were not shown, because there were too many.",
        )?;
        Ok(Self { shown, writers: Arc::default(), dropped })
    }

    /// For one instance of a task.
    pub fn writer(&self, name: &TaskName) -> PerfdataWriter {
        let id = self.writers.fetch_add(1, Ordering::Relaxed);
        PerfdataWriter { perfdata: self.clone(), name: name.clone(), id }
    }
}

/// Shows what one instance's checks say. Dropped, it takes that back, unless another instance of the task has taken over.
#[derive(Debug)]
pub struct PerfdataWriter {
    perfdata: Perfdata,
    name: TaskName,
    id: u64,
}

impl PerfdataWriter {
    /// Shows these values in place of whatever the task has shown. No two of them have label and unit in common; `dropped` more
    /// were left out before.
    pub fn show(&self, mut values: Vec<PerfdataValue>, dropped: usize) {
        let mut shown = lock(&self.perfdata.shown);
        shown.take(&self.name);
        let room = shown.most - shown.series;
        let over = values.len().saturating_sub(room) + dropped;
        values.truncate(room);
        if !values.is_empty() {
            shown.series += values.len();
            shown.tasks.insert(self.name.clone(), Entry { writer: self.id, values: values.into() });
        }
        self.perfdata.dropped.inc_by(u64::try_from(over).unwrap_or(u64::MAX));
    }
}

impl Drop for PerfdataWriter {
    fn drop(&mut self) {
        let mut shown = lock(&self.perfdata.shown);
        if shown.tasks.get(&self.name).is_some_and(|entry| entry.writer == self.id) {
            shown.take(&self.name);
        }
    }
}

impl Shown {
    fn take(&mut self, name: &TaskName) {
        if let Some(entry) = self.tasks.remove(name) {
            self.series -= entry.values.len();
        }
    }
}

struct PerfdataCollector {
    shown: Arc<Mutex<Shown>>,
    desc: Desc,
}

impl Collector for PerfdataCollector {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Checks must not wait until all of it has been rendered.
        let shown: Vec<_> =
            lock(&self.shown).tasks.iter().map(|(name, entry)| (name.clone(), Arc::clone(&entry.values))).collect();
        let of_task = |(name, values): &(TaskName, Arc<[PerfdataValue]>)| {
            let series = values.iter().map(|PerfdataValue { label, unit, value }| {
                FAMILY.series([label.as_str(), name.as_str(), unit.as_str()], *value)
            });
            series.collect::<Vec<_>>()
        };
        FAMILY.of(shown.iter().flat_map(of_task).collect()).into_iter().collect()
    }
}

fn lock(shown: &Mutex<Shown>) -> MutexGuard<'_, Shown> {
    shown.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    fn values(labels: &[&str]) -> Vec<PerfdataValue> {
        labels
            .iter()
            .map(|&label| PerfdataValue { label: label.to_owned(), unit: "s".to_owned(), value: 1.5 })
            .collect()
    }

    fn task(id: &str) -> TaskName {
        TaskName::parse(&format!("namespaces/default/tasks/{id}")).expect("valid")
    }

    /// The series' labels, sorted.
    fn shown(metrics: &Metrics) -> Vec<String> {
        let text = String::from_utf8(metrics.render().expect("renders")).expect("text");
        let mut series: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("circuit_breaker_exec_perfdata{")?.strip_suffix("} 1.5"))
            .map(|labels| labels.replace("namespaces/default/tasks/", ""))
            .collect();
        series.sort();
        series
    }

    #[test]
    fn each_check_replaces_what_the_one_before_has_shown() {
        let metrics = Metrics::new().expect("registered once");
        let writer = metrics.perfdata.writer(&task("a"));
        writer.show(values(&["x", "y\"\n"]), 0);
        assert_eq!(shown(&metrics), [r#"label="x",name="a",unit="s""#, r#"label="y\"\n",name="a",unit="s""#]);
        writer.show(values(&["z"]), 0);
        assert_eq!(shown(&metrics), [r#"label="z",name="a",unit="s""#]);
        writer.show(Vec::new(), 0);
        assert_eq!(shown(&metrics), [""; 0]);
    }

    #[test]
    fn what_an_instance_has_shown_ends_with_it_unless_another_has_taken_over() {
        let metrics = Metrics::new().expect("registered once");
        let (old, other) = (metrics.perfdata.writer(&task("a")), metrics.perfdata.writer(&task("b")));
        other.show(values(&["x"]), 0);
        old.show(values(&["x"]), 0);
        let new = metrics.perfdata.writer(&task("a"));
        new.show(values(&["y"]), 0);
        drop(old);
        assert_eq!(shown(&metrics), [r#"label="x",name="b",unit="s""#, r#"label="y",name="a",unit="s""#]);
        drop(new);
        assert_eq!(shown(&metrics), [r#"label="x",name="b",unit="s""#]);
    }

    #[test]
    fn what_is_too_much_is_dropped_and_counted() {
        let metrics = Metrics::new().expect("registered once");
        let perfdata = &metrics.perfdata;
        lock(&perfdata.shown).most = 3;
        let (a, b) = (perfdata.writer(&task("a")), perfdata.writer(&task("b")));
        a.show(values(&["x", "y"]), 0);
        b.show(values(&["x", "y"]), 5);
        assert_eq!((shown(&metrics).len(), perfdata.dropped.get()), (3, 6));
        drop(a);
        b.show(values(&["x", "y", "z"]), 0);
        assert_eq!((shown(&metrics).len(), perfdata.dropped.get()), (3, 6));
        drop(b);
        assert_eq!(lock(&perfdata.shown).series, 0);
    }
}
