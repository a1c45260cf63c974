//! Flags for the common parts of a task. They go on top of the file, if there is one: each replaces the same field.

use std::time::Duration;

use clap::Args;
use prost_reflect::DynamicMessage;

use super::{Failure, duration, json};
use crate::pb::v1;
use v1::task_spec::Monitor;

/// The parts of a task that have flags.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct SpecFlags {
    /// Watch by HTTP requests to this URL, http:// or https://.
    #[arg(long, value_name = "URL", group = "monitor", help_heading = "What to watch")]
    http: Option<String>,
    /// Watch by TCP connections to this address.
    #[arg(long, value_name = "HOST:PORT", group = "monitor", help_heading = "What to watch")]
    tcp: Option<String>,
    /// Watch by a custom kind that the server has.
    #[arg(long, value_name = "KIND", group = "monitor", help_heading = "What to watch")]
    kind: Option<String>,
    /// The custom kind's configuration, a JSON object.
    #[arg(long, value_name = "JSON", help_heading = "What to watch")]
    config: Option<String>,
    /// The HTTP request's method.
    #[arg(long, value_name = "METHOD", help_heading = "What to watch")]
    method: Option<String>,
    /// A header of the HTTP request, as 'Name: value'; may be repeated.
    #[arg(long, value_name = "HEADER", value_parser = header, help_heading = "What to watch")]
    header: Vec<v1::HttpHeader>,
    /// The HTTP request's body.
    #[arg(long, value_name = "TEXT", help_heading = "What to watch")]
    body: Option<String>,
    /// The HTTP statuses that pass, as 204 or 200-299; may be repeated.
    #[arg(long, value_name = "STATUS", value_delimiter = ',', help_heading = "What to watch")]
    expect_status: Vec<String>,
    /// The HTTP response's body must contain this.
    #[arg(long, value_name = "TEXT", help_heading = "What to watch")]
    body_contains: Option<String>,
    /// The HTTP response's body must match this regular expression.
    #[arg(long, value_name = "REGEX", help_heading = "What to watch")]
    body_regex: Option<String>,
    /// How far apart the checks are, as 5s.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, help_heading = "How to watch")]
    interval: Option<Duration>,
    /// How long one check may take.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, help_heading = "How to watch")]
    timeout: Option<Duration>,
    /// How many checks to run; 0 is unbounded.
    #[arg(long, value_name = "N", help_heading = "How to watch")]
    max_runs: Option<u32>,
    /// How long the task has to stop when it is asked to.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, help_heading = "How to watch")]
    grace: Option<Duration>,
    /// How long it has to end once it is aborted.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, help_heading = "How to watch")]
    abort: Option<Duration>,
    /// A label, as key=value; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    label: Vec<(String, String)>,
    /// An annotation, as key=value; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    annotation: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("it must be key=value")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn header(text: &str) -> Result<v1::HttpHeader, String> {
    let (name, value) = text.split_once(':').ok_or("it must be 'Name: value'")?;
    Ok(v1::HttpHeader { name: name.trim().to_owned(), value: value.trim().to_owned() })
}

impl SpecFlags {
    /// Puts the flags on top of a task, which is the file's or empty.
    pub(super) fn apply(self, task: &mut v1::Task) -> Result<(), Failure> {
        task.labels.extend(self.label.iter().cloned());
        task.annotations.extend(self.annotation.iter().cloned());
        let spec = task.spec.get_or_insert_default();
        self.apply_timing(spec);
        let mut problems = Vec::new();
        self.apply_monitor(spec, &mut problems)?;
        if problems.is_empty() { Ok(()) } else { Err(Failure::Usage(problems.join("\nerror: "))) }
    }

    fn apply_timing(&self, spec: &mut v1::TaskSpec) {
        let put = |field: &mut Option<prost_types::Duration>, flag: Option<Duration>| {
            *field = flag.map(duration::wire).or(*field);
        };
        if self.interval.is_some() || self.timeout.is_some() || self.max_runs.is_some() {
            let schedule = spec.schedule.get_or_insert_default();
            put(&mut schedule.interval, self.interval);
            put(&mut schedule.timeout, self.timeout);
            schedule.max_runs = self.max_runs.unwrap_or(schedule.max_runs);
        }
        if self.grace.is_some() || self.abort.is_some() {
            let shutdown = spec.shutdown.get_or_insert_default();
            put(&mut shutdown.grace_timeout, self.grace);
            put(&mut shutdown.abort_timeout, self.abort);
        }
    }

