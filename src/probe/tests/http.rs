use super::*;
use crate::model::{BodyMatchDraft, HttpDraft};

pub(super) fn get(url: String) -> HttpDraft {
    HttpDraft { url, ..HttpDraft::default() }
}

async fn find(draft: HttpDraft) -> Finding {
    check(MonitorDraft::Http(draft), AMPLE).await
}

pub(super) const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

#[tokio::test]
async fn an_expected_status_passes_and_the_phases_are_told() {
    let target = Target::answer(&[OK]).await;
    let finding = find(get(target.url("/health"))).await;
    assert_finding(&finding, Verdict::Pass, "");
    let phases = finding.phases.expect("told");
    assert!(phases.resolve.is_none(), "an address needs no look-up");
    assert!(phases.connect.is_some() && phases.first_byte.is_some() && phases.transfer.is_some());
}

#[tokio::test]
async fn a_whole_instance_passes_and_is_ready() {
    let target = Target::answer(&[OK]).await;
    let (facts, live) = run(MonitorDraft::Http(get(target.url("/")))).await;
    assert!(matches!(facts[..], [Fact::CheckBegan, Fact::Ready, Fact::CheckEnded(_)]), "{facts:?}");
    assert_eq!(live.last_check.expect("one").verdict, Verdict::Pass);
}

/// The request that a spec makes, as a server sees it.
async fn request_of(draft: impl FnOnce(String) -> HttpDraft) -> String {
    let (requests, mut seen) = mpsc::channel(1);
    let target = Target::serve(move |mut stream| {
        let requests = requests.clone();
        async move {
            let mut request = read_head(&mut stream).await;
            if let Some((_, length)) = request.split_once("content-length: ") {
                let length = length.lines().next().and_then(|length| length.parse().ok()).expect("a length");
                let mut body = vec![0; length];
                stream.read_exact(&mut body).await.expect("the body");
                request.push_str(&String::from_utf8(body).expect("text"));
            }
            stream.write_all(OK).await.expect("a reader");
            requests.send(request).await.expect("a listener");
        }
    })
    .await;
    let url = target.url("");
    assert_finding(&find(draft(url.clone())).await, Verdict::Pass, "");
    seen.recv().await.expect("a request").replace(url.trim_start_matches("http://"), "HOST")
}

#[tokio::test]
async fn the_request_names_us_and_closes() {
    let request = request_of(|url| get(format!("{url}/a%20b?c=d#fragment"))).await;
    let agent = concat!("user-agent: switchyard/", env!("CARGO_PKG_VERSION"));
    let lines: Vec<_> = request.lines().collect();
    assert_eq!(lines, ["GET /a%20b?c=d HTTP/1.1", "host: HOST", agent, "accept: */*", "connection: close", ""]);
}

#[tokio::test]
async fn own_headers_replace_ours_and_a_body_is_sent() {
    let own = [("HOST", "example.com"), ("user-agent", "probe"), ("X-A", "1"), ("X-A", "2")];
    let request = request_of(|url| HttpDraft {
        method: "POST".to_owned(),
        headers: own.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        body: b"ping".to_vec(),
        ..get(format!("{url}/"))
    })
    .await;
    for line in [
        "POST / HTTP/1.1\r\n",
        "host: example.com\r\n",
        "user-agent: probe\r\n",
        "x-a: 1\r\nx-a: 2\r\n",
        "\r\n\r\nping",
    ] {
        assert!(request.contains(line), "{line:?} in {request}");
    }
    assert_eq!(request.matches("host:").count(), 1);
}

