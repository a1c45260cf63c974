//! The simulator: random commands and faults against scripted monitors, all from one seed, the invariants of lifecycle.md §7 checked
//! after every step. A failing seed is replayed, with its trace, by
//!
//! ```text
//! SWITCHYARD_SEED=42 cargo test --lib simulation -- --nocapture
//! ```
//!
//! More seeds than the tests try, a million say, with a word now and then on how far it is:
//!
//! ```text
//! SWITCHYARD_SEEDS=1000000 cargo test --release --lib simulation -- --nocapture
//! ```
//!
//! - `commands`: what clients ask for. `callers`: what callers ask of circuits, and tell them. `world`: what the machine acts upon: monitors, threads, a watchdog, a journal.
//! - `crashes`: what kills the server, and how another goes on.
//! - `oracle`: a second opinion on everything, formed from events and the world alone.
//! - `seeds`: the tests.

mod callers;
mod commands;
mod crashes;
mod oracle;
mod seeds;
mod world;

use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::model::*;
use callers::Callers;
use commands::Clients;
use crashes::Mortality;
use oracle::Oracle;
use world::World;

/// How many moves each seed makes, and how many of them once it drains: little begins then.
const MOVES: usize = 800;
const MOVES_WHILE_DRAINING: usize = 60;
/// What happens in one move at the most: a circuit of which nobody hears any more goes round and round.
const HAPPENINGS: usize = 100;
/// Fewer than there are names, so that the limit is met.
const MAX_TASKS: usize = 6;

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
    clients: Clients,
    callers: Callers,
    limits: Limits,
    mortality: Mortality,
    draining: bool,
    verbose: bool,
}

impl Simulation {
    fn new(seed: u64, verbose: bool) -> Self {
        let mut rng = Rng(seed);
        // Small in some, so that the limit is met.
        let max_stuck = if rng.one_in(3) { 1 + usize::from(rng.one_in(2)) } else { 64 };
        let limits = Limits { max_tasks: MAX_TASKS, max_stuck };
        let machine = Lifecycle::new(Sequence::default(), limits, Rng(rng.next()));
        let wall = Timestamp::from_nanos(1_700_000_000_000_000_000);
        let now = Now { mono: Mono::from_nanos(1_000_000_000), wall };
        let (world, oracle, clients) = (World::new(max_stuck, &mut rng), Oracle::new(limits), Clients::new(&mut rng));
        let mortality = Mortality::new(&mut rng);
        Self {
            machine,
            rng,
            now,
            world,
            oracle,
            clients,
            callers: Callers::default(),
            limits,
            mortality,
            draining: false,
            verbose,
        }
    }

    /// Plays every move, then lets everything end and looks whether anything is left. The trace's hash, or what was violated.
    fn run(mut self) -> Result<u64, String> {
        let mut draining = 0;
        for n in 0..MOVES {
            self.play().map_err(|violation| format!("move {n}: {violation}"))?;
            draining = if self.draining { draining + 1 } else { 0 };
            if draining == MOVES_WHILE_DRAINING {
                break;
            }
        }
        self.mortality = Mortality::default();
        if self.rng.one_in(2) {
            self.drain().map_err(|violation| format!("draining: {violation}"))?;
        }
        self.wind_up().map_err(|violation| format!("winding up: {violation}"))?;
        Ok(self.oracle.hash())
    }

    fn play(&mut self) -> Result<(), String> {
        if self.mortality.strikes(self.draining || !self.oracle.eventful().is_empty(), &mut self.rng) {
            return self.crash();
        }
        if !self.machine.orphans.is_empty() && !self.draining {
            return self.take_over();
        }
        match self.rng.below(14) {
            0..=4 => self.command(),
            5..=8 => self.call(),
            9 if self.rng.one_in(160) => self.drain(),
            _ => {
                let longest = match self.rng.below(100) {
                    0..=1 => 90_000_000,
                    2..=6 => 600_000,
                    7..=25 => 20_000,
                    26..=60 => 2_000,
                    _ => 300,
                };
                let until = self.now.mono + self.rng.millis(longest);
                self.pass(until, HAPPENINGS)
            }
        }
    }

