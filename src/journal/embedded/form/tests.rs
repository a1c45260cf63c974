//! What is stored reads back as it was.

mod before;
mod records;
mod specs;

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;
use prost::Message;

pub(crate) use self::records::events;
use self::records::{requests, stories};
use self::specs::specs;
use super::{
    EventForm, Identity, Piece, PieceForm, Pieces, Read, RequestForm, SpecForm, SpecKey, TaskRow, TaskRowUid,
    Unreadable, read_brief, read_story, storied,
};
use crate::model::{Brief, Event, Story, TaskSpec};

const BORN: u64 = 77;

/// The specs of an event's task, as the table would have them: decoded.
fn stored_specs(event: &Event) -> HashMap<SpecKey, Arc<TaskSpec>> {
    let task = event.task.iter();
    let swaps = task.clone().filter_map(|task| task.swap.as_ref());
    let swapped = swaps.map(|swap| (swap.to_generation.get(), &swap.to_spec));
    let observed = task.clone().filter_map(|task| task.observation.as_ref());
    let observed = observed.map(|observed| (observed.generation.get(), &observed.spec));
    let all = observed.chain(swapped).chain(task.map(|task| (task.generation.get(), &task.spec)));
    all.map(|(generation, spec)| (SpecKey { born: BORN, generation }, Arc::new(again(spec)))).collect()
}

