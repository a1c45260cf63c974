//! Where an HTTP monitor's request goes.

use url::{Host, Url};

const URL_BYTES: usize = 2 * 1024;
/// The bounds of RFC 1035, section 2.3.4, in the text form without a root's dot.
const NAME_BYTES: usize = 253;
const LABEL_BYTES: usize = 63;

/// An absolute `http` or `https` URL, whose host is set; or what is wrong.
pub(super) fn parse(text: &str) -> Result<Url, String> {
    if text.is_empty() {
        return Err("required: an absolute URL, as https://example.com/health".to_owned());
    }
    if text.len() > URL_BYTES {
        return Err(format!("at most {URL_BYTES} bytes, got {}", text.len()));
    }
    // The URL standard silently drops these; what a client wrote and what is requested would differ.
    if text.chars().any(|c| c.is_ascii_control() || c == ' ') {
        return Err("must not contain spaces or control characters".to_owned());
    }
    let url = Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
    // What is shown, and stored, is this one, and must be accepted again.
    if url.as_str().len() > URL_BYTES {
        return Err(format!("at most {URL_BYTES} bytes as ASCII, got {}", url.as_str().len()));
    }
    if !["http", "https"].contains(&url.scheme()) {
        return Err(format!("the scheme must be http or https, got {:?}", url.scheme()));
    }
    if !names_authority(text) {
        return Err("must name a host, after two slashes".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not contain user info; send an Authorization header instead".to_owned());
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("must name a host".to_owned());
    }
    if url.port() == Some(0) {
        return Err("the port must be between 1 and 65535".to_owned());
    }
    match url.host() {
        Some(Host::Domain(name)) if url.scheme() == "https" && !is_dns_name(name) => {
            Err(format!("no certificate can be for the host {name:?}, which is no DNS name"))
        }
        _ => Ok(url),
    }
}

/// Whether an authority begins after exactly two slashes. The URL standard forgives any other number of them, and backslashes: it
/// takes `http:///health` for the host `health`.
fn names_authority(text: &str) -> bool {
    let rest = text.split_once(':').and_then(|(_scheme, rest)| rest.strip_prefix("//"));
    rest.is_some_and(|rest| !rest.starts_with(['/', '\\']))
}

/// Whether a certificate can be for this name: letters, digits, hyphens and underscores, in labels of which none begins or ends
/// with a hyphen. URLs allow far more.
fn is_dns_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |label: &str| {
        (1..=LABEL_BYTES).contains(&label.len())
            && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= NAME_BYTES && name.split('.').all(label)
}
