//! A circuit by itself: taking in a check, being read, and what callers ask of it and tell it; the latter beside circuit breakers that
//! stand in their callers' processes.
//!
//! A circuit is handed the time. What needs it reads the clock here, too, as breakers do: none to permit a call while closed; to take
//! in an outcome `failsafe` reads it, and so do we, and `recloser` does not.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use failsafe::CircuitBreaker;
use recloser::Recloser;
use switchyard::circuit::Circuit;
use switchyard::model::{
    CircuitState, Disposition, Mono, Now, Permission, Sample, Source, TaskSpec, Timestamp, Verdict,
};

use crate::lab::Lab;
use crate::served::custom;
use crate::table::{Bar, Case, Row, Unit};

const ROUNDS: usize = 1_000_000;
/// One check in so many fails: the window has something to count, and the circuit stays closed.
const FAILS: usize = 10;
const LATENCY: Duration = Duration::from_millis(1);

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("circuit: record, read", run), Case::new("circuit: permission, outcome", beside)]
}

fn run(lab: &Lab) -> Result<Vec<Row>> {
    let rounds = lab.scaled(ROUNDS);
    let turns = (0..lab.turns()).map(|_| turn(rounds)).collect::<Result<Vec<_>>>()?;
    let (recorded, read) = turns.into_iter().unzip();
    Ok(vec![
        Row::alone("circuit: record a check", Unit::Nanoseconds, recorded, Bar::AtMost(100.0)),
        Row::alone("circuit: read state and epoch", Unit::Nanoseconds, read, Bar::AtMost(10.0)),
    ])
}

/// How long a report and a reading took, in nanoseconds.
fn turn(rounds: usize) -> Result<(f64, f64)> {
    let Subject { spec, mut circuit, mut now, began: _ } = Subject::new()?;
    let mut accepted = 0;
    let recorded = each(rounds, |round| {
        now = Now { mono: now.mono + Duration::from_secs(1), wall: now.wall + Duration::from_secs(1) };
        let sample =
            Sample { epoch: circuit.epoch(), verdict: verdict(round), latency: LATENCY, source: Source::Active };
        let (disposition, _) = circuit.report(black_box(sample), spec.circuit(), 0.5, now);
        accepted += usize::from(disposition == Disposition::Accepted);
    });
    ensure!(accepted == rounds && circuit.state() == CircuitState::Closed, "{accepted} reports counted: {circuit:?}");
    let read = each(rounds, |_| {
        let circuit = black_box(&circuit);
        black_box((circuit.state(), circuit.epoch()));
    });
    Ok((recorded, read))
}

fn beside(lab: &Lab) -> Result<Vec<Row>> {
    let rounds = lab.scaled(ROUNDS);
    let failsafe = failsafe::Config::new().build();
    let permissions = lab.take_turns(
        || {
            let mut subject = Subject::new()?;
            Ok(each(rounds, |_| subject.ask()))
        },
        || Ok(each(rounds, |_| assert!(black_box(&failsafe).is_call_permitted()))),
    )?;
    let outcomes = lab.take_turns(
        || {
            let mut subject = Subject::new()?;
            Ok(each(rounds, |round| subject.tell(round)))
        },
        || {
            let failsafe = failsafe::Config::new().build();
            Ok(each(rounds, |round| match verdict(round) {
                Verdict::Fail => failsafe.on_error(),
                Verdict::Pass | Verdict::Neutral => failsafe.on_success(),
            }))
        },
    )?;
    let calls = lab.take_turns(
        || {
            let mut subject = Subject::new()?;
            Ok(each(rounds, |round| {
                subject.ask();
                subject.tell(round);
            }))
        },
        || {
            let (failsafe, recloser) = (failsafe::Config::new().build(), Recloser::default());
            let result = |round| if verdict(round) == Verdict::Fail { Err(()) } else { Ok(()) };
            let recloser = each(rounds, |round| {
                let called = recloser.call(|| black_box(result(round)));
                assert!(!matches!(called, Err(recloser::Error::Rejected)));
            });
            let failsafe = each(rounds, |round| {
                let called = failsafe.call(|| black_box(result(round)));
                assert!(!matches!(called, Err(failsafe::Error::Rejected)));
            });
            Ok((recloser, failsafe))
        },
    )?;
    let calls_beside = |baseline: fn(&(f64, f64)) -> f64| -> Vec<_> {
        calls.iter().map(|(ours, baselines)| (*ours, baseline(baselines))).collect()
    };
    let (recloser, failsafe) = (calls_beside(|(recloser, _)| *recloser), calls_beside(|(_, failsafe)| *failsafe));
    let both = "circuit: permission and outcome of a call";
    Ok(vec![
        Row::beside("circuit: permission (beside failsafe)", Unit::Nanoseconds, &permissions, Bar::AtMost(10.0)),
        Row::beside("circuit: outcome of a call (beside failsafe)", Unit::Nanoseconds, &outcomes, Bar::AtMost(100.0)),
        Row::beside(format!("{both} (beside recloser)"), Unit::Nanoseconds, &recloser, Bar::AtMost(110.0)),
        Row::beside(format!("{both} (beside failsafe)"), Unit::Nanoseconds, &failsafe, Bar::AtMost(110.0)),
    ])
}

/// A closed circuit.
struct Subject {
    spec: TaskSpec,
    circuit: Circuit,
    now: Now,
    began: Instant,
}

impl Subject {
    fn new() -> Result<Self> {
        let now = Now { mono: Mono::ZERO, wall: Timestamp::default() };
        let mut circuit = Circuit::new(now);
        circuit.resume(now);
        Ok(Self { spec: custom()?, circuit, now, began: Instant::now() })
    }

    /// A call is permitted.
    fn ask(&mut self) {
        let (permission, _) = black_box(&mut self.circuit).acquire(self.spec.circuit(), 0.5, self.now);
        assert!(matches!(permission, Permission::Granted(_)), "{permission:?}");
    }

    /// The outcome of a call counts.
    fn tell(&mut self, round: usize) {
        let elapsed = self.began.elapsed();
        self.now = Now { mono: Mono::ZERO + elapsed, wall: Timestamp::default() + elapsed };
        let source = Source::Passive { reporter: 1, lease: None };
        let sample = Sample { epoch: self.circuit.epoch(), verdict: verdict(round), latency: LATENCY, source };
        let (disposition, _) = self.circuit.report(black_box(sample), self.spec.circuit(), 0.5, self.now);
        assert_eq!(disposition, Disposition::Accepted);
    }
}

fn verdict(round: usize) -> Verdict {
    if round.is_multiple_of(FAILS) { Verdict::Fail } else { Verdict::Pass }
}

/// How long each of so many rounds took, in nanoseconds.
fn each(rounds: usize, mut work: impl FnMut(usize)) -> f64 {
    let began = Instant::now();
    (0..rounds).for_each(&mut work);
    began.elapsed().as_nanos() as f64 / rounds as f64
}
