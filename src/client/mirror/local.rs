//! The copy of one circuit: what decides, and what outcomes are to bear.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

use super::word::Word;
use crate::pb::v1;

/// How many epochs back an outcome still finds its token. One that began under an earlier one would be told as STALE anyway.
const TOKENS: usize = 8;

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
    /// The word is another one.
    moved: Notify,
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
            moved: Notify::new(),
        }
    }

    #[inline]
    pub(super) fn word(&self) -> Word {
        Word::of(self.word.load(Ordering::Acquire))
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
        self.move_to(Word::new(circuit, version));
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
        self.move_to(Word::UNKNOWN);
    }

    fn move_to(&self, word: Word) {
        self.word.store(word.bits(), Ordering::Release);
        self.moved.notify_waiters();
    }

    /// Waits until the word is another one.
    pub(super) async fn changed(&self, from: Word) {
        loop {
            // Before the look: what moves after it is not missed.
            let moved = self.moved.notified();
            if self.word() != from {
                return;
            }
            moved.await;
        }
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

    /// It is not worth asking before that time; unless the circuit has moved on, so that what was answered holds no more.
    pub(super) fn put_off(&self, seen: Word, until: u64) {
        // What is shown changes under this lock alone.
        let _shown = self.shown();
        if self.word() == seen {
            self.ask_again.store(until, Ordering::Relaxed);
        }
    }

    /// A trial call of ours has ended, and the server knows: there may be a permit again.
    pub(super) fn ask_at_once(&self) {
        self.ask_again.store(0, Ordering::Relaxed);
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
        local.put_off(local.word(), 10);
        assert_eq!(local.begin_to_ask(4).err(), Some(Some(Duration::from_nanos(6))));
        assert!(local.begin_to_ask(10).is_ok());
    }
}
