use std::time::Duration;

use super::*;
use crate::model::InstanceId;
use crate::monitor::{Occupant, Polled};
use crate::telemetry::Metrics;

/// Shards of which none is polling yet, two for built-in and two for custom kinds.
fn shards() -> (Shards, Metrics) {
    let metrics = Metrics::new().expect("registers");
    let polls = metrics.polls.clone();
    (Shards::start(2, 2, Watch::new(polls.clone()), polls).expect("starts"), metrics)
}

fn custom(kind: &str) -> Tenant<'_> {
    Tenant { kind, built_in: false, isolation: Isolation::Shared }
}

const BUILT_IN: Tenant<'static> = Tenant { kind: "tcp", built_in: true, isolation: Isolation::Shared };

/// Blocks a shard's thread until the sender is dropped; the poll that does it.
fn block(shards: &Shards, id: ShardId, runtime: &Handle) -> (std::sync::mpsc::SyncSender<()>, u64) {
    let (free, freed) = std::sync::mpsc::sync_channel::<()>(0);
    let occupant = Occupant::new(InstanceId::new(1), Duration::from_secs(1));
    let (polling, polled) = std::sync::mpsc::sync_channel::<()>(0);
    runtime.spawn(Polled::new(occupant, async move {
        drop(polling);
        let _ = freed.recv();
    }));
    assert!(polled.recv().is_err());
    let turn = shards.shards[&id].slot.running().expect("it is polling").turn;
    (free, turn)
}

fn threads(metrics: &Metrics, sort: &str) -> String {
    let text = String::from_utf8(metrics.render().expect("renders")).expect("text");
    let name = format!("circuit_breaker_shard_threads{{sort=\"{sort}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&name)).expect("there").to_owned()
}

#[test]
fn each_sort_has_shards_of_its_own_and_the_emptiest_is_taken() {
    let (mut shards, _metrics) = shards();
    let [a, b, c] = [(); 3].map(|()| shards.enter(BUILT_IN).expect("a place").0);
    let [d, e] = [(); 2].map(|()| shards.enter(custom("x")).expect("a place").0);
    assert!(a != b && d != e && ![a, b].contains(&d) && ![a, b].contains(&e));
    assert!([a, b].contains(&c));
    shards.leave(c);
    shards.leave(c);
    assert_eq!(shards.enter(BUILT_IN).expect("a place").0, c, "it is the emptiest now");
}

#[test]
fn a_relieved_shard_is_left_to_its_culprit_and_ends_with_it() {
    let (mut shards, metrics) = shards();
    let (blocked, runtime) = shards.enter(custom("bad")).expect("a place");
    let (free, turn) = block(&shards, blocked, &runtime);
    assert!(!shards.relieve(blocked, turn + 2, custom("bad")).expect("a thread"), "that poll is over");
    assert!(shards.relieve(blocked, turn, custom("bad")).expect("a thread"));
    assert!(!shards.relieve(blocked, turn, custom("bad")).expect("a thread"), "once");
    assert_eq!((threads(&metrics, "custom"), threads(&metrics, "relieved")), ("2".into(), "1".into()));
    assert_eq!(shards.relieved(), 1);
    let others: Vec<_> = (0..4).map(|_| shards.enter(custom("good")).expect("a place").0).collect();
    assert!(!others.contains(&blocked));
    shards.leave(blocked);
    assert_eq!((threads(&metrics, "relieved").as_str(), shards.relieved()), ("0", 0));
    drop(free);
}

#[test]
fn a_kind_that_has_blocked_a_shard_shares_one_with_itself_alone() {
    let (mut shards, metrics) = shards();
    let (blocked, runtime) = shards.enter(custom("bad")).expect("a place");
    let (free, turn) = block(&shards, blocked, &runtime);
    shards.relieve(blocked, turn, custom("bad")).expect("a thread");
    let [a, b] = [(); 2].map(|()| shards.enter(custom("bad")).expect("a place").0);
    let good = shards.enter(custom("good")).expect("a place").0;
    assert!(a == b && a != good && a != blocked);
    assert_eq!(threads(&metrics, "quarantined"), "1");
    shards.leave(a);
    shards.leave(b);
    assert_eq!(threads(&metrics, "quarantined"), "0", "it ends with the last of its tenants");
    drop(free);
}

#[test]
fn a_built_in_kind_is_not_quarantined() {
    let (mut shards, metrics) = shards();
    let (blocked, runtime) = shards.enter(BUILT_IN).expect("a place");
    let (free, turn) = block(&shards, blocked, &runtime);
    assert!(shards.relieve(blocked, turn, BUILT_IN).expect("a thread"));
    shards.enter(BUILT_IN).expect("a place");
    assert_eq!((threads(&metrics, "built_in"), threads(&metrics, "quarantined")), ("2".into(), "0".into()));
    drop(free);
}

#[test]
fn an_isolated_instance_has_a_thread_to_itself_for_as_long_as_it_lives() {
    let (mut shards, metrics) = shards();
    let isolated = Tenant { isolation: Isolation::Thread, ..custom("x") };
    let [a, b] = [(); 2].map(|()| shards.enter(isolated).expect("a place").0);
    assert!(a != b);
    assert_eq!(threads(&metrics, "isolated"), "2");
    shards.leave(a);
    shards.leave(b);
    assert_eq!((threads(&metrics, "isolated"), shards.isolated), ("0".into(), 0));
}

#[test]
fn threads_are_not_given_out_without_end() {
    let (mut shards, _metrics) = shards();
    shards.isolated = MOST_ISOLATED;
    let isolated = Tenant { isolation: Isolation::Thread, ..custom("x") };
    let error = shards.enter(isolated).expect_err("too many");
    assert!(error.to_string().contains("which is the limit"), "{error}");
    assert!(shards.enter(custom("x")).is_ok());
}

#[test]
fn a_blocked_shard_is_passed_over() {
    let (mut shards, _metrics) = shards();
    let (blocked, runtime) = shards.enter(custom("x")).expect("a place");
    let (free, _turn) = block(&shards, blocked, &runtime);
    shards.watch.advance(crate::monitor::SLOW);
    let taken: Vec<_> = (0..3).map(|_| shards.enter(custom("x")).expect("a place").0).collect();
    assert!(!taken.contains(&blocked));
    drop(free);
}
