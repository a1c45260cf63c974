//! What a reader of the log sees.

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tracing::subscriber::with_default;
use uuid::Uuid;

use super::*;
use crate::model::{
    Alert, AlertKind, Annotations, Attempt, Cause, CircuitState, Epoch, Exit, Generation, HttpDraft, InstanceState,
    Intent, Labels, MonitorDraft, Restart, Sequence, SpecDraft, SwapPhase, SwapStrategy, Target, TaskName, TaskSpec,
    Timestamp, Uid, Violations,
};

#[derive(Clone, Default)]
struct Capture(Arc<Mutex<Vec<u8>>>);

impl io::Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Capture {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("not poisoned").clone()).expect("UTF-8")
    }
}

/// Logs `events` under `filter`, as text and as JSON.
fn logged(filter: &str, events: &[Event]) -> (String, Vec<Value>) {
    let (text, json) = (Capture::default(), Capture::default());
    let builder = || tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    let (text_writer, json_writer) = (text.clone(), json.clone());
    for subscriber in [
        Box::new(builder().with_writer(move || text_writer.clone()).finish())
            as Box<dyn tracing::Subscriber + Send + Sync>,
        Box::new(builder().json().with_writer(move || json_writer.clone()).finish()),
    ] {
        let mut limiter = RateLimiter::default();
        with_default(subscriber, || events.iter().for_each(|event| log_event(event, &mut limiter)));
    }
    let json = json.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    (text.text(), json)
}

fn spec() -> TaskSpec {
    let http = HttpDraft { url: "http://127.0.0.1:1/".to_owned(), ..HttpDraft::default() };
    let draft = SpecDraft { monitor: Some(MonitorDraft::Http(http)), ..SpecDraft::default() };
    TaskSpec::try_new(draft, &mut Violations::new()).expect("valid")
}

fn task(state: State) -> Task {
    Task {
        name: TaskName::parse("namespaces/default/tasks/api").expect("valid"),
        uid: Uid::new(Uuid::from_u128(7)),
        labels: Labels::default(),
        annotations: Annotations::default(),
        spec: Arc::new(spec()),
        generation: Generation::new(3),
        last_generation: Generation::new(3),
        target: Target::of("http", "http://127.0.0.1:1/"),
        state,
        intent: Intent::Run,
        instance: None,
        draining: Vec::new(),
        candidate: None,
        restart: Restart::default(),
        swap: None,
        observation: None,
        outcome: None,
        circuit: circuit(CircuitState::Closed),
        alerts: Vec::new(),
        pause: None,
        create_time: Timestamp::default(),
        update_time: Timestamp::default(),
        end: None,
        fate: None,
    }
}

fn circuit(state: CircuitState) -> CircuitStatus {
    CircuitStatus {
        state,
        suspended: false,
        epoch: Epoch::new(4),
        since_time: Timestamp::default(),
        reason: Some(CircuitReason::Failure),
        until: Some(Timestamp::from_nanos(5_000_000_001)),
        left: None,
        streak: 1,
        trip_source: None,
        overriding: None,
        flapping: false,
    }
}

fn event(kind: EventType, detail: Option<Detail>) -> Event {
    Event {
        sequence: Sequence::new(9),
        time: Timestamp::from_nanos(1),
        kind,
        generation: Generation::new(3),
        attempt: Attempt::new(2),
        cause: Cause::system("manager", ""),
        detail,
        task: Some(Arc::new(task(State::Running))),
    }
}

fn alert(kind: AlertKind, message: &str) -> Detail {
    let (generation, attempt) = (Generation::new(3), Attempt::new(2));
    Detail::Alert(Alert { kind, raise_time: Timestamp::default(), generation, attempt, message: message.to_owned() })
}

fn outcome(message: &str) -> Detail {
    let message = message.to_owned();
    Detail::Outcome(Outcome { exit: Exit::Panic, asked: Asked::None, message, time: Timestamp::default() })
}

#[test]
fn every_event_is_one_line_with_the_instances_coordinates() {
    for kind in EventType::ALL {
        let (text, json) = logged("debug", &[event(kind, None)]);
        assert_eq!((text.lines().count(), json.len()), (1, 1), "{kind:?}: {text}");
        assert_eq!(json[0]["fields"]["event"], kind.name());
        let span = &json[0]["span"];
        assert_eq!(span["task"], "namespaces/default/tasks/api");
        assert_eq!(span["uid"], "00000000-0000-0000-0000-000000000007");
        assert_eq!((&span["generation"], &span["attempt"]), (&3.into(), &2.into()));
    }
}

