mod cleanup;
mod rules;

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

use super::*;
use crate::model::Violations;
use crate::monitor::{Context, Monitor, MonitorError, MonitorFuture, from_fn};

/// A kind of which every part can be wrong.
struct Custom {
    declares_readiness: bool,
    run: fn(Context) -> MonitorFuture,
}

impl Kind for Custom {
    fn name(&self) -> &str {
        "custom"
    }

    fn declares_readiness(&self) -> bool {
        self.declares_readiness
    }

    fn validate(&self, config: &Config) -> Result<(), Violations> {
        config.refuse_any()
    }

    fn build(&self, _config: &Config) -> Result<Box<dyn Monitor>, MonitorError> {
        Ok(Box::new(Running(self.run)))
    }
}

impl Custom {
    fn new(run: fn(Context) -> MonitorFuture) -> Self {
        Self { declares_readiness: false, run }
    }
}

struct Running(fn(Context) -> MonitorFuture);

impl Monitor for Running {
    fn run(self: Box<Self>, context: Context) -> MonitorFuture {
        (self.0)(context)
    }
}

#[tokio::test]
async fn a_cooperative_one_passes() {
    let loop_of_the_seed = from_fn("cooperative", |token| async move {
        loop {
            tokio::select! {
                () = token.cancelled() => break,
                () = sleep(Duration::from_millis(10)) => {}
            }
        }
    });
    assert_cooperative(loop_of_the_seed, Config::default()).await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_clock_neither_hurries_nor_moves() {
    let begin = Instant::now();
    assert_cooperative(from_fn("cooperative", |token| async move { token.cancelled().await }), Config::default()).await;
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn what_it_talks_to_may_run_beside_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let greeter = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        stream.write_all(b"hello").await.expect("a reader");
        stream
    });
    let kind = from_fn("reader", move |token| async move {
        let mut stream = TcpStream::connect(address).await?;
        stream.read_exact(&mut [0; 5]).await?;
        token.cancelled().await;
        Ok::<_, std::io::Error>(())
    });
    assert_cooperative(kind, Config::default()).await;
    greeter.await.expect("no panic");
}

#[tokio::test]
#[should_panic(expected = "it panicked: lost")]
async fn one_that_panics_in_its_clean_up_fails() {
    let kind = from_fn("panicking", |token| async move {
        token.cancelled().await;
        assert!(!token.is_cancelled(), "lost");
    });
    assert_cooperative(kind, Config::default()).await;
}

#[tokio::test]
#[should_panic(expected = "it ended before it was told to stop (the feed is gone)")]
async fn one_that_ends_by_itself_proves_nothing() {
    let kind = from_fn("brief", |_token| async { Err::<(), _>("the feed is gone") });
    assert_cooperative(kind, Config::default()).await;
}

#[tokio::test]
async fn readiness_that_is_declared_is_waited_for() {
    let run = |context: Context| -> MonitorFuture {
        Box::pin(async move {
            sleep(Duration::from_millis(200)).await;
            context.ready().await;
            context.token().cancelled().await;
            Ok(())
        })
    };
    assert_cooperative(Custom { declares_readiness: true, run }, Config::default()).await;
}

#[tokio::test]
async fn a_bad_configuration_is_told_from_a_bad_monitor() {
    let kind = from_fn("plain", |token| async move { token.cancelled().await });
    let verdict = check_cooperative(kind, Config::from(serde_json::json!({"a": 1}))).await;
    let fault = verdict.expect_err("it takes none");
    assert!(matches!(fault, Uncooperative::Configuration(_)));
    assert!(fault.rule().is_none());
}
