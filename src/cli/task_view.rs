//! Tasks for people: rows of a list, and the description of one.

use std::time::SystemTime;

use super::circuit::outlook;
use super::output::{Output, Paint, Tone, clean};
use super::table::{self, Cell, Column};
use super::{json, swap, words};
use crate::pb::v1;

const COLUMNS: [Column; 11] = [
    Column { title: "NAMESPACE", rank: 1, least: Some(8) },
    Column { title: "NAME", rank: 0, least: Some(16) },
    Column { title: "KIND", rank: 8, least: None },
    Column { title: "STATE", rank: 0, least: None },
    Column { title: "CIRCUIT", rank: 4, least: None },
    Column { title: "AGE", rank: 7, least: None },
    Column { title: "ATTEMPT", rank: 9, least: None },
    Column { title: "LAST CHECK", rank: 3, least: Some(12) },
    // As wide as `POLL_BLOCKED 12s`.
    Column { title: "ALERTS", rank: 2, least: Some(16) },
    Column { title: PAUSED, rank: 5, least: Some(12) },
    Column { title: "TARGET", rank: 6, least: Some(20) },
];
const PAUSED: &str = "PAUSED";

/// The table of a list; with the namespace where several are shown, and with the pauses where there are any.
pub(super) fn list(tasks: &[v1::Task], namespaces: bool, output: Output, now: SystemTime) -> String {
    let pauses = tasks.iter().any(|task| task.pause.is_some());
    let shows = |n: usize| (n > 0 || namespaces) && (COLUMNS[n].title != PAUSED || pauses);
    let columns: Vec<_> = (0..COLUMNS.len()).filter(|n| shows(*n)).map(|n| COLUMNS[n]).collect();
    let shown = |row: Vec<Cell>| row.into_iter().enumerate().filter(|(n, _)| shows(*n)).map(|(_, cell)| cell).collect();
    let rows: Vec<_> = tasks.iter().map(|task| shown(row(task, now))).collect();
    table::render(&columns, &rows, output.width, output.paint)
}

fn row(task: &v1::Task, now: SystemTime) -> Vec<Cell> {
    let (kind, target) = words::target(task.spec.as_ref());
    let check = task.live.as_ref().and_then(|live| live.last_check.as_ref());
    let last = check.map_or_else(
        || Cell::from("-".to_owned()),
        |check| {
            let ago = words::age(check.time.as_ref(), now).map_or_else(String::new, |age| format!(" {age} ago"));
            let reason = if check.reason.is_empty() { String::new() } else { format!(" {}", check.reason) };
            let text = format!("{}{reason}{ago}", words::verdict(check.verdict));
            Cell::new(words::verdict_tone(check.verdict), &text)
        },
    );
    // An ended task watches nothing, so its circuit says nothing of the target.
    let circuit = task.circuit.as_ref().filter(|_| !words::is_ended(task.state));
    let circuit = circuit.map_or_else(
        || Cell::from("-".to_owned()),
        |circuit| Cell::new(words::circuit_tone(circuit), &outlook::state(circuit)),
    );
    let alerts = alerts(task, now);
    let attempt = task.instance.as_ref().map_or(0, |instance| instance.attempt);
    vec![
        words::namespace(&task.name).to_owned().into(),
        words::id(&task.name).to_owned().into(),
        kind.to_owned().into(),
        Cell::new(words::state_tone(task.state), &words::state(task.state)),
        circuit,
        words::age(task.create_time.as_ref(), now).unwrap_or_else(|| "-".to_owned()).into(),
        attempt.to_string().into(),
        last,
        Cell::new(if alerts.is_empty() { Tone::Plain } else { Tone::Bad }, &or_dash(alerts)),
        or_dash(task.pause.as_ref().map(|pause| pause_left(pause, now)).unwrap_or_default()).into(),
        or_dash(target).into(),
    ]
}

