//! Messages, written to the wire without being built first: for what is sent millions of times. Each function leaves out what proto3
//! leaves out, so that the bytes are those of the message.

/// Of what is behind a tag, as the wire has it.
const VARINT: u32 = 0;
const LENGTH_DELIMITED: u32 = 2;
/// The longest varint.
const LONGEST: usize = 10;
/// What a varint of eight bytes cannot say any more.
const SPREAD: u64 = 1 << 56;

#[inline]
pub(super) fn put_varint(bytes: &mut Vec<u8>, value: u64) {
    match u8::try_from(value) {
        Ok(byte @ ..0x80) => bytes.push(byte),
        _ if value < SPREAD => {
            let (word, length) = spread(value);
            put_start(bytes, word, length);
        }
        _ => prost::encoding::encode_varint(value, bytes),
    }
}

/// The varint of a number below [`SPREAD`], in the low bytes of a word, and how many these are: groups of 7 bits, moved apart.
#[inline]
const fn spread(value: u64) -> (u64, usize) {
    let length = ((70 - (value | 1).leading_zeros()) / 7) as usize;
    let word = value & 0x0000_0000_0fff_ffff | (value & 0x00ff_ffff_f000_0000) << 4;
    let word = word & 0x0000_3fff_0000_3fff | (word & 0x0fff_c000_0fff_c000) << 2;
    let word = word & 0x007f_007f_007f_007f | (word & 0x3f80_3f80_3f80_3f80) << 1;
    let not_last = 0x8080_8080_8080_8080 & ((1 << (8 * (length - 1))) - 1);
    (word | not_last, length)
}

/// The low bytes of a word. All are put at first: that is one store, where a copy of any length is a call.
#[inline]
fn put_start(bytes: &mut Vec<u8>, word: u64, length: usize) {
    let end = bytes.len() + length;
    bytes.extend_from_slice(&word.to_le_bytes());
    bytes.truncate(end);
}

#[inline]
fn put_key(bytes: &mut Vec<u8>, tag: u32, kind: u32) {
    put_varint(bytes, u64::from(tag << 3 | kind));
}

/// A number, if it is not 0.
#[inline]
pub(super) fn put_number(bytes: &mut Vec<u8>, tag: u32, value: u64) {
    if value != 0 {
        put_key(bytes, tag, VARINT);
        put_varint(bytes, value);
    }
}

/// The value of an enumeration, if it is not 0; ours are never negative.
pub(super) fn put_word(bytes: &mut Vec<u8>, tag: u32, value: impl Into<i32>) {
    put_number(bytes, tag, u64::from(value.into().cast_unsigned()));
}

/// A message of two numbers, the tags of which are 1 and 2: as a time is.
pub(super) fn put_pair(bytes: &mut Vec<u8>, tag: u32, first: u64, second: u64) {
    put_message::<1>(bytes, tag, |bytes| {
        put_number(bytes, 1, first);
        put_number(bytes, 2, second);
    });
}

/// A text in parts, if it is not empty. Inlined, so that a part that is always the same is no call.
#[inline]
pub(super) fn put_text<const PARTS: usize>(bytes: &mut Vec<u8>, tag: u32, parts: [&str; PARTS]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    if length > 0 {
        put_key(bytes, tag, LENGTH_DELIMITED);
        put_varint(bytes, length as u64);
        parts.iter().for_each(|part| bytes.extend_from_slice(part.as_bytes()));
    }
}

/// A message, or what else has its length before it, which is written first: `GUESS` bytes is what its length will mostly take.
pub(super) fn put_message<const GUESS: usize>(bytes: &mut Vec<u8>, tag: u32, write: impl FnOnce(&mut Vec<u8>)) {
    put_key(bytes, tag, LENGTH_DELIMITED);
    let start = bytes.len();
    bytes.extend_from_slice(&[0; GUESS]);
    write(bytes);
    let length = (bytes.len() - start - GUESS) as u64;
    let (varint, taken) = spread(length);
    if taken == GUESS {
        bytes[start..start + GUESS].copy_from_slice(&varint.to_le_bytes()[..GUESS]);
    } else {
        let mut varint = Vec::with_capacity(LONGEST);
        put_varint(&mut varint, length);
        drop(bytes.splice(start..start + GUESS, varint));
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[derive(Clone, PartialEq, Message)]
    struct Pair {
        #[prost(uint64, tag = "1")]
        first: u64,
        #[prost(uint64, tag = "2")]
        second: u64,
    }

    #[test]
    fn what_is_written_is_what_prost_writes() {
        let changes = (0..64).step_by(7).flat_map(|bits| [(1_u64 << bits) - 1, 1 << bits, (1 << bits) + 1]);
        for value in changes.chain([u64::from(u32::MAX), 0x0012_3456_789a_bcde, u64::MAX]) {
            let (mut bytes, mut expected) = (Vec::new(), Vec::new());
            put_varint(&mut bytes, value);
            prost::encoding::encode_varint(value, &mut expected);
            assert_eq!(bytes, expected, "{value}");
            bytes.clear();
            put_number(&mut bytes, 1, value);
            assert_eq!(bytes, value.encode_to_vec(), "{value}");
            for other in [0, 5, value] {
                let pair = Pair { first: value, second: other };
                let (mut bytes, mut expected) = (vec![7], vec![7]);
                put_pair(&mut bytes, 20, value, other);
                prost::encoding::message::encode(20, &pair, &mut expected);
                assert_eq!(bytes, expected, "{pair:?}");
            }
        }
        // Around each change of the length's own length.
        for length in [0, 1, 126, 127, 128, 129, 16_383, 16_384] {
            let text = "x".repeat(length);
            let (mut parts, mut one, mut two, mut expected) = (vec![7], vec![7], vec![7], vec![7]);
            put_text(&mut parts, 20, ["", &text[..length / 2], &text[length / 2..]]);
            put_message::<1>(&mut one, 20, |bytes| bytes.extend_from_slice(text.as_bytes()));
            put_message::<2>(&mut two, 20, |bytes| bytes.extend_from_slice(text.as_bytes()));
            prost::encoding::string::encode(20, &text, &mut expected);
            assert_eq!((&one, &two), (&expected, &expected), "{length}");
            assert_eq!(parts, if length == 0 { vec![7] } else { expected }, "{length}");
        }
    }
}
