//! What clients ask for: start, cancel, delete. A swap is in `swap`.

use std::sync::Arc;
use std::time::Duration;

use super::entry::Entry;
use super::idempotency::Known;
use super::io::{Chance, Command, Effect, Reply};
use super::record::Change;
use super::{Lifecycle, Timer};
use crate::circuit::Circuit;
use crate::model::{
    Actor, Asked, CancelTask, Cause, DeleteTask, End, Etag, Generation, Idempotency, Intent, Method, Now, Refusal,
    Remembered, Restart, StartTask, State, Target, Task, TaskName, TaskSpec, Uid,
};

impl<C: Chance> Lifecycle<C> {
    /// Answers every command, once all that its answer shows is committed: a refusal shows the state, too, unless it is for the
    /// journal's.
    pub(super) fn command(&mut self, command: Command, now: Now) {
        let (method, idempotency, cause) = command.request();
        let actor = cause.actor.clone();
        let dry = command.is_dry();
        let orphan = self.orphan_of(&command, now);
        let before = self.log.head;
        let reply = match self.requests.look_up(&actor, method, idempotency, now.mono) {
            Known::Reused => Err(Refusal::RequestIdReused),
            Known::Done(done) if method == Method::Delete => Ok(Reply::Deleted { sequence: done.sequence }),
            Known::Done(done) => match self.tasks.get(&done.uid) {
                Some(entry) => Ok(Reply::Accepted { task: Arc::clone(&entry.task), sequence: done.sequence }),
                None => Err(Refusal::TaskNotFound(command.name().clone())),
            },
            Known::New => self.admit(&command).and_then(|()| {
                let done = match command {
                    Command::Start(start, target) => self.start(*start, target, now),
                    Command::Swap(swap, target) => self.swap(*swap, target, now),
                    Command::Vain(rollback, refusal) => Err(self.in_vain(&rollback, refusal)),
                    Command::Cancel(cancel) => self.cancel(cancel, now),
                    Command::Delete(delete) => self.delete(delete, now),
                    Command::Pause(pause) => self.pause(pause, now),
                    Command::Resume(resume) => self.resume(resume, now),
                    Command::Run(run) => self.check_now(run),
                    Command::Override(over) => self.override_circuit(over, now),
                    Command::ResetCircuit(reset) => self.reset_circuit_of(reset, now),
                };
                done.map(|(uid, reply)| {
                    // What changes nothing is not remembered while nothing is committed: clients could pile that up without end.
                    if !dry && (self.intake.is_open() || before < self.log.head) {
                        self.remember(actor, method, idempotency, uid, now);
                    }
                    reply
                })
            }),
        };
        if let Some(uid) = orphan {
            self.go_on_with(uid, now);
        }
        self.log.effects.push(Effect::Answer { after: self.shown_by(&reply), reply });
    }

    /// Remembers that the request has succeeded, here and in the journal.
    fn remember(&mut self, actor: Actor, method: Method, idempotency: Option<Idempotency>, uid: Uid, now: Now) {
        let Some(idempotency) = idempotency else { return };
        let request = Remembered { actor, method, idempotency, uid, sequence: self.log.head, time: now.wall };
        self.requests.remember(&request, Duration::ZERO, now.mono);
        self.log.effects.push(Effect::Remember(request));
    }

    fn start(&mut self, start: StartTask, target: Target, now: Now) -> Result<(Uid, Reply), Refusal> {
        let StartTask { name, labels, annotations, spec, validate_only, cause, idempotency: _ } = start;
        if self.draining.is_some() {
            return Err(Refusal::ServerDraining);
        }
        if self.names.contains_key(&name) {
            return Err(Refusal::TaskExists(name));
        }
        if self.tasks.len() >= self.limits.max_tasks {
            return Err(Refusal::TaskLimit(self.limits.max_tasks));
        }
        self.may_be_put_at_risk(&spec)?;
        let uid = Uid::new(self.chance.uuid());
        let circuit = Circuit::new(now);
        let task = Task {
            name: name.clone(),
            uid,
            labels,
            annotations,
            spec: Arc::new(spec),
            generation: Generation::new(1),
            last_generation: Generation::new(1),
            target,
            state: State::Pending,
            intent: Intent::Run,
            instance: None,
            draining: Vec::new(),
            candidate: None,
            restart: Restart::default(),
            swap: None,
            observation: None,
            outcome: None,
            circuit: circuit.status(),
            alerts: Vec::new(),
            pause: None,
            create_time: now.wall,
            update_time: now.wall,
            end: None,
            fate: None,
        };
        if validate_only {
            return Ok((uid, Reply::Accepted { task: Arc::new(task), sequence: self.log.head }));
        }
        self.names.insert(name, uid);
        self.tasks.insert(uid, Entry::new(task, circuit));
        self.record(uid, cause.clone(), Change::Created, now);
        self.launch(uid, false, cause, now);
        Ok((uid, self.accepted(uid)?))
    }

