//! Filling an answer with tasks, up to its limits.

use std::sync::Arc;

use prost::Message;

use crate::model::{Task, TaskName};
use crate::pb::v1;

/// How many tasks are looked at before others get their turn; so that a filter that matches nothing among 100,000 tasks
/// delays nobody for longer than a millisecond.
const TURN: usize = 1_000;
/// A field's tag and length, at the most.
const FIELD_OVERHEAD: usize = 6;

/// What an answer may hold. A single task is below any limit of bytes: its spec, labels and annotations are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) tasks: usize,
    pub(super) bytes: usize,
}

/// Tasks that fill an answer.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) tasks: Vec<v1::Task>,
    /// The last of them, if more would follow.
    pub(super) more_after: Option<TaskName>,
}

/// Takes what matches, in order, until the room is used up.
pub(super) async fn fill<'a>(
    tasks: impl Iterator<Item = &'a Arc<Task>>,
    room: Room,
    matches: impl Fn(&Task) -> bool,
    render: impl Fn(&Task) -> v1::Task,
) -> Page {
    let mut page = Page::default();
    let mut last = None;
    let mut bytes = 0;
    for (n, task) in tasks.enumerate() {
        if n % TURN == TURN - 1 {
            tokio::task::yield_now().await;
        }
        if !matches(task) {
            continue;
        }
        if page.tasks.len() >= room.tasks {
            page.more_after = last;
            return page;
        }
        let rendered = render(task);
        bytes += rendered.encoded_len() + FIELD_OVERHEAD;
        if bytes > room.bytes && !page.tasks.is_empty() {
            page.more_after = last;
            return page;
        }
        page.tasks.push(rendered);
        last = Some(task.name.clone());
    }
    page
}
