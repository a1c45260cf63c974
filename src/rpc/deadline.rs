//! A caller's deadline ends its waiting, never the operation: the answer is DEADLINE_EXCEEDED, and what was asked for goes on.

use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use http::HeaderMap;
use tonic::Status;

const HEADER: &str = "grpc-timeout";

/// Bounds the wait for an answer's head: all of it for unary calls. Streams end by other rules.
pub(super) async fn keep<F>(request: Request, next: impl FnOnce(Request) -> F) -> Response
where
    F: Future<Output = Response>,
{
    match timeout(request.headers()) {
        Ok(None) => next(request).await,
        Ok(Some(within)) => match tokio::time::timeout(within, next(request)).await {
            Ok(response) => response,
            Err(_) => {
                Status::deadline_exceeded("the call's deadline has passed; what it asked for goes on").into_http()
            }
        },
        Err(Malformed) => {
            Status::internal("malformed grpc-timeout: must be 1 to 8 digits and one of H, M, S, m, u, n").into_http()
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Malformed;

/// How long the caller waits; the form is gRPC's, "PROTOCOL-HTTP2".
fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Malformed> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    let (unit, digits) = value.as_bytes().split_last().ok_or(Malformed)?;
    if digits.is_empty() || digits.len() > 8 {
        return Err(Malformed);
    }
    let digit = |number: u64, digit: &u8| match digit {
        b'0'..=b'9' => Ok(number * 10 + u64::from(digit - b'0')),
        _ => Err(Malformed),
    };
    let number = digits.iter().try_fold(0, digit)?;
    match unit {
        b'H' => Ok(Duration::from_secs(number * 3_600)),
        b'M' => Ok(Duration::from_secs(number * 60)),
        b'S' => Ok(Duration::from_secs(number)),
        b'm' => Ok(Duration::from_millis(number)),
        b'u' => Ok(Duration::from_micros(number)),
        b'n' => Ok(Duration::from_nanos(number)),
        _ => Err(Malformed),
    }
    .map(Some)
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::{Next, from_fn};
    use axum::routing::any;
    use tokio::time::{Instant, sleep};
    use tonic::Code;
    use tower::ServiceExt;

    use super::*;

    /// What a call with this timeout is answered, by a handler that takes a minute.
    async fn code(timeout: &str) -> Option<Code> {
        let handler = async || sleep(Duration::from_secs(60)).await;
        let router = Router::new()
            .fallback(any(handler))
            .layer(from_fn(|request, next: Next| keep(request, |request| next.run(request))));
        let request = http::Request::builder().header(HEADER, timeout).body(Body::empty()).expect("valid");
        let answer = router.oneshot(request).await.expect("infallible");
        answer.headers().get(Status::GRPC_STATUS).map(|code| Code::from_bytes(code.as_bytes()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_answered_when_its_deadline_has_passed() {
        let began = Instant::now();
        assert_eq!(code("5S").await, Some(Code::DeadlineExceeded));
        assert_eq!(began.elapsed(), Duration::from_secs(5));
        assert_eq!(code("2M").await, None, "the handler's own answer");
        assert_eq!(code("soon").await, Some(Code::Internal));
    }

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        let cases = [
            ("1H", Ok(Some(Duration::from_secs(3_600)))),
            ("2M", Ok(Some(Duration::from_secs(120)))),
            ("00000003S", Ok(Some(Duration::from_secs(3)))),
            ("99999999m", Ok(Some(Duration::from_millis(99_999_999)))),
            ("5u", Ok(Some(Duration::from_micros(5)))),
            ("0n", Ok(Some(Duration::ZERO))),
            ("", Err(Malformed)),
            ("S", Err(Malformed)),
            ("123456789S", Err(Malformed)),
            ("-1S", Err(Malformed)),
            ("1s", Err(Malformed)),
            ("1 S", Err(Malformed)),
        ];
        for (text, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, text.parse().expect("a header"));
            assert_eq!(timeout(&headers), expected, "{text:?}");
        }
        assert_eq!(timeout(&HeaderMap::new()), Ok(None));
    }
}
