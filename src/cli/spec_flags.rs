//! Flags for the common parts of a task. They go on top of the file, if there is one: each replaces the same field.

mod swap;

use std::time::Duration;

use clap::{Args, ValueEnum};
use prost_reflect::DynamicMessage;

use self::swap::SwapFlags;
use super::{Failure, duration, json};
use crate::pb::v1;
use crate::task_files;
use v1::task_spec::Monitor;

/// The parts of a task that have flags.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub(super) struct SpecFlags {
    /// Watch by HTTP requests to this URL, http:// or https://.
    #[arg(long, value_name = "URL", group = "monitor", help_heading = "What to watch")]
    http: Option<String>,
    /// Watch by TCP connections to this address.
    #[arg(long, value_name = "HOST:PORT", group = "monitor", help_heading = "What to watch")]
    tcp: Option<String>,
    /// Watch by runs of this command, an absolute path that the server allows.
    #[arg(long, value_name = "COMMAND", group = "monitor", help_heading = "What to watch")]
    exec: Option<String>,
    /// Watch by a custom kind that the server has.
    #[arg(long, value_name = "KIND", group = "monitor", help_heading = "What to watch")]
    kind: Option<String>,
    /// The custom kind's configuration, a JSON object.
    #[arg(long, value_name = "JSON", help_heading = "What to watch")]
    config: Option<String>,
    /// An argument of the command; may be repeated.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true, help_heading = "What to watch")]
    arg: Vec<String>,
    /// A variable of the command's environment, as NAME=VALUE; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable, help_heading = "What to watch")]
    env: Vec<v1::ExecVariable>,
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
    /// With whom its instances share a thread; the server's default is shared.
    #[arg(long, value_enum, help_heading = "How to watch")]
    isolation: Option<Isolation>,
    /// So many failed checks in a row open the circuit; 0 is off.
    #[arg(long, value_name = "N", help_heading = "When the circuit opens")]
    circuit_failures: Option<u32>,
    /// How long it stays open the first time; longer each time after.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, help_heading = "When the circuit opens")]
    circuit_open: Option<Duration>,
    /// So many passed checks close it again.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..),
          help_heading = "When the circuit opens")]
    circuit_successes: Option<u32>,
    #[command(flatten)]
    swap: SwapFlags,
    /// A label, as key=value; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    label: Vec<(String, String)>,
    /// An annotation, as key=value; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    annotation: Vec<(String, String)>,
}

/// With whom instances share a thread.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Isolation {
    /// With others: one that blocks its thread holds them up, until the server has moved them.
    Shared,
    /// With none: each has a thread to itself.
    Thread,
}

