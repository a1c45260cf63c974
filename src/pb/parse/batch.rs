//! Batches (AIP-231, 233): requests of single calls under one parent.

use super::mutation::{cancel_task, start_task, swap_task};
use crate::model::{Actor, CancelTask, Namespace, Parent, StartTask, SwapTask, TaskName, Violations, limits};
use crate::pb::v1;

/// Where the tasks of a batch must lie; anywhere where nothing was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(Option<Parent>);

/// Why a batch is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidBatch {
    /// What is wrong with it.
    Violations(Violations),
    /// There are more requests than a batch may have.
    TooMany(usize),
}

/// Parses what a batch says beside its requests, of which it has so many.
pub fn batch(parent: &str, requests: usize) -> Result<Place, InvalidBatch> {
    if requests > limits::BATCH_REQUESTS {
        return Err(InvalidBatch::TooMany(requests));
    }
    let mut v = Violations::new();
    if requests == 0 {
        v.add("requests", format!("must be 1 to {} requests, got none", limits::BATCH_REQUESTS));
    }
    let given =
        (!parent.is_empty()).then(|| Parent::parse(parent).map_err(|problem| v.add("parent", problem.to_string())));
    let place = Place(given.and_then(Result::ok));
    v.finish(Some(place)).map_err(InvalidBatch::Violations)
}

impl Place {
    /// Parses a StartTask of the batch.
    pub fn start_task(&self, mut request: v1::StartTaskRequest, actor: Actor) -> Result<StartTask, Violations> {
        if let (Some(parent @ Parent::One(_)), true) = (&self.0, request.parent.is_empty()) {
            request.parent = parent.to_string();
        }
        let namespace = Namespace::parse(&request.parent).ok();
        let misplaced = self.misplaced("parent", namespace.as_ref().map(Namespace::id));
        also(misplaced, start_task(request, actor))
    }

    /// Parses a CancelTask of the batch.
    pub fn cancel_task(&self, request: v1::CancelTaskRequest, actor: Actor) -> Result<(CancelTask, bool), Violations> {
        let name = TaskName::parse(&request.name).ok();
        let misplaced = self.misplaced("name", name.as_ref().map(TaskName::namespace));
        also(misplaced, cancel_task(request, actor))
    }

    /// Parses a SwapTask of the batch.
    pub fn swap_task(&self, request: v1::SwapTaskRequest, actor: Actor) -> Result<(SwapTask, bool), Violations> {
        let name = TaskName::parse(&request.name).ok();
        let misplaced = self.misplaced("name", name.as_ref().map(TaskName::namespace));
        also(misplaced, swap_task(request, actor))
    }

    /// What is wrong with the namespace that a task lies in; one that is none is for others to judge.
    fn misplaced(&self, field: &str, namespace: Option<&str>) -> Violations {
        let mut v = Violations::new();
        if let (Some(Parent::One(parent)), Some(namespace)) = (&self.0, namespace)
            && parent.id() != namespace
        {
            v.add(field, format!("must lie below the batch's parent, {parent}"));
        }
        v
    }
}

/// What is wrong by either.
fn also<T>(mut violations: Violations, parsed: Result<T, Violations>) -> Result<T, Violations> {
    match parsed {
        Ok(request) => violations.finish(Some(request)),
        Err(found) => {
            violations.extend(found);
            Err(violations)
        }
    }
}
