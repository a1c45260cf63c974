//! Tasks, events and requests, with every optional part there and not.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use proptest::option;
use proptest::prelude::*;
use uuid::Uuid;

use super::specs::specs;
use crate::model::{
    Actor, Alert, AlertKind, Annotations, Asked, Attempt, Cause, CircuitOverride, CircuitReason, CircuitState,
    CircuitStatus, Detail, End, Epoch, Event, EventType, EvidenceSource, Exit, Generation, Idempotency, Instance,
    InstanceState, Intent, Labels, Method, Observation, Origin, Outcome, Override, Pause, Reason, Remembered, Restart,
    Sequence, Shutdown, Standing, State, StatePolicy, Story, Swap, SwapPhase, SwapStrategy, Target, Task, TaskName,
    Timestamp, Uid,
};

fn select<T: Clone + std::fmt::Debug + 'static>(all: &[T]) -> impl Strategy<Value = T> + use<T> {
    prop::sample::select(all.to_vec())
}

fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![Just(0), 1_700_000_000_000_000_000..1_900_000_000_000_000_000_u64, any::<u64>()]
        .prop_map(Timestamp::from_nanos)
}

fn span() -> impl Strategy<Value = Duration> {
    (0..u64::MAX).prop_map(Duration::from_nanos)
}

fn uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn generation() -> impl Strategy<Value = Generation> {
    (1..u64::MAX / 2).prop_map(Generation::new)
}

fn attempt() -> impl Strategy<Value = Attempt> {
    any::<u32>().prop_map(Attempt::new)
}

fn instances() -> BoxedStrategy<Instance> {
    use InstanceState::{Aborting, Ended, Ready, Starting, Stopping, Stuck};
    let shutdown = (reason_to_stop(), time(), option::of(span()), option::of(span())).prop_map(
        |(asked, asked_time, graceful_duration, abort_duration)| Shutdown {
            asked,
            asked_time,
            graceful_duration,
            abort_duration,
        },
    );
    let state = select(&[Starting, Ready, Stopping, Aborting, Stuck, Ended]);
    let times = (time(), option::of(time()), option::of(time()), option::of(time()));
    let exit = option::of(select(&Exit::ALL));
    (generation(), attempt(), state, times, exit, option::of(shutdown))
        .prop_map(|(generation, attempt, state, (start_time, ready_time, stop_time, blocked_since), exit, shutdown)| {
            Instance { generation, attempt, state, start_time, ready_time, stop_time, exit, shutdown, blocked_since }
        })
        .boxed()
}

fn reason_to_stop() -> impl Strategy<Value = Asked> {
    use Asked::{Cancel, Drain, Relief, StartTimeout};
    select(&[Asked::None, Cancel, Drain, StartTimeout, Asked::Swap, Asked::Pause, Relief])
}

fn outcomes() -> BoxedStrategy<Outcome> {
    (select(&Exit::ALL), reason_to_stop(), ".{0,20}", time())
        .prop_map(|(exit, asked, message, time)| Outcome { exit, asked, message, time })
        .boxed()
}

fn alerts() -> BoxedStrategy<Alert> {
    (select(&AlertKind::ALL), time(), generation(), attempt(), ".{0,20}")
        .prop_map(|(kind, raise_time, generation, attempt, message)| Alert {
            kind,
            raise_time,
            generation,
            attempt,
            message,
        })
        .boxed()
}

fn pauses() -> BoxedStrategy<Pause> {
    (".{0,20}", option::of(time()))
        .prop_map(|(reason, expire_time)| Pause { reason: Reason::cut(reason), expire_time })
        .boxed()
}

fn restarts() -> impl Strategy<Value = Restart> {
    (any::<u32>(), option::of(time())).prop_map(|(count, next_time)| Restart { count, next_time })
}

fn circuits() -> BoxedStrategy<CircuitStatus> {
    let reason = option::of(select(&CircuitReason::ALL));
    let rest = (any::<u64>(), time(), option::of(time()), option::of(span()), any::<u32>());
    let source = option::of(select(&[EvidenceSource::Active, EvidenceSource::Passive]));
    let overriding = (select(&Override::ALL), ".{0,20}", time(), option::of(time())).prop_map(
        |(mode, reason, since_time, expire_time)| {
            Arc::new(CircuitOverride { mode, reason: Reason::cut(reason), since_time, expire_time })
        },
    );
    let more = (source, option::of(overriding), any::<bool>());
    (select(&CircuitState::ALL), any::<bool>(), reason, rest, more)
        .prop_map(|(state, suspended, reason, rest, (trip_source, overriding, flapping))| {
            let (epoch, since_time, until, left, streak) = rest;
            CircuitStatus {
                state,
                suspended,
                epoch: Epoch::new(epoch),
                since_time,
                reason,
                until,
                left,
                streak,
                trip_source,
                overriding,
                flapping,
            }
        })
        .boxed()
}

