//! Retention: what is dropped, and in how small steps.

use std::time::Duration;

use redb::WriteTransaction;

use super::Retention;
use super::error::{Fault, gap};
use super::first::First;
use super::form::{Counters, Tally};
use super::group::Written;
use super::rows::{RawTable, Rows};
use super::tables::{DYING, EVENTS, REQUESTS, SPECS, dying_bytes, log_bytes};
use crate::model::Timestamp;

/// How long a request is remembered, and how many are (lifecycle.md §6).
pub(super) const REQUEST_AGE: Duration = Duration::from_secs(86_400);
const REQUESTS_MOST: u64 = 200_000;
/// Of retention by count, where the operator says nothing.
const EVENTS_LEAST: u64 = 1_000_000;
const EVENTS_FOR_EACH_TASK: u64 = 20;

/// The old ends of what grows at the new one: what is trimmed next.
#[derive(Clone, Debug)]
pub(super) struct Ends {
    piece: Option<First>,
    request: Option<First>,
    /// The number of the next request.
    pub(super) next_request: u64,
    /// A spec may be due: the log's end has moved, and there was no time to look.
    specs_due: bool,
}

impl Ends {
    pub(super) fn of(
        events: &Rows<u64, impl RawTable<u64>>,
        requests: &Rows<u64, impl RawTable<u64>>,
        now: Timestamp,
    ) -> Result<Self, Fault> {
        let next_request = requests.last()?.map_or(0, |(number, _)| number + 1);
        let (piece, request) = (First::piece(events, now, None)?, First::request(requests, now, None)?);
        Ok(Self { piece, request, next_request, specs_due: true })
    }

    /// A cheap look at whether the log is what the counters say.
    pub(super) fn check(&self, counters: &Counters, events: &Rows<u64, impl RawTable<u64>>) -> Result<(), Fault> {
        let last = events.last()?.map_or(counters.oldest, |(last, _)| last);
        // One that is damaged is for retention to drop.
        let first = self.piece.map_or(counters.head + 1, |piece| piece.first.unwrap_or(counters.oldest + 1));
        if (first, last) == (counters.oldest + 1, counters.head) {
            return Ok(());
        }
        let Counters { oldest, head, .. } = counters;
        let problem = format!("the log has {first} to {last}, where it should have what follows {oldest}, to {head}");
        Err(Fault::damaged("", problem).at(EVENTS.name(), last))
    }
}

impl Written {
    /// Whether there is something to trim.
    pub(super) fn is_due(&self, retention: &Retention) -> bool {
        let now = self.clock.now();
        self.piece_is_due(retention, now) || self.ends.request_is_due(now) || self.ends.specs_due
    }

    fn piece_is_due(&self, retention: &Retention, now: Timestamp) -> bool {
        let Some(piece) = self.ends.piece else { return false };
        let Counters { oldest, head, log_bytes, dying_bytes, .. } = self.counters;
        // Where it ends that is damaged nobody knows for certain; but nobody can read it, so it may go early.
        let last = piece.first.map_or(oldest + 1, |_| piece.key);
        let by_tasks = EVENTS_FOR_EACH_TASK.saturating_mul(self.index.len() as u64);
        let events = retention.events.unwrap_or_else(|| EVENTS_LEAST.max(by_tasks));
        // A piece goes as a whole, so when nothing of it is to be kept; and the last one stays, however large.
        head.saturating_sub(last) >= events
            || log_bytes.saturating_add(dying_bytes) > retention.bytes && last < head
            || now.since(piece.time) > retention.age
    }

    /// Drops what exceeds retention, in at most `budget` steps.
    pub(super) fn trim(
        &mut self,
        transaction: &WriteTransaction,
        retention: &Retention,
        budget: usize,
    ) -> Result<(), Fault> {
        let now = self.clock.now();
        self.trim_events(transaction, retention, now, budget)?;
        if self.ends.specs_due {
            self.trim_specs(transaction, budget)?;
        }
        self.ends.trim_requests(transaction, &mut self.counters.requests, now, budget)
    }

