//! An address that stays while the server behind it comes and goes.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

pub(super) struct Relay {
    pub(super) address: SocketAddr,
    to: watch::Sender<Option<SocketAddr>>,
    _accepts: AbortOnDropHandle<()>,
}

impl Relay {
    pub(super) async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("bound");
        let (to, mut target) = watch::channel(Some(to));
        let accepts = async move {
            let mut relayed = JoinSet::new();
            loop {
                tokio::select! {
                    changed = target.changed() => match changed {
                        // What stood went to where nobody is any more.
                        Ok(()) => relayed.abort_all(),
                        Err(_) => return,
                    },
                    accepted = listener.accept() => {
                        let (mut stream, _) = accepted.expect("accepts");
                        let Some(to) = *target.borrow() else { continue };
                        relayed.spawn(async move {
                            let Ok(mut server) = TcpStream::connect(to).await else { return };
                            // However it ends, it has ended.
                            let _ = copy_bidirectional(&mut stream, &mut server).await;
                        });
                    }
                }
            }
        };
        Self { address, to, _accepts: AbortOnDropHandle::new(tokio::spawn(accepts)) }
    }

    /// Cuts every connection; later ones lead there, or nowhere.
    pub(super) fn lead_to(&self, to: Option<SocketAddr>) {
        self.to.send_replace(to);
    }
}
