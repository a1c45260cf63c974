//! What stands before the calls of one target.

use std::borrow::Cow;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::ask::{ASK_AGAIN, Ask, Asked, Permit};
use super::local::{Local, Said, Turn, nanos};
use super::outbox::Record;
use super::shared::Shared;
use super::word::Decision;
use super::{Policy, Tasks, Verdict};

/// Why a call was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The circuit is open.
    Open,
    /// The circuit is half-open, and the server grants no permit now, mostly as there are as many trial calls under way as may be; or
    /// another call asks for one just now.
    HalfOpen,
    /// An operator has opened the circuit.
    ForcedOpen,
    /// No instance checks the target, and the policy is to fail closed.
    Suspended,
    /// The server has been out of reach for longer than the staleness bound, and the policy is to fail closed.
    Stale,
    /// The server knows no such circuit, and the policy is to fail closed.
    Unknown,
    /// The circuit is half-open, and the server did not answer when it was last asked for a permit.
    Unreachable,
}

/// That a call was rejected: it was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The task's name.
    pub circuit: Arc<str>,
    /// Why.
    pub reason: Reason,
    /// When it is worth trying again, if anybody knows.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.reason {
            Reason::Open => "is open",
            Reason::HalfOpen => "is half-open, and others try its target",
            Reason::ForcedOpen => "was opened by an operator",
            Reason::Suspended => "is suspended: nobody checks its target",
            Reason::Stale => "is not known: the server has been silent for too long",
            Reason::Unknown => "is not known to the server",
            Reason::Unreachable => "is half-open, and the server could not be asked for a permit",
        };
        write!(f, "the circuit {} {why}", self.circuit)
    }
}

impl std::error::Error for Rejected {}

/// Why a guarded call has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError<E> {
    /// It was not made.
    Rejected(Rejected),
    /// It was made, and failed.
    Failed(E),
}

impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejected) => rejected.fmt(f),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for CallError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Rejected(_) => None,
            Self::Failed(error) => error.source(),
        }
    }
}

/// Guards the calls of a task's target. Cheap to clone. It keeps its mirror alive.
#[derive(Clone, Debug)]
pub struct Guard {
    shared: Arc<Shared>,
    local: Arc<Local>,
    /// What nobody keeps up is a copy of how things were once.
    tasks: Arc<Tasks>,
}

impl Guard {
    pub(super) fn new(shared: Arc<Shared>, local: Arc<Local>, tasks: Arc<Tasks>) -> Self {
        Self { shared, local, tasks }
    }

    /// The task's name.
    pub fn name(&self) -> &str {
        &self.local.name
    }

    /// As [`CircuitMirror::flush`](super::CircuitMirror::flush), for those who have kept no more than a guard.
    pub async fn flush(&self) {
        self.tasks.flush().await;
    }

    /// Makes a call, if the circuit lets it through: `Ok` is a success, `Err` a failure, and a future that is dropped was given up.
    pub async fn call<T, E>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, CallError<E>> {
        let judge = |result: &Result<T, E>| if result.is_ok() { Verdict::Success } else { Verdict::Failure };
        self.call_judged(call, judge).await
    }

    /// Makes a call, if the circuit lets it through; `judge` says what has come of it. What it waits is its latency: it is measured from
    /// when its first poll has returned. A call that is ready when first polled has waited for nothing: it counts as one of unknown latency,
    /// which is no slow one.
    pub async fn call_judged<T, E>(
        &self,
        call: impl Future<Output = Result<T, E>>,
        judge: impl FnOnce(&Result<T, E>) -> Verdict,
    ) -> Result<T, CallError<E>> {
        let mut pass = self.enter(None).await.map_err(CallError::Rejected)?;
        let mut call = pin!(call);
        let result = poll_fn(|context| {
            let polled = call.as_mut().poll(context);
            if polled.is_pending() {
                pass.measure();
            }
            polled
        });
        let result = result.await;
        pass.finish(judge(&result));
        result.map_err(CallError::Failed)
    }

