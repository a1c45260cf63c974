//! Listings in pages, all of one snapshot.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;
use uuid::Uuid;

use super::View;
use crate::model::{Namespace, Parent, Task, TaskName};

/// How long, and how many, snapshots are kept for listings: the contract's figures.
const KEPT_FOR: Duration = Duration::from_secs(60);
const KEPT: usize = 16;

/// The snapshots that unfinished listings show, and the tokens that lead back to them.
///
/// A token says which snapshot and after which name, and bears a tag over that and the listing's arguments, made with a secret of
/// this process: so one that was altered, or is used with other arguments, is known as such.
pub struct Pages {
    secret: Uuid,
    pinned: Mutex<Pinned>,
}

#[derive(Default)]
struct Pinned {
    last_id: u64,
    /// The oldest first.
    snapshots: VecDeque<Snapshot>,
}

struct Snapshot {
    id: u64,
    since: Instant,
    view: Arc<View>,
}

/// What must stay the same from page to page (AIP-158). The page size may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// What is shown of them.
    pub of: &'static str,
    /// Whose tasks are listed.
    pub parent: Parent,
    /// The filter, as the client wrote it.
    pub filter: String,
}

/// A listing, at the beginning of one of its pages.
pub struct Listing<'a> {
    pages: &'a Pages,
    arguments: Arguments,
    view: Arc<View>,
    after: Option<TaskName>,
    snapshot: Option<u64>,
}

/// Why a page token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PageError {
    /// It is not ours, was altered, or belongs to a listing with other arguments.
    #[error("this is not a page token of a listing with these arguments")]
    Invalid,
    /// Its snapshot has been given up: it was too old, or others needed the room.
    #[error("the snapshot that this page token belongs to is no longer kept; begin again")]
    Expired,
}

impl Pages {
    pub(super) fn new() -> Self {
        Self { secret: Uuid::new_v4(), pinned: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Pinned> {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a listing of `view`. Keeps nothing until a second page is asked for.
    pub fn first(&self, view: Arc<View>, arguments: Arguments) -> Listing<'_> {
        Listing { pages: self, arguments, view, after: None, snapshot: None }
    }

    /// Goes on with a listing.
    pub fn resume(&self, token: &str, arguments: Arguments) -> Result<Listing<'_>, PageError> {
        let (body, tag) = token.rsplit_once('.').ok_or(PageError::Invalid)?;
        if tag != self.tag(&arguments, body) {
            return Err(PageError::Invalid);
        }
        let (id, after) = decode(body).ok_or(PageError::Invalid)?;
        let view = self.find(id, Instant::now()).ok_or(PageError::Expired)?;
        Ok(Listing { pages: self, arguments, view, after: Some(after), snapshot: Some(id) })
    }

    fn pin(&self, view: Arc<View>) -> u64 {
        let mut pinned = self.lock();
        let given_up = if pinned.snapshots.len() < KEPT { None } else { pinned.snapshots.pop_front() };
        pinned.last_id += 1;
        let id = pinned.last_id;
        pinned.snapshots.push_back(Snapshot { id, since: Instant::now(), view });
        drop(pinned);
        // Where snapshots are given up often they are young, and share with the view almost all that would be dropped.
        drop(given_up);
        id
    }

    fn find(&self, id: u64, now: Instant) -> Option<Arc<View>> {
        let pinned = self.lock();
        let snapshot = pinned.snapshots.iter().find(|snapshot| snapshot.id == id)?;
        (!snapshot.is_over(now)).then(|| Arc::clone(&snapshot.view))
    }

    /// Gives up the oldest snapshot if its time is over, and hands it back to be dropped.
    pub(super) fn give_up_one(&self, now: Instant) -> Option<Arc<View>> {
        self.lock().snapshots.pop_front_if(|snapshot| snapshot.is_over(now)).map(|snapshot| snapshot.view)
    }

    /// A keyed hash; applied twice, so that it cannot be extended.
    fn tag(&self, arguments: &Arguments, body: &str) -> String {
        let mut bytes = Vec::new();
        for part in [arguments.of, &arguments.parent.to_string(), &arguments.filter, body] {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        let inner = Uuid::new_v5(&self.secret, &bytes);
        Uuid::new_v5(&self.secret, inner.as_bytes()).simple().to_string()
    }
}

impl Snapshot {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= KEPT_FOR
    }
}

impl Listing<'_> {
    /// The snapshot.
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// The tasks of this page and of all that follow, by name.
    pub fn tasks(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.view.below(&self.arguments.parent, self.after.as_ref())
    }

    /// Keeps the snapshot, and gives the token that goes on after `last`.
    pub fn next_token(self, last: &TaskName) -> String {
        let id = self.snapshot.unwrap_or_else(|| self.pages.pin(Arc::clone(&self.view)));
        let body = encode(id, last);
        let tag = self.pages.tag(&self.arguments, &body);
        format!("{body}.{tag}")
    }
}

/// Names have no dots and nothing that URLs would escape.
fn encode(id: u64, last: &TaskName) -> String {
    format!("{id}.{}.{}", last.namespace(), last.id())
}

fn decode(body: &str) -> Option<(u64, TaskName)> {
    let (id, name) = body.split_once('.')?;
    let (namespace, task) = name.split_once('.')?;
    let name = TaskName::try_new(&Namespace::try_new(namespace).ok()?, task).ok()?;
    Some((id.parse().ok()?, name))
}

#[cfg(test)]
mod tests;
