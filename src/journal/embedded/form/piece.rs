//! Pieces of the log: what is written, read and dropped as a whole.

use bytes::Bytes;
use prost::Message;

use super::fields::Fields;
use super::{EventForm, Read, Unreadable};

/// redb gives a row that does not fit into a page of 4 KiB a run of pages that is the next power of two: a piece that fills just
/// under 16 KiB wastes none of it, and is read and dropped at once. The page's own header, the key and this row's offset take 16
/// bytes of it, and the seal 4.
const ROW_BYTES: usize = 16 * 1024 - 16 - 4;
/// A piece's own fields, at their longest.
const HEADER_BYTES: usize = 11 + 9;
/// More events than most pieces have.
const USUAL: usize = 128;

/// Events without gaps.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::journal::embedded) struct PieceForm {
    /// The first one's sequence.
    #[prost(uint64, tag = "1")]
    pub(in crate::journal::embedded) first: u64,
    /// The newest one's time: a clock may have been set back between them.
    #[prost(fixed64, tag = "2")]
    pub(in crate::journal::embedded) newest: u64,
    /// Each an [`EventForm`].
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub(in crate::journal::embedded) events: Vec<Bytes>,
}

/// What a piece says of itself, without its events.
#[derive(Clone, PartialEq, prost::Message)]
struct PieceHead {
    #[prost(uint64, tag = "1")]
    first: u64,
    #[prost(fixed64, tag = "2")]
    newest: u64,
}

/// A piece as it is read: its events, each an [`EventForm`], are where they are stored.
pub(in crate::journal::embedded) struct Piece<'a> {
    pub(in crate::journal::embedded) first: u64,
    pub(in crate::journal::embedded) events: Vec<&'a [u8]>,
}

impl<'a> Piece<'a> {
    /// The piece whose last event is at `last`.
    pub(in crate::journal::embedded) fn read(bytes: &'a [u8], last: u64) -> Read<Self> {
        let mut piece = Self { first: 0, events: Vec::with_capacity(USUAL) };
        let mut fields = Fields::of(bytes);
        while let Some((tag, value)) = fields.next()? {
            match tag {
                1 => piece.first = value.varint()?,
                3 => piece.events.push(value.bytes()?),
                _ => {}
            }
        }
        check_length(piece.first, piece.events.len(), last)?;
        Ok(piece)
    }
}

fn check_length(first: u64, events: usize, last: u64) -> Read<()> {
    let end = first.checked_add(events as u64);
    if events == 0 || end != last.checked_add(1) {
        return Err(Unreadable::invalid("length", format!("it has {events} events from {first} on")));
    }
    Ok(())
}

/// A piece that is ready to be written.
pub(in crate::journal::embedded) struct Whole {
    /// The last event's sequence: its key.
    pub(in crate::journal::embedded) last: u64,
    pub(in crate::journal::embedded) piece: PieceForm,
}

impl PieceForm {
    /// The piece whose last event is at `last`.
    pub(in crate::journal::embedded) fn read(bytes: &[u8], last: u64) -> Read<Self> {
        let piece = Self::decode(Bytes::copy_from_slice(bytes))?;
        check_length(piece.first, piece.events.len(), last)?;
        Ok(piece)
    }

    /// The first sequence and the newest time of a piece.
    pub(in crate::journal::embedded) fn head(bytes: &[u8]) -> Read<(u64, u64)> {
        let PieceHead { first, newest } = PieceHead::decode(bytes)?;
        Ok((first, newest))
    }
}

/// Cuts a group into pieces.
pub(in crate::journal::embedded) struct Pieces {
    open: PieceForm,
    bytes: usize,
    whole: Vec<Whole>,
}

impl Pieces {
    /// Pieces whose first event is at `first`.
    pub(in crate::journal::embedded) fn new(first: u64) -> Self {
        Self { open: PieceForm { first, newest: 0, events: Vec::new() }, bytes: HEADER_BYTES, whole: Vec::new() }
    }

    /// Adds the next event.
    pub(in crate::journal::embedded) fn push(&mut self, event: &EventForm, time: u64) {
        let event = Bytes::from(event.encode_to_vec());
        let bytes = 1 + prost::length_delimiter_len(event.len()) + event.len();
        if self.bytes + bytes > ROW_BYTES {
            self.cut();
        }
        self.bytes += bytes;
        self.open.newest = self.open.newest.max(time);
        self.open.events.push(event);
    }

    /// All pieces, in order.
    pub(in crate::journal::embedded) fn finish(mut self) -> Vec<Whole> {
        self.cut();
        self.whole
    }

    fn cut(&mut self) {
        let next = self.open.first + self.open.events.len() as u64;
        let piece = std::mem::replace(&mut self.open, PieceForm { first: next, newest: 0, events: Vec::new() });
        if !piece.events.is_empty() {
            self.whole.push(Whole { last: next - 1, piece });
        }
        self.bytes = HEADER_BYTES;
    }
}
