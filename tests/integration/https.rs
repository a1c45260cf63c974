//! Tasks that watch by TLS: a certificate whose issuer the system trusts passes, any other fails and says so.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use switchyard::config::Layer;
use switchyard::pb::v1::task_spec::Monitor;
use switchyard::pb::v1::{Check, HttpMonitor, State, Verdict};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::cli::process::Served;
use crate::harness::{Harness, reach, start};

/// A server for `localhost`, whose certificate an authority of its own has issued.
struct Secured {
    address: SocketAddr,
    /// The authority's certificate, as PEM.
    issuer: String,
    _serving: AbortOnDropHandle<()>,
}

impl Secured {
    async fn start() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed");
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &issuer).expect("signed");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("supported")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("fits");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (address, acceptor) = (listener.local_addr().expect("bound"), TlsAcceptor::from(Arc::new(config)));
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Who does not trust us breaks off.
                drop(answer(&acceptor, stream).await);
            }
        });
        Self { address, issuer: issuer.pem(), _serving: AbortOnDropHandle::new(serving) }
    }

    fn url(&self, host: &str) -> String {
        format!("https://{host}:{}/", self.address.port())
    }
}

async fn answer(acceptor: &TlsAcceptor, stream: TcpStream) -> std::io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await?;
    stream.shutdown().await
}

/// A file of this run alone, in the directory that cargo has for such; the test removes it when it has passed.
fn write(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", Uuid::new_v4()));
    std::fs::write(&path, text).expect("writes");
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_certificate_passes_where_its_issuer_is_trusted() {
    let target = Secured::start().await;
    let issuer = write("https-issuer", &target.issuer);
    let served = Served::begin_with("SSL_CERT_FILE", &issuer);
    for (id, host) in [("right", "localhost"), ("wrong", "127.0.0.1")] {
        let started = served.run(&["start", id, "--http", &target.url(host), "--wait"]);
        assert_eq!(started.code, 0, "{started:?}");
    }
    let check = |id| served.run(&["get", id, "-o", "json"]).json()["live"]["lastCheck"].clone();
    let right = check("right");
    assert_eq!(right["verdict"], "VERDICT_PASS", "{right}");
    for phase in ["resolve", "connect", "tls", "firstByte", "transfer"] {
        assert!(right["phases"][phase].is_string(), "{phase} is not in {right}");
    }
    let shown = served.run(&["get", "right"]).stdout;
    assert!(shown.contains(", TLS ") && shown.contains(", first byte "), "{shown}");
    let wrong = check("wrong");
    assert_eq!((&wrong["verdict"], &wrong["reason"]), (&"VERDICT_FAIL".into(), &"CERTIFICATE_INVALID".into()));
    let message = wrong["message"].as_str().expect("one");
    assert_eq!(message, "the certificate is not for \"127.0.0.1\", but for localhost");
    assert!(wrong["phases"]["tls"].is_string() && wrong["phases"]["firstByte"].is_null(), "{wrong}");
    assert_eq!(served.terminate(), Some(0));
    std::fs::remove_file(issuer).expect("ours");
}

#[tokio::test]
async fn a_certificate_fails_where_nobody_trusts_its_issuer() {
    let target = Secured::start().await;
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    let http = HttpMonitor { url: target.url("localhost"), ..HttpMonitor::default() };
    client.start_task(start("secure", Monitor::Http(http))).await.expect("starts");
    let task = reach(&mut client, "secure", State::Running).await;
    let check: Check = task.live.and_then(|live| live.last_check).expect("ready comes after the first check");
    assert_eq!((check.verdict(), check.reason.as_str()), (Verdict::Fail, "CERTIFICATE_INVALID"), "{check:?}");
    let phases = check.phases.expect("told");
    assert!(phases.tls.is_some() && phases.first_byte.is_none(), "{phases:?}");
}
