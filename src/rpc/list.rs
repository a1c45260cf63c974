//! Listings: pages of one snapshot.

use prost::Message;

use super::error::Error;
use super::page::{self, Room};
use crate::journal::{Arguments, Journal};
use crate::model::Task;
use crate::pb::parse::ListTasks;

/// The size of an encoded page.
const PAGE_BYTES: usize = 1024 * 1024;

/// A page of tasks, or of what is shown of each.
pub(super) struct Listed<T> {
    pub(super) items: Vec<T>,
    pub(super) next_page_token: String,
    pub(super) cursor: String,
}

/// Renders one page.
pub(super) async fn list<T: Message>(
    journal: &Journal,
    request: ListTasks,
    of: &'static str,
    render: impl Fn(&Task) -> T,
) -> Result<Listed<T>, Error> {
    let ListTasks { parent, filter, filter_text, page_size, page_token } = request;
    let arguments = Arguments { of, parent, filter: filter_text };
    let listing = match page_token {
        None => journal.pages().first(journal.view(), arguments),
        Some(token) => journal.pages().resume(&token, arguments)?,
    };
    let room = Room { tasks: page_size, bytes: PAGE_BYTES };
    let page = page::fill(listing.tasks(), room, |task| filter.matches(task), render).await;
    let cursor = journal.cursor(listing.view().head());
    let next_page_token = page.more_after.map(|last| listing.next_token(&last)).unwrap_or_default();
    Ok(Listed { items: page.items, next_page_token, cursor })
}