fn again(spec: &TaskSpec) -> TaskSpec {
    let bytes = SpecForm::of(spec).encode_to_vec();
    SpecForm::decode(bytes.as_slice()).expect("decodes").read().expect("valid")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn specs_of_every_kind_read_back(spec in specs()) {
        prop_assert_eq!(&again(&spec), &spec);
    }

    #[test]
    fn stories_read_back_and_leave_the_spec_as_it_was(story in stories(), spec in specs()) {
        let bytes = SpecForm::of(&spec).encode_to_vec();
        let row = storied(&story, &bytes);
        prop_assert_eq!(read_story(&row)?, (story, bytes.as_slice()));
        // Whoever wants the spec alone.
        let read = SpecForm::decode(row.as_slice()).expect("decodes").read().expect("valid");
        prop_assert_eq!(&read, &spec);
        prop_assert_eq!(read_story(&bytes)?, (Story::default(), bytes.as_slice()), "a row without a story");
    }

    #[test]
    fn events_and_the_tasks_in_them_read_back(event in events()) {
        let specs = stored_specs(&event);
        let mut spec_of = |key: SpecKey| -> Read<_> {
            specs.get(&key).cloned().ok_or(Unreadable::NoSpec { generation: key.generation })
        };
        let bytes = EventForm::of(&event, BORN).encode_to_vec();
        let form = EventForm::decode(bytes.as_slice()).expect("decodes");
        let row = TaskRow::after(form.clone(), event.sequence.get());
        prop_assert_eq!(row.is_some(), event.task.is_some());
        if let (Some(row), Some(task)) = (row, &event.task) {
            let bytes = row.encode_to_vec();
            prop_assert_eq!(TaskRowUid::read(&bytes).expect("ours"), task.uid);
            let row = TaskRow::decode(bytes.as_slice()).expect("decodes");
            prop_assert_eq!(&row.read(&mut spec_of)?, task);
        }
        prop_assert_eq!(form.read(event.sequence.get(), &mut spec_of)?, event);
    }

    #[test]
    fn an_event_in_brief_is_what_the_whole_one_says(event in events()) {
        let specs = stored_specs(&event);
        let mut spec_of = |key: SpecKey| -> Read<_> {
            specs.get(&key).cloned().ok_or(Unreadable::NoSpec { generation: key.generation })
        };
        let bytes = EventForm::of(&event, BORN).encode_to_vec();
        prop_assert_eq!(read_brief(&bytes, event.sequence.get(), &mut spec_of)?, Brief::from(&event));
        // What a later version adds to either message is none of ours.
        let mut later = EventForm::decode(bytes.as_slice()).expect("decodes").encode_to_vec();
        prost::encoding::string::encode(99, &"x".repeat(200), &mut later);
        later.extend([0x9d, 0x06, 1, 2, 3, 4]);
        prop_assert_eq!(read_brief(&later, event.sequence.get(), &mut spec_of)?, Brief::from(&event));
        for end in 0..bytes.len() {
            let brief = read_brief(&bytes[..end], event.sequence.get(), &mut spec_of);
            prop_assert!(brief.is_err() || EventForm::decode(&bytes[..end]).is_ok(), "cut at {}", end);
        }
    }

    #[test]
    fn requests_read_back(request in requests()) {
        let bytes = RequestForm::of(&request).encode_to_vec();
        prop_assert_eq!(RequestForm::decode(bytes.as_slice()).expect("decodes").read()?, request);
    }

    #[test]
    fn a_group_is_cut_into_pieces_that_fit_a_page_and_lose_nothing(
        drawn in prop::collection::vec((0..1_000_usize, any::<u64>(), any::<bool>()), 1..150),
    ) {
        let events: Vec<_> = drawn.into_iter().map(|(length, time, large)| {
            let mut event = crate::journal::testing::created(length);
            event.time = crate::model::Timestamp::from_nanos(time);
            event.cause.reason = crate::model::Reason::cut("x".repeat(length));
            if large && length < 30 {
                let task = Arc::make_mut(event.task.as_mut().expect("there"));
                task.annotations = crate::model::Annotations::try_new([("a".to_owned(), "x".repeat(16_000))]).expect("valid");
            }
            event
        }).collect();
        let mut pieces = Pieces::new(10);
        for event in &events {
            pieces.push(&EventForm::of(event, BORN), event.time.as_nanos());
        }
        let mut forms = Vec::new();
        for whole in pieces.finish() {
            let bytes = whole.piece.encode_to_vec();
            let piece = PieceForm::read(&bytes, whole.last).expect("ours");
            prop_assert_eq!(PieceForm::head(&bytes).expect("ours"), (piece.first, piece.newest));
            // Of the page, redb takes 16 bytes and the seal 4.
            prop_assert!(bytes.len() + 16 + 4 <= 16 * 1024 || piece.events.len() == 1);
            prop_assert_eq!(piece.first, 10 + forms.len() as u64);
            let borrowed = Piece::read(&bytes, whole.last).expect("ours");
            prop_assert_eq!((borrowed.first, &borrowed.events), (piece.first, &piece.events.iter().map(|event| &event[..]).collect()));
            let times = events[forms.len()..].iter().take(piece.events.len()).map(|event| event.time.as_nanos());
            prop_assert_eq!(Some(piece.newest), times.max());
            forms.extend(piece.events);
        }
        let expected: Vec<_> = events.iter().map(|event| EventForm::of(event, BORN).encode_to_vec()).collect();
        prop_assert_eq!(forms, expected);
    }

    #[test]
    fn what_is_not_ours_is_unreadable_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut spec_of = |key: SpecKey| -> Read<_> { Err(Unreadable::NoSpec { generation: key.generation }) };
        let event = EventForm::decode(bytes.as_slice()).map(|form| form.read(1, &mut spec_of));
        prop_assert!(!matches!(event, Ok(Ok(event)) if event.task.is_some()));
        let brief = read_brief(&bytes, 1, &mut spec_of);
        prop_assert!(!matches!(brief, Ok(brief) if brief.task.is_some_and(|task| !task.uid.uuid().is_nil())));
        let _ = PieceForm::read(&bytes, 7);
        prop_assert!(Piece::read(&bytes, 7).is_err());
        let _ = RequestForm::decode(bytes.as_slice()).map(RequestForm::read);
        let _ = SpecForm::decode(bytes.as_slice()).map(SpecForm::read);
        let _ = read_story(&bytes);
    }
}

#[test]
fn what_the_image_says_already_is_not_said_again() {
    let mut event = crate::journal::testing::created(1);
    let task = event.task.clone().expect("there");
    let bytes = |event: &Event| EventForm::of(event, BORN).encoded_len();
    let without = bytes(&event);
    event.detail = Some(crate::model::Detail::Circuit(task.circuit.clone()));
    assert_eq!(bytes(&event), without + 2);
}

#[test]
fn a_piece_of_another_length_than_its_key_says_is_refused() {
    let mut pieces = Pieces::new(5);
    pieces.push(&EventForm::default(), 0);
    let bytes = pieces.finish().remove(0).piece.encode_to_vec();
    assert!(PieceForm::read(&bytes, 5).is_ok());
    assert!(PieceForm::read(&bytes, 6).is_err());
    assert!(PieceForm::read(&[], 0).is_err());
    assert!(Piece::read(&bytes, 5).is_ok());
    assert!(Piece::read(&bytes, 6).is_err());
    assert!(Piece::read(&[], 0).is_err());
}

#[test]
fn a_copy_has_the_id_until_it_is_opened() {
    let id = uuid::Uuid::from_u128(1 << 100 | 3);
    let copy = Identity::new(id).of_copy();
    assert_eq!((copy.id(), copy.is_copy), (id, true));
}
