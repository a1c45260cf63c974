//! The copy of one circuit: what decides, in one word, and what outcomes are to bear.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::{Policy, Reason};
use crate::pb::v1;

/// How many epochs back an outcome still finds its token. One that began under an earlier one would be told as STALE anyway.
const TOKENS: usize = 8;

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
    fn new(circuit: &v1::Circuit, version: u64) -> Self {
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

/// The copy of one circuit.
#[derive(Debug)]
pub(super) struct Local {
    pub(super) name: Arc<str>,
    /// The place in the directory.
    pub(super) id: u32,
    word: AtomicU64,
    /// When it will be half-open; in nanoseconds since the mirror began, as all times here. Zero: unknown.
    open_until: AtomicU64,
    /// Until when it is not worth asking for a permit.
    ask_again: AtomicU64,
    /// Whether somebody asks for a permit just now.
    asking: AtomicBool,
    shown: Mutex<Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    /// The uid of its task.
    uid: Box<str>,
    /// The newest last.
    tokens: VecDeque<(u64, Box<str>)>,
}

impl Local {
    pub(super) fn new(name: Arc<str>, id: u32) -> Self {
        Self {
            name,
            id,
            word: AtomicU64::new(0),
            open_until: AtomicU64::new(0),
            ask_again: AtomicU64::new(0),
            asking: AtomicBool::new(false),
            shown: Mutex::default(),
        }
    }

    #[inline]
    pub(super) fn word(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    /// Takes over what the server shows; `fresh_version` numbers a token that is new.
    pub(super) fn show(&self, circuit: &v1::Circuit, now: u64, fresh_version: impl FnOnce() -> u64) {
        let mut shown = self.shown();
        let version = match shown.tokens.back() {
            Some((version, token)) if **token == *circuit.token => *version,
            _ => {
                let version = fresh_version();
                if shown.tokens.len() == TOKENS {
                    shown.tokens.pop_front();
                }
                shown.tokens.push_back((version, circuit.token.as_str().into()));
                version
            }
        };
        if *shown.uid != *circuit.task_uid {
            shown.uid = circuit.task_uid.as_str().into();
        }
        let left = circuit.open_until.and_then(|until| {
            let until = SystemTime::try_from(until).ok()?;
            // The server's clock against ours: only ever a hint to callers, and no decision hangs on it.
            until.duration_since(SystemTime::now()).ok()
        });
        let until = left.map_or(0, |left| now.saturating_add(nanos(left)));
        self.open_until.store(until, Ordering::Relaxed);
        // What was denied was denied under what was shown before.
        self.ask_again.store(0, Ordering::Relaxed);
        // After the token: whoever sees the version finds it.
        self.word.store(Word::new(circuit, version).0, Ordering::Release);
    }

    /// The task of that uid was deleted. What is shown may be that of a later task under the name.
    pub(super) fn delete(&self, uid: &str) {
        let shown = self.shown();
        if *shown.uid == *uid {
            self.forget();
        }
    }

    /// Nothing is known of it any more.
    pub(super) fn forget(&self) {
        self.word.store(0, Ordering::Release);
    }

    /// Nothing is known of it any more, unless something else was shown since.
    pub(super) fn forget_if(&self, seen: Word) {
        // What is shown changes under this lock alone.
        let _shown = self.shown();
        if self.word() == seen {
            self.forget();
        }
    }

    /// The token of that version; `None` if it is too long ago.
    pub(super) fn token(&self, version: u64) -> Option<String> {
        let shown = self.shown();
        shown.tokens.iter().rev().find(|(of, _)| *of == version).map(|(_, token)| token.to_string())
    }

    /// Begins to ask for a permit, unless another one does, or it is too early; how long that is, if anybody knows.
    pub(super) fn begin_to_ask(&self, now: u64) -> Result<Asking<'_>, Option<Duration>> {
        if let Some(wait) = until(self.ask_again.load(Ordering::Relaxed), now) {
            return Err(Some(wait));
        }
        match self.asking.swap(true, Ordering::AcqRel) {
            true => Err(None),
            false => Ok(Asking(self)),
        }
    }

    /// It is not worth asking before that time.
    pub(super) fn ask_again(&self, at: u64) {
        self.ask_again.store(at, Ordering::Relaxed);
    }

    /// How long it will stay open, if that is known.
    pub(super) fn open_for(&self, now: u64) -> Option<Duration> {
        until(self.open_until.load(Ordering::Relaxed), now)
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// That somebody asks; dropped, the next one may.
pub(super) struct Asking<'a>(&'a Local);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.asking.store(false, Ordering::Release);
    }
}

fn until(at: u64, now: u64) -> Option<Duration> {
    at.checked_sub(now).filter(|left| *left > 0).map(Duration::from_nanos)
}

/// 584 years are enough.
pub(super) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
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
        assert_eq!(Word(0).decide(true, Policy::FailClosed), Decision::Reject(Reason::Unknown));
        assert_eq!(Word(0).decide(true, Policy::LastKnown), Decision::Call(0));
    }

    #[test]
    fn an_outcome_finds_the_token_of_its_own_version_until_it_is_long_gone() {
        let local = Local::new("a".into(), 0);
        let mut versions = 0;
        let mut show = |token: &str| {
            let circuit = v1::Circuit { token: token.to_owned(), state: 1, ..Default::default() };
            local.show(&circuit, 0, || {
                versions += 1;
                versions
            });
        };
        show("t0");
        show("t0");
        assert_eq!(local.word().version(), 1, "the same token has the same version");
        (1..=TOKENS).for_each(|number| show(&format!("t{number}")));
        assert_eq!((local.token(1), local.token(2)), (None, Some("t1".to_owned())));
    }

    #[test]
    fn one_asks_at_a_time_and_not_before_it_is_time() {
        let local = Local::new("a".into(), 0);
        let asking = local.begin_to_ask(0).expect("nobody asks");
        assert_eq!(local.begin_to_ask(0).err(), Some(None));
        drop(asking);
        local.ask_again(10);
        assert_eq!(local.begin_to_ask(4).err(), Some(Some(Duration::from_nanos(6))));
        assert!(local.begin_to_ask(10).is_ok());
    }
}
