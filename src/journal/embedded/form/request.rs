//! Remembered requests as they are stored.

use super::codes::Code;
use super::event::ActorForm;
use super::{Read, Unreadable, halves, uuid};
use crate::model::{Idempotency, Method, Remembered, Sequence, Timestamp, Uid};

/// A remembered request.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::journal::embedded) struct RequestForm {
    #[prost(oneof = "ActorForm", tags = "5, 6, 19")]
    actor: Option<ActorForm>,
    #[prost(uint32, tag = "1")]
    method: u32,
    #[prost(fixed64, tag = "2")]
    request_high: u64,
    #[prost(fixed64, tag = "3")]
    request_low: u64,
    #[prost(fixed64, tag = "4")]
    fingerprint_high: u64,
    #[prost(fixed64, tag = "7")]
    fingerprint_low: u64,
    #[prost(fixed64, tag = "8")]
    uid_high: u64,
    #[prost(fixed64, tag = "9")]
    uid_low: u64,
    #[prost(uint64, tag = "10")]
    sequence: u64,
    #[prost(fixed64, tag = "11")]
    pub(in crate::journal::embedded) time: u64,
}

impl RequestForm {
    pub(in crate::journal::embedded) fn of(request: &Remembered) -> Self {
        let Remembered { actor, method, idempotency, uid, sequence, time } = request;
        let Idempotency { request_id, fingerprint } = idempotency;
        let (request_high, request_low) = halves(*request_id);
        let (fingerprint_high, fingerprint_low) = halves(*fingerprint);
        let (uid_high, uid_low) = halves(uid.uuid());
        Self {
            actor: Some(ActorForm::of(actor)),
            method: method.code(),
            request_high,
            request_low,
            fingerprint_high,
            fingerprint_low,
            uid_high,
            uid_low,
            sequence: sequence.get(),
            time: time.as_nanos(),
        }
    }

    pub(in crate::journal::embedded) fn read(self) -> Read<Remembered> {
        let Self {
            actor,
            method,
            request_high,
            request_low,
            fingerprint_high,
            fingerprint_low,
            uid_high,
            uid_low,
            sequence,
            time,
        } = self;
        Ok(Remembered {
            actor: actor.ok_or(Unreadable::Missing("actor"))?.read()?,
            method: Method::of(method)?,
            idempotency: Idempotency {
                request_id: uuid((request_high, request_low)),
                fingerprint: uuid((fingerprint_high, fingerprint_low)),
            },
            uid: Uid::new(uuid((uid_high, uid_low))),
            sequence: Sequence::new(sequence),
            time: Timestamp::from_nanos(time),
        })
    }
}
