//! The tasks of the demo, as a client writes them.

use std::net::SocketAddr;
use std::time::Duration;

use super::target::{RELEASE, SLOW_PATH};
use crate::cli::duration::wire;
use crate::pb::v1;
use v1::task_spec::Monitor;

/// Checks of the first spec of `api`.
pub(super) const INTERVAL: Duration = Duration::from_millis(500);

/// A full name.
pub(super) fn name(id: &str) -> String {
    format!("namespaces/default/tasks/{id}")
}

/// `api`: an HTTP check and a circuit that opens after three failures, for 2 s, then for 4 s. Chance is off, so that the story can
/// say these figures.
pub(super) fn api(target: SocketAddr) -> v1::TaskSpec {
    v1::TaskSpec {
        monitor: Some(http(target, "/health", "1")),
        schedule: Some(every(INTERVAL)),
        circuit: Some(v1::CircuitPolicy {
            consecutive_failures: Some(3),
            failure_rate: Some(0),
            open_base: Some(wire(Duration::from_secs(2))),
            jitter: Some(0.0),
            close_successes: 3,
            trial_interval: Some(wire(Duration::from_millis(250))),
            ..v1::CircuitPolicy::default()
        }),
        ..v1::TaskSpec::default()
    }
}

/// The second spec of `api`: the same URL, asked twice as often and under another release's name.
pub(super) fn next_api(target: SocketAddr) -> v1::TaskSpec {
    v1::TaskSpec { monitor: Some(http(target, "/health", "2")), schedule: Some(every(INTERVAL / 2)), ..api(target) }
}

/// A third one that is no good: its page takes longer than a candidate is given to become ready.
pub(super) fn bad_api(target: SocketAddr) -> v1::TaskSpec {
    v1::TaskSpec {
        monitor: Some(http(target, SLOW_PATH, "3")),
        schedule: Some(every(Duration::from_secs(10))),
        swap: Some(v1::SwapPolicy {
            readiness_timeout: Some(wire(Duration::from_millis(1_500))),
            ..v1::SwapPolicy::default()
        }),
        ..api(target)
    }
}

/// `port`: a TCP connection a second.
pub(super) fn port(target: SocketAddr) -> v1::TaskSpec {
    let tcp = v1::TcpMonitor { address: target.to_string(), ..v1::TcpMonitor::default() };
    v1::TaskSpec {
        monitor: Some(Monitor::Tcp(tcp)),
        schedule: Some(every(Duration::from_secs(1))),
        ..v1::TaskSpec::default()
    }
}

/// `mule`: never looks at its token, for far longer than the demo takes; its shutdown policy is the default.
pub(super) fn mule() -> v1::TaskSpec {
    let text = |text: &str| prost_types::Value { kind: Some(prost_types::value::Kind::StringValue(text.to_owned())) };
    let fields = [("behaviour".to_owned(), text("ignore_cancel")), ("duration".to_owned(), text("10m"))].into();
    let drill = v1::CustomMonitor { kind: "drill".to_owned(), config: Some(prost_types::Struct { fields }) };
    // It is one long piece of work, which is not what the story is about.
    let watchdog = v1::WatchdogPolicy {
        long_running_after: Some(wire(Duration::from_secs(600))),
        ..v1::WatchdogPolicy::default()
    };
    v1::TaskSpec { monitor: Some(Monitor::Custom(drill)), watchdog: Some(watchdog), ..v1::TaskSpec::default() }
}

fn http(target: SocketAddr, path: &str, release: &str) -> Monitor {
    let header = v1::HttpHeader { name: RELEASE.to_owned(), value: release.to_owned() };
    Monitor::Http(v1::HttpMonitor {
        url: format!("http://{target}{path}"),
        headers: vec![header],
        ..v1::HttpMonitor::default()
    })
}

fn every(interval: Duration) -> v1::Schedule {
    v1::Schedule { interval: Some(wire(interval)), ..v1::Schedule::default() }
}
