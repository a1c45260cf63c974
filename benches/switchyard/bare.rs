//! The baseline of everything that goes over gRPC: a tonic service that does nothing with bytes, a unary one and a stream, behind
//! Switchyard's own accept loop and HTTP/2 settings but without its layers; on the same runtime.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use anyhow::Result;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt, iter, unfold};
use http::uri::PathAndQuery;
use prost::Message;
use switchyard::rpc;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService};
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

use crate::durable::Commits;
use crate::lab::Lab;

const CALL: &str = "/bare.Bare/Call";
const REPLAY: &str = "/bare.Bare/Replay";
const FOLLOW: &str = "/bare.Bare/Follow";
/// The frames that a slow follower may be behind; none is in a row that counts.
const BACKLOG: usize = 1_024;
/// Where answers and frames are cut from, so that making one costs nothing.
const MOST_BYTES: usize = 1024 * 1024;

/// A message of bytes that was decoded without looking at them.
type Codec = ProstCodec<Bytes, Bytes>;

/// The bare server, which ends when it is dropped.
pub(crate) struct Bare {
    pub(crate) address: SocketAddr,
    /// Sends a frame to everyone who follows.
    pub(crate) frames: broadcast::Sender<Bytes>,
    _serving: AbortOnDropHandle<()>,
}

impl Bare {
    pub(crate) fn start(lab: &Lab) -> Result<Self> {
        Self::serve(lab, None)
    }

    /// One whose calls wait for a commit before they are answered.
    pub(crate) fn committing(lab: &Lab, commits: Commits) -> Result<Self> {
        Self::serve(lab, Some(commits))
    }

    fn serve(lab: &Lab, commits: Option<Commits>) -> Result<Self> {
        lab.serving.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?;
            let frames = broadcast::Sender::new(BACKLOG);
            let routes =
                Routes::new(BareService { frames: frames.clone(), zeros: Bytes::from(vec![0; MOST_BYTES]), commits });
            let serving = tokio::spawn(rpc::serve(listener, routes, std::future::pending()));
            Ok(Self { address, frames, _serving: AbortOnDropHandle::new(serving) })
        })
    }
}

/// A request that has `length` bytes encoded, and asks for `size` bytes, `count` times.
pub(crate) fn request(length: usize, size: usize, count: usize) -> Bytes {
    let mut request = BytesMut::zeroed(payload(length).max(8));
    let (mut sizes, number) = (&mut request[..8], |number: usize| u32::try_from(number).unwrap_or(u32::MAX));
    sizes.put_u32(number(size));
    sizes.put_u32(number(count));
    request.freeze()
}

/// How many bytes to put into a message that has `length` bytes encoded.
pub(crate) fn payload(length: usize) -> usize {
    let overhead = BytesMut::zeroed(length).freeze().encoded_len() - length;
    length.saturating_sub(overhead)
}

/// Makes a unary call.
pub(crate) async fn call(channel: Channel, request: Bytes) -> Result<Bytes> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await?;
    let path = PathAndQuery::from_static(CALL);
    Ok(grpc.unary(Request::new(request), path, Codec::new()).await?.into_inner())
}

/// Asks for frames, as fast as they can be had.
pub(crate) async fn replay(channel: Channel, request: Bytes) -> Result<Streaming<Bytes>> {
    stream(channel, request, REPLAY).await
}

/// Asks for the frames that will be sent.
pub(crate) async fn follow(channel: Channel) -> Result<Streaming<Bytes>> {
    stream(channel, request(0, 0, 0), FOLLOW).await
}

async fn stream(channel: Channel, request: Bytes, path: &'static str) -> Result<Streaming<Bytes>> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await?;
    let path = PathAndQuery::from_static(path);
    Ok(grpc.server_streaming(Request::new(request), path, Codec::new()).await?.into_inner())
}

#[derive(Clone)]
struct BareService {
    frames: broadcast::Sender<Bytes>,
    zeros: Bytes,
    commits: Option<Commits>,
}

impl NamedService for BareService {
    const NAME: &'static str = "bare.Bare";
}

impl Service<http::Request<Body>> for BareService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        let unary = request.uri().path() == CALL;
        Box::pin(async move {
            let mut grpc = Grpc::new(Codec::new());
            if unary {
                let answer = service_fn(|asked: Request<Bytes>| {
                    let (answer, commits) = (service.answer(asked.get_ref()), service.commits.clone());
                    async move {
                        if let Some(commits) = commits {
                            commits.commit().await.map_err(|error| Status::unavailable(error.to_string()))?;
                        }
                        answer.map(|(answer, _)| Response::new(answer))
                    }
                });
                return Ok(grpc.unary(answer, request).await);
            }
            let follows = request.uri().path() == FOLLOW;
            let frames = service_fn(|asked: Request<Bytes>| {
                let frames = if follows { Ok(service.live()) } else { service.replay(asked.get_ref()) };
                async { frames.map(Response::new) }
            });
            Ok(grpc.server_streaming(frames, request).await)
        })
    }
}

impl BareService {
    /// What was asked for, and how often.
    fn answer(&self, asked: &Bytes) -> Result<(Bytes, u32), Status> {
        let number = |at: usize| asked.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
        let (Some(size), Some(count)) = (number(0), number(4)) else {
            return Err(Status::invalid_argument("too short"));
        };
        Ok((self.zeros.slice(..payload(size as usize)), count))
    }

    fn replay(&self, asked: &Bytes) -> Result<BoxStream<'static, Result<Bytes, Status>>, Status> {
        let (frame, count) = self.answer(asked)?;
        Ok(iter((0..count).map(move |_| Ok(frame.clone()))).boxed())
    }

    fn live(&self) -> BoxStream<'static, Result<Bytes, Status>> {
        unfold(self.frames.subscribe(), async |mut frames| match frames.recv().await {
            Ok(frame) => Some((Ok(frame), frames)),
            Err(broadcast::error::RecvError::Lagged(_)) => Some((Err(Status::out_of_range("too slow")), frames)),
            Err(broadcast::error::RecvError::Closed) => None,
        })
        .boxed()
    }
}
