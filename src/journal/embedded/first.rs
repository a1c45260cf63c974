//! The first row of what is trimmed from its old end, and how old it is.

use prost::Message;

use super::error::Fault;
use super::form::{PieceForm, RequestForm};
use super::rows::{RawTable, Rows};
use super::tables::{EVENTS, REQUESTS};
use crate::model::Timestamp;

/// A row, by its number.
type Row<'a> = (u64, &'a [u8]);

/// The first piece of the log, or the first request.
#[derive(Clone, Copy, Debug)]
pub(super) struct First {
    pub(super) key: u64,
    /// The first event of a piece; a request's own number. `None`: it is damaged, and says nothing, nor need its key be right.
    pub(super) first: Option<u64>,
    /// How new it is at the most.
    pub(super) time: Timestamp,
    /// The row that says so: itself, or a later one.
    time_of: u64,
}

impl First {
    pub(super) fn piece(
        events: &Rows<u64, impl RawTable<u64>>,
        now: Timestamp,
        before: Option<Self>,
    ) -> Result<Option<Self>, Fault> {
        let read = |(last, piece): Row<'_>| {
            let (first, newest) =
                PieceForm::head(piece).map_err(|problem| Fault::from(problem).at(EVENTS.name(), last))?;
            Ok((first, Timestamp::from_nanos(newest)))
        };
        Self::of(events, now, before, read)
    }

    pub(super) fn request(
        requests: &Rows<u64, impl RawTable<u64>>,
        now: Timestamp,
        before: Option<Self>,
    ) -> Result<Option<Self>, Fault> {
        let read = |(number, request): Row<'_>| {
            let request = RequestForm::decode(request);
            let request = request.map_err(|problem| Fault::damaged("", problem).at(REQUESTS.name(), number))?;
            Ok((number, Timestamp::from_nanos(request.time)))
        };
        Self::of(requests, now, before, read)
    }

    /// A row whose time lies ahead is of a clock that did, and says nothing of its age; but what follows it was written later. So it is
    /// as old as the first one after it that does not lie ahead; `before`, which went just now, may know that one already. The same is
    /// so of one that is damaged, which says nothing at all.
    fn of(
        rows: &Rows<u64, impl RawTable<u64>>,
        now: Timestamp,
        before: Option<Self>,
        read: impl Fn(Row<'_>) -> Result<(u64, Timestamp), Fault>,
    ) -> Result<Option<Self>, Fault> {
        let Some((key, row)) = rows.first()? else { return Ok(None) };
        let of_itself = match row.open(key) {
            Ok(row) => {
                let (first, time) = read((key, row.value()))?;
                Self { key, first: Some(first), time, time_of: key }
            }
            Err(_) => Self { key, first: None, time: Timestamp::from_nanos(u64::MAX), time_of: key },
        };
        if of_itself.time <= now {
            return Ok(Some(of_itself));
        }
        if let Some(before) = before.filter(|before| before.time_of > key) {
            return Ok(Some(Self { time: before.time, time_of: before.time_of, ..of_itself }));
        }
        for later in rows.range(key.saturating_add(1)..)?.unopened() {
            let (time_of, row) = later?;
            let Ok(row) = row.open(time_of) else { continue };
            let (_, time) = read((time_of, row.value()))?;
            if time <= now {
                return Ok(Some(Self { time, time_of, ..of_itself }));
            }
        }
        Ok(Some(of_itself))
    }
}
