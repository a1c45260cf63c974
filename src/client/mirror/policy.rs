//! What to do in doubt.

/// What to do about a circuit whose copy cannot be relied on: the server has been out of reach for longer than the staleness bound, no
/// instance checks the target (the circuit is suspended), or the server knows no such circuit, or no more.
///
/// A circuit that is HALF_OPEN beyond doubt is the server's to decide under each policy: it is asked for a permit, by one call at a time,
/// and calls without one are rejected. A server that is there and grants none denies it, whatever its reason, such as that its store is
/// full: the next call asks once the server has said it may, or after 1 s. The policy decides where there is no answer (the server is
/// out of reach, or takes longer than the permit timeout), and where the answer is that there is no such task: that is an unknown circuit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Call. So does a call of a half-open circuit that gets no answer about its permit, and its outcome is not told; of one that is in
    /// doubt as well, every call.
    FailOpen,
    /// Do not call: neither of a half-open circuit without an answer, nor of one that is in doubt.
    FailClosed,
    /// Do what was right when it was last known, for as long as the server is out of reach: an open circuit stays open, whatever its time
    /// was, and calls of one that was half-open go on to ask for permits, and are rejected without an answer. Where nothing ever was known,
    /// or the task was deleted: call. Where an outage of Switchyard must keep nobody from calling, that is [`FailOpen`](Self::FailOpen).
    #[default]
    LastKnown,
}
