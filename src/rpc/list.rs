//! ListTasks: pages of one snapshot.

use super::error::Error;
use super::page::{self, Room};
use crate::journal::{Arguments, Journal};
use crate::model::Task;
use crate::pb::parse::ListTasks;
use crate::pb::v1;

/// The size of an encoded page.
const PAGE_BYTES: usize = 1024 * 1024;

/// Renders one page.
pub(super) async fn list(
    journal: &Journal,
    request: ListTasks,
    render: impl Fn(&Task) -> v1::Task,
) -> Result<v1::ListTasksResponse, Error> {
    let ListTasks { parent, filter, filter_text, page_size, page_token } = request;
    let arguments = Arguments { parent, filter: filter_text };
    let listing = match page_token {
        None => journal.pages().first(journal.view(), arguments),
        Some(token) => journal.pages().resume(&token, arguments)?,
    };
    let room = Room { tasks: page_size, bytes: PAGE_BYTES };
    let page = page::fill(listing.tasks(), room, |task| filter.matches(task), render).await;
    let cursor = journal.cursor(listing.view().head());
    let next_page_token = page.more_after.map(|last| listing.next_token(&last)).unwrap_or_default();
    Ok(v1::ListTasksResponse { tasks: page.tasks, next_page_token, cursor })
}