fn swaps() -> BoxedStrategy<Swap> {
    let numbers = (uuid(), generation(), generation());
    let rest = (".{0,20}", ".{0,20}", option::of(generation()));
    (numbers, specs(), select(&SwapStrategy::ALL), select(&SwapPhase::ALL), rest)
        .prop_map(
            |((id, from_generation, to_generation), to_spec, strategy, phase, (error, revert_reason, rollback_to))| {
                Swap {
                    id,
                    from_generation,
                    to_generation,
                    to_spec: Arc::new(to_spec),
                    strategy,
                    phase,
                    error,
                    revert_reason,
                    rollback_to,
                }
            },
        )
        .boxed()
}

fn observations() -> BoxedStrategy<Observation> {
    let policy = option::of(select(&StatePolicy::ALL));
    let way = (select(&SwapStrategy::ALL), policy, uuid());
    (generation(), specs(), way, time(), ".{0,20}")
        .prop_map(|(generation, spec, (strategy, state_policy, target), expire_time, failure)| Observation {
            generation,
            spec: Arc::new(spec),
            target: Target::from_uuid(target),
            strategy,
            state_policy,
            expire_time,
            failure,
        })
        .boxed()
}

fn tasks() -> BoxedStrategy<Task> {
    let pairs = || prop::collection::btree_map("[a-z]{1,9}", ".{0,9}", 0..3);
    let identity = ("[a-z]{1,9}", "[a-z][a-z0-9]{0,9}", uuid(), pairs(), pairs());
    let spec = (specs(), generation(), 0..9_u64, uuid());
    let states = (select(&State::ALL), select(&[Intent::Run, Intent::Pause, Intent::Cancel]));
    let instances_ = (option::of(instances()), prop::collection::vec(instances(), 0..3), option::of(instances()));
    let news = (
        restarts(),
        (option::of(swaps()), option::of(observations())),
        option::of(outcomes()),
        circuits(),
        prop::collection::vec(alerts(), 0..3),
    );
    let end = option::of((time(), time()).prop_map(|(time, expire_time)| End { time, expire_time }));
    let rest = (option::of(pauses()), time(), time(), end, option::of(select(&State::ALL)));
    (identity, spec, states, instances_, news, rest).prop_map(task).boxed()
}

type Identity = (String, String, Uuid, BTreeMap<String, String>, BTreeMap<String, String>);
type Spec = (crate::model::TaskSpec, Generation, u64, Uuid);
type News = (Restart, (Option<Swap>, Option<Observation>), Option<Outcome>, CircuitStatus, Vec<Alert>);
type Rest = (Option<Pause>, Timestamp, Timestamp, Option<End>, Option<State>);
type Instances = (Option<Instance>, Vec<Instance>, Option<Instance>);

fn task(
    (identity, spec, (state, intent), instances, news, rest): (Identity, Spec, (State, Intent), Instances, News, Rest),
) -> Task {
    let (namespace, id, uid, labels, annotations) = identity;
    let (spec, generation, ahead, target) = spec;
    let (instance, draining, candidate) = instances;
    let (restart, (mut swap, mut observation), outcome, circuit, alerts) = news;
    let (pause, create_time, update_time, end, fate) = rest;
    let spec = Arc::new(spec);
    // A number is given to one spec.
    if let Some(swap) = swap.as_mut().filter(|swap| swap.to_generation == generation) {
        swap.to_spec = Arc::clone(&spec);
    }
    if let Some(observation) = &mut observation {
        let swapped = swap.iter().map(|swap| (swap.to_generation, &swap.to_spec));
        let mut known = swapped.chain([(generation, &spec)]);
        if let Some((_, known)) = known.find(|(known, _)| *known == observation.generation) {
            observation.spec = Arc::clone(known);
        }
    }
    Task {
        name: TaskName::parse(&format!("namespaces/{namespace}/tasks/{id}")).expect("valid"),
        uid: Uid::new(uid),
        labels: Labels::try_new(labels).expect("valid"),
        annotations: Annotations::try_new(annotations).expect("valid"),
        spec,
        generation,
        last_generation: Generation::new(generation.get() + ahead),
        target: Target::from_uuid(target),
        state,
        intent,
        instance,
        draining,
        candidate: candidate.map(Box::new),
        restart,
        swap: swap.map(Box::new),
        observation: observation.map(Box::new),
        outcome,
        circuit,
        alerts,
        pause: pause.map(Box::new),
        create_time,
        update_time,
        end,
        fate,
    }
}

