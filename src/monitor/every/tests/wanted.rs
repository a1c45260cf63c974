//! Checks that somebody asks for, and first checks that are put off.

use tokio::sync::oneshot;

use super::*;

impl Bench {
    /// Asks for a check.
    fn want(&self) -> oneshot::Receiver<Check> {
        let (wanted, check) = oneshot::channel();
        self.orders.want(wanted);
        check
    }
}

fn numbered(n: u32) -> Finding {
    Finding { message: n.to_string(), ..Finding::pass() }
}

#[tokio::test(start_paused = true)]
async fn a_check_that_is_wanted_begins_at_once_and_answers_and_the_grid_stays() {
    let mut bench = Bench::start(ScheduleDraft::default(), |n| async move { numbered(n) });
    bench.next_evidence().await;
    bench.next_evidence().await;
    advance(400 * MS).await;
    let (now, check) = (bench.clock.now().mono, bench.want());
    assert!(bench.next_begin().await.since(now) <= 2 * MS);
    assert_eq!(check.await.expect("made").message, "2");
    bench.next_evidence().await;
    let next = bench.next_begin().await;
    bench.assert_at_point(next, 1);
    assert_eq!(bench.live().missed_checks, 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_wanted_while_another_runs_is_the_one_that_begins_after_it() {
    let check = |n| async move {
        sleep(300 * MS).await;
        numbered(n)
    };
    let mut bench = Bench::start(ScheduleDraft::default(), check);
    let began = bench.next_begin().await;
    sleep(100 * MS).await;
    let [first, second] = [bench.want(), bench.want()];
    let next = bench.next_begin().await;
    assert!(next.since(began) <= 302 * MS, "it follows at once: {:?}", next.since(began));
    let (first, second) = (first.await.expect("made"), second.await.expect("made"));
    assert_eq!((first.message.as_str(), &first), ("1", &second), "one check answers both");
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_begins_meanwhile_makes_it_anew_for_whoever_wants_it() {
    let check = |n| async move { if n == 1 { pending().await } else { numbered(n) } };
    let mut bench = Bench::start(timeout(SECOND), check);
    bench.next_evidence().await;
    let wanted = bench.want();
    bench.next_begin().await;
    bench.turn(2, Some(500 * MS));
    assert_eq!(wanted.await.expect("made").message, "2");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_answered_by_a_check_that_was_cut_short_or_never_made() {
    let mut bench = Bench::start(timeout(SECOND), |_| pending());
    bench.next_begin().await;
    let wanted = bench.want();
    bench.token.cancel();
    assert!(wanted.await.is_err());
    let once = ScheduleDraft { max_runs: 1, ..ScheduleDraft::default() };
    let mut bench = Bench::start(once, |_| async { Finding::pass() });
    let wanted = bench.want();
    bench.next_evidence().await;
    assert!(wanted.await.is_ok(), "asked for before the first, it is the first");
    let late = bench.want();
    drop((bench.running.await, bench.orders));
    assert!(late.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_first_check_is_put_off_within_its_spread_and_the_next_loop_is_not() {
    let (reports, mut inbox) = mpsc::channel(64);
    let mut assignment = assignment("bench", ScheduleDraft { max_runs: 1, ..timeout(SECOND) }, reports).expect("valid");
    (assignment.clock, assignment.spread_millis) = (Clock::starting_at(Timestamp::default()), 1_000);
    let (clock, uid) = (assignment.clock, assignment.uid);
    let due = Grid::new(&clock, uid, SECOND).spread(uid, Mono::ZERO, SECOND);
    assert!(due > Mono::ZERO, "another uid is needed here");
    let context = Context::new(assignment, CancellationToken::new(), Children::new());
    for least in [due, Mono::ZERO] {
        let began = clock.now().mono;
        context.every(SECOND, || async { Finding::pass() }).await;
        let Report { at, fact: Fact::CheckBegan, .. } = inbox.recv().await.expect("told") else { panic!("begins") };
        assert!(at >= least && at.since(began.max(least)) <= 2 * MS, "at {at:?}, due at {least:?}");
        while inbox.try_recv().is_ok() {}
    }
}
