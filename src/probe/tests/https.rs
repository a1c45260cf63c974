//! The HTTP kind by TLS, against a server whose certificates are made here.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::http::{OK, get};
use super::*;
use crate::model::{BodyMatchDraft, HttpDraft};

/// Whoever issues the certificates of a test.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        Self::named("Switchyard's tests")
    }

    fn named(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed"))
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("a root");
        roots
    }

    /// A server's configuration, with a certificate for these names.
    fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> ServerConfig {
        self.issue_for(&[&TLS13, &TLS12], names, change)
    }

    fn issue_for(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> ServerConfig {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("names");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("signed");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_protocol_versions(versions).expect("supported").with_no_client_auth();
        builder.with_single_cert(vec![certificate.der().clone()], key).expect("fits")
    }

    /// What one check finds that trusts nobody else.
    async fn check(&self, draft: HttpDraft, timeout: Duration) -> Finding {
        let network = Network { dialer: Dialer::new(), tls: Tls::trusting(self.roots()) };
        check_on(network, MonitorDraft::Http(draft), timeout).await
    }
}

/// A server that speaks TLS, and what it does with each connection that it has read a request's head from.
async fn secured<Fut>(
    config: ServerConfig,
    each: impl Fn(TlsStream<TcpStream>) -> Fut + Clone + Send + 'static,
) -> Target
where
    Fut: Future<Output = ()> + Send,
{
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Target::serve(move |stream| {
        let (acceptor, each) = (acceptor.clone(), each.clone());
        async move {
            // The check may refuse us.
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else { return };
                head.push(byte);
            }
            each(stream).await;
        }
    })
    .await
}

/// One that answers, and closes in one of the two ways.
async fn answering(config: ServerConfig, answer: &'static [u8], notify: bool) -> Target {
    secured(config, move |mut stream| async move {
        stream.write_all(answer).await.expect("a reader");
        stream.flush().await.expect("a reader");
        if notify {
            // The check may have seen enough and be gone.
            drop(stream.shutdown().await);
        }
    })
    .await
}

fn url(target: &Target, host: &str) -> HttpDraft {
    get(format!("https://{host}:{}/", target.address.port()))
}

#[tokio::test]
async fn a_valid_certificate_passes_and_the_handshake_is_timed() {
    let authority = Authority::new();
    for version in [&TLS12, &TLS13] {
        let config = authority.issue_for(&[version], &["127.0.0.1", "localhost"], |_| {});
        let target = answering(config, OK, true).await;
        for host in ["127.0.0.1", "localhost"] {
            let begin = Instant::now();
            let finding = authority.check(url(&target, host), AMPLE).await;
            let elapsed = begin.elapsed();
            assert_finding(&finding, Verdict::Pass, "");
            let Phases { resolve, connect, tls, first_byte, transfer } = finding.phases.expect("told");
            assert_eq!(resolve.is_some(), host == "localhost");
            let told = [connect, tls, first_byte, transfer].map(|phase| phase.expect("reached"));
            assert!(told[1] > Duration::ZERO, "{told:?}");
            assert!(resolve.unwrap_or_default() + told.iter().sum::<Duration>() <= elapsed, "{told:?} of {elapsed:?}");
        }
    }
}

/// Has a certificate only for those who ask for `localhost`, as a host of many sites has one for each.
#[derive(Debug)]
struct ByName(Arc<dyn ResolvesServerCert>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        (hello.server_name() == Some("localhost")).then(|| self.0.resolve(hello))?
    }
}

#[tokio::test]
async fn the_handshake_asks_for_the_host_by_name_where_it_has_one() {
    let authority = Authority::new();
    let mut config = authority.issue(&["127.0.0.1", "localhost"], |_| {});
    config.cert_resolver = Arc::new(ByName(config.cert_resolver));
    let target = answering(config, OK, true).await;
    assert_finding(&authority.check(url(&target, "LOCALHOST"), AMPLE).await, Verdict::Pass, "");
    assert_finding(&authority.check(url(&target, "127.0.0.1"), AMPLE).await, Verdict::Fail, "TLS_FAILED");
}

