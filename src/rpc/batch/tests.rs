use tonic_types::StatusExt;

use super::*;
use crate::journal::testing::task;
use crate::model::{Refusal, Violations};

fn of_task(bytes: usize) -> Outcome {
    let mut wire = render::task(&task("t", 1), None);
    wire.annotations = [("note".to_owned(), "x".repeat(bytes))].into();
    Outcome::Task(Box::new(wire))
}

fn of_status(bytes: usize) -> Outcome {
    let mut violations = Violations::new();
    (0..100).for_each(|n| violations.add(&format!("field{n}"), "%".repeat(bytes)));
    Outcome::Status(wire_status(&Status::from(Error::from(violations))))
}

fn pushed(outcomes: impl IntoIterator<Item = Outcome>) -> Vec<v1::BatchResult> {
    let mut results = Results { shown: Vec::new(), room: FULL_BYTES };
    outcomes.into_iter().for_each(|outcome| results.push(outcome));
    results.shown
}

#[test]
fn a_status_is_the_one_that_the_call_alone_would_end_with() {
    let alone = Status::from(Error::from(Refusal::ServerDraining));
    let wire = wire_status(&alone);
    assert_eq!((wire.code, wire.message.as_str()), (alone.code().into(), alone.message()));
    let back = Status::with_details(alone.code(), wire.message.clone(), wire.encode_to_vec().into());
    assert_eq!(format!("{:?}", back.get_error_details()), format!("{:?}", alone.get_error_details()));
    assert!(alone.get_error_details().retry_info().is_some());
}

#[test]
fn the_largest_batch_is_answered_with_less_than_clients_take() {
    for outcome in [of_task as fn(usize) -> Outcome, of_status] {
        let results = pushed((0..1_000).map(|_| outcome(16 * 1024)));
        let answer = v1::BatchStartTasksResponse { results, cursor: "c".repeat(256) };
        assert!(answer.encoded_len() < 4 * 1024 * 1024, "{}", answer.encoded_len());
    }
}

#[test]
fn what_has_room_is_shown_in_full_and_what_follows_in_brief() {
    let in_full = |result: &v1::BatchResult| match result.result.as_ref().expect("set") {
        Outcome::Task(task) => task.spec.is_some(),
        Outcome::Status(status) => status.details.iter().any(|detail| detail.type_url.ends_with("BadRequest")),
    };
    let results = pushed([of_task(1 << 20), of_status(9), of_task(3 << 20), of_task(1), of_status(9)]);
    assert_eq!(results.iter().map(in_full).collect::<Vec<_>>(), [true, true, false, false, false]);
    let Some(Outcome::Task(brief)) = &results[3].result else { panic!("a task: {:?}", results[3]) };
    let shown = render::task(&task("t", 1), None);
    assert_eq!(
        (&brief.name, &brief.uid, &brief.etag, brief.state),
        (&shown.name, &shown.uid, &shown.etag, shown.state)
    );
    let Some(Outcome::Status(brief)) = &results[4].result else { panic!("a status: {:?}", results[4]) };
    let brief = Status::with_details(3.into(), "", brief.encode_to_vec().into());
    assert_eq!(brief.get_error_details().error_info().expect("kept").reason, "INVALID_FIELD");
}
