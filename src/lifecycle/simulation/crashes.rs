//! Crashes: the server is killed at any moment, and another goes on with what the journal has kept.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::{Input, Lifecycle, Past};
use super::oracle::Crash;
use super::{Rng, Simulation};
use crate::model::*;

/// How often the server is killed. The default: never.
#[derive(Debug, Default)]
pub(super) struct Mortality {
    /// One move in so many has it killed.
    one_in: Option<u64>,
    /// After how many more steps that is; so it falls into the midst of what a move brings about, too.
    steps: Option<u64>,
}

impl Mortality {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let one_in = match rng.below(3) {
            0 => None,
            1 => Some(200),
            _ => Some(30),
        };
        Self { one_in, steps: None }
    }

    /// Whether it is killed before this move. Mostly it will be where something is in the middle of something.
    pub(super) fn strikes(&mut self, eventful: bool, rng: &mut Rng) -> bool {
        let strikes = self.one_in.is_some_and(|one_in| rng.one_in(one_in)) && (eventful || rng.one_in(4));
        if strikes && self.steps.is_none() {
            self.steps = Some(rng.below(12));
        }
        self.is_due()
    }

    pub(super) fn is_due(&self) -> bool {
        self.steps == Some(0)
    }

    pub(super) fn step(&mut self) {
        self.steps = self.steps.map(|steps| steps.saturating_sub(1));
    }

    /// It was killed. The next one may be before it is through with what was left.
    fn struck(&mut self, rng: &mut Rng) {
        self.steps = rng.one_in(4).then(|| 1 + rng.below(6));
    }
}

impl Simulation {
    /// Everything is gone but what the journal has kept; and after a while another server begins.
    pub(super) fn crash(&mut self) -> Result<(), String> {
        self.oracle.hears(self.world.journal.take_notes())?;
        self.mortality.struck(&mut self.rng);
        self.now = Now { mono: Mono::from_nanos(1 + self.rng.below(1 << 40)), wall: self.wall_after_a_while() };
        let (head, requests) = self.world.crash(self.now.mono, &mut self.rng);
        let unknown_kinds: BTreeSet<_> = self.rng.one_in(8).then(|| "scripted".to_owned()).into_iter().collect();
        if self.verbose {
            println!("{:>14} -- killed at #{head}, unknown are {unknown_kinds:?}", self.now.mono.as_nanos());
        }
        let crash = Crash { head, requests: &requests, unknown_kinds: &unknown_kinds, now: self.now };
        let tasks = self.oracle.crashed(&crash)?;
        let past = Past { head, tasks, unknown_kinds, requests };
        self.machine = Lifecycle::restore(past, self.limits, Rng(self.rng.next()), self.now);
        self.draining = false;
        self.oracle.after(&self.machine, &self.world, self.now)
    }

    /// Sometimes the clock has been set back meanwhile.
    fn wall_after_a_while(&mut self) -> Timestamp {
        let wall = self.now.wall;
        match self.rng.below(10) {
            0 => wall.before(self.rng.millis(600_000)),
            1 => wall + Duration::from_secs(self.rng.below(200_000)),
            2..=3 => wall + self.rng.millis(10_000_000),
            4..=5 => wall + self.rng.millis(60_000),
            _ => wall + self.rng.millis(2_000),
        }
    }

    /// As the shell has it: before anything is taken over, somebody looks whether the journal takes that in.
    fn adopt(&mut self) -> Result<(), String> {
        if let Some(admission) = self.world.journal.look(self.now.mono) {
            self.feed(Input::Admission(admission))?;
        }
        self.feed(Input::Adopt)
    }

    /// One turn of a server that has not taken over all that was left; commands and everything else go on in between.
    pub(super) fn take_over(&mut self) -> Result<(), String> {
        match self.rng.below(18) {
            0..=6 => self.adopt(),
            7..=12 => self.command(),
            13..=14 => self.call(),
            15 if self.rng.one_in(8) => self.drain(),
            _ => {
                let longest = if self.machine.has_orphans() { 50 } else { 20_000 };
                let until = self.now.mono + self.rng.millis(longest);
                self.pass_until(until)
            }
        }
    }
}