#[tokio::test]
async fn plain_http_has_no_handshake() {
    let target = Target::answer(&[OK]).await;
    let finding = Authority::new().check(get(target.url("/")), AMPLE).await;
    assert_finding(&finding, Verdict::Pass, "");
    assert_eq!(finding.phases.expect("told").tls, None);
}

/// What a check of `localhost` says of a certificate, which is not to be accepted.
async fn refused(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> String {
    let authority = Authority::new();
    let target = answering(authority.issue(names, change), OK, true).await;
    let finding = authority.check(url(&target, "localhost"), AMPLE).await;
    assert_finding(&finding, Verdict::Fail, "CERTIFICATE_INVALID");
    let phases = finding.phases.expect("told");
    assert!(phases.tls.is_some() && phases.first_byte.is_none(), "{phases:?}");
    finding.message
}

#[tokio::test]
async fn an_invalid_certificate_fails_and_says_why() {
    let message = refused(&["localhost"], |params| params.not_after = date_time_ymd(2001, 1, 1)).await;
    assert!(message.starts_with("the certificate expired ") && message.ends_with(" ago"), "{message}");
    let message = refused(&["localhost"], |params| params.not_before = date_time_ymd(4000, 1, 1)).await;
    assert!(message.starts_with("the certificate becomes valid in "), "{message}");
    let message = refused(&["example.com", "127.0.0.1"], |_| {}).await;
    assert!(message.starts_with("the certificate is not for \"localhost\", but for example.com, "), "{message}");
    let message = refused(&["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"], |_| {}).await;
    assert!(message.ends_with("but for a, b, c, d, e, f, g, h and 2 more"), "{message}");
    let message = refused(&[], |_| {}).await;
    assert!(message.ends_with("but for no name"), "{message}");
    let message = refused(&["localhost"], |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)).await;
    assert_eq!(message, "the certificate cannot be accepted: CaUsedAsEndEntity");
}

#[tokio::test]
async fn an_issuer_that_is_not_trusted_fails() {
    let target = answering(Authority::new().issue(&["localhost"], |_| {}), OK, true).await;
    let refused = async |authority: Authority| {
        let finding = authority.check(url(&target, "localhost"), AMPLE).await;
        assert_finding(&finding, Verdict::Fail, "CERTIFICATE_INVALID");
        finding.message
    };
    let stranger = Authority::named("somebody else");
    assert_eq!(refused(stranger).await, "the certificate was not issued by a root that is trusted here");
    let namesake = Authority::new();
    assert_eq!(refused(namesake).await, "the certificate was not signed by the issuer that it names");
}

#[tokio::test]
async fn the_roots_of_this_machine_do_not_trust_just_anybody() {
    let target = answering(Authority::new().issue(&["localhost"], |_| {}), OK, true).await;
    let network = Arc::new(Network { dialer: Dialer::new(), tls: Tls::new() });
    let spec = spec(MonitorDraft::Http(url(&target, "localhost")), AMPLE);
    for _ in 0..2 {
        let probe = Probe { spec: Arc::clone(&spec), network: Arc::clone(&network) };
        assert_finding(&probe.check(Instant::now() + AMPLE).await, Verdict::Fail, "CERTIFICATE_INVALID");
    }
}

#[tokio::test]
async fn a_port_that_speaks_plain_text_is_told_as_such() {
    let target = Target::serve(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("a reader");
        drop(stream.read_to_end(&mut Vec::new()).await);
    })
    .await;
    let finding = Authority::new().check(url(&target, "localhost"), AMPLE).await;
    assert_finding(&finding, Verdict::Fail, "TLS_FAILED");
    assert_eq!(finding.message, "what came is not TLS; does this port expect plain text?");
}

#[tokio::test]
async fn a_connection_that_closes_in_the_handshake_fails() {
    let target = Target::serve(|mut stream| async move { drop(stream.read_u8().await) }).await;
    let finding = Authority::new().check(url(&target, "localhost"), AMPLE).await;
    assert_finding(&finding, Verdict::Fail, "CONNECTION_CLOSED");
    assert!(finding.message.contains("TLS handshake"), "{}", finding.message);
}

