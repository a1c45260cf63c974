//! Listing: all pages show one snapshot, whatever happens meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use switchyard::config::Layer;
use switchyard::pb::v1::watch_tasks_request::Start;
use switchyard::pb::v1::{DeleteTaskRequest, EventType, EventView, ListTasksRequest, Task, WatchTasksRequest};
use tonic::Code;

use crate::harness::{Client, Harness, cancel, idle, name, reason};

/// How many clients change things while pages are read.
const CLIENTS: usize = 8;

/// Starts, cancels and deletes tasks until told to stop.
async fn churn(mut client: Client, prefix: String, stop: Arc<AtomicBool>) {
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let id = format!("{prefix}{n}");
        client.start_task(idle(&id)).await.expect("started");
        client.cancel_task(cancel(&id)).await.expect("cancelled");
        if n % 2 == 0 {
            let request = DeleteTaskRequest { name: name(&id), ..Default::default() };
            client.delete_task(request).await.expect("ended");
        }
    }
}

/// A whole listing, page by page, and its cursor; between pages everyone else has their turn.
async fn listing(client: &mut Client, page_size: i32) -> (Vec<Task>, String, usize) {
    let (mut tasks, mut cursors, mut pages) = (Vec::new(), Vec::new(), 0);
    let mut page_token = String::new();
    loop {
        let request = ListTasksRequest { page_size, page_token, ..Default::default() };
        let page = client.list_tasks(request).await.expect("in time").into_inner();
        assert!(page.tasks.len() <= usize::try_from(page_size).expect("positive"));
        tasks.extend(page.tasks.into_iter().map(|task| Task { live: None, ..task }));
        cursors.push(page.cursor);
        pages += 1;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    cursors.dedup();
    let [cursor] = <[String; 1]>::try_from(cursors).expect("one snapshot has one cursor");
    (tasks, cursor, pages)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_show_one_snapshot_while_clients_start_and_cancel() {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    for n in 0..100 {
        client.start_task(idle(&format!("fixed{n}"))).await.expect("started");
    }
    let stop = Arc::new(AtomicBool::new(false));
    let mut changing = Vec::new();
    for n in 0..CLIENTS {
        let (client, stop) = (server.client().await, Arc::clone(&stop));
        changing.push(tokio::spawn(churn(client, format!("c{n}-"), stop)));
    }
    let mut listings = Vec::new();
    for _ in 0..5 {
        listings.push(listing(&mut client, 7).await);
    }
    stop.store(true, Ordering::Relaxed);
    for client in changing {
        client.await.expect("no panic");
    }

    let (present, now, _) = listing(&mut client, 1_000).await;
    for (tasks, cursor, pages) in listings {
        assert!(pages > 10, "{pages}");
        assert!(tasks.is_sorted_by(|a, b| a.name < b.name), "a name came twice, or out of order");
        // Whatever was not in the snapshot comes behind its cursor, and nothing that was: so the two make up the present.
        let mut known: BTreeMap<_, _> = tasks.into_iter().map(|task| (task.name.clone(), task)).collect();
        let request = WatchTasksRequest {
            start: Some(Start::Cursor(cursor)),
            view: EventView::Full.into(),
            end_cursor: now.clone(),
            ..Default::default()
        };
        let mut frames = client.watch_tasks(request).await.expect("kept").into_inner();
        while let Some(frame) = frames.message().await.expect("no error") {
            for event in frame.events {
                let task = event.task.clone().expect("the full view");
                let before = known.remove(&task.name);
                assert_eq!(before.is_none(), event.r#type() == EventType::TaskCreated, "{event:?}");
                if event.r#type() != EventType::TaskDeleted {
                    known.insert(task.name.clone(), task);
                }
            }
        }
        assert!(known.into_values().eq(present.iter().cloned()), "snapshot and stream do not make up the present");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_token_is_good_for_its_own_listing_alone() {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    for id in ["a", "b", "c"] {
        client.start_task(idle(id)).await.expect("started");
    }
    let first = ListTasksRequest { page_size: 1, filter: "monitor = drill".to_owned(), ..Default::default() };
    let page_token = client.list_tasks(first.clone()).await.expect("lists").into_inner().next_page_token;

    // The page size may change (AIP-158), and the parent may be spelt out.
    let parent = "namespaces/default".to_owned();
    let next = ListTasksRequest { page_size: 10, page_token: page_token.clone(), parent, ..first.clone() };
    let rest = client.list_tasks(next.clone()).await.expect("lists").into_inner();
    assert_eq!(rest.tasks.iter().map(|task| &task.name).collect::<Vec<_>>(), [&name("b"), &name("c")]);
    assert!(rest.next_page_token.is_empty());

    let other_filter = ListTasksRequest { filter: String::new(), ..next.clone() };
    let other_parent = ListTasksRequest { parent: "namespaces/-".to_owned(), ..next.clone() };
    let altered = ListTasksRequest { page_token: page_token.replacen(".a.", ".b.", 1), ..next.clone() };
    assert_ne!(altered.page_token, page_token);
    for request in [other_filter, other_parent, altered] {
        let status = client.list_tasks(request).await.expect_err("not its listing");
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "PAGE_TOKEN_INVALID"));
    }

    // Sixteen listings are kept; the oldest has to make room for the seventeenth.
    for _ in 0..16 {
        client.list_tasks(first.clone()).await.expect("lists");
    }
    let status = client.list_tasks(next).await.expect_err("given up");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "PAGE_TOKEN_EXPIRED"));
}