    fn apply_monitor(self, spec: &mut v1::TaskSpec, problems: &mut Vec<String>) -> Result<(), Failure> {
        self.choose_monitor(spec, problems);
        let about_http = [
            ("--method", self.method.is_some()),
            ("--header", !self.header.is_empty()),
            ("--body", self.body.is_some()),
            ("--expect-status", !self.expect_status.is_empty()),
            ("--body-contains", self.body_contains.is_some()),
            ("--body-regex", self.body_regex.is_some()),
        ];
        let mut misplaced = |flags: &[(&str, bool)], what: &str| {
            let given = flags.iter().filter(|(_, given)| *given);
            problems.extend(given.map(|(flag, _)| format!("{flag} is about {what}, which this task is not")));
        };
        match &mut spec.monitor {
            Some(Monitor::Http(http)) => {
                misplaced(&[("--config", self.config.is_some())], "a custom kind");
                self.apply_http(http);
            }
            Some(Monitor::Custom(custom)) => {
                misplaced(&about_http, "an HTTP task");
                if let Some(text) = &self.config {
                    custom.config = Some(config(text)?);
                }
            }
            Some(Monitor::Tcp(_)) => {
                misplaced(&about_http, "an HTTP task");
                misplaced(&[("--config", self.config.is_some())], "a custom kind");
            }
            None => problems.push("nothing to watch: give --http, --tcp or --kind, or a file with -f".to_owned()),
        }
        Ok(())
    }

    /// A flag may say where to look, but not turn the file's monitor into one of another kind: half of its fields would be lost.
    fn choose_monitor(&self, spec: &mut v1::TaskSpec, problems: &mut Vec<String>) {
        let chosen = match (&self.http, &self.tcp, &self.kind) {
            (Some(url), ..) => Monitor::Http(v1::HttpMonitor { url: url.clone(), ..v1::HttpMonitor::default() }),
            (_, Some(address), _) => {
                Monitor::Tcp(v1::TcpMonitor { address: address.clone(), ..v1::TcpMonitor::default() })
            }
            (.., Some(kind)) => {
                Monitor::Custom(v1::CustomMonitor { kind: kind.clone(), ..v1::CustomMonitor::default() })
            }
            (None, None, None) => return,
        };
        match (&mut spec.monitor, chosen) {
            (Some(Monitor::Http(file)), Monitor::Http(flag)) => file.url = flag.url,
            (Some(Monitor::Tcp(file)), Monitor::Tcp(flag)) => file.address = flag.address,
            (Some(Monitor::Custom(file)), Monitor::Custom(flag)) => file.kind = flag.kind,
            (Some(_), flag) => {
                let (flag, what) = match flag {
                    Monitor::Http(_) => ("--http", "an HTTP task"),
                    Monitor::Tcp(_) => ("--tcp", "a TCP task"),
                    Monitor::Custom(_) => ("--kind", "a custom kind"),
                };
                problems.push(format!("{flag} is about {what}, which the file's task is not"));
            }
            (none @ None, flag) => *none = Some(flag),
        }
    }

    fn apply_http(self, http: &mut v1::HttpMonitor) {
        http.method = self.method.unwrap_or_else(|| std::mem::take(&mut http.method));
        http.body = self.body.map_or_else(|| std::mem::take(&mut http.body), String::into_bytes);
        http.body_contains = self.body_contains.unwrap_or_else(|| std::mem::take(&mut http.body_contains));
        http.body_regex = self.body_regex.unwrap_or_else(|| std::mem::take(&mut http.body_regex));
        if !self.expect_status.is_empty() {
            http.expected_status = self.expect_status;
        }
        let replaced: Vec<_> = self.header.iter().map(|header| header.name.to_ascii_lowercase()).collect();
        http.headers.retain(|header| !replaced.contains(&header.name.to_ascii_lowercase()));
        http.headers.extend(self.header);
    }
}

