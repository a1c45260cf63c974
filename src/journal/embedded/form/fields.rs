//! The fields of a stored message, one after the other and borrowed: for whoever needs few of them, a million times.

use std::str::from_utf8;

use super::Unreadable;

/// A field's value.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    /// Text, bytes, or a message.
    Bytes(&'a [u8]),
    /// What no form has: a later one may.
    Fixed32,
}

/// Why there are no such fields. A byte, so that results of it are cheap; whoever tells of it says more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    CutShort,
    WireType,
    Text,
}

/// What is left of a message.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) const fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// The next field's tag and value; `None` at the end.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, Broken> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                let (fixed, rest) = self.0.split_first_chunk().ok_or(Broken::CutShort)?;
                self.0 = rest;
                Value::Fixed64(u64::from_le_bytes(*fixed))
            }
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Broken::CutShort)?;
                let (bytes, rest) = self.0.split_at_checked(length).ok_or(Broken::CutShort)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            5 => {
                self.0 = self.0.get(4..).ok_or(Broken::CutShort)?;
                Value::Fixed32
            }
            _ => return Err(Broken::WireType),
        };
        Ok(Some((key >> 3, value)))
    }

    #[inline(always)]
    fn varint(&mut self) -> Result<u64, Broken> {
        match self.0 {
            [byte @ ..0x80, rest @ ..] => {
                self.0 = rest;
                Ok((*byte).into())
            }
            // The key of every tag from 16 on.
            [low, high @ ..0x80, rest @ ..] => {
                self.0 = rest;
                Ok(u64::from(*low & 0x7f) | u64::from(*high) << 7)
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Broken> {
        let mut number = 0;
        for (index, byte) in self.0.iter().enumerate().take(10) {
            number |= u64::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                self.0 = &self.0[index + 1..];
                return Ok(number);
            }
        }
        Err(Broken::CutShort)
    }
}

impl<'a> Value<'a> {
    #[inline]
    pub(super) fn varint(self) -> Result<u64, Broken> {
        if let Self::Varint(number) = self { Ok(number) } else { Err(Broken::WireType) }
    }

    /// As protobuf has it: what does not fit is cut.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "that is how protobuf reads it")]
    pub(super) fn varint32(self) -> Result<u32, Broken> {
        self.varint().map(|number| number as u32)
    }

    #[inline]
    pub(super) fn fixed64(self) -> Result<u64, Broken> {
        if let Self::Fixed64(number) = self { Ok(number) } else { Err(Broken::WireType) }
    }

    #[inline]
    pub(super) fn bytes(self) -> Result<&'a [u8], Broken> {
        if let Self::Bytes(bytes) = self { Ok(bytes) } else { Err(Broken::WireType) }
    }

    #[inline]
    pub(super) fn text(self) -> Result<&'a str, Broken> {
        from_utf8(self.bytes()?).map_err(|_| Broken::Text)
    }
}

impl From<Broken> for Unreadable {
    fn from(broken: Broken) -> Self {
        let problem = match broken {
            Broken::CutShort => "it is cut short",
            Broken::WireType => "a field is of another wire type",
            Broken::Text => "a text is not UTF-8",
        };
        Self::invalid("encoding", problem)
    }
}
