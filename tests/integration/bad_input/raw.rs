//! What is wrong below the messages.

use bytes::{Buf, BufMut};
use futures_util::FutureExt;
use http::uri::PathAndQuery;
use switchyard::pb::v1::CancelTaskRequest;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::{Call, Case, RUNNING, call};
use crate::harness::name;

pub(super) fn cases() -> Vec<Case> {
    let large = CancelTaskRequest { name: name(RUNNING), reason: "r".repeat(5 * 1024 * 1024), ..Default::default() };
    vec![
        Case::new("a request of 5 MiB", call!(cancel_task, large), Code::ResourceExhausted, "", ""),
        Case::new("bytes that are no message", sent("CancelTask", b"\xff\xff\xff\xff"), Code::Internal, "", ""),
        Case::new("a name that is no UTF-8", sent("CancelTask", b"\x0a\x01\xff"), Code::Internal, "", ""),
        Case::new("a message that is cut off", sent("CancelTask", b"\x0a\x7fnamespaces"), Code::Internal, "", ""),
        Case::new("a method that there is not", sent("BurnTask", b""), Code::Unimplemented, "", ""),
    ]
}

/// Sends bytes as they are.
fn sent(method: &'static str, bytes: &'static [u8]) -> Call {
    let path = PathAndQuery::try_from(format!("/switchyard.v1.TaskService/{method}")).expect("valid");
    Box::new(move |channel| send(channel, path, bytes).boxed())
}

async fn send(channel: Channel, path: PathAndQuery, bytes: &'static [u8]) -> Result<(), Status> {
    let mut client = Grpc::new(channel);
    client.ready().await.expect("connected");
    client.unary(Request::new(bytes), path, Verbatim).await.map(drop)
}

/// Encodes nothing, and skips what comes back.
#[derive(Default)]
struct Verbatim;

impl Codec for Verbatim {
    type Encode = &'static [u8];
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Verbatim {
    type Item = &'static [u8];
    type Error = Status;

    fn encode(&mut self, bytes: Self::Item, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(bytes);
        Ok(())
    }
}

impl Decoder for Verbatim {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        buffer.advance(buffer.remaining());
        Ok(Some(()))
    }
}
