//! Who reports outcomes, and up to which number each has been heard: so that what is sent again counts once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as Turn, Semaphore};

use super::desk::Desk;
use crate::journal::Journal;
use crate::lifecycle::{Call, Reply};
use crate::model::{CallOutcome, Disposition, Refusal, Report, ReportedOutcome};
use crate::telemetry::Circuits;

/// How many reporters are remembered. Of more, those who have been silent for the longest are forgotten: what such a one sends again
/// then would count twice, if the circuit's epoch is still that of its call.
const KEPT: usize = 10_000;

/// How many reports are under way at once, callers who have gone away since included. Each has up to a thousand outcomes.
const UNDER_WAY: usize = 256;

/// Every reporter that is remembered.
#[derive(Debug)]
pub(super) struct Reporters {
    known: Mutex<Known>,
    room: Arc<Semaphore>,
}

impl Default for Reporters {
    fn default() -> Self {
        Self { known: Mutex::default(), room: Arc::new(Semaphore::new(UNDER_WAY)) }
    }
}

#[derive(Debug, Default)]
struct Known {
    reporters: HashMap<String, Reporter>,
    /// Counts the reports, so that it is known who was heard last.
    clock: u64,
}

#[derive(Debug)]
struct Reporter {
    /// The number of its last outcome that counted. Held while a report is under way: a reporter's reports take turns.
    heard: Arc<Turn<u64>>,
    last: u64,
}

impl Reporters {
    /// Takes a report in, and says what has become of each outcome. Once there is room for it, it goes on though nobody waits for it any
    /// more, or nobody would know whether it has counted.
    pub(super) async fn report(
        self: &Arc<Self>,
        report: Report,
        desk: Desk,
        journal: Journal,
        metrics: Circuits,
    ) -> Result<Vec<Disposition>, Refusal> {
        let heard = self.heard(&report.reporter);
        // What goes on without a caller must be bounded. Those who wait here are as many as callers are, and have counted nothing.
        let room = Arc::clone(&self.room).acquire_owned().await;
        let counted = tokio::spawn(async move {
            let _room = room;
            let mut heard = heard.lock().await;
            let (told, last) = sort(report.outcomes, *heard, &journal);
            let fresh: Vec<CallOutcome> = told.iter().filter_map(|told| told.err()).collect();
            let mut fresh = match fresh.is_empty() {
                true => Vec::new(),
                false => match desk.call(Call::Report(fresh)).await? {
                    Reply::Dispositions(dispositions) => dispositions,
                    _ => return Err(Refusal::ServerDraining),
                },
            }
            .into_iter();
            *heard = last;
            let told = told.into_iter().map(|told| told.unwrap_or_else(|_| fresh.next().unwrap_or(Disposition::Stale)));
            let told: Vec<Disposition> = told.collect();
            metrics.reported(&told);
            Ok(told)
        });
        // It ends otherwise only with the process.
        counted.await.unwrap_or(Err(Refusal::ServerDraining))
    }

    fn heard(&self, reporter: &str) -> Arc<Turn<u64>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.clock += 1;
        let now = known.clock;
        if let Some(reporter) = known.reporters.get_mut(reporter) {
            reporter.last = now;
            return Arc::clone(&reporter.heard);
        }
        if known.reporters.len() >= KEPT {
            known.forget();
        }
        let heard = Arc::default();
        known.reporters.insert(reporter.to_owned(), Reporter { heard: Arc::clone(&heard), last: now });
        heard
    }
}

impl Known {
    /// Forgets the tenth of them that has been silent for the longest: so that not every new one costs a look at all.
    fn forget(&mut self) {
        let mut last: Vec<u64> = self.reporters.values().map(|reporter| reporter.last).collect();
        let (_, oldest, _) = last.select_nth_unstable(KEPT / 10);
        let oldest = *oldest;
        self.reporters.retain(|_, reporter| reporter.last > oldest);
    }
}

/// What can be said of each outcome at once, or else what is to be asked of its circuit; and the number that has been heard then.
fn sort(outcomes: Vec<ReportedOutcome>, heard: u64, journal: &Journal) -> (Vec<Result<Disposition, CallOutcome>>, u64) {
    let (view, mut last) = (journal.view(), heard);
    let told = outcomes.into_iter().map(|ReportedOutcome { name, sequence, outcome }| {
        if sequence <= last {
            return Ok(Disposition::Duplicate);
        }
        last = sequence;
        match view.get(&name) {
            Some(task) if task.uid == outcome.uid => Err(outcome),
            // It is gone, or another one has its name.
            _ => Ok(Disposition::Stale),
        }
    });
    let told = told.collect();
    (told, last)
}

#[cfg(test)]
mod tests;
