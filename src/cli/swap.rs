//! `swap`.

use std::time::{Duration, Instant, SystemTime};

use clap::{Args, ValueEnum};
use prost_types::Timestamp;

use super::change::Change;
use super::output::{Format, Output, Paint, Tone, clean, note, out};
use super::task_source::TaskSource;
use super::task_view::observed;
use super::{Failure, json, words};
use crate::client::{self, Client, Update};
use crate::pb::v1;
use v1::watch_tasks_request::Start;

/// How long a swap is followed while no server answers. One that comes back sooner goes on where it was.
const WITHOUT_SERVER: Duration = Duration::from_secs(30);

/// Give a task a new spec while it runs: the new instance is ready before the old one stops.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard swap api --http http://127.0.0.1:9090/health --interval 5s --wait
  switchyard swap -f task.yaml --wait
  switchyard get api -o yaml | switchyard swap api -f - --interval 1m30s
  switchyard swap db --tcp 127.0.0.1:5433 --strategy break-before-make
  switchyard swap db --tcp 127.0.0.1:5433 --min-healthy-time 10s --state-policy keep
  switchyard swap api -f other.yaml --preempt --wait
  switchyard swap api -f task.yaml --auto-revert --observation-time 5m --wait
  switchyard swap api -f task.yaml --dry-run

The spec is replaced as a whole, by what flags and file say, as `start` reads them. So are the
annotations; where none are given, the task keeps those it has. Labels are fixed.

Where the new spec cannot be built, fails, or is not ready in time, the swap is rolled back, and
the old instance never notices. With --wait each phase is told as it comes; exit code 1 where
the swap was rolled back or cancelled. With --auto-revert it is DONE when the observation begins:
until that ends the server may yet swap back, as `get`, `watch` and `history` tell.

While a swap runs, --dry-run is refused as the swap would be; with --preempt it answers.")]
pub(super) struct Swap {
    /// The task's name; may be left out where the file has one.
    name: Option<String>,
    #[command(flatten)]
    source: TaskSource,
    /// In which order to start and stop; the new spec's by default.
    #[arg(long, value_enum)]
    strategy: Option<Strategy>,
    /// What becomes of the circuit; by default it is kept for the same target, and begins anew for another one.
    #[arg(long, value_enum)]
    state_policy: Option<StatePolicy>,
    /// End a swap that runs and has not been committed, instead of being refused.
    #[arg(long)]
    preempt: bool,
    /// Check everything, swap nothing: answers the spec as it would be.
    #[arg(long, visible_alias = "dry-run", conflicts_with = "wait")]
    validate_only: bool,
    /// Wait until the swap has ended, and tell its phases.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    change: Change,
}

/// In which order to start and stop.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Strategy {
    /// The new instance is ready before the old one stops.
    MakeBeforeBreak,
    /// The old instance has ended before the new one starts.
    BreakBeforeMake,
}

/// What becomes of the circuit.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum StatePolicy {
    /// It goes on as it is, with the new spec's thresholds.
    Keep,
    /// It begins anew: closed, with nothing counted.
    Reset,
}

impl From<StatePolicy> for v1::StatePolicy {
    fn from(policy: StatePolicy) -> Self {
        match policy {
            StatePolicy::Keep => Self::Keep,
            StatePolicy::Reset => Self::Reset,
        }
    }
}

impl From<Strategy> for v1::SwapStrategy {
    fn from(strategy: Strategy) -> Self {
        match strategy {
            Strategy::MakeBeforeBreak => Self::MakeBeforeBreak,
            Strategy::BreakBeforeMake => Self::BreakBeforeMake,
        }
    }
}

impl Swap {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Self { name, source, strategy, state_policy, preempt, validate_only, wait, change } = self;
        let output = Output::new(&change.output);
        let (name, mut task) = source.task(name)?;
        let name = change.namespace.task(&name);
        let client = change.remote.connect().await?;
        let before = client.get(v1::GetTaskRequest { name: name.clone() }).await?.task.unwrap_or_default();
        if task.annotations.is_empty() {
            task.annotations = before.annotations.clone();
        }
        let request = v1::SwapTaskRequest {
            name,
            task: Some(task),
            strategy: strategy.map_or(v1::SwapStrategy::Unspecified, v1::SwapStrategy::from).into(),
            state_policy: state_policy.map_or(v1::StatePolicy::Unspecified, v1::StatePolicy::from).into(),
            preempt,
            validate_only,
            wait: false,
            etag: change.etag,
            reason: change.audit.reason,
            request_id: change.audit.request_id,
        };
        let again = !request.request_id.is_empty();
        let mut answer = client.swap(request).await.map_err(|error| refused(error, validate_only))?;
        if validate_only {
            return output.message(&answer, preview);
        }
        if wait {
            follow(&client, &mut answer, output).await?;
        }
        output.message(&answer, |answer| told(answer, &before, again, output.paint))?;
        hint(&answer, &before);
        match answer.task.as_ref().and_then(|task| task.swap.as_ref()) {
            Some(swap) if is_new(swap, &before) && is_ended(swap) => verdict(swap),
            _ => Ok(()),
        }
    }
}

