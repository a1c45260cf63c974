//! Circuits that nobody checks just now.

use switchyard::client::Policy;
use switchyard::pb::v1::{PauseTaskRequest, ResumeTaskRequest};

use super::seen::{Seen, Viewer, states};
use super::*;

const OPEN: Seen = Seen::Rejected(Reason::Open);
const SUSPENDED: Seen = Seen::Rejected(Reason::Suspended);
const UNKNOWN: Seen = Seen::Rejected(Reason::Unknown);

async fn pause(client: &mut Client) {
    let request = PauseTaskRequest { name: name("api"), ..Default::default() };
    client.pause_task(request).await.expect("paused");
}

async fn resume(client: &mut Client) {
    let request = ResumeTaskRequest { name: name("api"), ..Default::default() };
    client.resume_task(request).await.expect("resumed");
    reach(client, "api", State::Running).await;
}

/// The same viewers, but for the staleness bound: nobody is silent here.
async fn viewers(server: &Harness) -> [Viewer; 3] {
    let viewer = async |policy| {
        let builder = CircuitMirror::builder(server.address().to_string()).policy(policy);
        Viewer::of(builder).await
    };
    [viewer(Policy::FailOpen).await, viewer(Policy::FailClosed).await, viewer(Policy::LastKnown).await]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_circuit_is_called_or_not_by_policy_and_an_override_holds_over_it() {
    let (server, target) = (Harness::start(Layer::default()).await, Target::start().await);
    let policy = CircuitPolicy { open_base: span(3_600_000), ..policy() };
    let (mut client, mut circuits) = watched(&server, &target, policy).await;
    let mut watch = from_now(&mut circuits).await;
    let [open, closed, last] = viewers(&server).await;

    pause(&mut client).await;
    closed.sees(SUSPENDED, &[Seen::Call]).await;
    for viewer in [&open, &last] {
        assert_eq!(viewer.look().await, Seen::Call, "it was closed");
    }
    resume(&mut client).await;
    closed.sees(Seen::Call, &[SUSPENDED]).await;

    fail(&mut circuits).await;
    for viewer in [&open, &closed, &last] {
        viewer.sees(OPEN, &[Seen::Call]).await;
    }
    pause(&mut client).await;
    closed.sees(SUSPENDED, &[OPEN]).await;
    open.sees(Seen::Call, &[OPEN]).await;
    assert_eq!(last.look().await, OPEN, "as it was");

    circuits.override_circuit(over(Override::ForcedOpen, "not now")).await.expect("laid");
    for (viewer, before) in [(&open, Seen::Call), (&closed, SUSPENDED), (&last, OPEN)] {
        viewer.sees(Seen::Rejected(Reason::ForcedOpen), &[before]).await;
    }
    circuits.override_circuit(over(Override::None, "now")).await.expect("taken away");
    resume(&mut client).await;
    for (viewer, before) in [(&open, Seen::Call), (&closed, SUSPENDED), (&last, OPEN)] {
        viewer.sees(OPEN, &[before, Seen::Rejected(Reason::ForcedOpen)]).await;
    }
    watch.place_of(EventType::CircuitOverridden, 2).await;
    watch.events.retain(|event| event.r#type() != EventType::CircuitOverridden);
    assert_eq!(states(&watch.events), [CircuitState::Open], "to be suspended is no transition");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circuit_that_the_server_does_not_know_is_called_or_not_by_policy() {
    let (server, target) = (Harness::start(Layer::default()).await, Target::start().await);
    let viewers = viewers(&server).await;
    let [open, closed, last] = &viewers;
    assert_eq!([open.look().await, closed.look().await, last.look().await], [Seen::Call, UNKNOWN, Seen::Call]);
    let (mut client, _circuits) = watched(&server, &target, policy()).await;
    closed.sees(Seen::Call, &[UNKNOWN, SUSPENDED]).await;
    client.cancel_task(cancel("api")).await.expect("cancelled");
    let delete = switchyard::pb::v1::DeleteTaskRequest { name: name("api"), ..Default::default() };
    client.delete_task(delete).await.expect("deleted");
    closed.sees(UNKNOWN, &[Seen::Call, SUSPENDED]).await;
    assert_eq!([open.look().await, last.look().await], [Seen::Call, Seen::Call]);
}
