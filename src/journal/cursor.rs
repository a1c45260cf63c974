//! A client's place in the stream, as text.

use thiserror::Error;
use uuid::Uuid;

use super::Bounds;
use crate::model::Sequence;

/// The form; a cursor of another one is malformed.
const VERSION: &str = "1";

/// Why a cursor was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CursorError {
    /// It was never one of ours.
    #[error("this is not a cursor")]
    Malformed,
    /// What follows it is no longer kept here, or never was: it is trimmed, of another store, or ahead of the head.
    #[error("the events after this cursor are not here")]
    Expired,
}

/// Renders the place `sequence` of a store.
pub(super) fn render(store_id: Uuid, sequence: Sequence) -> String {
    format!("{VERSION}-{}-{sequence}", store_id.simple())
}

/// Reads what [`render`] wrote.
pub(super) fn parse(text: &str, store_id: Uuid, bounds: Bounds) -> Result<Sequence, CursorError> {
    let (store, sequence) = decode(text).ok_or(CursorError::Malformed)?;
    if store == store_id && (bounds.oldest..=bounds.head).contains(&sequence) {
        Ok(sequence)
    } else {
        Err(CursorError::Expired)
    }
}

fn decode(text: &str) -> Option<(Uuid, Sequence)> {
    let (store, sequence) = text.strip_prefix(VERSION)?.strip_prefix('-')?.split_once('-')?;
    let (store, sequence) = (Uuid::try_parse(store).ok()?, Sequence::new(sequence.parse().ok()?));
    // The parsers are lenient (signs, zeros, capitals, braces); a cursor has one form.
    (render(store, sequence) == text).then_some((store, sequence))
}
