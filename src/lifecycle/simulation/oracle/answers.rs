//! Whether each command is answered, once, and rightly: a second opinion, formed from what clients can see alone.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::super::super::{Command, Input, Reply};
use super::{Checked, Seen, check, pauses, swaps};
use crate::model::*;

const DAY: Duration = Duration::from_secs(86_400);

/// The command of the present step, and the requests that were done.
#[derive(Debug, Default)]
pub(super) struct Answers {
    due: Option<Expected>,
    /// Whose instances are to stop, by the present command, also where they do already.
    stops: Option<(Uid, Cause)>,
    /// Who is to make a check by the present command.
    checks: Vec<InstanceId>,
    done: BTreeMap<(Method, Uuid), Done>,
    /// The answers that nobody has seen yet, in their order, and the requests that were done by them.
    unseen: VecDeque<Option<(Method, Uuid)>>,
}

#[derive(Clone, Debug)]
struct Done {
    idempotency: Idempotency,
    /// Until when it is remembered.
    until: Mono,
    reply: Result<Uid, ()>,
    sequence: Sequence,
    /// Whether it has changed anything.
    changes: bool,
    acknowledged: bool,
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
pub(super) enum Verdict {
    Refused(Refusal),
    /// It was done before, at this place; nothing happens.
    Replayed(Sequence),
    /// A dry run, or a cancel of what is stopping or has ended: nothing needs to happen.
    Idle,
    Done,
    /// The active instance makes a check.
    Checks,
}

impl Answers {
    /// Forms the opinion, before the machine forms its own.
    pub(super) fn before(&mut self, input: &Input, seen: &Seen<'_>) -> Checked {
        let Seen { view, head, now, .. } = *seen;
        self.checks.clear();
        check(self.due.is_none(), || "a command was not answered in its step".to_owned())?;
        let Input::Command(command) = input else { return Ok(()) };
        let (method, idempotency, _) = command.request();
        self.done.retain(|_, done| now.mono < done.until);
        let known = idempotency.and_then(|id| self.done.get(&(method, id.request_id)).cloned());
        let verdict = match known {
            Some(done) if Some(done.idempotency) != idempotency => Verdict::Refused(Refusal::RequestIdReused),
            Some(Done { reply: Ok(uid), .. })
                if method != Method::Delete && !view.values().any(|task| task.uid == uid) =>
            {
                Verdict::Refused(Refusal::TaskNotFound(command.name().clone()))
            }
            Some(done) => Verdict::Replayed(done.sequence),
            None => afresh(command, seen),
        };
        let known = view.get(command.name()).filter(|task| !task.state.is_ended());
        self.stops = match (command, &verdict, known) {
            (Command::Cancel(cancel), Verdict::Idle | Verdict::Done, Some(task)) => {
                Some((task.uid, cancel.cause.clone()))
            }
            (Command::Pause(pause), Verdict::Done, Some(task)) if task.intent == Intent::Run => {
                Some((task.uid, pause.cause.clone()))
            }
            _ => None,
        };
        let dry_swap = match command {
            Command::Swap(swap, _) if swap.validate_only => Some(swap.clone()),
            _ => None,
        };
        self.due = Some(Expected { name: command.name().clone(), method, idempotency, verdict, dry_swap, head });
        Ok(())
    }

    /// What the present command is about.
    pub(super) fn asked(&self) -> Option<&TaskName> {
        self.due.as_ref().map(|due| &due.name)
    }

    /// A client has its answer.
    pub(super) fn acknowledged(&mut self) {
        let request = self.unseen.pop_front().flatten();
        if let Some(done) = request.and_then(|request| self.done.get_mut(&request)) {
            done.acknowledged = true;
        }
    }

    /// The newest answer is given at once: itself where what it `shows` is visible, or else that this is not yet durable.
    pub(super) fn at_once(&mut self, shows: bool) {
        let request = self.unseen.pop_back().flatten().filter(|_| shows);
        if let Some(done) = request.and_then(|request| self.done.get_mut(&request)) {
            done.acknowledged = true;
        }
    }

    /// What was answered is remembered; what was not, with all that it did or not at all.
    pub(super) fn crashed(&mut self, head: Sequence, requests: &[Remembered], now: Now) -> Checked {
        let known = requests.iter().map(|request| {
            let until = now.mono + DAY.saturating_sub(now.wall.since(request.time));
            let Remembered { idempotency, method, uid, sequence, .. } = *request;
            let reply = if method == Method::Delete { Err(()) } else { Ok(uid) };
            let done = Done { idempotency, until, reply, sequence, changes: true, acknowledged: true };
            ((method, idempotency.request_id), done)
        });
        let known: BTreeMap<_, _> = known.collect();
        for (request, done) in &self.done {
            let kept = known.get(request).is_some_and(|kept| kept.sequence == done.sequence);
            let whole = !done.changes || kept == (done.sequence <= head);
            check(whole, || format!("{request:?} is kept in part: {kept}, {head}, {done:?}"))?;
            check(kept || !done.acknowledged, || format!("{request:?} is forgotten: {done:?}"))?;
        }
        *self = Self { done: known, ..Self::default() };
        self.done.retain(|_, done| now.mono < done.until);
        Ok(())
    }

