//! `serve`.

use std::convert::Infallible;
use std::path::PathBuf;

use clap::Args;
use tokio::signal::unix::SignalKind;

use super::Failure;
use super::output::out;
use super::signals::{Signals, listen};
use crate::config::{Config, Key, Sources};
use crate::server::{self, Reload, Server};
use crate::telemetry;

/// What the RPCs are served with; tasks have threads of their own.
pub(super) const CONTROL_THREADS: usize = 2;

/// Run a server.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard serve
  switchyard serve --listen 0.0.0.0:6710 --log switchyard=debug,info --log-format json
  switchyard serve --enable-drills
  switchyard serve --exec-commands /usr/lib/nagios/plugins/check_disk:/usr/local/bin/check_queue
  switchyard serve --data-dir /var/lib/switchyard --event-retention-age 30d
  switchyard serve --store memory                    nothing survives, nothing is written
  switchyard serve --tasks /etc/switchyard/tasks     what these files say; again on SIGHUP
  switchyard serve --config switchyard.toml

A configuration file is TOML, with the flags' names as keys: `max_tasks = 1000`. Each key can also
be set in the environment, as SWITCHYARD_MAX_TASKS. Flags win over the environment, and that over
the file.

SIGTERM and SIGINT drain: tasks stop, streams end, at most 10 s; a second one ends at once. Exit
codes: 0 clean, 1 what it did last could not be committed, 10 abandoned a stuck task, 11 forced.")]
pub(super) struct Serve {
    /// A TOML file to read the configuration from.
    #[arg(long, value_name = "FILE", env = "SWITCHYARD_CONFIG")]
    config: Option<PathBuf>,
    /// Where to serve gRPC; port 0 takes a free one [default: 127.0.0.1:6710].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where to serve /metrics, /healthz and /readyz [default: 127.0.0.1:6711].
    #[arg(long, value_name = "ADDRESS")]
    http_listen: Option<String>,
    /// What to log: a level, or target=level parts joined by commas [default: info].
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// How to write log lines: text or json [default: text].
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// The commands that exec tasks may run: absolute paths, separated by colons. Clients choose their arguments and environment:
    /// list nothing that turns those into other programs (a shell, an interpreter, a script in bash or Perl, which obey variables)
    /// unless every client may run anything [default: none].
    #[arg(long, value_name = "PATHS")]
    exec_commands: Option<String>,
    /// Have the kind `drill`, whose tasks misbehave on purpose.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    enable_drills: Option<String>,
    /// The threads for built-in monitors [default: as many as cores].
    #[arg(long, value_name = "N")]
    built_in_shards: Option<String>,
    /// The threads for monitors of custom kinds [default: 8].
    #[arg(long, value_name = "N")]
    custom_shards: Option<String>,
    /// The tasks to hold, ended ones included [default: 100000].
    #[arg(long, value_name = "N")]
    max_tasks: Option<String>,
    /// The threads that may be lost to instances of custom kinds which are stuck or block; then no more of a custom kind are
    /// started [default: 64].
    #[arg(long, value_name = "N")]
    max_stuck: Option<String>,
    /// Drain and end once that many are lost, with exit code 10.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    exit_on_stuck_limit: Option<String>,
    /// Watch streams in all [default: 1000].
    #[arg(long, value_name = "N")]
    max_streams: Option<String>,
    /// Watch streams of one connection [default: 16].
    #[arg(long, value_name = "N")]
    max_streams_per_connection: Option<String>,
    /// How many circuits have metric series of their own, circuit_breaker_circuit_state [default: 0].
    #[arg(long, value_name = "N")]
    circuit_series: Option<String>,
    /// A file with tasks, as `apply -f` reads them, or a directory of such files: they are applied as the server begins, and again on
    /// SIGHUP. Tasks of the same owner that are in no file are cancelled.
    #[arg(long, value_name = "PATH")]
    tasks: Option<String>,
    /// Whose these tasks are: the value of their label `owner` [default: files].
    #[arg(long, value_name = "NAME")]
    tasks_owner: Option<String>,
    /// Where to keep tasks and events: embedded (in files) or memory [default: embedded].
    #[arg(long, value_name = "STORE")]
    store: Option<String>,
    /// The directory of the embedded store; made where it is missing, and held by one server at a time
    /// [default: ./switchyard-data].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// The events to keep for watchers that come back, 1 to 1000000000 [default: 1000000, or 20 for each task where that is more;
    /// with --store memory 100000].
    #[arg(long, value_name = "N")]
    event_retention: Option<String>,
    /// How old events may grow in the embedded store, 1m to 3650d [default: 7d].
    #[arg(long, value_name = "DURATION")]
    event_retention_age: Option<String>,
    /// The bytes that events may take in the embedded store, with the specs that only they refer to: a number, or one with a unit as
    /// 512MiB; 1MiB to 1TiB [default: 1GiB].
    #[arg(long, value_name = "BYTES")]
    event_retention_bytes: Option<String>,
}

