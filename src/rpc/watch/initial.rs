//! The initial state of a watch: one view, in frames.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use super::{FRAME_BYTES, Selection, Shows};
use crate::journal::View;
use crate::model::{Sequence, Task, TaskName};
use crate::pb::v1::WatchTasksResponse;
use crate::pb::{WatchFrame, render};
use crate::rpc::page::{self, Room};

/// How long a view is kept for one stream (lifecycle.md, section 6).
const KEPT_FOR: Duration = Duration::from_secs(60);

/// A view that is being sent.
pub(super) struct Snapshot {
    /// Given up when its time is over: also while the client reads nothing, when nobody polls the stream.
    view: Arc<Mutex<Option<Arc<View>>>>,
    _expiry: AbortOnDropHandle<()>,
    after: Option<TaskName>,
}

/// A part of the initial state.
pub(super) enum Part {
    Some(WatchFrame),
    /// The last part. What follows it comes after this place.
    Last(WatchFrame, Sequence),
}

/// The view was given up before it was sent.
pub(super) struct Expired;

impl Snapshot {
    pub(super) fn new(view: Arc<View>) -> Self {
        let view = Arc::new(Mutex::new(Some(view)));
        let expiring = Arc::clone(&view);
        let expiry = tokio::spawn(async move {
            tokio::time::sleep(KEPT_FOR).await;
            let given_up = expiring.lock().unwrap_or_else(PoisonError::into_inner).take();
            // A whole view may go with it, which takes its time: not under the lock.
            drop(given_up);
        });
        Self { view, _expiry: AbortOnDropHandle::new(expiry), after: None }
    }

    /// The next part.
    pub(super) async fn next(&mut self, selection: &Selection) -> Result<Part, Expired> {
        let view = self.view.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(Expired)?;
        let tasks = view.below(&selection.parent, self.after.as_ref());
        let room = Room { tasks: usize::MAX, bytes: FRAME_BYTES };
        let matches = |task: &Task| selection.filter.matches_task(task);
        let (frame, more_after) = match selection.shows {
            Shows::Tasks(_) => {
                let page = page::fill(tasks, room, matches, |task| render::task(task, None)).await;
                (WatchTasksResponse { tasks: page.items, ..Default::default() }.into(), page.more_after)
            }
            Shows::Circuits => {
                let page = page::fill(tasks, room, matches, render::callers_circuit).await;
                (WatchFrame::of_circuits(&page.items), page.more_after)
            }
        };
        match more_after {
            None => Ok(Part::Last(frame, view.head())),
            after => {
                self.after = after;
                Ok(Part::Some(frame))
            }
        }
    }
}
