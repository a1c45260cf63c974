//! The seeds that are tried: first those that have found something once, then as many as there is time for.

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::Simulation;

/// How many seeds the tests try.
const SEEDS: u64 = 2_000;
/// After how many of them a run that lasts says how far it is.
const PROGRESS: u64 = 50_000;

/// Seeds that have found a bug: where it was, and what it did. A seed means another story once the generator has changed, so each
/// bug has its own test in `lifecycle/tests` besides; here they stay as stories that were hard once.
const HARD: [(&str, u64); 8] = [
    ("cancelled in the middle of a swap, a paused task showed a pause that was over, or none", 0),
    ("what was stuck before it was paused and resumed counted as a failure when it ended", 3),
    ("relief forgot how the root of a displaced instance had ended, and did its work again", 14),
    ("a restart that was due beside a stuck instance was not taken back by a pause", 80),
    ("resumed beside a stuck instance, a task was started while its active one still stopped", 106),
    ("after a restart, a client's command came before the end of a task of an unknown kind, and started it", 0),
    ("after a restart, a request that had been done anew was forgotten with the one before it", 2),
    ("a swap that a crash rolled back started the old spec apart from all others, of an unknown kind too", 16),
];

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// How a seed ends; a panic of the machine's is a violation, too.
fn outcome(seed: u64) -> Result<u64, String> {
    let run = || Simulation::new(seed, false).run();
    catch_unwind(run).unwrap_or_else(|_| Err("the machine panicked, as said above".to_owned()))
}

/// Tries the seeds below `seeds` on all processors: the least that fails, and how.
fn first_failure(seeds: u64) -> Option<(u64, String)> {
    let (next, failed) = (AtomicU64::new(0), Mutex::new(None::<(u64, String)>));
    let begun = Instant::now();
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return;
            }
            if seed > 0 && seed.is_multiple_of(PROGRESS) {
                eprintln!("{seed} of {seeds} seeds, {:?}", begun.elapsed());
            }
            let Err(violation) = outcome(seed) else { continue };
            // Seeds are taken in order, so nobody begins a lesser one after this.
            next.fetch_max(seeds, Ordering::Relaxed);
            let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
            if failed.as_ref().is_none_or(|(least, _)| seed < *least) {
                *failed = Some((seed, violation));
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn every_seed_keeps_the_invariants() {
    if let Some(seed) = number("SWITCHYARD_SEED") {
        let outcome = Simulation::new(seed, true).run();
        return assert!(outcome.is_ok(), "seed {seed}: {}", outcome.unwrap_err());
    }
    for (found, seed) in HARD {
        let outcome = outcome(seed);
        assert!(outcome.is_ok(), "seed {seed}, which once found: {found}: {}", outcome.unwrap_err());
    }
    if let Some((seed, violation)) = first_failure(number("SWITCHYARD_SEEDS").unwrap_or(SEEDS)) {
        panic!(
            "seed {seed}: {violation}\nreplay it: SWITCHYARD_SEED={seed} cargo test --lib simulation -- --nocapture"
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let hashes = || (0..20).map(|seed| Simulation::new(seed, false).run()).collect::<Vec<_>>();
    let first = hashes();
    assert_eq!(first, hashes());
    assert_ne!(first[0], first[1], "another seed gives another trace");
}
