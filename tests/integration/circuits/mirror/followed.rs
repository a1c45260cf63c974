//! Mirrors of tasks that come and go.

use switchyard::client::Policy;

use super::relay::Relay;
use super::*;

async fn run(client: &mut Client, id: &str, team: &str) {
    let mut request = idle(id);
    request.task.as_mut().expect("set").labels = [("team".to_owned(), team.to_owned())].into();
    client.start_task(request).await.expect("started");
    reach(client, id, State::Running).await;
}

async fn delete(client: &mut Client, id: &str) {
    client.cancel_task(cancel(id)).await.expect("cancelled");
    let delete = switchyard::pb::v1::DeleteTaskRequest { name: name(id), ..Default::default() };
    client.delete_task(delete).await.expect("deleted");
}

async fn fail_closed(address: SocketAddr, filter: &str) -> CircuitMirror {
    let builder = CircuitMirror::builder(address.to_string()).filter(filter).policy(Policy::FailClosed);
    builder.connect().await.expect("connects")
}

/// Why a call is not made; `None`: it would be.
async fn why(guard: &Guard) -> Option<Reason> {
    guard.admit().await.map(|pass| pass.finish(Verdict::Ignored)).err().map(|rejected| rejected.reason)
}

/// Waits until the mirror has seen it so.
async fn becomes(guard: &Guard, expected: Option<Reason>) {
    let patience = Patience::with(format!("{expected:?} of {}", guard.name()));
    loop {
        let seen = patience.wait(why(guard), "no answer").await;
        if seen == expected {
            return;
        }
        patience.wait(tokio::time::sleep(PAUSE), seen).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_comes_back_is_another_circuit_and_under_a_filter_it_may_be_none() {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    run(&mut client, "api", "core").await;
    let all = fail_closed(server.address(), "").await;
    let core = fail_closed(server.address(), "labels.team = core").await;
    let (in_all, in_core) = (all.guard("api"), core.guard("api"));
    assert_eq!((why(&in_all).await, why(&in_core).await), (None, None));
    let old = in_all.admit().await.expect("closed");

    delete(&mut client, "api").await;
    becomes(&in_all, Some(Reason::Unknown)).await;
    run(&mut client, "api", "edge").await;
    becomes(&in_all, None).await;
    // Once the mirror knows of this one, it has passed over all before.
    run(&mut client, "later", "core").await;
    becomes(&core.guard("later"), None).await;
    assert_eq!(why(&in_core).await, Some(Reason::Unknown));

    flush(&all).await;
    let stale = all.stats().stale;
    old.finish(Verdict::Failure);
    flush(&all).await;
    assert_eq!(all.stats().stale, stale + 1, "its task is gone: {:?}", all.stats());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_forgets_what_the_server_that_comes_after_does_not_have() {
    let (server, other) = (Harness::start(Layer::default()).await, Harness::start(Layer::default()).await);
    run(&mut server.client().await, "api", "core").await;
    run(&mut server.client().await, "both", "core").await;
    run(&mut other.client().await, "both", "core").await;
    let relay = Relay::start(server.address()).await;
    let mirror = fail_closed(relay.address, "").await;
    let (api, both) = (mirror.guard("api"), mirror.guard("both"));
    assert_eq!((why(&api).await, why(&both).await), (None, None));
    // Its log is another one, where the mirror's cursor leads nowhere.
    relay.lead_to(Some(other.address()));
    becomes(&api, Some(Reason::Unknown)).await;
    assert_eq!(why(&both).await, None);
    // What could not be told meanwhile would be an error, too.
    mirror.flush().await;
    assert!(mirror.last_error().is_none() && mirror.stats().reconnects > 0, "{mirror:?}");
}
