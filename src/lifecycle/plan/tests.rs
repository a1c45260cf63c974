use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::circuit::Circuit;
use crate::model::{
    Annotations, Attempt, Cause, Generation, Instance, Labels, MonitorDraft, Mono, Now, Restart, Rollout, SpecDraft,
    Swap, SwapStrategy, Target, TaskSpec, TcpDraft, Timestamp, Uid, Violations,
};

const OWNER: &str = "core";

fn spec(port: u16) -> Arc<TaskSpec> {
    let tcp = TcpDraft { address: format!("127.0.0.1:{}", 1 + port), ..TcpDraft::default() };
    let draft = SpecDraft { monitor: Some(MonitorDraft::Tcp(tcp)), ..SpecDraft::default() };
    Arc::new(TaskSpec::try_new(draft, &mut Violations::new()).expect("valid"))
}

fn labels(owner: Option<&str>, zone: u16) -> Labels {
    let owner = owner.map(|owner| (Apply::OWNER.to_owned(), owner.to_owned()));
    Labels::try_new(owner.into_iter().chain([("zone".to_owned(), zone.to_string())])).expect("valid")
}

fn annotations(note: u16) -> Annotations {
    Annotations::try_new([("note".to_owned(), note.to_string())]).expect("valid")
}

fn name(number: usize) -> TaskName {
    TaskName::parse(&format!("namespaces/default/tasks/t{number}")).expect("valid")
}

fn wanted(number: usize) -> Desired {
    Desired { name: name(number), labels: labels(Some(OWNER), 1), annotations: annotations(1), spec: spec(1) }
}

/// A task that is as `wanted` says.
fn there(number: usize) -> Task {
    let Desired { name, labels, annotations, spec } = wanted(number);
    let now = Now { mono: Mono::ZERO, wall: Timestamp::default() };
    Task {
        name,
        uid: Uid::new(Uuid::from_u128(number as u128)),
        labels,
        annotations,
        spec,
        generation: Generation::new(1),
        last_generation: Generation::new(1),
        target: Target::of("tcp", "127.0.0.1:1"),
        state: State::Running,
        intent: Intent::Run,
        instance: None,
        draining: Vec::new(),
        candidate: None,
        restart: Restart::default(),
        swap: None,
        observation: None,
        outcome: None,
        circuit: Circuit::new(now).status(),
        alerts: Vec::new(),
        pause: None,
        create_time: now.wall,
        update_time: now.wall,
        end: None,
        fate: None,
    }
}

fn apply(prune: bool) -> Apply {
    let cause = Cause::system("test", "");
    Apply { owner: OWNER.to_owned(), prune, rollout: Rollout::default(), validate_only: false, cause }
}

fn swap(task: &Task, to: u16, phase: SwapPhase) -> Option<Box<Swap>> {
    Some(Box::new(Swap {
        id: Uuid::from_u128(7),
        from_generation: task.generation,
        to_generation: task.generation.next(),
        to_spec: spec(to),
        strategy: SwapStrategy::MakeBeforeBreak,
        phase,
        error: String::new(),
        rollback_to: None,
        revert_reason: String::new(),
    }))
}

fn instance(state: InstanceState) -> Option<Instance> {
    Some(Instance {
        generation: Generation::new(1),
        attempt: Attempt::new(1),
        state,
        start_time: Timestamp::default(),
        ready_time: None,
        stop_time: None,
        exit: None,
        shutdown: None,
        blocked_since: None,
    })
}

fn step(change: impl FnOnce(&mut Task)) -> Step {
    let mut task = there(1);
    change(&mut task);
    next_step(OWNER, &wanted(1), Some(&task)).0
}

#[test]
fn a_live_task_is_left_or_swapped_by_what_differs() {
    assert_eq!(next_step(OWNER, &wanted(1), None).0, Step::Create);
    assert_eq!(step(|_| ()), Step::Leave);
    assert_eq!(step(|task| task.intent = Intent::Pause), Step::Leave);
    assert_eq!(step(|task| task.annotations = annotations(2)), Step::Swap);
    assert_eq!(step(|task| task.spec = spec(2)), Step::Swap);
    let stopping = |task: &mut Task| (task.state, task.spec) = (State::Stopping, spec(2));
    assert_eq!(step(stopping), Step::AwaitSwap);
    assert_eq!(step(|task| task.labels = labels(Some(OWNER), 2)), Step::Refuse(Refusal::LabelsImmutable(name(1))));
}

