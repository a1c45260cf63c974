//! A circuit by itself: taking in a check, and being read.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use switchyard::circuit::Circuit;
use switchyard::model::{CircuitState, Disposition, Mono, Now, Sample, Source, Timestamp, Verdict};

use crate::lab::Lab;
use crate::served::custom;
use crate::table::{Bar, Case, Row, Unit};

const ROUNDS: usize = 1_000_000;
/// One check in so many fails: the window has something to count, and the circuit stays closed.
const FAILS: usize = 10;

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("circuit", run)]
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
    let spec = custom()?;
    let mut now = Now { mono: Mono::ZERO, wall: Timestamp::default() };
    let mut circuit = Circuit::new(now);
    circuit.resume(now);
    let each = |began: Instant| began.elapsed().as_nanos() as f64 / rounds as f64;

    let (began, mut accepted) = (Instant::now(), 0);
    for round in 0..rounds {
        now = Now { mono: now.mono + Duration::from_secs(1), wall: now.wall + Duration::from_secs(1) };
        let verdict = if round % FAILS == 0 { Verdict::Fail } else { Verdict::Pass };
        let sample =
            Sample { epoch: circuit.epoch(), verdict, latency: Duration::from_millis(1), source: Source::Active };
        let (disposition, _) = circuit.report(black_box(sample), spec.circuit(), 0.5, now);
        accepted += usize::from(disposition == Disposition::Accepted);
    }
    let recorded = each(began);
    ensure!(accepted == rounds && circuit.state() == CircuitState::Closed, "{accepted} reports counted: {circuit:?}");

    let began = Instant::now();
    for _ in 0..rounds {
        let circuit = black_box(&circuit);
        black_box((circuit.state(), circuit.epoch()));
    }
    Ok((recorded, each(began)))
}
