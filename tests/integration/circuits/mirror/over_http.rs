//! HTTP clients behind a guard, and an upstream on a real socket.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use futures_util::{Stream, StreamExt, poll, stream};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use switchyard::client::{CallError, CircuitLayer, Rejected};
use tokio::net::TcpStream;
use tokio_util::sync::PollSemaphore;
use tower::{Layer as _, Service, ServiceExt};

use super::witness::Witness;
use super::*;
use CallVerdict::{Cancelled, Failure, Ignored, Success};

/// Answers with the status that is asked for; `/never` not at all, and `/cut` with the beginning of an answer, until it is cut.
struct HttpUpstream {
    address: SocketAddr,
    /// How many requests of `/never` are here.
    waiting: watch::Receiver<usize>,
    cut: watch::Sender<bool>,
    served: Arc<AtomicUsize>,
    _accepts: AbortOnDropHandle<()>,
}

type Chunks = std::pin::Pin<Box<dyn Stream<Item = io::Result<Frame<Bytes>>> + Send>>;

impl HttpUpstream {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("bound");
        let ((waits, waiting), (cut, cuts)) = (watch::channel(0), watch::channel(false));
        let served = Arc::<AtomicUsize>::default();
        let orders = Orders { waits, cuts, served: Arc::clone(&served) };
        let accepts = async move {
            while let Ok((stream, _)) = listener.accept().await {
                let orders = orders.clone();
                let answer = service_fn(move |request| orders.clone().answer(request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        };
        Self { address, waiting, cut, served, _accepts: AbortOnDropHandle::new(tokio::spawn(accepts)) }
    }

    fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }

    async fn waits(&self, number: usize) {
        let patience = Patience::with(format!("request {number} of those that wait"));
        let mut waiting = self.waiting.clone();
        patience.wait(waiting.wait_for(|here| *here >= number), &self.served).await.expect("it lives");
    }

    fn request(&self, path: &str) -> Request<Empty<Bytes>> {
        let host = self.address.to_string();
        Request::get(format!("/{path}")).header("host", host).body(Empty::new()).expect("valid")
    }
}

/// What answers go by.
#[derive(Clone)]
struct Orders {
    waits: watch::Sender<usize>,
    cuts: watch::Receiver<bool>,
    served: Arc<AtomicUsize>,
}

impl Orders {
    async fn answer(self, request: Request<Incoming>) -> Result<Response<StreamBody<Chunks>>, Infallible> {
        let Self { waits, mut cuts, served } = self;
        served.fetch_add(1, Ordering::SeqCst);
        let path = request.uri().path().trim_start_matches('/');
        if path == "never" {
            waits.send_modify(|here| *here += 1);
            std::future::pending::<()>().await;
        }
        if path == "cut" {
            let begun = stream::once(std::future::ready(Ok(Frame::data(Bytes::from_static(b"one half")))));
            let end = stream::once(async move {
                cuts.wait_for(|cut| *cut).await.expect("it lives");
                Err(io::Error::other("and no more"))
            });
            return Ok(Response::new(StreamBody::new(Box::pin(begun.chain(end)))));
        }
        let status: StatusCode = path.parse().expect("a status");
        let empty = StreamBody::new(Box::pin(stream::empty()) as Chunks);
        Ok(Response::builder().status(status).body(empty).expect("valid"))
    }
}

/// A client that opens a connection for each request.
async fn send(request: Request<Empty<Bytes>>) -> io::Result<Response<Incoming>> {
    let host = request.headers()["host"].to_str().map_err(io::Error::other)?;
    let stream = TcpStream::connect(host).await?;
    let connection = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = connection.map_err(io::Error::other)?;
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(io::Error::other)
}

/// A mirror whose words are witnessed.
async fn witnessed(server: &Harness) -> (Witness, CircuitMirror, Guard) {
    let witness = Witness::start(server.connect().await).await;
    let (mirror, guard) = mirror(witness.address).await;
    (witness, mirror, guard)
}

async fn call<S>(client: &mut S, request: Request<Empty<Bytes>>) -> Result<S::Response, S::Error>
where
    S: Service<Request<Empty<Bytes>>>,
{
    client.ready().await?.call(request).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_calls_are_told_by_their_status_and_those_given_up_as_such() {
    let (server, target) = (Harness::start(Layer::default()).await, Target::start().await);
    let (_client, _circuits) = watched(&server, &target, CircuitPolicy { passive_min: 1_000, ..policy() }).await;
    let upstream = HttpUpstream::start().await;
    let (witness, mirror, guard) = witnessed(&server).await;
    let mut client = CircuitLayer::http(guard.clone()).layer(tower::service_fn(send));
    for (path, verdict) in [("200", Success), ("304", Success), ("404", Ignored), ("429", Ignored), ("503", Failure)] {
        let answer = call(&mut client, upstream.request(path)).await.expect("answered");
        assert_eq!(answer.status().as_str(), path);
        flush(&mirror).await;
        assert_eq!(witness.told(), [verdict], "{path}");
    }
    let answer = call(&mut client, upstream.request("cut")).await.expect("its head comes");
    upstream.cut.send_replace(true);
    answer.into_body().collect().await.expect_err("it was cut");
    flush(&mirror).await;
    assert_eq!(witness.told(), [Success], "what becomes of the body counts for nothing");

    tokio::select! {
        answer = call(&mut client, upstream.request("never")) => panic!("{answer:?}"),
        () = upstream.waits(1) => {}
    }
    flush(&mirror).await;
    assert_eq!(witness.told(), [Cancelled]);

    let nowhere = Request::get("/").header("host", gone().await.to_string()).body(Empty::new()).expect("valid");
    let failed = call(&mut client, nowhere).await;
    assert!(matches!(failed, Err(CallError::Failed(_))), "{failed:?}");
    flush(&mirror).await;
    assert_eq!((witness.told(), witness.asks()), (vec![Failure], 0), "closed: nobody asks for a permit");
    let stats = mirror.stats();
    assert_eq!((stats.reported, stats.accepted, stats.neutral), (8, 5, 3), "{stats:?}");

    let judged = |_: &io::Result<Response<Incoming>>| Verdict::LocalFault;
    let mut client = CircuitLayer::judged(guard, judged).layer(tower::service_fn(send));
    call(&mut client, upstream.request("503")).await.expect("answered");
    flush(&mirror).await;
    assert_eq!(witness.told(), [CallVerdict::LocalFault]);
}

/// An address where nobody listens.
async fn gone() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.expect("bound").local_addr().expect("bound")
}

/// Calls whenever the mirror's copy has changed, until a call is rejected. Each must have done what `expected` says.
async fn rejection<S>(client: &mut S, guard: &Guard, upstream: &HttpUpstream, expected: &str) -> Rejected
where
    S: Service<Request<Empty<Bytes>>, Response = Response<Incoming>, Error = CallError<io::Error>>,
{
    let patience = Patience::with("a rejection after so many calls");
    loop {
        let changed = guard.changed();
        match call(client, upstream.request(expected)).await {
            Ok(answer) => assert_eq!(answer.status().as_str(), expected),
            Err(CallError::Rejected(rejected)) => return rejected,
            Err(CallError::Failed(error)) => panic!("{error}"),
        }
        patience.wait(changed, &upstream.served).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_http_calls_is_not_called_and_one_trial_that_is_given_up_lets_the_next_one_through() {
    let (server, target) = (Harness::start(Layer::default()).await, Target::start().await);
    let (_client, mut circuits) = watched(&server, &target, CircuitPolicy { open_base: span(4_000), ..policy() }).await;
    let mut watch = from_now(&mut circuits).await;
    let upstream = HttpUpstream::start().await;
    let (witness, mirror, guard) = witnessed(&server).await;
    let mut client = CircuitLayer::http(guard.clone()).layer(tower::service_fn(send));
    for _ in 0..4 {
        call(&mut client, upstream.request("503")).await.expect("answered");
    }
    let rejected = rejection(&mut client, &guard, &upstream, "503").await;
    let served = upstream.served();
    assert_eq!((rejected.reason, &*rejected.circuit), (Reason::Open, name("api").as_str()));
    assert!(rejected.retry_after.is_some_and(|wait| wait <= Duration::from_secs(4)), "{rejected:?}");
    assert!(served >= 4 && witness.asks() == 0, "{served} calls, {} asks", witness.asks());

    watch.until(EventType::CircuitHalfOpened).await;
    assert_eq!(upstream.served(), served, "it was not called while it was open");
    let tries = async {
        loop {
            match call(&mut client, upstream.request("never")).await {
                Err(CallError::Rejected(_)) => tokio::time::sleep(Duration::from_millis(1)).await,
                answer => panic!("{answer:?}"),
            }
        }
    };
    tokio::select! {
        () = tries => {}
        () = upstream.waits(1) => {}
    }
    flush(&mirror).await;
    assert_eq!(witness.told().last(), Some(&Cancelled));
    upstream.waits(1).await;

    // Its lease would have lasted for ten minutes.
    let good_calls = async {
        loop {
            match call(&mut client, upstream.request("200")).await {
                Ok(_) => {}
                Err(CallError::Rejected(_)) => tokio::time::sleep(Duration::from_millis(1)).await,
                Err(CallError::Failed(error)) => panic!("{error}"),
            }
        }
    };
    let (recovered, _) = tokio::select! {
        biased;
        recovered = watch.until(EventType::CircuitRecovered) => recovered,
        () = good_calls => panic!("it calls on"),
    };
    let reason = recovered.cause.expect("said").reason;
    assert!(reason.ends_with("and 2 trial calls went well"), "{reason}");
    assert_eq!((witness.told().starts_with(&[Success; 2]), mirror.stats().trials), (true, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_has_opened_rejects_without_a_time() {
    let (server, target) = (Harness::start(Layer::default()).await, Target::start().await);
    let (_client, mut circuits) = watched(&server, &target, policy()).await;
    let upstream = HttpUpstream::start().await;
    let (witness, _mirror, guard) = witnessed(&server).await;
    let mut client = CircuitLayer::http(guard.clone()).layer(tower::service_fn(send));
    call(&mut client, upstream.request("200")).await.expect("closed");
    circuits.override_circuit(over(Override::ForcedOpen, "maintenance")).await.expect("laid");
    let rejected = rejection(&mut client, &guard, &upstream, "200").await;
    assert_eq!((rejected.reason, rejected.retry_after), (Reason::ForcedOpen, None));
    assert_eq!(witness.asks(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcomes_are_told_many_at_a_time() {
    let (server, target) = (Harness::start(Layer::default()).await, Target::start().await);
    let (_client, _circuits) = watched(&server, &target, CircuitPolicy { passive_min: 10_000, ..policy() }).await;
    let (witness, mirror, guard) = witnessed(&server).await;
    for _ in 0..2_000 {
        assert_eq!(guard.call(std::future::ready(Ok::<_, ()>(()))).await, Ok(()));
    }
    flush(&mirror).await;
    assert_eq!(witness.told(), [Success; 2_000]);
    // A thousand in a message, or what has come in a tenth of a second.
    assert!(witness.reports() < 100, "{}", witness.reports());
}

/// A client that has one call at a time under way; it may be called only where it was found ready.
struct OneAtATime {
    permits: PollSemaphore,
    permit: Option<tokio::sync::OwnedSemaphorePermit>,
}

impl Clone for OneAtATime {
    fn clone(&self) -> Self {
        Self { permits: self.permits.clone(), permit: None }
    }
}

impl Service<Request<Empty<Bytes>>> for OneAtATime {
    type Response = Response<Incoming>;
    type Error = io::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = io::Result<Response<Incoming>>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.permit.is_none() {
            self.permit = ready!(self.permits.poll_acquire(context));
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Empty<Bytes>>) -> Self::Future {
        let permit = self.permit.take().expect("it was found ready");
        Box::pin(async move {
            let answer = send(request).await;
            drop(permit);
            answer
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guarded_client_is_ready_when_its_own_is_and_a_rejected_call_leaves_it_so() {
    let (server, target) = (Harness::start(Layer::default()).await, Target::start().await);
    let (_client, mut circuits) = watched(&server, &target, policy()).await;
    let upstream = HttpUpstream::start().await;
    let (_mirror, guard) = mirror(server.address()).await;
    let permits = PollSemaphore::new(Arc::new(tokio::sync::Semaphore::new(1)));
    let mut client = CircuitLayer::http(guard.clone()).layer(OneAtATime { permits, permit: None });

    let mut first = client.ready().await.expect("ready").call(upstream.request("never"));
    tokio::select! {
        answer = &mut first => panic!("{answer:?}"),
        () = upstream.waits(1) => {}
    }
    assert!(poll!(std::pin::pin!(client.ready())).is_pending(), "one at a time");
    drop(first);
    call(&mut client, upstream.request("200")).await.expect("given up: the next one");

    circuits.override_circuit(over(Override::ForcedOpen, "maintenance")).await.expect("laid");
    rejection(&mut client, &guard, &upstream, "200").await;
    for _ in 0..3 {
        let rejected = call(&mut client, upstream.request("200")).await;
        assert!(matches!(rejected, Err(CallError::Rejected(_))), "{rejected:?}");
    }
    circuits.override_circuit(over(Override::None, "done")).await.expect("taken away");
    let patience = Patience::with("a call");
    loop {
        let changed = guard.changed();
        match call(&mut client, upstream.request("200")).await {
            Err(CallError::Rejected(rejected)) => patience.wait(changed, rejected).await,
            answer => return assert_eq!(answer.expect("answered").status(), StatusCode::OK),
        }
    }
}
