//! Tasks as they are stored: an image without its specs, which it refers to.

use std::sync::LazyLock;

use super::circuit::CircuitForm;
use super::codes::Code;
use super::instance::{AlertForm, InstanceForm, OutcomeForm, PauseForm};
use super::swap::{ObservationForm, SpecKey, SpecOf, SwapForm};
use super::{Read, Unreadable, halves, times, uuid};
use crate::model::{
    Annotations, End, Generation, Intent, Labels, Restart, State, Target, Task, TaskName, Timestamp, Uid,
};

/// The image of a task.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::journal::embedded) struct TaskForm {
    /// The sequence at which the task was first heard of: its key, and that of its specs.
    #[prost(uint64, tag = "1")]
    pub(in crate::journal::embedded) born: u64,
    #[prost(fixed64, tag = "2")]
    uid_high: u64,
    #[prost(fixed64, tag = "3")]
    uid_low: u64,
    #[prost(string, tag = "4")]
    name: String,
    #[prost(message, repeated, tag = "5")]
    labels: Vec<PairForm>,
    #[prost(message, repeated, tag = "6")]
    annotations: Vec<PairForm>,
    #[prost(uint64, tag = "7")]
    generation: u64,
    /// By how much the newest generation is above the active one: mostly by nothing.
    #[prost(uint64, tag = "8")]
    generations_ahead: u64,
    #[prost(fixed64, tag = "9")]
    target_high: u64,
    #[prost(fixed64, tag = "10")]
    target_low: u64,
    #[prost(uint32, tag = "11")]
    state: u32,
    #[prost(uint32, tag = "12")]
    intent: u32,
    #[prost(message, optional, tag = "13")]
    instance: Option<InstanceForm>,
    #[prost(message, repeated, tag = "14")]
    draining: Vec<InstanceForm>,
    #[prost(message, optional, tag = "15")]
    candidate: Option<InstanceForm>,
    #[prost(message, optional, tag = "16")]
    circuit: Option<CircuitForm>,
    #[prost(fixed64, tag = "17")]
    create_time: u64,
    #[prost(fixed64, tag = "18")]
    update_time: u64,
    #[prost(message, optional, tag = "19")]
    restart: Option<RestartForm>,
    #[prost(message, optional, tag = "20")]
    swap: Option<SwapForm>,
    #[prost(message, optional, tag = "21")]
    outcome: Option<OutcomeForm>,
    #[prost(message, repeated, tag = "22")]
    alerts: Vec<AlertForm>,
    #[prost(message, optional, tag = "23")]
    pause: Option<PauseForm>,
    #[prost(message, optional, tag = "24")]
    end: Option<EndForm>,
    #[prost(uint32, tag = "25")]
    fate: u32,
    #[prost(message, optional, tag = "26")]
    observation: Option<ObservationForm>,
}

/// A label or an annotation.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::journal::embedded) struct PairForm {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// When a task ended.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::journal::embedded) struct EndForm {
    #[prost(fixed64, tag = "1")]
    time: u64,
    #[prost(fixed64, tag = "2")]
    expire_time: u64,
}

/// The restarts, where there were or will be any.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::journal::embedded) struct RestartForm {
    #[prost(uint32, tag = "1")]
    count: u32,
    #[prost(fixed64, optional, tag = "2")]
    next_time: Option<u64>,
}

impl TaskForm {
    pub(super) fn of(task: &Task, born: u64) -> Self {
        let Task {
            name,
            uid,
            labels,
            annotations,
            // Kept once for its generation.
            spec: _,
            generation,
            last_generation,
            target,
            state,
            intent,
            instance,
            draining,
            candidate,
            restart,
            swap,
            observation,
            outcome,
            circuit,
            alerts,
            pause,
            create_time,
            update_time,
            end,
            fate,
        } = task;
        let (uid_high, uid_low) = halves(uid.uuid());
        let (target_high, target_low) = halves(target.uuid());
        Self {
            born,
            uid_high,
            uid_low,
            name: short_name(name),
            labels: labels.iter().map(PairForm::of).collect(),
            annotations: annotations.iter().map(PairForm::of).collect(),
            generation: generation.get(),
            generations_ahead: last_generation.get().wrapping_sub(generation.get()),
            target_high,
            target_low,
            state: state.code(),
            intent: intent.code(),
            instance: instance.as_ref().map(InstanceForm::of),
            draining: draining.iter().map(InstanceForm::of).collect(),
            candidate: candidate.as_deref().map(InstanceForm::of),
            circuit: Some(CircuitForm::of(circuit)),
            create_time: create_time.as_nanos(),
            update_time: update_time.as_nanos(),
            restart: (*restart != Restart::default()).then(|| RestartForm::of(restart)),
            swap: swap.as_deref().map(SwapForm::of),
            outcome: outcome.as_ref().map(OutcomeForm::of),
            alerts: alerts.iter().map(AlertForm::of).collect(),
            pause: pause.as_deref().map(PauseForm::of),
            end: end.as_ref().map(EndForm::of),
            fate: fate.map_or(0, Code::code),
            observation: observation.as_deref().map(ObservationForm::of),
        }
    }