#[test]
fn what_is_not_the_owners_is_refused_whatever_its_state() {
    for owner in [None, Some("edge")] {
        for state in State::ALL {
            let refusal = Refusal::OwnedByOther { name: name(1), owner: owner.map(ToOwned::to_owned) };
            let found = step(|task| (task.labels, task.state) = (labels(owner, 1), state));
            assert_eq!(found, Step::Refuse(refusal), "{state:?}");
        }
    }
}

#[test]
fn what_a_cancel_has_ended_is_created_anew_and_what_ended_by_itself_only_with_another_spec() {
    assert!(matches!(step(|task| task.state = State::Cancelled), Step::Recreate(_)));
    for state in [State::Succeeded, State::Failed] {
        assert_eq!(step(|task| task.state = state), Step::Leave);
        assert_eq!(step(|task| (task.state, task.annotations) = (state, annotations(2))), Step::Leave);
        assert!(matches!(step(|task| (task.state, task.spec) = (state, spec(2))), Step::Recreate(_)));
        let relabelled = step(|task| (task.state, task.labels) = (state, labels(Some(OWNER), 2)));
        assert_eq!(relabelled, Step::Refuse(Refusal::LabelsImmutable(name(1))));
    }
}

#[test]
fn what_a_cancel_still_stops_is_awaited_unless_it_is_stuck() {
    let stopping = |task: &mut Task| (task.intent, task.state) = (Intent::Cancel, State::Stopping);
    assert_eq!(step(stopping), Step::AwaitEnd);
    let stuck = |task: &mut Task| {
        (task.intent, task.state, task.instance) = (Intent::Cancel, State::Stuck, instance(InstanceState::Stuck));
    };
    assert_eq!(step(stuck), Step::Refuse(Refusal::PredecessorStuck(name(1))));
}

#[test]
fn beside_a_stuck_instance_only_annotations_may_change() {
    let stuck = |task: &mut Task| task.draining = instance(InstanceState::Stuck).into_iter().collect();
    assert_eq!(step(stuck), Step::Leave);
    let annotated = |task: &mut Task| (stuck(task), task.annotations = annotations(2)).1;
    assert_eq!(step(annotated), Step::Swap);
    let swapped = |task: &mut Task| (stuck(task), task.spec = spec(2)).1;
    assert_eq!(step(swapped), Step::Refuse(Refusal::PredecessorStuck(name(1))));
}

#[test]
fn a_swap_under_way_is_joined_where_it_brings_the_spec_and_gives_way_otherwise() {
    let under_way = |to, phase| step(|task| (task.spec, task.swap) = (spec(5), swap(task, to, phase)));
    for phase in SwapPhase::ALL.into_iter().filter(|phase| !phase.is_ended()) {
        assert_eq!(under_way(1, phase), Step::Join(Uuid::from_u128(7)), "{phase:?}");
        let committed = matches!(phase, SwapPhase::Committed | SwapPhase::Draining);
        let other = if committed { Step::AwaitSwap } else { Step::Swap };
        assert_eq!(under_way(2, phase), other, "{phase:?}");
        let back = step(|task| task.swap = swap(task, 2, phase));
        assert_eq!(back, other, "what it has is wanted, and is about to go: {phase:?}");
    }
    assert_eq!(under_way(1, SwapPhase::RolledBack), Step::Swap, "it has ended");
}

#[test]
fn the_others_of_the_owner_are_cancelled_only_when_pruned() {
    let tasks = [
        there(1),
        there(2),
        Task { state: State::Failed, ..there(3) },
        Task { intent: Intent::Cancel, state: State::Stopping, ..there(4) },
        Task { labels: labels(Some("edge"), 1), ..there(5) },
        Task { labels: labels(None, 1), ..there(6) },
    ];
    let planned = |prune| {
        let items = plan(&apply(prune), &[wanted(1)], |name| tasks.iter().find(|t| t.name == *name), tasks.iter());
        items.into_iter().map(|item| (item.name, item.action.expect("none is refused"))).collect::<Vec<_>>()
    };
    assert_eq!(planned(false), [(name(1), Action::Leave)]);
    assert_eq!(planned(true), [(name(1), Action::Leave), (name(2), Action::Cancel)]);
}

