use super::*;
use crate::monitor::{Occupant, occupy};
use crate::telemetry::Metrics;

const MS: Duration = Duration::from_millis(1);
const FIRST: ShardId = ShardId::test(1);

fn id(number: u64) -> InstanceId {
    InstanceId::new(number)
}

/// A watch of one slot, and a thread's worth of polls by hand: a look is what the thread would do at its next tick.
struct Bench {
    watch: Watch,
    look: Look,
    told: Vec<News>,
    deaf: bool,
}

impl Bench {
    /// On a thread of its own, since a slot is a thread's for good.
    fn run(test: impl FnOnce(&mut Self) + Send + 'static) {
        let run = || {
            let watch = Watch::new(Metrics::new().expect("registers").polls);
            watch.slot(FIRST).adopt();
            let look = Look::new(watch.clone());
            test(&mut Self { watch, look, told: Vec::new(), deaf: false });
        };
        std::thread::spawn(run).join().expect("no panic");
    }

    fn poll(&mut self, instance: u64, limit: Duration, inside: impl FnOnce(&mut Self)) {
        occupy(Occupant::new(id(instance), limit), || inside(self));
    }

    /// Time passes, and the watchdog looks; what it tells.
    fn pass(&mut self, span: Duration) -> Vec<News> {
        self.watch.clock.advance(span);
        let (told, deaf) = (&mut self.told, self.deaf);
        self.look.look(|news| {
            if !deaf {
                told.push(news);
            }
            !deaf
        });
        std::mem::take(&mut self.told)
    }
}

#[test]
fn a_poll_is_told_of_once_while_it_blocks_and_once_when_it_has_returned() {
    Bench::run(|bench| {
        bench.poll(7, 100 * MS, |bench| {
            assert_eq!(bench.pass(99 * MS), []);
            assert_eq!(bench.pass(MS), [News::Blocked { instance: id(7), lasts: 100 * MS }]);
            assert_eq!(bench.pass(500 * MS), []);
        });
        assert_eq!(bench.pass(MS), [News::Returned { instance: id(7) }]);
        assert_eq!(bench.pass(500 * MS), []);
    });
}

#[test]
fn the_next_poll_of_the_same_instance_is_another_one() {
    Bench::run(|bench| {
        bench.poll(7, 100 * MS, |bench| drop(bench.pass(100 * MS)));
        bench.poll(7, 100 * MS, |bench| {
            assert_eq!(bench.pass(MS), [News::Returned { instance: id(7) }]);
            assert_eq!(bench.pass(99 * MS), [News::Blocked { instance: id(7), lasts: 100 * MS }]);
        });
    });
}

#[test]
fn a_stall_is_told_of_again_as_long_as_it_lasts() {
    Bench::run(|bench| {
        bench.poll(7, 3_600_000 * MS, |bench| {
            assert_eq!(bench.pass(STALL_AFTER - MS), []);
            let stalled = News::Stalled { shard: FIRST, turn: 1, culprit: id(7) };
            assert_eq!(bench.pass(MS), [stalled]);
            assert_eq!(bench.pass(STALL_AFTER / 2), []);
            assert_eq!(bench.pass(STALL_AFTER / 2), [stalled]);
            assert_eq!(bench.pass(STALL_AFTER), [stalled]);
        });
    });
}

#[test]
fn a_poll_that_was_told_of_as_a_stall_alone_is_told_of_when_it_returns() {
    Bench::run(|bench| {
        bench.poll(7, 3_600_000 * MS, |bench| {
            assert_eq!(bench.pass(STALL_AFTER), [News::Stalled { shard: FIRST, turn: 1, culprit: id(7) }]);
        });
        assert_eq!(bench.pass(MS), [News::Returned { instance: id(7) }], "or its thread counts as lost for good");
        assert_eq!(bench.pass(STALL_AFTER), []);
    });
}

#[test]
fn what_could_not_be_told_is_told_later() {
    Bench::run(|bench| {
        bench.deaf = true;
        bench.poll(7, 100 * MS, |bench| {
            assert_eq!(bench.pass(STALL_AFTER), []);
            bench.deaf = false;
            let [blocked, stalled] = bench.pass(MS)[..] else { panic!("two") };
            assert_eq!(blocked, News::Blocked { instance: id(7), lasts: STALL_AFTER + MS });
            assert_eq!(stalled, News::Stalled { shard: FIRST, turn: 1, culprit: id(7) });
            bench.deaf = true;
        });
        assert_eq!(bench.pass(MS), []);
        bench.deaf = false;
        assert_eq!(bench.pass(MS), [News::Returned { instance: id(7) }]);
    });
}

#[test]
fn a_shard_that_is_gone_is_not_looked_at() {
    Bench::run(|bench| {
        bench.watch.forget(FIRST);
        bench.poll(7, 100 * MS, |bench| assert_eq!(bench.pass(STALL_AFTER), []));
    });
}

#[test]
fn blocked_polls_are_counted_as_long_as_they_block() {
    let metrics = Metrics::new().expect("registers");
    let watch = Watch::new(metrics.polls.clone());
    let mut look = Look::new(watch.clone());
    let blocked = || {
        let text = String::from_utf8(metrics.render().expect("renders")).expect("text");
        let line = text.lines().find(|line| line.starts_with("circuit_breaker_blocked_polls ")).expect("there");
        line.rsplit(' ').next().expect("a value").to_owned()
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            watch.slot(FIRST).adopt();
            occupy(Occupant::new(id(7), 100 * MS), || {
                watch.clock.advance(100 * MS);
                look.look(|_| true);
                assert_eq!(blocked(), "1");
            });
            look.look(|_| true);
            assert_eq!(blocked(), "0");
        });
    });
}

#[test]
fn the_thread_ends_with_its_owner() {
    let (tell, mut news) = mpsc::channel(1);
    let watch = Watch::new(Metrics::new().expect("registers").polls);
    let watchdog = Watchdog::start(watch, tell).expect("starts");
    drop(watchdog);
    assert_eq!(news.blocking_recv(), None, "its end of the channel is dropped");
}
