//! What a task costs in memory: the anonymous memory that a process of its own has resident, which no allocator's book-keeping
//! makes look smaller, before and after it has got many more of them. Only Linux tells. Without the feature `mimalloc` it is what a
//! counting allocator says is live: what the tasks themselves need.

use std::process::Command;

#[cfg(feature = "mimalloc")]
use anyhow::Context as _;
use anyhow::{Result, bail, ensure};
use switchyard::model::{HttpDraft, MonitorDraft, State, TaskSpec};
use tokio::net::TcpListener;

use crate::handle::{reached, start};
use crate::lab::Lab;
use crate::served::{Managed, custom, spec, tcp};
use crate::table::{Bar, Case, Row, Unit};

const TASKS: usize = 20_000;
/// Tasks that are there before the first look, so that what a process has once is not counted.
const BEFORE: usize = 2_000;
/// What the journal keeps; few, since they are the server's and no task's.
const RETENTION: usize = 1_000;

pub(crate) fn cases() -> Vec<Case> {
    if !cfg!(target_os = "linux") {
        return Vec::new();
    }
    ["custom", "tcp", "http"]
        .map(|kind| Case::new(format!("memory for each task, {kind}"), move |lab| run(lab, kind)))
        .into()
}

fn run(lab: &Lab, kind: &'static str) -> Result<Vec<Row>> {
    let tasks = lab.scaled(TASKS).max(BEFORE);
    let turns = (0..lab.turns().min(3)).map(|_| {
        let held = Command::new(std::env::current_exe()?).args(["--hold", kind, &tasks.to_string()]).output()?;
        ensure!(held.status.success(), "{}", String::from_utf8_lossy(&held.stderr));
        Ok(String::from_utf8(held.stdout)?.trim().parse()?)
    });
    let turns = turns.collect::<Result<_>>()?;
    Ok(vec![Row::alone(format!("memory for each task, {kind}"), Unit::Bytes, turns, Bar::AtMost(4_096.0))])
}

/// In a process of its own: holds so many tasks of a kind, and prints what each takes.
#[expect(clippy::print_stdout, reason = "it is how the parent is told")]
pub(crate) fn hold(arguments: &[String]) -> Result<()> {
    let [kind, tasks] = arguments else { bail!("takes a kind and a number") };
    let tasks: usize = tasks.parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let target = listener.local_addr()?.to_string();
        let _target = tokio::spawn(crate::checks::serve(listener));
        let spec = || -> Result<TaskSpec> {
            match kind.as_str() {
                "custom" => custom(),
                "tcp" => tcp(&target, 0),
                "http" => {
                    spec(MonitorDraft::Http(HttpDraft { url: format!("http://{target}/"), ..Default::default() }), 0)
                }
                other => bail!("no such kind: {other}"),
            }
        };
        let managed = Managed::start(RETENTION)?;
        start(&managed, 0..BEFORE, spec).await?;
        reached(&managed, State::Running, BEFORE).await?;
        let before = in_use()?;
        start(&managed, BEFORE..BEFORE + tasks, spec).await?;
        reached(&managed, State::Running, BEFORE + tasks).await?;
        println!("{}", in_use()?.saturating_sub(before) / tasks);
        Ok(())
    })
}

/// What is live on the heap, in bytes.
#[cfg(not(feature = "mimalloc"))]
fn in_use() -> Result<usize> {
    Ok(crate::ALLOCATOR.current_usage())
}

/// The anonymous memory that this process has resident, in bytes.
#[cfg(feature = "mimalloc")]
#[expect(clippy::disallowed_methods, reason = "a file of the kernel's, and nothing else to do meanwhile")]
fn in_use() -> Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("the kernel does not tell")?;
    let kibibytes: usize = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kibibytes * 1024)
}
