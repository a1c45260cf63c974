//! Circuits for people: rows of a list, and the description of one.

use std::time::SystemTime;

use super::outlook::{self, is_overridden};
use crate::cli::output::{Output, Paint, Tone, clean};
use crate::cli::table::{self, Cell, Column};
use crate::cli::words;
use crate::pb::v1;

const COLUMNS: [Column; 6] = [
    Column { title: "NAMESPACE", rank: 2, least: Some(8) },
    Column { title: "NAME", rank: 0, least: Some(16) },
    Column { title: "STATE", rank: 0, least: None },
    Column { title: "SINCE", rank: 3, least: None },
    Column { title: "NEXT", rank: 1, least: Some(12) },
    Column { title: "WHY", rank: 4, least: Some(12) },
];

/// The table of a list; with the namespace where several are shown.
pub(super) fn list(circuits: &[v1::Circuit], namespaces: bool, output: Output, now: SystemTime) -> String {
    let first = usize::from(!namespaces);
    let rows: Vec<_> = circuits.iter().map(|circuit| row(circuit, now).split_off(first)).collect();
    table::render(&COLUMNS[first..], &rows, output.width, output.paint)
}

fn row(circuit: &v1::Circuit, now: SystemTime) -> Vec<Cell> {
    let or_dash = |text: String| Cell::from(if text.is_empty() { "-".to_owned() } else { text });
    let since = words::age(outlook::since(circuit), now).map_or_else(String::new, |age| format!("{age} ago"));
    vec![
        words::namespace(&circuit.name).to_owned().into(),
        words::id(&circuit.name).to_owned().into(),
        Cell::new(words::circuit_tone(circuit), &outlook::state(circuit)),
        or_dash(since),
        or_dash(outlook::next(circuit, now)),
        or_dash(outlook::why(circuit)),
    ]
}

/// All there is to know of a circuit.
pub(super) fn describe(circuit: &v1::Circuit, paint: Paint, now: SystemTime) -> String {
    let mut lines = vec![
        ("Name", Tone::Plain, circuit.name.clone()),
        ("State", words::circuit_tone(circuit), outlook::state(circuit)),
        ("Since", Tone::Plain, since(outlook::since(circuit), now)),
        ("Why", Tone::Plain, outlook::why(circuit)),
        ("Next", Tone::Plain, outlook::next(circuit, now)),
    ];
    if is_overridden(circuit) {
        let until = circuit.override_expire_time.as_ref().map(words::time).unwrap_or_default();
        let beneath = [
            words::circuit_state(circuit.state),
            outlook::next_by_itself(circuit, now),
            outlook::why_by_itself(circuit),
        ];
        let beneath: Vec<_> = beneath.into_iter().filter(|part| !part.is_empty()).collect();
        lines.push(("Until", Tone::Plain, until));
        lines.push(("Beneath", Tone::Plain, beneath.join("; ")));
    } else {
        lines.push(("Half-open at", Tone::Plain, circuit.open_until.as_ref().map(words::time).unwrap_or_default()));
    }
    lines.extend([
        ("Epoch", Tone::Plain, circuit.epoch.to_string()),
        ("Streak", Tone::Plain, if circuit.streak == 0 { String::new() } else { circuit.streak.to_string() }),
        ("Token", Tone::Plain, circuit.token.clone()),
    ]);
    let shown = lines.into_iter().filter(|(.., text)| !text.is_empty()).map(|(title, tone, text)| {
        let title = paint.text(Tone::Title, &format!("{:<14}", format!("{title}:")));
        format!("{title}{}\n", paint.text(tone, &clean(&text)))
    });
    shown.collect()
}

fn since(time: Option<&prost_types::Timestamp>, now: SystemTime) -> String {
    let ago = words::age(time, now).map_or_else(String::new, |age| format!(" ({age} ago)"));
    time.map_or_else(String::new, |time| words::time(time) + &ago)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::{Format, width};

    fn at(seconds: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp { seconds, nanos: 0 })
    }

    fn circuits() -> Vec<v1::Circuit> {
        let circuit = |id: &str, state: v1::CircuitState| v1::Circuit {
            name: format!("namespaces/prod/tasks/{id}"),
            state: state.into(),
            since_time: at(980),
            ..v1::Circuit::default()
        };
        let open = v1::Circuit {
            reason: v1::CircuitReason::Failure.into(),
            trip_source: v1::EvidenceSource::Active.into(),
            open_until: at(1_012),
            ..circuit("db", v1::CircuitState::Open)
        };
        let forced = v1::Circuit {
            r#override: v1::Override::ForcedOpen.into(),
            override_time: at(900),
            override_expire_time: at(1_300),
            override_reason: "maintenance\nof the racks".to_owned(),
            ..circuit("mail", v1::CircuitState::HalfOpen)
        };
        let on_trial = |id| v1::Circuit { half_open_until: at(1_040), ..circuit(id, v1::CircuitState::HalfOpen) };
        let forced = v1::Circuit { half_open_until: at(1_040), ..forced };
        vec![circuit("api", v1::CircuitState::Closed), open, forced, on_trial("web")]
    }

    fn listed(namespaces: bool, width: Option<usize>) -> String {
        let output = Output { format: Format::Table, paint: Paint(false), width };
        list(&circuits(), namespaces, output, SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000))
    }

    #[test]
    fn a_list_says_what_is_since_when_what_comes_and_why() {
        let expected = "\
NAME  STATE        SINCE       NEXT                   WHY
api   CLOSED       20s ago     -                      -
db    OPEN         20s ago     half-open in 12s       checks failed or were slow
mail  FORCED_OPEN  1m40s ago   HALF_OPEN again in 5m  maintenance of the racks
web   HALF_OPEN    20s ago     trial ends in 40s      -
";
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeezed(&listed(false, None)), squeezed(expected));
        assert!(listed(true, None).contains("\nprod       api   CLOSED"), "{}", listed(true, None));
    }

    #[test]
    fn a_list_fits_the_terminal_and_keeps_what_comes_next_longer_than_why() {
        let text = listed(true, Some(48));
        assert!(text.lines().all(|line| width(line) <= 48), "{text}");
        assert!(text.contains("NEXT") && !text.contains("WHY"), "{text}");
    }

    #[test]
    fn what_lies_beneath_an_override_is_described_too() {
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000);
        let text = describe(&circuits()[2], Paint(false), now);
        for line in [
            "State:        FORCED_OPEN\n",
            "Why:          maintenance of the racks\n",
            "Next:         HALF_OPEN again in 5m\n",
            "Until:        1970-01-01T00:21:40.000Z\n",
            "Beneath:      HALF_OPEN; trial ends in 40s\n",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
