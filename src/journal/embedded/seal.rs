//! A seal on every row: a checksum of its table's name, its key and its value. It is stored behind the value, and looked at whenever
//! the row is read. redb has checksums of its pages, but does not look at them as it reads: a bit that has flipped would be served.

use std::fmt::Debug;

use crc32fast::Hasher;
use prost::Message;

use super::error::Fault;

/// How long a seal is. CRC-32 finds each flip of up to three bits in a row of up to 10 KB, each burst of up to 32, and all but one in
/// 2³² of what else there is.
pub(super) const SEAL_BYTES: usize = size_of::<u32>();

/// What a row is found by.
pub(super) trait Place: Copy + Debug {
    /// Adds it to a checksum.
    fn feed(self, sum: &mut Hasher);
}

impl Place for &str {
    fn feed(self, sum: &mut Hasher) {
        sum.update(self.as_bytes());
    }
}

impl Place for u64 {
    fn feed(self, sum: &mut Hasher) {
        sum.update(&self.to_le_bytes());
    }
}

impl Place for (u64, u64) {
    fn feed(self, sum: &mut Hasher) {
        self.0.feed(sum);
        self.1.feed(sum);
    }
}

impl Place for (u64, u64, u64) {
    fn feed(self, sum: &mut Hasher) {
        (self.0, self.1).feed(sum);
        self.2.feed(sum);
    }
}

fn seal(table: &str, key: impl Place, value: &[u8]) -> u32 {
    let mut sum = Hasher::new();
    sum.update(table.as_bytes());
    key.feed(&mut sum);
    sum.update(value);
    sum.finalize()
}

/// A value that is encoded, with its seal.
pub(super) fn sealed(table: &str, key: impl Place, value: &impl Message) -> Result<Vec<u8>, Fault> {
    let mut row = Vec::new();
    encode(value, &mut row)?;
    close(table, key, &mut row);
    Ok(row)
}

/// Leaves room for the seal, so that it costs no second allocation.
pub(super) fn encode(value: &impl Message, row: &mut Vec<u8>) -> Result<(), Fault> {
    row.reserve(value.encoded_len() + SEAL_BYTES);
    value.encode(row).map_err(|error| Fault::Refused(error.to_string()))
}

/// Adds its seal to a value.
pub(super) fn close(table: &str, key: impl Place, value: &mut Vec<u8>) -> u32 {
    let seal = seal(table, key, value);
    value.extend(seal.to_le_bytes());
    seal
}

/// The value of a row, and its seal.
pub(super) fn open<'a>(table: &str, key: impl Place, row: &'a [u8]) -> Result<(&'a [u8], u32), Fault> {
    let parts = row.split_last_chunk().map(|(value, found)| (value, u32::from_le_bytes(*found)));
    match parts {
        Some((value, found)) if found == seal(table, key, value) => Ok((value, found)),
        _ => Err(Fault::damaged("", "its checksum is not that of what it holds").at(table, key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_of_one_value_at_one_key_of_one_table() {
        let row = sealed("tasks", (7, 1), &"a value".to_owned()).expect("encoded");
        let (value, _) = open("tasks", (7, 1), &row).expect("sound");
        assert_eq!(String::decode(value).expect("decodes"), "a value");
        assert!(open("specs", (7, 1), &row).is_err() && open("tasks", (7, 2), &row).is_err());
        assert!(open("tasks", (7, 1), &row[1..]).is_err() && open("tasks", (7, 1), &[]).is_err());
        for bit in 0..row.len() * 8 {
            let mut flipped = row.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let told = open("tasks", (7, 1), &flipped).expect_err("flipped").to_string();
            assert_eq!(told, "table tasks, key (7, 1): its checksum is not that of what it holds");
        }
    }
}
