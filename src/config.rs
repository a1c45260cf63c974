//! The server's validated configuration, and the layers it is read from: file, environment, flags; the later wins.

mod key;
mod layers;
mod storage;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use thiserror::Error;

pub use key::Key;
pub use layers::Sources;
pub use storage::{InvalidStoreKind, StoreKind};

use crate::telemetry::{self, LogFormat};
use storage::Storage;

/// What a server runs with. It has been checked as a whole; nothing in it is out of range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    listen: SocketAddr,
    http_listen: SocketAddr,
    log: String,
    log_format: LogFormat,
    enable_drills: bool,
    exec_commands: Vec<String>,
    built_in_shards: usize,
    custom_shards: usize,
    max_tasks: usize,
    max_stuck: usize,
    exit_on_stuck_limit: bool,
    max_streams: usize,
    max_streams_per_connection: usize,
    circuit_series: usize,
    tasks: Option<PathBuf>,
    tasks_owner: String,
    storage: Storage,
}

/// What one layer says; `None` leaves it to the layer below, and in the end to the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    /// Where gRPC is served. Default `127.0.0.1:6710`; port 0 takes a free one.
    pub listen: Option<SocketAddr>,
    /// Where `/metrics`, `/healthz` and `/readyz` are served. Default `127.0.0.1:6711`; port 0 takes a free one.
    pub http_listen: Option<SocketAddr>,
    /// What is logged, as `info` or `switchyard=debug,warn`. Default `info`.
    pub log: Option<String>,
    /// How log lines are written. Default text.
    pub log_format: Option<LogFormat>,
    /// Whether the kind `drill` is there, whose tasks misbehave on purpose. Default no.
    pub enable_drills: Option<bool>,
    /// The commands that exec tasks may run: absolute paths, which must be given exactly so. Whoever may start tasks chooses their
    /// arguments and their environment. Default none, which turns the kind off.
    pub exec_commands: Option<Vec<String>>,
    /// The threads that run built-in monitors. Default: as many as cores; 1 to 256.
    pub built_in_shards: Option<usize>,
    /// The threads that run monitors of custom kinds. Default 8; 1 to 256.
    pub custom_shards: Option<usize>,
    /// The tasks the server holds, ended ones included. Default 100,000; 1 to 10,000,000.
    pub max_tasks: Option<usize>,
    /// Threads that may be lost to instances of custom kinds which are stuck or block; then no more of a custom kind are started.
    /// Default 64; 1 to 4,096.
    pub max_stuck: Option<usize>,
    /// Whether the server drains and ends once that many are lost. Default no.
    pub exit_on_stuck_limit: Option<bool>,
    /// Watch streams in all. Default 1,000; 1 to 100,000.
    pub max_streams: Option<usize>,
    /// Watch streams of one connection. Default 16; 1 to 200, so that calls find room beside them.
    pub max_streams_per_connection: Option<usize>,
    /// How many circuits have metric series of their own. Default 0; at most 100,000.
    pub circuit_series: Option<usize>,
    /// A file with tasks, or a directory of such files: what is in them is started, swapped and cancelled as the server begins, and
    /// whenever it is told to read them again. Default none.
    pub tasks: Option<PathBuf>,
    /// Whose these tasks are: the value of their label `owner`, under which all others are cancelled. Default `files`; 1 to 63 bytes.
    pub tasks_owner: Option<String>,
    /// What the journal is kept in. Default embedded.
    pub store: Option<StoreKind>,
    /// The embedded store's directory, made where it is missing. Default `./switchyard-data`.
    pub data_dir: Option<PathBuf>,
    /// The events that are kept. Default: of the embedded store 1,000,000, or 20 for each task there is where that is more; of
    /// the memory store 100,000. 1 to 1,000,000,000.
    pub event_retention: Option<u64>,
    /// How old events may grow in the embedded store. Default 7 days; a minute to ten years.
    pub event_retention_age: Option<Duration>,
    /// The bytes that events may take in the embedded store. Default 1 GiB; 1 MiB to 1 TiB.
    pub event_retention_bytes: Option<u64>,
}

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum Error {
    /// The file could not be read.
    #[error("cannot read the configuration file {}", path.display())]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Something in it is wrong; everything that is, in the order of the layers.
    #[error("the configuration is invalid:{}", Lines(.0))]
    Invalid(Vec<Problem>),
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The layer and the key: `switchyard.toml:3:1: max_tasks`, `environment SWITCHYARD_LISTEN`, `flag --listen`.
    pub place: String,
    /// What is wrong, and what would be right.
    pub description: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.description)
    }
}

