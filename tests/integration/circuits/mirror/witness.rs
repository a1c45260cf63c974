//! What mirrors ask and tell, on its way to the server.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tonic::body::Body;
use tower::ServiceExt;

use super::*;

/// Stands before a server, and lets everything through.
pub(super) struct Witness {
    pub(super) address: SocketAddr,
    heard: Arc<Heard>,
    _accepts: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Heard {
    outcomes: Mutex<Vec<CallOutcome>>,
    asks: AtomicUsize,
    reports: AtomicUsize,
}

impl Witness {
    pub(super) async fn start(server: Channel) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let (address, heard) = (listener.local_addr().expect("bound"), Arc::<Heard>::default());
        let shared = Arc::clone(&heard);
        let accepts = async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (heard, server) = (Arc::clone(&shared), server.clone());
                let forward = service_fn(move |request| forward(Arc::clone(&heard), server.clone(), request));
                tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), forward));
            }
        };
        Self { address, heard, _accepts: AbortOnDropHandle::new(tokio::spawn(accepts)) }
    }

    /// What was told since the last look.
    pub(super) fn told(&self) -> Vec<CallVerdict> {
        let outcomes = std::mem::take(&mut *self.heard.outcomes.lock().unwrap_or_else(PoisonError::into_inner));
        outcomes.iter().map(CallOutcome::outcome).collect()
    }

    /// In how many calls.
    pub(super) fn reports(&self) -> usize {
        self.heard.reports.load(Ordering::SeqCst)
    }

    /// How often a permit was asked for.
    pub(super) fn asks(&self) -> usize {
        self.heard.asks.load(Ordering::SeqCst)
    }
}

async fn forward(
    heard: Arc<Heard>,
    server: Channel,
    request: http::Request<Incoming>,
) -> Result<http::Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let body = match head.uri.path() {
        "/switchyard.v1.CircuitService/ReportOutcomes" => {
            heard.reports.fetch_add(1, Ordering::SeqCst);
            let body = body.collect().await.expect("it comes").to_bytes();
            heard.outcomes.lock().unwrap_or_else(PoisonError::into_inner).extend(outcomes(body.clone()));
            Body::new(Full::new(body))
        }
        path => {
            let asks = path == "/switchyard.v1.CircuitService/AcquirePermit";
            heard.asks.fetch_add(usize::from(asks), Ordering::SeqCst);
            Body::new(body)
        }
    };
    let answer = server.oneshot(http::Request::from_parts(head, body)).await;
    Ok(answer.unwrap_or_else(|error| Status::unavailable(error.to_string()).into_http()))
}

/// The outcomes in the messages of a call.
fn outcomes(mut body: Bytes) -> Vec<CallOutcome> {
    let mut outcomes = Vec::new();
    while let Some((&[0, a, b, c, d], _)) = body.split_first_chunk() {
        let length = u32::from_be_bytes([a, b, c, d]).try_into().expect("it fits");
        let mut message = body.split_off(5);
        body = message.split_off(length);
        outcomes.extend(ReportOutcomesRequest::decode(message).expect("a report").outcomes);
    }
    outcomes
}
