//! `demo`: a server, a target and a client in one process, and a story in seven chapters. All that it tells comes from the public
//! API, or from the target's own log.

mod line;
mod specs;
mod stage;
mod story;
mod target;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::Args;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::Failure;
use super::output::out;
use super::serve::{CONTROL_THREADS, refused};
use super::signals::Signals;
use crate::config::{Config, Layer, StoreKind};
use crate::server::{Ended, Server};
use stage::Stage;
use story::Story;
use target::Target;

/// How long the audience has to read what a chapter is about.
const READING: Duration = Duration::from_millis(3_500);

/// What there is to go on with.
const SUMMARY: &str = "
That was all of it, through the public gRPC API: checks, a circuit that trips, half-opens and
recovers, a hot swap, a roll-back, a proven abort and a drain. To go on, in two terminals:

  switchyard serve
  switchyard start self --http http://127.0.0.1:6711/healthz --interval 5s --wait
";

/// What there is to say to Ctrl-C: seconds without a word would look as if it had not been heard.
const TOLD_TO_END: &str = "
Told to end: the server drains. `mule` may make that last 5 s; Ctrl-C again does not wait.
";

/// See what it does: a story in seven chapters, about 40 s, in one terminal.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard demo
  switchyard demo --fast

It starts a server, an HTTP target that can be told to fail, and a client in this process, on free
ports of 127.0.0.1, and shows the events as they come:

  1  a server, a target, three tasks: the checks pass
  2  the target fails: the circuit trips
  3  the circuit half-opens, in vain; the target recovers, and the circuit with it
  4  a hot swap of the spec, and what the target's own log says of it
  5  a swap to a spec that is no good, rolled back
  6  a task that ignores its token, aborted in phase 2 after 5 s
  7  the drain

It needs no set-up and leaves nothing behind. Ctrl-C ends it at any moment, by a drain.

Exit codes: 0 all of it was shown, or Ctrl-C; 1 something did not come in time (30 s); 10 and 11
as those of serve.")]
pub(super) struct Demo {
    /// Leave out the pauses for reading: about 20 s.
    #[arg(long)]
    fast: bool,
}

impl Demo {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(CONTROL_THREADS)
            .enable_all()
            .build()
            .map_err(|error| Failure::Local(format!("cannot start a runtime: {error}")))?;
        let ended = runtime.block_on(play(if self.fast { Duration::ZERO } else { READING }));
        // Whatever still runs has been given up, as by `serve`.
        runtime.shutdown_background();
        match ended?.exit_code() {
            0 => Ok(()),
            code => Err(Failure::Told(code)),
        }
    }
}

/// Plays the story to its end, or until a signal; in either case the server is drained.
async fn play(pause: Duration) -> Result<Ended, Failure> {
    let (mut first, mut second) = (Signals::new()?, Signals::new()?);
    let target = Target::start().await.map_err(|error| Failure::Local(format!("cannot start a target: {error}")))?;
    let server = Server::builder().config(config()?).bind().await.map_err(|error| refused(&error))?;
    let (grpc, http) = (server.addr(), server.http_addr());
    let shutdown = CancellationToken::new();
    let force = async move {
        second.next().await;
        second.next().await;
    };
    let serving = AbortOnDropHandle::new(tokio::spawn(server.run(shutdown.clone().cancelled_owned(), force)));
    let story = async {
        let stage = Stage::open(&format!("http://{grpc}"), pause).await?;
        Story { stage, target: &target, grpc, http }.tell(&shutdown).await
    };
    let told = tokio::select! {
        told = story => told.map(|()| SUMMARY),
        () = first.next() => out(TOLD_TO_END).map(|()| ""),
    };
    // At the end of the story it drains already.
    shutdown.cancel();
    let ended = serving.await.map_err(|error| Failure::Local(format!("the server has died: {error}")))?;
    out(&format!("\nThe server has ended: {}.\n{}", outcome(ended), told?))?;
    Ok(ended)
}

/// Nothing of the environment: the story is the same everywhere, and in nobody's way.
fn config() -> Result<Config, Failure> {
    let anywhere = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let layer = Layer {
        listen: anywhere,
        http_listen: anywhere,
        enable_drills: Some(true),
        store: Some(StoreKind::Memory),
        ..Layer::default()
    };
    Ok(Config::try_new(layer)?)
}

fn outcome(ended: Ended) -> String {
    match ended {
        Ended::Clean => "every task has stopped, nothing is left".to_owned(),
        Ended::Abandoned(stuck) => format!("{stuck} stuck instances were abandoned"),
        Ended::Forced => "told not to wait for the drain".to_owned(),
        Ended::Failed => "by a fault of its own".to_owned(),
    }
}
