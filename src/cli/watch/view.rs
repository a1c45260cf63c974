//! What is shown of a stream: lines for people, documents for programs, notes for both.

use std::collections::HashMap;

use prost_types::Timestamp;

use super::{Failure, documents};
use crate::cli::look_back::Skip;
use crate::cli::output::{Format, Output, check_reader, clean, note, out};
use crate::cli::{event_view, words};
use crate::client::Update;
use crate::pb::v1;

/// One stream, as it is shown.
pub(super) struct View {
    namespaces: bool,
    output: Output,
    skip: Skip,
    /// How each circuit stood when that was last told.
    stood: HashMap<String, String>,
}

/// What there is to show of a frame.
pub(super) struct Shown {
    pub(super) events: Vec<v1::Event>,
    pub(super) tasks: Vec<v1::Task>,
    pub(super) circuits: Vec<v1::Circuit>,
    pub(super) initial_complete: bool,
}

impl View {
    /// A stream of several namespaces or one, of which what happened before `since` is passed over.
    pub(super) fn new(namespaces: bool, output: Output, since: Option<Timestamp>) -> Self {
        Self { namespaces, output, skip: Skip::until(since), stood: HashMap::new() }
    }

    /// Whether no event has come yet that is late enough to be shown.
    pub(super) fn is_skipping(&self) -> bool {
        self.skip.is_skipping()
    }

    /// Shows an update; `cursor` is where to go on after it.
    pub(super) fn show(&mut self, update: Update, cursor: Option<&str>) -> Result<(), Failure> {
        match update {
            Update::Frame { mut events, tasks, mut circuits, initial_complete } => {
                let was_empty = events.is_empty();
                self.skip.pass_over(&mut events);
                if events.is_empty() && !was_empty {
                    return check_reader();
                }
                if self.skip.is_skipping() {
                    circuits.clear();
                }
                let shown = Shown { events, tasks, circuits, initial_complete };
                let text = match self.output.format {
                    Format::Table => self.lines(&shown),
                    Format::Json | Format::Yaml => documents::frame(&shown, cursor, self.output.format)?,
                };
                if text.is_empty() { check_reader() } else { out(&text) }
            }
            Update::Lost { error, retry_in } => {
                note(&format!("{}; trying again in {}", clean(&error.message), words::rough(retry_in)));
                Ok(())
            }
            Update::Resumed { anew: false } => {
                note("the stream stands again; nothing was missed");
                Ok(())
            }
            Update::Resumed { anew: true } => {
                note("the stream stands again; the initial state follows anew");
                Ok(())
            }
        }
    }

    fn lines(&mut self, shown: &Shown) -> String {
        let Self { namespaces, output: Output { paint, .. }, .. } = *self;
        let Shown { events, tasks, circuits, initial_complete: _ } = shown;
        let tasks = tasks.iter().map(|task| event_view::initial(task, namespaces, paint));
        let mut lines: Vec<_> = tasks.collect();
        let mut rest = events.as_slice();
        for circuit in circuits {
            // Both are in the log's order, and each event of a circuit has its circuit. So one that is not the next such event's stood so
            // before it; but for a task that has the name of a deleted one, that was deleted first.
            let next = rest.iter().position(|event| matches!(event.detail, Some(v1::event::Detail::Circuit(_))));
            let until = match next.filter(|place| shows(&rest[*place], circuit)) {
                Some(place) => Some(place),
                None => rest[..next.unwrap_or(rest.len())].iter().rposition(|event| deletes_before(event, circuit)),
            };
            if let Some(place) = until {
                let (told, later) = rest.split_at(place + 1);
                lines.extend(self.told(told));
                rest = later;
            }
            if until.is_none() || until != next {
                // A pause has several events, which leave the circuit as it is.
                let line = event_view::circuit(circuit, namespaces, paint);
                if self.stood.insert(circuit.name.clone(), line.clone()).as_ref() != Some(&line) {
                    lines.push(line);
                }
            }
        }
        lines.extend(self.told(rest));
        lines.into_iter().map(|line| line + "\n").collect()
    }