    fn trim_events(
        &mut self,
        transaction: &WriteTransaction,
        retention: &Retention,
        now: Timestamp,
        budget: usize,
    ) -> Result<(), Fault> {
        let mut events = EVENTS.write(transaction, self.counters.events)?;
        if self.ends.piece.is_none_or(|piece| piece.time > now) {
            self.ends.piece = First::piece(&events, now, None)?;
        }
        for _ in 0..budget {
            let Some(piece) = self.ends.piece.filter(|_| self.piece_is_due(retention, now)) else { break };
            let gone = events.remove_first()?;
            let bytes = gone.ok_or_else(|| Fault::damaged("", "it is missing").at(EVENTS.name(), piece.key))?;
            self.counters.log_bytes = match self.counters.log_bytes.checked_sub(bytes) {
                Some(left) => left,
                None => recounted("the log's bytes", log_bytes(&events)?),
            };
            let next = First::piece(&events, now, Some(piece))?;
            self.counters.oldest = self.oldest_after(piece, next)?;
            self.ends.piece = next;
            // At once, for what they take may be what the next piece would have to go for.
            self.trim_specs(transaction, budget)?;
        }
        if events.is_unsure() {
            self.counters.log_bytes = log_bytes(&events)?;
        }
        self.counters.events = events.tally()?;
        Ok(())
    }

    /// What is dropped last, once `gone` is and the log begins with `next`.
    fn oldest_after(&self, gone: First, next: Option<First>) -> Result<u64, Fault> {
        let Counters { oldest, head, .. } = self.counters;
        match (gone.first, next.map(|next| (next.key, next.first))) {
            (Some(_), Some((key, Some(first)))) if first != gone.key + 1 => {
                Err(gap(gone.key, first).at(EVENTS.name(), key))
            }
            (Some(_), _) => Ok(gone.key),
            // What was damaged went up to what follows it.
            (None, None) => Ok(head),
            (None, Some((_, Some(first)))) if first > oldest => Ok(first - 1),
            (None, Some((key, Some(first)))) => Err(gap(oldest, first).at(EVENTS.name(), key)),
            (None, Some((_, None))) => Ok(oldest),
        }
    }

    /// Drops the specs that nothing refers to any more, now that the log begins where it does.
    fn trim_specs(&mut self, transaction: &WriteTransaction, budget: usize) -> Result<(), Fault> {
        let mut dying = DYING.write(transaction, self.counters.dying)?;
        let due: Vec<_> = dying
            .range(..=(self.counters.oldest + 1, u64::MAX, u64::MAX))?
            .unopened()
            .take(budget)
            .map(|row| row.map(|(key, row)| (key, row.open(key).is_ok())))
            .collect::<Result<_, _>>()?;
        self.ends.specs_due = due.len() == budget;
        if due.is_empty() {
            return Ok(());
        }
        let mut specs = SPECS.write(transaction, self.counters.specs)?;
        let mut bytes = 0;
        for ((from, born, generation), is_sound) in due {
            dying.remove((from, born, generation))?;
            if is_sound {
                bytes += specs.remove((born, generation))?.unwrap_or(0);
            } else if !self.index.keeps(born, generation) && specs.unopened((born, generation))?.is_some() {
                // It is the key that may be wrong: nothing refers to the spec once all events that there are now have gone.
                dying.put((self.counters.head + 1, born, generation), &())?;
            }
        }
        let is_unsure = dying.is_unsure() || specs.is_unsure();
        self.counters.dying_bytes = match self.counters.dying_bytes.checked_sub(bytes) {
            Some(left) if !is_unsure => left,
            _ => recounted("the bytes of specs", dying_bytes(&dying, &specs)?),
        };
        (self.counters.dying, self.counters.specs) = (dying.tally()?, specs.tally()?);
        Ok(())
    }
}

/// A count that cannot be right is only that: nothing else depends on it.
fn recounted(what: &str, count: u64) -> u64 {
    tracing::warn!(count, "{what} were miscounted, and have been counted anew");
    count
}

impl Ends {
    fn request_is_due(&self, now: Timestamp) -> bool {
        self.request.is_some_and(|request| {
            self.next_request.saturating_sub(request.key) > REQUESTS_MOST || now.since(request.time) > REQUEST_AGE
        })
    }

    fn trim_requests(
        &mut self,
        transaction: &WriteTransaction,
        tally: &mut Tally,
        now: Timestamp,
        budget: usize,
    ) -> Result<(), Fault> {
        if self.request.is_some_and(|request| request.time <= now) && !self.request_is_due(now) {
            return Ok(());
        }
        let mut requests = REQUESTS.write(transaction, *tally)?;
        self.request = First::request(&requests, now, None)?;
        for _ in 0..budget {
            let Some(request) = self.request.filter(|_| self.request_is_due(now)) else { break };
            let gone = requests.remove_first()?;
            gone.ok_or_else(|| Fault::damaged("", "it is missing").at(REQUESTS.name(), request.key))?;
            self.request = First::request(&requests, now, Some(request))?;
        }
        *tally = requests.tally()?;
        Ok(())
    }
}
