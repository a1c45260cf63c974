//! Deleting, replaying, dry runs, etags, limits; and what every event says.

use super::*;

#[test]
fn an_ended_task_is_deleted_by_a_client_or_when_its_time_is_over() {
    let (mut bench, id) = Bench::ready(custom());
    assert_eq!(bench.delete(), Err(Refusal::TaskLive(name())));
    bench.end(id, RootEnd::Returned);
    assert!(matches!(bench.delete(), Ok(Reply::Deleted { .. })));
    assert_eq!(bench.delete(), Err(Refusal::TaskNotFound(name())));

    bench.start(custom()).expect("the name is free again");
    bench.end(bench.launched(), RootEnd::Returned);
    let end = bench.task().end.unwrap();
    assert_eq!(end.expire_time.since(end.time), 24 * 3600 * SECOND);
    bench.pass(24 * 3600 * SECOND);
    let event = bench.events.last().unwrap();
    assert_eq!((event.kind, &event.cause.actor), (EventType::TaskDeleted, &Actor::System("ttl".into())));
    assert_eq!(bench.machine.timers.len(), 0);
}

#[test]
fn a_replayed_request_is_answered_and_not_done_again() {
    let mut bench = Bench::new();
    let start = |body: &[u8]| Command::Start(Box::new(start(custom(), request(1, body))), target("a"));
    let first = bench.command(start(b"a")).unwrap();
    let Reply::Accepted { task, sequence } = first else { panic!("{first:?}") };
    bench.feed(Input::Ready(bench.launched()));
    let events = bench.events.len();
    let again = bench.command(start(b"a")).unwrap();
    let Reply::Accepted { task: now, sequence: same } = again else { panic!("{again:?}") };
    assert_eq!((now.uid, same, now.state), (task.uid, sequence, State::Running), "the present state, the first cursor");
    assert_eq!(bench.events.len(), events);
    assert_eq!(bench.command(start(b"b")), Err(Refusal::RequestIdReused));
    bench.pass(24 * 3600 * SECOND);
    assert_eq!(bench.command(start(b"b")), Err(Refusal::TaskExists(name())), "forgotten after a day");
}

#[test]
fn a_replayed_delete_is_answered_though_the_task_is_gone() {
    let (mut bench, id) = Bench::ready(custom());
    bench.end(id, RootEnd::Returned);
    let delete = DeleteTask { name: name(), etag: None, cause: cause(), idempotency: request(2, b"") };
    let first = bench.command(Command::Delete(delete.clone()));
    assert!(first.is_ok());
    assert_eq!(bench.command(Command::Delete(delete)), first);
}

#[test]
fn a_dry_run_checks_everything_and_changes_nothing() {
    let mut bench = Bench::new();
    let dry = |id| StartTask { validate_only: true, ..start(custom(), request(id, b"")) };
    assert!(matches!(bench.command(Command::Start(Box::new(dry(1)), target("a"))), Ok(Reply::Accepted { .. })));
    assert!(bench.events.is_empty());
    bench.start(custom()).expect("the name is still free");
    assert_eq!(bench.command(Command::Start(Box::new(dry(1)), target("a"))), Err(Refusal::TaskExists(name())));
}

#[test]
fn a_stale_etag_is_refused() {
    let (mut bench, _) = Bench::ready(custom());
    let (etag, stale) = (bench.task().etag(), Etag::given("x"));
    let cancel = |etag| {
        Command::Cancel(CancelTask { name: name(), force: false, etag: Some(etag), cause: cause(), idempotency: None })
    };
    assert!(matches!(bench.command(cancel(stale)), Err(Refusal::EtagMismatch { .. })));
    assert_eq!(bench.task().state, State::Running);
    assert!(bench.command(cancel(etag)).is_ok());
}

#[test]
fn the_server_holds_no_more_tasks_than_it_may() {
    let mut bench = Bench::new();
    bench.machine.limits.max_tasks = 1;
    bench.start(custom()).unwrap();
    let other = TaskName::parse("namespaces/default/tasks/other").unwrap();
    let refused =
        bench.command(Command::Start(Box::new(StartTask { name: other, ..start(custom(), None) }), target("a")));
    assert_eq!(refused, Err(Refusal::TaskLimit(1)));
}

#[test]
fn nothing_of_a_fenced_instance_changes_anything() {
    let (mut bench, id) = Bench::ready(custom());
    bench.end(id, RootEnd::Returned);
    let events = bench.events.len();
    for input in [
        Input::Ready(id),
        Input::CheckBegan(id, bench.now.mono),
        Input::CheckEnded(id, bench.now.mono, evidence()),
        Input::Committed(id),
        Input::RootEnded { instance: id, end: RootEnd::Returned, children: false },
        Input::ChildrenEnded { instance: id, aborted: true },
    ] {
        assert!(bench.feed(input).is_empty());
    }
    assert_eq!(bench.events.len(), events);
}

#[test]
fn every_event_carries_who_brought_it_about() {
    let (mut bench, _) = Bench::ready(custom());
    bench.cancel(false).unwrap();
    bench.pass(5 * SECOND);
    let actors: Vec<_> = bench.events.iter().map(|event| event.cause.actor.to_string()).collect();
    let client = "anonymous@127.0.0.1";
    let expected = [client, client, "system:monitor", client, "system:shutdown", "system:watchdog", "system:watchdog"];
    assert_eq!(actors, expected);
}