impl From<Isolation> for v1::Isolation {
    fn from(isolation: Isolation) -> Self {
        match isolation {
            Isolation::Shared => Self::Shared,
            Isolation::Thread => Self::Thread,
        }
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("it must be key=value")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn variable(text: &str) -> Result<v1::ExecVariable, String> {
    let (name, value) = text.split_once('=').ok_or("it must be NAME=VALUE")?;
    Ok(v1::ExecVariable { name: name.to_owned(), value: value.to_owned() })
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
        self.apply_circuit(spec);
        self.swap.apply(spec);
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
        spec.isolation = self.isolation.map_or(spec.isolation, |isolation| v1::Isolation::from(isolation).into());
    }

    fn apply_circuit(&self, spec: &mut v1::TaskSpec) {
        if self.circuit_failures.is_some() || self.circuit_open.is_some() || self.circuit_successes.is_some() {
            let circuit = spec.circuit.get_or_insert_default();
            circuit.consecutive_failures = self.circuit_failures.or(circuit.consecutive_failures);
            circuit.open_base = self.circuit_open.map(duration::wire).or(circuit.open_base);
            circuit.close_successes = self.circuit_successes.unwrap_or(circuit.close_successes);
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
        let about_exec = [("--arg", !self.arg.is_empty()), ("--env", !self.env.is_empty())];
        let mut misplaced = |flags: &[(&str, bool)], what: &str| {
            let given = flags.iter().filter(|(_, given)| *given);
            problems.extend(given.map(|(flag, _)| format!("{flag} is about {what}, which this task is not")));
        };
        match &mut spec.monitor {
            Some(Monitor::Http(http)) => {
                misplaced(&about_exec, "a command");
                misplaced(&[("--config", self.config.is_some())], "a custom kind");
                self.apply_http(http);
            }
            Some(Monitor::Exec(exec)) => {
                misplaced(&about_http, "an HTTP task");
                misplaced(&[("--config", self.config.is_some())], "a custom kind");
                self.apply_exec(exec);
            }
            Some(Monitor::Custom(custom)) => {
                misplaced(&about_http, "an HTTP task");
                misplaced(&about_exec, "a command");
                if let Some(text) = &self.config {
                    custom.config = Some(config(text)?);
                }
            }
            Some(Monitor::Tcp(_)) => {
                misplaced(&about_http, "an HTTP task");
                misplaced(&about_exec, "a command");
                misplaced(&[("--config", self.config.is_some())], "a custom kind");
            }
            None => {
                problems.push("nothing to watch: give --http, --tcp, --exec or --kind, or a file with -f".to_owned())
            }
        }
        Ok(())
    }

    /// A flag may say where to look, but not turn the file's monitor into one of another kind: half of its fields would be lost.
    fn choose_monitor(&self, spec: &mut v1::TaskSpec, problems: &mut Vec<String>) {
        let chosen = match (&self.http, &self.tcp, &self.exec, &self.kind) {
            (Some(url), ..) => Monitor::Http(v1::HttpMonitor { url: url.clone(), ..v1::HttpMonitor::default() }),
            (_, Some(address), ..) => {
                Monitor::Tcp(v1::TcpMonitor { address: address.clone(), ..v1::TcpMonitor::default() })
            }
            (_, _, Some(command), _) => {
                Monitor::Exec(v1::ExecMonitor { command: command.clone(), ..v1::ExecMonitor::default() })
            }
            (.., Some(kind)) => {
                Monitor::Custom(v1::CustomMonitor { kind: kind.clone(), ..v1::CustomMonitor::default() })
            }
            (None, None, None, None) => return,
        };
        match (&mut spec.monitor, chosen) {
            (Some(Monitor::Http(file)), Monitor::Http(flag)) => file.url = flag.url,
            (Some(Monitor::Tcp(file)), Monitor::Tcp(flag)) => file.address = flag.address,
            (Some(Monitor::Exec(file)), Monitor::Exec(flag)) => file.command = flag.command,
            (Some(Monitor::Custom(file)), Monitor::Custom(flag)) => file.kind = flag.kind,
            (Some(_), flag) => {
                let (flag, what) = match flag {
                    Monitor::Http(_) => ("--http", "an HTTP task"),
                    Monitor::Tcp(_) => ("--tcp", "a TCP task"),
                    Monitor::Exec(_) => ("--exec", "a command"),
                    Monitor::Custom(_) => ("--kind", "a custom kind"),
                };
                problems.push(format!("{flag} is about {what}, which the file's task is not"));
            }
            (none @ None, flag) => *none = Some(flag),
        }
    }

    /// Arguments make sense only as a whole; variables are told apart by their names.
    fn apply_exec(self, exec: &mut v1::ExecMonitor) {
        if !self.arg.is_empty() {
            exec.args = self.arg;
        }
        let replaced: Vec<_> = self.env.iter().map(|variable| variable.name.clone()).collect();
        exec.env.retain(|variable| !replaced.contains(&variable.name));
        exec.env.extend(self.env);
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
    if let Some(problem) = task_files::too_deep(&object) {
        return Err(Failure::Usage(format!("--config {problem}")));
    }
    let message = DynamicMessage::deserialize(descriptor, object);
    message.map_err(|error| wrong(&error))?.transcode_to().map_err(|error| wrong(&error))
}

#[cfg(test)]
mod tests;
