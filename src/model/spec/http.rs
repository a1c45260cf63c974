//! The HTTP kind's spec.

mod target;

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};
use url::Url;

use crate::model::{Target, Violations};

const HEADERS: usize = 64;
const HEADER_BYTES: usize = 8 * 1024;
const BODY_BYTES: usize = 16 * 1024;
const STATUSES: usize = 64;
const PATTERN_BYTES: usize = 4 * 1024;
/// What a compiled pattern may take, in bytes; it bounds the memory that one hostile spec can pin.
const PATTERN_PROGRAM_BYTES: usize = 256 * 1024;
/// Headers that frame the message or belong to the connection: a client that set them could smuggle a second request.
const FRAMING: [&str; 8] =
    ["connection", "content-length", "expect", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"];

/// An HTTP monitor as a client wrote it.
#[derive(Clone, Debug, Default)]
pub struct HttpDraft {
    /// An absolute `http://` or `https://` URL.
    pub url: String,
    /// Empty: GET.
    pub method: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The request's body.
    pub body: Vec<u8>,
    /// `204`, `200-299`; empty: 200-399.
    pub expected_status: Vec<String>,
    /// What the response's body must be like.
    pub body_match: BodyMatchDraft,
}

/// What a response's body must be like, as a client wrote it; empty texts ask for nothing.
#[derive(Clone, Debug, Default)]
pub struct BodyMatchDraft {
    /// A text it must contain.
    pub contains: String,
    /// A pattern it must match.
    pub regex: String,
}

/// One HTTP request for each check, and what its response must be like.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpSpec {
    url: Url,
    method: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    expected_status: Vec<StatusRange>,
    body_match: BodyMatch,
}

/// An inclusive range of statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    first: u16,
    last: u16,
}

impl StatusRange {
    fn parse(text: &str) -> Option<Self> {
        let status = |text: &str| {
            let digits = text.len() == 3 && text.bytes().all(|c| c.is_ascii_digit());
            text.parse().ok().filter(|status| digits && (100..=599).contains(status))
        };
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (status(first)?, status(last)?),
            None => (status(text)?, status(text)?),
        };
        (first <= last).then_some(Self { first, last })
    }

    /// Whether the status lies within.
    pub const fn contains(self, status: u16) -> bool {
        self.first <= status && status <= self.last
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// What a response's body must be like.
#[derive(Clone, Debug, Default)]
pub struct BodyMatch {
    contains: Option<String>,
    regex: Option<Regex>,
}

impl BodyMatch {
    /// A text it must contain.
    pub fn contains(&self) -> Option<&str> {
        self.contains.as_deref()
    }

    /// A pattern it must match.
    pub const fn regex(&self) -> Option<&Regex> {
        self.regex.as_ref()
    }

    /// Whether nothing is asked, so that the body need not be kept.
    pub const fn is_empty(&self) -> bool {
        self.contains.is_none() && self.regex.is_none()
    }

    fn new(draft: BodyMatchDraft, violations: &mut Violations) -> Self {
        let BodyMatchDraft { contains, regex } = draft;
        for (field, text) in [("body_contains", &contains), ("body_regex", &regex)] {
            if text.len() > PATTERN_BYTES {
                violations.add(field, format!("at most {PATTERN_BYTES} bytes, got {}", text.len()));
                return Self::default();
            }
        }
        let regex = (!regex.is_empty()).then(|| RegexBuilder::new(&regex).size_limit(PATTERN_PROGRAM_BYTES).build());
        let regex = regex.transpose().unwrap_or_else(|error| {
            violations.add("body_regex", format!("not a regular expression: {error}"));
            None
        });
        Self { contains: (!contains.is_empty()).then_some(contains), regex }
    }
}

impl PartialEq for BodyMatch {
    fn eq(&self, other: &Self) -> bool {
        let pattern = |regex: &Option<Regex>| regex.as_ref().map(|regex| regex.as_str().to_owned());
        self.contains == other.contains && pattern(&self.regex) == pattern(&other.regex)
    }
}

impl HttpSpec {
    pub(super) fn try_new(draft: HttpDraft, violations: &mut Violations) -> Option<Self> {
        let before = violations.as_slice().len();
        let HttpDraft { url, method, headers, body, expected_status, body_match } = draft;
        let url = target::parse(&url).map_err(|problem| violations.add("url", problem)).ok();
        let method = if method.is_empty() { "GET".to_owned() } else { method };
        if !is_token(&method) || method.len() > 32 {
            violations.add("method", "must be an HTTP method: 1 to 32 letters, digits or hyphens");
        } else if method == "CONNECT" {
            violations.add("method", "CONNECT asks for a tunnel, which is not a check");
        }
        if headers.len() > HEADERS {
            violations.add("headers", format!("at most {HEADERS}, got {}", headers.len()));
        }
        for (n, (name, value)) in headers.iter().take(HEADERS).enumerate() {
            violations.within(&format!("headers[{n}]"), |v| check_header(name, value, v));
        }
        if body.len() > BODY_BYTES {
            violations.add("body", format!("at most {BODY_BYTES} bytes, got {}", body.len()));
        }
        let expected_status = violations.within("expected_status", |v| parse_statuses(&expected_status, v));
        let body_match = BodyMatch::new(body_match, violations);
        let url = url?;
        (violations.as_slice().len() == before).then_some(Self {
            url,
            method,
            headers,
            body,
            expected_status,
            body_match,
        })
    }

    /// What it watches: the URL.
    pub fn target(&self) -> Target {
        Target::of("http", self.url.as_str())
    }

    /// Where the request goes; its host is set.
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// The request's method.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The request's own headers.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The request's body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Which statuses pass.
    pub fn expected_status(&self) -> &[StatusRange] {
        &self.expected_status
    }

    /// What the response's body must be like.
    pub const fn body_match(&self) -> &BodyMatch {
        &self.body_match
    }
}

fn check_header(name: &str, value: &str, violations: &mut Violations) {
    if !is_token(name) {
        violations.add("name", "must be an HTTP header's name: letters, digits and hyphens");
    } else if FRAMING.contains(&name.to_ascii_lowercase().as_str()) {
        violations.add("name", format!("{name} frames the message and is set by the server itself"));
    }
    if !value.bytes().all(|c| c == b'\t' || (b' '..=b'~').contains(&c)) {
        violations.add("value", "must be visible ASCII, spaces and tabs");
    } else if value.trim() != value {
        violations.add("value", "must not begin or end with white space");
    }
    if name.len() + value.len() > HEADER_BYTES {
        violations.add("", format!("at most {HEADER_BYTES} bytes, got {}", name.len() + value.len()));
    }
}

fn parse_statuses(texts: &[String], violations: &mut Violations) -> Vec<StatusRange> {
    if texts.is_empty() {
        return vec![StatusRange { first: 200, last: 399 }];
    }
    if texts.len() > STATUSES {
        violations.add("", format!("at most {STATUSES}, got {}", texts.len()));
    }
    let mut ranges = Vec::with_capacity(texts.len().min(STATUSES));
    for text in texts.iter().take(STATUSES) {
        match StatusRange::parse(text) {
            Some(range) => ranges.push(range),
            None => {
                let text: String = text.chars().take(32).collect();
                violations
                    .add("", format!("must be a status or a range within 100-599, as 204 or 200-299; got {text:?}"));
            }
        }
    }
    ranges
}

/// A token of RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c))
}
