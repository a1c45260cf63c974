//! A watch whose client reads frames and leaves the events in them as they came: it is the server that is measured.

use std::net::SocketAddr;

use anyhow::Result;
use bytes::{Buf, BufMut};
use http::uri::PathAndQuery;
use prost::encoding::{DecodeContext, WireType, key_len, skip_field};
use prost::{DecodeError, Message};
use switchyard::pb::v1::WatchTasksRequest;
use switchyard::pb::v1::watch_tasks_request::Start;
use tonic::transport::Channel;
use tonic::{Request, Streaming};
use tonic_prost::ProstCodec;

use crate::lab::connect;

/// Watches of one connection; a server allows 16.
const WATCHES: usize = 10;

/// A `WatchTasksResponse` whose events are counted, and passed over.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Frame {
    pub(crate) events: usize,
    /// All of it.
    bytes: usize,
}

impl Message for Frame {
    fn encode_raw(&self, _: &mut impl BufMut) {}

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        const EVENTS: u32 = 1;
        let before = buffer.remaining();
        skip_field(wire_type, tag, buffer, context)?;
        self.bytes += key_len(tag) + before - buffer.remaining();
        self.events += usize::from(tag == EVENTS);
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.bytes
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// What frames were like.
#[derive(Clone, Copy, Default)]
pub(crate) struct Frames {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

impl Frames {
    pub(crate) fn add(&mut self, frame: &Frame) {
        self.count += 1;
        self.bytes += frame.bytes;
    }

    /// The bytes of the average one.
    pub(crate) fn size(self) -> usize {
        self.bytes / self.count.max(1)
    }
}

/// So many connections for watchers, one for each.
pub(crate) async fn channels(address: SocketAddr, watchers: usize) -> Result<Vec<Channel>> {
    let connections = connect(address, watchers.div_ceil(WATCHES)).await?;
    Ok((0..watchers).map(|number| connections[number % connections.len()].clone()).collect())
}

/// Watches every task's events, after a cursor or from now.
pub(crate) async fn watch(channel: Channel, cursor: Option<String>) -> Result<Streaming<Frame>> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await?;
    let request = WatchTasksRequest { start: cursor.map(Start::Cursor), ..Default::default() };
    let path = PathAndQuery::from_static("/switchyard.v1.TaskService/WatchTasks");
    let codec = ProstCodec::<WatchTasksRequest, Frame>::new();
    Ok(grpc.server_streaming(Request::new(request), path, codec).await?.into_inner())
}
