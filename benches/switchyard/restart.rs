//! A server with many running tasks is killed, and the next one goes on: how long until it serves, and until all of them run again.
//! Both are processes of their own, so that nothing is warm but the page cache.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use switchyard::config::{Config, Layer};
use switchyard::journal::{EmbeddedStore, Retention};
use switchyard::model::State;
use switchyard::pb::v1;
use switchyard::pb::v1::server_service_client::ServerServiceClient;
use switchyard::pb::v1::task_service_client::TaskServiceClient;
use switchyard::server::Server;
use tokio::time::sleep;
use tonic::transport::Channel;

use crate::handle::{reached, start};
use crate::lab::Lab;
use crate::scratch::Scratch;
use crate::served::{Managed, custom, idle, tcp};
use crate::table::{Bar, Case, Row, Unit};

const TASKS: usize = 100_000;
/// Every so manieth task is looked at, whether it was taken over.
const SAMPLE: usize = 997;
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) fn cases() -> Vec<Case> {
    ["custom", "tcp"]
        .map(|kind| Case::new(format!("restart with 100,000 tasks, {kind}"), move |lab| run(lab, kind)))
        .into()
}

fn run(lab: &Lab, kind: &'static str) -> Result<Vec<Row>> {
    let scratch = Scratch::new();
    let tasks = lab.scaled(TASKS);
    // Killed once they all run.
    drop(Process::start(&["--fill", kind, &tasks.to_string(), path(&scratch)?])?);
    let turns = (1..).take(lab.turns().min(3)).map(|attempts| turn(lab, &scratch, tasks, attempts));
    let turns = turns.collect::<Result<Vec<_>>>()?;
    let (serves, runs) = turns.into_iter().unzip();
    let name = |what: &str| format!("restart with 100,000 tasks, {kind}: {what}");
    Ok(vec![
        Row::alone(name("kill -9 until it serves"), Unit::Milliseconds, serves, Bar::AtMost(3_000.0)),
        Row::alone(name("and until all run again"), Unit::Milliseconds, runs, Bar::None),
    ])
}

/// How long it took until a call was answered, and until every task was running; in milliseconds. Then it is killed in turn.
fn turn(lab: &Lab, scratch: &Scratch, tasks: usize, attempts: u32) -> Result<(f64, f64)> {
    let began = Instant::now();
    let process = Process::start(&["--serve", path(scratch)?])?;
    let address = format!("http://{}", process.said);
    let serves = lab.clients.block_on(async {
        let mut client = ServerServiceClient::connect(address.clone()).await?;
        client.get_server_info(v1::GetServerInfoRequest {}).await?;
        anyhow::Ok(began.elapsed())
    })?;
    lab.clients.block_on(run_again(&address, tasks, attempts))?;
    Ok((serves.as_secs_f64() * 1e3, began.elapsed().as_secs_f64() * 1e3))
}

/// Waits until no task is anything else than running.
async fn run_again(address: &str, tasks: usize, attempts: u32) -> Result<()> {
    let mut client = TaskServiceClient::connect(address.to_owned()).await?;
    let began = Instant::now();
    let others = v1::ListTasksRequest { page_size: 1, filter: "state != RUNNING".to_owned(), ..Default::default() };
    let mut next = SAMPLE;
    while began.elapsed() < PATIENCE {
        // What has not been taken over yet is shown as it was: the task that is started again has another attempt.
        while next < tasks && attempt(&mut client, next).await? > attempts {
            next += SAMPLE;
        }
        if next >= tasks && client.list_tasks(others.clone()).await?.into_inner().tasks.is_empty() {
            return Ok(());
        }
        sleep(Duration::from_millis(20)).await;
    }
    bail!("not all of {tasks} tasks run again")
}

/// Which attempt a task's newest instance is.
async fn attempt(client: &mut TaskServiceClient<Channel>, number: usize) -> Result<u32> {
    let request = v1::GetTaskRequest { name: format!("namespaces/default/tasks/task-{number}") };
    let task = client.get_task(request).await?.into_inner().task.context("a task")?;
    Ok(task.instance.context("it has run")?.attempt)
}

fn path(scratch: &Scratch) -> Result<&str> {
    scratch.path().to_str().context("the directory's name is no UTF-8")
}

/// This program in a process of its own, which has said what it was to say; killed when dropped.
struct Process {
    child: Child,
    said: String,
}

impl Process {
    fn start(arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?).args(arguments).stdout(Stdio::piped()).spawn()?;
        let mut said = String::new();
        BufReader::new(child.stdout.take().context("piped")?).read_line(&mut said)?;
        Ok(Self { child, said: said.trim().to_owned() })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In a process of its own: starts so many tasks of a kind, says so when they run, and goes on until it is killed.
#[expect(clippy::print_stdout, reason = "it is how the parent is told")]
pub(crate) fn fill(arguments: &[String]) -> Result<()> {
    let [kind, tasks, directory] = arguments else { bail!("takes a kind, a number and a directory") };
    let tasks: usize = tasks.parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let managed = Managed::durable(Path::new(directory))?;
        let spec = || if kind == "tcp" { tcp("127.0.0.1:1", 0) } else { custom() };
        start(&managed, 0..tasks, spec).await?;
        reached(&managed, State::Running, tasks).await?;
        println!("all run");
        std::future::pending().await
    })
}

/// In a process of its own: serves what is in a directory, says where, and goes on until it is killed.
#[expect(clippy::print_stdout, reason = "it is how the parent is told")]
pub(crate) fn serve(directory: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let any = Some(std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
        let layer = Layer { listen: any, http_listen: any, ..Layer::default() };
        let store = EmbeddedStore::open(Path::new(directory), Retention::default())?;
        let server = Server::builder().config(Config::try_new(layer)?).store(store).register(idle()).bind().await?;
        println!("{}", server.addr());
        server.run(std::future::pending(), std::future::pending()).await;
        Ok(())
    })
}