    fn told(&mut self, events: &[v1::Event]) -> Vec<String> {
        for event in events.iter().filter(|event| event.r#type() == v1::EventType::TaskDeleted) {
            self.stood.remove(&event.name);
        }
        events.iter().map(|event| event_view::line(event, self.namespaces, self.output.paint)).collect()
    }
}

/// Whether an event says that a task is gone whose name the circuit's has.
fn deletes_before(event: &v1::Event, circuit: &v1::Circuit) -> bool {
    event.r#type() == v1::EventType::TaskDeleted && event.name == circuit.name && event.uid != circuit.task_uid
}

/// Whether an event shows this circuit, which bears what no event does.
fn shows(event: &v1::Event, circuit: &v1::Circuit) -> bool {
    let Some(v1::event::Detail::Circuit(shown)) = &event.detail else { return false };
    (&event.name, shown.epoch, shown.r#override, shown.suspended, &shown.override_time)
        == (&circuit.name, circuit.epoch, circuit.r#override, circuit.suspended, &circuit.override_time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Paint;

    #[test]
    fn a_circuit_has_a_line_unless_an_event_tells_of_it_and_stands_in_the_logs_order() {
        let circuit = |epoch, suspended| v1::Circuit {
            name: "namespaces/default/tasks/api".to_owned(),
            state: v1::CircuitState::Open.into(),
            epoch,
            suspended,
            ..v1::Circuit::default()
        };
        let tripped = v1::Event {
            r#type: v1::EventType::CircuitTripped.into(),
            name: "namespaces/default/tasks/api".to_owned(),
            detail: Some(v1::event::Detail::Circuit(circuit(2, false))),
            ..v1::Event::default()
        };
        let shown = |circuits: Vec<v1::Circuit>, events| {
            let output = Output { format: Format::Table, paint: Paint(false), width: None };
            let mut view = View::new(false, output, None);
            let text = view.lines(&Shown { events, tasks: Vec::new(), circuits, initial_complete: false });
            let stands = |line: &str| if line.contains("(has stood since)") { "stands" } else { "event" };
            text.lines().map(stands).collect::<Vec<_>>()
        };
        // As the server sends it, with what calls are to bear.
        let told = v1::Circuit { token: "t".to_owned(), ..circuit(2, false) };
        assert_eq!(shown(vec![told.clone()], vec![tripped.clone()]), ["event"]);
        assert_eq!(shown(vec![told.clone(), circuit(2, true)], vec![tripped.clone()]), ["event", "stands"]);
        assert_eq!(shown(vec![circuit(1, true), told], vec![tripped.clone()]), ["stands", "event"]);
        assert_eq!(shown(vec![circuit(1, false)], vec![]), ["stands"]);
        assert_eq!(shown(vec![], vec![tripped.clone()]), ["event"]);
        let again = v1::Event { detail: Some(v1::event::Detail::Circuit(circuit(4, false))), ..tripped.clone() };
        let stands = [circuit(2, false), circuit(3, true), circuit(3, true), circuit(4, false)];
        assert_eq!(shown(stands.to_vec(), vec![tripped.clone(), again]), ["event", "stands", "event"], "each once");
        // The one of before is told by no event here; and none of after is mistaken for it.
        assert_eq!(shown(vec![circuit(4, false), circuit(2, false)], vec![tripped]), ["stands", "event"]);
        let deleted = v1::Event {
            r#type: v1::EventType::TaskDeleted.into(),
            name: circuit(0, false).name,
            uid: "old".to_owned(),
            ..v1::Event::default()
        };
        let of = |uid: &str, epoch| v1::Circuit { task_uid: uid.to_owned(), ..circuit(epoch, true) };
        assert_eq!(shown(vec![of("old", 5), of("new", 1)], vec![deleted]), ["stands", "event", "stands"]);
    }
}
