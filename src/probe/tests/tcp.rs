use super::*;
use crate::model::{TcpDraft, TcpStep};

pub(super) fn connect_only(address: &str) -> MonitorDraft {
    MonitorDraft::Tcp(TcpDraft { address: address.to_owned(), steps: vec![] })
}

fn steps(address: SocketAddr, steps: &[(&str, &str)]) -> MonitorDraft {
    let step = |(send, expect): &(&str, &str)| TcpStep { send: (*send).into(), expect: (*expect).into() };
    MonitorDraft::Tcp(TcpDraft { address: address.to_string(), steps: steps.iter().map(step).collect() })
}

/// Says these pieces, each after a read of at least one byte.
async fn conversation(pieces: &'static [&'static str]) -> Target {
    Target::serve(move |mut stream| async move {
        for piece in pieces {
            let mut input = [0; 64];
            if stream.read(&mut input).await.is_ok_and(|read| read > 0) {
                stream.write_all(piece.as_bytes()).await.expect("a reader");
            }
        }
        drop(stream.read_to_end(&mut Vec::new()).await);
    })
    .await
}

#[tokio::test]
async fn connecting_is_enough_where_nothing_more_is_asked() {
    let target = Target::silent().await;
    let finding = check(connect_only(&target.address.to_string()), AMPLE).await;
    assert_finding(&finding, Verdict::Pass, "");
    let phases = finding.phases.expect("told");
    assert!(phases.connect.is_some() && phases.resolve.is_none() && phases.first_byte.is_none());
}

#[tokio::test]
async fn the_first_check_makes_it_ready_whatever_its_verdict() {
    let (facts, live) = run(connect_only(&nobody().await.to_string())).await;
    assert!(matches!(facts[..], [Fact::CheckBegan, Fact::Ready, Fact::CheckEnded(_)]), "{facts:?}");
    assert_eq!(live.last_check.expect("one").reason, "CONNECTION_REFUSED");
}

#[tokio::test]
async fn nobody_listens() {
    let finding = check(connect_only(&nobody().await.to_string()), AMPLE).await;
    assert_finding(&finding, Verdict::Fail, "CONNECTION_REFUSED");
}

#[tokio::test]
async fn steps_are_taken_in_order_and_leave_the_rest_of_the_input_to_the_next() {
    let target = conversation(&["220 ready\r\n250 early\r\n", "221 bye\r\n"]).await;
    let monitor = steps(target.address, &[("EHLO\r\n", "220 "), ("", "250 early"), ("QUIT\r\n", "221 ")]);
    let finding = check(monitor, AMPLE).await;
    assert_finding(&finding, Verdict::Pass, "");
    assert!(finding.phases.expect("told").first_byte.is_some());
}

#[tokio::test]
async fn expected_bytes_are_found_across_segments() {
    let target = Target::serve(|mut stream| async move {
        stream.set_nodelay(true).expect("set");
        for byte in "POPOPONG".bytes() {
            stream.write_all(&[byte]).await.expect("a reader");
            tokio::task::yield_now().await;
        }
        drop(stream.read_to_end(&mut Vec::new()).await);
    })
    .await;
    assert_finding(&check(steps(target.address, &[("", "PONG")]), AMPLE).await, Verdict::Pass, "");
}

#[tokio::test]
async fn input_without_the_expected_bytes_is_read_up_to_a_bound() {
    let target =
        Target::serve(|mut stream| async move { while stream.write_all(&[b'x'; 4_096]).await.is_ok() {} }).await;
    let finding = check(steps(target.address, &[("", "PONG")]), AMPLE).await;
    assert_finding(&finding, Verdict::Fail, "EXPECT_MISMATCH");
    assert_eq!(finding.message, "steps[0]: 65536 bytes came without the expected ones");
}

#[tokio::test]
async fn a_connection_that_closes_too_early_is_told_from_a_wrong_answer() {
    let target = Target::serve(|stream| async move { drop(stream) }).await;
    let finding = check(steps(target.address, &[("", "PONG")]), AMPLE).await;
    assert_finding(&finding, Verdict::Fail, "CONNECTION_CLOSED");

    let target = Target::serve(|mut stream| async move { stream.write_all(b"-ERR").await.expect("a reader") }).await;
    let finding = check(steps(target.address, &[("", "+PONG")]), AMPLE).await;
    assert_finding(&finding, Verdict::Fail, "EXPECT_MISMATCH");
}

#[tokio::test]
async fn one_that_never_answers_runs_out_of_time() {
    let target = Target::silent().await;
    let finding = check(steps(target.address, &[("PING", "PONG")]), SHORT).await;
    assert_finding(&finding, Verdict::Fail, "TIMEOUT");
}

#[tokio::test]
async fn a_cancel_during_a_check_closes_its_connection() {
    let (closed, mut seen) = mpsc::channel(1);
    let target = Target::serve(move |mut stream| {
        let closed = closed.clone();
        async move {
            stream.read_u8().await.expect("the step");
            closed.send("open").await.expect("a listener");
            assert!(stream.read_u8().await.is_err(), "no more is said");
            closed.send("closed").await.expect("a listener");
        }
    })
    .await;
    let spec = spec(steps(target.address, &[("x", "never")]), AMPLE);
    let (reports, _inbox) = mpsc::channel(16);
    let assignment = assignment("tcp", ScheduleDraft::default(), reports).expect("valid");
    let (live, token) = (Arc::clone(&assignment.live), CancellationToken::new());
    let context = Context::new(assignment, token.clone(), Children::new());
    let running = tokio::spawn(BuiltIns::new().build(&spec).expect("built in").run(context));
    assert_eq!(seen.recv().await, Some("open"));
    token.cancel();
    running.await.expect("no panic").expect("a clean exit");
    assert_eq!(seen.recv().await, Some("closed"));
    assert_eq!(live.snapshot().last_check.expect("recorded").reason, "CANCELLED");
}
