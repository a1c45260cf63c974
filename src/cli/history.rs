//! `history`, `rollback`.

use std::time::SystemTime;

use clap::Args;

use super::change::Change;
use super::output::{Output, OutputArgs, Tone};
use super::remote::{Namespace, Remote};
use super::swap::{StatePolicy, Strategy, follow, hint, is_ended, is_new, preview_of, refused, told, verdict};
use super::table::{self, Cell, Column};
use super::{Failure, words};
use crate::pb::v1;

const COLUMNS: [Column; 7] = [
    Column { title: "GENERATION", rank: 0, least: None },
    Column { title: "STATE", rank: 0, least: None },
    Column { title: "AGE", rank: 2, least: None },
    Column { title: "ACTIVE FOR", rank: 4, least: None },
    Column { title: "BY", rank: 3, least: Some(12) },
    Column { title: "TARGET", rank: 5, least: Some(20) },
    Column { title: "WHY", rank: 1, least: Some(16) },
];

/// Show which specs a task was given: by whom, when and why, and what became of each.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard history api
  switchyard history api -o yaml              with the specs

The newest 10 generations are kept, and the active one. WHY has the request's reason, which
generation was gone back to, why a swap was rolled back, and how a generation failed that was
reverted.")]
pub(super) struct History {
    /// The task's name.
    name: String,
    #[command(flatten)]
    namespace: Namespace,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    output: OutputArgs,
}

impl History {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let output = Output::new(&self.output);
        let request = v1::ListGenerationsRequest { name: self.namespace.task(&self.name) };
        let listed = self.remote.connect().await?.generations(request).await?;
        output.message(&listed, |listed| {
            let rows: Vec<_> = listed.generations.iter().map(|kept| row(kept, SystemTime::now())).collect();
            table::render(&COLUMNS, &rows, output.width, output.paint)
        })
    }
}

/// What is not known is a dash.
fn row(kept: &v1::Generation, now: SystemTime) -> Vec<Cell> {
    let v1::Generation { generation, spec, state: _, cause, create_time, activate_time, end_time, .. } = kept;
    let or_dash = |text: Option<String>| text.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned());
    let age = words::age(create_time.as_ref(), now);
    let until = end_time.unwrap_or_else(|| now.into());
    // While its swap is undecided, or where that was given up, it was not active at all.
    let active = words::between(activate_time.as_ref(), Some(&until)).map(words::rough_seconds);
    let by = cause.as_ref().map(|cause| cause.actor.clone());
    let (state, tone) = state(kept);
    vec![
        Cell::from(generation.to_string()),
        Cell::new(tone, &state),
        or_dash(age).into(),
        or_dash(active).into(),
        or_dash(by).into(),
        or_dash(Some(words::target(spec.as_ref()).1)).into(),
        or_dash(Some(why(kept))).into(),
    ]
}

fn state(kept: &v1::Generation) -> (String, Tone) {
    let state = words::generation_state(kept.state);
    match kept.state() {
        v1::GenerationState::Active => (state, Tone::Good),
        v1::GenerationState::Candidate => (state, Tone::Changing),
        v1::GenerationState::RolledBack | v1::GenerationState::Cancelled | v1::GenerationState::Reverted => {
            (state, Tone::Bad)
        }
        v1::GenerationState::Superseded => (state, Tone::Faint),
        v1::GenerationState::Unspecified => ("UNKNOWN".to_owned(), Tone::Plain),
    }
}

/// `back to 2: slow since noon; the candidate was not ready within 30s`.
fn why(kept: &v1::Generation) -> String {
    let back = (kept.rollback_to > 0).then(|| format!("back to {}", kept.rollback_to));
    let reason = kept.cause.as_ref().map(|cause| cause.reason.clone()).filter(|reason| !reason.is_empty());
    let asked: Vec<_> = back.into_iter().chain(reason).collect();
    let error = (!kept.error.is_empty()).then(|| kept.error.clone());
    let parts: Vec<_> = (!asked.is_empty()).then(|| asked.join(": ")).into_iter().chain(error).collect();
    parts.join("; ")
}

/// Swap a task back to a former generation: its spec and annotations.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard rollback api --wait                        to the spec before
  switchyard rollback api --to-generation 3 --reason 'the new target is slow'
  switchyard rollback api --to-generation 3 --dry-run   the spec as it would be
  switchyard rollback api --preempt                     even while a swap runs that is not committed

