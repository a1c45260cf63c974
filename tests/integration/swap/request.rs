//! What a request says, and what it is answered.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_again_changes_nothing_and_other_annotations_change_nothing_else() {
    let (server, mut client, before) = running().await;
    let head = server.info().await.head_cursor;
    let (same, cursor) = swap(&mut client, to(lasting("1h"))).await.expect("accepted");
    assert_eq!((same.swap.is_none(), &same.etag, &cursor), (true, &before.etag, &head));

    let mut annotated = to(lasting("1h"));
    annotated.task.as_mut().expect("set").annotations = [("note".to_owned(), "new".to_owned())].into();
    let (task, cursor) = swap(&mut client, annotated.clone()).await.expect("accepted");
    assert_eq!((task.generation, run_of(&task)), (1, run_of(&before)));
    assert_eq!(task.annotations["note"], "new");
    assert_ne!(task.etag, before.etag);
    let events = events_until(&mut client, &head, EventType::SwapCommitted).await;
    assert_eq!(events.len(), 1);
    assert_eq!(server.info().await.head_cursor, cursor);
    swap(&mut client, annotated).await.expect("accepted");
    assert_eq!(server.info().await.head_cursor, cursor);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validation_shows_what_would_be_and_does_nothing() {
    let (server, mut client, before) = running().await;
    let head = server.info().await.head_cursor;
    let request = SwapTaskRequest { validate_only: true, ..to(lasting("2h")) };
    let (preview, cursor) = swap(&mut client, request).await.expect("valid");
    assert_eq!((preview.generation, &cursor), (2, &head));
    assert_ne!(preview.spec, before.spec);
    assert_eq!(server.info().await.head_cursor, head);
    assert!(!wait_for_swap(&mut client, None).await.reached, "there never was one to wait for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etag_is_good_for_one_swap() {
    let (_server, mut client, before) = running().await;
    let with_etag = |other| SwapTaskRequest { etag: before.etag.clone(), ..to(other) };
    swap(&mut client, with_etag(lasting("2h"))).await.expect("accepted");
    let status = swap(&mut client, with_etag(lasting("3h"))).await.expect_err("stale");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Aborted, "ETAG_MISMATCH"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_id_swaps_once() {
    let (server, mut client, _) = running().await;
    let request = SwapTaskRequest { request_id: ID.to_owned(), ..to(lasting("2h")) };
    let (first, cursor) = swap(&mut client, request.clone()).await.expect("accepted");
    let head = server.info().await.head_cursor;
    let (again, replayed) = swap(&mut client, request.clone()).await.expect("replayed");
    assert_eq!((newest(&again), &replayed), (newest(&first), &cursor));
    assert_eq!(server.info().await.head_cursor, head);
    let status = swap(&mut client, SwapTaskRequest { task: lasting("3h").task, ..request }).await.expect_err("reused");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "REQUEST_ID_REUSED"));
}