struct Lines<'a>(&'a [Problem]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::check(Layer::default(), |key| key.name().to_owned(), &mut Vec::new())
    }
}

impl Config {
    /// Checks what an embedder gives; what it leaves out has its default.
    pub fn try_new(layer: Layer) -> Result<Self, Error> {
        let mut problems = Vec::new();
        let config = Self::check(layer, |key| key.name().to_owned(), &mut problems);
        if problems.is_empty() { Ok(config) } else { Err(Error::Invalid(problems)) }
    }

    /// Fills in the defaults, and notes what is out of range; `place` says where a key's value came from.
    fn check(layer: Layer, place: impl Fn(Key) -> String, problems: &mut Vec<Problem>) -> Self {
        let mut note = |key: Key, description: String| problems.push(Problem { place: place(key), description });
        let mut count = |key: Key, given: Option<usize>, default: usize, most: usize| match given {
            Some(given) if given == 0 || given > most => {
                note(key, format!("must be 1 to {most}, not {given}"));
                default
            }
            given => given.unwrap_or(default),
        };
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let config = Self {
            built_in_shards: count(Key::BuiltInShards, layer.built_in_shards, cores.min(MOST_SHARDS), MOST_SHARDS),
            custom_shards: count(Key::CustomShards, layer.custom_shards, 8, MOST_SHARDS),
            max_tasks: count(Key::MaxTasks, layer.max_tasks, 100_000, 10_000_000),
            max_stuck: count(Key::MaxStuck, layer.max_stuck, 64, 4_096),
            max_streams: count(Key::MaxStreams, layer.max_streams, 1_000, 100_000),
            max_streams_per_connection: count(
                Key::MaxStreamsPerConnection,
                layer.max_streams_per_connection,
                16,
                // A connection carries 256 streams; the rest is for calls.
                200,
            ),
            circuit_series: layer.circuit_series.unwrap_or(0),
            storage: Storage::check(&layer, &mut note),
            listen: layer.listen.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 6710))),
            http_listen: layer.http_listen.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 6711))),
            log: layer.log.unwrap_or_else(|| "info".to_owned()),
            log_format: layer.log_format.unwrap_or_default(),
            exit_on_stuck_limit: layer.exit_on_stuck_limit.unwrap_or(false),
            enable_drills: layer.enable_drills.unwrap_or(false),
            exec_commands: layer.exec_commands.unwrap_or_default(),
            tasks: layer.tasks,
            tasks_owner: layer.tasks_owner.unwrap_or_else(|| "files".to_owned()),
        };
        if config.circuit_series > MOST_CIRCUIT_SERIES {
            let given = config.circuit_series;
            note(Key::CircuitSeries, format!("must be 0 to {MOST_CIRCUIT_SERIES}, not {given}"));
        }
        if config.tasks.as_deref() == Some(Path::new("-")) {
            let why = "must be a file or a directory: the standard input could not be read again on SIGHUP";
            note(Key::Tasks, why.to_owned());
        }
        if config.tasks_owner.is_empty() || config.tasks_owner.len() > MOST_OWNER_BYTES {
            let bytes = config.tasks_owner.len();
            note(Key::TasksOwner, format!("must be 1 to {MOST_OWNER_BYTES} bytes, not {bytes}"));
        }
        for command in &config.exec_commands {
            if !command.starts_with('/') || command.contains('\0') {
                note(Key::ExecCommands, format!("must be absolute paths, and {command:?} is none"));
            }
        }
        if let Err(error) = telemetry::check_filter(&config.log) {
            note(Key::Log, error.to_string());
        }
        if config.listen == config.http_listen && config.listen.port() != 0 {
            note(Key::HttpListen, format!("{} is where gRPC is served; it needs an address of its own", config.listen));
        }
        config
    }

    /// Where gRPC is served.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub fn http_listen(&self) -> SocketAddr {
        self.http_listen
    }

    /// What is logged: a filter that parses.
    pub fn log(&self) -> &str {
        &self.log
    }

    /// How log lines are written.
    pub fn log_format(&self) -> LogFormat {
        self.log_format
    }

    /// Whether the kind `drill` is registered.
    pub fn enable_drills(&self) -> bool {
        self.enable_drills
    }

    /// The commands that exec tasks may run.
    pub fn exec_commands(&self) -> &[String] {
        &self.exec_commands
    }

    /// The threads that run built-in monitors.
    pub fn built_in_shards(&self) -> usize {
        self.built_in_shards
    }

    /// The threads that run monitors of custom kinds.
    pub fn custom_shards(&self) -> usize {
        self.custom_shards
    }

    /// The tasks the server holds, ended ones included.
    pub fn max_tasks(&self) -> usize {
        self.max_tasks
    }

    /// Threads that may be lost to instances of custom kinds.
    pub fn max_stuck(&self) -> usize {
        self.max_stuck
    }

    /// How many circuits have metric series of their own.
    pub fn circuit_series(&self) -> usize {
        self.circuit_series
    }

    /// Whether the server ends once so many are lost.
    pub fn exit_on_stuck_limit(&self) -> bool {
        self.exit_on_stuck_limit
    }

    /// The file with tasks that are to be there, or the directory of such files.
    pub fn tasks(&self) -> Option<&Path> {
        self.tasks.as_deref()
    }

    /// Whose tasks these are.
    pub fn tasks_owner(&self) -> &str {
        &self.tasks_owner
    }

    /// Watch streams in all.
    pub fn max_streams(&self) -> usize {
        self.max_streams
    }

    /// Watch streams of one connection.
    pub fn max_streams_per_connection(&self) -> usize {
        self.max_streams_per_connection
    }
}

