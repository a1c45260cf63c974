//! Callers who mirror circuits, and what they call.

mod followed;
mod out_of_reach;
mod over_grpc;
mod over_http;
mod relay;
mod seen;
mod suspended;
mod upstream;
mod witness;

use std::time::Duration;

use switchyard::client::{CircuitMirror, Guard, Reason, Verdict};
use tokio::sync::watch;

use self::upstream::Upstream;
use super::*;

/// How long a caller that is rejected waits at the most, so that tests go on soon after what they wait for.
const PAUSE: Duration = Duration::from_millis(20);

/// How long a permit may take, the most there is: nobody gives back the lease of one that comes later, and it lasts for ten minutes.
const PERMIT: Duration = Duration::from_secs(10);

async fn mirror(address: SocketAddr) -> (CircuitMirror, Guard) {
    let builder = CircuitMirror::builder(address.to_string()).permit_timeout(PERMIT);
    let mirror = builder.connect().await.expect("connects");
    let guard = mirror.guard(&name("api"));
    (mirror, guard)
}

/// Returns once everything so far was told, and answered.
async fn flush(mirror: &CircuitMirror) {
    Patience::with("an answer to all that was told").wait(mirror.flush(), mirror).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_its_callers_stays_open_while_trial_calls_fail_and_closes_after_the_stated_successes() {
    let (server, upstream) = (Harness::start(Layer::default()).await, Upstream::start().await);
    let (_client, mut circuits) = watched(&server, &upstream.target, policy()).await;
    let mut watch = from_now(&mut circuits).await;
    let (mirror, guard) = mirror(server.address()).await;
    let calls = upstream.call_on(&guard, |_| {});
    let story = async {
        let (tripped, open) = watch.until(EventType::CircuitTripped).await;
        assert_eq!(open.trip_source(), EvidenceSource::Passive);
        assert_eq!(tripped.cause.expect("said").reason, "too many calls failed or were slow, as callers report");
        for streak in [2, 3] {
            watch.until(EventType::CircuitHalfOpened).await;
            let (again, open) = watch.until(EventType::CircuitTripped).await;
            assert_eq!(
                (open.streak, again.cause.expect("said").reason.as_str()),
                (streak, "a trial call failed or was slow")
            );
        }
        assert_eq!(upstream.passed(), 0);
        upstream.recover();
        let (recovered, _) = watch.until(EventType::CircuitRecovered).await;
        let reason = recovered.cause.expect("said").reason;
        assert!(reason.ends_with("and 2 trial calls went well"), "{reason}");
        assert_eq!(upstream.passed(), 2);
    };
    tokio::select! {
        biased;
        () = story => {}
        () = calls => {}
    }
    // The mirror has seen it too, or will.
    let mut tries = 0;
    while upstream.call(&guard).await.is_err() {
        tries += 1;
        assert!(tries < 1_000, "it is closed");
        tokio::time::sleep(PAUSE).await;
    }
    flush(&mirror).await;
    let stats = mirror.stats();
    assert!(stats.accepted >= 8 && stats.trials >= 4 && stats.denied > 0, "{stats:?}");
    assert_eq!((stats.dropped, stats.refused, stats.duplicate, stats.reconnects), (0, 0, 0, 0), "{stats:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_mirrors_no_more_trial_calls_get_through_at_once_than_the_circuit_allows() {
    const MIRRORS: usize = 50;
    let (server, upstream) = (Harness::start(Layer::default()).await, Upstream::start().await);
    let policy = CircuitPolicy { trial_permits: Some(4), trial_concurrency: 2, ..policy() };
    let (_client, mut circuits) = watched(&server, &upstream.target, policy).await;
    let mut watch = from_now(&mut circuits).await;
    // Trial calls are kept from the first on, so that whoever may call does so at the same time.
    upstream.hold(true);
    let (busy, mut all_busy) = watch::channel([0; MIRRORS]);
    let callers = (0..MIRRORS).map(async |number| {
        let (_mirror, guard) = mirror(server.address()).await;
        let count = |why: switchyard::client::Rejected| {
            busy.send_modify(|times| times[number] += usize::from(why.reason == Reason::HalfOpen));
        };
        upstream.call_on(&guard, count).await;
    });
    let callers = futures_util::future::join_all(callers);
    let story = async {
        watch.until(EventType::CircuitHalfOpened).await;
        let patience = Patience::with("two trial calls at once");
        patience.wait(upstream.holds_trials(2), &busy).await;
        // The two that wait for their answers are not rejected; all others are, again and again.
        let others = |times: &[usize; MIRRORS]| times.iter().filter(|times| **times >= 3).count() >= MIRRORS - 2;
        let patience = Patience::with("every caller that is rejected, again and again");
        patience.wait(all_busy.wait_for(others), &busy).await.expect("they call");
        let others = upstream.others();
        let before = *all_busy.borrow();
        let more = |times: &[usize; MIRRORS]| {
            times.iter().zip(&before).filter(|(now, before)| now > before).count() >= MIRRORS - 2
        };
        patience.wait(all_busy.wait_for(more), (&before, &busy)).await.expect("they call");
        assert_eq!((upstream.most_trials(), upstream.others()), (2, others));
        upstream.recover();
        upstream.hold(false);
        watch.until(EventType::CircuitRecovered).await;
        assert_eq!((upstream.most_trials(), upstream.passed()), (2, 4));
    };
    tokio::select! {
        biased;
        () = story => {}
        () = upstream.holds_trials(3) => panic!("two at once are allowed"),
        _ = callers => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_call_that_is_dropped_gives_its_lease_back() {
    let (server, upstream) = (Harness::start(Layer::default()).await, Upstream::start().await);
    let (_client, mut circuits) = watched(&server, &upstream.target, policy()).await;
    let mut watch = from_now(&mut circuits).await;
    let (mirror, guard) = mirror(server.address()).await;
    let calls = upstream.call_on(&guard, |_| {});
    upstream.hold(true);
    let trial = async {
        watch.until(EventType::CircuitHalfOpened).await;
        Patience::with("a trial call").wait(upstream.holds_trials(1), &mirror).await;
    };
    tokio::select! {
        biased;
        () = trial => {}
        () = calls => {}
    }
    // By now the call was dropped. Another mirror gets the lease, which lasts for ten minutes where nobody gives it back.
    let (_other, guard) = self::mirror(server.address()).await;
    let mut tries = 0;
    let pass = loop {
        match guard.admit().await {
            Ok(pass) => break pass,
            Err(rejected) => tokio::time::sleep(rejected.retry_after.unwrap_or(PAUSE).min(PAUSE)).await,
        }
        tries += 1;
        assert!(tries < 1_000, "nobody gives it back");
    };
    assert!(pass.is_trial());
    pass.finish(Verdict::Ignored);
    flush(&mirror).await;
    assert_eq!(mirror.stats().neutral, 1, "{:?}", mirror.stats());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_change_is_told_of_what_an_operator_decides() {
    let (server, upstream) = (Harness::start(Layer::default()).await, Upstream::start().await);
    let (_client, mut circuits) = watched(&server, &upstream.target, policy()).await;
    let (mirror, guard) = mirror(server.address()).await;
    for (mode, permits) in [(Override::ForcedOpen, false), (Override::None, true)] {
        let changed = guard.changed();
        circuits.override_circuit(over(mode, "maintenance")).await.expect("laid");
        Patience::with(format!("{mode:?}")).wait(changed, &mirror).await;
        assert_eq!((guard.permits(), guard.admit().await.is_ok()), (permits, permits));
    }
}
