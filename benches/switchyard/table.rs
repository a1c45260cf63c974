//! What is measured, and the table of it.

use std::fmt::Write;
use std::thread;

use anyhow::Result;

use crate::lab::Lab;

type Run = Box<dyn FnOnce(&Lab) -> Result<Vec<Row>>>;

/// Something to be measured: a row of the table, or a few that come of the same runs.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) run: Run,
}

impl Case {
    pub(crate) fn new(name: impl Into<String>, run: impl FnOnce(&Lab) -> Result<Vec<Row>> + 'static) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }

    /// Whether the filters, where there are any, ask for it.
    pub(crate) fn is_wanted(&self, filters: &[String]) -> bool {
        let name = self.name.to_lowercase();
        filters.is_empty() || filters.iter().any(|filter| name.contains(&filter.to_lowercase()))
    }
}

/// A row of the table.
pub(crate) struct Row {
    what: String,
    unit: Unit,
    value: f64,
    baseline: Option<f64>,
    bar: Bar,
}

/// What a figure counts.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    PerSecond,
    Milliseconds,
    Nanoseconds,
    Bytes,
    Count,
}

/// What the figure is to reach.
#[derive(Clone, Copy)]
pub(crate) enum Bar {
    /// None: it is reported.
    None,
    /// So much of the baseline.
    OfBaseline(f64),
    /// At most so much more than the baseline.
    AboveBaseline(f64),
    /// At most so many times the baseline.
    TimesBaseline(f64),
    /// At most so much.
    AtMost(f64),
    /// At least so much.
    AtLeast(f64),
}

impl Row {
    /// A figure that has a baseline: the medians of what the turns of both gave.
    pub(crate) fn beside(what: impl Into<String>, unit: Unit, turns: &[(f64, f64)], bar: Bar) -> Self {
        let (values, baselines): (Vec<f64>, Vec<f64>) = turns.iter().copied().unzip();
        Self { what: what.into(), unit, value: median(values), baseline: Some(median(baselines)), bar }
    }

    /// A figure that stands alone.
    pub(crate) fn alone(what: impl Into<String>, unit: Unit, turns: Vec<f64>, bar: Bar) -> Self {
        Self { what: what.into(), unit, value: median(turns), baseline: None, bar }
    }

    fn is_met(&self) -> Option<bool> {
        match (self.bar, self.baseline) {
            (Bar::None, _) | (Bar::OfBaseline(_) | Bar::AboveBaseline(_) | Bar::TimesBaseline(_), None) => None,
            (Bar::OfBaseline(least), Some(baseline)) => Some(self.value / baseline >= least),
            (Bar::AboveBaseline(most), Some(baseline)) => Some(self.value - baseline <= most),
            (Bar::TimesBaseline(most), Some(baseline)) => Some(self.value / baseline <= most),
            (Bar::AtMost(most), _) => Some(self.value <= most),
            (Bar::AtLeast(least), _) => Some(self.value >= least),
        }
    }

    fn cells(&self) -> [String; 6] {
        let none = || "-".to_owned();
        let ratio = self.baseline.map_or_else(none, |baseline| format!("{:.2} ×", self.value / baseline));
        let bar = match self.bar {
            Bar::None => none(),
            Bar::OfBaseline(least) => format!("≥ {least} ×"),
            Bar::AboveBaseline(most) => format!("≤ +{}", self.unit.show(most)),
            Bar::TimesBaseline(most) => format!("≤ {most} ×"),
            Bar::AtMost(most) => format!("≤ {}", self.unit.show(most)),
            Bar::AtLeast(least) => format!("≥ {}", self.unit.show(least)),
        };
        let met = self.is_met().map_or_else(none, |met| if met { "yes" } else { "no" }.to_owned());
        let baseline = self.baseline.map_or_else(none, |baseline| self.unit.show(baseline));
        [self.what.clone(), self.unit.show(self.value), baseline, ratio, bar, met]
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::PerSecond => format!("{}/s", grouped(value)),
            Self::Milliseconds if value < 100.0 => format!("{value:.2} ms"),
            Self::Milliseconds => format!("{} ms", grouped(value)),
            Self::Nanoseconds => format!("{value:.1} ns"),
            Self::Bytes => format!("{} B", grouped(value)),
            Self::Count => grouped(value),
        }
    }
}

/// A number without its fraction, its digits in groups of three.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut shown = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) { f64::midpoint(values[middle - 1], values[middle]) } else { values[middle] }
}

/// The table, as Markdown, below what it was measured on.
pub(crate) fn render(rows: &[Row], quick: bool) -> String {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let heading = ["what", "value", "baseline", "ratio", "bar", "met"].map(str::to_owned);
    let lines: Vec<_> = std::iter::once(heading).chain(rows.iter().map(Row::cells)).collect();
    let widths: [usize; 6] =
        std::array::from_fn(|column| lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or_default());
    let mode = if quick { "quick: these are no figures" } else { "medians" };
    let build = if cfg!(debug_assertions) { ", without optimisation" } else { "" };
    let mut table = format!("switchyard {}, {cores} cores, {mode}{build}\n\n", env!("CARGO_PKG_VERSION"));
    for (number, cells) in lines.iter().enumerate() {
        let [what, rest @ ..] = cells;
        // Writing to a string cannot fail.
        let _ = write!(table, "| {what:<width$} |", width = widths[0]);
        for (cell, width) in rest.iter().zip(&widths[1..]) {
            let _ = write!(table, " {cell:>width$} |");
        }
        table.push('\n');
        if number == 0 {
            let rule = |width: &usize| "-".repeat(width + 1);
            let right: Vec<_> = widths[1..].iter().map(rule).collect();
            let _ = writeln!(table, "|-{}|{}:|", rule(&widths[0]), right.join(":|"));
        }
    }
    table
}