    /// Begins a drain, or asks for one once more; everything else goes on.
    fn drain(&mut self) -> Result<(), String> {
        self.draining = true;
        let bound = self.now.mono + self.rng.millis(8_000);
        let cause = Cause::system(if self.rng.one_in(2) { "signal" } else { "operator" }, "drain");
        self.feed(Input::Drain { bound, cause })
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
            while let Some(input) = self.happens() {
                self.feed(input)?;
                if self.mortality.is_due() {
                    return self.crash();
                }
            }
            if self.machine.next_due().is_some_and(|due| due <= self.now.mono) {
                for id in self.machine.running_out(self.now.mono) {
                    if self.world.is_held_up(id, self.now.mono) {
                        self.feed(Input::HeldUp(id))?;
                    }
                }
                self.feed(Input::Tick)?;
            }
            if self.mortality.is_due() {
                return self.crash();
            }
        }
        Ok(())
    }

    fn happens(&mut self) -> Option<Input> {
        let full = self.machine.is_at_stuck_limit();
        self.world.pop_due(full, self.now.mono, &mut self.rng)
    }

    fn set_time(&mut self, mono: Mono) {
        self.now = Now { mono, wall: self.now.wall + mono.since(self.now.mono) };
    }

    fn command(&mut self) -> Result<(), String> {
        let command = self.clients.ask(&mut self.rng, &self.oracle, self.now);
        self.feed(Input::Command(command))
    }

    pub(super) fn call(&mut self) -> Result<(), String> {
        let call = self.callers.call(&mut self.rng, &self.oracle);
        self.feed(Input::Call(call))
    }

    fn feed(&mut self, input: Input) -> Result<(), String> {
        if self.verbose {
            println!("{:>14} <- {input:?}", self.now.mono.as_nanos());
        }
        self.oracle.hears(self.world.journal.take_notes())?;
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
        self.world.turn(self.now.mono, &mut self.rng);
        self.world.bury();
        self.mortality.step();
        Ok(())
    }

    /// Cancels every task, waits for the last zombie, deletes what is left: nothing may remain.
    fn wind_up(&mut self) -> Result<(), String> {
        self.world.journal.steady = true;
        for name in self.oracle.names() {
            let cause = Cause::system("simulation", "winding up");
            let cancel = CancelTask { name, force: false, etag: None, cause, idempotency: None };
            self.feed(Input::Command(Command::Cancel(cancel)))?;
        }
        // Who waits for a thread that is blocked may block it in turn.
        for _ in 0..20 {
            self.pass_until(self.now.mono + world::LONGEST)?;
            if self.machine.live() == 0 {
                break;
            }
        }
        for name in self.oracle.names() {
            let cause = Cause::system("simulation", "winding up");
            let delete = DeleteTask { name, etag: None, cause, idempotency: None };
            self.feed(Input::Command(Command::Delete(delete)))?;
        }
        let left = (self.machine.live(), self.machine.stuck(), self.machine.timers.len(), self.machine.tasks.len());
        if left != (0, 0, 0, 0) {
            return Err(format!("left behind (instances, stuck ones, timers, tasks): {left:?}"));
        }
        self.pass_until(self.now.mono + world::LONGEST)?;
        self.oracle.hears(self.world.journal.take_notes())?;
        self.oracle.everything_is_visible()?;
        self.oracle.everything_has_ended_once()?;
        if self.oracle.has_builds() {
            return Err("a candidate is neither launched nor discarded".to_owned());
        }
        if self.draining && !self.machine.is_drained() {
            return Err("drained, but does not say so".to_owned());
        }
        Ok(())
    }
}
