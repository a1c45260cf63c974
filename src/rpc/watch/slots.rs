//! The limits on watch streams.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::IntGauge;

use crate::rpc::error::Error;

/// Counts the open streams, in all and by connection.
#[derive(Clone, Debug)]
pub(in crate::rpc) struct Slots(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    most_per_connection: usize,
    gauge: IntGauge,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_connection: HashMap<SocketAddr, usize>,
}

/// The right to one stream, until it is dropped.
#[derive(Debug)]
pub(in crate::rpc) struct Slot {
    slots: Slots,
    connection: SocketAddr,
}

impl Slots {
    pub(in crate::rpc) fn new(most: usize, most_per_connection: usize, gauge: IntGauge) -> Self {
        Self(Arc::new(Shared { most, most_per_connection, gauge, open: Mutex::default() }))
    }

    pub(in crate::rpc) fn take(&self, connection: SocketAddr) -> Result<Slot, Error> {
        let Shared { most, most_per_connection, .. } = *self.0;
        let mut open = self.lock();
        if open.total >= most {
            return Err(Error::StreamLimit { holder: "the server", limit: most });
        }
        let here = open.by_connection.entry(connection).or_default();
        if *here >= most_per_connection {
            return Err(Error::StreamLimit { holder: "this connection", limit: most_per_connection });
        }
        *here += 1;
        open.total += 1;
        self.show(&open);
        Ok(Slot { slots: self.clone(), connection })
    }

    fn give_back(&self, connection: SocketAddr) {
        let mut open = self.lock();
        open.total -= 1;
        if let Some(here) = open.by_connection.get_mut(&connection) {
            *here -= 1;
            if *here == 0 {
                open.by_connection.remove(&connection);
            }
        }
        self.show(&open);
    }

    /// Under the lock, so that the gauge never shows an older number last.
    fn show(&self, open: &Open) {
        self.0.gauge.set(i64::try_from(open.total).unwrap_or(i64::MAX));
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.give_back(self.connection);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_takes_a_slot_for_as_long_as_it_lives() {
        let gauge = IntGauge::new("streams", "Streams.").expect("valid");
        let slots = Slots::new(3, 2, gauge.clone());
        let [a, b, c] = [1, 2, 3].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let first = slots.take(a).expect("free");
        let second = slots.take(a).expect("free");
        assert!(matches!(slots.take(a), Err(Error::StreamLimit { limit: 2, .. })));
        let third = slots.take(b).expect("free");
        assert!(matches!(slots.take(c), Err(Error::StreamLimit { limit: 3, .. })));
        assert_eq!(gauge.get(), 3);
        drop(first);
        let again = slots.take(a).expect("free again");
        drop((second, third, again));
        assert_eq!(gauge.get(), 0);
        assert!(slots.lock().by_connection.is_empty());
    }
}
