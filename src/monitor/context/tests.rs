use std::future::{pending, ready};

use tokio::time::{Instant, sleep};

use super::*;
use crate::model::ScheduleDraft;
use crate::monitor::testing::assignment;

fn context(capacity: usize) -> (Context, CancellationToken, mpsc::Receiver<Report>) {
    let (reports, inbox) = mpsc::channel(capacity);
    let assignment = assignment("trial", ScheduleDraft::default(), reports).expect("valid");
    let token = CancellationToken::new();
    (Context::new(assignment, token.clone(), Children::new()), token, inbox)
}

#[tokio::test(start_paused = true)]
async fn a_cancel_wins_over_a_future_that_is_done() {
    let (context, token, _inbox) = context(1);
    assert_eq!(context.run_until_cancelled(ready(5)).await, Some(5));
    token.cancel();
    assert_eq!(context.run_until_cancelled(ready(5)).await, None);
    assert_eq!(context.run_until_cancelled(pending::<u8>()).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_is_an_error_once_told_to_stop() {
    let (context, token, _inbox) = context(1);
    assert_eq!(context.checkpoint().await, Ok(()));
    token.cancel();
    assert_eq!(context.checkpoint().await, Err(Cancelled));
}

#[tokio::test(start_paused = true)]
async fn a_clean_up_runs_after_the_cancel_and_has_its_bound() {
    let (context, token, _inbox) = context(1);
    token.cancel();
    assert!(context.cleanup(Duration::from_secs(2), sleep(Duration::from_secs(1))).await);
    let begin = Instant::now();
    assert!(!context.cleanup(Duration::from_secs(2), pending()).await);
    assert_eq!(begin.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn ready_is_said_once_and_waits_for_a_loop_that_is_behind() {
    let (context, token, mut inbox) = context(1);
    context.report(Fact::CheckBegan).await;
    let said = tokio::spawn(async move {
        context.ready().await;
        context.ready().await;
        drop(token);
    });
    tokio::task::yield_now().await;
    assert!(!said.is_finished());
    assert_eq!(inbox.recv().await.map(|report| report.fact), Some(Fact::CheckBegan));
    said.await.expect("no panic");
    assert_eq!(inbox.recv().await.map(|report| report.fact), Some(Fact::Ready));
    assert_eq!(inbox.recv().await, None);
}

#[tokio::test(start_paused = true)]
async fn children_are_the_instances() {
    let (context, _token, _inbox) = context(1);
    let children = context.children().clone();
    context.spawn(pending());
    assert!(!children.is_empty());
    children.abort_all();
    children.ended().await;
    assert!(children.aborted());
}

#[test]
fn progress_is_shown() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let (context, _token, _inbox) = context(1);
        assert_eq!(context.live().snapshot().last_progress_time, None);
        context.progress();
        assert!(context.live().snapshot().last_progress_time.is_some());
    });
}