/// A task in any state that one can be in, of any owner.
fn any_task(number: usize) -> impl Strategy<Value = Task> {
    let owner = prop_oneof![4 => Just(Some(OWNER)), 1 => Just(Some("edge")), 1 => Just(None)];
    let state = proptest::sample::select(State::ALL.to_vec());
    let phase = proptest::option::of((proptest::sample::select(SwapPhase::ALL.to_vec()), 0..3_u16));
    (owner, state, phase, 0..3_u16, 0..2_u16, 0..2_u16, any::<bool>()).prop_map(
        move |(owner, state, swapping, port, zone, note, cancelled)| {
            let stops = matches!(state, State::Stopping | State::Aborting | State::Stuck);
            let intent = match state {
                State::Cancelled => Intent::Cancel,
                State::Paused => Intent::Pause,
                _ if stops && cancelled => Intent::Cancel,
                _ => Intent::Run,
            };
            let running = if state == State::Stuck { InstanceState::Stuck } else { InstanceState::Ready };
            let (labels, annotations, spec) = (labels(owner, zone), annotations(note), spec(port));
            let mut task =
                Task { state, intent, labels, annotations, spec, instance: instance(running), ..there(number) };
            let live = !state.is_ended() && intent != Intent::Cancel;
            task.swap = swapping.filter(|_| live).and_then(|(phase, to)| swap(&task, to, phase));
            task
        },
    )
}

fn any_desired(number: usize) -> impl Strategy<Value = Desired> {
    (0..3_u16, 0..2_u16, 0..2_u16).prop_map(move |(port, zone, note)| Desired {
        name: name(number),
        labels: labels(Some(OWNER), zone),
        annotations: annotations(note),
        spec: spec(port),
    })
}

/// What the world makes of an item of the plan, where all goes well.
fn carry_out(tasks: &mut BTreeMap<TaskName, Task>, set: &[Desired], item: &PlanItem) {
    let desired = set.iter().find(|desired| desired.name == item.name);
    match (item.action.as_ref(), desired) {
        (Ok(Action::Create), Some(Desired { name, labels, annotations, spec })) => {
            let (labels, annotations, spec) = (labels.clone(), annotations.clone(), Arc::clone(spec));
            tasks.insert(name.clone(), Task { name: name.clone(), labels, annotations, spec, ..there(99) });
        }
        (Ok(Action::Swap), Some(desired)) => {
            let task = tasks.get_mut(&item.name).expect("it is there");
            (task.spec, task.annotations) = (Arc::clone(&desired.spec), desired.annotations.clone());
            (task.swap, task.state) = (None, State::Running);
        }
        (Ok(Action::Cancel), None) => {
            let task = tasks.get_mut(&item.name).expect("it is there");
            (task.state, task.intent) = (State::Cancelled, Intent::Cancel);
        }
        (Ok(Action::Leave) | Err(_), Some(_)) => {}
        (action, _) => panic!("{action:?} of {:?}", item.name),
    }
}

proptest! {
    #[test]
    fn what_was_carried_out_leaves_nothing_to_do(
        there in (0..8_usize).prop_flat_map(|count| (0..count).map(any_task).collect::<Vec<_>>()),
        set in (0..8_usize).prop_flat_map(|count| (3..3 + count).map(any_desired).collect::<Vec<_>>()),
        prune: bool,
    ) {
        let apply = apply(prune);
        let mut tasks: BTreeMap<_, _> = there.into_iter().map(|task| (task.name.clone(), task)).collect();
        let before = tasks.clone();
        let first = plan(&apply, &set, |name| before.get(name), before.values());
        for item in &first {
            carry_out(&mut tasks, &set, item);
        }
        let again = plan(&apply, &set, |name| tasks.get(name), tasks.values());
        prop_assert_eq!(again.len(), set.len(), "nothing is cancelled twice");
        for (item, before) in again.iter().zip(&first) {
            let refused = before.action.is_err() && item.action == before.action;
            prop_assert!(refused || item.action == Ok(Action::Leave), "{:?} after {:?}", item, before);
        }
        // What is not the owner's has not been touched.
        for (name, task) in before.iter().filter(|(_, task)| task.labels.get(Apply::OWNER) != Some(OWNER)) {
            prop_assert_eq!(&tasks[name], task);
        }
    }
}