/// `POLL_BLOCKED 12s, LONG_RUNNING_TASK 2s`: since when each is so. What blocks a thread comes first, since others wait for it.
fn alerts(task: &v1::Task, now: SystemTime) -> String {
    let mut alerts: Vec<_> = task.alerts.iter().collect();
    alerts.sort_by_key(|alert| alert.kind() != v1::AlertKind::PollBlocked);
    let told = alerts.into_iter().map(|alert| {
        let blocked = task.instance.iter().chain(&task.draining).find(|instance| {
            let about = (instance.generation, instance.attempt) == (alert.generation, alert.attempt);
            about && alert.kind() == v1::AlertKind::PollBlocked
        });
        // The alert comes some time after the poll began.
        let since = blocked.and_then(|instance| instance.blocked_since).or(alert.raise_time);
        let age = words::age(since.as_ref(), now).map_or_else(String::new, |age| format!(" {age}"));
        words::alert_kind(alert.kind) + &age
    });
    told.collect::<Vec<_>>().join(", ")
}

/// `1h59m more: night shift`, `until resumed`.
fn pause_left(pause: &v1::Pause, now: SystemTime) -> String {
    let left = words::between(Some(&now.into()), pause.expire_time.as_ref());
    let left = left.map_or_else(|| "until resumed".to_owned(), |left| format!("{} more", words::rough(left)));
    if pause.reason.is_empty() { left } else { format!("{left}: {}", pause.reason) }
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

/// All there is to know of a task, its spec as a task file has it.
pub(super) fn describe(task: &v1::Task, paint: Paint, now: SystemTime) -> String {
    let (kind, target) = words::target(task.spec.as_ref());
    let mut lines = Lines { text: String::new(), paint };
    lines.add("Name", &task.name);
    lines.add("UID", &task.uid);
    lines.toned("State", words::state_tone(task.state), &words::state(task.state));
    lines.add("Intent", &words::intent(task.intent));
    lines.toned("Paused", Tone::Changing, &task.pause.as_ref().map(words::pause).unwrap_or_default());
    lines.add("Generation", &task.generation.to_string());
    lines.add("Etag", &task.etag);
    lines.add("Watches", format!("{kind} {target}").trim());
    for (title, entries) in [("Labels", &task.labels), ("Annotations", &task.annotations)] {
        let mut entries: Vec<_> = entries.iter().map(|(key, value)| format!("{key}={value}")).collect();
        entries.sort();
        lines.add(title, &entries.join("  "));
    }
    for (title, time) in [
        ("Created", &task.create_time),
        ("Updated", &task.update_time),
        ("Ended", &task.end_time),
        ("Expires", &task.expire_time),
    ] {
        let ago = words::age(time.as_ref(), now).filter(|age| title != "Expires" && age != "0s");
        let ago = ago.map_or_else(String::new, |ago| format!(" ({ago} ago)"));
        lines.add(title, &time.as_ref().map_or_else(String::new, |time| words::time(time) + &ago));
    }
    if let Some(instance) = &task.instance {
        lines.add("Instance", &describe_instance(instance));
        lines.toned("Blocked", Tone::Bad, &blocked(instance, now));
        lines.add("Shutdown", &instance.shutdown.as_ref().and_then(words::shutdown).unwrap_or_default());
    }
    for instance in &task.draining {
        lines.toned("Draining", Tone::Changing, &describe_instance(instance));
        lines.toned("Blocked", Tone::Bad, &blocked(instance, now));
    }
    if let Some(swap) = &task.swap {
        let (phase, strategy) = (words::swap_phase(swap.phase), words::swap_strategy(swap.strategy));
        lines.toned("Swap", swap::tone(swap), &format!("{phase}, {strategy}, {}", words::swap(swap)));
    }
    lines.toned("Observed", Tone::Changing, &observed(task, now));
    describe_circuit(task, &mut lines, now);
    if let Some(restart) = task.restart.as_ref().filter(|restart| restart.count > 0 || restart.next_time.is_some()) {
        let next = restart.next_time.as_ref().map(|time| format!(", next at {}", words::time(time)));
        lines.add("Restarts", &format!("{}{}", restart.count, next.unwrap_or_default()));
    }
    lines.add("Outcome", &task.outcome.as_ref().map(words::outcome).unwrap_or_default());
    if let Some(live) = &task.live {
        describe_live(live, &mut lines, now);
    }
    for alert in &task.alerts {
        lines.toned("Alert", Tone::Bad, &format!("{}: {}", words::alert_kind(alert.kind), alert.message));
    }
    if let Some(spec) = task.spec.as_ref().and_then(|spec| json::yaml(spec).ok()) {
        lines.text += &paint.text(Tone::Title, "Spec:");
        spec.lines().for_each(|line| lines.text += &format!("\n  {line}"));
        lines.text.push('\n');
    }
    lines.text
}

fn describe_instance(instance: &v1::Instance) -> String {
    let mut text = format!(
        "{} (generation {}, attempt {})",
        words::instance_state(instance.state),
        instance.generation,
        instance.attempt
    );
    let started = instance.start_time.as_ref();
    if let Some(took) = words::between(started, instance.ready_time.as_ref()) {
        text += &format!(", ready after {}", words::rough(took));
    }
    if let Some(took) = words::between(started, instance.stop_time.as_ref()) {
        text += &format!(", {} after {}", words::exit(instance.exit), words::rough(took));
    }
    text
}

/// What becomes of the task if its newest generation fails, as long as that may be.
pub(super) fn observed(task: &v1::Task, now: SystemTime) -> String {
    let Some(v1::Observation { generation, expire_time: Some(until), failure }) = &task.observation else {
        return String::new();
    };
    if !failure.is_empty() {
        return format!("{failure}; goes back to the spec of generation {generation}");
    }
    match words::between(Some(&now.into()), Some(until)) {
        Some(left) if !left.is_zero() => {
            let (left, until) = (words::rough(left), words::time(until));
            format!("for {left} more, until {until}; if it fails, back to the spec of generation {generation}")
        }
        _ => String::new(),
    }
}

fn blocked(instance: &v1::Instance, now: SystemTime) -> String {
    let since = instance.blocked_since.as_ref();
    let age = words::age(since, now).unwrap_or_default();
    since.map(|since| format!("one poll keeps its thread, since {} ({age})", words::time(since))).unwrap_or_default()
}

fn describe_circuit(task: &v1::Task, lines: &mut Lines, now: SystemTime) {
    let Some(circuit) = &task.circuit else { return };
    let text = words::circuit(circuit, Some(&now.into()));
    lines.toned("Circuit", words::circuit_tone(circuit), &text);
    if let Some(counts) = task.live.as_ref().and_then(|live| live.circuit) {
        let v1::CircuitCounts { results, failed, slow, consecutive, passive } = counts;
        lines.add("Evidence", &format!("{results} results, {failed} failed, {slow} slow, {consecutive} bad in a row"));
        if let Some(calls) = passive.filter(|calls| *calls != v1::PassiveCounts::default()) {
            let v1::PassiveCounts { results, failed, slow, leases } = calls;
            lines.add("Calls", &format!("{results} reported, {failed} failed, {slow} slow, {leases} on trial"));
        }
    }
}

fn describe_live(live: &v1::Live, lines: &mut Lines, now: SystemTime) {
    if let Some(check) = &live.last_check {
        let ago = words::age(check.time.as_ref(), now).map_or_else(String::new, |age| format!(", {age} ago"));
        let message = if check.message.is_empty() { String::new() } else { format!(": {}", check.message) };
        lines.toned(
            "Last check",
            words::verdict_tone(check.verdict),
            &format!("{}{ago}{message}", words::check(check)),
        );
        lines.add("Phases", &check.phases.as_ref().map(words::phases).unwrap_or_default());
    }
    lines.add("Next check", &live.next_check_time.as_ref().map(words::time).unwrap_or_default());
    if live.missed_checks > 0 {
        lines.add("Missed", &format!("{} checks", live.missed_checks));
    }
}

/// Titles and texts; what is empty is left out.
struct Lines {
    text: String,
    paint: Paint,
}

impl Lines {
    fn add(&mut self, title: &str, text: &str) {
        self.toned(title, Tone::Plain, text);
    }

    fn toned(&mut self, title: &str, tone: Tone, text: &str) {
        if !text.is_empty() {
            let title = self.paint.text(Tone::Title, &format!("{:<13}", format!("{title}:")));
            self.text += &format!("{title}{}\n", self.paint.text(tone, &clean(text)));
        }
    }
}

#[cfg(test)]
mod tests;