It is a swap like any other, to a new generation; `history` shows which one was gone back to.
With --wait each phase is told as it comes; exit code 1 where the swap was rolled back or
cancelled.")]
pub(super) struct Rollback {
    /// The task's name.
    name: String,
    /// Which generation to go back to; by default the newest before the active one that had been
    /// active, has another spec and was not reverted. `history` shows them.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    to_generation: Option<u64>,
    /// In which order to start and stop; the spec's by default.
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

impl Rollback {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Self { name, to_generation, strategy, state_policy, preempt, validate_only, wait, change } = self;
        let output = Output::new(&change.output);
        let name = change.namespace.task(&name);
        let client = change.remote.connect().await?;
        let before = client.get(v1::GetTaskRequest { name: name.clone() }).await?.task.unwrap_or_default();
        let again = !change.audit.request_id.is_empty();
        let request = v1::RollbackTaskRequest {
            name,
            to_generation: to_generation.unwrap_or(0),
            strategy: strategy.map_or(v1::SwapStrategy::Unspecified, v1::SwapStrategy::from).into(),
            validate_only,
            wait: false,
            etag: change.etag,
            reason: change.audit.reason,
            request_id: change.audit.request_id,
            preempt,
            state_policy: state_policy.map_or(v1::StatePolicy::Unspecified, v1::StatePolicy::from).into(),
        };
        let answer = client.rollback(request).await.map_err(|error| refused(error, validate_only))?;
        let v1::RollbackTaskResponse { task, cursor } = answer;
        let mut swap = v1::SwapTaskResponse { task, cursor };
        if wait && !validate_only {
            follow(&client, &mut swap, output).await?;
        }
        let v1::SwapTaskResponse { task, cursor } = swap.clone();
        let answer = v1::RollbackTaskResponse { task, cursor };
        if validate_only {
            return output.message(&answer, |answer| preview_of(answer.task.as_ref()));
        }
        output.message(&answer, |_| told(&swap, &before, again, output.paint))?;
        hint(&swap, &before);
        match answer.task.as_ref().and_then(|task| task.swap.as_ref()) {
            Some(swap) if is_new(swap, &before) && is_ended(swap) => verdict(swap),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Paint;

    fn at(seconds: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp { seconds, nanos: 0 })
    }

    fn generation(generation: u64, state: v1::GenerationState, reason: &str) -> v1::Generation {
        let cause = Some(v1::Cause {
            actor: "anonymous@127.0.0.1".to_owned(),
            reason: reason.to_owned(),
            ..Default::default()
        });
        v1::Generation { generation, state: state.into(), cause, create_time: at(1_000), ..Default::default() }
    }

    fn rendered(kept: &[v1::Generation], width: Option<usize>) -> String {
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(5_000);
        let rows: Vec<_> = kept.iter().map(|kept| row(kept, now)).collect();
        table::render(&COLUMNS, &rows, width, Paint(false))
    }

    #[test]
    fn each_generation_has_its_line_and_what_is_not_known_is_not_made_up() {
        use v1::GenerationState::{Active, RolledBack, Superseded, Unspecified};
        let back = v1::Generation { rollback_to: 2, activate_time: at(2_000), ..generation(4, Active, "slow") };
        let failed =
            v1::Generation { error: "late".to_owned(), end_time: at(1_500), ..generation(3, RolledBack, "new") };
        let old = v1::Generation { activate_time: at(1_000), end_time: at(1_090), ..generation(2, Superseded, "") };
        let unknown = v1::Generation { cause: None, create_time: None, ..generation(1, Unspecified, "") };
        let text = rendered(&[back, failed, old, unknown], None);
        let expected = "\
GENERATION  STATE        AGE   ACTIVE FOR  BY                   TARGET  WHY
4           ACTIVE       1h6m  50m         anonymous@127.0.0.1  -       back to 2: slow
3           ROLLED_BACK  1h6m  -           anonymous@127.0.0.1  -       new; late
2           SUPERSEDED   1h6m  1m30s       anonymous@127.0.0.1  -       -
1           UNKNOWN      -     -           -                    -       -
";
        assert_eq!(text, expected, "{text}");
    }

    #[test]
    fn a_history_fits_the_terminal_and_says_why_to_the_last() {
        let long = generation(1, v1::GenerationState::Active, &"a long reason ".repeat(9));
        let text = rendered(&[long], Some(60));
        assert!(text.lines().all(|line| super::super::output::width(line) <= 60), "{text}");
        assert!(text.contains("WHY") && text.contains('…'), "{text}");
    }
}