#[test]
fn only_bad_news_warns_by_its_kind() {
    for kind in EventType::ALL {
        let (_, json) = logged("debug", &[event(kind, Some(alert(AlertKind::AbortTimeout, "")))]);
        let warns = matches!(
            kind,
            EventType::AlertRaised | EventType::InstanceStuck | EventType::SwapRolledBack | EventType::CircuitTripped
        );
        let notable = matches!(
            kind,
            EventType::AlertResolved
                | EventType::CircuitHalfOpened
                | EventType::CircuitRecovered
                | EventType::CircuitReset
                | EventType::CircuitOverridden
                | EventType::TaskPaused
                | EventType::TaskResumed
                | EventType::ServerDraining
        );
        let level = if warns {
            "WARN"
        } else if notable {
            "INFO"
        } else {
            "DEBUG"
        };
        assert_eq!(json[0]["level"], level, "{kind:?}");
    }
}

#[test]
fn what_every_task_goes_through_is_left_out_at_info_and_takes_no_warnings_place() {
    let mut events = vec![event(EventType::InstanceReady, None); 1_000];
    events.push(event(EventType::AlertRaised, Some(alert(AlertKind::AbortTimeout, ""))));
    events.push(event(EventType::AlertResolved, Some(alert(AlertKind::AbortTimeout, ""))));
    let (_, json) = logged("info", &events);
    let told: Vec<_> = json.iter().map(|line| (&line["level"], &line["fields"]["event"])).collect();
    assert_eq!(told, [(&"WARN".into(), &"ALERT_RAISED".into()), (&"INFO".into(), &"ALERT_RESOLVED".into())]);
    assert_eq!(json[0]["fields"].get("suppressed"), None);
}

#[test]
fn an_end_warns_where_the_monitor_failed_unasked() {
    let exits = [Exit::Completed, Exit::Graceful, Exit::Aborted, Exit::Error, Exit::Panic, Exit::Interrupted];
    for exit in exits {
        for asked in [Asked::None, Asked::Cancel, Asked::Swap, Asked::Drain, Asked::StartTimeout] {
            let outcome = Outcome { exit, asked, message: "no".to_owned(), time: Timestamp::default() };
            let (_, json) = logged("debug", &[event(EventType::InstanceEnded, Some(Detail::Outcome(outcome)))]);
            let warns = matches!((exit, asked), (Exit::Error | Exit::Panic, Asked::None));
            assert_eq!(json[0]["level"], if warns { "WARN" } else { "DEBUG" }, "{exit:?} {asked:?}");
            assert_eq!(json[0]["span"]["task"], "namespaces/default/tasks/api");
        }
    }
}

#[test]
fn routine_lines_hold_no_failure_back() {
    let mut events = vec![event(EventType::InstanceStarting, None); 50];
    events.push(event(EventType::InstanceEnded, Some(outcome("index out of bounds"))));
    let (_, json) = logged("warn", &events);
    assert_eq!((json.len(), &json[0]["fields"]["exit"]), (1, &"panic".into()));
}

#[test]
fn a_warning_keeps_its_span_where_only_warnings_pass() {
    let (text, json) = logged("warn", &[event(EventType::InstanceStuck, None), event(EventType::InstanceReady, None)]);
    assert_eq!(json.len(), 1);
    assert_eq!(json[0]["span"]["task"], "namespaces/default/tasks/api");
    assert!(text.contains("lifecycle{task=namespaces/default/tasks/api"), "{text}");
}

#[test]
fn a_filter_by_the_short_target_or_by_the_crate_keeps_line_and_span() {
    for filter in ["switchyard::event=debug", "off,switchyard=debug"] {
        let (text, json) = logged(filter, &[event(EventType::InstanceReady, None)]);
        assert_eq!((&json[0]["target"], text.lines().count()), (&"switchyard::event".into(), 1), "{filter}");
        assert_eq!(json[0]["span"]["task"], "namespaces/default/tasks/api", "{filter}");
    }
    assert_eq!(logged("debug,switchyard::event=info", &[event(EventType::InstanceReady, None)]).1.len(), 0);
}

#[test]
fn an_alert_goes_by_the_label_that_the_seed_document_gave() {
    for kind in AlertKind::ALL {
        let (_, json) = logged("debug", &[event(EventType::AlertRaised, Some(alert(kind, "5s without an exit")))]);
        assert_eq!(json[0]["fields"]["alert"], kind.label());
        assert_eq!(json[0]["fields"]["detail"], "5s without an exit");
    }
}

#[test]
fn an_end_tells_how_and_who_asked() {
    let (_, json) = logged("debug", &[event(EventType::InstanceEnded, Some(outcome("index out of bounds")))]);
    let fields = &json[0]["fields"];
    assert_eq!((&fields["exit"], &fields["detail"]), (&"panic".into(), &"index out of bounds".into()));
    assert_eq!(fields.get("asked"), None);

    let mut cancelled = task(State::Cancelled);
    let asked =
        Outcome { exit: Exit::Graceful, asked: Asked::Cancel, message: String::new(), time: Timestamp::default() };
    cancelled.outcome = Some(asked);
    let ended = Event { task: Some(Arc::new(cancelled)), ..event(EventType::TaskEnded, None) };
    let (_, json) = logged("debug", &[ended]);
    let fields = &json[0]["fields"];
    assert_eq!(fields["message"], "task cancelled");
    assert_eq!((&fields["exit"], &fields["asked"]), (&"graceful".into(), &"cancel".into()));
}

