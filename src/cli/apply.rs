//! `apply`.

mod told;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Failure;
use super::change::Audit;
use super::output::{Format, Output, OutputArgs, out};
use super::progress::Progress;
use super::remote::{Namespace, Remote};
use crate::client;
use crate::pb::v1;
use crate::task_files::{self, Found};

/// Whose tasks are where nobody says so. Nothing is pruned under it unless it is named: others may use it, too.
const DEFAULT_OWNER: &str = "default";

/// So many lines of a plan can be read; more would only push what counts out of sight.
const PLAN_LINES: usize = 50;

/// Have an owner's tasks be what files say: start, swap and cancel what it takes.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard apply -f tasks/ --dry-run                        what would be done
  switchyard apply -f tasks/ --owner core --prune             and cancel what is in no file
  switchyard apply -f api.yaml -f db.toml --max-parallel 4    four swaps at a time
  switchyard apply -f tasks/ --max-failures 10 --on-failure roll-back
  switchyard list -A --filter 'labels.owner = core AND state != CANCELLED' -o yaml > core.yaml

A file holds tasks as `start -f` takes them, each with its name: YAML documents, a list, or a
mapping with a list as `tasks`; in TOML [[tasks]]. Of a directory the files are read whose names
end in .yaml, .yml, .json or .toml and do not begin with a dot; directories in it are not looked
into. Each task gets the label `owner`, by which --prune finds those that are in no file; tasks of
other owners, and those without, are never touched.

The plan is told first, in numbers and at most 50 lines, then how far it is. Tasks are started and cancelled at once; swaps go so
many at a time, and once as many have failed as may no further one begins. The same command again
goes on from there; where nothing has changed it does nothing. Interrupted, it begins nothing more.

Exit codes: 0 every task is as the files say, 1 some are not: each is told with its reason;
others as for every command.")]
pub(super) struct Apply {
    /// A file or a directory with tasks; - is the standard input. May be given several times.
    #[arg(short, long = "file", value_name = "PATH", required = true)]
    files: Vec<PathBuf>,
    /// Whose tasks these are: the value of their label `owner`. Has to be given with --prune [default: default].
    #[arg(long, value_name = "NAME", required_if_eq("prune", "true"))]
    owner: Option<String>,
    /// Cancel the owner's tasks that are in none of the files, in all namespaces.
    #[arg(long)]
    prune: bool,
    /// Tell the plan, and change nothing; exit code 1 where it has something that is refused.
    #[arg(long, visible_alias = "validate-only")]
    dry_run: bool,
    /// Tell every line of the plan, however many there are.
    #[arg(long)]
    verbose: bool,
    /// How many swaps are under way at once [default: 64].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_parallel: Option<u32>,
    /// At how many failed swaps no further one begins [default: 1].
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u32).range(1..))]
    max_failures: Option<u32>,
    /// What becomes then of the swaps that are done.
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = OnFailure::Leave)]
    on_failure: OnFailure,
    #[command(flatten)]
    audit: Audit,
    #[command(flatten)]
    namespace: Namespace,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    output: OutputArgs,
}

/// What becomes of the swaps that are done when as many have failed as may.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum OnFailure {
    /// They stay.
    Leave,
    /// The tasks are swapped back to what they had.
    RollBack,
}

impl Apply {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let output = Output::new(&self.output);
        let found = task_files::gather(&self.files, self.namespace.id(), self.owner())
            .map_err(|problems| Failure::Usage(format!("the tasks are invalid:\n  {}", problems.join("\n  "))))?;
        let client = self.remote.connect().await?;
        let tasks = found.iter().map(|found| found.task.clone()).collect();
        let mut applying = client.apply(self.header(), tasks).await?;
        let mut whole = v1::ApplyTasksResponse::default();
        let mut progress = Progress::new();
        let mut told = output.format != Format::Table;
        loop {
            let frame = applying.next().await.map_err(|error| in_files(error, &found))?;
            let Some(v1::ApplyTasksResponse { plan, progress: counts, result }) = frame else { break };
            whole.plan.extend(plan);
            // The plan is whole once something else comes.
            if !told && (counts.is_some() || result.is_some()) {
                told = true;
                out(&self.plan(&whole.plan, output))?;
            }
            if let Some(counts) = counts {
                progress.tell(|| told::bar(&counts, output.width));
            }
            whole.result = result.or(whole.result);
        }
        drop(progress);
        if !told {
            out(&self.plan(&whole.plan, output))?;
        }
        output.message(&whole, |whole| told::summary(whole, output.paint))?;
        if told::is_good(&whole) { Ok(()) } else { Err(Failure::Negative(String::new())) }
    }

    fn plan(&self, plan: &[v1::ApplyPlanItem], output: Output) -> String {
        told::plan(plan, if self.verbose { usize::MAX } else { PLAN_LINES }, output)
    }

    fn owner(&self) -> &str {
        self.owner.as_deref().unwrap_or(DEFAULT_OWNER)
    }

    fn header(&self) -> v1::ApplyHeader {
        let on_failure = match self.on_failure {
            OnFailure::Leave => v1::OnFailure::Leave,
            OnFailure::RollBack => v1::OnFailure::RollBack,
        };
        let rollout = v1::Rollout {
            max_parallel: self.max_parallel.unwrap_or_default(),
            max_failures: self.max_failures.unwrap_or_default(),
            on_failure: on_failure.into(),
        };
        v1::ApplyHeader {
            owner: self.owner().to_owned(),
            prune: self.prune,
            rollout: Some(rollout),
            validate_only: self.dry_run,
            reason: self.audit.reason.clone(),
            request_id: self.audit.request_id.clone(),
        }
    }
}

/// The error, with violations told by the files that they are in.
fn in_files(mut error: client::Error, found: &[Found]) -> Failure {
    let mut headline = None;
    for violation in &mut error.violations {
        if let Some(place) = task_files::place_of(found, &violation.field) {
            violation.field = place;
            headline = Some("the tasks are invalid");
        }
    }
    if let Some(headline) = headline {
        // How many are not shown stands at the end.
        let rest = error.message.rsplit_once("; ").filter(|(_, rest)| rest.ends_with("are not shown"));
        error.message = rest.map_or(headline.to_owned(), |(_, rest)| format!("{headline}; {rest}"));
    }
    Failure::Server(error)
}
