//! Each incorrect pattern of the seed document is found, and told with the rule that it breaks.

use std::future::pending;
use std::hint::spin_loop;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// What is wrong with the kind's monitor; that its message names the rule is seen to here.
async fn fault(kind: impl Kind, rule: &str) -> Uncooperative {
    let fault = check_cooperative(kind, Config::default()).await.expect_err("uncooperative");
    assert_eq!(fault.rule().map(Rule::text), Some(rule), "{fault}");
    assert!(fault.to_string().contains(&format!(". Rule broken: \"{rule}\". ")), "{fault}");
    fault
}

const SELECT: &str = "Task uses tokio::select! with cancel_token.cancelled() in the loop";
const EVERY_ITERATION: &str = "Cancellation is checked on every iteration, not just occasionally";
const NO_BLOCKING: &str = "No blocking syscalls or std::thread::sleep calls";
const CHUNKS: &str = "Long-running operations are split into cancellable chunks";
const BOUNDED_CLEANUP: &str = "Cleanup code has timeout to prevent blocking shutdown";

#[tokio::test]
async fn one_that_never_looks_at_the_token_fails() {
    async fn monitoring_task() {
        loop {
            sleep(Duration::from_millis(10)).await;
        }
    }
    let kind = from_fn("deaf", |_token| monitoring_task());
    assert!(matches!(fault(kind, SELECT).await, Uncooperative::IgnoresToken));
}

#[tokio::test]
async fn one_that_looks_at_the_token_only_now_and_then_fails() {
    let kind = from_fn("seldom", |token| async move {
        while !token.is_cancelled() {
            // Counted as the trial counts its own time, so that a machine that keeps both waiting changes nothing. The trial
            // cancels after some ten of them.
            for _ in 0..150 {
                sleep(Duration::from_millis(10)).await;
            }
        }
    });
    let fault = fault(kind, EVERY_ITERATION).await;
    assert!(matches!(fault, Uncooperative::LooksSeldom { after } if after > BOUND), "{fault}");
}

#[tokio::test]
async fn one_that_looks_too_seldom_to_be_seen_looking_fails_like_one_that_never_does() {
    let kind = from_fn("seldom", |token| async move {
        while !token.is_cancelled() {
            for _ in 0..100 {
                sleep(Duration::from_secs(1)).await;
            }
        }
    });
    let fault = fault(kind, SELECT).await;
    assert!(fault.to_string().contains("Look at the token on every iteration"), "{fault}");
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the pattern that the kit is to find")]
async fn one_that_sleeps_on_its_thread_fails_and_does_not_hang() {
    let kind = from_fn("sleeping", |token| async move {
        loop {
            tokio::select! {
                () = token.cancelled() => break,
                () = async { std::thread::sleep(Duration::from_secs(5)) } => {}
            }
        }
    });
    assert!(matches!(fault(kind, NO_BLOCKING).await, Uncooperative::BlocksThread));
}

#[tokio::test]
async fn one_that_waits_in_blocking_io_fails_and_does_not_hang() {
    // What is read of it comes when this end is dropped, and so the thread's end.
    let (silent, read) = UnixStream::pair().expect("a pair");
    let read = Arc::new(read);
    let kind = from_fn("reading", move |token| {
        let read = Arc::clone(&read);
        async move {
            tokio::select! {
                () = token.cancelled() => Ok(()),
                got = async { (&*read).read(&mut [0]) } => got.map(drop),
            }
        }
    });
    assert!(matches!(fault(kind, NO_BLOCKING).await, Uncooperative::BlocksThread));
    drop(silent);
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn one_that_computes_without_a_pause_fails_and_does_not_hang() {
    let enough = Arc::new(AtomicBool::new(false));
    let kind = {
        let enough = Arc::clone(&enough);
        from_fn("computing", move |token| {
            let enough = Arc::clone(&enough);
            async move {
                let compute = async {
                    while !enough.load(Ordering::Relaxed) {
                        spin_loop();
                    }
                };
                tokio::select! {
                    () = token.cancelled() => {}
                    () = compute => {}
                }
            }
        })
    };
    let fault = fault(kind, CHUNKS).await;
    enough.store(true, Ordering::Relaxed);
    assert!(matches!(fault, Uncooperative::Computes));
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the pattern that the kit is to find")]
async fn one_that_blocks_its_thread_for_a_while_after_the_cancel_fails() {
    // Longer than the bound, and too short for the trial to be given up.
    let kind = from_fn("late", |token| async move {
        token.cancelled().await;
        std::thread::sleep(BOUND + Duration::from_millis(300));
    });
    assert!(matches!(fault(kind, NO_BLOCKING).await, Uncooperative::BlocksThread));
}

#[tokio::test]
async fn one_that_hears_the_token_and_does_not_end_fails_for_its_clean_up() {
    let hanging = from_fn("hanging", |token| async move {
        token.cancelled().await;
        pending::<()>().await;
    });
    let slow = from_fn("slow", |token| async move {
        token.cancelled().await;
        sleep(Duration::from_millis(1_500)).await;
    });
    let (hanging, slow) = tokio::join!(fault(hanging, BOUNDED_CLEANUP), fault(slow, BOUNDED_CLEANUP));
    assert!(matches!(hanging, Uncooperative::CleansUpTooLong { bound: BOUND, after: None }), "{hanging}");
    assert!(matches!(slow, Uncooperative::CleansUpTooLong { bound: BOUND, after: Some(_) }), "{slow}");
}

fn leaves_children() -> impl Kind {
    Custom::new(|context| {
        Box::pin(async move {
            context.spawn(pending());
            context.token().cancelled().await;
            Ok(())
        })
    })
}

#[tokio::test]
async fn one_that_leaves_children_fails() {
    let fault = fault(leaves_children(), SELECT).await;
    assert!(matches!(fault, Uncooperative::LeavesChildren), "{fault}");
}

#[tokio::test]
#[should_panic(
    expected = "the monitor \"custom\" is not cooperative: it ended, but children it had spawned had not 1s after its token was \
                cancelled. Rule broken: \"Task uses tokio::select! with cancel_token.cancelled() in the loop\". Give each of them a \
                clone of the token"
)]
async fn the_message_names_the_monitor_and_what_was_seen_and_the_rule_and_what_to_do() {
    assert_cooperative(leaves_children(), Config::default()).await;
}

#[test]
fn a_late_end_is_told_with_its_time() {
    let message = Uncooperative::LooksSeldom { after: Duration::from_micros(2_300_123) }.to_string();
    let expected = "it had not ended 1s after its token was cancelled: it ended only 2.3s after, and had not been waiting for the \
                    token. Rule broken: \"Cancellation is checked on every iteration, not just occasionally\". Look at the token on \
                    every iteration: ";
    assert!(message.starts_with(expected), "{message}");
}
