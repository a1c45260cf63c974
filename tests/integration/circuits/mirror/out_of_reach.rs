//! A server that is killed, and comes back with what it had: mirrors go by their policy within the staleness bound, and catch up without
//! a transition that never was.

use std::path::Path;

use switchyard::client::{CallError, Policy};
use switchyard::pb::v1::ResetCircuitRequest;
use tokio::task::spawn_blocking;
use tonic::transport::Endpoint;

use super::relay::Relay;
use super::seen::{Seen, Viewer, assert_true_course, states};
use super::*;
use crate::cli::process::Served;
use crate::scratch::Scratch;

/// No test lasts that long.
const FOR_GOOD: u64 = 3_600_000;

/// A server in a process of its own, what it watches, and the way that leads to it.
struct Scene {
    directory: Scratch,
    upstream: Upstream,
    server: Served,
    relay: Relay,
    circuits: Circuits,
    /// Where the story begins.
    cursor: String,
    _pulse: AbortOnDropHandle<()>,
}

async fn serve(directory: &Path) -> Served {
    let directory = directory.to_owned();
    spawn_blocking(move || Served::begin_in(&directory, &["--log", "error"])).await.expect("the server starts")
}

async fn connect(server: &Served) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", server.address)).expect("valid");
    endpoint.connect().await.expect("listening")
}

