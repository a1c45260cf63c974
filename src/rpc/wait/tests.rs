use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::Instant;

use super::*;
use crate::journal::testing::{event, in_memory, task};
use crate::model::{Attempt, Event, Generation, Instance, InstanceState, Swap, SwapPhase, SwapStrategy, Timestamp};
use crate::rpc::testing::commit;

const NAME: &str = "namespaces/default/tasks/t";
const MINUTE: Duration = Duration::from_secs(60);

fn standing(state: State, intent: Intent) -> Task {
    Task { state, intent, ..task("t", 1) }
}

/// The task's `number`th event, after which it stands so.
fn moved(number: usize, state: State) -> Event {
    event(number, EventType::InstanceReady, standing(state, Intent::Run))
}

fn request(until: &[State]) -> WaitTask {
    let name = TaskName::parse(NAME).expect("valid");
    WaitTask { name, until: Until::States(until.iter().copied().collect()), timeout: MINUTE }
}

#[test]
fn a_state_is_reached_pending_or_out_of_reach() {
    use Intent::{Cancel, Run};
    use Progress::{Pending, Reached, Unreachable};
    use State::{Aborting, Cancelled, Failed, Running, Starting, Stopping, Stuck, Succeeded};
    let ended: &[State] = &[Succeeded, Failed, Cancelled];
    let cases = [
        (&[Running][..], Running, Run, Reached),
        (&[Running], Starting, Run, Pending),
        (&[Running], Stopping, Run, Pending),
        (&[Running], Stopping, Cancel, Unreachable),
        (&[Running], Stuck, Cancel, Unreachable),
        (&[Running], Failed, Run, Unreachable),
        (&[Running, Stuck], Aborting, Cancel, Pending),
        (&[Failed], Stopping, Cancel, Unreachable),
        (&[Failed], Cancelled, Cancel, Unreachable),
        (&[Failed, Cancelled], Cancelled, Cancel, Reached),
        (ended, Running, Run, Pending),
        (ended, Stopping, Cancel, Pending),
        (ended, Succeeded, Run, Reached),
    ];
    for (until, state, intent, expected) in cases {
        let until_set = Until::States(until.iter().copied().collect());
        assert_eq!(toward(&until_set, &standing(state, intent)), expected, "{until:?} from {state:?} {intent:?}");
    }
}

fn instance(state: InstanceState) -> Instance {
    Instance {
        generation: Generation::new(1),
        attempt: Attempt::new(1),
        state,
        start_time: Timestamp::default(),
        ready_time: None,
        stop_time: None,
        exit: None,
        shutdown: None,
        blocked_since: None,
    }
}

#[test]
fn a_cancel_is_proven_by_an_end_or_by_nothing_but_stuck_instances() {
    use InstanceState::{Aborting, Ended, Stuck};
    let with = |state, intent, active, draining: &[InstanceState]| Task {
        instance: Some(instance(active)),
        draining: draining.iter().copied().map(instance).collect(),
        ..standing(state, intent)
    };
    for (active, draining, proven) in [
        (Stuck, &[][..], true),
        (Aborting, &[], false),
        (Stuck, &[Aborting], false),
        (Ended, &[Aborting], false),
        (Ended, &[Stuck], true),
        (Stuck, &[Stuck], true),
    ] {
        let task = with(State::Stuck, Intent::Cancel, active, draining);
        assert_eq!(is_proven(&task), proven, "{active:?} beside {draining:?}");
        assert!(!is_proven(&with(State::Stuck, Intent::Run, active, draining)), "of a start timeout");
    }
    for state in State::ALL.into_iter().filter(|state| state.is_ended()) {
        assert!(is_proven(&standing(state, Intent::Run)), "{state:?}");
    }
}

/// The task's `number`th event, after which its newest swap, the one called `id`, is in that phase.
fn swapping(number: usize, id: u128, phase: SwapPhase) -> Event {
    event(number, EventType::SwapStarted, swapped(id, phase))
}

