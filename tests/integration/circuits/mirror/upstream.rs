//! What is called: it answers its checks, and calls as it is told.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use switchyard::client::{CallError, Guard, Pass, Rejected, Verdict};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::super::Target;

/// Connections that send nothing are checks, and pass. Others send what they are, and get an answer.
pub(super) struct Upstream {
    pub(super) target: Target,
    state: Arc<Calls>,
}

struct Calls {
    good: AtomicBool,
    /// While it is set, trial calls are not answered.
    holds: watch::Sender<bool>,
    /// How many trial calls are here now.
    trials: watch::Sender<usize>,
    most_trials: AtomicUsize,
    /// How many trial calls were answered well.
    passed: AtomicUsize,
    /// How many calls came that were none.
    others: AtomicUsize,
}

const TRIAL: u8 = b't';
const OTHER: u8 = b'c';

impl Upstream {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(Calls {
            good: AtomicBool::new(false),
            holds: watch::Sender::new(false),
            trials: watch::Sender::new(0),
            most_trials: AtomicUsize::new(0),
            passed: AtomicUsize::new(0),
            others: AtomicUsize::new(0),
        });
        let calls = Arc::clone(&state);
        let accepts = async move {
            while let Ok((stream, _)) = listener.accept().await {
                let calls = Arc::clone(&calls);
                tokio::spawn(async move { calls.answer(stream).await });
            }
        };
        Self { target: Target { address, _accepts: AbortOnDropHandle::new(tokio::spawn(accepts)) }, state }
    }

    pub(super) fn recover(&self) {
        self.state.good.store(true, Ordering::SeqCst);
    }

    pub(super) fn hold(&self, holds: bool) {
        self.state.holds.send_replace(holds);
    }

    /// Waits until so many trial calls are here at once, or more.
    pub(super) async fn holds_trials(&self, number: usize) {
        self.state.trials.subscribe().wait_for(|here| *here >= number).await.expect("it lives");
    }

    pub(super) fn most_trials(&self) -> usize {
        self.state.most_trials.load(Ordering::SeqCst)
    }

    pub(super) fn passed(&self) -> usize {
        self.state.passed.load(Ordering::SeqCst)
    }

    pub(super) fn others(&self) -> usize {
        self.state.others.load(Ordering::SeqCst)
    }

    /// Calls it once, if the guard lets it.
    pub(super) async fn call(&self, guard: &Guard) -> Result<(), CallError<io::Error>> {
        let pass = guard.admit().await.map_err(CallError::Rejected)?;
        self.go(pass).await.map_err(CallError::Failed)
    }

    async fn go(&self, pass: Pass<'_>) -> io::Result<()> {
        let called = ask(self.target.address, if pass.is_trial() { TRIAL } else { OTHER }).await;
        pass.finish(if called.is_ok() { Verdict::Success } else { Verdict::Failure });
        called
    }

    /// Calls it for as long as it is polled, as often as the guard lets it; tells of each that it did not.
    pub(super) async fn call_on(&self, guard: &Guard, mut rejected: impl FnMut(Rejected)) {
        loop {
            if let Err(CallError::Rejected(why)) = self.call(guard).await {
                // As a caller would.
                tokio::time::sleep(why.retry_after.unwrap_or(super::PAUSE).min(super::PAUSE)).await;
                rejected(why);
            }
        }
    }
}

async fn ask(address: std::net::SocketAddr, what: u8) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_u8(what).await?;
    match stream.read_u8().await? {
        b'y' => Ok(()),
        _ => Err(io::Error::other("it says no")),
    }
}

impl Calls {
    async fn answer(&self, mut stream: TcpStream) {
        match stream.read_u8().await {
            Ok(TRIAL) => {
                self.trials.send_modify(|here| *here += 1);
                self.most_trials.fetch_max(*self.trials.borrow(), Ordering::SeqCst);
                let held = self.holds.subscribe().wait_for(|holds| !holds).await.is_ok();
                assert!(held, "it lives for as long as its state");
                // Counted before it is answered: whoever sees the answer may be followed by the next one.
                self.trials.send_modify(|here| *here -= 1);
                let good = self.good.load(Ordering::SeqCst);
                self.passed.fetch_add(usize::from(good), Ordering::SeqCst);
                // Who has gone away needs no answer.
                let _ = stream.write_u8(if good { b'y' } else { b'n' }).await;
            }
            Ok(_) => {
                self.others.fetch_add(1, Ordering::SeqCst);
                let good = self.good.load(Ordering::SeqCst);
                let _ = stream.write_u8(if good { b'y' } else { b'n' }).await;
            }
            Err(_) => {}
        }
    }
}