    /// Asks whether to call now, for calls that are no future of their own. Waits only while the circuit is half-open, and then at most
    /// for as long as the server may take to answer.
    pub async fn admit(&self) -> Result<Pass<'_>, Rejected> {
        self.enter(Some(Instant::now())).await
    }

    /// Whether the circuit would let a call through as the copy has it, such as to choose among targets: it asks nobody, and promises
    /// nothing. Of a half-open circuit only the server could tell, so it says no.
    pub fn permits(&self) -> bool {
        matches!(self.decide(None), Decision::Call(_))
    }

    /// Waits until the server shows the circuit otherwise than the copy was when this was called: its state, its override, its epoch, or
    /// whether anybody checks its target.
    pub fn changed(&self) -> impl Future<Output = ()> + Send + '_ {
        let seen = self.local.word();
        self.local.changed(seen)
    }

    /// `began`: the clock, where it was read anyway. To read it would cost a call that is let through as much as all the rest.
    #[inline]
    async fn enter(&self, began: Option<Instant>) -> Result<Pass<'_>, Rejected> {
        match self.decide(began) {
            Decision::Call(version) => Ok(self.pass(began, Held::Version(version))),
            Decision::Reject(reason) => {
                let at = self.shared.freshness.at(began.unwrap_or_else(Instant::now));
                Err(self.reject(reason, self.local.open_for(at)))
            }
            // Boxed, so that calls which need not ask are small.
            Decision::Ask => Box::pin(self.ask()).await,
        }
    }

    #[inline]
    fn decide(&self, at: Option<Instant>) -> Decision {
        let freshness = &self.shared.freshness;
        let fresh = match at {
            None if freshness.is_certain() => true,
            _ => freshness.is_fresh(freshness.at(at.unwrap_or_else(Instant::now))),
        };
        self.local.word().decide(fresh, self.shared.policy)
    }

    fn now(&self) -> u64 {
        self.shared.freshness.at(Instant::now())
    }

    async fn ask(&self) -> Result<Pass<'_>, Rejected> {
        let (ask, asked) = match self.local.begin_to_ask(self.now()) {
            Turn::Ask(asking) => Ask::new(asking),
            Turn::Taken => return Err(self.reject(Reason::HalfOpen, None)),
            Turn::Said(said, wait) => return self.go_by(said, wait),
        };
        if let Err(unsent) = self.shared.asks.try_send(ask) {
            unsent.into_inner().answer(&self.shared, Asked::Unanswered);
        }
        match asked.await.unwrap_or(Asked::Unanswered) {
            Asked::Permitted(permit) => Ok(self.pass(Some(Instant::now()), Held::Permit(permit))),
            Asked::Denied(wait) => Err(self.reject(Reason::HalfOpen, wait)),
            Asked::Unanswered => self.go_by(Said::Nothing, Some(ASK_AGAIN)),
            Asked::Unknown if self.shared.policy == Policy::FailClosed => Err(self.reject(Reason::Unknown, None)),
            Asked::Unknown => Ok(self.pass(Some(Instant::now()), Held::Version(0))),
        }
    }

    /// What was said to whoever asked; and how long that holds, if anybody knows.
    fn go_by(&self, said: Said, wait: Option<Duration>) -> Result<Pass<'_>, Rejected> {
        let version = match said {
            Said::Free(version) => version,
            // Without a permit it would count for nothing.
            Said::Nothing if self.shared.policy == Policy::FailOpen => 0,
            Said::Nothing => return Err(self.reject(Reason::Unreachable, wait)),
            Said::Denied => return Err(self.reject(Reason::HalfOpen, wait)),
        };
        Ok(self.pass(Some(Instant::now()), Held::Version(version)))
    }

    fn pass(&self, began: Option<Instant>, held: Held) -> Pass<'_> {
        Pass { guard: Cow::Borrowed(self), began, held }
    }

    #[cold]
    fn reject(&self, reason: Reason, wait: Option<Duration>) -> Rejected {
        self.shared.counters.denied.fetch_add(1, Ordering::Relaxed);
        let retry_after = match reason {
            Reason::Open | Reason::HalfOpen | Reason::Unreachable => wait,
            _ => None,
        };
        Rejected { circuit: Arc::clone(&self.local.name), reason, retry_after }
    }
}

/// Leave to make one call. To be ended with what has come of it; one that is dropped says that the call was given up.
#[derive(Debug)]
#[must_use = "a pass that is dropped says that the call was given up"]
pub struct Pass<'a> {
    guard: Cow<'a, Guard>,
    /// When what it waits began; `None`: it has waited for nothing so far.
    began: Option<Instant>,
    held: Held,
}

/// What the outcome bears.
#[derive(Debug)]
enum Held {
    /// The token of that version; zero: nothing is to be told.
    Version(u64),
    /// The token of a permit.
    Permit(Permit),
    /// It was told.
    Told,
}

impl Pass<'_> {
    /// Whether it is a trial call, of a circuit that is half-open: its outcome decides.
    pub fn is_trial(&self) -> bool {
        matches!(&self.held, Held::Permit(permit) if permit.is_trial())
    }

    /// The same pass, with a guard of its own.
    pub fn into_owned(mut self) -> Pass<'static> {
        let held = std::mem::replace(&mut self.held, Held::Told);
        Pass { guard: Cow::Owned(Guard::clone(&self.guard)), began: self.began, held }
    }

    /// The call has ended, and took until now.
    pub fn finish(mut self, verdict: Verdict) {
        self.tell(verdict, self.waited());
    }

    /// The call waits for something.
    fn measure(&mut self) {
        if self.began.is_none() {
            let (began, freshness) = (Instant::now(), &self.guard.shared.freshness);
            // So that the next call does not rely on what this one knows to be too old.
            freshness.is_fresh(freshness.at(began));
            self.began = Some(began);
        }
    }

    /// The call has ended, and its answer had come after that time: for calls whose answer goes on, such as streams.
    pub fn finish_after(mut self, verdict: Verdict, latency: Duration) {
        self.tell(verdict, nanos(latency));
    }

    /// How long it has waited until now, in nanoseconds.
    fn waited(&self) -> u64 {
        self.began.map_or(0, |began| nanos(began.elapsed()))
    }

    fn tell(&mut self, verdict: Verdict, latency: u64) {
        match std::mem::replace(&mut self.held, Held::Told) {
            Held::Version(0) | Held::Told => {}
            Held::Version(version) => {
                let record = Record { circuit: self.guard.local.id, version, verdict, latency };
                self.guard.shared.outbox.push(record);
            }
            Held::Permit(permit) => permit.tell(verdict, latency),
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !matches!(self.held, Held::Told) {
            self.tell(Verdict::Cancelled, self.waited());
        }
    }
}
