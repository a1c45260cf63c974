//! Specs, decoded: a few that are read again and again, so that a replay does not decode one for each event.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use prost::Message;

use super::error::Fault;
use super::form::{SpecForm, SpecKey, Unreadable};
use super::rows::{RawTable, Rows};
use super::tables::SPECS;
use crate::model::TaskSpec;

/// How many specs each half holds at the most.
const HALF_SPECS: usize = 8_192;
/// And how many bytes, encoded: a spec may have 64 KiB, of which a count alone would let pile up half a gigabyte.
const HALF_BYTES: usize = 16 << 20;

/// A spec, and what it takes.
#[derive(Clone)]
pub(super) struct ReadSpec {
    pub(super) spec: Arc<TaskSpec>,
    /// Encoded.
    bytes: usize,
}

/// A spec, from its table.
pub(super) fn read_spec(key: SpecKey, table: &Rows<(u64, u64), impl RawTable<(u64, u64)>>) -> Result<ReadSpec, Fault> {
    let SpecKey { born, generation } = key;
    let row = table.get((born, generation))?.ok_or(Unreadable::NoSpec { generation })?;
    let bytes = row.bytes();
    let form = SpecForm::decode(row.value()).map_err(Unreadable::from);
    let read = form.and_then(SpecForm::read).map_err(Fault::from);
    let spec = Arc::new(read.map_err(|fault| fault.at(SPECS.name(), (born, generation)))?);
    Ok(ReadSpec { spec, bytes })
}

/// The specs that were read last. Two halves: when the newer one is full it becomes the older one, so what is used stays.
#[derive(Default)]
pub(super) struct KnownSpecs {
    newer: Half,
    older: Half,
}

#[derive(Default)]
struct Half {
    specs: HashMap<SpecKey, ReadSpec>,
    bytes: usize,
}

impl KnownSpecs {
    /// The spec, if it is known; it then counts as read now.
    pub(super) fn get(&mut self, key: SpecKey) -> Option<Arc<TaskSpec>> {
        if let Some(known) = self.newer.specs.get(&key) {
            return Some(Arc::clone(&known.spec));
        }
        let known = self.older.remove(key)?;
        let spec = Arc::clone(&known.spec);
        self.put(key, known);
        Some(spec)
    }

    /// Takes note of a spec.
    pub(super) fn put(&mut self, key: SpecKey, read: ReadSpec) {
        // Two readers may have missed it at once.
        self.newer.remove(key);
        if self.newer.specs.len() >= HALF_SPECS || self.newer.bytes + read.bytes > HALF_BYTES {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.bytes += read.bytes;
        self.newer.specs.insert(key, read);
    }
}

impl Half {
    fn remove(&mut self, key: SpecKey) -> Option<ReadSpec> {
        let removed = self.specs.remove(&key)?;
        self.bytes -= removed.bytes;
        Some(removed)
    }
}

/// [`KnownSpecs`] that readers share.
#[derive(Default)]
pub(super) struct SpecCache(Mutex<KnownSpecs>);

impl SpecCache {
    pub(super) fn get(
        &self,
        key: SpecKey,
        table: &Rows<(u64, u64), impl RawTable<(u64, u64)>>,
    ) -> Result<Arc<TaskSpec>, Fault> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key);
        if let Some(spec) = known {
            return Ok(spec);
        }
        // Not under the lock: a slow disk is to hold up only those who need it.
        let read = read_spec(key, table)?;
        let spec = Arc::clone(&read.spec);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(key, read);
        Ok(spec)
    }
}

#[cfg(test)]
mod tests {
    use super::{HALF_BYTES, HALF_SPECS, KnownSpecs, ReadSpec};
    use crate::journal::embedded::form::SpecKey;
    use crate::journal::embedded::tests::spec;

    fn key(generation: usize) -> SpecKey {
        SpecKey { born: 1, generation: generation as u64 }
    }

    fn bytes(known: &KnownSpecs) -> usize {
        [&known.newer, &known.older].into_iter().flat_map(|half| half.specs.values()).map(|read| read.bytes).sum()
    }

    #[test]
    fn large_specs_are_held_up_to_so_many_bytes() {
        let mut known = KnownSpecs::default();
        let spec = spec("t1", 1);
        let large = 64 << 10;
        for generation in 0..2_000 {
            known.put(key(generation), ReadSpec { spec: spec.clone(), bytes: large });
            assert!(bytes(&known) <= 2 * HALF_BYTES, "{}", bytes(&known));
            assert_eq!(known.newer.bytes + known.older.bytes, bytes(&known));
            assert!(known.get(key(0)).is_some(), "what is used stays");
        }
        assert!(bytes(&known) > HALF_BYTES);
        assert!(known.get(key(1)).is_none());
    }

    #[test]
    fn small_specs_are_held_up_to_a_count() {
        let mut known = KnownSpecs::default();
        let spec = spec("t1", 1);
        for generation in 0..5 * HALF_SPECS {
            // Twice, as two readers that missed it at once.
            for _ in 0..2 {
                known.put(key(generation), ReadSpec { spec: spec.clone(), bytes: 1 });
            }
        }
        assert_eq!(known.newer.specs.len() + known.older.specs.len(), 2 * HALF_SPECS);
        assert_eq!(known.newer.bytes + known.older.bytes, 2 * HALF_SPECS);
    }
}
