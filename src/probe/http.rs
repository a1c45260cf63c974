//! The HTTP kind: one request on a connection of its own.

mod head;

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use memchr::memmem;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use url::{Position, Url};

use super::fault::{Fault, Reason};
use super::trace::{Stage, Trace};
use super::{Network, tls};
use crate::model::{BodyMatch, HttpSpec};
use crate::monitor::MonitorError;
use head::BoundedHead;

/// How much of a body is read.
const BODY: usize = 1024 * 1024;
/// How large a response's head may be, and how much of what comes is held beside the body.
const HEAD: usize = 64 * 1024;
/// How much may come before a response's body: its head, the informational ones before it, and what was read along with them.
const BEFORE_BODY: usize = 2 * HEAD;
/// A body larger than this is matched against a pattern away from the monitors' thread: the time it takes is the product of both
/// sizes, seconds for the largest, and whoever wrote the spec chose both.
const MATCHED_IN_PLACE: usize = 8 * 1024;
const AGENT: HeaderValue = HeaderValue::from_static(concat!("switchyard/", env!("CARGO_PKG_VERSION")));

/// Makes one check.
pub(super) async fn attempt(
    spec: &HttpSpec,
    network: &Network,
    deadline: Instant,
    trace: &mut Trace,
) -> Result<(), Fault> {
    let (request, host, port) = prepare(spec)?;
    let connector = match spec.url().scheme() {
        // Before dialling, so that no target is made to wait for our own reading.
        "https" => Some(network.tls.connector(trace).await?),
        _ => None,
    };
    let stream = network.dialer.dial(&host, port, deadline, trace).await?;
    let Some(connector) = connector else { return exchange(spec, request, stream, trace).await };
    // On the heap: a session of TLS is larger than all the rest of a check, and most checks have none.
    Box::pin(async move {
        let stream = tls::handshake(&connector, &host, stream, trace).await?;
        exchange(spec, request, stream, trace).await
    })
    .await
}

/// The request, and where it goes. The spec is valid, so a failure is ours.
fn prepare(spec: &HttpSpec) -> Result<(Request<Full<Bytes>>, url::Host, u16), Fault> {
    let fault = |error: &dyn std::fmt::Display| Fault::new(Reason::LocalFault, format!("no such request: {error}"));
    let url = spec.url();
    let host = url.host().ok_or_else(|| fault(&"it has no host"))?.to_owned();
    let port = url.port_or_known_default().ok_or_else(|| fault(&"it has no port"))?;
    let mut request = Request::new(Full::from(spec.body().to_vec()));
    *request.method_mut() = Method::from_bytes(spec.method().as_bytes()).map_err(|error| fault(&error))?;
    *request.uri_mut() =
        Uri::try_from(&url[Position::BeforePath..Position::AfterQuery]).map_err(|error| fault(&error))?;
    *request.headers_mut() = headers(spec, url).map_err(|error| fault(&error))?;
    Ok((request, host, port))
}

/// The request's headers: ours, unless the spec has its own of that name, and the spec's.
fn headers(spec: &HttpSpec, url: &Url) -> Result<HeaderMap, http::Error> {
    let host = HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort])?;
    let mut headers = HeaderMap::with_capacity(spec.headers().len() + 4);
    for (name, value) in [(HOST, host), (USER_AGENT, AGENT), (ACCEPT, HeaderValue::from_static("*/*"))] {
        if !spec.headers().iter().any(|(own, _)| own.eq_ignore_ascii_case(name.as_str())) {
            headers.insert(name, value);
        }
    }
    for (name, value) in spec.headers() {
        headers.append(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(value)?);
    }
    // Whoever closes first keeps a port in TIME_WAIT, and each check takes one of this machine's: the target is to close first.
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(headers)
}

/// Speaks HTTP on a stream. The connection is driven in here and by nobody else, so that dropping the check closes it.
async fn exchange(
    spec: &HttpSpec,
    request: Request<Full<Bytes>>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    trace: &mut Trace,
) -> Result<(), Fault> {
    trace.enter(Stage::FirstByte);
    let mut builder = http1::Builder::new();
    builder.max_header_size(HEAD).max_buf_size(HEAD);
    let complete = Arc::new(AtomicBool::new(false));
    let stream = BoundedHead::new(stream, BEFORE_BODY, Arc::clone(&complete));
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let mut connection = pin!(connection);
    let mut answered = pin!(async {
        let response = sender.send_request(request).await.map_err(broken)?;
        complete.store(true, Ordering::Relaxed);
        judge(spec, response, trace).await
    });
    tokio::select! {
        biased;
        outcome = &mut answered => return outcome,
        // Why it has ended, the response says.
        _ = &mut connection => {}
    }
    answered.await
}

async fn judge(spec: &HttpSpec, response: Response<Incoming>, trace: &mut Trace) -> Result<(), Fault> {
    let status = response.status().as_u16();
    if !spec.expected_status().iter().any(|range| range.contains(status)) {
        let expected: Vec<_> = spec.expected_status().iter().map(ToString::to_string).collect();
        let message = format!("the status is {status}, expected is {}", expected.join(", "));
        return Err(Fault::new(Reason::Status, message));
    }
    trace.enter(Stage::Transfer);
    let body = read(response.into_body(), !spec.body_match().is_empty()).await?;
    match_body(spec.body_match(), body).await
}

/// Reads a body to its end or its bound; what is not to be kept is only read.
async fn read(mut body: Incoming, keep: bool) -> Result<Vec<u8>, Fault> {
    let (mut kept, mut left) = (Vec::new(), BODY);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        let used = data.len().min(left);
        if keep {
            kept.extend_from_slice(&data[..used]);
        }
        left -= used;
        if left == 0 {
            break;
        }
    }
    Ok(kept)
}

async fn match_body(wanted: &BodyMatch, body: Vec<u8>) -> Result<(), Fault> {
    let mismatch = |field, length| {
        Fault::new(Reason::BodyMismatch, format!("the body, of which {length} bytes were read, does not match {field}"))
    };
    let length = body.len();
    if let Some(text) = wanted.contains()
        && memmem::find(&body, text.as_bytes()).is_none()
    {
        return Err(mismatch("body_contains", length));
    }
    let Some(regex) = wanted.regex() else { return Ok(()) };
    let matches = if length <= MATCHED_IN_PLACE {
        regex.is_match(&body)
    } else {
        let regex = regex.clone();
        let matching = tokio::task::spawn_blocking(move || regex.is_match(&body));
        matching.await.map_err(|error| Fault::new(Reason::LocalFault, format!("the body was not matched: {error}")))?
    };
    if matches { Ok(()) } else { Err(mismatch("body_regex", length)) }
}

fn broken(error: hyper::Error) -> Fault {
    let io = io_source(&error);
    if let Some(fault) = io.and_then(tls::fault) {
        return fault;
    }
    // hyper words what it cannot decode as I/O errors too; those of the system have a number.
    if let Some(io) = io.filter(|io| io.raw_os_error().is_some()) {
        return Fault::io(io, Reason::ConnectionClosed, "the exchange broke off");
    }
    let ended_early = io.is_some_and(|io| io.kind() == io::ErrorKind::UnexpectedEof);
    if ended_early || error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return Fault::new(Reason::ConnectionClosed, "the connection was closed before the response was complete");
    }
    Fault::new(Reason::ProtocolError, format!("not a valid HTTP/1 response: {}", MonitorError::from(error)))
}

fn io_source(error: &hyper::Error) -> Option<&io::Error> {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref() {
            return Some(io);
        }
        source = error.source();
    }
    None
}