/// A `google.protobuf.Struct` from its JSON.
fn config(text: &str) -> Result<prost_types::Struct, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::Usage(format!("--config is no JSON object: {error}"));
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|error| wrong(&error))?;
    let descriptor = json::descriptor::<prost_types::Struct>()?;
    let object = serde_json::Value::Object(object);
    if let Some(problem) = json::too_deep(&object) {
        return Err(Failure::Usage(format!("--config {problem}")));
    }
    let message = DynamicMessage::deserialize(descriptor, object);
    message.map_err(|error| wrong(&error))?.transcode_to().map_err(|error| wrong(&error))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        flags: SpecFlags,
    }

    fn applied(arguments: &[&str], mut task: v1::Task) -> Result<v1::Task, String> {
        let command = Command::try_parse_from(["start"].iter().chain(arguments)).map_err(|error| error.to_string())?;
        match command.flags.apply(&mut task) {
            Ok(()) => Ok(task),
            Err(failure) => Err(failure.text().expect("something to tell")),
        }
    }

    fn http(task: v1::Task) -> v1::HttpMonitor {
        match task.spec.and_then(|spec| spec.monitor) {
            Some(Monitor::Http(http)) => http,
            other => panic!("not HTTP: {other:?}"),
        }
    }

    #[test]
    fn flags_alone_make_a_task() {
        let arguments = [
            "--http",
            "http://a/",
            "--interval",
            "5s",
            "--timeout",
            "1.5s",
            "--max-runs",
            "3",
            "--grace",
            "1s",
            "--abort",
            "500ms",
            "--label",
            "team=core",
            "--annotation",
            "note=a=b",
            "--header",
            "X-A: b: c",
            "--method",
            "HEAD",
            "--expect-status",
            "204,300-399",
            "--body-contains",
            "ok",
        ];
        let task = applied(&arguments, v1::Task::default()).expect("valid");
        let spec = task.spec.clone().expect("given");
        let schedule = spec.schedule.expect("given");
        assert_eq!(schedule.timeout, Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }));
        assert_eq!(schedule.max_runs, 3);
        assert_eq!(
            spec.shutdown.expect("given").abort_timeout,
            Some(prost_types::Duration { seconds: 0, nanos: 500_000_000 })
        );
        assert_eq!(task.annotations["note"], "a=b");
        let http = http(task);
        assert_eq!((http.headers[0].name.as_str(), http.headers[0].value.as_str()), ("X-A", "b: c"));
        assert_eq!((http.method.as_str(), http.expected_status.len()), ("HEAD", 2));
    }

    #[test]
    fn a_flag_replaces_its_field_of_the_file_and_nothing_else() {
        let text = "labels: {a: '1', b: '2'}\nspec: {http: {url: 'http://a', method: PUT, headers: [{name: X-A, value: a}]}, \
                    schedule: {interval: 9s, timeout: 1s}}";
        let file = super::super::task_file::parse("t.yaml", text).expect("valid");
        let arguments = ["--http", "http://b", "--interval", "5s", "--label", "b=3", "--header", "x-a: b"];
        let task = applied(&arguments, file).expect("valid");
        assert_eq!((task.labels["a"].as_str(), task.labels["b"].as_str()), ("1", "3"));
        let schedule = task.spec.as_ref().and_then(|spec| spec.schedule).expect("given");
        assert_eq!(schedule.interval.map(|interval| interval.seconds), Some(5));
        assert_eq!(schedule.timeout.map(|timeout| timeout.seconds), Some(1));
        let http = http(task);
        assert_eq!((http.url.as_str(), http.method.as_str()), ("http://b", "PUT"));
        assert_eq!((http.headers.len(), http.headers[0].value.as_str()), (1, "b"));
    }

    #[test]
    fn custom_kinds_take_json() {
        let arguments = ["--kind", "drill", "--config", r#"{"behaviour": "spin", "n": [1, null]}"#];
        let task = applied(&arguments, v1::Task::default()).expect("valid");
        let Some(Monitor::Custom(custom)) = task.spec.and_then(|spec| spec.monitor) else { panic!("custom") };
        assert_eq!((custom.kind.as_str(), custom.config.expect("given").fields.len()), ("drill", 2));
    }

    #[test]
    fn a_config_nested_too_deeply_is_refused_before_it_is_sent() {
        let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        let start = |depth| applied(&["--kind", "drill", "--config", &nested(depth)], v1::Task::default());
        assert!(start(31).is_ok());
        for depth in [32, 40, 60, 110] {
            let error = start(depth).expect_err("too deep");
            assert_eq!(error, "error: --config must not be nested deeper than 32");
        }
        let file = format!("spec: {{custom: {{kind: drill, config: {}}}}}", nested(40));
        let error = super::super::task_file::parse("t.yaml", &file).expect_err("too deep").text().expect("told");
        assert!(error.ends_with("t.yaml:1:38: spec.custom.config: must not be nested deeper than 32"), "{error}");
    }

    #[test]
    fn flags_that_do_not_belong_together_are_refused_with_a_word_why() {
        let cases: [(&[&str], &str); 8] = [
            (&[], "nothing to watch"),
            (&["--tcp", "a:1", "--method", "PUT", "--body", "x"], "--method is about an HTTP task"),
            (&["--tcp", "a:1", "--config", "{}"], "--config is about a custom kind"),
            (&["--http", "http://a", "--tcp", "a:1"], "cannot be used with"),
            (&["--http", "http://a", "--interval", "5"], "is no duration"),
            (&["--http", "http://a", "--header", "x"], "Name: value"),
            (&["--http", "http://a", "--label", "x"], "key=value"),
            (&["--kind", "drill", "--config", "[1]"], "--config is no JSON object"),
        ];
        for (arguments, problem) in cases {
            let error = applied(arguments, v1::Task::default()).expect_err(problem);
            assert!(error.contains(problem), "{arguments:?}: {error}");
        }
        let file = super::super::task_file::parse("t.yaml", "spec: {tcp: {address: 'a:1'}}").expect("valid");
        let error = applied(&["--http", "http://a"], file).expect_err("another kind");
        assert!(error.contains("--http is about an HTTP task, which the file's task is not"), "{error}");
    }
}
