//! The kinds against real listeners, in real time. Nothing here depends on how fast this machine is: what must not time out has the
//! longest timeout there is, what must time out never answers.

mod http;
mod https;
mod tcp;

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::model::{Live, MonitorDraft, Phases, ScheduleDraft, SpecDraft, TaskSpec, Verdict, Violations};
use crate::monitor::testing::assignment;
use crate::monitor::{CancellationToken, Children, Fact};

/// A listener on a free port, and what it does with each connection.
struct Target {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Target {
    async fn serve<Fut>(each: impl Fn(TcpStream) -> Fut + Send + 'static) -> Self
    where
        Fut: Future<Output = ()> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                each(stream).await;
            }
        });
        Self { address, serving }
    }

    /// Reads a request's head and answers with these pieces, each in a segment of its own.
    async fn answer(pieces: &'static [&'static [u8]]) -> Self {
        Self::serve(move |mut stream| async move {
            read_head(&mut stream).await;
            for piece in pieces {
                stream.set_nodelay(true).expect("set");
                // The check may have seen enough and be gone.
                if stream.write_all(piece).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    /// Accepts, reads, and never says a word.
    async fn silent() -> Self {
        Self::serve(|mut stream| async move { drop(stream.read_to_end(&mut Vec::new()).await) }).await
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A port that nobody listens on: one that was just given back.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.and_then(|listener| listener.local_addr()).expect("a free port")
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a whole head"));
    }
    String::from_utf8(head).expect("text")
}

fn spec(monitor: MonitorDraft, timeout: Duration) -> Arc<TaskSpec> {
    let interval = Some(Duration::from_secs(300));
    let schedule = ScheduleDraft { interval, timeout: Some(timeout), max_runs: 1 };
    let mut violations = Violations::new();
    let spec =
        TaskSpec::try_new(SpecDraft { monitor: Some(monitor), schedule, ..SpecDraft::default() }, &mut violations);
    Arc::new(spec.unwrap_or_else(|| panic!("{violations}")))
}

/// Long enough for the slowest machine.
const AMPLE: Duration = Duration::from_secs(120);
/// For targets that never answer.
const SHORT: Duration = Duration::from_millis(50);

/// What one check finds.
async fn check(monitor: MonitorDraft, timeout: Duration) -> Finding {
    check_on(Network { dialer: Dialer::new(), tls: Tls::new() }, monitor, timeout).await
}

/// What one check finds, with what it shares with others.
async fn check_on(network: Network, monitor: MonitorDraft, timeout: Duration) -> Finding {
    let probe = Probe { spec: spec(monitor, timeout), network: Arc::new(network) };
    probe.check(Instant::now() + timeout).await
}

fn assert_finding(finding: &Finding, verdict: Verdict, reason: &str) {
    assert_eq!((finding.verdict, finding.reason), (verdict, reason), "{}", finding.message);
}

/// Runs an instance of a built-in kind to its end: what it reported, and what it showed.
async fn run(monitor: MonitorDraft) -> (Vec<Fact>, Live) {
    let spec = spec(monitor, AMPLE);
    let (reports, mut inbox) = mpsc::channel(16);
    let draft = ScheduleDraft { max_runs: 1, ..ScheduleDraft::default() };
    let assignment = assignment(spec.monitor().kind(), draft, reports).expect("valid");
    let live = Arc::clone(&assignment.live);
    let context = Context::new(assignment, CancellationToken::new(), Children::new());
    let monitor = BuiltIns::new().build(&spec).expect("built in");
    monitor.run(context).await.expect("max_runs");
    let mut facts = Vec::new();
    while let Some(report) = inbox.recv().await {
        facts.push(report.fact);
    }
    (facts, live.snapshot())
}

#[test]
fn custom_kinds_are_not_built_in() {
    let custom = crate::model::CustomSpec { kind: "drill".to_owned(), config: crate::model::ConfigValue::default() };
    assert!(BuiltIns::new().build(&spec(MonitorDraft::Custom(custom), AMPLE)).is_none());
    for name in BuiltIns::new().names() {
        assert!(["http", "tcp", "exec"].contains(name));
    }
}

#[tokio::test]
async fn a_name_is_resolved_and_a_wrong_one_fails() {
    let target = Target::silent().await;
    let address = format!("localhost:{}", target.address.port());
    let finding = check(tcp::connect_only(&address), AMPLE).await;
    assert_finding(&finding, Verdict::Pass, "");
    assert!(finding.phases.expect("told").resolve.is_some());
    let finding = check(tcp::connect_only("no-such-host.invalid:80"), AMPLE).await;
    assert_finding(&finding, Verdict::Fail, "RESOLVE_FAILED");
}

/// What a server writes, as one piece.
fn text(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> Vec<u8> {
    let mut text = Vec::new();
    write(&mut text).expect("memory");
    text
}
