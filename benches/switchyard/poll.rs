//! The slot around a poll: what each poll of each instance costs more so that the watchdog can see it.

use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use switchyard::model::InstanceId;
use switchyard::monitor::{CoarseClock, Occupant, Polled, Slot};
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

/// A future that is polled as often as one likes, and each time is not done.
struct NotYet(u64);

impl Future for NotYet {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<()> {
        self.0 = black_box(self.0 + 1);
        Poll::Pending
    }
}

/// How long a poll took of the same future in a `Polled`, as the runtime's task holds it, and in a bare box, in nanoseconds. On a
/// thread of its own: a slot is a thread's for good.
fn turn(rounds: usize) -> Result<(f64, f64)> {
    let slot = Arc::new(Slot::new(Arc::new(CoarseClock::default()), Metrics::new()?.polls));
    let measured = thread::spawn(move || {
        slot.adopt();
        let occupant = Occupant::new(InstanceId::new(1), Duration::from_secs(1));
        let mut polled = std::pin::pin!(Polled::new(black_box(occupant), NotYet(0)));
        let within = each(rounds, |context| black_box(polled.as_mut()).poll(context));
        let mut bare = Box::pin(NotYet(0));
        (within, each(rounds, |context| black_box(bare.as_mut()).poll(context)))
    });
    measured.join().map_err(|_| anyhow!("the thread panicked"))
}

fn each(rounds: usize, mut poll: impl FnMut(&mut Context<'_>) -> Poll<()>) -> f64 {
    let mut context = Context::from_waker(Waker::noop());
    let began = Instant::now();
    for _ in 0..rounds {
        // Pending, each time.
        let _ = black_box(poll(&mut context));
    }
    began.elapsed().as_nanos() as f64 / rounds as f64
}
