mod wanted;

use std::future::pending;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{advance, sleep};

use super::*;
use crate::model::{Epoch, Live, ScheduleDraft, Timestamp, Verdict};
use crate::monitor::testing::assignment;
use crate::monitor::{CancellationToken, Children, Clock, LiveCell, Orders, Report};
use crate::telemetry::Metrics;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

impl Fact {
    fn is_end(self) -> bool {
        matches!(self, Self::CheckEnded(_))
    }
}

/// An instance that runs `every`, and its manager's end.
struct Bench {
    token: CancellationToken,
    orders: Arc<Orders>,
    live: Arc<LiveCell>,
    metrics: Metrics,
    inbox: mpsc::Receiver<Report>,
    clock: Clock,
    grid: Grid,
    /// The first point of the grid after the start.
    first: Mono,
    running: JoinHandle<()>,
}

impl Bench {
    /// Checks every second; `check` is told the number of its call.
    fn start<Fut>(draft: ScheduleDraft, check: impl Fn(u32) -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output = Finding> + Send + 'static,
    {
        let (reports, inbox) = mpsc::channel(64);
        let draft = ScheduleDraft { interval: Some(SECOND), ..draft };
        let mut assignment = assignment("bench", draft, reports).expect("valid");
        let metrics = Metrics::new().expect("names are unique");
        assignment.clock = Clock::starting_at(Timestamp::default());
        assignment.checks = metrics.checks.clone();
        let (clock, live, token) = (assignment.clock, Arc::clone(&assignment.live), CancellationToken::new());
        let orders = Arc::clone(&assignment.orders);
        let grid = Grid::new(&clock, assignment.uid, SECOND);
        let first = grid.after(Mono::ZERO);
        let context = Context::new(assignment, token.clone(), Children::new());
        let calls = AtomicU32::new(0);
        let running = tokio::spawn(async move {
            context.every(context.schedule().interval(), || check(calls.fetch_add(1, Ordering::Relaxed))).await;
        });
        Self { token, orders, live, metrics, inbox, clock, grid, first, running }
    }

    /// What is reported next, and when.
    async fn next(&mut self) -> (Mono, Fact) {
        let report = self.inbox.recv().await.expect("the instance lives");
        (report.at, report.fact)
    }

    /// When the next check begins.
    async fn next_begin(&mut self) -> Mono {
        loop {
            if let (at, Fact::CheckBegan) = self.next().await {
                return at;
            }
        }
    }

    /// What the next check that ends proves.
    async fn next_evidence(&mut self) -> Evidence {
        loop {
            if let (_, Fact::CheckEnded(evidence)) = self.next().await {
                return evidence;
            }
        }
    }

    /// The circuit comes into another epoch, half-open where checks are `on_trial`.
    fn turn(&self, epoch: u64, on_trial: Option<Duration>) {
        self.orders.set_regime(Regime { epoch: Epoch::new(epoch), counted: true, trial_interval: on_trial });
    }

    /// The point `n` of the grid, as timers see it: they round up to whole milliseconds.
    fn assert_at_point(&self, at: Mono, n: u32) {
        let late = at.since(self.first + SECOND * n);
        assert!(at >= self.first + SECOND * n && late <= 2 * MS, "late by {late:?}");
    }

    fn live(&self) -> Live {
        self.live.snapshot()
    }

    fn exposition(&self) -> String {
        String::from_utf8(self.metrics.render().expect("renders")).expect("text")
    }
}

fn timeout(timeout: Duration) -> ScheduleDraft {
    ScheduleDraft { timeout: Some(timeout), ..ScheduleDraft::default() }
}

#[tokio::test(start_paused = true)]
async fn the_first_check_is_at_once_and_the_others_on_the_grid() {
    let mut bench = Bench::start(ScheduleDraft::default(), async |_| Finding::pass());
    assert_eq!(bench.next().await, (Mono::ZERO, Fact::CheckBegan));
    assert_eq!(bench.next().await, (Mono::ZERO, Fact::Ready), "first, so that the check counts");
    assert!(matches!(bench.next().await, (Mono::ZERO, Fact::CheckEnded(_))));
    assert_eq!(bench.live().next_check_time.map(|due| due.as_nanos() > 0), Some(true));
    for n in 0..3 {
        let at = bench.next_begin().await;
        bench.assert_at_point(at, n);
    }
    let live = bench.live();
    assert_eq!((live.missed_checks, live.last_check.expect("one").verdict), (0, Verdict::Pass));
    assert!(bench.exposition().contains("circuit_breaker_scheduling_lag_seconds_count 3"), "not for the first check");
}

#[tokio::test(start_paused = true)]
async fn points_that_pass_during_a_check_are_skipped_and_counted() {
    // Each check but the first takes two and a half intervals: longer than a schedule's timeout may be, so this one has none.
    let (reports, mut inbox) = mpsc::channel(64);
    let mut assignment = assignment("bench", ScheduleDraft::default(), reports).expect("valid");
    assignment.clock = Clock::starting_at(Timestamp::default());
    let (live, uid, clock) = (Arc::clone(&assignment.live), assignment.uid, assignment.clock);
    let context = Context::new(assignment, CancellationToken::new(), Children::new());
    let mut first = true;
    let mut running = Box::pin(context.every(SECOND, || {
        let takes = if std::mem::take(&mut first) { Duration::ZERO } else { 2_500 * MS };
        sleep(takes).map(|()| Finding::pass())
    }));
    let mut begins = Vec::new();
    while begins.len() < 4 {
        tokio::select! {
            () = &mut running => unreachable!("nobody cancels"),
            report = inbox.recv() => {
                let report = report.expect("it runs");
                begins.extend((report.fact == Fact::CheckBegan).then_some(report.at));
            }
        }
    }
    let first = Grid::new(&clock, uid, SECOND).after(Mono::ZERO);
    for (at, point) in begins[1..].iter().zip([0, 3, 6]) {
        assert!(at.since(first + SECOND * point) <= 2 * MS, "{begins:?}");
    }
    assert_eq!(live.snapshot().missed_checks, 4);
}

#[tokio::test(start_paused = true)]
async fn a_check_of_a_whole_interval_misses_no_point() {
    let mut bench = Bench::start(timeout(SECOND), |_| pending());
    bench.next_begin().await;
    for _ in 0..50 {
        bench.next_begin().await;
    }
    assert_eq!(bench.live().missed_checks, 0);
    let elapsed = bench.clock.now().mono.since(bench.first);
    assert!(elapsed < 51 * SECOND, "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_trial_begins_with_a_check_at_once_and_keeps_its_own_time() {
    let mut bench = Bench::start(ScheduleDraft::default(), async |_| Finding::pass());
    bench.next_begin().await;
    bench.next_begin().await;
    bench.next_evidence().await;
    advance(300 * MS).await;
    let began = bench.clock.now().mono;
    bench.turn(2, Some(250 * MS));
    for n in 0..5 {
        let at = bench.next_begin().await;
        let late = at.since(began + 250 * MS * n);
        assert!(at >= began + 250 * MS * n && late <= 2 * MS, "check {n} is late by {late:?}");
        assert_eq!(bench.next_evidence().await.regime.epoch.get(), 2);
    }
    // It has closed: back to the grid, and no point that the trial has covered is missed.
    bench.turn(3, None);
    let (now, at) = (bench.clock.now().mono, bench.next_begin().await);
    let point = bench.grid.after(now);
    assert!(at >= point && at.since(point) <= 2 * MS);
    assert_eq!(bench.live().missed_checks, 0);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_runs_when_a_trial_begins_is_made_anew() {
    let mut bench = Bench::start(timeout(900 * MS), async |n| if n == 1 { pending().await } else { Finding::pass() });
    bench.next_begin().await;
    bench.next_begin().await;
    advance(100 * MS).await;
    bench.turn(2, Some(500 * MS));
    let superseded = bench.next_evidence().await;
    assert_eq!((superseded.verdict, superseded.regime.epoch.get()), (Verdict::Neutral, 1));
    let now = bench.clock.now().mono;
    assert!(bench.next_begin().await.since(now) <= 2 * MS);
    let fresh = bench.next_evidence().await;
    assert_eq!((fresh.verdict, fresh.regime.epoch.get()), (Verdict::Pass, 2));
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_begins_as_a_check_ends_does_not_wait_for_its_interval() {
    let cell = Arc::new(OnceLock::<Arc<Orders>>::new());
    let shared = Arc::clone(&cell);
    let mut bench = Bench::start(ScheduleDraft::default(), move |n| {
        let cell = Arc::clone(&shared);
        async move {
            if let (1, Some(orders)) = (n, cell.get()) {
                orders.set_regime(Regime { epoch: Epoch::new(2), trial_interval: Some(500 * MS), ..orders.regime() });
            }
            Finding::pass()
        }
    });
    cell.set(Arc::clone(&bench.orders)).expect("once");
    bench.next_begin().await;
    let began = bench.next_begin().await;
    let at = bench.next_begin().await;
    assert!(at.since(began) <= 2 * MS, "late by {:?}", at.since(began));
}

#[tokio::test(start_paused = true)]
async fn who_takes_over_in_the_middle_of_a_trial_is_on_trial_at_once() {
    for waits in [true, false] {
        let check = move |n| async move { if n == 1 && !waits { pending().await } else { Finding::pass() } };
        let mut bench = Bench::start(timeout(SECOND), check);
        let shadowed = Regime { counted: false, ..bench.orders.regime() };
        bench.orders.set_regime(shadowed);
        bench.next_evidence().await;
        if !waits {
            bench.next_begin().await;
        }
        // A swap that keeps the circuit keeps its epoch, too.
        bench.orders.set_regime(Regime { counted: true, trial_interval: Some(250 * MS), ..shadowed });
        let now = bench.clock.now().mono;
        assert!(bench.next_begin().await.since(now) <= 2 * MS, "waits: {waits}");
        assert!(bench.next_evidence().await.regime.counted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_point_that_passes_during_a_check_on_trial_is_covered_by_it_even_where_the_trial_has_ended_meanwhile() {
    let slow = async |n| if n == 1 { sleep(700 * MS).map(|()| Finding::pass()).await } else { Finding::pass() };
    let mut bench = Bench::start(ScheduleDraft::default(), slow);
    bench.next_evidence().await;
    sleep(bench.first.since(bench.clock.now().mono).saturating_sub(300 * MS)).await;
    bench.turn(2, Some(250 * MS));
    bench.next_begin().await;
    bench.turn(3, None);
    bench.next_evidence().await;
    let at = bench.next_begin().await;
    bench.assert_at_point(at, 1);
    assert_eq!(bench.live().missed_checks, 0);
}

#[tokio::test(start_paused = true)]
async fn shadowed_checks_are_counted_apart_and_say_so() {
    let mut bench = Bench::start(ScheduleDraft::default(), async |_| Finding::fail("NO", ""));
    bench.orders.set_regime(Regime { counted: false, ..bench.orders.regime() });
    assert!(!bench.next_evidence().await.regime.counted);
    let exposition = bench.exposition();
    assert!(
        exposition.contains(r#"circuit_breaker_shadow_checks_total{kind="bench",verdict="fail"} 1"#),
        "{exposition}"
    );
    assert!(!exposition.contains(r#"circuit_breaker_checks_total{kind="bench",verdict="fail"} 1"#), "{exposition}");
}

#[tokio::test(start_paused = true)]
async fn max_runs_ends_the_loop() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let draft = ScheduleDraft { max_runs: 3, ..ScheduleDraft::default() };
    let bench = Bench::start(draft, move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Finding::pass() }
    });
    let Bench { running, live, .. } = bench;
    running.await.expect("no panic");
    assert_eq!((calls.load(Ordering::Relaxed), live.snapshot().next_check_time), (3, None));
}

#[tokio::test(start_paused = true)]
async fn a_check_that_takes_too_long_fails() {
    let mut bench = Bench::start(timeout(300 * MS), |_| pending());
    bench.next_begin().await;
    assert_eq!(bench.next().await.1, Fact::Ready, "whatever the verdict");
    assert!(bench.next().await.1.is_end());
    let check = bench.live().last_check.expect("one");
    assert_eq!(
        (check.verdict, check.reason, check.message.as_str()),
        (Verdict::Fail, TIMEOUT, "no result within 300ms")
    );
    assert_eq!(check.duration.as_millis(), 300);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_drops_a_running_check_at_once() {
    struct Dropped(CancellationToken);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.cancel();
        }
    }
    let dropped = CancellationToken::new();
    let witness = dropped.clone();
    let mut bench = Bench::start(ScheduleDraft::default(), move |_| {
        let witness = Dropped(witness.clone());
        async move {
            let _witness = witness;
            pending().await
        }
    });
    assert_eq!(bench.next().await.1, Fact::CheckBegan);
    advance(500 * MS).await;
    bench.token.cancel();
    dropped.cancelled().await;
    let (at, fact) = bench.next().await;
    assert!(at == Mono::ZERO + 500 * MS && fact.is_end());
    bench.running.await.expect("no panic");
    let check = bench.live.snapshot().last_check.expect("recorded all the same");
    assert_eq!((check.verdict, check.reason, check.duration), (Verdict::Neutral, CANCELLED, 500 * MS));
    let exposition = String::from_utf8(bench.metrics.render().expect("renders")).expect("text");
    assert!(exposition.contains(r#"circuit_breaker_checks_total{kind="bench",verdict="neutral"} 1"#));
    assert!(bench.inbox.recv().await.is_none(), "it does not become ready any more");
}

#[tokio::test(start_paused = true)]
async fn an_abort_records_the_check_that_it_cut_short() {
    let mut bench = Bench::start(ScheduleDraft::default(), |_| pending());
    bench.next_begin().await;
    bench.running.abort();
    assert!(bench.next().await.1.is_end());
    assert_eq!(bench.live().last_check.expect("one").reason, CANCELLED);
}

#[tokio::test(start_paused = true)]
async fn no_check_begins_after_a_cancel() {
    let mut bench = Bench::start(ScheduleDraft::default(), |n| async move {
        assert_eq!(n, 0, "a check after the cancel");
        Finding::pass()
    });
    while bench.next().await.1 != Fact::Ready {}
    bench.token.cancel();
    bench.running.await.expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_a_check_is_the_monitors() {
    let mut bench = Bench::start(ScheduleDraft::default(), async |n| match n {
        0 => panic!("on purpose"),
        _ => Finding::pass(),
    });
    assert_eq!(bench.next().await.1, Fact::CheckBegan);
    assert!(bench.next().await.1.is_end());
    assert_eq!(bench.live().last_check.expect("one").reason, PANICKED);
    assert!(bench.running.await.expect_err("a panic").is_panic());
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_stalls_does_not_delay_a_cancel() {
    let (reports, _inbox) = mpsc::channel(1);
    let assignment = assignment("bench", ScheduleDraft::default(), reports).expect("valid");
    let token = CancellationToken::new();
    let context = Context::new(assignment, token.clone(), Children::new());
    let mut running = Box::pin(context.every(SECOND, async || Finding::pass()));
    assert!((&mut running).now_or_never().is_none(), "it waits for room to report the end of its check");
    token.cancel();
    assert!(running.now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn long_messages_are_cut_between_characters() {
    let mut bench = Bench::start(ScheduleDraft::default(), async |_| Finding::fail("LONG", "é".repeat(1_000)));
    while !bench.next().await.1.is_end() {}
    assert_eq!(bench.live().last_check.expect("one").message.len(), limits::MESSAGE_BYTES);
}

#[tokio::test]
async fn an_idle_instance_is_small() {
    let (reports, _inbox) = mpsc::channel(1);
    let assignment = assignment("bench", ScheduleDraft::default(), reports).expect("valid");
    let context = Context::new(assignment, CancellationToken::new(), Children::new());
    let run = async move {
        let check = async || {
            let large = [0_u8; 16 * 1024];
            sleep(SECOND).await;
            Finding::neutral("LARGE", large.len().to_string())
        };
        context.every(SECOND, check).await;
    };
    assert!(size_of_val(&run) <= 1_024, "{} bytes", size_of_val(&run));
}
