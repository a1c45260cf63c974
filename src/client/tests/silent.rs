//! Streams that stand and say nothing, by a clock that the test turns.

use tokio::time::{Instant, sleep};

use super::super::mirror::testing::serve;
use super::super::patience::GIVE_UP;
use super::*;

impl Scripted {
    /// A client of a server in memory, so that a paused clock moves on only once nobody has anything left to do.
    fn in_memory(&self, scripts: impl IntoIterator<Item = Script>) -> Client {
        self.scripts.lock().expect("not poisoned").extend(scripts);
        let channel = serve(Server::builder().add_service(TaskServiceServer::new(self.clone())));
        let (tasks, circuits) = (TaskServiceClient::new(channel.clone()), CircuitServiceClient::new(channel.clone()));
        Client { tasks, circuits, server: ServerServiceClient::new(channel) }
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_says_nothing_is_lost_also_to_who_looks_up_often_and_stands_again() {
    let server = Scripted::default();
    let client = server.in_memory([
        Script { frames: vec![frame([1], "c1")], then: Then::Silence },
        Script { frames: vec![frame([2], "c2")], then: Then::Fail(expired()) },
    ]);
    let mut watch = client.watch(v1::WatchTasksRequest::default());
    assert!(matches!(watch.next().await, Ok(Update::Frame { .. })));
    // What nobody has waited for was not late.
    sleep(3 * GIVE_UP).await;
    let waited = Instant::now();
    let update = loop {
        if let Ok(update) = timeout(Duration::from_secs(1), watch.next()).await {
            break update;
        }
        assert!(waited.elapsed() < 2 * GIVE_UP, "it is not given up");
    };
    let Ok(Update::Lost { error, .. }) = update else { panic!("{update:?}") };
    assert_eq!((error.code, waited.elapsed()), (Code::Unavailable, GIVE_UP));
    let (seen, error) = follow(&mut watch, |_| {}).await;
    assert_eq!((seen, error.code), (vec![2], Code::OutOfRange));
    assert_eq!(server.starts(), [None, cursor("c1")]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_checks_that_says_nothing_is_lost_and_stands_again() {
    let client = Scripted::default().in_memory([]);
    let mut checks = client.watch_checks(v1::WatchChecksRequest::default());
    for _ in 0..2 {
        assert_eq!(checks.next().await, Ok(CheckUpdate::Frame(v1::WatchChecksResponse::default())));
        let waited = Instant::now();
        let Ok(CheckUpdate::Lost { error, .. }) = checks.next().await else { panic!("not lost") };
        assert_eq!((error.code, waited.elapsed()), (Code::Unavailable, GIVE_UP));
        assert_eq!(checks.next().await, Ok(CheckUpdate::Resumed));
    }
}
