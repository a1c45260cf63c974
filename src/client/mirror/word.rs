//! What of a circuit decides, in one word: so that a decision is one load.

use super::{Policy, Reason};
use crate::pb::v1;

/// A circuit as it was last shown, packed: the state in bits 0 and 1, the override in 2 and 3, whether it is suspended in 4, and from
/// bit 8 on the version, which is another one for each token. Zero: nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(u64);

const CLOSED: u64 = 1;
const OPEN: u64 = 2;
const HALF_OPEN: u64 = 3;
const STATE: u64 = 3;
const FORCED_OPEN: u64 = 1 << 2;
const FREE: u64 = 2 << 2;
const OVERRIDE: u64 = 3 << 2;
const SUSPENDED: u64 = 1 << 4;
const VERSION_AT: u32 = 8;

/// What a caller is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Call; the outcome bears the token of this version. Zero: nothing is told of it.
    Call(u64),
    /// Do not.
    Reject(Reason),
    /// Ask the server.
    Ask,
}

impl Word {
    /// Nothing is known.
    pub(super) const UNKNOWN: Self = Self(0);

    /// What [`bits`](Self::bits) was, for an atomic.
    #[inline]
    pub(super) const fn of(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    pub(super) fn new(circuit: &v1::Circuit, version: u64) -> Self {
        let state = match circuit.state() {
            v1::CircuitState::Unspecified => 0,
            v1::CircuitState::Closed => CLOSED,
            v1::CircuitState::Open => OPEN,
            v1::CircuitState::HalfOpen => HALF_OPEN,
        };
        // FORCED_CLOSED and SHADOW are one to those who call.
        let over = match circuit.r#override() {
            v1::Override::Unspecified | v1::Override::None => 0,
            v1::Override::ForcedOpen => FORCED_OPEN,
            v1::Override::ForcedClosed | v1::Override::Shadow => FREE,
        };
        Self(state | over | if circuit.suspended { SUSPENDED } else { 0 } | version << VERSION_AT)
    }

    pub(super) fn version(self) -> u64 {
        self.0 >> VERSION_AT
    }

    /// Whether the server has shown it.
    pub(super) fn is_known(self) -> bool {
        self.state() != 0
    }

    fn state(self) -> u64 {
        self.0 & STATE
    }

    /// What to do; `fresh`: whether the copy can be relied on.
    #[inline]
    pub(super) fn decide(self, fresh: bool, policy: Policy) -> Decision {
        if fresh && self.0 & (STATE | OVERRIDE | SUSPENDED) == CLOSED {
            return Decision::Call(self.version());
        }
        self.decide_slowly(fresh, policy)
    }

    #[cold]
    fn decide_slowly(self, fresh: bool, policy: Policy) -> Decision {
        let known = self.is_known();
        let overridden = known && self.0 & OVERRIDE != 0;
        let doubt = match (fresh, known) {
            (false, _) => Some(Reason::Stale),
            (true, false) => Some(Reason::Unknown),
            // An override holds whether or not anybody checks the target.
            (true, true) => (self.0 & SUSPENDED != 0 && !overridden).then_some(Reason::Suspended),
        };
        match (doubt, policy) {
            (Some(_), Policy::FailOpen) => Decision::Call(self.version()),
            (Some(reason), Policy::FailClosed) => Decision::Reject(reason),
            (Some(_), Policy::LastKnown) | (None, _) => self.as_shown(),
        }
    }

    fn as_shown(self) -> Decision {
        match (self.0 & OVERRIDE, self.state()) {
            (FORCED_OPEN, _) => Decision::Reject(Reason::ForcedOpen),
            (0, OPEN) => Decision::Reject(Reason::Open),
            (0, HALF_OPEN) => Decision::Ask,
            // Closed, free by an override, or never heard of: as if there were no circuit.
            _ => Decision::Call(self.version()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circuit(state: v1::CircuitState, over: v1::Override, suspended: bool) -> v1::Circuit {
        v1::Circuit { state: state.into(), r#override: over.into(), suspended, ..Default::default() }
    }

    #[test]
    fn a_fresh_copy_decides_by_override_then_state() {
        use v1::CircuitState::{Closed, HalfOpen, Open};
        use v1::Override::{ForcedClosed, ForcedOpen, None, Shadow};
        let decided = |state, over| Word::new(&circuit(state, over, false), 7).decide(true, Policy::FailClosed);
        assert_eq!(decided(Closed, None), Decision::Call(7));
        assert_eq!(decided(Open, None), Decision::Reject(Reason::Open));
        assert_eq!(decided(HalfOpen, None), Decision::Ask);
        for state in [Closed, Open, HalfOpen] {
            assert_eq!(decided(state, ForcedOpen), Decision::Reject(Reason::ForcedOpen));
            assert_eq!(decided(state, ForcedClosed), Decision::Call(7));
            assert_eq!(decided(state, Shadow), Decision::Call(7));
        }
    }

    #[test]
    fn in_doubt_the_policy_decides() {
        use v1::CircuitState::{Closed, Open};
        use v1::Override::{ForcedOpen, None};
        let open = Word::new(&circuit(Open, None, false), 7);
        let closed = Word::new(&circuit(Closed, None, false), 7);
        for (fresh, open, closed, reason) in [
            (false, open, closed, Reason::Stale),
            (
                true,
                Word::new(&circuit(Open, None, true), 7),
                Word::new(&circuit(Closed, None, true), 7),
                Reason::Suspended,
            ),
        ] {
            assert_eq!(open.decide(fresh, Policy::FailOpen), Decision::Call(7));
            assert_eq!(closed.decide(fresh, Policy::FailClosed), Decision::Reject(reason));
            assert_eq!(open.decide(fresh, Policy::LastKnown), Decision::Reject(Reason::Open));
            assert_eq!(closed.decide(fresh, Policy::LastKnown), Decision::Call(7));
        }
        let forced = Word::new(&circuit(Closed, ForcedOpen, true), 7);
        assert_eq!(forced.decide(true, Policy::FailOpen), Decision::Reject(Reason::ForcedOpen));
        assert_eq!(Word::UNKNOWN.decide(true, Policy::FailClosed), Decision::Reject(Reason::Unknown));
        assert_eq!(Word::UNKNOWN.decide(true, Policy::LastKnown), Decision::Call(0));
    }
}
