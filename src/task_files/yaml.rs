//! YAML and JSON documents, and what is wrong with them in words of ours.

use serde_saphyr::{DuplicateKeyPolicy, Error, MessageFormatter, UserMessageFormatter};

use super::located::Node;

/// Reads all documents; an error begins with its place.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, String> {
    // Its own limits are for configurations; here are as many tasks as a server may hold, of which each has a few dozen nodes.
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: 1_000_000,
            max_nodes: 50_000_000,
            max_events: 100_000_000,
            max_total_scalar_bytes: 128 * 1024 * 1024,
        },
        // They are told with all else that is wrong.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        with_snippet: false,
    };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| told(&error))
}

/// `3:1: this is no YAML: unclosed bracket '{'`.
fn told(error: &Error) -> String {
    let bare = error.without_snippet();
    let message = UserMessageFormatter.format_message(bare);
    let what = match message.as_ref() {
        "expected string scalar" => "a key must be text",
        message => message,
    };
    match error.location() {
        Some(at) => format!("{}:{}: this is no YAML: {what}", at.line(), at.column()),
        None => format!("1:1: this is no YAML: {what}"),
    }
}
