//! What lists have in common: which part of what there is they show, and how they come by all pages of it.

use clap::Args;

use super::Failure;
use super::output::{OutputArgs, note};
use super::remote::{Remote, Scope};
use crate::client::Error;

/// What a page may hold at the most.
const PAGE: usize = 1_000;

/// What a list takes.
#[derive(Args, Debug)]
pub(super) struct Listing {
    /// Which to show.
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    pub(super) filter: String,
    /// Show at most so many; all by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) limit: Option<u32>,
    #[command(flatten)]
    pub(super) scope: Scope,
    #[command(flatten)]
    pub(super) remote: Remote,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// What a list call answers.
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    pub(super) next_page_token: String,
    pub(super) cursor: String,
}

/// All pages together: they show one snapshot.
pub(super) struct Pages<T> {
    pub(super) items: Vec<T>,
    /// The place in the log where they were so.
    pub(super) cursor: String,
    /// Whether there are more than asked for.
    pub(super) more: bool,
}

impl<T> Pages<T> {
    /// Gets pages by their size and token, until there are `limit` items or all.
    pub(super) async fn get(
        limit: Option<u32>,
        mut page: impl AsyncFnMut(i32, String) -> Result<Page<T>, Error>,
    ) -> Result<Self, Failure> {
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let size = i32::try_from((limit - all.len()).min(PAGE)).unwrap_or(i32::MAX);
            let Page { items, next_page_token, cursor } = page(size, page_token).await?;
            all.extend(items);
            let more = !next_page_token.is_empty();
            if !more || all.len() >= limit {
                return Ok(Self { items: all, cursor, more });
            }
            page_token = next_page_token;
        }
    }
}

/// Says beside a list what it does not show: that there are none of `what`, or more.
pub(super) fn note_rest(none: bool, more: bool, what: &str) {
    if none {
        note(&format!("no {what}"));
    }
    if more {
        note("there are more; raise --limit");
    }
}