#[tokio::test]
async fn any_other_status_fails() {
    let target = Target::answer(&[b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"]).await;
    let finding = find(get(target.url("/"))).await;
    assert_finding(&finding, Verdict::Fail, "STATUS");
    assert_eq!(finding.message, "the status is 503, expected is 200-399");
    let expected_status = vec!["204".to_owned(), "500-599".to_owned()];
    assert_finding(&find(HttpDraft { expected_status, ..get(target.url("/")) }).await, Verdict::Pass, "");
}

async fn matched(target: &Target, contains: &str, regex: &str) -> Finding {
    let body_match = BodyMatchDraft { contains: contains.to_owned(), regex: regex.to_owned() };
    find(HttpDraft { body_match, ..get(target.url("/")) }).await
}

#[tokio::test]
async fn bodies_are_matched_as_raw_bytes_across_chunks() {
    let target = Target::answer(&[CHUNKED, b"5\r\n\xff{sta\r\n", b"4\r\ntus=\r\n3\r\nup!\r\n", b"0\r\n\r\n"]).await;
    assert_finding(&matched(&target, "status=up", "").await, Verdict::Pass, "");
    assert_finding(&matched(&target, "", "sta[a-z]+=(up|ok)").await, Verdict::Pass, "");
    assert_finding(&matched(&target, "status=up", "down").await, Verdict::Fail, "BODY_MISMATCH");
    assert_finding(&matched(&target, "status=down", "").await, Verdict::Fail, "BODY_MISMATCH");
}

/// A server with an endless body, in which the word `needle` stands after so many bytes.
async fn endless(needle_after: usize) -> Target {
    Target::serve(move |mut stream| async move {
        read_head(&mut stream).await;
        let mut body = text(|text| write!(text, "HTTP/1.1 200 OK\r\n\r\n"));
        body.resize(body.len() + needle_after, b'x');
        body.extend_from_slice(b"needle");
        let written = stream.write_all(&body).await;
        while written.is_ok() && stream.write_all(&[b'x'; 4_096]).await.is_ok() {}
    })
    .await
}

#[tokio::test]
async fn a_mebibyte_of_a_body_is_looked_at_and_no_more() {
    const MEBIBYTE: usize = 1024 * 1024;
    let inside = endless(MEBIBYTE - 6).await;
    assert_finding(&matched(&inside, "needle", "need[l]e").await, Verdict::Pass, "");
    let outside = endless(MEBIBYTE - 5).await;
    assert_finding(&matched(&outside, "needle", "").await, Verdict::Fail, "BODY_MISMATCH");
    assert_finding(&find(get(outside.url("/"))).await, Verdict::Pass, "");
}

#[tokio::test]
async fn what_is_not_http_is_a_protocol_error() {
    let target = Target::answer(&[b"SSH-2.0-OpenSSH_9.6\r\n\r\n"]).await;
    assert_finding(&find(get(target.url("/"))).await, Verdict::Fail, "PROTOCOL_ERROR");
    let target = Target::answer(&[b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"]).await;
    assert_finding(&find(get(target.url("/"))).await, Verdict::Fail, "PROTOCOL_ERROR");
    let target = Target::answer(&[CHUNKED, b"5\r\nhel\r\n", b"lo\r\n0\r\n\r\n"]).await;
    assert_finding(&find(get(target.url("/"))).await, Verdict::Fail, "PROTOCOL_ERROR");
}

#[tokio::test]
async fn an_endless_head_is_a_protocol_error() {
    let target = Target::serve(|mut stream| async move {
        read_head(&mut stream).await;
        let line = text(|text| write!(text, "X-Filler: {}\r\n", "x".repeat(4_000)));
        let started = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while started.is_ok() && stream.write_all(&line).await.is_ok() {}
    })
    .await;
    assert_finding(&find(get(target.url("/"))).await, Verdict::Fail, "PROTOCOL_ERROR");
}

#[tokio::test]
async fn a_connection_that_closes_too_early_fails() {
    let target = Target::answer(&[]).await;
    assert_finding(&find(get(target.url("/"))).await, Verdict::Fail, "CONNECTION_CLOSED");
    let target = Target::answer(&[b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello"]).await;
    assert_finding(&find(get(target.url("/"))).await, Verdict::Fail, "CONNECTION_CLOSED");
    let target = Target::answer(&[b"HTTP/1.1 200 OK\r\n\r\nhello"]).await;
    assert_finding(&matched(&target, "hello", "").await, Verdict::Pass, "");
}

#[tokio::test]
async fn nobody_listens() {
    let finding = find(get(format!("http://{}/", nobody().await))).await;
    assert_finding(&finding, Verdict::Fail, "CONNECTION_REFUSED");
}

#[tokio::test]
async fn one_that_never_answers_runs_out_of_time() {
    let target = Target::silent().await;
    let finding = check(MonitorDraft::Http(get(target.url("/"))), SHORT).await;
    assert_finding(&finding, Verdict::Fail, "TIMEOUT");
    assert!(finding.phases.expect("told").transfer.is_none());

    let target = Target::serve(|mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello").await.expect("a reader");
        drop(stream.read_to_end(&mut Vec::new()).await);
    })
    .await;
    let finding = check(MonitorDraft::Http(get(target.url("/"))), 10 * SHORT).await;
    assert_finding(&finding, Verdict::Fail, "TIMEOUT");
}

#[tokio::test]
async fn informational_responses_without_end_do_not_occupy_the_thread() {
    let target = Target::serve(|mut stream| async move {
        read_head(&mut stream).await;
        let interim = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(1_000);
        while stream.write_all(&interim).await.is_ok() {}
    })
    .await;
    let finding = find(get(target.url("/"))).await;
    assert_finding(&finding, Verdict::Fail, "PROTOCOL_ERROR");
    assert!(finding.message.contains("response's head"), "{}", finding.message);
}