/// A dry run is refused where the swap would be; but what it would make of the task can be had all the same.
pub(super) fn refused(mut error: client::Error, dry: bool) -> Failure {
    if dry && error.reason == "SWAP_IN_PROGRESS" {
        error.message += "; this is what would be answered now. With --preempt the dry run shows what would be";
    }
    error.into()
}

/// Says of what the swap has brought in that it may yet go, if it may.
pub(super) fn hint(answer: &v1::SwapTaskResponse, before: &v1::Task) {
    let Some(task) = &answer.task else { return };
    let is_done = |swap: &&v1::Swap| is_new(swap, before) && swap.phase() == v1::SwapPhase::Done;
    let observed = observed(task, SystemTime::now());
    if task.swap.as_ref().filter(is_done).is_some() && !observed.is_empty() {
        // The full name leads there from any namespace.
        let name = if words::namespace(&task.name) == "default" { words::id(&task.name) } else { &task.name };
        let name = clean(name);
        let has_failed = task.observation.as_ref().is_some_and(|observation| !observation.failure.is_empty());
        let what = if has_failed { "" } else { "observed " };
        note(&format!("{what}{}", clean(&observed)));
        note(&format!("`switchyard watch {name}` follows that, and `switchyard history {name}` tells how it went"));
    }
}

fn preview(answer: &v1::SwapTaskResponse) -> String {
    preview_of(answer.task.as_ref())
}

/// The spec as it would be.
pub(super) fn preview_of(task: Option<&v1::Task>) -> String {
    note("valid; nothing was swapped");
    // The defaults that the server filled in are what one asks for.
    task.and_then(|task| json::yaml(task.spec.as_ref()?).ok()).unwrap_or_default()
}

/// What has come of the request so far; `again` where it bears an id, so may have been made before.
pub(super) fn told(answer: &v1::SwapTaskResponse, before: &v1::Task, again: bool, paint: Paint) -> String {
    let task = answer.task.clone().unwrap_or_default();
    match task.swap.as_ref().filter(|swap| is_new(swap, before)) {
        Some(swap) => summary(&task, swap, paint),
        None => match &task.swap {
            // It may be the one that was asked for, if this is a call made again under its request id.
            Some(swap) if again => format!("nothing new; the newest swap is\n{}", summary(&task, swap, paint)),
            _ => format!("{}  unchanged: it has this spec and these annotations\n", words::id(&task.name)),
        },
    }
}

/// Whether the swap has begun since the task stood so.
pub(super) fn is_new(swap: &v1::Swap, before: &v1::Task) -> bool {
    before.swap.as_ref().is_none_or(|before| before.id != swap.id)
}

pub(super) fn is_ended(swap: &v1::Swap) -> bool {
    matches!(swap.phase(), v1::SwapPhase::Done | v1::SwapPhase::RolledBack | v1::SwapPhase::Cancelled)
}

/// A line: `api  DONE  1 → 2`.
pub(super) fn summary(task: &v1::Task, swap: &v1::Swap, paint: Paint) -> String {
    let phase = paint.text(tone(swap), &words::swap_phase(swap.phase));
    format!("{}  {phase}  {}\n", words::id(&task.name), clean(&words::swap(swap)))
}

/// The exit code of a swap that has ended; what is to be told of it has been.
pub(super) fn verdict(swap: &v1::Swap) -> Result<(), Failure> {
    if swap.phase() == v1::SwapPhase::Done { Ok(()) } else { Err(Failure::Negative(String::new())) }
}

/// How the swap goes, as a colour.
pub(super) fn tone(swap: &v1::Swap) -> Tone {
    match swap.phase() {
        v1::SwapPhase::Done => Tone::Good,
        v1::SwapPhase::RolledBack | v1::SwapPhase::Cancelled => Tone::Bad,
        _ => Tone::Changing,
    }
}

