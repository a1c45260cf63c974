use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, yield_now};

use super::*;
use crate::journal::testing::{commit, created, in_memory, task};
use crate::journal::{Condition, Writer};
use crate::manager::desk::Caller;
use crate::manager::handle::Request;
use crate::model::{Epoch, Sample, Source, Uid, Verdict};
use crate::telemetry::Metrics;

/// Reporters, the loop's side of their desk, and a journal that shows the task `t1`.
struct Bench {
    reporters: Arc<Reporters>,
    requests: mpsc::Receiver<Request>,
    desk: Desk,
    journal: Journal,
    _condition: watch::Sender<Condition>,
    _writer: Writer,
}

impl Bench {
    async fn new() -> Self {
        let (journal, _writer) = in_memory();
        commit(&journal, [created(1)]).await;
        let (_condition, condition) = watch::channel(Condition::default());
        let (sender, requests) = mpsc::channel(8);
        let desk = Desk { requests: sender, condition };
        Self { reporters: Arc::default(), requests, desk, journal, _condition, _writer }
    }

    fn report(&self, reporter: &str, outcomes: Vec<ReportedOutcome>) -> JoinHandle<Result<Vec<Disposition>, Refusal>> {
        let report = Report { reporter: reporter.to_owned(), outcomes };
        let (reporters, desk, journal) = (Arc::clone(&self.reporters), self.desk.clone(), self.journal.clone());
        let metrics = Metrics::new().expect("registered once").circuits;
        tokio::spawn(async move { reporters.report(report, desk, journal, metrics).await })
    }

    /// What the loop is asked next.
    async fn asked(&mut self) -> (Vec<CallOutcome>, Caller) {
        match self.requests.recv().await {
            Some(Request::Call { call: Call::Report(outcomes), caller }) => (outcomes, caller),
            _ => panic!("a report comes first"),
        }
    }

    /// Has whatever can go on do so, and says whether the loop is asked anything.
    async fn is_asked(&self) -> bool {
        for _ in 0..100 {
            yield_now().await;
        }
        !self.requests.is_empty()
    }
}

fn outcome(uid: u128, sequence: u64) -> ReportedOutcome {
    let task = task("t1", uid);
    let source = Source::Passive { reporter: 1, lease: None };
    // So that they can be told apart.
    let latency = Duration::from_millis(sequence);
    let sample = Sample { epoch: Epoch::new(1), verdict: Verdict::Pass, latency, source };
    ReportedOutcome { name: task.name, sequence, outcome: CallOutcome { uid: Uid::new(task.uid.uuid()), sample } }
}

fn outcomes(sequences: std::ops::RangeInclusive<u64>) -> Vec<ReportedOutcome> {
    sequences.map(|sequence| outcome(1, sequence)).collect()
}

fn accept(asked: (Vec<CallOutcome>, Caller)) -> Vec<CallOutcome> {
    let (outcomes, caller) = asked;
    caller.tell(Ok(Reply::Dispositions(vec![Disposition::Accepted; outcomes.len()])));
    outcomes
}

use Disposition::{Accepted, Duplicate, Stale};

#[tokio::test]
async fn what_is_sent_again_counts_once() {
    let mut bench = Bench::new().await;
    let first = bench.report("a", outcomes(1..=3));
    let told: Vec<_> = outcomes(1..=3).into_iter().map(|it| it.outcome).collect();
    assert_eq!(accept(bench.asked().await), told);
    assert_eq!(first.await.expect("no panic"), Ok(vec![Accepted; 3]));

    let again = bench.report("a", outcomes(2..=5));
    assert_eq!(accept(bench.asked().await).len(), 2, "the loop is asked of what is new alone");
    assert_eq!(again.await.expect("no panic"), Ok(vec![Duplicate, Duplicate, Accepted, Accepted]));
    let other = bench.report("b", outcomes(1..=1));
    accept(bench.asked().await);
    assert_eq!(other.await.expect("no panic"), Ok(vec![Accepted]), "numbers are each reporter's own");
}

#[tokio::test]
async fn reports_of_one_reporter_take_turns_and_those_of_others_do_not_wait() {
    let mut bench = Bench::new().await;
    let first = bench.report("a", outcomes(1..=2));
    let asked = bench.asked().await;
    let again = bench.report("a", outcomes(1..=2));
    assert!(!bench.is_asked().await, "what the first one comes to is not known");
    let other = bench.report("b", outcomes(1..=2));
    accept(bench.asked().await);
    assert_eq!(other.await.expect("no panic"), Ok(vec![Accepted; 2]));
    accept(asked);
    assert_eq!(first.await.expect("no panic"), Ok(vec![Accepted; 2]));
    assert_eq!(again.await.expect("no panic"), Ok(vec![Duplicate; 2]));
    assert!(!bench.is_asked().await);
}

