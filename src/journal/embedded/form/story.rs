//! What has become of a generation, as it is stored: in its spec's row, before the spec, as a field that no spec has. So a row of an
//! older store is one without a story, and whoever reads the spec alone passes over it.

use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};

use super::event::ActorForm;
use super::instance::read_reason;
use super::task::PairForm;
use super::{Read, Unreadable, halves, times, uuid};
use crate::model::{Annotations, Cause, Generation, Origin, Standing, Story, Timestamp};

/// The story's field in a row of specs: far from those of specs.
const FIELD: u32 = 1_000;

/// A story.
#[derive(Clone, PartialEq, prost::Message)]
struct StoryForm {
    #[prost(message, optional, tag = "1")]
    origin: Option<OriginForm>,
    #[prost(message, optional, tag = "2")]
    annotations: Option<AnnotationsForm>,
    /// Which variant: from 1; 0 is not known.
    #[prost(uint32, tag = "3")]
    standing: u32,
    #[prost(fixed64, optional, tag = "4")]
    since: Option<u64>,
    /// Until when it was active, or when it was given up.
    #[prost(fixed64, optional, tag = "5")]
    time: Option<u64>,
    /// Why it was given up; or, with the code of a superseded one, why it was reverted, if it was. So a binary that knows of no reverted
    /// ones, as those before were, reads them as superseded.
    #[prost(string, tag = "6")]
    error: String,
}

/// How a generation came about.
#[derive(Clone, PartialEq, prost::Message)]
struct OriginForm {
    #[prost(fixed64, tag = "1")]
    time: u64,
    #[prost(oneof = "ActorForm", tags = "5, 6, 19")]
    actor: Option<ActorForm>,
    #[prost(string, tag = "2")]
    reason: String,
    #[prost(fixed64, optional, tag = "3")]
    request_high: Option<u64>,
    #[prost(fixed64, optional, tag = "4")]
    request_low: Option<u64>,
    #[prost(uint64, optional, tag = "7")]
    rollback_to: Option<u64>,
}

/// Annotations, which may be there and be none.
#[derive(Clone, PartialEq, prost::Message)]
struct AnnotationsForm {
    #[prost(message, repeated, tag = "1")]
    pairs: Vec<PairForm>,
}

/// The row of a spec, encoded, with its story.
pub(in crate::journal::embedded) fn storied(story: &Story, spec: &[u8]) -> Vec<u8> {
    let story = StoryForm::of(story).encode_to_vec();
    let mut row = Vec::with_capacity(story.len() + spec.len() + 8);
    encode_key(FIELD, WireType::LengthDelimited, &mut row);
    encode_varint(story.len() as u64, &mut row);
    row.extend_from_slice(&story);
    row.extend_from_slice(spec);
    row
}

/// The story in a row of specs, and the spec, encoded as it was.
pub(in crate::journal::embedded) fn read_story(row: &[u8]) -> Read<(Story, &[u8])> {
    let mut rest = row;
    if (FIELD, WireType::LengthDelimited) != decode_key(&mut rest)? {
        return Ok((Story::default(), row));
    }
    let length = usize::try_from(decode_varint(&mut rest)?).unwrap_or(usize::MAX);
    let (story, spec) = rest.split_at_checked(length).ok_or(Unreadable::Missing("story's end"))?;
    Ok((StoryForm::decode(story)?.read()?, spec))
}

impl StoryForm {
    fn of(story: &Story) -> Self {
        let Story { origin, annotations, standing } = story;
        let annotations = annotations.as_ref().map(|them| them.iter().map(PairForm::of).collect());
        let nanos = |time: &Timestamp| Some(time.as_nanos());
        let (code, since, time, error) = match standing {
            Standing::Unknown => (0, None, None, ""),
            Standing::Candidate => (1, None, None, ""),
            Standing::Active { since } => (2, since.as_ref().and_then(nanos), None, ""),
            Standing::Superseded { since, until } => (3, since.as_ref().and_then(nanos), nanos(until), ""),
            Standing::Reverted { since, until, error } => {
                (3, since.as_ref().and_then(nanos), nanos(until), error.as_str())
            }
            Standing::RolledBack { time, error } => (4, None, nanos(time), error.as_str()),
            Standing::Cancelled { time, error } => (5, None, nanos(time), error.as_str()),
        };
        Self {
            origin: origin.as_ref().map(OriginForm::of),
            annotations: annotations.map(|pairs| AnnotationsForm { pairs }),
            standing: code,
            since,
            time,
            error: error.to_owned(),
        }
    }

    fn read(self) -> Read<Story> {
        let Self { origin, annotations, standing, since, time, error } = self;
        let since = times(since);
        let time = || times(time).ok_or(Unreadable::Missing("time"));
        let annotations = annotations.map(|AnnotationsForm { pairs }| {
            let read = Annotations::try_new(pairs.into_iter().map(PairForm::read));
            read.map_err(|found| Unreadable::violations("annotations", found))
        });
        Ok(Story {
            origin: origin.map(OriginForm::read).transpose()?,
            annotations: annotations.transpose()?,
            standing: match standing {
                0 => Standing::Unknown,
                1 => Standing::Candidate,
                2 => Standing::Active { since },
                3 if error.is_empty() => Standing::Superseded { since, until: time()? },
                3 => Standing::Reverted { since, until: time()?, error },
                4 => Standing::RolledBack { time: time()?, error },
                5 => Standing::Cancelled { time: time()?, error },
                code => return Err(Unreadable::Unknown { field: "standing", value: code.to_string() }),
            },
        })
    }
}

impl OriginForm {
    fn of(origin: &Origin) -> Self {
        let Origin { time, cause: Cause { actor, reason, request_id }, rollback_to } = origin;
        let request = request_id.map(halves);
        Self {
            time: time.as_nanos(),
            actor: Some(ActorForm::of(actor)),
            reason: reason.as_str().to_owned(),
            request_high: request.map(|(high, _)| high),
            request_low: request.map(|(_, low)| low),
            rollback_to: rollback_to.map(Generation::get),
        }
    }

    fn read(self) -> Read<Origin> {
        let Self { time, actor, reason, request_high, request_low, rollback_to } = self;
        Ok(Origin {
            time: Timestamp::from_nanos(time),
            cause: Cause {
                actor: actor.ok_or(Unreadable::Missing("actor"))?.read()?,
                reason: read_reason(reason)?,
                request_id: request_high.zip(request_low).map(uuid),
            },
            rollback_to: rollback_to.map(Generation::new),
        })
    }
}
