//! What is told of an apply.

use std::borrow::Cow;

use crate::cli::output::{Output, Paint, Tone, clean, width};
use crate::cli::table::{self, Cell, Column};
use crate::cli::words;
use crate::client::Error;
use crate::pb::v1;
use v1::ApplyAction as Action;

const COLUMNS: [Column; 3] = [
    Column { title: "", rank: 0, least: None },
    Column { title: "", rank: 0, least: Some(24) },
    Column { title: "", rank: 0, least: Some(24) },
];
/// How wide a bar is where nobody says how much room there is, and at the most.
const BAR: usize = 40;

/// The plan in numbers, then a line for each item that changes something, or cannot; what is refused comes first, and beyond `most`
/// lines the rest is counted.
pub(super) fn plan(items: &[v1::ApplyPlanItem], most: usize, output: Output) -> String {
    let mut told: Vec<_> = items.iter().filter(|item| item.action() != Action::Leave).collect();
    if told.is_empty() {
        return String::new();
    }
    told.sort_by_key(|item| item.action() != Action::Refuse);
    let more = told.len().saturating_sub(most);
    told.truncate(most);
    // Why something is refused is told nowhere else, so it is told whole.
    let width = output.width.filter(|_| told.iter().all(|item| item.action() != Action::Refuse));
    let rows: Vec<_> = told.into_iter().map(row).collect();
    let mut text = format!("{}\n{}", counted(items), table::rows(&COLUMNS, &rows, width, output.paint));
    if more > 0 {
        text += &format!("… and {} more (--verbose or -o json shows all)\n", words::thousands(more));
    }
    text
}

fn row(item: &v1::ApplyPlanItem) -> Vec<Cell> {
    let refused = item.refusal.clone().map(Error::from);
    let why = refused.map_or_else(|| item.reason.clone(), |error| with_reason(&error));
    let (tone, action) = action(item.action());
    vec![Cell::new(tone, action), Cell::new(Tone::Plain, &shown(&item.name)), why.into()]
}

/// `api`, or `other/api`: a set may reach into several namespaces, and what it cancels there is not to be taken for another.
fn shown(name: &str) -> Cow<'_, str> {
    match words::namespace(name) {
        "default" | "" => words::id(name).into(),
        namespace => format!("{namespace}/{}", words::id(name)).into(),
    }
}

fn action(action: Action) -> (Tone, &'static str) {
    match action {
        Action::Create => (Tone::Good, "create"),
        Action::Swap => (Tone::Changing, "swap"),
        Action::Cancel => (Tone::Bad, "cancel"),
        Action::Refuse => (Tone::Bad, "refuse"),
        Action::Leave => (Tone::Faint, "leave"),
        // A newer server knows more than this client.
        Action::Unspecified => (Tone::Plain, "?"),
    }
}

fn with_reason(error: &Error) -> String {
    format!("{} ({})", error.message, error.reason)
}

/// `[=======>      ] 420 of 1000: 400 swapped, 20 created, 64 in flight`.
pub(super) fn bar(counts: &v1::ApplyProgress, most: Option<usize>) -> String {
    let ended = counts.created + counts.swapped + counts.cancelled + counts.left + counts.failed + counts.rolled_back;
    let all = ended + counts.in_flight + counts.waiting;
    let text = format!(" {ended} of {all}: {}", told(counts, true));
    let room = most.map_or(BAR, |most| most.saturating_sub(width(&text) + 3).min(BAR));
    let full = (u64::from(ended) * room as u64 / u64::from(all.max(1))) as usize;
    format!("[{}{}]{text}", "=".repeat(full), " ".repeat(room - full))
}

/// What failed, a line each; then all of it in a line.
pub(super) fn summary(whole: &v1::ApplyTasksResponse, paint: Paint) -> String {
    let Some(result) = &whole.result else {
        // A plan that has lines has told its numbers with them.
        let is_told = whole.plan.iter().any(|item| item.action() != Action::Leave);
        return if is_told { String::new() } else { format!("{}\n", counted(&whole.plan)) };
    };
    let mut text = String::new();
    // By name, and not as one after the other happened to fail.
    let mut failures: Vec<_> = result.failures.iter().collect();
    failures.sort_by(|a, b| a.name.cmp(&b.name));
    for failure in failures {
        // What the plan refuses has been told with it.
        if failure.action() == Action::Refuse {
            continue;
        }
        let error = failure.error.clone().map(Error::from);
        let why = error.map(|error| clean(&with_reason(&error))).unwrap_or_default();
        let (_, action) = action(failure.action());
        text += &format!("{}  {}  {action}: {why}\n", paint.text(Tone::Bad, "failed"), shown(&failure.name));
    }
    if result.omitted_failures > 0 {
        text += &format!("and {} more failures\n", result.omitted_failures);
    }
    let counts = result.counts.unwrap_or_default();
    let tone = if is_good(whole) { Tone::Good } else { Tone::Bad };
    let outcome = words::apply_outcome(result.outcome);
    text + &format!("{}  {}\n", paint.text(tone, &outcome), told(&counts, false))
}

/// `3 to create, 1 to swap, 12 as they are`.
fn counted(plan: &[v1::ApplyPlanItem]) -> String {
    let count = |action| plan.iter().filter(|item| item.action() == action).count();
    let parts = [
        (count(Action::Create), "to create"),
        (count(Action::Swap), "to swap"),
        (count(Action::Cancel), "to cancel"),
        (count(Action::Refuse), "refused"),
        (count(Action::Leave), "as they are"),
    ];
    joined(parts.map(|(count, what)| (count, what)).into_iter())
}