    /// Whom the present command stops, also where that stops already, and by whose wish.
    pub(super) fn stops(&mut self) -> Option<(Uid, Cause)> {
        self.stops.take()
    }

    pub(super) fn checks(&mut self, id: InstanceId) {
        self.checks.push(id);
    }

    /// Compares the machine's answer, which comes after the head.
    pub(super) fn answered(&mut self, reply: &Result<Reply, Refusal>, seen: &Seen<'_>) -> Checked {
        let Seen { view, intake, head: after, now, .. } = *seen;
        let Expected { name, method, idempotency, verdict, dry_swap, head } =
            self.due.take().ok_or("an answer to nothing")?;
        // What it is about is taken over in this step, which may change it before the command, and after it.
        let recovers = seen.recovers;
        let idle = after == head || recovers;
        let ends = |sequence: Sequence| sequence == after || recovers && sequence < after;
        let wrong = || format!("{method:?} of {name}: {reply:?}, but {verdict:?}");
        let visible = |task: &Arc<Task>| view.get(&name).is_some_and(|seen| seen == task);
        let right = match (&verdict, reply) {
            (Verdict::Refused(expected), Err(refusal)) => idle && expected == refusal,
            (Verdict::Replayed(place), Ok(Reply::Deleted { sequence })) => idle && place == sequence,
            (Verdict::Replayed(place), Ok(Reply::Accepted { sequence, .. })) => idle && place == sequence,
            (Verdict::Idle, Ok(Reply::Accepted { sequence, task })) if method == Method::Start => {
                idle && ends(*sequence) && task.name == name && !view.contains_key(&name)
            }
            (Verdict::Idle, Ok(Reply::Accepted { sequence, task })) if dry_swap.is_some() => {
                let seen = dry_swap.as_ref().zip(view.get(&name));
                let previews = seen.is_some_and(|(swap, seen)| swaps::previews(swap, seen, task));
                idle && ends(*sequence) && previews
            }
            (Verdict::Idle, Ok(Reply::Accepted { sequence, task })) => {
                let ended = !intake.is_open() && task.state.is_ended();
                let right = if ended { *sequence == intake.told(task.uid) } else { ends(*sequence) };
                idle && right && visible(task)
            }
            (Verdict::Checks, Ok(Reply::Checking { task })) => {
                let active = task.instance.as_ref().map(|active| (task.uid, active.generation, active.attempt));
                let told = self.checks.iter().map(|id| seen.world.key(*id));
                idle && visible(task) && told.eq([active])
            }
            (Verdict::Done, Ok(Reply::Accepted { sequence, task })) => {
                let intended = match method {
                    Method::Cancel => task.intent == Intent::Cancel,
                    Method::Pause => task.intent == Intent::Pause,
                    Method::Start | Method::Resume => task.intent == Intent::Run,
                    Method::Swap | Method::Rollback | Method::Delete | Method::Run => true,
                    Method::Override | Method::ResetCircuit => true,
                };
                after != head && ends(*sequence) && visible(task) && intended
            }
            (Verdict::Done, Ok(Reply::Deleted { sequence })) => {
                after != head && ends(*sequence) && !view.contains_key(&name)
            }
            _ => false,
        };
        check(right, wrong)?;
        let checks = matches!(verdict, Verdict::Checks);
        check(checks || self.checks.is_empty(), || format!("{method:?} of {name} makes a check"))?;
        let dry = matches!((&verdict, method), (Verdict::Idle, Method::Start)) || dry_swap.is_some();
        let changes = matches!(verdict, Verdict::Done);
        // What has changed nothing is not remembered while the journal takes nothing in.
        let is_kept = !dry && (changes || intake.is_open()) && !matches!(verdict, Verdict::Replayed(_));
        let request = idempotency.filter(|_| is_kept).zip(Some(method));
        self.remembers(request, reply, changes, (after, now));
        Ok(())
    }

    /// A caller's answer is under way; it was no command.
    pub(super) fn called(&mut self) {
        self.unseen.push_back(None);
    }

