//! A watch for programs: each part of a frame is an object with one key.

use super::Failure;
use super::view::Shown;
use crate::cli::json::{self, Entry};
use crate::cli::output::Format;

/// The parts of a frame, each a document of its own.
pub(super) fn frame(shown: &Shown, cursor: Option<&str>, format: Format) -> Result<String, Failure> {
    let Shown { events, tasks, circuits, initial_complete } = shown;
    let mut text = String::new();
    for task in tasks {
        text += &json::keyed("task", task, format)?;
    }
    for circuit in circuits {
        text += &json::keyed("circuit", circuit, format)?;
    }
    for event in events {
        text += &json::keyed("event", event, format)?;
    }
    if *initial_complete {
        text += &json::document(&Entry("initialComplete", true), format)?;
    }
    if let Some(cursor) = cursor {
        text += &json::document(&Entry("cursor", cursor), format)?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::v1;

    #[test]
    fn json_has_one_object_with_one_key_a_line() {
        let event = v1::Event { sequence: 7, r#type: v1::EventType::TaskEnded.into(), ..v1::Event::default() };
        let (tasks, circuits) = (vec![v1::Task::default()], vec![v1::Circuit::default()]);
        let shown = Shown { events: vec![event], tasks, circuits, initial_complete: true };
        let text = frame(&shown, Some("c7"), Format::Json).expect("written");
        let expected = "{\"task\":{}}\n{\"circuit\":{}}\n{\"event\":{\"sequence\":\"7\",\"type\":\"EVENT_TYPE_TASK_ENDED\"}}\n\
                        {\"initialComplete\":true}\n{\"cursor\":\"c7\"}\n";
        assert_eq!(text, expected);
    }
}
