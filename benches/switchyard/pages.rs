//! Pages of a list of many tasks: the whole list, page by page, and pages of what matches a filter.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use switchyard::pb::v1;
use switchyard::pb::v1::task_service_client::TaskServiceClient;

use crate::lab::{Lab, millis, nanos};
use crate::served::Log;
use crate::table::{Bar, Case, Row, Unit};

const TASKS: usize = 100_000;
const PAGE: usize = 1_000;
/// Lists in a turn.
const LISTS: usize = 3;

pub(crate) fn cases() -> Vec<Case> {
    // What matches: all, and one task in a hundred, so that a page of it looks at all of them.
    [
        ("", "no filter", 1),
        ("state = RUNNING", "a filter that all match", 1),
        ("labels.zone = 7", "one in 100 matches", 100),
    ]
    .map(|(filter, words, one_in)| {
        let name = format!("ListTasks, a page of 1,000 of 100,000, {words}: p99");
        Case::new(name.clone(), move |lab| run(lab, name, filter, one_in))
    })
    .into()
}

fn run(lab: &Lab, name: String, filter: &'static str, one_in: usize) -> Result<Vec<Row>> {
    let tasks = lab.scaled(TASKS);
    let mut log = Log::about(lab, tasks)?;
    lab.clients.block_on(async {
        let last = log.append(tasks);
        crate::replay::committed(&log.journal, last).await
    })?;
    let channel = lab.connect(log.address)?.swap_remove(0);
    let p99 = (0..lab.turns()).map(|_| {
        let mut took = Histogram::<u64>::new(3)?;
        let listed = lab.clients.block_on(async {
            let mut listed = 0;
            // A list of few pages is made as often as makes as many.
            for _ in 0..LISTS * one_in {
                listed += list(TaskServiceClient::new(channel.clone()), filter, &mut took).await?;
            }
            anyhow::Ok(listed)
        })?;
        ensure!(listed == LISTS * tasks, "{listed} tasks were listed");
        Ok(millis(took.value_at_quantile(0.99)))
    });
    Ok(vec![Row::alone(name, Unit::Milliseconds, p99.collect::<Result<_>>()?, Bar::AtMost(20.0))])
}

/// Lists all that matches, page by page; how many that are.
async fn list(
    mut client: TaskServiceClient<tonic::transport::Channel>,
    filter: &str,
    took: &mut Histogram<u64>,
) -> Result<usize> {
    let (mut listed, mut page_token) = (0, String::new());
    loop {
        let page_size = i32::try_from(PAGE).context("a small number")?;
        let request = v1::ListTasksRequest { page_size, page_token, filter: filter.to_owned(), ..Default::default() };
        let asked = Instant::now();
        let page = client.list_tasks(request).await?.into_inner();
        took.record(nanos(asked.elapsed()))?;
        listed += page.tasks.len();
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(listed);
        }
    }
}
