//! The TCP kind's spec.

use url::Host;

use crate::model::{Target, Violations};

const STEPS: usize = 16;
const SEND_BYTES: usize = 16 * 1024;
const EXPECT_BYTES: usize = 4 * 1024;
/// The longest domain name (RFC 1035, section 2.3.4), with room for brackets and a port.
const ADDRESS_BYTES: usize = 255 + 8;

/// A TCP monitor as a client wrote it.
#[derive(Clone, Debug, Default)]
pub struct TcpDraft {
    /// `host:port`.
    pub address: String,
    /// What to say and expect.
    pub steps: Vec<TcpStep>,
}

/// One exchange on a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpStep {
    /// The bytes to write; may be empty.
    pub send: Vec<u8>,
    /// The bytes that must appear in the input; may be empty.
    pub expect: Vec<u8>,
}

/// One TCP connection for each check, and what is said on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpSpec {
    host: Host,
    port: u16,
    steps: Vec<TcpStep>,
}

impl TcpSpec {
    pub(super) fn try_new(draft: TcpDraft, violations: &mut Violations) -> Option<Self> {
        let before = violations.as_slice().len();
        let TcpDraft { address, steps } = draft;
        let address = parse_address(&address).map_err(|problem| violations.add("address", problem)).ok();
        if steps.len() > STEPS {
            violations.add("steps", format!("at most {STEPS}, got {}", steps.len()));
        }
        for (n, step) in steps.iter().take(STEPS).enumerate() {
            violations.within(&format!("steps[{n}]"), |v| {
                if step.send.is_empty() && step.expect.is_empty() {
                    v.add("", "at least one of send and expect must be set");
                }
                for (field, bytes, most) in [("send", &step.send, SEND_BYTES), ("expect", &step.expect, EXPECT_BYTES)] {
                    if bytes.len() > most {
                        v.add(field, format!("at most {most} bytes, got {}", bytes.len()));
                    }
                }
            });
        }
        let (host, port) = address?;
        (violations.as_slice().len() == before).then_some(Self { host, port, steps })
    }

    /// What it watches: the address.
    pub fn target(&self) -> Target {
        Target::of("tcp", &format!("{}:{}", self.host, self.port))
    }

    /// Whom to call.
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// At which port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What to say and expect.
    pub fn steps(&self) -> &[TcpStep] {
        &self.steps
    }
}

fn parse_address(text: &str) -> Result<(Host, u16), String> {
    const FORM: &str = "must be host:port, an IPv6 host in brackets";
    if text.is_empty() {
        return Err("required: host:port, as db.example.com:5432".to_owned());
    }
    if text.len() > ADDRESS_BYTES {
        return Err(format!("at most {ADDRESS_BYTES} bytes, got {}", text.len()));
    }
    let (host, port) = text.rsplit_once(':').ok_or(FORM)?;
    let digits = !port.is_empty() && port.bytes().all(|c| c.is_ascii_digit());
    let port: u16 =
        port.parse().ok().filter(|port| digits && *port > 0).ok_or("the port must be between 1 and 65535")?;
    let host = Host::parse(host).map_err(|error| format!("{FORM}: {error}"))?;
    // What is shown, and stored, is this one, and must be accepted again.
    let bytes = format!("{host}:{port}").len();
    if bytes > ADDRESS_BYTES {
        return Err(format!("at most {ADDRESS_BYTES} bytes as ASCII, got {bytes}"));
    }
    Ok((host, port))
}
