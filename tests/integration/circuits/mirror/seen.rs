//! What callers see of a circuit through their mirrors.

use switchyard::client::{MirrorBuilder, Policy, Stats};
use switchyard::pb::v1::event::Detail;

use super::*;

/// Below what a server may be silent for, so that tests need not wait for long: theirs are not silent.
pub(super) const STALENESS: Duration = Duration::from_secs(4);
/// How long a caller waits before it looks again.
const GLANCE: Duration = Duration::from_millis(1);

/// What a caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Call,
    Trial,
    Rejected(Reason),
}

/// A mirror with a policy, and its guard.
pub(super) struct Viewer {
    pub(super) mirror: CircuitMirror,
    pub(super) guard: Guard,
}

impl Viewer {
    pub(super) async fn connect(address: SocketAddr, policy: Policy) -> Self {
        let builder = CircuitMirror::builder(address.to_string()).permit_timeout(PERMIT);
        Self::of(builder.policy(policy).staleness(STALENESS)).await
    }

    pub(super) async fn of(builder: MirrorBuilder) -> Self {
        let mirror = builder.connect().await.expect("connects");
        let guard = mirror.guard(&name("api"));
        Self { mirror, guard }
    }

    /// One of each policy: to fail open, to fail closed, and the last known.
    pub(super) async fn of_each_policy(address: SocketAddr) -> [Self; 3] {
        [
            Self::connect(address, Policy::FailOpen).await,
            Self::connect(address, Policy::FailClosed).await,
            Self::connect(address, Policy::LastKnown).await,
        ]
    }

    /// Asks once; the call that may be made then says nothing of its target.
    pub(super) async fn look(&self) -> Seen {
        match self.guard.admit().await {
            Ok(pass) => {
                let seen = if pass.is_trial() { Seen::Trial } else { Seen::Call };
                pass.finish(Verdict::Ignored);
                seen
            }
            Err(rejected) => Seen::Rejected(rejected.reason),
        }
    }

    /// Looks until it sees that; meanwhile it may see those, and nothing else.
    pub(super) async fn sees(&self, awaited: Seen, meanwhile: &[Seen]) {
        let (patience, mut last) = (Patience::with(format!("{awaited:?}")), None);
        loop {
            let seen = patience.wait(self.look(), (last, &self.mirror)).await;
            if seen == awaited {
                return;
            }
            assert!(meanwhile.contains(&seen), "{seen:?} while {awaited:?} is waited for: {:?}", self.mirror);
            last = Some(seen);
            patience.wait(tokio::time::sleep(GLANCE), (last, &self.mirror)).await;
        }
    }

    /// Looks until the copy counts as stale by the policy, which is to show as `stale`, from the bound on and not before: until then as
    /// `fresh`.
    pub(super) async fn goes_stale(&self, fresh: &[Seen], stale: Seen) {
        let patience = Patience::with(format!("{stale:?} of a copy that goes stale"));
        loop {
            let before = self.age();
            let seen = patience.wait(self.look(), &self.mirror).await;
            if before > STALENESS {
                assert_eq!(seen, stale, "{before:?} after the server was heard: {:?}", self.mirror);
                return;
            }
            // The bound may have passed meanwhile.
            assert!(fresh.contains(&seen) || (seen == stale && self.age() > STALENESS), "{seen:?}: {:?}", self.mirror);
            patience.wait(tokio::time::sleep(GLANCE), (seen, &self.mirror)).await;
        }
    }

    /// Looks for as long as it is polled; writes down what differs from what was seen before.
    pub(super) async fn looks_on(&self, all: &mut Vec<Seen>) {
        loop {
            let seen = self.look().await;
            // The answer to a permit may run ahead of the watch: then the copy is still half-open, and shows so to the next one.
            let ahead = seen == Seen::Call && !self.guard.permits();
            if !ahead && all.last() != Some(&seen) {
                all.push(seen);
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Waits until the copy has been followed anew.
    pub(super) async fn follows_again(&self) {
        let patience = Patience::with("a watch that stands again");
        while self.mirror.stats().reconnects == 0 {
            patience.wait(tokio::time::sleep(GLANCE), &self.mirror).await;
        }
    }

    pub(super) async fn told_all(&self) -> Stats {
        flush(&self.mirror).await;
        self.mirror.stats()
    }

    fn age(&self) -> Duration {
        self.mirror.stats().age.expect("it was heard")
    }
}

/// The state that a circuit must have been in to be seen so; `None`: any.
fn state(seen: Seen) -> Option<CircuitState> {
    match seen {
        Seen::Call => Some(CircuitState::Closed),
        Seen::Rejected(Reason::Open) => Some(CircuitState::Open),
        Seen::Trial | Seen::Rejected(Reason::HalfOpen | Reason::Unreachable) => Some(CircuitState::HalfOpen),
        Seen::Rejected(_) => None,
    }
}

/// The states into which those events have brought the circuit.
pub(super) fn states(events: &[Event]) -> Vec<CircuitState> {
    let state = |event: &Event| match &event.detail {
        Some(Detail::Circuit(circuit)) if event.name == name("api") => Some(circuit.state()),
        _ => None,
    };
    events.iter().filter_map(state).collect()
}

/// Fails unless every state that was seen was a true one, in its order; a caller may have missed some.
pub(super) fn assert_true_course(seen: &[Seen], truth: &[CircuitState]) {
    let mut course: Vec<_> = seen.iter().copied().filter_map(state).collect();
    course.dedup();
    let mut truths = truth.iter();
    let is_true = course.iter().all(|state| truths.any(|truth| truth == state));
    assert!(is_true, "{seen:?} was seen of {truth:?}");
}