/// Follows the swap that the answer shows until it has ended, from the cursor of its start on, so that no phase is missed; then
/// the answer shows the task as it stood at that end.
pub(super) async fn follow(client: &Client, answer: &mut v1::SwapTaskResponse, output: Output) -> Result<(), Failure> {
    let Some(task) = &mut answer.task else { return Ok(()) };
    let Some(swap) = task.swap.clone().filter(|swap| !is_ended(swap)) else { return Ok(()) };
    let mut phases = Phases { id: swap.id.clone(), shown: swap.phase, began: task.update_time, output };
    phases.tell(&swap, task.update_time.as_ref())?;
    let parent = task.name.split_once("/tasks/").map_or("", |(parent, _)| parent);
    let mut watch = client.watch(v1::WatchTasksRequest {
        parent: parent.to_owned(),
        filter: format!("name = \"{}\"", task.name),
        start: Some(Start::Cursor(answer.cursor.clone())),
        view: v1::EventView::Full.into(),
        ..v1::WatchTasksRequest::default()
    });
    let mut lost = None;
    loop {
        let events = match watch.next().await? {
            Update::Frame { events, .. } => events,
            Update::Lost { error, .. } if lost.get_or_insert_with(Instant::now).elapsed() > WITHOUT_SERVER => {
                return Err(error.into());
            }
            Update::Lost { error, .. } => {
                note(&format!("{}; trying again", clean(&error.message)));
                continue;
            }
            Update::Resumed { .. } => {
                lost = None;
                continue;
            }
        };
        for event in events {
            let Some(now) = event.task.filter(|now| now.uid == task.uid) else { continue };
            if phases.show(&now, event.time.as_ref())? {
                *task = now;
                return Ok(());
            }
        }
    }
}

/// Tells the phases of one swap, each once.
struct Phases {
    id: String,
    shown: i32,
    began: Option<Timestamp>,
    output: Output,
}

impl Phases {
    /// Tells the phase of the task's swap if it is another one than before; says whether the swap has ended.
    fn show(&mut self, task: &v1::Task, now: Option<&Timestamp>) -> Result<bool, Failure> {
        let Some(swap) = task.swap.as_ref().filter(|swap| swap.id == self.id) else { return Ok(false) };
        if swap.phase != self.shown {
            self.shown = swap.phase;
            self.tell(swap, now)?;
        }
        Ok(is_ended(swap))
    }

    fn tell(&self, swap: &v1::Swap, now: Option<&Timestamp>) -> Result<(), Failure> {
        // Machines get the outcome alone: one document.
        if self.output.format != Format::Table {
            return Ok(());
        }
        let after = words::between(self.began.as_ref(), now).map(words::rough).unwrap_or_default();
        let phase = self.output.paint.text(tone(swap), &words::swap_phase(swap.phase));
        out(&format!("{}  {phase}\n", self.output.paint.text(Tone::Faint, &format!("{after:>7}"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn swapped(id: &str, phase: v1::SwapPhase) -> v1::Task {
        let swap = v1::Swap {
            id: id.to_owned(),
            from_generation: 1,
            to_generation: 2,
            phase: phase.into(),
            ..v1::Swap::default()
        };
        v1::Task { name: "namespaces/default/tasks/api".to_owned(), swap: Some(swap), ..v1::Task::default() }
    }

    fn said(before: &v1::Task, after: v1::Task) -> String {
        told(&v1::SwapTaskResponse { task: Some(after), cursor: String::new() }, before, false, Paint(false))
    }

    #[test]
    fn a_call_made_again_is_told_how_the_newest_swap_went() {
        let task = swapped("a", v1::SwapPhase::RolledBack);
        let answer = v1::SwapTaskResponse { task: Some(task.clone()), cursor: String::new() };
        let text = told(&answer, &task, true, Paint(false));
        assert_eq!(text, "nothing new; the newest swap is\napi  ROLLED_BACK  1 → 2\n");
    }

    #[test]
    fn what_is_told_is_of_the_swap_that_was_asked_for_and_of_no_earlier_one() {
        use v1::SwapPhase::{Building, Done};
        let never = v1::Task { swap: None, ..swapped("", Done) };
        assert_eq!(said(&never, swapped("a", Building)), "api  BUILDING  1 → 2\n");
        assert_eq!(said(&swapped("a", Done), swapped("b", Done)), "api  DONE  1 → 2\n");
        assert!(said(&swapped("a", Done), swapped("a", Done)).starts_with("api  unchanged"));
        assert!(said(&never, never.clone()).starts_with("api  unchanged"));
    }

    #[test]
    fn only_a_swap_that_is_done_is_a_success() {
        for phase in [v1::SwapPhase::Done, v1::SwapPhase::RolledBack, v1::SwapPhase::Cancelled] {
            let swap = swapped("a", phase).swap.expect("set");
            assert_eq!(verdict(&swap).is_ok(), phase == v1::SwapPhase::Done, "{phase:?}");
            assert!(is_ended(&swap));
        }
    }
}
