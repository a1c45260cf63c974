//! Drills: monitors that misbehave on purpose, so that operators and tests can see what the server does about it.
//!
//! The kind `drill` is configured by `{"behaviour": "ignore_cancel", "duration": "30s"}`. Each drill declares itself ready first.
//! It is registered only where the server was started with drills enabled.

use std::time::Duration;

use serde::Deserialize;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use super::{Config, Context, Kind, Monitor, MonitorError, MonitorFuture};
use crate::model::{Pretty, Violations};

/// The kind `drill`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Drill;

impl Drill {
    /// The kind's name.
    pub const NAME: &'static str = "drill";
    const DEFAULT_DURATION: Duration = Duration::from_secs(30);
    /// A drill that blocks a thread cannot be ended from outside, so a slip of the pen must not cost a thread for years.
    const MAX_DURATION: Duration = Duration::from_secs(24 * 3_600);
}

impl Kind for Drill {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn declares_readiness(&self) -> bool {
        true
    }

    fn validate(&self, config: &Config) -> Result<(), Violations> {
        Exercise::parse(config).map(drop)
    }

    fn build(&self, config: &Config) -> Result<Box<dyn Monitor>, MonitorError> {
        Ok(Box::new(Exercise::parse(config)?))
    }
}

/// What a drill does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behaviour {
    /// Runs until it is cancelled.
    Cooperative,
    /// Is awaiting something or other, and ignores the token, for the duration.
    IgnoreCancel,
    /// Cleans up for the duration once it is cancelled.
    SlowCleanup,
    /// Blocks its thread for the duration.
    BlockThread,
    /// Computes without a pause for the duration.
    Spin,
    /// Panics after the duration.
    Panic,
    /// Panics once it is cancelled.
    PanicInCleanup,
    /// Leaves a child that ignores the token for the duration.
    LeakChildren,
    /// Returns after the duration as if its work were done.
    ExitEarly,
}

impl Behaviour {
    const ALL: [(&'static str, Self); 9] = [
        ("cooperative", Self::Cooperative),
        ("ignore_cancel", Self::IgnoreCancel),
        ("slow_cleanup", Self::SlowCleanup),
        ("block_thread", Self::BlockThread),
        ("spin", Self::Spin),
        ("panic", Self::Panic),
        ("panic_in_cleanup", Self::PanicInCleanup),
        ("leak_children", Self::LeakChildren),
        ("exit_early", Self::ExitEarly),
    ];

    fn parse(name: Option<&str>) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|(known, _)| Some(*known) == name);
        found.map(|(_, behaviour)| behaviour).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|(known, _)| *known).collect();
            format!("must be one of {}", known.join(", "))
        })
    }
}

/// One drill.
#[derive(Debug, PartialEq, Eq)]
struct Exercise {
    behaviour: Behaviour,
    duration: Duration,
}

impl Exercise {
    fn parse(config: &Config) -> Result<Self, Violations> {
        /// As it was written, so that each field can be judged whatever the other one is like.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Draft {
            behaviour: Option<String>,
            duration: Option<String>,
        }
        let Draft { behaviour, duration } = config.parse()?;
        let mut violations = Violations::new();
        let behaviour = Behaviour::parse(behaviour.as_deref());
        let behaviour = behaviour.map_err(|problem| violations.add("behaviour", problem)).ok();
        let duration = parse_duration(duration.as_deref());
        let duration = duration.map_err(|problem| violations.add("duration", problem)).ok();
        violations.finish(behaviour.zip(duration).map(|(behaviour, duration)| Self { behaviour, duration }))
    }
}

fn parse_duration(text: Option<&str>) -> Result<Duration, String> {
    let Some(text) = text else { return Ok(Drill::DEFAULT_DURATION) };
    let Pretty(duration) = text.parse::<Pretty>().map_err(|error| error.to_string())?;
    if duration > Drill::MAX_DURATION {
        return Err(format!("must be at most {}, got {}", Pretty(Drill::MAX_DURATION), Pretty(duration)));
    }
    Ok(duration)
}

impl Monitor for Exercise {
    fn run(self: Box<Self>, context: Context) -> MonitorFuture {
        Box::pin(async move {
            // It is on its way to the manager when this returns: whatever the drill does to its thread, it has been ready.
            context.ready().await;
            yield_now().await;
            match self.behaviour {
                Behaviour::Cooperative => {}
                Behaviour::IgnoreCancel => ignore_the_token(self.duration).await,
                Behaviour::SlowCleanup => {
                    context.token().cancelled().await;
                    sleep(self.duration).await;
                }
                Behaviour::BlockThread => block_the_thread(self.duration),
                Behaviour::Spin => spin(self.duration),
                Behaviour::Panic => {
                    if context.run_until_cancelled(sleep(self.duration)).await.is_some() {
                        panic!("the drill panics, as it was told to");
                    }
                }
                Behaviour::PanicInCleanup => {
                    context.token().cancelled().await;
                    panic!("the drill panics in its clean-up, as it was told to");
                }
                Behaviour::LeakChildren => {
                    context.spawn(ignore_the_token(self.duration));
                }
                Behaviour::ExitEarly => {
                    // Early or told to: in either case it returns.
                    let _ = context.run_until_cancelled(sleep(self.duration)).await;
                    return Ok(());
                }
            }
            context.token().cancelled().await;
            Ok(())
        })
    }
}

/// Many short awaits, none of them with an eye on the token: only an abort ends it before its time.
async fn ignore_the_token(duration: Duration) {
    const STEP: Duration = Duration::from_millis(50);
    let end = Instant::now() + duration;
    while Instant::now() < end {
        sleep(STEP.min(end - Instant::now())).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "blocking its thread is what this drill is for")]
fn block_the_thread(duration: Duration) {
    std::thread::sleep(duration);
}

fn spin(duration: Duration) {
    // The real clock: nothing else moves while this runs.
    let start = std::time::Instant::now();
    while start.elapsed() < duration {
        std::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests;
