//! The slot around a poll: what each poll of each instance costs more so that the watchdog can see it.

use std::hint::black_box;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use switchyard::model::InstanceId;
use switchyard::monitor::{CoarseClock, Occupant, Slot, occupy};
use switchyard::telemetry::Metrics;

use crate::lab::Lab;
use crate::table::{Bar, Case, Row, Unit};

const ROUNDS: usize = 10_000_000;

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("poll: the slot around it", run)]
}

fn run(lab: &Lab) -> Result<Vec<Row>> {
    let rounds = lab.scaled(ROUNDS);
    let turns = (0..lab.turns()).map(|_| turn(rounds)).collect::<Result<Vec<_>>>()?;
    Ok(vec![Row::beside("poll: the slot around it", Unit::Nanoseconds, &turns, Bar::AboveBaseline(10.0))])
}

/// How long the same nothing took with a slot around it and without, in nanoseconds. On a thread of its own: a slot is a thread's for
/// good.
fn turn(rounds: usize) -> Result<(f64, f64)> {
    let slot = Arc::new(Slot::new(Arc::new(CoarseClock::default()), Metrics::new()?.polls));
    let measured = thread::spawn(move || {
        slot.adopt();
        let occupant = Occupant::new(InstanceId::new(1), Duration::from_secs(1));
        let within = each(rounds, |round| occupy(black_box(occupant), || black_box(round)));
        (within, each(rounds, black_box))
    });
    measured.join().map_err(|_| anyhow!("the thread panicked"))
}

fn each(rounds: usize, poll: impl Fn(usize) -> usize) -> f64 {
    let began = Instant::now();
    for round in 0..rounds {
        black_box(poll(round));
    }
    began.elapsed().as_nanos() as f64 / rounds as f64
}