/// Has the server tell something every now and then, of another circuit: mirrors need not wait to know that it lives.
fn pulse(mut circuits: Circuits) -> AbortOnDropHandle<()> {
    let beats = async move {
        let request = ResetCircuitRequest { name: name("pulse"), ..Default::default() };
        // Until it is killed.
        while circuits.reset_circuit(request.clone()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    AbortOnDropHandle::new(tokio::spawn(beats))
}

fn address(server: &Served) -> SocketAddr {
    server.address.parse().expect("an address")
}

impl Scene {
    async fn begin(policy: CircuitPolicy) -> Self {
        let (directory, upstream) = (Scratch::new("mirror"), Upstream::start().await);
        let server = serve(directory.path()).await;
        let (mut client, mut circuits) = watched_over(connect(&server).await, &upstream.target, policy).await;
        let monitor = Monitor::Tcp(TcpMonitor { address: upstream.target.address.to_string(), steps: Vec::new() });
        client.start_task(start("pulse", monitor)).await.expect("started");
        let relay = Relay::start(address(&server)).await;
        let cursor = from_now(&mut circuits).await.cursor;
        let _pulse = pulse(circuits.clone());
        Self { directory, upstream, server, relay, circuits, cursor, _pulse }
    }

    /// Kills the server; nobody reaches it any more.
    async fn kill(self) -> Killed {
        let Self { directory, upstream, server, relay, cursor, .. } = self;
        relay.lead_to(None);
        spawn_blocking(|| server.kill()).await.expect("killed");
        Killed { directory, upstream, relay, cursor }
    }

    /// What has happened to the circuit since the story began; at the end of it.
    async fn course(&mut self) -> Vec<CircuitState> {
        let mut watch = Watch::open(&mut self.circuits, Some(Start::Cursor(self.cursor.clone()))).await;
        // Comes after everything else.
        self.circuits.override_circuit(over(Override::Shadow, "the end")).await.expect("laid");
        let end = watch.place_of(EventType::CircuitOverridden, 1).await;
        states(&watch.events[..end])
    }
}

/// A scene whose server was killed.
struct Killed {
    directory: Scratch,
    upstream: Upstream,
    relay: Relay,
    cursor: String,
}

impl Killed {
    /// A server with the same store takes its place.
    async fn back(self) -> Scene {
        let Self { directory, upstream, relay, cursor } = self;
        let server = serve(directory.path()).await;
        let circuits = CircuitServiceClient::new(connect(&server).await);
        relay.lead_to(Some(address(&server)));
        let _pulse = pulse(circuits.clone());
        Scene { directory, upstream, server, relay, circuits, cursor, _pulse }
    }
}

const STALE: Seen = Seen::Rejected(Reason::Stale);
const SUSPENDED: Seen = Seen::Rejected(Reason::Suspended);
const OPEN: Seen = Seen::Rejected(Reason::Open);
const HALF_OPEN: Seen = Seen::Rejected(Reason::HalfOpen);
const UNREACHABLE: Seen = Seen::Rejected(Reason::Unreachable);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_circuit_without_its_server_is_called_or_not_by_policy_and_closed_when_it_is_back() {
    let mut scene = Scene::begin(policy()).await;
    scene.upstream.recover();
    let epoch = circuit(&mut scene.circuits).await.epoch;
    let [open, closed, last] = Viewer::of_each_policy(scene.relay.address).await;
    for viewer in [&open, &closed, &last] {
        scene.upstream.call(&viewer.guard).await.expect("closed: it goes through");
    }
    let (mut seen_open, mut seen_last) = (Vec::new(), Vec::new());
    let story = async {
        let killed = scene.kill().await;
        closed.goes_stale(&[Seen::Call], STALE).await;
        killed.upstream.call(&open.guard).await.expect("to fail open is to call");
        killed.upstream.call(&last.guard).await.expect("as it was when it was last known");
        let rejected = killed.upstream.call(&closed.guard).await;
        assert!(matches!(rejected, Err(CallError::Rejected(_))), "{rejected:?}");

        let scene = killed.back().await;
        closed.sees(Seen::Call, &[STALE, SUSPENDED]).await;
        scene
    };
    let mut scene = tokio::select! {
        scene = story => scene,
        () = open.looks_on(&mut seen_open) => panic!("it looks on"),
        () = last.looks_on(&mut seen_last) => panic!("it looks on"),
    };
    assert_eq!((seen_open, seen_last), (vec![Seen::Call], vec![Seen::Call]), "all the time");
    assert!(circuit(&mut scene.circuits).await.epoch > epoch, "restarts included");
    assert_eq!(scene.course().await, [], "nothing has happened to the circuit");
    for viewer in [open, closed, last] {
        viewer.follows_again().await;
        let stats = viewer.told_all().await;
        assert!(stats.reported > 1, "{stats:?}");
        // Each wait is twice the one before.
        assert!((1..20).contains(&stats.reconnects), "{stats:?}");
        assert_eq!((stats.dropped, stats.refused, stats.ignored), (0, 0, 0), "{stats:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_mirrors_tell_while_the_server_is_away_is_kept_and_told_once_it_is_back() {
    let scene = Scene::begin(policy()).await;
    scene.upstream.recover();
    let viewer = Viewer::connect(scene.relay.address, Policy::LastKnown).await;
    scene.upstream.call(&viewer.guard).await.expect("closed: it goes through");
    assert_eq!(viewer.told_all().await.accepted, 1);
    let killed = scene.kill().await;
    for _ in 0..100 {
        killed.upstream.call(&viewer.guard).await.expect("as it was when it was last known");
    }
    let _scene = killed.back().await;
    let stats = viewer.told_all().await;
    // They bear the epoch under which they began.
    assert_eq!((stats.reported, stats.accepted, stats.stale), (101, 1, 100), "{stats:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_circuit_without_its_server_is_called_or_not_by_policy_and_open_when_it_is_back() {
    let scene = Scene::begin(CircuitPolicy { open_base: span(FOR_GOOD), ..policy() }).await;
    let viewers = Viewer::of_each_policy(scene.relay.address).await;
    let [open, closed, last] = &viewers;
    for _ in 0..4 {
        let failed = scene.upstream.call(&last.guard).await;
        assert!(matches!(failed, Err(CallError::Failed(_))), "{failed:?}");
    }
    last.told_all().await;
    for viewer in &viewers {
        viewer.sees(OPEN, &[Seen::Call, STALE]).await;
    }
    let mut seen_last = Vec::new();
    let story = async {
        let killed = scene.kill().await;
        let calls = killed.upstream.others();
        closed.goes_stale(&[OPEN], STALE).await;
        open.goes_stale(&[OPEN], Seen::Call).await;
        for viewer in [closed, last] {
            let rejected = killed.upstream.call(&viewer.guard).await;
            assert!(matches!(rejected, Err(CallError::Rejected(_))), "{rejected:?}");
        }
        assert_eq!(killed.upstream.others(), calls, "no more calls");
        let failed = killed.upstream.call(&open.guard).await;
        assert!(matches!(failed, Err(CallError::Failed(_))), "to fail open is to call: {failed:?}");

        let scene = killed.back().await;
        closed.sees(OPEN, &[STALE, SUSPENDED]).await;
        open.sees(OPEN, &[Seen::Call]).await;
        scene
    };
    let mut scene = tokio::select! {
        scene = story => scene,
        () = last.looks_on(&mut seen_last) => panic!("it looks on"),
    };
    assert_eq!(seen_last, [OPEN], "all the time");
    assert_eq!(scene.course().await, [CircuitState::Open], "it has opened once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_open_circuit_without_its_server_is_tried_by_those_alone_who_fail_open() {
    let mut scene = Scene::begin(policy()).await;
    let viewers = Viewer::of_each_policy(scene.relay.address).await;
    let mut watch = from_now(&mut scene.circuits).await;
    fail(&mut scene.circuits).await;
    watch.until(EventType::CircuitHalfOpened).await;
    drop(watch);
    for viewer in &viewers {
        viewer.sees(Seen::Trial, &[Seen::Call, OPEN, HALF_OPEN, STALE]).await;
        viewer.told_all().await;
    }
    let [open, closed, last] = &viewers;
    let mut seen_last = Vec::new();
    let story = async {
        let killed = scene.kill().await;
        // What was asked before is answered, or not; nobody is let in by a server that is not there.
        open.sees(Seen::Call, &[Seen::Trial, HALF_OPEN]).await;
        closed.sees(UNREACHABLE, &[Seen::Trial, HALF_OPEN]).await;
        last.sees(UNREACHABLE, &[Seen::Trial, HALF_OPEN]).await;
        assert_eq!(open.look().await, Seen::Call, "each time");
        closed.goes_stale(&[UNREACHABLE, HALF_OPEN], STALE).await;
        assert!([UNREACHABLE, HALF_OPEN].contains(&last.look().await));
        assert_eq!(open.look().await, Seen::Call, "stale or not");

        let mut scene = killed.back().await;
        scene.upstream.recover();
        let since = Some(Start::Cursor(scene.cursor.clone()));
        let mut watch = Watch::open(&mut scene.circuits, since).await;
        // It would not call for as long as it knows nothing.
        closed.sees(Seen::Trial, &[STALE, SUSPENDED, UNREACHABLE, HALF_OPEN, OPEN]).await;
        tokio::select! {
            biased;
            _ = watch.until(EventType::CircuitRecovered) => {}
            () = scene.upstream.call_on(&closed.guard, |_| {}) => {}
        }
        last.sees(Seen::Call, &[UNREACHABLE, HALF_OPEN, OPEN, Seen::Trial]).await;
        scene
    };
    let mut scene = tokio::select! {
        scene = story => scene,
        () = last.looks_on(&mut seen_last) => panic!("it looks on"),
    };
    let truth = scene.course().await;
    use CircuitState::{Closed, HalfOpen};
    assert_true_course(&seen_last, &truth);
    assert_eq!(truth.last(), Some(&Closed), "{truth:?}");
    assert_eq!(truth.iter().filter(|state| **state == Closed).count(), 1, "{truth:?}");
    assert!(truth.contains(&HalfOpen), "{truth:?}");
}
