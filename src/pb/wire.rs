//! Messages, written to the wire without being built first: for what is sent millions of times. Each function leaves out what proto3
//! leaves out, so that the bytes are those of the message.

/// Of what is behind a tag, as the wire has it.
const VARINT: u32 = 0;
const LENGTH_DELIMITED: u32 = 2;
/// The longest varint.
const LONGEST: usize = 10;

#[inline]
pub(super) fn put_varint(bytes: &mut Vec<u8>, value: u64) {
    match u8::try_from(value) {
        Ok(byte @ ..0x80) => bytes.push(byte),
        _ => put_long_varint(bytes, value),
    }
}

fn put_long_varint(bytes: &mut Vec<u8>, mut value: u64) {
    let (mut varint, mut length) = ([0_u8; LONGEST], 1);
    for byte in &mut varint {
        *byte = value.to_le_bytes()[0] | 0x80;
        value >>= 7;
        if value == 0 {
            *byte &= 0x7f;
            break;
        }
        length += 1;
    }
    bytes.extend_from_slice(&varint[..length]);
}

#[inline]
fn put_key(bytes: &mut Vec<u8>, tag: u32, kind: u32) {
    put_varint(bytes, u64::from(tag << 3 | kind));
}

/// A number, if it is not 0.
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

/// A text in parts, if it is not empty.
pub(super) fn put_text(bytes: &mut Vec<u8>, tag: u32, parts: &[&str]) {
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
    let mut length = bytes.len() - start - GUESS;
    if prost::length_delimiter_len(length) == GUESS {
        for byte in &mut bytes[start..start + GUESS] {
            *byte = length.to_le_bytes()[0] | 0x80;
            length >>= 7;
        }
        bytes[start + GUESS - 1] &= 0x7f;
    } else {
        let mut varint = Vec::with_capacity(LONGEST);
        put_varint(&mut varint, length as u64);
        drop(bytes.splice(start..start + GUESS, varint));
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn what_is_written_is_what_prost_writes() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let (mut bytes, mut expected) = (Vec::new(), Vec::new());
            put_varint(&mut bytes, value);
            prost::encoding::encode_varint(value, &mut expected);
            assert_eq!(bytes, expected, "{value}");
            bytes.clear();
            put_number(&mut bytes, 1, value);
            assert_eq!(bytes, value.encode_to_vec(), "{value}");
        }
        // Around each change of the length's own length.
        for length in [0, 1, 126, 127, 128, 129, 16_383, 16_384] {
            let text = "x".repeat(length);
            let (mut parts, mut one, mut two, mut expected) = (vec![7], vec![7], vec![7], vec![7]);
            put_text(&mut parts, 20, &["", &text[..length / 2], &text[length / 2..]]);
            put_message::<1>(&mut one, 20, |bytes| bytes.extend_from_slice(text.as_bytes()));
            put_message::<2>(&mut two, 20, |bytes| bytes.extend_from_slice(text.as_bytes()));
            prost::encoding::string::encode(20, &text, &mut expected);
            assert_eq!((&one, &two), (&expected, &expected), "{length}");
            assert_eq!(parts, if length == 0 { vec![7] } else { expected }, "{length}");
        }
    }
}
