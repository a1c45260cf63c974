//! `serve --tasks`: a server has its tasks be as files say, from its beginning and whenever it is told to read them again.

use std::fs;
use std::io::Read;
use std::path::Path;

use switchyard::config::Layer;
use switchyard::pb::v1::{EventType, State};
use switchyard::server::{self, Ended};

use crate::cli::process::Served;
use crate::harness::{Harness, builder, events_until, idle, name, reach};
use crate::scratch::Scratch;

fn layer(path: &Path) -> Layer {
    Layer { tasks: Some(path.to_owned()), ..Layer::default() }
}

fn write(directory: &Scratch, file: &str, text: &str) {
    // In one step: what is read meanwhile is the old file, or the new one.
    let unseen = directory.join(".unseen");
    fs::write(&unseen, text).expect("written");
    fs::rename(unseen, directory.join(file)).expect("moved");
}

fn drill(name: &str, lasts: &str) -> String {
    format!(
        "name: {name}\nspec: {{custom: {{kind: drill, config: {{behaviour: cooperative, duration: {lasts}}}}}}}\n---\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_begins_with_what_its_files_say_and_reads_them_again_when_it_is_told_to() {
    let directory = Scratch::new("task-files");
    write(&directory, "tasks.yaml", &(drill("a", "1h") + &drill("b", "1h")));
    let server = builder(layer(directory.path())).bind().await.expect("bound");
    let reload = server.reload().expect("it has files");
    let server = Harness::run(server);
    let mut client = server.client().await;
    let first = server.info().await.oldest_cursor;
    let created = events_until(&mut client, &first, EventType::TaskCreated).await;
    let cause = created.last().and_then(|event| event.cause.clone()).expect("given");
    assert_eq!(cause.actor, format!("file:{}", directory.path().display()));
    for id in ["a", "b"] {
        events_until_named(&mut client, &first, id, EventType::InstanceReady).await;
    }
    assert_eq!(reach(&mut client, "a", State::Running).await.labels["owner"], "files");
    client.start_task(idle("mine")).await.expect("started");

    let head = server.info().await.head_cursor;
    write(&directory, "tasks.yaml", "spec: {}\n");
    reload.again();
    write(&directory, "tasks.yaml", &drill("a", "2h"));
    // However often that is wanted, and whatever it met first.
    reload.again();
    events_until_named(&mut client, &head, "b", EventType::TaskEnded).await;
    events_until_named(&mut client, &head, "a", EventType::SwapCommitted).await;
    assert_eq!(reach(&mut client, "mine", State::Running).await.generation, 1, "it is in no file, and not theirs");
    server.shut_down();
    assert_eq!(server.ended().await, Ended::Clean);
}

/// Follows the events until one of the type is about the task.
async fn events_until_named(client: &mut crate::harness::Client, cursor: &str, id: &str, last: EventType) {
    let start = Some(switchyard::pb::v1::watch_tasks_request::Start::Cursor(cursor.to_owned()));
    let filter = format!("name = \"{}\"", name(id));
    let request = switchyard::pb::v1::WatchTasksRequest { start, filter, ..Default::default() };
    let mut frames = client.watch_tasks(request).await.expect("opened").into_inner();
    while let Some(frame) = frames.message().await.expect("no error") {
        if frame.events.iter().any(|event| event.r#type() == last) {
            return;
        }
    }
    panic!("{id} had no {last:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_files_that_are_wrong_does_not_begin_and_says_all_that_is() {
    let directory = Scratch::new("task-files");
    write(&directory, "a.yaml", "name: a\nspec: {tcp: {address: x}}\n---\nname: B\nspec: {http: {url: 'http://x/'}}\n");
    let problems = refused(&directory).await;
    let path = directory.join("a.yaml").display().to_string();
    let expected = [format!("{path}:1:1: spec.tcp.address: "), format!("{path}:4:1: name: ")];
    assert_eq!(problems.len(), 2, "{problems:?}");
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.starts_with(&expected), "{problem}");
    }
    write(&directory, "a.yaml", "name: a\nspecs: {}\n");
    write(&directory, "b.toml", "[[tasks]]\nname = 'b'\nspec = 1\n");
    assert_eq!(refused(&directory).await.len(), 2, "of two files");
    fs::remove_file(directory.join("b.toml")).expect("there");
    // What only the kind knows.
    write(&directory, "a.yaml", "# nothing\n");
    assert!(refused(&directory).await[0].contains("there is no task in it"), "or it would cancel all there are");
    write(&directory, "a.yaml", &drill("a", "soon"));
    let problems = refused(&directory).await;
    assert!(problems[0].starts_with(&format!("{path}:1:1: spec.custom.config.duration: ")), "{problems:?}");
    write(&directory, "a.yaml", "name: a\nspec: {custom: {kind: unheard-of}}\n");
    assert!(refused(&directory).await[0].starts_with(&format!("{path}:1:1: spec.custom.kind: ")));
}

async fn refused(directory: &Scratch) -> Vec<String> {
    match builder(layer(directory.path())).bind().await.err() {
        Some(server::Error::TaskFiles(problems)) => problems,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_apply_that_a_drain_cuts_says_in_the_log_what_was_done_by_then() {
    // One more than are swapped at once, so that the last one is begun once the first one is done. The others are never done.
    let set = |lasts: &str, healthy: &str| {
        let waits = drill("t", lasts).replace("spec: {", &format!("spec: {{swap: {{minHealthyTime: {healthy}}}, "));
        let others = (1..65).map(|n| waits.replace("name: t", &format!("name: t{n}")));
        others.fold(drill("t0", lasts), |set, task| set + &task)
    };
    let directory = Scratch::new("task-files");
    write(&directory, "tasks.yaml", &set("1h", "0s"));
    let path = directory.path().to_str().expect("UTF-8");
    // Nobody reads the log meanwhile, so it has to be short.
    let flags = ["--enable-drills", "--tasks", path, "--log", "warn", "--log-format", "json"];
    let (served, mut log) = Served::begin_with_log(&flags);
    for n in 0..65 {
        let said = served.run(&["wait", &format!("t{n}"), "--for", "running"]);
        assert_eq!(said.code, 0, "{said:?}");
    }
    let mut watch = served.follow(&["watch", "t64", "--since", "1h", "-o", "json"]);
    write(&directory, "tasks.yaml", &set("2h", "600s"));
    served.hang_up();
    watch.until(|line| line["event"]["type"] == "EVENT_TYPE_SWAP_STARTED");
    assert_eq!(served.terminate(), Some(0));
    let mut text = String::new();
    log.read_to_string(&mut text).expect("reads");
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let told: Vec<_> = lines.map(|line| line["fields"].clone()).collect();
    let cut: Vec<_> = told.iter().filter(|fields| fields["message"] == "the apply of the task files was cut").collect();
    let [cut] = cut.as_slice() else { panic!("{text}") };
    assert_eq!((&cut["refusal"], &cut["path"]), (&"the server is draining".into(), &path.into()));
    let counts = ["created", "swapped", "under_way", "not_begun", "failed"].map(|count| cut[count].as_u64());
    assert_eq!(counts, [0, 1, 64, 0, 0].map(Some), "{cut}");
}
