//! Ten thousand tasks, three in a hundred of which get a spec that fails: the roll-out stops where it was told to, and says what it
//! has done; applying the mended set goes on from there.

use switchyard::config::Layer;
use switchyard::pb::v1::{ApplyHeader, ApplyOutcome, ApplyProgress, ApplyTasksRequest, Rollout, Task};

use super::rolled_out::{SOON, failed, observed, quiet};
use super::{Answer, answer, header, named, task};
use crate::harness::{Client, Harness, drill};

const TASKS: usize = 10_000;
/// One of so many is bad.
const BAD: usize = 33;
const PARALLEL: u32 = 64;
const FAILURES: u32 = 20;
/// The tasks of a message.
const MESSAGE: usize = 1_000;

fn set(task: impl Fn(usize, &str) -> Task) -> Vec<Task> {
    (0..TASKS).map(|number| task(number, &format!("t{number:05}"))).collect()
}

fn mended(_: usize, id: &str) -> Task {
    quiet(observed(task(id, "2h"), SOON))
}

fn partly_bad(number: usize, id: &str) -> Task {
    if !number.is_multiple_of(BAD) {
        return mended(number, id);
    }
    observed(named(id, drill(id, "panic", "0s")), prost_types::Duration { seconds: 600, nanos: 0 })
}

async fn apply(client: &mut Client, rollout: Rollout, tasks: &[Task]) -> Answer {
    let first =
        ApplyTasksRequest { header: Some(ApplyHeader { rollout: Some(rollout), ..header() }), ..Default::default() };
    let rest = tasks.chunks(MESSAGE).map(|tasks| ApplyTasksRequest { header: None, tasks: tasks.to_vec() });
    answer(client, std::iter::once(first).chain(rest).collect()).await.expect("applied")
}

fn counts(answer: &Answer) -> ApplyProgress {
    answer.result().counts.expect("told")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_roll_out_over_ten_thousand_tasks_stops_within_its_budget_and_goes_on_once_mended() {
    let server = Harness::start(Layer { max_tasks: Some(TASKS), ..Layer::default() }).await;
    let mut client = server.client().await;
    let all = u32::try_from(TASKS).expect("small");
    let created = apply(&mut client, Rollout::default(), &set(|_, id| task(id, "1h"))).await;
    assert_eq!(created.told(), (ApplyOutcome::Succeeded, [all, 0, 0, 0, 0]));

    let rollout = Rollout { max_parallel: PARALLEL, max_failures: FAILURES, ..Default::default() };
    let stopped = apply(&mut client, rollout, &set(partly_bad)).await;
    assert_eq!((stopped.result().outcome(), stopped.plan.len()), (ApplyOutcome::Stopped, TASKS));
    let told = counts(&stopped);
    assert!((FAILURES..FAILURES + PARALLEL).contains(&told.failed), "{told:?}");
    assert_eq!(told.swapped + told.failed + told.waiting, all, "{told:?}");
    assert!(told.waiting > 0, "{told:?}");
    let failed = failed(&stopped);
    assert_eq!(failed.len(), told.failed as usize);
    for id in failed {
        let number: usize = id[1..].parse().expect("a number");
        assert!(number.is_multiple_of(BAD), "{id}");
    }

    // What has come through is left; what has gone back, and what was never begun, is swapped.
    let widely = Rollout { max_parallel: 1_000, ..Default::default() };
    let succeeded = apply(&mut client, widely, &set(mended)).await;
    assert_eq!(succeeded.told(), (ApplyOutcome::Succeeded, [0, told.failed + told.waiting, 0, told.swapped, 0]));
    let head = server.info().await.head_cursor;
    let again = apply(&mut client, widely, &set(mended)).await;
    assert_eq!(again.told(), (ApplyOutcome::Succeeded, [0, 0, 0, all, 0]));
    assert_eq!(server.info().await.head_cursor, head, "nothing was appended");
}