fn swapped(id: u128, phase: SwapPhase) -> Task {
    let task = task("t", 1);
    let swap = Swap {
        id: Uuid::from_u128(id),
        from_generation: Generation::new(1),
        to_generation: Generation::new(2),
        to_spec: Arc::clone(&task.spec),
        strategy: SwapStrategy::MakeBeforeBreak,
        phase,
        error: String::new(),
        revert_reason: String::new(),
    };
    Task { swap: Some(Box::new(swap)), ..task }
}

#[test]
fn a_swaps_end_is_reached_pending_or_there_is_none_to_wait_for() {
    assert_eq!(toward(&Until::SwapEnded, &task("t", 1)), Progress::Unreachable);
    for phase in SwapPhase::ALL {
        let expected = if phase.is_ended() { Progress::Reached } else { Progress::Pending };
        assert_eq!(toward(&Until::SwapEnded, &swapped(1, phase)), expected, "{phase:?}");
    }
}

/// Begins to wait for the end of the swap 1, which is being built.
async fn waits_for_a_swap(journal: &Journal) -> tokio::task::JoinHandle<Result<Arc<Task>, Error>> {
    commit(journal, [swapping(1, 1, SwapPhase::Building)]);
    let (watched, task) = Watched::find(journal, request(&[]).name).expect("there");
    let waits = tokio::spawn(async move { watched.swapped(task, &CancellationToken::new()).await });
    yield_now().await;
    waits
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_swap_is_shown_how_it_ended_even_where_the_next_has_begun() {
    let (journal, _writer) = in_memory();
    let waits = waits_for_a_swap(&journal).await;
    commit(&journal, [swapping(2, 1, SwapPhase::Draining)]);
    yield_now().await;
    assert!(!waits.is_finished());
    commit(&journal, [swapping(3, 1, SwapPhase::RolledBack), swapping(4, 2, SwapPhase::Building)]);
    let task = waits.await.expect("no panic").expect("no error");
    let swap = task.swap.as_ref().expect("set");
    assert_eq!((swap.id.as_u128(), swap.phase), (1, SwapPhase::RolledBack));
}

#[tokio::test(start_paused = true)]
async fn a_swap_that_ended_before_is_not_taken_for_the_one_that_is_waited_for() {
    let (journal, _writer) = in_memory();
    commit(&journal, [moved(1, State::Running)]);
    let (watched, _) = Watched::find(&journal, request(&[]).name).expect("there");
    // The first ends between the subscription and the answer to the command that began the second.
    commit(&journal, [swapping(2, 1, SwapPhase::Done), swapping(3, 2, SwapPhase::Building)]);
    let task = Arc::new(swapped(2, SwapPhase::Building));
    let waits = tokio::spawn(async move { watched.swapped(task, &CancellationToken::new()).await });
    yield_now().await;
    assert!(!waits.is_finished());
    commit(&journal, [swapping(4, 2, SwapPhase::Done)]);
    let task = waits.await.expect("no panic").expect("no error");
    assert_eq!(task.swap.as_ref().map(|swap| (swap.id.as_u128(), swap.phase)), Some((2, SwapPhase::Done)));
}

#[tokio::test(start_paused = true)]
async fn what_happened_before_the_swap_does_not_hide_its_end_where_the_next_has_begun() {
    let (journal, _writer) = in_memory();
    commit(&journal, [moved(1, State::Starting)]);
    let (watched, _) = Watched::find(&journal, request(&[]).name).expect("there");
    // All of it between the subscription and the moment in which the answer to the second command is looked at.
    let second = [swapping(3, 2, SwapPhase::Building), swapping(4, 2, SwapPhase::RolledBack)];
    commit(&journal, [moved(2, State::Running)].into_iter().chain(second).chain([swapping(5, 3, SwapPhase::Building)]));
    let (task, known) = (Arc::new(swapped(2, SwapPhase::Building)), Sequence::new(3));
    let task = watched.after(known).swapped(task, &CancellationToken::new()).await.expect("no error");
    assert_eq!(task.swap.as_ref().map(|swap| (swap.id.as_u128(), swap.phase)), Some((2, SwapPhase::RolledBack)));
}

#[tokio::test(start_paused = true)]
async fn a_task_without_a_swap_in_progress_is_answered_as_it_is() {
    let (journal, _writer) = in_memory();
    commit(&journal, [swapping(1, 1, SwapPhase::Done)]);
    for task in [task("t", 1), swapped(1, SwapPhase::Done)] {
        let (watched, _) = Watched::find(&journal, request(&[]).name).expect("there");
        let answered = watched.swapped(Arc::new(task.clone()), &CancellationToken::new()).await.expect("no error");
        assert_eq!(answered.swap, task.swap);
    }
}

#[tokio::test(start_paused = true)]
async fn a_state_passed_through_counts() {
    let (journal, _writer) = in_memory();
    commit(&journal, [moved(1, State::Starting)]);
    let (waiting, closing) = (journal.clone(), CancellationToken::new());
    let waits = tokio::spawn(async move { wait(&waiting, request(&[State::Running]), &closing).await });
    yield_now().await;
    commit(&journal, [moved(2, State::Running), moved(3, State::Stopping)]);
    let (task, reached) = waits.await.expect("no panic").expect("no error");
    assert_eq!((task.state, reached), (State::Stopping, true), "shown as it stands");
}

#[tokio::test(start_paused = true)]
async fn an_end_counts_even_where_deletion_follows_at_once() {
    let (journal, _writer) = in_memory();
    commit(&journal, [moved(1, State::Running)]);
    let (watched, task) = Watched::find(&journal, request(&[]).name).expect("there");
    let ended = standing(State::Cancelled, Intent::Cancel);
    let deleted = event(3, EventType::TaskDeleted, ended.clone());
    commit(&journal, [event(2, EventType::TaskEnded, ended), deleted]);
    let proven = watched.proven(task, &CancellationToken::new()).await.expect("proven");
    assert_eq!(proven.state, State::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_task_is_not_found_nor_is_its_successor_it() {
    let (journal, _writer) = in_memory();
    let missing = wait(&journal, request(&[State::Running]), &CancellationToken::new()).await;
    assert!(matches!(missing, Err(Error::Refused(Refusal::TaskNotFound(_)))));

    commit(&journal, [moved(1, State::Starting)]);
    let (waiting, closing) = (journal.clone(), CancellationToken::new());
    let waits = tokio::spawn(async move { wait(&waiting, request(&[State::Running]), &closing).await });
    yield_now().await;
    let deleted = event(2, EventType::TaskDeleted, standing(State::Failed, Intent::Run));
    let successor = Task { name: TaskName::parse(NAME).expect("valid"), ..task("t", 2) };
    commit(&journal, [deleted, event(3, EventType::TaskCreated, successor)]);
    assert!(matches!(waits.await.expect("no panic"), Err(Error::Refused(Refusal::TaskNotFound(_)))));
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_in_time_with_the_task_as_it_stands() {
    let (journal, _writer) = in_memory();
    commit(&journal, [moved(1, State::Starting)]);
    let (waiting, closing) = (journal.clone(), CancellationToken::new());
    let waits = tokio::spawn(async move { wait(&waiting, request(&[State::Failed]), &closing).await });
    yield_now().await;
    let began = Instant::now();
    commit(&journal, [moved(2, State::Running)]);
    let (task, reached) = waits.await.expect("no panic").expect("no error");
    assert_eq!((task.state, reached, began.elapsed()), (State::Running, false, MINUTE));
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_waits() {
    let (journal, writer) = in_memory();
    commit(&journal, [moved(1, State::Running)]);
    let closing = CancellationToken::new();
    closing.cancel();
    let ended = wait(&journal, request(&[State::Failed]), &closing).await;
    assert!(matches!(ended, Err(Error::Draining)));

    assert!(writer.close(MINUTE));
    let ended = wait(&journal, request(&[State::Failed]), &CancellationToken::new()).await;
    assert!(matches!(ended, Err(Error::Draining)), "the journal's end is a drain's");
}
