//! Who is at the other end of a connection.

use std::net::SocketAddr;

use tonic::Request;

use super::error::Error;
use crate::model::Actor;

/// The connection's remote address; with its port, so it names the connection while that lasts.
pub(super) fn connection<T>(request: &Request<T>) -> Result<SocketAddr, Error> {
    request.remote_addr().ok_or_else(|| Error::Bug("the accept loop set no TcpConnectInfo on a request".into()))
}

/// Who acts: nobody has proved who they are.
pub(super) fn actor<T>(request: &Request<T>) -> Result<Actor, Error> {
    // An IPv4 peer of a dual-stack socket is the same peer.
    connection(request).map(|address| Actor::Anonymous(address.ip().to_canonical()))
}