const MOST_SHARDS: usize = 256;
/// What a label's value may have.
const MOST_OWNER_BYTES: usize = 63;
/// Three series each: a scrape of so many is some 30 MB.
const MOST_CIRCUIT_SERIES: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_layer_gives_the_documented_defaults() {
        let config = Config::try_new(Layer::default()).expect("valid");
        assert_eq!(config, Config::default());
        assert_eq!(config.listen().to_string(), "127.0.0.1:6710");
        assert_eq!(config.http_listen().to_string(), "127.0.0.1:6711");
        assert_eq!((config.log(), config.log_format()), ("info", LogFormat::Text));
        assert!(!config.enable_drills() && config.built_in_shards() > 0 && config.exec_commands().is_empty());
        assert_eq!((config.custom_shards(), config.max_tasks(), config.event_retention()), (8, 100_000, None));
        assert_eq!((config.store(), config.data_dir().to_str()), (StoreKind::Embedded, Some("./switchyard-data")));
        let kept = (config.event_retention_age(), config.event_retention_bytes());
        assert_eq!(kept, (Duration::from_secs(7 * 86_400), 1 << 30));
        assert_eq!((config.max_streams(), config.max_streams_per_connection()), (1_000, 16));
    }

    #[test]
    fn everything_that_is_out_of_range_is_named_at_once() {
        let listen = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 6711)));
        let layer = Layer {
            listen,
            log: Some("switchyard=loud".to_owned()),
            exec_commands: Some(vec!["/bin/true".to_owned(), "true".to_owned()]),
            max_tasks: Some(0),
            max_streams_per_connection: Some(201),
            ..Layer::default()
        };
        let Err(Error::Invalid(problems)) = Config::try_new(layer) else { panic!("must be refused") };
        let places: Vec<_> = problems.iter().map(|problem| problem.place.as_str()).collect();
        assert_eq!(places, ["max_tasks", "max_streams_per_connection", "exec_commands", "log", "http_listen"]);
        assert_eq!(problems[0].description, "must be 1 to 10000000, not 0");
    }

    #[test]
    fn port_zero_may_stand_for_both_addresses() {
        let any = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        assert!(Config::try_new(Layer { listen: any, http_listen: any, ..Layer::default() }).is_ok());
    }
}
