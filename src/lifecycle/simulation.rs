//! The simulator: random commands against scripted monitors, all from one seed, the invariants of lifecycle.md §7 checked after
//! every step. A failing seed is replayed, with its trace, by
//!
//! ```text
//! SWITCHYARD_SEED=42 cargo test --lib simulation -- --nocapture
//! ```
//!
//! `SWITCHYARD_SEEDS=1000000` tries more seeds than the tests do.

mod commands;
mod oracle;
mod world;

use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::model::*;
use oracle::Oracle;
use world::World;

/// How many seeds the tests try, and how many moves each makes.
const SEEDS: u64 = 500;
const MOVES: usize = 250;
/// What happens in one move at the most: a circuit of which nobody hears any more goes round and round.
const HAPPENINGS: usize = 100;
/// Fewer than there are names, so that the limit is met.
const MAX_TASKS: usize = 5;

/// A small fast generator (SplitMix64: Steele, Lea and Flood, 2014); statistics do not matter here, reproducibility does.
#[derive(Clone, Debug)]
pub(super) struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(super) fn millis(&mut self, below: u64) -> Duration {
        Duration::from_millis(self.below(below))
    }
}

impl Chance for Rng {
    fn uuid(&mut self) -> Uuid {
        Uuid::from_u64_pair(self.next(), self.next())
    }

    fn unit(&mut self) -> f64 {
        f64::from(u32::try_from(self.below(1 << 32)).expect("below 2^32")) / f64::from(u32::MAX)
    }
}

/// One run of a seed.
struct Simulation {
    machine: Lifecycle<Rng>,
    rng: Rng,
    now: Now,
    world: World,
    oracle: Oracle,
    draining: bool,
    verbose: bool,
}

impl Simulation {
    fn new(seed: u64, verbose: bool) -> Self {
        let mut rng = Rng(seed);
        let machine = Lifecycle::new(
            Sequence::default(),
            Limits { max_tasks: MAX_TASKS, max_stuck: usize::MAX },
            Rng(rng.next()),
        );
        let wall = Timestamp::from_nanos(1_700_000_000_000_000_000);
        let now = Now { mono: Mono::from_nanos(1_000_000_000), wall };
        let (world, oracle) = (World::default(), Oracle::default());
        Self { machine, rng, now, world, oracle, draining: false, verbose }
    }

    /// Plays every move, then lets everything end and looks whether anything is left. The trace's hash, or what was violated.
    fn run(mut self) -> Result<u64, String> {
        for n in 0..MOVES {
            self.play().map_err(|violation| format!("move {n}: {violation}"))?;
        }
        if self.rng.one_in(2) {
            self.drain().map_err(|violation| format!("draining: {violation}"))?;
        }
        self.wind_up().map_err(|violation| format!("winding up: {violation}"))?;
        Ok(self.oracle.hash())
    }

    fn play(&mut self) -> Result<(), String> {
        match self.rng.below(10) {
            0..=3 => self.command(),
            4 if self.rng.one_in(40) => self.drain(),
            _ => {
                let longest = match self.rng.below(100) {
                    0..=1 => 90_000_000,
                    2..=7 => 600_000,
                    8..=30 => 20_000,
                    _ => 2_000,
                };
                let until = self.now.mono + self.rng.millis(longest);
                self.pass(until, HAPPENINGS)
            }
        }
    }

    fn drain(&mut self) -> Result<(), String> {
        self.draining = true;
        let bound = self.now.mono + self.rng.millis(8_000);
        self.feed(Input::Drain { bound, cause: Cause::system("simulation", "") })?;
        self.pass_until(bound)?;
        if self.machine.is_drained() { Ok(()) } else { Err("not drained by its bound".to_owned()) }
    }

    fn pass_until(&mut self, until: Mono) -> Result<(), String> {
        self.pass(until, usize::MAX)
    }

    /// Lets time pass; what is due happens in its order, exits before deadlines. Time stops early where `most` has happened.
    fn pass(&mut self, until: Mono, most: usize) -> Result<(), String> {
        for _ in 0..most {
            let next = [self.world.next_due(), self.machine.next_due()].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= until) else {
                self.set_time(until);
                return Ok(());
            };
            self.set_time(next.max(self.now.mono));
            while let Some(input) = self.world.pop_due(self.now.mono, &mut self.rng) {
                self.feed(input)?;
            }
            if self.machine.next_due().is_some_and(|due| due <= self.now.mono) {
                self.feed(Input::Tick)?;
            }
        }
        Ok(())
    }

    fn set_time(&mut self, mono: Mono) {
        self.now = Now { mono, wall: self.now.wall + mono.since(self.now.mono) };
    }

    fn command(&mut self) -> Result<(), String> {
        let command = commands::random(&mut self.rng, &self.oracle);
        self.feed(Input::Command(command))
    }

    fn feed(&mut self, input: Input) -> Result<(), String> {
        if self.verbose {
            println!("{:>14} <- {input:?}", self.now.mono.as_nanos());
        }
        self.oracle.before(&input, &self.world, self.now)?;
        let effects = self.machine.step(input, self.now);
        for effect in effects {
            if self.verbose {
                println!("{:>14} -> {}", "", oracle::line(&effect));
            }
            self.oracle.effect(&effect, &self.world, self.now)?;
            self.world.execute(&effect, self.now, &mut self.rng);
        }
        self.oracle.after(&self.machine, &self.world, self.now)?;
        self.world.bury();
        Ok(())
    }

    /// Cancels every task, waits for the last zombie, deletes what is left: nothing may remain.
    fn wind_up(&mut self) -> Result<(), String> {
        for name in self.oracle.names() {
            let cause = Cause::system("simulation", "winding up");
            let cancel = CancelTask { name, force: false, etag: None, cause, idempotency: None };
            self.feed(Input::Command(Command::Cancel(cancel)))?;
        }
        self.pass_until(self.now.mono + world::LONGEST)?;
        for name in self.oracle.names() {
            let cause = Cause::system("simulation", "winding up");
            let delete = DeleteTask { name, etag: None, cause, idempotency: None };
            self.feed(Input::Command(Command::Delete(delete)))?;
        }
        let left = (self.machine.live(), self.machine.stuck(), self.machine.timers.len(), self.machine.tasks.len());
        if left != (0, 0, 0, 0) {
            return Err(format!("left behind (instances, stuck ones, timers, tasks): {left:?}"));
        }
        if self.oracle.has_builds() {
            return Err("a candidate is neither launched nor discarded".to_owned());
        }
        if self.draining && !self.machine.is_drained() {
            return Err("drained, but does not say so".to_owned());
        }
        Ok(())
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn every_seed_keeps_the_invariants() {
    if let Some(seed) = number("SWITCHYARD_SEED") {
        let outcome = Simulation::new(seed, true).run();
        return assert!(outcome.is_ok(), "seed {seed}: {}", outcome.unwrap_err());
    }
    for seed in 0..number("SWITCHYARD_SEEDS").unwrap_or(SEEDS) {
        if let Err(violation) = Simulation::new(seed, false).run() {
            panic!(
                "seed {seed}: {violation}\nreplay it: SWITCHYARD_SEED={seed} cargo test --lib simulation -- --nocapture"
            );
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let hashes = || (0..20).map(|seed| Simulation::new(seed, false).run()).collect::<Vec<_>>();
    let first = hashes();
    assert_eq!(first, hashes());
    assert_ne!(first[0], first[1], "another seed gives another trace");
}