#[test]
fn a_swap_tells_from_where_to_where_and_what_went_wrong() {
    let swap = Swap {
        id: Uuid::from_u128(1),
        from_generation: Generation::new(3),
        to_generation: Generation::new(4),
        to_spec: Arc::new(spec()),
        strategy: SwapStrategy::MakeBeforeBreak,
        phase: SwapPhase::RolledBack,
        error: "not ready within 30s".to_owned(),
        revert_reason: String::new(),
        rollback_to: None,
    };
    let rolled_back = Some(Detail::Swap(Box::new(swap.clone())));
    let (_, json) = logged("debug", &[event(EventType::SwapRolledBack, rolled_back)]);
    let fields = &json[0]["fields"];
    assert_eq!((&fields["from_generation"], &fields["to_generation"]), (&3.into(), &4.into()));
    assert_eq!((&fields["phase"], &fields["detail"]), (&"ROLLED_BACK".into(), &"not ready within 30s".into()));
    assert_eq!(json[0]["level"], "WARN");

    let cancelled = Swap { phase: SwapPhase::Cancelled, ..swap };
    let (_, json) = logged("debug", &[event(EventType::SwapRolledBack, Some(Detail::Swap(Box::new(cancelled))))]);
    assert_eq!((&json[0]["level"], &json[0]["fields"]["message"]), (&"DEBUG".into(), &"swap cancelled".into()));
}

#[test]
fn the_end_of_a_replaced_instance_is_not_told_by_the_outcome_of_another() {
    let instance = |generation, exit| Instance {
        generation: Generation::new(generation),
        attempt: Attempt::new(1),
        state: InstanceState::Ended,
        start_time: Timestamp::default(),
        ready_time: None,
        stop_time: None,
        exit,
        shutdown: None,
        blocked_since: None,
    };
    let failed =
        Outcome { exit: Exit::Panic, asked: Asked::None, message: "no".to_owned(), time: Timestamp::default() };
    let of = |about: Instance| {
        let task = Task { instance: Some(instance(4, None)), outcome: Some(failed.clone()), ..task(State::Running) };
        let ended = event(EventType::InstanceEnded, Some(Detail::Instance(about)));
        logged("debug", &[Event { task: Some(Arc::new(task)), ..ended }]).1.remove(0)
    };
    let replaced = of(instance(3, Some(Exit::Graceful)));
    assert_eq!((&replaced["level"], &replaced["fields"]["exit"]), (&"DEBUG".into(), &"graceful".into()));
    assert_eq!(replaced["fields"]["asked"], Value::Null);
    let active = of(instance(4, Some(Exit::Panic)));
    assert_eq!((&active["level"], &active["fields"]["exit"]), (&"WARN".into(), &"panic".into()));
}

#[test]
fn a_circuit_tells_its_state_its_reason_and_how_long_it_stays_open() {
    let tripped = event(EventType::CircuitTripped, Some(Detail::Circuit(circuit(CircuitState::Open))));
    let (_, json) = logged("debug", &[tripped]);
    let fields = &json[0]["fields"];
    assert_eq!((&fields["circuit"], &fields["circuit_reason"]), (&"open".into(), &"failure".into()));
    assert_eq!((&fields["open_for"], &fields["epoch"]), (&"5s".into(), &4.into()));
    assert_eq!(fields.get("from_generation"), None);
}

#[test]
fn a_foreign_text_cannot_forge_a_line() {
    let forged = "x\n2026-01-01T00:00:00Z ERROR all is lost\u{1b}[31m";
    let mut event = event(EventType::InstanceEnded, Some(outcome(forged)));
    event.cause = Cause::system("manager", forged);
    let (text, json) = logged("debug", &[event]);
    assert_eq!((text.lines().count(), json.len()), (1, 1), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn the_last_word_of_a_noisy_task_says_how_many_lines_are_missing() {
    let mut events = vec![event(EventType::InstanceStarting, None); 50];
    events.push(event(EventType::TaskEnded, None));
    let (_, json) = logged("debug", &events);
    let last = &json.last().expect("lines")["fields"];
    assert_eq!(last["event"], "TASK_ENDED");
    assert_eq!(last["suppressed"].as_u64(), Some(51 - json.len() as u64));
    assert!(json.len() < 51);
}

#[test]
fn an_event_of_the_server_has_no_task_and_is_never_held_back() {
    let draining = Event { task: None, ..event(EventType::ServerDraining, None) };
    let (_, json) = logged("debug", &vec![draining; 100]);
    assert_eq!(json.len(), 100);
    assert_eq!(json[0].get("span"), None);
}
