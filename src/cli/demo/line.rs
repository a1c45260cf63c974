//! The lines of the story: `12.4s  type  name  detail`, at most 100 columns.

use std::time::SystemTime;

use prost_types::Timestamp;

use crate::cli::event_view::{WIDTH, cause, detail, tone};
use crate::cli::output::{Paint, Tone, clean, cut, width};
use crate::cli::words;
use crate::pb::v1;
use v1::event::Detail;

const COLUMNS: usize = 100;
/// The columns of the longest name.
const NAME: usize = 4;

/// An event, and the phase that a swap has come to with it.
pub(super) fn event(began: &Timestamp, event: &v1::Event, swap_phase: Option<i32>, paint: Paint) -> String {
    let generation = match &event.detail {
        Some(Detail::Instance(instance)) => format!("generation {}", instance.generation),
        _ => String::new(),
    };
    let detail = detail(event);
    let phase = swap_phase.map(|phase| format!("[swap {}]", words::swap_phase(phase)));
    let parts = [generation, detail.clone(), phase.unwrap_or_default()];
    let parts: Vec<_> = parts.iter().filter(|part| !part.is_empty()).map(|part| clean(part)).collect();
    let since = elapsed(began, event.time.as_ref());
    let kind = words::event_type(event.r#type);
    let head = head(&since, tone(event), &kind, words::id(&event.name), paint);
    let mut text = parts.join("  ");
    // Who and why is the least of it.
    let cause = event.cause.as_ref().map(|it| clean(&cause(it, &detail))).filter(|cause| !cause.is_empty());
    let room = room(&since);
    match cause.filter(|cause| width(&text) + 2 + width(cause) <= room) {
        Some(cause) if text.is_empty() => text = paint.text(Tone::Faint, &cause),
        Some(cause) => text = format!("{text}  {}", paint.text(Tone::Faint, &cause)),
        None => text = cut(&text, room),
    }
    finish(&head, &text)
}

/// What is no event: `(GetTask)`, `(target)`.
pub(super) fn aside(began: &Timestamp, what: &str, whom: &str, text: &str, paint: Paint) -> String {
    let since = elapsed(began, Some(&SystemTime::now().into()));
    let head = head(&since, Tone::Faint, &format!("({what})"), whom, paint);
    finish(&head, &cut(&clean(text), room(&since)))
}

/// Two columns stand between each two parts.
fn room(since: &str) -> usize {
    COLUMNS - since.len() - 2 - WIDTH - 2 - NAME - 2
}

fn head(since: &str, tone: Tone, kind: &str, whom: &str, paint: Paint) -> String {
    let kind = paint.text(tone, &format!("{kind:<WIDTH$}"));
    format!("{}  {kind}  {:<NAME$}", paint.text(Tone::Faint, since), clean(whom))
}

fn finish(head: &str, text: &str) -> String {
    format!("{}\n", format!("{head}  {text}").trim_end())
}

fn elapsed(began: &Timestamp, now: Option<&Timestamp>) -> String {
    let elapsed = words::between(Some(began), now).unwrap_or_default();
    format!("{:>5}", format!("{:.1}s", elapsed.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGAN: Timestamp = Timestamp { seconds: 1_795_341_600, nanos: 0 };

    fn ended(reason: &str) -> v1::Event {
        let instance = v1::Instance { generation: 2, exit: v1::Exit::Graceful.into(), ..v1::Instance::default() };
        let cause = v1::Cause { actor: "system:swap".to_owned(), reason: reason.to_owned(), ..v1::Cause::default() };
        v1::Event {
            time: Some(Timestamp { seconds: BEGAN.seconds + 12, nanos: 400_000_000 }),
            r#type: v1::EventType::InstanceEnded.into(),
            name: "namespaces/default/tasks/api".to_owned(),
            cause: Some(cause),
            detail: Some(Detail::Instance(instance)),
            ..v1::Event::default()
        }
    }

    #[test]
    fn an_event_has_its_time_since_the_beginning_and_the_phase_of_the_swap() {
        let line = event(&BEGAN, &ended("late"), Some(v1::SwapPhase::Done.into()), Paint(false));
        assert_eq!(
            line,
            "12.4s  INSTANCE_ENDED       api   generation 2  GRACEFUL  [swap DONE]  (by system:swap: late)\n"
        );
    }

    #[test]
    fn no_line_is_wider_than_a_hundred_columns() {
        let long = "why ".repeat(50);
        let line = event(&BEGAN, &ended(&long), None, Paint(false));
        assert_eq!(line, "12.4s  INSTANCE_ENDED       api   generation 2  GRACEFUL\n");
        let alert = v1::Alert { message: long.clone(), ..v1::Alert::default() };
        let alert = v1::Event { detail: Some(Detail::Alert(alert)), ..ended("") };
        assert_eq!(width(event(&BEGAN, &alert, None, Paint(false)).trim_end()), 100);
        assert_eq!(width(aside(&BEGAN, "GetTask", "api", &long, Paint(false)).trim_end()), 100);
    }
}
