//! Whether each command is answered, once, and rightly: a second opinion, formed from what clients can see alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::super::super::{Command, Input, Reply};
use super::{Checked, View, check, swaps};
use crate::model::*;

const DAY: Duration = Duration::from_secs(86_400);

/// The command of the present step, and the requests that were done.
#[derive(Debug, Default)]
pub(super) struct Answers {
    due: Option<Expected>,
    done: BTreeMap<(Method, Uuid), Done>,
}

#[derive(Clone, Debug)]
struct Done {
    idempotency: Idempotency,
    time: Mono,
    reply: Result<Uid, ()>,
    sequence: Sequence,
}

/// What the present command must be answered.
#[derive(Debug)]
struct Expected {
    name: TaskName,
    method: Method,
    idempotency: Option<Idempotency>,
    verdict: Verdict,
    /// A dry run of a swap.
    dry_swap: Option<Box<SwapTask>>,
    /// The head before the command.
    head: Sequence,
}

#[derive(Debug)]
enum Verdict {
    Refused(Refusal),
    /// It was done before, at this place; nothing happens.
    Replayed(Sequence),
    /// A dry run, or a cancel of what is stopping or has ended: nothing needs to happen.
    Idle,
    Done,
}

impl Answers {
    /// Forms the opinion, before the machine forms its own.
    pub(super) fn before(&mut self, input: &Input, view: &View, head: Sequence, draining: bool, now: Now) -> Checked {
        check(self.due.is_none(), || "a command was not answered in its step".to_owned())?;
        let Input::Command(command) = input else { return Ok(()) };
        let (method, idempotency, _) = command.request();
        self.done.retain(|_, done| now.mono.since(done.time) < DAY);
        let known = idempotency.and_then(|id| self.done.get(&(method, id.request_id)).cloned());
        let verdict = match known {
            Some(done) if Some(done.idempotency) != idempotency => Verdict::Refused(Refusal::RequestIdReused),
            Some(Done { reply: Ok(uid), .. })
                if method != Method::Delete && !view.values().any(|task| task.uid == uid) =>
            {
                Verdict::Refused(Refusal::TaskNotFound(command.name().clone()))
            }
            Some(done) => Verdict::Replayed(done.sequence),
            None => afresh(command, view, draining),
        };
        let dry_swap = match command {
            Command::Swap(swap, _) if swap.validate_only => Some(swap.clone()),
            _ => None,
        };
        self.due = Some(Expected { name: command.name().clone(), method, idempotency, verdict, dry_swap, head });
        Ok(())
    }

    /// Compares the machine's answer, which comes after `after`, the head.
    pub(super) fn answered(
        &mut self,
        reply: &Result<Reply, Refusal>,
        view: &View,
        after: Sequence,
        now: Now,
    ) -> Checked {
        let Expected { name, method, idempotency, verdict, dry_swap, head } =
            self.due.take().ok_or("an answer to nothing")?;
        let idle = after == head;
        let wrong = || format!("{method:?} of {name}: {reply:?}, but {verdict:?}");
        let visible = |task: &Arc<Task>| view.get(&name).is_some_and(|seen| seen == task);
        let right = match (&verdict, reply) {
            (Verdict::Refused(expected), Err(refusal)) => idle && expected == refusal,
            (Verdict::Replayed(place), Ok(Reply::Deleted { sequence })) => idle && place == sequence,
            (Verdict::Replayed(place), Ok(Reply::Accepted { sequence, .. })) => idle && place == sequence,
            (Verdict::Idle, Ok(Reply::Accepted { sequence, task })) if method == Method::Start => {
                idle && *sequence == after && task.name == name && !view.contains_key(&name)
            }
            (Verdict::Idle, Ok(Reply::Accepted { sequence, task })) if dry_swap.is_some() => {
                let seen = dry_swap.as_ref().zip(view.get(&name));
                let previews = seen.is_some_and(|(swap, seen)| swaps::previews(swap, seen, task));
                idle && *sequence == after && previews
            }
            (Verdict::Idle, Ok(Reply::Accepted { sequence, task })) => idle && *sequence == after && visible(task),
            (Verdict::Done, Ok(Reply::Accepted { sequence, task })) => {
                let intended = method != Method::Cancel || task.intent == Intent::Cancel;
                !idle && *sequence == after && visible(task) && intended
            }
            (Verdict::Done, Ok(Reply::Deleted { sequence })) => {
                !idle && *sequence == after && !view.contains_key(&name)
            }
            _ => false,
        };
        check(right, wrong)?;
        let dry = matches!((&verdict, method), (Verdict::Idle, Method::Start)) || dry_swap.is_some();
        let uid = match reply {
            Ok(Reply::Accepted { task, .. } | Reply::Checking { task }) => Ok(task.uid),
            Ok(Reply::Deleted { .. }) => Err(()),
            Err(_) => return Ok(()),
        };
        if let Some(idempotency) = idempotency.filter(|_| !dry && !matches!(verdict, Verdict::Replayed(_))) {
            let done = Done { idempotency, time: now.mono, reply: uid, sequence: after };
            self.done.insert((method, idempotency.request_id), done);
        }
        Ok(())
    }
}

fn afresh(command: &Command, view: &View, draining: bool) -> Verdict {
    let seen = view.get(command.name());
    let etag = match command {
        Command::Start(..) if draining => return Verdict::Refused(Refusal::ServerDraining),
        Command::Start(..) if seen.is_some() => {
            return Verdict::Refused(Refusal::TaskExists(command.name().clone()));
        }
        Command::Start(..) if view.len() >= super::super::MAX_TASKS => {
            return Verdict::Refused(Refusal::TaskLimit(super::super::MAX_TASKS));
        }
        Command::Start(start, _) => return if start.validate_only { Verdict::Idle } else { Verdict::Done },
        Command::Swap(swap, _) => swap.etag.as_ref(),
        Command::Cancel(cancel) => cancel.etag.as_ref(),
        Command::Delete(delete) => delete.etag.as_ref(),
        Command::Pause(pause) => pause.etag.as_ref(),
        Command::Resume(resume) => resume.etag.as_ref(),
        Command::Run(run) => run.etag.as_ref(),
    };
    let Some(task) = seen else { return Verdict::Refused(Refusal::TaskNotFound(command.name().clone())) };
    if etag.is_some_and(|etag| *etag != task.etag()) {
        let actual = task.etag().as_str().to_owned();
        return Verdict::Refused(Refusal::EtagMismatch { name: task.name.clone(), actual });
    }
    let stopping = || task.instance.iter().chain(&task.draining).any(|live| live.state == InstanceState::Stopping);
    match command {
        Command::Swap(swap, _) => match swaps::verdict(swap, task, draining) {
            Err(refusal) => Verdict::Refused(refusal),
            Ok(()) if swap.validate_only => Verdict::Idle,
            Ok(()) if *task.spec == swap.spec && task.annotations == swap.annotations => Verdict::Idle,
            Ok(()) => Verdict::Done,
        },
        Command::Delete(_) if !task.state.is_ended() => Verdict::Refused(Refusal::TaskLive(task.name.clone())),
        Command::Cancel(_) if task.state.is_ended() => Verdict::Idle,
        // A second cancel changes nothing, unless it is forced and comes in phase 1.
        Command::Cancel(cancel) if task.intent == Intent::Cancel && !(cancel.force && stopping()) => Verdict::Idle,
        _ => Verdict::Done,
    }
}