impl Serve {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = self.sources().load()?;
        telemetry::init_logging(config.log(), config.log_format())
            .map_err(|error| Failure::Local(format!("cannot log: {error}")))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(CONTROL_THREADS)
            .thread_name("control")
            .enable_all()
            .build()
            .map_err(|error| Failure::Local(format!("cannot start a runtime: {error}")))?;
        let ended = runtime.block_on(serve(config));
        // Whatever still runs has been given up; waiting for it would be what the drain's bound is there to prevent.
        runtime.shutdown_background();
        match ended?.exit_code() {
            0 => Ok(()),
            code => Err(Failure::Told(code)),
        }
    }

    /// The values stay text here, so that everything that is wrong in any layer is told in one way, and at once.
    fn sources(self) -> Sources {
        let flags = [
            (Key::Listen, self.listen),
            (Key::HttpListen, self.http_listen),
            (Key::Log, self.log),
            (Key::LogFormat, self.log_format),
            (Key::EnableDrills, self.enable_drills),
            (Key::ExecCommands, self.exec_commands),
            (Key::BuiltInShards, self.built_in_shards),
            (Key::CustomShards, self.custom_shards),
            (Key::MaxTasks, self.max_tasks),
            (Key::MaxStuck, self.max_stuck),
            (Key::ExitOnStuckLimit, self.exit_on_stuck_limit),
            (Key::MaxStreams, self.max_streams),
            (Key::MaxStreamsPerConnection, self.max_streams_per_connection),
            (Key::CircuitSeries, self.circuit_series),
            (Key::Tasks, self.tasks),
            (Key::TasksOwner, self.tasks_owner),
            (Key::Store, self.store),
            (Key::DataDir, self.data_dir),
            (Key::EventRetention, self.event_retention),
            (Key::EventRetentionAge, self.event_retention_age),
            (Key::EventRetentionBytes, self.event_retention_bytes),
        ];
        Sources {
            file: self.config,
            environment: std::env::vars_os().collect(),
            flags: flags.into_iter().filter_map(|(key, text)| Some((key, text?))).collect(),
        }
    }
}

async fn serve(config: Config) -> Result<server::Ended, Failure> {
    let (mut first, mut second) = (Signals::new()?, Signals::new()?);
    let server = Server::builder().config(config).bind().await.map_err(|error| refused(&error))?;
    // A server serves on where nobody reads its banner.
    let _ = out(&banner(&server));
    let shutdown = async move { first.next().await };
    let force = async move {
        second.next().await;
        second.next().await;
    };
    let hangups = hangups(server.reload())?;
    tokio::select! {
        ended = server.run(shutdown, force) => Ok(ended),
        never = hangups => match never {},
    }
}

/// Has the task files read again on each SIGHUP; without any, that signal does what it does to every process.
fn hangups(reload: Option<Reload>) -> Result<impl Future<Output = Infallible>, Failure> {
    let mut signals = match reload {
        Some(reload) => Some((listen(SignalKind::hangup())?, reload)),
        None => None,
    };
    Ok(async move {
        loop {
            let Some((hangup, reload)) = &mut signals else { return std::future::pending().await };
            hangup.recv().await;
            reload.again();
        }
    })
}

pub(super) fn refused(error: &server::Error) -> Failure {
    match error {
        server::Error::TaskFiles(_) => Failure::Usage(error.to_string()),
        error => Failure::Local(server::chain(error)),
    }
}

fn recovered(server: &Server) -> String {
    match server.recovered_tasks() {
        0 => String::new(),
        1 => "  (holds 1 task)".to_owned(),
        tasks => format!("  (holds {tasks} tasks)"),
    }
}

/// Programs may rely on the lines `gRPC` and `HTTP`: they say where the server listens, port 0 resolved.
fn banner(server: &Server) -> String {
    let (grpc, http) = (server.addr(), server.http_addr());
    let remote = if grpc.port() == 6710 { String::new() } else { format!(" --server http://{grpc}") };
    format!(
        "\
switchyard {version}
  gRPC   http://{grpc}
  HTTP   http://{http}  (/metrics, /healthz, /readyz)
  store  {stored}{tasks}

Try, in another terminal:
  switchyard start self --http http://{http}/healthz --interval 5s --wait{remote}
  switchyard watch --initial{remote}
",
        stored = server.stored(),
        tasks = recovered(server),
        version = env!("CARGO_PKG_VERSION"),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Error, Layer};

    #[test]
    fn the_help_has_the_ranges_that_the_configuration_keeps_to() {
        let help = Serve::augment_args(clap::Command::new("serve")).render_long_help().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let nothing = Layer {
            event_retention: Some(0),
            event_retention_age: Some(Duration::ZERO),
            event_retention_bytes: Some(0),
            ..Layer::default()
        };
        let Err(Error::Invalid(problems)) = Config::try_new(nothing) else { panic!("must be refused") };
        assert_eq!(problems.len(), 3);
        for problem in problems {
            let problem = problem.to_string();
            let range = problem.split_once("must be ").and_then(|(_, rest)| rest.split_once(", not"));
            let (range, _) = range.unwrap_or_else(|| panic!("{problem}"));
            assert!(help.contains(range), "{range:?} is not in the help");
        }
    }
}
