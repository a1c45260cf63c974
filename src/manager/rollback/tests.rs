use super::*;
use crate::journal::testing::task;
use crate::model::{Annotations, Story, Timestamp};

fn kept(generation: u64, standing: Standing) -> KeptGeneration {
    let story = Story { standing, annotations: Some(Annotations::default()), ..Story::default() };
    KeptGeneration { generation: Generation::new(generation), spec: task("t", 1).spec, story }
}

fn superseded() -> Standing {
    Standing::Superseded { since: None, until: Timestamp::default() }
}

fn rolled_back() -> Standing {
    Standing::RolledBack { time: Timestamp::default(), error: "late".to_owned() }
}

fn chosen(active: u64, kept: Vec<KeptGeneration>, wanted: Option<u64>) -> Result<(u64, Option<u64>), Refusal> {
    let task = Task { generation: Generation::new(active), ..task("t", 1) };
    let found = choose(&task, kept, wanted.map(Generation::new))?;
    Ok((found.former.generation.get(), found.former.before.map(Generation::get)))
}

#[test]
fn the_one_before_is_the_newest_that_was_active_whatever_failed_in_between() {
    let active = || kept(5, Standing::Active { since: None });
    let all = || vec![kept(1, superseded()), kept(2, superseded()), kept(3, rolled_back()), kept(4, rolled_back())];
    let with_active = || all().into_iter().chain([active(), kept(6, rolled_back())]).collect::<Vec<_>>();
    assert_eq!(chosen(5, with_active(), None), Ok((2, Some(5))));
    assert_eq!(chosen(5, with_active(), Some(1)), Ok((1, None)));
    assert_eq!(chosen(5, with_active(), Some(5)), Ok((5, None)), "its own");
}

#[test]
fn what_never_was_active_or_is_not_kept_is_nothing_to_go_back_to() {
    let all = || vec![kept(1, Standing::Unknown), kept(2, rolled_back()), kept(3, Standing::Active { since: None })];
    let name = task("t", 1).name;
    for generation in [1, 2].map(Generation::new) {
        let refused = chosen(3, all(), Some(generation.get()));
        assert_eq!(refused, Err(Refusal::GenerationNeverActive { name: name.clone(), generation }));
    }
    let not_found = |generation| Err(Refusal::GenerationNotFound { name: name.clone(), generation });
    assert_eq!(chosen(3, all(), Some(4)), not_found(Some(Generation::new(4))));
    assert_eq!(chosen(3, all(), None), not_found(None));
    assert_eq!(chosen(3, Vec::new(), None), not_found(None));
}

#[test]
fn a_spec_that_is_not_taken_any_more_is_the_fault_of_the_generation_asked_for() {
    let refused = of_field(Refusal::Invalid(Violations::one("task.spec.http.url", "not allowed")));
    assert_eq!(refused, Refusal::Invalid(Violations::one(FIELD, "task.spec.http.url: not allowed")));
    let unknown = Refusal::UnknownKind { field: "task.spec.custom.kind", kind: "gone".to_owned(), hint: "" };
    assert_eq!(of_field(unknown), Refusal::UnknownKind { field: FIELD, kind: "gone".to_owned(), hint: "" });
}
