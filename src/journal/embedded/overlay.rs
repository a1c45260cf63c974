//! A backend that is only read from: what is written to it stays in memory.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::io;
use std::sync::{PoisonError, RwLock};

use redb::StorageBackend;

/// What is written is kept in blocks of that many bytes.
const BLOCK: usize = 4_096;

/// Lets a database be opened where nothing can be written. redb writes a header when it opens what was not closed, and little else
/// until it is told to: that much is kept in memory, on top of what is there.
pub(super) struct Overlay {
    inner: Box<dyn StorageBackend>,
    written: RwLock<Written>,
}

struct Written {
    len: u64,
    blocks: HashMap<u64, Box<[u8]>>,
}

impl Overlay {
    pub(super) fn new(inner: Box<dyn StorageBackend>) -> io::Result<Self> {
        let len = inner.len()?;
        Ok(Self { inner, written: RwLock::new(Written { len, blocks: HashMap::new() }) })
    }

    /// What is below, and zeros behind its end.
    fn read_below(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = usize::try_from(self.inner.len()?.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
        let (below, behind) = out.split_at_mut(there);
        behind.fill(0);
        if below.is_empty() { Ok(()) } else { self.inner.read(offset, below) }
    }
}

/// The blocks that so many bytes from `offset` on lie in: the number of each, where in it they are, and which of them.
fn blocks(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = usize::try_from(at % BLOCK as u64).unwrap_or(0);
        let taken = done..len.min(done + BLOCK - within);
        done = taken.end;
        (!taken.is_empty()).then_some((at / BLOCK as u64, within, taken))
    })
}

impl fmt::Debug for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written.read().unwrap_or_else(PoisonError::into_inner).len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.read_below(offset, out)?;
        let written = self.written.read().unwrap_or_else(PoisonError::into_inner);
        for (number, within, part) in blocks(offset, out.len()) {
            if let Some(block) = written.blocks.get(&number) {
                let len = part.len();
                out[part].copy_from_slice(&block[within..within + len]);
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.written.write().unwrap_or_else(PoisonError::into_inner).len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written.write().unwrap_or_else(PoisonError::into_inner);
        for (number, within, part) in blocks(offset, data.len()) {
            let block = match written.blocks.entry(number) {
                Entry::Occupied(block) => block.into_mut(),
                Entry::Vacant(place) => {
                    let mut block = vec![0; BLOCK].into_boxed_slice();
                    self.read_below(number * BLOCK as u64, &mut block)?;
                    place.insert(block)
                }
            };
            block[within..within + part.len()].copy_from_slice(&data[part]);
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }
}
