//! Which circuits are mirrored, by name and by number.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::local::Local;

/// What is kept of unknown circuits before the first look for those that nobody needs any more.
const FIRST_SWEEP: usize = 1_024;

/// Every circuit that the server has shown or a caller has named.
#[derive(Debug, Default)]
pub(super) struct Directory(RwLock<Inner>);

#[derive(Debug)]
struct Inner {
    by_name: HashMap<Arc<str>, u32>,
    slots: Vec<Option<Arc<Local>>>,
    free: Vec<u32>,
    /// How many there may be before the next sweep.
    sweep_at: usize,
}

impl Default for Inner {
    fn default() -> Self {
        Self { by_name: HashMap::new(), slots: Vec::new(), free: Vec::new(), sweep_at: FIRST_SWEEP }
    }
}

impl Directory {
    /// The circuit of that name, which need not be known to the server.
    pub(super) fn of(&self, name: &str) -> Arc<Local> {
        self.find(name).unwrap_or_else(|| self.0.write().unwrap_or_else(PoisonError::into_inner).of(name))
    }

    /// The circuit of that name, if there is a copy.
    pub(super) fn find(&self, name: &str) -> Option<Arc<Local>> {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let id = inner.by_name.get(name)?;
        inner.slots.get(*id as usize)?.clone()
    }

    /// The circuit of that number. It may be another one than when the number was written down: versions tell them apart.
    pub(super) fn get(&self, id: u32) -> Option<Arc<Local>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).slots.get(id as usize)?.clone()
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Arc<Local>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).slots.iter().flatten().cloned().collect()
    }
}

impl Inner {
    fn of(&mut self, name: &str) -> Arc<Local> {
        if let Some(local) = self.by_name.get(name).and_then(|id| self.slots[*id as usize].clone()) {
            return local;
        }
        if self.by_name.len() >= self.sweep_at {
            self.sweep();
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let local = Arc::new(Local::new(name.into(), id));
        self.by_name.insert(Arc::clone(&local.name), id);
        self.slots[id as usize] = Some(Arc::clone(&local));
        local
    }

    /// Lets go of what the server does not know and no guard holds, so that names which come and go leave nothing behind.
    fn sweep(&mut self) {
        for (id, slot) in (0..).zip(&mut self.slots) {
            if let Some(local) = slot.take_if(|local| !local.word().is_known() && Arc::strong_count(local) == 1) {
                self.by_name.remove(&local.name);
                self.free.push(id);
            }
        }
        self.sweep_at = FIRST_SWEEP.max(2 * self.by_name.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_come_and_go_leave_nothing_behind() {
        let directory = Directory::default();
        let held = directory.of("held");
        (0..10 * FIRST_SWEEP).for_each(|number| drop(directory.of(&number.to_string())));
        assert!(directory.all().len() <= FIRST_SWEEP, "{}", directory.all().len());
        assert!(Arc::ptr_eq(&held, &directory.of("held")));
        assert!(Arc::ptr_eq(&held, &directory.get(held.id).expect("kept")));
    }
}
