//! What stores of before hold, which knew nothing of callers.

use std::time::Duration;

use prost::Message;
use prost::encoding::{self, DecodeContext, WireType};

use super::super::SpecForm;
use super::super::circuit::CircuitForm;
use crate::model::{
    CircuitDraft, CircuitOverride, CircuitState, CircuitStatus, Epoch, EvidenceSource, MonitorDraft, Override,
    PassiveDraft, Reason, SpecDraft, TaskSpec, TcpDraft, Timestamp, Violations,
};

/// A message without the fields that `drops` names, each with its bytes as they were but what `inner` makes of them.
fn rewritten(message: &[u8], drops: impl Fn(u32) -> bool, inner: impl Fn(u32, &[u8]) -> Option<Vec<u8>>) -> Vec<u8> {
    let (mut rest, mut kept) = (message, Vec::new());
    while !rest.is_empty() {
        let whole = rest;
        let (tag, wire) = encoding::decode_key(&mut rest).expect("a key");
        let body = rest;
        encoding::skip_field(wire, tag, &mut rest, DecodeContext::default()).expect("a field");
        if drops(tag) {
            continue;
        }
        let nested = (wire == WireType::LengthDelimited).then(|| {
            let mut body = body;
            let length = encoding::decode_varint(&mut body).expect("a length");
            inner(tag, &body[..usize::try_from(length).expect("short")])
        });
        match nested.flatten() {
            Some(nested) => encoding::bytes::encode(tag, &nested, &mut kept),
            None => kept.extend(&whole[..whole.len() - rest.len()]),
        }
    }
    kept
}

fn spec(passive: PassiveDraft) -> TaskSpec {
    let tcp = TcpDraft { address: "127.0.0.1:1".to_owned(), ..TcpDraft::default() };
    // Other than the defaults, so that what was stored is seen to stay.
    let circuit =
        CircuitDraft { consecutive_failures: Some(7), streak_cap: Some(9), passive, ..CircuitDraft::default() };
    let draft = SpecDraft { monitor: Some(MonitorDraft::Tcp(tcp)), circuit, ..SpecDraft::default() };
    TaskSpec::try_new(draft, &mut Violations::new()).expect("valid")
}

#[test]
fn a_spec_without_what_callers_have_a_say_in_reads_with_the_defaults() {
    const CIRCUIT: u32 = 15;
    let passive = PassiveDraft {
        window: Some(Duration::from_secs(7)),
        min: Some(3),
        min_reporters: Some(2),
        trial_permits: Some(0),
        trial_concurrency: Some(1),
        lease_ttl: Some(Duration::from_secs(90)),
    };
    let stored = SpecForm::of(&spec(passive)).encode_to_vec();
    let policy = |policy: &[u8]| rewritten(policy, |tag| tag > 15, |_, _| None);
    let before = rewritten(&stored, |_| false, |tag, bytes| (tag == CIRCUIT).then(|| policy(bytes)));
    assert!(before.len() < stored.len());
    let read = SpecForm::decode(before.as_slice()).expect("decodes").read().expect("valid");
    assert_eq!(read, spec(PassiveDraft::default()));
    let policy = read.circuit().passive();
    assert_eq!((policy.window(), policy.lease_ttl()), (Duration::from_secs(30), Duration::from_secs(10)));
    assert_eq!((policy.min(), policy.min_reporters()), (20, 1));
    assert_eq!((policy.trial_permits(), policy.trial_concurrency()), (5, 1));
}

#[test]
fn a_circuit_without_an_override_or_a_tripper_reads_as_one_that_has_none() {
    let time = Timestamp::from_nanos(1_700_000_000_000_000_000);
    let lies = CircuitOverride {
        mode: Override::Shadow,
        reason: Reason::cut("because".to_owned()),
        since_time: time,
        expire_time: Some(time),
    };
    let status = CircuitStatus {
        state: CircuitState::Open,
        suspended: true,
        epoch: Epoch::new(9),
        since_time: time,
        reason: None,
        until: None,
        left: Some(Duration::from_secs(3)),
        streak: 2,
        trip_source: Some(EvidenceSource::Passive),
        overriding: Some(lies.into()),
        flapping: true,
    };
    let stored = CircuitForm::of(&status).encode_to_vec();
    let before = rewritten(&stored, |tag| tag > 8, |_, _| None);
    let read = CircuitForm::decode(before.as_slice()).expect("decodes").read().expect("valid");
    assert_eq!(read, CircuitStatus { trip_source: None, overriding: None, flapping: false, ..status });
}
