//! ApplyTasks: a header, then tasks, message by message; what is wrong with any of them is gathered over the whole stream.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::mutation::{NewTask, cause_of, new_task, request_id};
use super::task_name;
use crate::model::{Actor, Apply, Desired, OnFailure, Refusal, Rollout, TaskName, Violations};
use crate::pb::v1;

/// Parses the header of an ApplyTasks.
pub fn apply_header(header: Option<v1::ApplyHeader>, actor: Actor) -> Result<Apply, Violations> {
    let Some(header) = header else { return Err(Violations::one("header", "required in the first message")) };
    let v1::ApplyHeader { owner, prune, rollout, validate_only, reason, request_id: id } = header;
    let mut v = Violations::new();
    let apply = v.within("header", |v| {
        if owner.is_empty() || owner.len() > OWNER_BYTES {
            v.add("owner", format!("must be 1 to {OWNER_BYTES} bytes, got {}", owner.len()));
        }
        let rollout = parse_rollout(v, rollout);
        let request_id = request_id(v, &id);
        let cause = cause_of(v, actor, reason, request_id);
        Apply { owner, prune, rollout, validate_only, cause }
    });
    v.finish(Some(apply))
}

/// A label's value, and the owner's is not empty.
const OWNER_BYTES: usize = 63;

fn parse_rollout(v: &mut Violations, rollout: Option<v1::Rollout>) -> Rollout {
    let defaults = Rollout::default();
    let Some(v1::Rollout { max_parallel, max_failures, on_failure }) = rollout else { return defaults };
    v.within("rollout", |v| {
        let count = |number: u32, default: usize| match usize::try_from(number).unwrap_or(usize::MAX) {
            0 => default,
            number => number,
        };
        let parallel = count(max_parallel, defaults.max_parallel);
        if parallel > Rollout::MOST_PARALLEL {
            v.add("max_parallel", format!("must be at most {}, got {parallel}", Rollout::MOST_PARALLEL));
        }
        let on_failure = match v1::OnFailure::try_from(on_failure) {
            Ok(v1::OnFailure::Unspecified | v1::OnFailure::Leave) => OnFailure::Leave,
            Ok(v1::OnFailure::RollBack) => OnFailure::RollBack,
            Err(_) => {
                let names = "ON_FAILURE_LEAVE and ON_FAILURE_ROLL_BACK";
                v.add("on_failure", format!("must be one of {names}, got {on_failure}"));
                OnFailure::Leave
            }
        };
        Rollout { max_parallel: parallel, max_failures: count(max_failures, defaults.max_failures), on_failure }
    })
}

/// The tasks of an ApplyTasks, as far as they have come.
#[derive(Debug)]
pub struct ApplySet {
    owner: String,
    /// Where each name came first.
    names: BTreeMap<TaskName, usize>,
    count: usize,
    violations: Violations,
}

impl ApplySet {
    /// None yet, of this owner.
    pub fn new(owner: &str) -> Self {
        Self { owner: owner.to_owned(), names: BTreeMap::new(), count: 0, violations: Violations::new() }
    }

    /// Parses the next tasks; those that are valid, each with its number in the whole set.
    pub fn parse(&mut self, tasks: Vec<v1::Task>) -> Vec<(usize, Desired)> {
        tasks.into_iter().filter_map(|task| self.parse_one(task)).collect()
    }

    fn parse_one(&mut self, mut task: v1::Task) -> Option<(usize, Desired)> {
        let number = self.count;
        self.count += 1;
        let Self { owner, names, violations, .. } = self;
        let desired = violations.within(&format!("tasks[{number}]"), |v| {
            let name = task_name(v, &std::mem::take(&mut task.name));
            if let Some(name) = &name {
                match names.entry(name.clone()) {
                    Entry::Vacant(vacant) => drop(vacant.insert(number)),
                    Entry::Occupied(first) => v.add("name", format!("is that of tasks[{}], too", first.get())),
                }
            }
            match task.labels.get(Apply::OWNER) {
                Some(given) if given != owner => {
                    v.add("labels.owner", format!("must be that of the header, {owner:?}, got {given:?}"));
                }
                Some(_) => {}
                None => drop(task.labels.insert(Apply::OWNER.to_owned(), owner.clone())),
            }
            let NewTask { labels, annotations, spec } = new_task(v, Some(task))?;
            Some(Desired { name: name?, labels, annotations, spec: spec.into() })
        })?;
        Some((number, desired))
    }

    /// Notes that a later message has a header.
    pub fn another_header(&mut self) {
        self.violations.add("header", "only in the first message");
    }

    /// Notes why a task that was parsed is refused; an error is one that is not about what the client has written.
    pub fn refuse(&mut self, number: usize, refusal: Refusal) -> Result<(), Refusal> {
        let found = match refusal {
            Refusal::Invalid(found) => found,
            Refusal::UnknownKind { field, .. } => Violations::one(field, refusal.to_string()),
            refusal => return Err(refusal),
        };
        self.violations.within(&format!("tasks[{number}]"), |v| {
            for violation in found.as_slice() {
                // A refusal speaks of the task of a request of its own.
                let field = violation.field.strip_prefix("task.").unwrap_or(&violation.field);
                v.add(field, violation.description.clone());
            }
        });
        Ok(())
    }

    /// The set is whole: how many tasks there were, or all that is wrong with them.
    pub fn finish(self) -> Result<usize, Violations> {
        self.violations.finish(Some(self.count))
    }
}
