//! What is told of an apply.

use std::borrow::Cow;

use crate::cli::output::{Paint, Tone, clean, width};
use crate::cli::words;
use crate::client::Error;
use crate::pb::v1;
use v1::ApplyAction as Action;

/// The widest action.
const ACTION: usize = "create".len();
/// How wide a bar is where nobody says how much room there is, and at the most.
const BAR: usize = 40;

/// A line for each item that changes something, or cannot.
pub(super) fn plan(items: &[v1::ApplyPlanItem], paint: Paint) -> String {
    let told: Vec<_> = items.iter().filter(|item| item.action() != Action::Leave).collect();
    let widest = told.iter().map(|item| width(&shown(&item.name))).max().unwrap_or_default();
    let mut text = String::new();
    for item in told {
        let refused = item.refusal.clone().map(Error::from);
        let name = shown(&item.name);
        let gap = widest - width(&name);
        let why = refused.map_or_else(|| item.reason.clone(), |error| clean(&with_reason(&error)));
        let (tone, action) = action(item.action());
        let pad = ACTION - action.len();
        text += &format!("{}{:pad$}  {name}{:gap$}  {why}\n", paint.text(tone, action), "", "");
    }
    text
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
    let Some(result) = &whole.result else { return format!("{}\n", counted(&whole.plan)) };
    let mut text = String::new();
    for failure in &result.failures {
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
    let parts: Vec<_> = parts.filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
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

    fn item(id: &str, action: Action) -> v1::ApplyPlanItem {
        let name = format!("namespaces/default/tasks/{id}");
        v1::ApplyPlanItem { name, action: action.into(), reason: "why".to_owned(), ..Default::default() }
    }

    #[test]
    fn a_plan_tells_what_changes_and_counts_the_rest() {
        let items = vec![item("a", Action::Leave), item("b", Action::Create), item("longer", Action::Swap)];
        assert_eq!(plan(&items, Paint(false)), "create  b       why\nswap    longer  why\n");
        let whole = v1::ApplyTasksResponse { plan: items, ..Default::default() };
        assert_eq!(summary(&whole, Paint(false)), "1 to create, 1 to swap, 1 as they are\n");
        assert!(is_good(&whole));
        let refused = v1::ApplyTasksResponse { plan: vec![item("a", Action::Refuse)], ..Default::default() };
        assert!(!is_good(&refused));
        assert_eq!(summary(&v1::ApplyTasksResponse::default(), Paint(false)), "nothing to do\n");
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
            failures: vec![failure("a", Action::Swap), failure("b", Action::Refuse)],
            omitted_failures: 1,
            cursor: String::new(),
        };
        let whole = v1::ApplyTasksResponse { result: Some(result), ..Default::default() };
        let text = "failed  a  swap: not ready ()\nand 1 more failures\nSTOPPED  1 swapped, 3 failed, 2 not begun\n";
        assert_eq!(summary(&whole, Paint(false)), text);
        assert!(!is_good(&whole));
    }
}