    /// The answer is under way, and what was done for it is known from here on.
    fn remembers(
        &mut self,
        request: Option<(Idempotency, Method)>,
        reply: &Result<Reply, Refusal>,
        changes: bool,
        (after, now): (Sequence, Now),
    ) {
        let uid = match reply {
            Ok(Reply::Accepted { task, .. } | Reply::Checking { task }) => Ok(task.uid),
            Ok(Reply::Deleted { .. }) => Err(()),
            // They answer no command.
            Ok(Reply::Permission { .. } | Reply::Dispositions(_)) | Err(_) => {
                self.unseen.push_back(None);
                return;
            }
        };
        let sequence = match reply {
            Ok(Reply::Accepted { sequence, .. } | Reply::Deleted { sequence }) => *sequence,
            _ => after,
        };
        if let Some((idempotency, method)) = request {
            let until = now.mono + DAY;
            let done = Done { idempotency, until, reply: uid, sequence, changes, acknowledged: false };
            self.done.insert((method, idempotency.request_id), done);
        }
        self.unseen.push_back(request.map(|(idempotency, method)| (method, idempotency.request_id)));
    }
}

fn afresh(command: &Command, seen: &Seen<'_>) -> Verdict {
    if let Some(refusal) = seen.intake.refuses(command) {
        return Verdict::Refused(refusal);
    }
    let known = seen.view.get(command.name());
    let etag = match command {
        Command::Pause(pause) if pause.expire_time.is_some_and(|expires| expires <= seen.now.wall) => {
            let violations = Violations::one("expire_time", "must lie in the future");
            return Verdict::Refused(Refusal::Invalid(violations));
        }
        Command::Override(over) if over.expire_time.is_some_and(|expires| expires <= seen.now.wall) => {
            let violations = Violations::one("expire_time", "must lie in the future");
            return Verdict::Refused(Refusal::Invalid(violations));
        }
        Command::Start(start, _) => return start_afresh(start, seen),
        Command::Swap(swap, _) => swap.etag.as_ref(),
        Command::Vain(rollback, _) => rollback.etag.as_ref(),
        Command::Cancel(cancel) => cancel.etag.as_ref(),
        Command::Delete(delete) => delete.etag.as_ref(),
        Command::Pause(pause) => pause.etag.as_ref(),
        Command::Resume(resume) => resume.etag.as_ref(),
        Command::Run(run) => run.etag.as_ref(),
        Command::Override(over) => over.etag.as_ref(),
        Command::ResetCircuit(reset) => reset.etag.as_ref(),
    };
    let Some(task) = known else { return Verdict::Refused(Refusal::TaskNotFound(command.name().clone())) };
    if etag.is_some_and(|etag| *etag != task.etag()) {
        let actual = task.etag().as_str().to_owned();
        return Verdict::Refused(Refusal::EtagMismatch { name: task.name.clone(), actual });
    }
    let stopping = || task.instance.iter().chain(&task.draining).any(|live| live.state == InstanceState::Stopping);
    match command {
        Command::Swap(swap, _) => match swaps::verdict(swap, task, seen) {
            Err(refusal) => Verdict::Refused(refusal),
            Ok(()) if swap.validate_only => Verdict::Idle,
            Ok(()) if swaps::preempts(swap, task) => Verdict::Done,
            Ok(()) if *task.spec == swap.spec && task.annotations == swap.annotations => Verdict::Idle,
            Ok(()) => Verdict::Done,
        },
        Command::Override(_) | Command::ResetCircuit(_) if seen.draining => Verdict::Refused(Refusal::ServerDraining),
        Command::Override(over) => {
            let lies = task.circuit.overriding.as_deref();
            let same = |lies: &CircuitOverride| {
                (Some(lies.mode), lies.expire_time, &lies.reason) == (over.mode, over.expire_time, &over.cause.reason)
            };
            if lies.map_or(over.mode.is_none(), same) { Verdict::Idle } else { Verdict::Done }
        }
        Command::ResetCircuit(_) => Verdict::Done,
        Command::Vain(..) if seen.draining => Verdict::Refused(Refusal::ServerDraining),
        Command::Vain(_, refusal) => Verdict::Refused(refusal.clone()),
        Command::Pause(pause) => pauses::pause(pause, task, seen.draining),
        Command::Resume(_) => pauses::resume(task, seen.draining),
        Command::Run(_) => pauses::run(task, seen.draining, seen.relief.marks(task, seen.world)),
        Command::Delete(_) if !task.state.is_ended() => Verdict::Refused(Refusal::TaskLive(task.name.clone())),
        Command::Cancel(_) if task.state.is_ended() => Verdict::Idle,
        // A second cancel changes nothing, unless it is forced and comes in phase 1.
        Command::Cancel(cancel) if task.intent == Intent::Cancel && !(cancel.force && stopping()) => Verdict::Idle,
        Command::Start(..) | Command::Delete(_) | Command::Cancel(_) => Verdict::Done,
    }
}

fn start_afresh(start: &StartTask, seen: &Seen<'_>) -> Verdict {
    const MOST: usize = super::super::MAX_TASKS;
    let full = seen.relief.refuses(&start.spec, seen.roles, seen.world);
    let refusal = match full {
        _ if seen.draining => Some(Refusal::ServerDraining),
        _ if seen.view.contains_key(&start.name) => Some(Refusal::TaskExists(start.name.clone())),
        _ if seen.view.len() >= MOST => Some(Refusal::TaskLimit(MOST)),
        full => full,
    };
    match refusal {
        Some(refusal) => Verdict::Refused(refusal),
        None if start.validate_only => Verdict::Idle,
        None => Verdict::Done,
    }
}
