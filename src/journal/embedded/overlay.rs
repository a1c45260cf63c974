//! A store that is looked at and not touched. redb writes as it opens a database: that it is open, and what it repairs. Here all that
//! goes to memory, over the bytes that are there.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

/// The size of what is copied when a byte of it is written.
const PAGE: usize = 4_096;

/// Bytes that stay as they are, and what has been written over them.
#[derive(Debug)]
pub(super) struct Overlay {
    inner: Box<dyn StorageBackend>,
    over: Mutex<Over>,
}

#[derive(Debug)]
struct Over {
    len: u64,
    /// How many of the bytes below still show: what was cut off does not come again.
    shown: u64,
    pages: HashMap<u64, Vec<u8>>,
}

impl Overlay {
    pub(super) fn new(inner: Box<dyn StorageBackend>) -> io::Result<Self> {
        let len = inner.len()?;
        Ok(Self { inner, over: Mutex::new(Over { len, shown: len, pages: HashMap::new() }) })
    }

    fn lock(&self) -> MutexGuard<'_, Over> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes at `offset`, all of them in one page.
    fn read_within(&self, over: &Over, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (page, start) = place(offset);
        if let Some(page) = over.pages.get(&page) {
            out.copy_from_slice(&page[start..start + out.len()]);
            return Ok(());
        }
        let below = over.shown.saturating_sub(offset).min(out.len() as u64) as usize;
        out[below..].fill(0);
        if below == 0 { Ok(()) } else { self.inner.read(offset, &mut out[..below]) }
    }
}

/// The page of a byte, and its place there.
fn place(offset: u64) -> (u64, usize) {
    (offset / PAGE as u64, (offset % PAGE as u64) as usize)
}

/// How many of `len` bytes at `offset` are in its page.
fn within(offset: u64, len: usize) -> usize {
    len.min(PAGE - place(offset).1)
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().len)
    }

    fn read(&self, mut offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        let over = self.lock();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > over.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while !out.is_empty() {
            let (now, later) = out.split_at_mut(within(offset, out.len()));
            self.read_within(&over, offset, now)?;
            offset += now.len() as u64;
            out = later;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut over = self.lock();
        let (page, start) = place(len);
        over.pages.retain(|number, _| *number <= page);
        if let Some(page) = over.pages.get_mut(&page) {
            page[start..].fill(0);
        }
        over.shown = over.shown.min(len);
        over.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, mut offset: u64, mut data: &[u8]) -> io::Result<()> {
        let mut over = self.lock();
        while !data.is_empty() {
            let (now, later) = data.split_at(within(offset, data.len()));
            let (number, start) = place(offset);
            if !over.pages.contains_key(&number) {
                let mut page = vec![0; PAGE];
                self.read_within(&over, number * PAGE as u64, &mut page)?;
                over.pages.insert(number, page);
            }
            if let Some(page) = over.pages.get_mut(&number) {
                page[start..start + now.len()].copy_from_slice(now);
            }
            offset += now.len() as u64;
            over.len = over.len.max(offset);
            data = later;
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }
}

#[cfg(test)]
mod tests {
    use redb::StorageBackend;

    use super::Overlay;
    use crate::journal::embedded::tests::{Disk, Random};

    /// As a file would: whatever is written, cut off and made longer again.
    #[test]
    fn it_reads_as_if_it_had_been_written_to_and_has_not() {
        let bytes: Vec<u8> = (0..50_000_u32).map(|n| (n % 251) as u8).collect();
        let below = Disk::of(bytes.clone());
        let (overlay, file) = (Overlay::new(Box::new(below.clone())).expect("there"), Disk::of(bytes.clone()));
        let mut random = Random(5);
        for step in 0..500 {
            if random.below(4) == 0 {
                let len = random.below(60_000) as u64;
                overlay.set_len(len).expect("set");
                file.set_len(len).expect("set");
            } else {
                let data = vec![random.below(256) as u8; random.below(10_000)];
                let offset = random.below(file.bytes().len() + 1) as u64;
                overlay.write(offset, &data).expect("written");
                file.write(offset, &data).expect("written");
            }
            let mut read = vec![0; file.bytes().len()];
            assert_eq!(overlay.len().expect("there"), read.len() as u64, "{step}");
            overlay.read(0, &mut read).expect("read");
            assert!(read == file.bytes(), "{step}");
            assert!(overlay.read(1, &mut read).is_err() || read.is_empty());
        }
        assert!(below.bytes() == bytes);
    }
}
