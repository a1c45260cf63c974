//! The trial of a half-open circuit: what has gone well, and which calls are under way.

use std::time::Duration;

use crate::model::{Disposition, EvidenceSource, Lease, Mono, PassivePolicy};

/// Each call that has a lease is either under way, or has gone well, or has given its lease back: `leases` and `passive` are what
/// is granted. One that went badly has ended the trial.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Trial {
    /// The time it has in all.
    pub(super) lasts: Duration,
    /// How many of the task's own checks have passed.
    pub(super) active: u16,
    /// How many calls have gone well.
    pub(super) passive: u16,
    /// How many leases there have been.
    given: u32,
    /// Those whose calls are under way.
    leases: Vec<Lease>,
}

impl Trial {
    pub(super) const fn new(lasts: Duration) -> Self {
        Self { lasts, active: 0, passive: 0, given: 0, leases: Vec::new() }
    }

    /// A lease for one more call, if there is to be one more at this time.
    pub(super) fn lease(&mut self, policy: &PassivePolicy, now: Mono) -> Option<Lease> {
        let live = self.live();
        let granted = live + u32::from(self.passive);
        if live >= policy.trial_concurrency() || granted >= policy.trial_permits() {
            return None;
        }
        let number = self.given;
        self.given = number.checked_add(1)?;
        let lease = Lease { number, until: now + policy.lease_ttl() };
        self.leases.push(lease);
        Some(lease)
    }

    /// Takes a lease back, if it is live.
    pub(super) fn give_back(&mut self, lease: Lease, now: Mono) -> Result<(), Disposition> {
        match self.leases.iter().position(|live| *live == lease) {
            Some(place) => {
                self.leases.remove(place);
                Ok(())
            }
            None if lease.number >= self.given => Err(Disposition::Stale),
            None if lease.until <= now => Err(Disposition::Expired),
            None => Err(Disposition::Duplicate),
        }
    }

    /// Drops the leases that have expired.
    pub(super) fn expire(&mut self, now: Mono) {
        self.leases.retain(|lease| now < lease.until);
    }

    pub(super) fn pass(&mut self, source: EvidenceSource) {
        let passed = match source {
            EvidenceSource::Active => &mut self.active,
            EvidenceSource::Passive => &mut self.passive,
        };
        *passed = passed.saturating_add(1);
    }

    /// How many calls are under way.
    pub(super) fn live(&self) -> u32 {
        u32::try_from(self.leases.len()).unwrap_or(u32::MAX)
    }

    /// When the first of the leases expires.
    pub(super) fn next_expiry(&self) -> Option<Mono> {
        self.leases.iter().map(|lease| lease.until).min()
    }
}
