//! An HTTP client of hyper's that does not call what is known to be broken: a circuit mirror before its connections.
//!
//! `cargo run --example mirror_hyper -- SWITCHYARD TASK HOST:PORT`: the server's address, the task that watches the upstream, and the
//! upstream, whose `/` is read once a second.
//!
//! ```sh
//! cargo run --example mirror_hyper -- 127.0.0.1:6710 namespaces/default/tasks/api 127.0.0.1:8080
//! ```
#![expect(clippy::print_stdout, reason = "it shows what happens")]

use std::io;
use std::time::Duration;

use anyhow::{Context as _, Result};
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use switchyard::client::{CallError, CircuitLayer, CircuitMirror};
use tokio::net::TcpStream;
use tower::{Layer, Service, ServiceExt};

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let [server, task, upstream] = [(); 3].map(|()| arguments.next());
    let usage = "usage: mirror_hyper SWITCHYARD TASK HOST:PORT";
    let (server, task, upstream) = (server.context(usage)?, task.context(usage)?, upstream.context(usage)?);

    let mirror = CircuitMirror::builder(server).reporter("mirror-hyper").connect().await?;
    // Whatever is a service of requests will do: a pool of connections as well as this, which opens one for each request.
    let client = tower::service_fn(send);
    let mut client = CircuitLayer::http(mirror.guard(&task)).layer(client);
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        let request = Request::get("/").header("host", &upstream).body(Empty::new())?;
        match client.ready().await?.call(request).await {
            Ok(answer) => println!("{}", answer.status()),
            Err(CallError::Rejected(rejected)) => {
                println!("not called: {rejected}; try again after {:?}", rejected.retry_after.unwrap_or_default());
            }
            Err(CallError::Failed(error)) => println!("called, and failed: {error}"),
        }
    }
}

async fn send(request: Request<Empty<Bytes>>) -> io::Result<Response<Incoming>> {
    let host = request.headers().get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    let stream = TcpStream::connect(host).await?;
    let connection = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = connection.map_err(io::Error::other)?;
    // It ends with the answer's body.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(io::Error::other)
}
