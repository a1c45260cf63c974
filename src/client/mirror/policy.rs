//! What to do in doubt.

/// What to do about a circuit whose copy cannot be relied on: the server has been out of reach for longer than the staleness bound, no
/// instance checks the target (the circuit is suspended), or the server knows no such circuit, or no more.
///
/// A circuit that is HALF_OPEN beyond doubt is the server's to decide under each policy: it is asked for a permit, by one call at a time,
/// and calls without one are rejected. A server that is there and grants none denies it, whatever its reason, such as that its store is
/// full: the next call asks once the server has said it may, or after 1 s. Where it says that no permit is needed, as the circuit has closed,
/// calls go on for 1 s before one asks again. The policy decides where there is no answer (the server is out of reach, or takes longer than
/// the permit timeout), and where the answer is that there is no such task: that is an unknown circuit. No answer, too, holds until there
/// is one: after 1 s the next call asks, and all others go on by the policy meanwhile. So in an outage calls of a half-open circuit are
/// rejected as half-open for no longer than the server last asked for (a minute at the most) and one permit timeout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Call. So do calls of a half-open circuit about whose permits there is no answer, and their outcomes are not told: one a second asks,
    /// and waits for as long as that takes, and the others are made at once. Of one that is in doubt as well nobody asks.
    FailOpen,
    /// Do not call: neither of a half-open circuit without an answer, nor of one that is in doubt.
    FailClosed,
    /// Do what was right when it was last known, for as long as the server is out of reach: an open circuit stays open, whatever its time
    /// was, and calls of one that was half-open go on to ask for permits, and are rejected without an answer. Where nothing ever was known,
    /// or the task was deleted: call. Where an outage of Switchyard must keep nobody from calling for longer than the bound of staleness,
    /// that is [`FailOpen`](Self::FailOpen).
    #[default]
    LastKnown,
}