fn details(task: Option<Task>) -> BoxedStrategy<Option<Detail>> {
    let own = task.as_ref().map_or(Just(None).boxed(), |task| {
        let own = [
            task.instance.clone().map(Detail::Instance),
            task.alerts.last().cloned().map(Detail::Alert),
            task.outcome.clone().map(Detail::Outcome),
            task.swap.clone().map(Detail::Swap),
            task.pause.clone().map(Detail::Pause),
            Some(Detail::Circuit(task.circuit.clone())),
            Some(Detail::Restart(task.restart)),
            task.draining.last().cloned().map(Detail::Instance),
            task.candidate.as_deref().cloned().map(Detail::Instance),
        ];
        select(&own).boxed()
    });
    // A swap whose specs are the task's own, at another phase.
    let swap =
        task.and_then(|task| task.swap).map(|swap| Detail::Swap(Box::new(Swap { error: "else".to_owned(), ..*swap })));
    prop_oneof![
        own,
        Just(swap),
        Just(None),
        instances().prop_map(|instance| Some(Detail::Instance(instance))),
        outcomes().prop_map(|outcome| Some(Detail::Outcome(outcome))),
        alerts().prop_map(|alert| Some(Detail::Alert(alert))),
        pauses().prop_map(|pause| Some(Detail::Pause(Box::new(pause)))),
        restarts().prop_map(|restart| Some(Detail::Restart(restart))),
        circuits().prop_map(|circuit| Some(Detail::Circuit(circuit))),
    ]
    .boxed()
}

fn actors() -> impl Strategy<Value = Actor> {
    prop_oneof![
        "[a-z]{0,9}".prop_map(|component| Actor::System(Cow::Owned(component))),
        "[/a-zä]{0,9}".prop_map(|path| Actor::File(path.into())),
        any::<[u8; 4]>().prop_map(|peer| Actor::Anonymous(IpAddr::from(peer))),
        any::<[u8; 16]>().prop_map(|peer| Actor::Anonymous(IpAddr::from(peer))),
    ]
}

pub(crate) fn events() -> BoxedStrategy<Event> {
    let cause = (actors(), ".{0,20}", option::of(uuid())).prop_map(|(actor, reason, request_id)| Cause {
        actor,
        reason: Reason::cut(reason),
        request_id,
    });
    let task = option::weighted(0.95, tasks());
    let detailed = task.prop_flat_map(|task| (details(task.clone()), Just(task)));
    let rest = (any::<u64>(), time(), select(&EventType::ALL), any::<bool>(), any::<u64>(), attempt());
    (rest, cause, detailed)
        .prop_map(|((sequence, time, kind, own, other, attempt), cause, (detail, task))| Event {
            sequence: Sequence::new(sequence),
            time,
            kind,
            generation: task.as_ref().map_or_else(Generation::default, |task| task.generation).max(if own {
                Generation::default()
            } else {
                Generation::new(other)
            }),
            attempt,
            cause,
            detail,
            task: task.map(Arc::new),
        })
        .boxed()
}

pub(super) fn stories() -> BoxedStrategy<Story> {
    let standing = prop_oneof![
        Just(Standing::Unknown),
        Just(Standing::Candidate),
        option::of(time()).prop_map(|since| Standing::Active { since }),
        (option::of(time()), time()).prop_map(|(since, until)| Standing::Superseded { since, until }),
        (option::of(time()), time(), ".{1,20}").prop_map(|(since, until, error)| Standing::Reverted {
            since,
            until,
            error
        }),
        (time(), ".{0,20}").prop_map(|(time, error)| Standing::RolledBack { time, error }),
        (time(), ".{0,20}").prop_map(|(time, error)| Standing::Cancelled { time, error }),
    ];
    let origin = (time(), actors(), ".{0,20}", option::of(uuid()), option::of(generation())).prop_map(
        |(time, actor, reason, request_id, rollback_to)| {
            let reason = Reason::try_new(reason).expect("short");
            Origin { time, cause: Cause { actor, reason, request_id }, rollback_to }
        },
    );
    let pairs = prop::collection::btree_map("[a-z]{1,9}", ".{0,9}", 0..3);
    let annotations = pairs.prop_map(|pairs| Annotations::try_new(pairs).expect("valid"));
    (option::of(origin), option::of(annotations), standing)
        .prop_map(|(origin, annotations, standing)| Story { origin, annotations, standing })
        .boxed()
}

pub(super) fn requests() -> BoxedStrategy<Remembered> {
    use Method::{Cancel, Delete, Resume, Rollback, Run, Start};
    let method = select(&[Start, Method::Swap, Cancel, Delete, Method::Pause, Resume, Run, Rollback]);
    let rest = (uuid(), uuid(), uuid(), any::<u64>(), time());
    (actors(), method, rest)
        .prop_map(|(actor, method, (request_id, fingerprint, uid, sequence, time))| Remembered {
            actor,
            method,
            idempotency: Idempotency { request_id, fingerprint },
            uid: Uid::new(uid),
            sequence: Sequence::new(sequence),
            time,
        })
        .boxed()
}
