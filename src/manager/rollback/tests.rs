use super::*;
use crate::journal::testing::task;
use crate::model::{Annotations, MonitorDraft, SpecDraft, Story, TaskSpec, TcpDraft, Timestamp};

/// The spec that connects to that port.
fn spec(port: u64) -> Arc<TaskSpec> {
    let tcp = TcpDraft { address: format!("127.0.0.1:{port}"), ..TcpDraft::default() };
    let draft = SpecDraft { monitor: Some(MonitorDraft::Tcp(tcp)), ..SpecDraft::default() };
    Arc::new(TaskSpec::try_new(draft, &mut Violations::new()).expect("valid"))
}

/// A generation of a spec of its own.
fn kept(generation: u64, standing: Standing) -> KeptGeneration {
    let story = Story { standing, annotations: Some(Annotations::default()), ..Story::default() };
    KeptGeneration { generation: Generation::new(generation), spec: spec(generation), story }
}

fn reverted() -> Standing {
    Standing::Reverted { since: None, until: Timestamp::default(), error: "panicked".to_owned() }
}

fn superseded() -> Standing {
    Standing::Superseded { since: None, until: Timestamp::default() }
}

fn rolled_back() -> Standing {
    Standing::RolledBack { time: Timestamp::default(), error: "late".to_owned() }
}

fn chosen(active: u64, kept: Vec<KeptGeneration>, wanted: Option<u64>) -> Result<(u64, Option<u64>), Refusal> {
    let spec = kept
        .iter()
        .find(|kept| kept.generation.get() == active)
        .map_or_else(|| spec(active), |it| Arc::clone(&it.spec));
    let task = Task { generation: Generation::new(active), spec, ..task("t", 1) };
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
fn the_one_before_is_none_that_was_reverted_and_none_that_would_change_nothing() {
    // 3 has failed, so that 4 has the spec of 2.
    let back = KeptGeneration { spec: spec(2), ..kept(4, Standing::Active { since: None }) };
    let all = || vec![kept(1, superseded()), kept(2, superseded()), kept(3, reverted()), back.clone()];
    assert_eq!(chosen(4, all(), None), Ok((1, Some(4))));
    assert_eq!(chosen(4, all(), Some(3)), Ok((3, None)), "by its number it may be had again");
    let name = task("t", 1).name;
    let none = Err(Refusal::GenerationNotFound { name, generation: None });
    assert_eq!(chosen(4, all()[1..].to_vec(), None), none);
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
