//! TLS on a connection that stands: whom we trust, and what a failure tells.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{IpAddr, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{CertificateError, ClientConfig, Error, InvalidMessage, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Host;

use super::fault::{Fault, Reason};
use super::trace::{Stage, Trace};
use crate::model::Pretty;

/// How many of the names that a certificate is for are told, where it is for none that was wanted.
const NAMES: usize = 8;

/// Whom all checks of the process trust. The roots are read by the first check that needs them, and kept: a process without such
/// checks neither reads nor holds them, and one with thousands holds them once.
#[derive(Debug)]
pub(super) struct Tls {
    config: Arc<OnceLock<Result<Arc<ClientConfig>, Error>>>,
    reading: Arc<Semaphore>,
}

impl Tls {
    pub(super) fn new() -> Self {
        Self { config: Arc::default(), reading: Arc::new(Semaphore::new(1)) }
    }

    /// Trusts these, and reads none.
    #[cfg(test)]
    pub(super) fn trusting(roots: RootCertStore) -> Self {
        Self { config: Arc::new(OnceLock::from(configure(roots))), ..Self::new() }
    }

    /// Somebody reads, for as long as this is kept.
    #[cfg(test)]
    pub(super) fn occupied(&self) -> tokio::sync::OwnedSemaphorePermit {
        Arc::clone(&self.reading).try_acquire_owned().expect("nobody reads")
    }

    /// What makes handshakes.
    pub(super) async fn connector(&self, trace: &mut Trace) -> Result<TlsConnector, Fault> {
        let config = match self.config.get() {
            Some(config) => config.clone().map_err(unusable)?,
            None => self.read(trace).await?,
        };
        Ok(TlsConnector::from(config))
    }

    /// Reads the roots on the blocking pool, since these are files of the system; all checks of a shard would wait for them.
    async fn read(&self, trace: &mut Trace) -> Result<Arc<ClientConfig>, Fault> {
        trace.enter(Stage::Roots);
        let place = Arc::clone(&self.reading).acquire_owned().await.map_err(unusable)?;
        let config = Arc::clone(&self.config);
        let reading = tokio::task::spawn_blocking(move || {
            // Kept to the end even where the check is dropped meanwhile: there is one thread that reads, never more, and what it
            // has read is not lost.
            let _place = place;
            config.get_or_init(|| configure(roots())).clone()
        });
        reading.await.map_err(unusable)?.map_err(unusable)
    }
}

fn unusable(error: impl fmt::Display) -> Fault {
    Fault::new(Reason::LocalFault, format!("TLS cannot be set up: {error}"))
}

/// The system's roots (or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`), or Mozilla's, where it has none.
fn roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, ignored) = roots.add_parsable_certificates(found.certs);
    if let Some(first) = found.errors.first() {
        tracing::warn!(errors = found.errors.len(), %first, "not all trusted root certificates can be read");
    }
    if roots.is_empty() {
        tracing::warn!("no trusted root certificates are found: trusting the ones of Mozilla's that are built in");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    } else {
        tracing::debug!(added, ignored, "read the trusted root certificates");
    }
    roots
}

fn configure(roots: RootCertStore) -> Result<Arc<ClientConfig>, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let mut config =
        builder.with_protocol_versions(&[&TLS13, &TLS12])?.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A resumed session would prove the certificate of an earlier check, and go faster than a first visit.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Makes a handshake, which verifies that the other side is `host`.
pub(super) async fn handshake(
    connector: &TlsConnector,
    host: &Host,
    stream: TcpStream,
    trace: &mut Trace,
) -> Result<TlsStream<TcpStream>, Fault> {
    let name = server_name(host)?;
    trace.enter(Stage::Tls);
    connector.connect(name, stream).await.map_err(|error| {
        fault(&error).unwrap_or_else(|| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                Fault::new(Reason::ConnectionClosed, "the connection was closed in the TLS handshake")
            }
            _ => Fault::io(&error, Reason::ConnectionClosed, "the TLS handshake broke off"),
        })
    })
}

/// What a certificate is to be for. The spec is valid, so a failure is ours.
pub(super) fn server_name(host: &Host) -> Result<ServerName<'static>, Fault> {
    match host {
        Host::Domain(name) => ServerName::try_from(name.clone())
            .map_err(|error| Fault::new(Reason::LocalFault, format!("no certificate can be for {name:?}: {error}"))),
        Host::Ipv4(address) => Ok(ServerName::IpAddress(IpAddr::V4((*address).into()))),
        Host::Ipv6(address) => Ok(ServerName::IpAddress(IpAddr::V6((*address).into()))),
    }
}

/// What an error of TLS tells, in a handshake or later; `None` for any other error.
pub(super) fn fault(error: &io::Error) -> Option<Fault> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match error {
        Error::InvalidCertificate(error) => Fault::new(Reason::CertificateInvalid, invalid(error)),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            Fault::new(Reason::TlsFailed, "what came is not TLS; does this port expect plain text?")
        }
        Error::FailedToGetCurrentTime | Error::FailedToGetRandomBytes => {
            Fault::new(Reason::LocalFault, format!("TLS failed: {error}"))
        }
        _ => Fault::new(Reason::TlsFailed, format!("TLS failed: {error}")),
    })
}

/// What is wrong with a certificate, as an operator would say it.
fn invalid(error: &CertificateError) -> String {
    let apart = |earlier: &UnixTime, later: &UnixTime| {
        Pretty(Duration::from_secs(later.as_secs().saturating_sub(earlier.as_secs())))
    };
    match error {
        CertificateError::ExpiredContext { time, not_after } => {
            format!("the certificate expired {} ago", apart(not_after, time))
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            format!("the certificate becomes valid in {}", apart(time, not_before))
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            format!("the certificate is not for {:?}, but for {}", expected.to_str(), names(presented))
        }
        CertificateError::UnknownIssuer => "the certificate was not issued by a root that is trusted here".to_owned(),
        CertificateError::BadSignature => "the certificate was not signed by the issuer that it names".to_owned(),
        CertificateError::Other(error) => format!("the certificate cannot be accepted: {:?}", error.0),
        other => format!("the certificate cannot be accepted: {other}"),
    }
}

/// The first few of a certificate's names; whoever made it chose how many there are, and what is in them.
fn names(presented: &[String]) -> String {
    let bare = |name: &String| {
        let dns = name.strip_prefix("DnsName(\"").and_then(|name| name.strip_suffix("\")"));
        dns.unwrap_or(name).escape_debug().to_string()
    };
    let told: Vec<_> = presented.iter().take(NAMES).map(bare).collect();
    match presented.len() - told.len() {
        0 if told.is_empty() => "no name".to_owned(),
        0 => told.join(", "),
        more => format!("{} and {more} more", told.join(", ")),
    }
}
