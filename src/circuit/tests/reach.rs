//! What random histories reach.

use std::collections::BTreeSet;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::history::{Answer, Input, Turn, histories};
use super::*;
use CircuitReason::{Failure, Inconclusive, Recovered, Reset, Waived};
use CircuitState::{Closed, HalfOpen, Open};

/// Properties say nothing of a step that no history makes.
#[test]
fn histories_make_every_step_there_is() {
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let (mut steps, mut told, mut met) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for _ in 0..2_000 {
        let history = histories().new_tree(&mut runner).expect("a history").current();
        for turn in &history.turns {
            steps.extend(turn.transition.map(|step| (step.from, step.to, step.reason)));
            told.extend(disposition_of_a_call(turn));
            met.extend(rarity(turn));
        }
    }
    assert_eq!(told, BTreeSet::from(Disposition::ALL));
    assert_eq!(met, BTreeSet::from(RARITIES));
    let expected = [
        (Closed, Open, Failure),
        (Closed, Closed, Reset),
        (Open, Closed, Reset),
        (Open, HalfOpen, Failure),
        (Open, HalfOpen, Inconclusive),
        (HalfOpen, Closed, Recovered),
        (HalfOpen, Closed, Waived),
        (HalfOpen, Closed, Reset),
        (HalfOpen, Open, Failure),
        (HalfOpen, Open, Inconclusive),
    ];
    assert_eq!(steps, BTreeSet::from(expected));
}

/// What histories have to meet besides.
const RARITIES: [&str; 15] = [
    "tripped by calls",
    "tripped by checks",
    "recovered after calls had tripped it",
    "recovered after checks had tripped it",
    "waived after calls had tripped it",
    "opened by a trial call",
    "permitted while closed",
    "permitted with a lease",
    "permitted by an override",
    "denied while open",
    "denied on trial",
    "denied by an override",
    "denied by an override, nobody knows for how long",
    "denied while suspended",
    "an override expires",
];

fn disposition_of_a_call(turn: &Turn) -> Option<Disposition> {
    let Input::Report(Sample { source: Source::Passive { .. }, .. }) = turn.input else { return None };
    let Answer::Disposition(disposition) = turn.answer else { return None };
    Some(disposition)
}

fn rarity(turn: &Turn) -> Option<&'static str> {
    use EvidenceSource::{Active, Passive};
    let (overridden, status) = (turn.after.overriding().is_some(), turn.after.status());
    let (state, source) = (status.state, status.trip_source);
    let called = disposition_of_a_call(turn).is_some();
    match (turn.answer, turn.transition.map(|step| (step.from, step.to, step.reason)), source) {
        (_, Some((Closed, Open, Failure)), Some(Passive)) => Some("tripped by calls"),
        (_, Some((Closed, Open, Failure)), Some(Active)) => Some("tripped by checks"),
        (_, Some((HalfOpen, Closed, Recovered)), Some(Passive)) => Some("recovered after calls had tripped it"),
        (_, Some((HalfOpen, Closed, Recovered)), Some(Active)) => Some("recovered after checks had tripped it"),
        (_, Some((HalfOpen, Closed, Waived)), Some(Passive)) => Some("waived after calls had tripped it"),
        (_, Some((HalfOpen, Open, Failure)), _) if called => Some("opened by a trial call"),
        (Answer::Permission(Permission::Granted(permit)), ..) => Some(match permit.lease {
            _ if overridden => "permitted by an override",
            Some(_) => "permitted with a lease",
            None => "permitted while closed",
        }),
        (Answer::Permission(Permission::Denied(Denial { retry_after })), ..) => Some(match (retry_after, state) {
            (Some(_), _) if overridden => "denied by an override",
            (None, _) if overridden => "denied by an override, nobody knows for how long",
            (None, _) => "denied while suspended",
            (Some(_), HalfOpen) => "denied on trial",
            (Some(_), _) => "denied while open",
        }),
        (Answer::Expired(true), ..) => Some("an override expires"),
        _ => None,
    }
}
