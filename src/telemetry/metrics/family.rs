//! Families of gauges whose series are known only when they are scraped: each scrape makes them anew.

use std::collections::HashMap;

use prometheus::core::Desc;
use prometheus::proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::Families;

/// A family, without its series.
pub(super) struct Family<const LABELS: usize> {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    /// In the order in which the text form has them.
    pub(super) labels: [&'static str; LABELS],
}

impl<const LABELS: usize> Family<LABELS> {
    pub(super) fn desc(&self) -> prometheus::Result<Desc> {
        Desc::new(self.full_name(), self.help.to_owned(), self.labels.map(str::to_owned).to_vec(), HashMap::new())
    }

    /// One series, by the values of its labels.
    pub(super) fn series(&self, labels: [&str; LABELS], value: f64) -> Metric {
        let pair = |(name, value): (&str, &str)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.to_owned());
            pair.set_value(value.to_owned());
            pair
        };
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        let mut metric = Metric::default();
        metric.set_label(self.labels.into_iter().zip(labels).map(pair).collect());
        metric.set_gauge(gauge);
        metric
    }

    /// The family with these series. The text form has none without any.
    pub(super) fn of(&self, series: Vec<Metric>) -> Option<MetricFamily> {
        if series.is_empty() {
            return None;
        }
        let mut family = MetricFamily::default();
        family.set_name(self.full_name());
        family.set_help(self.help.to_owned());
        family.set_field_type(MetricType::GAUGE);
        family.set_metric(series);
        Some(family)
    }

    fn full_name(&self) -> String {
        Families::opts(self.name, self.help).fq_name()
    }
}
