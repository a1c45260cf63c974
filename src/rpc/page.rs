//! Filling an answer with tasks, up to its limits.

use std::sync::Arc;

use prost::Message;

use crate::model::{Task, TaskName};

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

/// Tasks that fill an answer, as what is shown of each.
#[derive(Debug)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    /// The last of them, if more would follow.
    pub(super) more_after: Option<TaskName>,
}

/// Takes what matches, in order, until the room is used up.
pub(super) async fn fill<'a, T: Message>(
    tasks: impl Iterator<Item = &'a Arc<Task>>,
    room: Room,
    matches: impl Fn(&Task) -> bool,
    render: impl Fn(&Task) -> T,
) -> Page<T> {
    let mut page = Page { items: Vec::new(), more_after: None };
    let mut last = None;
    let mut bytes = 0;
    for (n, task) in tasks.enumerate() {
        if n % TURN == TURN - 1 {
            tokio::task::yield_now().await;
        }
        if !matches(task) {
            continue;
        }
        if page.items.len() >= room.tasks {
            page.more_after = last;
            return page;
        }
        let rendered = render(task);
        bytes += rendered.encoded_len() + FIELD_OVERHEAD;
        if bytes > room.bytes && !page.items.is_empty() {
            page.more_after = last;
            return page;
        }
        page.items.push(rendered);
        last = Some(task.name.clone());
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::testing::task;
    use crate::pb::render;

    async fn filled(tasks: usize, room: Room, matching: impl Fn(usize) -> bool) -> (usize, Option<String>) {
        let tasks: Vec<_> = (0..tasks).map(|n| Arc::new(task(&format!("t{n:05}"), n as u128))).collect();
        let matches = |task: &Task| matching(task.name.id()[1..].parse().expect("a number"));
        let page = fill(tasks.iter(), room, matches, |task| render::task(task, None)).await;
        (page.items.len(), page.more_after.map(|name| name.id().to_owned()))
    }

    #[tokio::test]
    async fn a_page_says_where_to_go_on_only_if_more_would_follow() {
        let room = Room { tasks: 3, bytes: usize::MAX };
        assert_eq!(filled(0, room, |_| true).await, (0, None));
        assert_eq!(filled(3, room, |_| true).await, (3, None));
        assert_eq!(filled(4, room, |_| true).await, (3, Some("t00002".to_owned())));
        assert_eq!(filled(5_000, room, |n| n < 3).await, (3, None), "none of the others matches");
        assert_eq!(filled(5_000, room, |n| n % 1_000 == 7).await, (3, Some("t02007".to_owned())));
    }

    #[tokio::test]
    async fn a_page_is_bounded_in_bytes_but_never_empty() {
        let one = render::task(&task("t00000", 0), None).encoded_len() + FIELD_OVERHEAD;
        let room = |bytes| Room { tasks: usize::MAX, bytes };
        assert_eq!(filled(9, room(2 * one + 1), |_| true).await, (2, Some("t00001".to_owned())));
        assert_eq!(filled(9, room(1), |_| true).await, (1, Some("t00000".to_owned())));
    }
}