#[tokio::test]
async fn a_report_whose_caller_goes_away_is_counted_all_the_same() {
    let mut bench = Bench::new().await;
    let gone = bench.report("a", outcomes(1..=2));
    let asked = bench.asked().await;
    gone.abort();
    assert!(gone.await.expect_err("aborted").is_cancelled());
    let again = bench.report("a", outcomes(1..=2));
    assert!(!bench.is_asked().await, "the first one is under way yet");
    accept(asked);
    assert_eq!(again.await.expect("no panic"), Ok(vec![Duplicate; 2]));
}

#[tokio::test]
async fn no_more_reports_are_under_way_than_there_is_room_for_though_their_callers_have_gone() {
    let mut bench = Bench::new().await;
    let reports: Vec<_> = (0..=UNDER_WAY).map(|number| bench.report(&number.to_string(), outcomes(1..=1))).collect();
    let mut asked = Vec::new();
    for _ in 0..UNDER_WAY {
        asked.push(bench.asked().await);
    }
    for gone in reports.iter().take(UNDER_WAY) {
        gone.abort();
    }
    assert!(!bench.is_asked().await, "there is no more room");
    asked.truncate(UNDER_WAY - 1);
    accept(bench.asked().await);
    let last = reports.into_iter().next_back().expect("there is one");
    assert_eq!(last.await.expect("no panic"), Ok(vec![Accepted]));
}

#[tokio::test]
async fn what_was_refused_is_heard_when_it_is_sent_again() {
    let mut bench = Bench::new().await;
    let refused = bench.report("a", outcomes(1..=2));
    bench.asked().await.1.tell(Err(Refusal::JournalStalled));
    assert_eq!(refused.await.expect("no panic"), Err(Refusal::JournalStalled));
    let again = bench.report("a", outcomes(1..=2));
    assert_eq!(accept(bench.asked().await).len(), 2);
    assert_eq!(again.await.expect("no panic"), Ok(vec![Accepted; 2]));
}

#[tokio::test]
async fn outcomes_of_what_is_gone_are_stale_and_the_others_keep_their_places() {
    let mut bench = Bench::new().await;
    let told = bench.report("a", vec![outcome(9, 1), outcome(1, 2), outcome(9, 3), outcome(1, 2)]);
    assert_eq!(accept(bench.asked().await), [outcome(1, 2).outcome]);
    assert_eq!(told.await.expect("no panic"), Ok(vec![Stale, Accepted, Stale, Duplicate]));
    let again = bench.report("a", vec![outcome(9, 3)]);
    assert_eq!(again.await.expect("no panic"), Ok(vec![Duplicate]), "that has been heard, too");
}

#[tokio::test]
async fn a_loop_that_has_ended_refuses() {
    let mut bench = Bench::new().await;
    let told = bench.report("a", outcomes(1..=1));
    drop(bench.asked().await);
    assert_eq!(told.await.expect("no panic"), Err(Refusal::ServerDraining));
    bench.requests.close();
    let told = bench.report("a", outcomes(1..=1));
    assert_eq!(told.await.expect("no panic"), Err(Refusal::ServerDraining));
}

#[test]
fn no_more_reporters_are_remembered_than_that_and_the_most_silent_are_forgotten() {
    let reporters = Reporters::default();
    let known = |name: &str| reporters.known.lock().expect("whole").reporters.contains_key(name);
    for number in 0..KEPT {
        *reporters.heard(&number.to_string()).try_lock().expect("free") = 7;
    }
    // The oldest of them speaks again.
    assert_eq!(*reporters.heard("0").try_lock().expect("free"), 7);
    for number in KEPT..3 * KEPT {
        reporters.heard(&number.to_string());
        reporters.heard("0");
        assert!(reporters.known.lock().expect("whole").reporters.len() <= KEPT);
    }
    assert!(known("0") && !known("1") && !known(&KEPT.to_string()));
    assert!((3 * KEPT - KEPT / 2..3 * KEPT).all(|number| known(&number.to_string())));
    assert_eq!(*reporters.heard("0").try_lock().expect("free"), 7, "what it has said is known");
    assert_eq!(*reporters.heard("1").try_lock().expect("free"), 0, "it begins anew");
}
