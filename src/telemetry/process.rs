//! The process's own figures, under the names that every Prometheus client uses, from `/proc/self`.

use std::fs;
use std::path::Path;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, Metric, MetricFamily, MetricType};
use rustix::param;
use rustix::process::{Resource, getrlimit};

/// Reads `/proc/self` at every scrape. It does blocking reads, if only of memory: render metrics on the blocking pool.
pub(super) struct ProcessCollector {
    /// Seconds since the Unix epoch; does not change.
    start_time: f64,
    /// In the order of `FAMILIES`.
    descs: Vec<Desc>,
}

const FAMILIES: [(&str, &str, MetricType); 7] = [
    ("process_cpu_seconds_total", "User and system CPU time spent, in seconds.", MetricType::COUNTER),
    ("process_resident_memory_bytes", "Resident memory size in bytes.", MetricType::GAUGE),
    ("process_virtual_memory_bytes", "Virtual memory size in bytes.", MetricType::GAUGE),
    ("process_threads", "Number of OS threads in the process.", MetricType::GAUGE),
    ("process_start_time_seconds", "Start time of the process since the Unix epoch, in seconds.", MetricType::GAUGE),
    ("process_open_fds", "Number of open file descriptors.", MetricType::GAUGE),
    ("process_max_fds", "Maximum number of open file descriptors.", MetricType::GAUGE),
];

impl ProcessCollector {
    /// `None` where there is no `/proc` as Linux has it.
    pub(super) fn new() -> prometheus::Result<Option<Self>> {
        let (Some(stat), Some(boot_time)) = (Stat::read(), boot_time()) else { return Ok(None) };
        let descs = FAMILIES
            .iter()
            .map(|(name, help, _)| Desc::new((*name).to_owned(), (*help).to_owned(), Vec::new(), [].into()))
            .collect::<prometheus::Result<_>>()?;
        Ok(Some(Self { start_time: boot_time + stat.start_time, descs }))
    }

    /// The figures now, in the order of `FAMILIES`; `None` for one that cannot be read.
    fn sample(&self) -> [Option<f64>; FAMILIES.len()] {
        let stat = Stat::read();
        let of = |figure: fn(&Stat) -> f64| stat.as_ref().map(figure);
        [
            of(|stat| stat.cpu_time),
            of(|stat| stat.resident),
            of(|stat| stat.virtual_size),
            of(|stat| stat.threads),
            Some(self.start_time),
            open_files(),
            Some(getrlimit(Resource::Nofile).current.map_or(f64::INFINITY, |limit| limit as f64)),
        ]
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let samples = FAMILIES.iter().zip(self.sample());
        samples.filter_map(|((name, help, kind), value)| Some(family(name, help, *kind, value?))).collect()
    }
}

fn family(name: &str, help: &str, kind: MetricType, value: f64) -> MetricFamily {
    let mut metric = Metric::default();
    if kind == MetricType::COUNTER {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(vec![metric]);
    family
}

/// What `/proc/self/stat` tells, in seconds and bytes.
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_time: f64,
    threads: f64,
    /// Since boot.
    start_time: f64,
    virtual_size: f64,
    resident: f64,
}

impl Stat {
    fn read() -> Option<Self> {
        Self::parse(&read("/proc/self/stat")?, param::clock_ticks_per_second() as f64, param::page_size() as f64)
    }

    /// The fields are numbered as in proc(5), from 1.
    fn parse(stat: &str, ticks: f64, page: f64) -> Option<Self> {
        // The second field is the program's name in parentheses, and may itself have blanks and parentheses.
        let rest: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
        let field = |number: usize| rest.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu_time: (field(14)? + field(15)?) / ticks,
            threads: field(20)?,
            start_time: field(22)? / ticks,
            virtual_size: field(23)?,
            resident: field(24)? * page,
        })
    }
}

/// Seconds since the Unix epoch.
fn boot_time() -> Option<f64> {
    read("/proc/stat")?.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn open_files() -> Option<f64> {
    let directory = Path::new("/proc/self/fd");
    // Since Linux 6.2 the directory's size is the number of descriptors; listing 100,000 takes tens of milliseconds.
    match fs::metadata(directory).ok()?.len() {
        // Listing opens a descriptor of its own.
        0 => Some(fs::read_dir(directory).ok()?.count().saturating_sub(1) as f64),
        files => Some(files as f64),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "procfs answers from memory, and scrapes are rendered on the blocking pool"
)]
fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn the_programs_name_may_have_blanks_and_parentheses() {
        let stat =
            "7 (a b) c) S 1 7 7 0 -1 4194560 9 0 0 0 150 50 0 0 20 0 12 0 4200 1000000 25 18446744073709551615 1 1";
        let expected =
            Stat { cpu_time: 2.0, threads: 12.0, start_time: 42.0, virtual_size: 1_000_000.0, resident: 102_400.0 };
        assert_eq!(Stat::parse(stat, 100.0, 4096.0), Some(expected));
        for broken in ["", "7 (a", "7 (a) S 1", "7 (a) S x x x x x x x x x x x x x x x x x x x x x x"] {
            assert_eq!(Stat::parse(broken, 100.0, 4096.0), None, "{broken}");
        }
    }

    #[test]
    fn an_opened_file_is_counted() {
        let before = open_files().expect("Linux");
        let files: Vec<File> = (0..200).map(|_| File::open("/dev/null").expect("opens")).collect();
        // Other tests open and close files of their own meanwhile, if not so many.
        let after = open_files().expect("Linux");
        assert!(after >= before + 100.0, "{before} {after}");
        drop(files);
    }

    #[test]
    fn every_family_has_a_plausible_figure() {
        let collector = ProcessCollector::new().expect("registers").expect("Linux");
        let families = collector.collect();
        assert_eq!(families.len(), FAMILIES.len());
        for (family, desc) in families.iter().zip(collector.desc()) {
            assert_eq!(family.name(), desc.fq_name);
            let metric = &family.get_metric()[0];
            let value = metric.get_counter().get_value() + metric.get_gauge().get_value();
            // A young process may not have used a tick of CPU time yet.
            assert!(value > 0.0 || family.name() == "process_cpu_seconds_total", "{}: {value}", family.name());
        }
    }
}
