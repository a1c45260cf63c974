//! The copy of one circuit: what decides, and what outcomes are to bear.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
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
    /// What was said when somebody last asked for a permit, and until when that holds.
    said: Option<(Said, u64)>,
    /// Whether somebody asks for a permit just now.
    asking: bool,
}

impl Shown {
    /// The version of a token; `fresh` numbers one that is new.
    fn version(&mut self, token: &str, fresh: impl FnOnce() -> u64) -> u64 {
        match self.tokens.back() {
            Some((version, last)) if **last == *token => *version,
            _ => {
                let version = fresh();
                if self.tokens.len() == TOKENS {
                    self.tokens.pop_front();
                }
                self.tokens.push_back((version, token.into()));
                version
            }
        }
    }
}

/// What was said to somebody who asked for a permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// That there is none.
    Denied,
    /// Nothing, in time.
    Nothing,
    /// That none is needed, as of a closed circuit; outcomes bear the token of that version.
    Free(u64),
}

/// What somebody is to do who needs a permit.
#[derive(Debug)]
pub(super) enum Turn {
    Ask(Asking),
    /// Another one asks just now, and nobody knows what will be said.
    Taken,
    /// To go by what was said last; and how long that holds, if nobody asks just now.
    Said(Said, Option<Duration>),
}

impl Local {
    pub(super) fn new(name: Arc<str>, id: u32) -> Self {
        Self {
            name,
            id,
            word: AtomicU64::new(0),
            open_until: AtomicU64::new(0),
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
        let version = shown.version(&circuit.token, fresh_version);
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
        // That was said under what was shown before.
        shown.said = None;
        // After the token: whoever sees the version finds it.
        self.move_to(Word::new(circuit, version));
    }

    /// The task of that uid was deleted. What is shown may be that of a later task under the name.
    pub(super) fn delete(&self, uid: &str) {
        let shown = self.shown();
        if *shown.uid == *uid {
            self.move_to(Word::UNKNOWN);
        }
    }

    /// Nothing is known of it any more.
    pub(super) fn forget(&self) {
        let _shown = self.shown();
        self.move_to(Word::UNKNOWN);
    }

    /// Under the lock of what is shown: so it does not move while somebody looks who has that.
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
        let _shown = self.shown();
        if self.word() == seen {
            self.move_to(Word::UNKNOWN);
        }
    }

    /// The token of that version; `None` if it is too long ago.
    pub(super) fn token(&self, version: u64) -> Option<String> {
        let shown = self.shown();
        shown.tokens.iter().rev().find(|(of, _)| *of == version).map(|(_, token)| token.to_string())
    }

    /// Begins to ask for a permit, unless another one does, or it is too early.
    pub(super) fn begin_to_ask(self: &Arc<Self>, now: u64) -> Turn {
        let mut shown = self.shown();
        let (asking, said) = (shown.asking, shown.said);
        match said.map(|(said, at)| (said, until(at, now))) {
            Some((said, Some(wait))) => Turn::Said(said, Some(wait)),
            // There may be a permit by now, but not for two.
            None | Some((Said::Denied, None)) if asking => Turn::Taken,
            // Nothing else is known until there is an answer: nobody is held up by one that does not come.
            Some((said, None)) if asking => Turn::Said(said, None),
            _ => {
                shown.asking = true;
                Turn::Ask(Asking(Arc::clone(self)))
            }
        }
    }

    /// What was said, and until when that holds; unless the circuit has moved on, so that it holds no more.
    pub(super) fn remember(&self, seen: Word, said: Option<(Said, u64)>) {
        let mut shown = self.shown();
        if self.word() == seen {
            shown.said = said;
        }
    }

    /// No permit is needed until that time, and the token goes with outcomes; unless the circuit has moved on.
    pub(super) fn remember_free(&self, seen: Word, token: &str, fresh_version: impl FnOnce() -> u64, until: u64) {
        let mut shown = self.shown();
        if self.word() == seen {
            shown.said = Some((Said::Free(shown.version(token, fresh_version)), until));
        }
    }

    /// A trial call of ours has ended, and the server knows: there may be a permit again.
    pub(super) fn ask_at_once(&self) {
        let mut shown = self.shown();
        shown.said = match shown.said {
            // What was said since is newer.
            Some((Said::Free(version), until)) => Some((Said::Free(version), until)),
            Some((Said::Nothing, _)) => Some((Said::Nothing, 0)),
            Some((Said::Denied, _)) | None => None,
        };
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
#[derive(Debug)]
pub(super) struct Asking(Arc<Local>);

impl Asking {
    /// About what.
    pub(super) const fn circuit(&self) -> &Arc<Local> {
        &self.0
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.shown().asking = false;
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
        let local = Arc::new(Local::new("a".into(), 0));
        let Turn::Ask(asking) = local.begin_to_ask(0) else { panic!("nobody asks") };
        assert!(matches!(local.begin_to_ask(0), Turn::Taken));
        local.remember(local.word(), Some((Said::Denied, 10)));
        drop(asking);
        let Turn::Said(Said::Denied, wait) = local.begin_to_ask(4) else { panic!("too early") };
        assert_eq!(wait, Some(Duration::from_nanos(6)));
        let Turn::Ask(_asking) = local.begin_to_ask(10) else { panic!("it is time") };
        assert!(matches!(local.begin_to_ask(10), Turn::Taken));
    }

    #[test]
    fn while_one_asks_others_go_by_what_was_said_last_unless_that_was_a_denial() {
        let local = Arc::new(Local::new("a".into(), 0));
        for said in [Said::Nothing, Said::Free(3)] {
            local.remember(local.word(), Some((said, 10)));
            let Turn::Ask(_asking) = local.begin_to_ask(10) else { panic!("it is time") };
            let Turn::Said(again, None) = local.begin_to_ask(10) else { panic!("{said:?}") };
            assert_eq!(again, said);
            local.show(&v1::Circuit { state: 3, ..Default::default() }, 0, || 1);
            assert!(matches!(local.begin_to_ask(10), Turn::Taken), "what was shown says more");
        }
    }
}
