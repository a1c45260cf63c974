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

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: Uuid = Uuid::from_u128(0x00c0_ffee);

    fn parse_within(text: &str, oldest: u64, head: u64) -> Result<u64, CursorError> {
        let bounds = Bounds { oldest: Sequence::new(oldest), head: Sequence::new(head) };
        parse(text, STORE, bounds).map(Sequence::get)
    }

    #[test]
    fn cursors_come_back_as_they_went() {
        for number in [0, 1, 9, 10, 4_294_967_296, u64::MAX] {
            let text = render(STORE, Sequence::new(number));
            assert_eq!(parse_within(&text, 0, u64::MAX), Ok(number), "{text}");
            assert!(text.len() <= 256 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{text}");
        }
    }

    #[test]
    fn what_is_not_kept_has_expired() {
        let at = |number| render(STORE, Sequence::new(number));
        assert_eq!(parse_within(&at(4), 5, 9), Err(CursorError::Expired));
        assert_eq!(parse_within(&at(5), 5, 9), Ok(5));
        assert_eq!(parse_within(&at(9), 5, 9), Ok(9));
        assert_eq!(parse_within(&at(10), 5, 9), Err(CursorError::Expired));
        let foreign = render(Uuid::from_u128(1), Sequence::new(7));
        assert_eq!(parse_within(&foreign, 5, 9), Err(CursorError::Expired));
    }

    #[test]
    fn a_cursor_has_one_form() {
        let good = render(STORE, Sequence::new(7));
        let store = STORE.simple().to_string();
        let mut bad: Vec<String> = ["", "1", "1-", "-", "1--", "1--7", "7", "ä", "1-ä-7", "\0", "1-\u{202e}-7"]
            .map(str::to_owned)
            .into_iter()
            .chain((0..good.len()).map(|end| good[..end].to_owned()))
            .collect();
        bad.extend([
            good.to_uppercase(),
            format!(" {good}"),
            format!("{good}\n"),
            format!("{good}-7"),
            format!("2{}", &good[1..]),
            format!("1-{STORE}-7"),
            format!("1-{{{STORE}}}-7"),
            format!("1-urn:uuid:{STORE}-7"),
            format!("1-{store}-07"),
            format!("1-{store}-+7"),
            format!("1-{store}--7"),
            format!("1-{store}-0x7"),
            format!("1-{store}-٧"),
            format!("1-{store}-18446744073709551616"),
            format!("1-{store}-{}", "9".repeat(1_000)),
            "1".repeat(1_000_000),
        ]);
        for text in bad {
            assert_eq!(parse_within(&text, 0, u64::MAX), Err(CursorError::Malformed), "{text:.80}");
        }
    }
}
