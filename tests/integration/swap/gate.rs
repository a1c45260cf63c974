//! How long a candidate has to stay ready before it takes over.

use super::*;

fn healthy_for(request: StartTaskRequest, healthy: Duration) -> StartTaskRequest {
    with_spec(request, |spec| {
        let min_healthy_time = Some(healthy.try_into().expect("small"));
        spec.swap = Some(SwapPolicy { min_healthy_time, ..Default::default() });
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_takes_over_once_it_has_been_ready_for_long_enough() {
    let (server, mut client, _) = running().await;
    let head = server.info().await.head_cursor;
    let healthy = Duration::from_millis(300);
    let (task, _) = swap(&mut client, to(healthy_for(lasting("2h"), healthy))).await.expect("accepted");
    assert_eq!((newest(&task).phase(), task.generation), (SwapPhase::Done, 2));
    let events = events_until(&mut client, &head, EventType::SwapCommitted).await;
    let time_of = |event: &Event| std::time::SystemTime::try_from(event.time.expect("has one")).expect("after 1970");
    let [.., ready, committed] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(ready.r#type(), EventType::InstanceReady);
    let took = time_of(committed).duration_since(time_of(ready)).expect("later");
    assert!(took >= healthy, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_that_panics_in_that_time_is_rolled_back_and_the_reason_is_clear() {
    let (_server, mut client, before) = running().await;
    let panics = healthy_for(drill("task", "panic", "100ms"), Duration::from_secs(600));
    let (task, _) = swap(&mut client, to(panics)).await.expect("no error of the call");
    assert_eq!(newest(&task).phase(), SwapPhase::RolledBack);
    let error = &newest(&task).error;
    let clear = error.starts_with("the candidate panicked: ") && error.ends_with("; it had to stay ready for 10m");
    assert!(clear, "{error}");
    assert_eq!((task.state(), run_of(&task), task.etag), (State::Running, run_of(&before), before.etag));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_is_ready_nothing_waits() {
    let (_server, mut client, _) = running().await;
    client.pause_task(PauseTaskRequest { name: name("task"), ..Default::default() }).await.expect("paused");
    reach(&mut client, "task", State::Paused).await;
    let request = to(healthy_for(lasting("2h"), Duration::from_secs(600)));
    let (task, _) = swap(&mut client, request).await.expect("accepted");
    assert_eq!((newest(&task).phase(), task.generation, task.state()), (SwapPhase::Done, 2, State::Paused));
}
