//! What was done under which `request_id`, so that it is not done twice (lifecycle.md §6).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use uuid::Uuid;

use crate::model::{Actor, Idempotency, Method, Mono, Remembered, Sequence, Uid};

/// How long a request is remembered, and how many are at the most; the oldest go first.
const KEPT: Duration = Duration::from_secs(86_400);
const MOST: usize = 200_000;

/// The successes of the last day.
#[derive(Debug, Default)]
pub(super) struct Requests {
    done: BTreeMap<Key, Done>,
    /// The oldest first, with when each is forgotten.
    order: VecDeque<(Mono, Key)>,
}

type Key = (Actor, Method, Uuid);

/// What a request did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    fingerprint: Uuid,
    /// When it is forgotten.
    until: Mono,
    pub(super) uid: Uid,
    pub(super) sequence: Sequence,
}

/// What is known of a request.
pub(super) enum Known {
    /// Nothing: do it.
    New,
    /// It was done: answer it again.
    Done(Done),
    /// Another request was done under its id.
    Reused,
}

impl Requests {
    pub(super) fn look_up(
        &mut self,
        actor: &Actor,
        method: Method,
        idempotency: Option<Idempotency>,
        now: Mono,
    ) -> Known {
        let Some(Idempotency { request_id, fingerprint }) = idempotency else { return Known::New };
        self.forget_old(now);
        match self.done.get(&(actor.clone(), method, request_id)) {
            None => Known::New,
            // The wall clock was set back between two servers, and what is older than it is forgotten later.
            Some(done) if done.until <= now => Known::New,
            Some(done) if done.fingerprint == fingerprint => Known::Done(*done),
            Some(_) => Known::Reused,
        }
    }

    /// Remembers a request that has succeeded; `age` ago, and later than all before it.
    pub(super) fn remember(&mut self, request: &Remembered, age: Duration, now: Mono) {
        let Remembered { actor, method, idempotency, uid, sequence, time: _ } = request;
        if self.order.len() >= MOST {
            self.forget_oldest();
        }
        let key = (actor.clone(), *method, idempotency.request_id);
        let until = now + KEPT.saturating_sub(age);
        self.order.push_back((until, key.clone()));
        self.done.insert(key, Done { fingerprint: idempotency.fingerprint, until, uid: *uid, sequence: *sequence });
    }

    fn forget_old(&mut self, now: Mono) {
        while self.order.front().is_some_and(|(until, _)| *until <= now) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((until, key)) = self.order.pop_front() else { return };
        // A journal may still hold what was forgotten, and was done anew after that.
        if self.done.get(&key).is_some_and(|done| done.until <= until) {
            self.done.remove(&key);
        }
    }
}
