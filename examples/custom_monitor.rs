//! A binary of one's own: a kind that watches how many files wait in a directory, tested with the kit, and served.
//!
//! `cargo run --example custom_monitor` serves it beside the built-in kinds; Ctrl-C drains. In another terminal:
//!
//! ```sh
//! switchyard start mail --kind spool --config '{"directory": "/var/spool/mail", "limit": 100}' --interval 5s --wait
//! switchyard get mail
//! ```
//!
//! `cargo test --example custom_monitor` runs the tests at the end.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::{fs, io};

use switchyard::config::{Config, Layer, StoreKind};
use switchyard::model::Violations;
use switchyard::monitor::{Config as KindConfig, Context, Finding, Kind, Monitor, MonitorError, MonitorFuture};
use switchyard::server::Server;
use switchyard::telemetry::{LogFormat, init_logging};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    init_logging("info", LogFormat::Text)?;
    let shutdown = async {
        // An error means that there is no signal to wait for.
        let _ = tokio::signal::ctrl_c().await;
    };
    // An example leaves nothing behind; without this line tasks and events survive, in ./switchyard-data.
    let store = Some(StoreKind::Memory);
    let config = Config::try_new(Layer { store, ..Layer::default() })?;
    let ended = Server::builder().config(config).register(SpoolKind).serve(shutdown).await?;
    Ok(ended.exit_code().into())
}

/// The kind `spool`.
struct SpoolKind;

/// What a task of this kind is configured with.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Spool {
    /// Whose files are counted; an absolute path.
    directory: PathBuf,
    /// So many may wait.
    limit: usize,
}

impl Spool {
    fn parse(config: &KindConfig) -> Result<Self, Violations> {
        let spool: Self = config.parse()?;
        if spool.directory.is_absolute() {
            Ok(spool)
        } else {
            Err(Violations::one(
                "directory",
                "must be an absolute path: the server's own directory is no client's business",
            ))
        }
    }
}

impl Kind for SpoolKind {
    fn name(&self) -> &str {
        "spool"
    }

    /// Whether the directory exists is for the checks to find out: it may come later.
    fn validate(&self, config: &KindConfig) -> Result<(), Violations> {
        Spool::parse(config).map(drop)
    }

    fn build(&self, config: &KindConfig) -> Result<Box<dyn Monitor>, MonitorError> {
        Ok(Box::new(Spool::parse(config)?))
    }
}

impl Monitor for Spool {
    fn run(self: Box<Self>, context: Context) -> MonitorFuture {
        Box::pin(async move {
            let counts = Arc::new(Semaphore::new(1));
            context.every(context.schedule().interval(), || self.check(&counts)).await;
            Ok(())
        })
    }
}

impl Spool {
    /// Counts on the blocking pool. A check that takes too long is dropped, but a system call that hangs, on a network file system
    /// that is gone, stays behind; so there is one at a time, or each check would leave another thread there.
    async fn check(&self, counts: &Arc<Semaphore>) -> Finding {
        let Ok(permit) = Arc::clone(counts).try_acquire_owned() else {
            return Finding::fail("HANGS", "the count that an earlier check began has not ended yet");
        };
        let directory = self.directory.clone();
        let counted = spawn_blocking(move || {
            let counted = count_files(&directory);
            drop(permit);
            counted
        });
        match counted.await {
            Ok(Ok(waiting)) if waiting > self.limit => Finding::fail("TOO_MANY", format!("{waiting} files wait")),
            Ok(Ok(_)) => Finding::pass(),
            Ok(Err(error)) => Finding::fail("UNREADABLE", error.to_string()),
            Err(error) => Finding::neutral("NOT_COUNTED", error.to_string()),
        }
    }
}

fn count_files(directory: &Path) -> io::Result<usize> {
    let mut files = 0;
    for entry in fs::read_dir(directory)? {
        files += usize::from(entry?.file_type()?.is_file());
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use switchyard::monitor::testing::assert_cooperative;

    use super::*;

    /// A directory of this test's own, which is removed when dropped.
    struct Directory(PathBuf);

    impl Directory {
        fn with_files(test: &str, files: usize) -> Self {
            let directory = std::env::temp_dir().join(format!("switchyard-{}-{test}", std::process::id()));
            fs::create_dir(&directory).expect("is new");
            let directory = Self(directory);
            for file in 0..files {
                fs::write(directory.0.join(file.to_string()), "").expect("writes");
            }
            directory
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).expect("removes");
        }
    }

    /// What one check finds.
    async fn finding(directory: &Path, limit: usize, free: usize) -> Finding {
        let spool = Spool { directory: directory.to_owned(), limit };
        spool.check(&Arc::new(Semaphore::new(free))).await
    }

    #[tokio::test]
    async fn it_is_cooperative() {
        let directory = Directory::with_files("cooperative", 1);
        assert_cooperative(SpoolKind, json!({"directory": directory.0, "limit": 1}).into()).await;
    }

    #[tokio::test]
    async fn more_files_than_the_limit_are_a_failure() {
        let directory = Directory::with_files("limit", 3);
        fs::create_dir(directory.0.join("not-a-file")).expect("is new");
        assert_eq!(finding(&directory.0, 3, 1).await, Finding::pass());
        assert_eq!(finding(&directory.0, 2, 1).await, Finding::fail("TOO_MANY", "3 files wait"));
    }

    #[tokio::test]
    async fn a_directory_that_is_not_there_and_a_count_that_hangs_are_failures() {
        assert_eq!(finding(Path::new("/nowhere/at/all"), 3, 1).await.reason, "UNREADABLE");
        assert_eq!(finding(Path::new("/nowhere/at/all"), 3, 0).await.reason, "HANGS");
    }

    #[test]
    fn what_is_wrong_with_a_configuration_is_said_with_its_field() {
        let field = |config: serde_json::Value| {
            let violations = SpoolKind.validate(&config.into()).expect_err("invalid");
            violations.as_slice()[0].field.clone()
        };
        assert_eq!(field(json!({"directory": "relative", "limit": 1})), "directory");
        assert_eq!(field(json!({"directory": "/tmp", "limit": -1})), "limit");
        assert_eq!(field(json!({"directory": "/tmp", "limit": 1, "limits": 2})), "limits");
        assert!(SpoolKind.validate(&json!({"directory": "/tmp", "limit": 1}).into()).is_ok());
    }
}