#[tokio::test]
async fn a_handshake_that_hangs_runs_out_of_time() {
    let target = Target::silent().await;
    let finding = Authority::new().check(url(&target, "127.0.0.1"), 10 * SHORT).await;
    assert_finding(&finding, Verdict::Fail, "TIMEOUT");
    assert!(finding.message.ends_with("was in the TLS handshake"), "{}", finding.message);
    let phases = finding.phases.expect("told");
    assert!(phases.tls.is_some() && phases.first_byte.is_none(), "{phases:?}");
}

#[tokio::test]
async fn a_protocol_other_than_ours_is_not_negotiated() {
    let authority = Authority::new();
    let mut config = authority.issue(&["localhost"], |_| {});
    config.alpn_protocols = vec![b"h2".to_vec()];
    let target = answering(config, OK, true).await;
    let finding = authority.check(url(&target, "localhost"), AMPLE).await;
    assert_finding(&finding, Verdict::Fail, "TLS_FAILED");
    assert!(finding.message.contains("NoApplicationProtocol"), "{}", finding.message);
}

#[tokio::test]
async fn a_refusal_after_the_handshake_is_one_of_tls() {
    let authority = Authority::new();
    let target = {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let roots = Arc::new(authority.roots());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
        let mut config = authority.issue(&["localhost"], |_| {});
        let resolver = Arc::clone(&config.cert_resolver);
        config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .expect("supported")
            .with_client_cert_verifier(verifier.expect("has a root"))
            .with_cert_resolver(resolver);
        answering(config, OK, true).await
    };
    let finding = authority.check(url(&target, "localhost"), AMPLE).await;
    assert_finding(&finding, Verdict::Fail, "TLS_FAILED");
    assert!(finding.message.contains("CertificateRequired"), "{}", finding.message);
    assert!(finding.phases.expect("told").tls.is_some());
}

#[tokio::test]
async fn only_what_does_not_tell_its_length_must_be_closed_in_order() {
    const ENDLESS: &[u8] = b"HTTP/1.1 200 OK\r\n\r\nhello";
    let authority = Authority::new();
    let find = async |answer, notify| {
        let target = answering(authority.issue(&["localhost"], |_| {}), answer, notify).await;
        let body_match = BodyMatchDraft { contains: "hello".to_owned(), ..BodyMatchDraft::default() };
        authority.check(HttpDraft { body_match, ..url(&target, "localhost") }, AMPLE).await
    };
    assert_finding(&find(OK, false).await, Verdict::Pass, "");
    assert_finding(&find(ENDLESS, true).await, Verdict::Pass, "");
    // Anybody between us could have cut it.
    assert_finding(&find(ENDLESS, false).await, Verdict::Fail, "CONNECTION_CLOSED");
    let short = b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello";
    assert_finding(&find(short, true).await, Verdict::Fail, "CONNECTION_CLOSED");
    assert_finding(&find(short, false).await, Verdict::Fail, "CONNECTION_CLOSED");
}

#[test]
fn every_host_that_a_spec_may_have_can_be_in_a_certificate() {
    let long = format!("{}.{}", "a".repeat(63), "b.".repeat(94));
    for host in ["a", "a.", "1a.b-c.d_e", "xn--bcher-kva.example", "bücher.example", "[::1]", "127.1", long.as_str()] {
        let spec = spec(MonitorDraft::Http(get(format!("https://{host}/"))), AMPLE);
        let MonitorSpec::Http(http) = spec.monitor() else { unreachable!("it is one") };
        let host = http.url().host().expect("it has one").to_owned();
        tls::server_name(&host).unwrap_or_else(|fault| panic!("{host}: {}", fault.message));
    }
}

#[tokio::test]
async fn a_check_whose_roots_are_not_read_in_time_says_nothing_of_the_target() {
    let (tls, mut trace) = (Tls::new(), Trace::begin());
    let _reading = tls.occupied();
    assert!(futures_util::FutureExt::now_or_never(tls.connector(&mut trace)).is_none());
    assert_eq!(trace.timed_out(SHORT).reason, Reason::LocalFault);
}