    fn cancel(&mut self, cancel: CancelTask, now: Now) -> Result<(Uid, Reply), Refusal> {
        let CancelTask { name, force, etag, cause, idempotency: _ } = cancel;
        let (uid, task) = self.find(&name, etag.as_ref())?;
        if !task.state.is_ended() {
            self.stop_for_good(uid, force, cause, now);
        } else if let Some(entry) = self.tasks.get(&uid).filter(|_| !self.intake.is_open()) {
            // The head may not be visible for long; its end is, mostly.
            return Ok((uid, Reply::Accepted { task: Arc::clone(&entry.task), sequence: entry.told }));
        }
        Ok((uid, self.accepted(uid)?))
    }

    /// Stops whatever lives of a task, under one bound; it wins over a swap that has not been committed.
    fn stop_for_good(&mut self, uid: Uid, force: bool, cause: Cause, now: Now) {
        let Some(entry) = self.tasks.get_mut(&uid) else { return };
        (entry.held, entry.observation) = (None, None);
        self.timers.clear(Timer::Restart(uid));
        self.timers.clear(Timer::PauseExpires(uid));
        let live: Vec<_> = entry.runs().map(|run| run.id).collect();
        self.abandon_swap(uid, "the task was cancelled", now);
        // The swap's end still shows the pause: only with what follows does the task's owner want something else.
        if let Some(entry) = self.tasks.get_mut(&uid) {
            entry.pause = None;
        }
        if live.is_empty() {
            return self.end_pending(uid, cause, now);
        }
        for id in live {
            self.shutdown_task(id, Asked::Cancel, cause.clone(), None, now);
            if force {
                self.force(id, cause.clone(), now);
            }
        }
    }

    fn delete(&mut self, delete: DeleteTask, now: Now) -> Result<(Uid, Reply), Refusal> {
        let DeleteTask { name, etag, cause, idempotency: _ } = delete;
        let (uid, task) = self.find(&name, etag.as_ref())?;
        if !task.state.is_ended() {
            return Err(Refusal::TaskLive(name));
        }
        self.remove(uid, cause, now);
        Ok((uid, Reply::Deleted { sequence: self.log.head }))
    }

    /// The ended task has been kept for its `terminal_ttl`.
    pub(super) fn on_expired(&mut self, uid: Uid, now: Now) {
        self.remove(uid, Cause::system("ttl", "terminal_ttl is over"), now);
    }

    fn remove(&mut self, uid: Uid, cause: Cause, now: Now) {
        self.record(uid, cause, Change::Deleted, now);
        let Some(entry) = self.tasks.remove(&uid) else { return };
        self.names.remove(&entry.task.name);
        self.timers.clear(Timer::Expire(uid));
        self.timers.clear(Timer::Override(uid));
        self.log.effects.push(Effect::Forget(uid));
    }

    /// Nothing is live: the cancel ends the task at once.
    fn end_pending(&mut self, uid: Uid, cause: Cause, now: Now) {
        let Some(entry) = self.tasks.get(&uid) else { return };
        let (end, expires) = (end(&entry.task, now), now.mono + entry.task.spec.terminal_ttl());
        self.timers.set(Timer::Expire(uid), expires);
        self.record(uid, cause, Change::TaskEnded(end, State::Cancelled), now);
    }

    /// A monitor of a custom kind may block, or refuse to end; once too many have, no other is started.
    pub(super) fn may_be_put_at_risk(&self, spec: &TaskSpec) -> Result<(), Refusal> {
        if self.is_at_stuck_limit() && !spec.monitor().is_built_in() {
            return Err(Refusal::StuckLimit(self.limits.max_stuck));
        }
        Ok(())
    }

    pub(super) fn find(&self, name: &TaskName, etag: Option<&Etag>) -> Result<(Uid, &Task), Refusal> {
        let not_found = || Refusal::TaskNotFound(name.clone());
        let uid = *self.names.get(name).ok_or_else(not_found)?;
        let task = &self.tasks.get(&uid).ok_or_else(not_found)?.task;
        match etag {
            Some(given) if *given != task.etag() => {
                Err(Refusal::EtagMismatch { name: name.clone(), actual: task.etag().as_str().to_owned() })
            }
            _ => Ok((uid, task)),
        }
    }

    pub(super) fn accepted(&self, uid: Uid) -> Result<Reply, Refusal> {
        let entry = self.tasks.get(&uid).ok_or(Refusal::ServerDraining)?;
        Ok(Reply::Accepted { task: Arc::clone(&entry.task), sequence: self.log.head })
    }
}

/// When a task that ends now has ended, and will be deleted.
pub(super) fn end(task: &Task, now: Now) -> End {
    End { time: now.wall, expire_time: now.wall + task.spec.terminal_ttl() }
}
