use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::Instant;

use super::*;
use crate::journal::testing::{event, in_memory, task};
use crate::model::Event;
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
    WaitTask { name, until: until.iter().copied().collect(), timeout: MINUTE }
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
        let until_set = until.iter().copied().collect();
        assert_eq!(toward(&until_set, &standing(state, intent)), expected, "{until:?} from {state:?} {intent:?}");
    }
}

#[test]
fn a_cancel_is_proven_by_an_end_or_by_being_stuck_under_it() {
    for state in State::ALL {
        let proven = is_proven(&standing(state, Intent::Cancel));
        assert_eq!(proven, state.is_ended() || state == State::Stuck, "{state:?}");
    }
    assert!(!is_proven(&standing(State::Stuck, Intent::Run)), "of a start timeout");
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
