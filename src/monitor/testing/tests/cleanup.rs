//! Clean-up that hangs, and clean-up that gives up.

use std::future::pending;

use tokio::time::timeout;

use super::*;
use crate::model::ScheduleDraft;
use crate::monitor::CancellationToken;

/// Too short for what takes a second, and long enough for what gives up after [`GIVES_UP`].
const SHORT: Duration = Duration::from_millis(300);
const GIVES_UP: Duration = Duration::from_millis(20);

async fn fault(kind: impl Kind, bound: Duration) -> Uncooperative {
    check_cleanup_bounded(kind, Config::default(), bound).await.expect_err("a fault")
}

#[tokio::test]
async fn a_clean_up_that_gives_up_in_time_passes() {
    let kind = Custom::new(|context| {
        Box::pin(async move {
            context.token().cancelled().await;
            let finished = context.cleanup(GIVES_UP, pending()).await;
            assert!(!finished);
            Ok(())
        })
    });
    assert_cleanup_bounded(kind, Config::default(), CLEANUP_BOUND).await;
}

#[tokio::test]
async fn it_passes_in_a_child_too() {
    async fn child(token: CancellationToken) {
        token.cancelled().await;
        // It hangs, as it should here.
        let _elapsed = timeout(GIVES_UP, pending::<()>()).await;
    }
    // The root ends at once, and the child does the waiting.
    let left = Custom::new(|context| {
        Box::pin(async move {
            context.spawn(child(context.token().clone()));
            context.token().cancelled().await;
            Ok(())
        })
    });
    // The root's first poll after the cancel is its last, since it waits for the child's end and not for the token.
    let awaited = from_fn("awaited", |token| async move { tokio::spawn(child(token)).await });
    let (left, awaited) = tokio::join!(
        check_cleanup_bounded(left, Config::default(), CLEANUP_BOUND),
        check_cleanup_bounded(awaited, Config::default(), CLEANUP_BOUND),
    );
    left.expect("bounded");
    awaited.expect("bounded");
}

#[tokio::test]
#[should_panic(
    expected = "the clean-up of the monitor \"hanging\" is not known to be bounded: its clean-up had not ended 300ms after the \
                cancel, nor 2s later. Rule broken: \"Cleanup code has timeout to prevent blocking shutdown\". Bound it by \
                `context.cleanup(timeout, …)`"
)]
async fn one_that_hangs_fails_and_is_told_how_to_bound_it() {
    let kind = from_fn("hanging", |token| async move {
        token.cancelled().await;
        pending::<()>().await;
    });
    assert_cleanup_bounded(kind, Config::default(), SHORT).await;
}

#[tokio::test]
async fn one_that_gives_up_too_late_fails_and_is_told_when_it_did() {
    let kind = from_fn("late", |token| async move {
        token.cancelled().await;
        sleep(Duration::from_secs(1)).await;
    });
    match fault(kind, SHORT).await {
        Uncooperative::CleansUpTooLong { bound: SHORT, after: Some(after) } => assert!(after >= Duration::from_secs(1)),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_childs_clean_up_that_hangs_fails() {
    let kind = Custom::new(|context| {
        Box::pin(async move {
            context.spawn(pending());
            context.token().cancelled().await;
            Ok(())
        })
    });
    let fault = fault(kind, SHORT).await;
    assert!(matches!(fault, Uncooperative::CleansUpTooLong { bound: SHORT, after: None }), "{fault}");
}

#[tokio::test]
async fn one_in_which_nothing_hangs_proves_nothing() {
    let fault = fault(from_fn("brief", |token| async move { token.cancelled().await }), CLEANUP_BOUND).await;
    assert!(matches!(fault, Uncooperative::NothingHangs), "{fault}");
    assert!(fault.rule().is_none());
}

#[tokio::test]
async fn a_bound_that_proves_nothing_is_the_callers_fault() {
    for bound in [Duration::ZERO, GRACE, Duration::from_secs(60)] {
        let kind = from_fn("unused", |_token| -> MonitorFuture { panic!("there was nothing to run it for") });
        let fault = fault(kind, bound).await;
        assert!(matches!(fault, Uncooperative::Bound(given) if given == bound), "{fault}");
        assert!(fault.rule().is_none());
    }
    let message = Uncooperative::Bound(Duration::from_secs(7)).to_string();
    assert!(
        message.starts_with("a bound of 7s proves nothing: it must be longer than 0s and shorter than"),
        "{message}"
    );
}

#[tokio::test]
async fn an_error_after_the_cancel_is_an_end_too() {
    let kind = from_fn("giving up", |token| async move {
        token.cancelled().await;
        timeout(GIVES_UP, pending::<()>()).await
    });
    assert_cleanup_bounded(kind, Config::default(), CLEANUP_BOUND).await;
}

#[test]
fn the_grace_period_is_that_of_a_spec_that_says_nothing_of_it() {
    let spec = trial::spec(ScheduleDraft::default()).expect("valid");
    assert_eq!(spec.shutdown().grace_timeout(), GRACE);
    assert!(CLEANUP_BOUND < GRACE);
}
