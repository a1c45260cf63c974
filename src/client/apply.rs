//! An apply, as it comes.

use prost::Message;
use tonic::Streaming;
use tonic::transport::Channel;

use super::Error;
use crate::pb::v1;
use v1::task_service_client::TaskServiceClient;

/// What the tasks of a message take, encoded: far below the 4 MiB that a request may have, and many tasks each. A task that is larger
/// by itself is for the server to judge.
const MESSAGE_BYTES: usize = 1024 * 1024;

/// What comes of an apply. Dropped, it begins nothing more; what is under way goes on.
#[derive(Debug)]
pub struct Applying(Streaming<v1::ApplyTasksResponse>);

impl Applying {
    pub(super) async fn begin(
        mut client: TaskServiceClient<Channel>,
        header: v1::ApplyHeader,
        tasks: Vec<v1::Task>,
    ) -> Result<Self, Error> {
        let requests = futures_util::stream::iter(requests(header, tasks));
        Ok(Self(client.apply_tasks(requests).await?.into_inner()))
    }

    /// The next frame; `None` once the server has said all.
    pub async fn next(&mut self) -> Result<Option<v1::ApplyTasksResponse>, Error> {
        Ok(self.0.message().await?)
    }
}

/// The set in messages.
fn requests(header: v1::ApplyHeader, tasks: Vec<v1::Task>) -> Vec<v1::ApplyTasksRequest> {
    let mut requests = vec![v1::ApplyTasksRequest { header: Some(header), tasks: Vec::new() }];
    let mut bytes = 0;
    for task in tasks {
        bytes += task.encoded_len();
        if bytes > MESSAGE_BYTES {
            requests.push(v1::ApplyTasksRequest::default());
            bytes = task.encoded_len();
        }
        if let Some(last) = requests.last_mut() {
            last.tasks.push(task);
        }
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_cut_into_messages_in_its_order() {
        let task = |number: usize| v1::Task { name: format!("{number}-{}", "n".repeat(300_000)), ..Default::default() };
        let tasks: Vec<_> = (0..7).map(task).collect();
        let requests = requests(v1::ApplyHeader { prune: true, ..Default::default() }, tasks.clone());
        let counts: Vec<_> = requests.iter().map(|request| request.tasks.len()).collect();
        assert_eq!(counts, [3, 3, 1]);
        assert!(requests.iter().map(|request| request.header.is_some()).eq([true, false, false]));
        assert_eq!(requests.into_iter().flat_map(|request| request.tasks).collect::<Vec<_>>(), tasks);
    }
}
