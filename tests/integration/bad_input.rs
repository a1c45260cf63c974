//! Bad input: whatever a client sends, it is told what was wrong, by code, reason and field; the server lives on, and nothing
//! was half done.

mod mutation;
mod raw;
mod read;
mod spec;
mod start;

use futures_util::future::BoxFuture;
use switchyard::config::Layer;
use switchyard::pb::v1;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::harness::{Client, Harness, all_tasks, cancel, idle, reach, reason, with_spec};

/// A task that runs, one that has ended, and the `request_id` that started the first.
const RUNNING: &str = "running";
const ENDED: &str = "ended";
const USED_ID: &str = "8f14e45f-ceea-467f-a9c3-4b2f5d1e7c90";

/// A bad request, and what it is to be answered.
struct Case {
    what: String,
    call: Call,
    code: Code,
    reason: &'static str,
    /// The one field that is to blame; empty where none is.
    field: &'static str,
}

type Call = Box<dyn FnOnce(Channel) -> BoxFuture<'static, Result<(), Status>>>;

impl Case {
    fn new(what: impl Into<String>, call: Call, code: Code, reason: &'static str, field: &'static str) -> Self {
        Self { what: what.into(), call, code, reason, field }
    }

    /// The commonest kind.
    fn invalid(what: impl Into<String>, field: &'static str, call: Call) -> Self {
        Self::new(what, call, Code::InvalidArgument, "INVALID_FIELD", field)
    }
}

/// A call of one method; for a stream, opening it.
macro_rules! call {
    ($method:ident, $request:expr) => {{
        let request = $request;
        let send = async move |mut client: $crate::harness::Client| client.$method(request).await.map(drop);
        Box::new(move |channel| futures_util::FutureExt::boxed(send($crate::harness::Client::new(channel))))
            as $crate::bad_input::Call
    }};
}
use call;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_input_is_told_what_is_wrong_and_leaves_no_trace() {
    let server = Harness::start(Layer::default()).await;
    let channel = server.connect().await;
    let mut client = Client::new(channel.clone());
    // That it has run for long is no alert: it would look like a trace.
    let quiet = with_spec(idle(RUNNING), |spec| {
        let long_running_after = Some(prost_types::Duration { seconds: 3_600, nanos: 0 });
        spec.watchdog = Some(v1::WatchdogPolicy { long_running_after, ..Default::default() });
    });
    let request = v1::StartTaskRequest { request_id: USED_ID.to_owned(), ..quiet };
    client.start_task(request).await.expect("valid");
    client.start_task(idle(ENDED)).await.expect("valid");
    reach(&mut client, RUNNING, v1::State::Running).await;
    client.cancel_task(cancel(ENDED)).await.expect("running");
    let before = (server.info().await.head_cursor, tasks(&mut client).await);

    let cases: Vec<_> = [start::cases(), spec::cases(), mutation::cases(), read::cases(&before.0), raw::cases()]
        .into_iter()
        .flatten()
        .collect();
    assert!(cases.len() >= 60, "only {} cases", cases.len());
    for Case { what, call, code, reason: expected, field } in cases {
        let status = call(channel.clone()).await.expect_err(&what);
        let details = status.get_error_details();
        let fields = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
        let fields: Vec<_> = fields.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!((status.code(), reason(&status).as_str()), (code, expected), "{what}: {status:?}");
        assert_eq!(fields, Vec::from_iter((!field.is_empty()).then_some(field)), "{what}: {status:?}");
        let after = (server.info().await.head_cursor, tasks(&mut client).await);
        assert_eq!(after, before, "{what} left a trace");
    }
}

/// What there is, but for what is sampled.
async fn tasks(client: &mut Client) -> Vec<v1::Task> {
    let tasks = all_tasks(client).await.into_iter();
    tasks.map(|task| v1::Task { live: None, ..task }).collect()
}
