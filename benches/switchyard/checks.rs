//! Checks of the built-in kinds, made back to back: monitors are built, run for one check and dropped, as fast as they go, against
//! bare loops of tokio and hyper that open the same connections. All on one thread; the target has one of its own.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use switchyard::model::{
    Attempt, Epoch, Generation, HttpDraft, InstanceId, MonitorDraft, Regime, TaskSpec, TcpDraft, TcpStep, Uid, Verdict,
};
use switchyard::monitor::{Assignment, BuiltIn, CancellationToken, Children, Clock, Context, LiveCell, Orders, Report};
use switchyard::probe::BuiltIns;
use switchyard::telemetry::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::lab::Lab;
use crate::served::{name, spec, tcp};
use crate::table::{Bar, Case, Row, Unit};

/// Checks under way.
const AT_ONCE: u8 = 64;
/// What a TCP check says and hears. It waits for an answer, or connections would be made faster than the target takes them, and
/// the kernel's patience with that would be measured.
const PING: &[u8] = b"ping\n";
const PONG: &[u8] = b"ok\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nok\n";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("TCP checks", |lab| {
            let tcp = |address: &str| {
                let step = TcpStep { send: PING.to_vec(), expect: PONG.to_vec() };
                spec(MonitorDraft::Tcp(TcpDraft { address: address.to_owned(), steps: vec![step] }), 1)
            };
            compare(lab, "TCP checks of one exchange, 64 at once", tcp, bare_tcp)
        }),
        Case::new("HTTP checks", |lab| {
            let http = |address: &str| {
                let draft = HttpDraft { url: format!("http://{address}/"), ..Default::default() };
                spec(MonitorDraft::Http(draft), 1)
            };
            compare(lab, "HTTP checks, fresh connections, 64 at once", http, bare_http)
        }),
    ]
}

/// A runtime of one thread: this one, whenever it waits for something.
fn shard() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

fn compare<F>(
    lab: &Lab,
    name: &str,
    spec: impl Fn(&str) -> Result<TaskSpec>,
    bare: fn(SocketAddr) -> F,
) -> Result<Vec<Row>>
where
    F: Future<Output = Result<()>>,
{
    let port = target()?;
    // Each loop has an address of its own, so that no two share a range of ephemeral ports.
    let targets: Vec<_> = (1..=AT_ONCE).map(|host| SocketAddr::from(([127, 0, 1, host], port))).collect();
    let specs = targets.iter().map(|target| spec(&target.to_string()).map(Arc::new)).collect::<Result<Vec<_>>>()?;
    let checks = Checks::new()?;
    let turns = lab.take_turns(
        || shard()?.block_on(back_to_back(lab, &specs, |spec| checks.check(spec))),
        || shard()?.block_on(back_to_back(lab, &targets, |target| bare(*target))),
    )?;
    Ok(vec![Row::beside(name, Unit::PerSecond, &turns, Bar::OfBaseline(0.8))])
}

/// Does something for a window's length with each of many, over and over; says how often in a second.
async fn back_to_back<'a, T, F>(lab: &Lab, each: &'a [T], work: impl Fn(&'a T) -> F) -> Result<f64>
where
    F: Future<Output = Result<()>>,
{
    let (done, began) = (Cell::new(0_u32), Instant::now());
    let loops = each.iter().map(|one| async {
        while began.elapsed() < lab.window() {
            work(one).await?;
            done.set(done.get() + 1);
        }
        anyhow::Ok(())
    });
    try_join_all(loops).await?;
    Ok(f64::from(done.get()) / began.elapsed().as_secs_f64())
}

/// What single checks are made of.
struct Checks {
    built_ins: BuiltIns,
    assignment: Assignment,
    _reports: mpsc::Receiver<Report>,
}

impl Checks {
    fn new() -> Result<Self> {
        // Nobody listens: a full channel would make monitors wait, a closed one lets them go on.
        let (reports, mut inbox) = mpsc::channel(1);
        inbox.close();
        let assignment = Assignment {
            instance: InstanceId::new(1),
            name: name(1)?,
            uid: Uid::new(Uuid::from_u128(1)),
            generation: Generation::new(1),
            attempt: Attempt::new(1),
            kind: "benchmark".into(),
            schedule: *tcp("127.0.0.1:1", 1)?.schedule(),
            clock: Clock::new(),
            reports,
            live: Arc::new(LiveCell::new()),
            orders: Arc::new(Orders::new(Regime { epoch: Epoch::new(1), counted: true, trial_interval: None })),
            spread_millis: 0,
            checks: Metrics::new()?.checks,
        };
        Ok(Self { built_ins: BuiltIns::new(), assignment, _reports: inbox })
    }

    /// Runs a monitor for its one check.
    async fn check(&self, spec: &Arc<TaskSpec>) -> Result<()> {
        let live = Arc::new(LiveCell::new());
        let assignment = Assignment { live: Arc::clone(&live), ..self.assignment.clone() };
        let context = Context::new(assignment, CancellationToken::new(), Children::new());
        let monitor = self.built_ins.build(spec).context("not a built-in kind")?;
        let ran = monitor.run(context).await;
        let check = live.snapshot().last_check.context("no check was made")?;
        ensure!(ran.is_ok() && check.verdict == Verdict::Pass, "the check failed: {check:?}");
        Ok(())
    }
}

async fn bare_tcp(target: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(target).await?;
    stream.write_all(PING).await?;
    let (mut answer, mut read) = ([0; 1024], 0);
    while !answer[..read].ends_with(PONG) {
        let more = stream.read(&mut answer[read..]).await?;
        ensure!(more > 0, "the target closed too early");
        read += more;
    }
    Ok(())
}

/// As hyper's guide has it, with the request of our own probe.
async fn bare_http(target: SocketAddr) -> Result<()> {
    let stream = TcpStream::connect(target).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get("/")
        .header("host", target.to_string())
        .header("user-agent", "switchyard/0.1.0")
        .header("accept", "*/*")
        .header("connection", "close")
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    ensure!(response.status().is_success(), "the status is {}", response.status());
    response.into_body().collect().await?;
    connection.await??;
    Ok(())
}

/// Serves the target on a thread of its own, at every address of this machine, until the process ends.
fn target() -> Result<u16> {
    let (told, port) = sync_channel(1);
    std::thread::Builder::new().name("target".to_owned()).spawn(move || {
        let runtime = shard()?;
        runtime.block_on(async {
            let listener = TcpListener::bind("0.0.0.0:0").await?;
            told.send(listener.local_addr()?.port())?;
            serve(listener).await
        })
    })?;
    port.recv().context("the target did not start")
}

/// Answers every connection's request, and closes it.
pub(crate) async fn serve(listener: TcpListener) -> Result<()> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        // Ends with its client.
        drop(tokio::spawn(async move {
            let mut request = [0; 1024];
            if stream.read(&mut request).await? > 0 {
                stream.write_all(RESPONSE).await?;
            }
            anyhow::Ok(())
        }));
    }
}