fn told(counts: &v1::ApplyProgress, running: bool) -> String {
    let v1::ApplyProgress { created, swapped, cancelled, left, failed, rolled_back, in_flight, waiting } = *counts;
    let waits = if running { "waiting" } else { "not begun" };
    let parts = [
        (created, "created"),
        (swapped, "swapped"),
        (cancelled, "cancelled"),
        (rolled_back, "swapped back"),
        (failed, "failed"),
        (in_flight, "in flight"),
        (waiting, waits),
        (left, "as they were"),
    ];
    joined(parts.into_iter().map(|(count, what)| (count as usize, what)))
}

fn joined(parts: impl Iterator<Item = (usize, &'static str)>) -> String {
    let parts: Vec<_> = parts
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", words::thousands(count)))
        .collect();
    if parts.is_empty() { "nothing to do".to_owned() } else { parts.join(", ") }
}

/// Whether every task is as desired, or would be.
pub(super) fn is_good(whole: &v1::ApplyTasksResponse) -> bool {
    match &whole.result {
        Some(result) => result.outcome() == v1::ApplyOutcome::Succeeded,
        None => whole.plan.iter().all(|item| item.action() != Action::Refuse),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Format;

    fn item(id: &str, action: Action) -> v1::ApplyPlanItem {
        let name = format!("namespaces/default/tasks/{id}");
        v1::ApplyPlanItem { name, action: action.into(), reason: "why".to_owned(), ..Default::default() }
    }

    #[test]
    fn a_plan_tells_what_changes_and_counts_the_rest() {
        let items = vec![item("a", Action::Leave), item("b", Action::Create), item("longer", Action::Swap)];
        let told = "1 to create, 1 to swap, 1 as they are\ncreate  b       why\nswap    longer  why\n";
        assert_eq!(plan(&items, 50, output(None)), told);
        assert_eq!(plan(&items[..1], 50, output(None)), "");
        let whole = v1::ApplyTasksResponse { plan: items, ..Default::default() };
        assert_eq!(summary(&whole, Paint(false)), "", "it stands above the lines");
        assert!(is_good(&whole));
        let refused = v1::ApplyTasksResponse { plan: vec![item("a", Action::Refuse)], ..Default::default() };
        assert!(!is_good(&refused));
        assert_eq!(summary(&v1::ApplyTasksResponse::default(), Paint(false)), "nothing to do\n");
    }

    fn output(width: Option<usize>) -> Output {
        Output { format: Format::Table, paint: Paint(false), width }
    }

    #[test]
    fn a_long_plan_is_cut_but_for_what_is_refused_and_the_rest_is_counted() {
        let mut items: Vec<_> = (0..9_999).map(|n| item(&format!("t{n}"), Action::Create)).collect();
        items.push(item("bad", Action::Refuse));
        let text = plan(&items, 50, output(None));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines.len(), lines[0]), (52, "9,999 to create, 1 refused"));
        assert_eq!((lines[1], lines[2]), ("refuse  bad  why", "create  t0   why"));
        assert_eq!(lines[51], "… and 9,950 more (--verbose or -o json shows all)");
        assert_eq!(plan(&items, usize::MAX, output(None)).lines().count(), 10_001);
    }

    #[test]
    fn a_plan_fits_the_terminal() {
        let long = v1::ApplyPlanItem { reason: "because ".repeat(30), ..item(&"n".repeat(63), Action::Swap) };
        let text = plan(&[long], 50, output(Some(80)));
        assert!(text.lines().all(|line| width(line) <= 80) && text.contains('…'), "{text}");
    }

    #[test]
    fn a_bar_fills_as_tasks_end_and_fits_the_terminal() {
        let counts = v1::ApplyProgress { swapped: 5, in_flight: 1, waiting: 4, ..Default::default() };
        let text = " 5 of 10: 5 swapped, 1 in flight, 4 waiting";
        assert_eq!(bar(&counts, None), format!("[{}{}]{text}", "=".repeat(20), " ".repeat(20)));
        assert_eq!(bar(&counts, Some(text.len() + 13)), format!("[=====     ]{text}"));
        assert_eq!(bar(&counts, Some(10)), format!("[]{text}"));
    }

    #[test]
    fn a_result_tells_each_failure_and_all_in_numbers() {
        let failure = |id: &str, action: Action| v1::ApplyFailure {
            name: format!("namespaces/default/tasks/{id}"),
            action: action.into(),
            error: Some(tonic_types::Status { code: 10, message: "not ready".to_owned(), details: Vec::new() }),
        };
        let result = v1::ApplyResult {
            outcome: v1::ApplyOutcome::Stopped.into(),
            counts: Some(v1::ApplyProgress { swapped: 1, failed: 3, waiting: 2, ..Default::default() }),
            failures: vec![failure("b", Action::Refuse), failure("c", Action::Swap), failure("a", Action::Swap)],
            omitted_failures: 1,
            cursor: String::new(),
        };
        let whole = v1::ApplyTasksResponse { result: Some(result), ..Default::default() };
        let text = "failed  a  swap: not ready ()\nfailed  c  swap: not ready ()\nand 1 more failures\nSTOPPED  1 swapped, 3 failed, 2 not begun\n";
        assert_eq!(summary(&whole, Paint(false)), text);
        assert!(!is_good(&whole));
    }
}
