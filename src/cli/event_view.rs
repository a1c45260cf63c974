//! Events for people: a line each.

use super::output::{Paint, Tone, clean};
use super::words;
use crate::pb::v1;
use v1::event::Detail;

/// The columns of the longest type, CIRCUIT_HALF_OPENED.
pub(super) const WIDTH: usize = 19;

/// `time  type  name  generation/attempt  detail  (by whom: why)`.
pub(super) fn line(event: &v1::Event, namespaces: bool, paint: Paint) -> String {
    let time = event.time.as_ref().map(words::time).unwrap_or_default();
    let kind = paint.text(tone(event), &format!("{:<WIDTH$}", words::event_type(event.r#type)));
    let name = if namespaces { event.name.as_str() } else { words::id(&event.name) };
    let run = match (event.generation, event.attempt) {
        (0, _) => String::new(),
        (generation, 0) => generation.to_string(),
        (generation, attempt) => format!("{generation}/{attempt}"),
    };
    let mut line = paint.text(Tone::Faint, &time) + "  " + &kind;
    let detail = detail(event);
    let state = event.task.as_ref().map(|task| format!("[{}]", words::state(task.state)));
    for text in [name.to_owned(), run, state.unwrap_or_default(), detail.clone()].iter().filter(|text| !text.is_empty())
    {
        line += "  ";
        line += &clean(text);
    }
    if let Some(cause) = event.cause.as_ref().map(|it| cause(it, &detail)).filter(|cause| !cause.is_empty()) {
        line += &format!("  {}", paint.text(Tone::Faint, &clean(&cause)));
    }
    line
}

/// A task of the initial state, as a line beside those of events.
pub(super) fn initial(task: &v1::Task, namespaces: bool, paint: Paint) -> String {
    let time = task.update_time.as_ref().map(words::time).unwrap_or_default();
    let name = if namespaces { task.name.as_str() } else { words::id(&task.name) };
    let (kind, target) = words::target(task.spec.as_ref());
    let state = words::state(task.state);
    format!(
        "{}  {:<WIDTH$}  {}  {}  {}",
        paint.text(Tone::Faint, &time),
        "(initial state)",
        clean(name),
        paint.text(words::state_tone(task.state), &state),
        clean(format!("{kind} {target}").trim())
    )
}

/// A circuit as it stands, as a line beside those of events: since when, and how.
pub(super) fn circuit(circuit: &v1::Circuit, namespaces: bool, paint: Paint) -> String {
    let overridden = ![v1::Override::Unspecified, v1::Override::None].contains(&circuit.r#override());
    let since = if overridden { circuit.override_time } else { circuit.since_time };
    let time = since.as_ref().map(words::time).unwrap_or_default();
    let name = if namespaces { circuit.name.as_str() } else { words::id(&circuit.name) };
    let stands = words::circuit(circuit, None);
    format!(
        "{}  {:<WIDTH$}  {}  {}",
        paint.text(Tone::Faint, &time),
        "(has stood since)",
        clean(name),
        paint.text(words::circuit_tone(circuit), &clean(&stands))
    )
}

pub(super) fn tone(event: &v1::Event) -> Tone {
    use v1::EventType as T;
    match event.r#type() {
        T::InstanceReady | T::SwapCommitted | T::CircuitRecovered | T::AlertResolved => Tone::Good,
        T::InstanceAborting | T::InstanceStuck | T::SwapRolledBack | T::CircuitTripped | T::AlertRaised => Tone::Bad,
        T::InstanceStarting
        | T::InstanceStopping
        | T::RestartScheduled
        | T::SwapStarted
        | T::CircuitHalfOpened
        | T::CircuitReset
        | T::CircuitOverridden
        | T::ServerDraining => Tone::Changing,
        T::TaskCreated | T::TaskPaused | T::TaskResumed | T::InstanceEnded | T::TaskEnded | T::TaskDeleted => {
            Tone::Title
        }
        T::Unspecified => Tone::Plain,
    }
}

/// What the event is about.
pub(super) fn detail(event: &v1::Event) -> String {
    match &event.detail {
        Some(Detail::Instance(instance)) => {
            let ready = words::between(instance.start_time.as_ref(), instance.ready_time.as_ref());
            let shutdown = instance.shutdown.as_ref().and_then(words::shutdown).unwrap_or_default();
            match (event.r#type(), ready) {
                (v1::EventType::InstanceReady, Some(took)) => format!("after {}", words::rough(took)),
                (v1::EventType::InstanceEnded, _) => {
                    format!("{}  {shutdown}", words::exit(instance.exit)).trim_end().to_owned()
                }
                _ => shutdown,
            }
        }
        Some(Detail::Outcome(outcome)) => words::outcome(outcome),
        Some(Detail::Swap(swap)) => words::swap(swap),
        Some(Detail::Circuit(circuit)) => words::circuit(circuit, event.time.as_ref()),
        Some(Detail::Alert(alert)) => format!("{}: {}", words::alert_kind(alert.kind), alert.message),
        // The pause that is over: until when it was to last helps nobody any more.
        Some(Detail::Pause(pause)) if event.r#type() == v1::EventType::TaskResumed => {
            if pause.reason.is_empty() {
                String::new()
            } else {
                format!("was paused: {}", pause.reason)
            }
        }
        Some(Detail::Pause(pause)) => words::pause(pause),
        Some(Detail::Restart(restart)) => {
            let at = restart.next_time.as_ref().map(|time| format!(" at {}", words::time(time)));
            format!("restart {}{}", restart.count, at.unwrap_or_default())
        }
        None => String::new(),
    }
}

/// Who and why; the system's explanation often is what the detail has said already.
pub(super) fn cause(cause: &v1::Cause, detail: &str) -> String {
    let v1::Cause { actor, reason, request_id: _ } = cause;
    match (actor.is_empty(), reason.is_empty() || detail.contains(reason.as_str())) {
        (true, _) => reason.clone(),
        (false, true) => format!("(by {actor})"),
        (false, false) => format!("(by {actor}: {reason})"),
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    #[test]
    fn an_event_is_a_line_that_says_what_whom_how_and_why() {
        let event = v1::Event {
            time: Some(Timestamp { seconds: 1_795_341_600, nanos: 5_000_000 }),
            r#type: v1::EventType::InstanceEnded.into(),
            name: "namespaces/default/tasks/api".to_owned(),
            generation: 1,
            attempt: 2,
            cause: Some(v1::Cause {
                actor: "anonymous@127.0.0.1".to_owned(),
                reason: "deploy\n42".to_owned(),
                request_id: String::new(),
            }),
            detail: Some(Detail::Outcome(v1::Outcome {
                exit: v1::Exit::Graceful.into(),
                asked: v1::Asked::Cancel.into(),
                ..v1::Outcome::default()
            })),
            ..v1::Event::default()
        };
        let expected = "2026-11-22T10:00:00.005Z  INSTANCE_ENDED       api  1/2  GRACEFUL after CANCEL  \
                        (by anonymous@127.0.0.1: deploy 42)";
        assert_eq!(line(&event, false, Paint(false)), expected);
        assert!(line(&event, true, Paint(false)).contains("  namespaces/default/tasks/api  "));
    }

    #[test]
    fn what_the_detail_says_is_not_told_again_as_the_reason() {
        let message = "no exit 5s after it was asked to stop".to_owned();
        let alert = v1::Alert { message: message.clone(), ..v1::Alert::default() };
        let event = v1::Event {
            cause: Some(v1::Cause { actor: "system:watchdog".to_owned(), reason: message, request_id: String::new() }),
            detail: Some(Detail::Alert(alert)),
            ..v1::Event::default()
        };
        assert!(line(&event, false, Paint(false)).ends_with("asked to stop  (by system:watchdog)"));
    }

    #[test]
    fn a_pause_says_until_when_and_its_end_what_it_was_for() {
        let pause = v1::Pause { reason: "night shift".to_owned(), expire_time: None };
        let event = |kind: v1::EventType| v1::Event {
            r#type: kind.into(),
            detail: Some(Detail::Pause(pause.clone())),
            ..v1::Event::default()
        };
        let said = |kind| detail(&event(kind));
        assert_eq!(said(v1::EventType::TaskPaused), "until it is resumed: night shift");
        assert_eq!(said(v1::EventType::TaskResumed), "was paused: night shift");
    }

    #[test]
    fn the_drain_is_a_line_without_a_name() {
        let event = v1::Event { r#type: v1::EventType::ServerDraining.into(), ..v1::Event::default() };
        assert_eq!(line(&event, false, Paint(false)).trim(), "SERVER_DRAINING");
    }
}
