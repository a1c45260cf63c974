//! The TCP kind: connects and, if asked, speaks and listens.

use std::io;

use bytes::BufMut;
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::dial::Dialer;
use super::fault::{Fault, Reason};
use super::trace::{Stage, Trace};
use crate::model::{TcpSpec, TcpStep};

/// How much input a step looks through.
const WINDOW: usize = 64 * 1024;
/// How much is read at once. Answers are short, and there may be many checks at a time.
const CHUNK: usize = 4 * 1024;

/// Makes one check.
pub(super) async fn attempt(
    spec: &TcpSpec,
    dialer: &Dialer,
    deadline: Instant,
    trace: &mut Trace,
) -> Result<(), Fault> {
    let mut stream = dialer.dial(spec.host(), spec.port(), deadline, trace).await?;
    if spec.steps().is_empty() {
        return Ok(());
    }
    trace.enter(Stage::FirstByte);
    let mut input = Vec::new();
    for (n, step) in spec.steps().iter().enumerate() {
        take_step(&mut stream, step, &mut input)
            .await
            .map_err(|Fault { reason, message }| Fault { reason, message: format!("steps[{n}]: {message}") })?;
    }
    Ok(())
}

/// Writes, then reads until the expected bytes have come. What came after them is left in `input` for the next step.
async fn take_step(stream: &mut TcpStream, step: &TcpStep, input: &mut Vec<u8>) -> Result<(), Fault> {
    stream.write_all(&step.send).await.map_err(|error| broken(&error, "cannot write"))?;
    let expected = memmem::Finder::new(&step.expect);
    let mut searched = 0;
    loop {
        if let Some(at) = expected.find(&input[searched..]) {
            input.drain(..searched + at + step.expect.len());
            return Ok(());
        }
        // The expected bytes may have begun at the end of what has come.
        searched = input.len().saturating_sub(step.expect.len().saturating_sub(1));
        if input.len() >= WINDOW {
            return Err(Fault::new(Reason::ExpectMismatch, format!("{WINDOW} bytes came without the expected ones")));
        }
        let room = CHUNK.min(WINDOW - input.len());
        let read = stream.read_buf(&mut (&mut *input).limit(room)).await;
        if read.map_err(|error| broken(&error, "cannot read"))? == 0 {
            return Err(closed(input.len()));
        }
    }
}

fn closed(came: usize) -> Fault {
    match came {
        0 => Fault::new(Reason::ConnectionClosed, "the connection was closed without an answer"),
        _ => Fault::new(
            Reason::ExpectMismatch,
            format!("the connection was closed after {came} bytes without the expected ones"),
        ),
    }
}

fn broken(error: &io::Error, doing: &str) -> Fault {
    Fault::io(error, Reason::ConnectionClosed, doing)
}