    pub(super) fn read<E: From<Unreadable>>(self, spec_of: SpecOf<'_, E>) -> Result<Task, E> {
        let Self {
            born,
            uid_high,
            uid_low,
            name,
            labels,
            annotations,
            generation,
            generations_ahead,
            target_high,
            target_low,
            state,
            intent,
            instance,
            draining,
            candidate,
            circuit,
            create_time,
            update_time,
            restart,
            swap,
            outcome,
            alerts,
            pause,
            end,
            fate,
            observation,
        } = self;
        Ok(Task {
            name: full_name(&name)?,
            uid: Uid::new(uuid((uid_high, uid_low))),
            labels: read_labels(labels)?,
            annotations: read_annotations(annotations)?,
            spec: spec_of(SpecKey { born, generation })?,
            generation: Generation::new(generation),
            last_generation: Generation::new(generation.wrapping_add(generations_ahead)),
            target: Target::from_uuid(uuid((target_high, target_low))),
            state: State::of(state)?,
            intent: Intent::of(intent)?,
            instance: instance.as_ref().map(InstanceForm::read).transpose()?,
            draining: draining.iter().map(InstanceForm::read).collect::<Read<_>>()?,
            candidate: candidate.as_ref().map(InstanceForm::read).transpose()?.map(Box::new),
            restart: restart.map(|restart| restart.read()).unwrap_or_default(),
            swap: swap.map(|swap| swap.read(born, spec_of)).transpose()?.map(Box::new),
            observation: observation.map(|observed| observed.read(born, spec_of)).transpose()?.map(Box::new),
            outcome: outcome.map(OutcomeForm::read).transpose()?,
            circuit: circuit.ok_or(Unreadable::Missing("circuit"))?.read()?,
            alerts: alerts.into_iter().map(AlertForm::read).collect::<Read<_>>()?,
            pause: pause.map(PauseForm::read).transpose()?.map(Box::new),
            create_time: Timestamp::from_nanos(create_time),
            update_time: Timestamp::from_nanos(update_time),
            end: end.map(|end| end.read()),
            fate: State::optional(fate)?,
        })
    }

    /// The name, for people: as it is stored, where it is none.
    pub(in crate::journal::embedded) fn name(&self) -> String {
        full_name(&self.name).map_or_else(|_| self.name.clone(), |name| name.to_string())
    }

    /// The specs that the image refers to.
    pub(in crate::journal::embedded) fn specs(&self) -> impl Iterator<Item = SpecKey> {
        let born = self.born;
        let swap = self.swap.as_ref().map(SwapForm::to_generation);
        let observed = self.observation.as_ref().map(ObservationForm::generation);
        [self.generation].into_iter().chain(swap).chain(observed).map(move |generation| SpecKey { born, generation })
    }
}

/// Most tasks have none, and there need not be a map for each of their events.
fn read_labels(pairs: Vec<PairForm>) -> Read<Labels> {
    static NONE: LazyLock<Labels> = LazyLock::new(Labels::default);
    if pairs.is_empty() {
        return Ok(NONE.clone());
    }
    Labels::try_new(pairs.into_iter().map(PairForm::read)).map_err(|found| Unreadable::violations("labels", found))
}

fn read_annotations(pairs: Vec<PairForm>) -> Read<Annotations> {
    static NONE: LazyLock<Annotations> = LazyLock::new(Annotations::default);
    if pairs.is_empty() {
        return Ok(NONE.clone());
    }
    let read = Annotations::try_new(pairs.into_iter().map(PairForm::read));
    read.map_err(|found| Unreadable::violations("annotations", found))
}

/// `default/api` for `namespaces/default/tasks/api`: the rest is the same for all.
fn short_name(name: &TaskName) -> String {
    [name.namespace(), "/", name.id()].concat()
}

fn full_name(short: &str) -> Read<TaskName> {
    let (namespace, id) = short.split_once('/').ok_or(Unreadable::Missing("name"))?;
    let name = ["namespaces/", namespace, "/tasks/", id].concat();
    TaskName::parse(&name).map_err(|problem| Unreadable::invalid("name", problem))
}

impl PairForm {
    pub(super) fn of((key, value): (&str, &str)) -> Self {
        Self { key: key.to_owned(), value: value.to_owned() }
    }

    pub(super) fn read(self) -> (String, String) {
        let Self { key, value } = self;
        (key, value)
    }
}

impl EndForm {
    fn of(end: &End) -> Self {
        let End { time, expire_time } = *end;
        Self { time: time.as_nanos(), expire_time: expire_time.as_nanos() }
    }

    fn read(&self) -> End {
        let Self { time, expire_time } = *self;
        End { time: Timestamp::from_nanos(time), expire_time: Timestamp::from_nanos(expire_time) }
    }
}

impl RestartForm {
    pub(super) fn of(restart: &Restart) -> Self {
        let Restart { count, next_time } = *restart;
        Self { count, next_time: next_time.map(Timestamp::as_nanos) }
    }

    pub(super) fn read(&self) -> Restart {
        let Self { count, next_time } = *self;
        Restart { count, next_time: times(next_time) }
    }
}
