//! A mirror's guard as a tower layer, for clients of any protocol that answers once.

use std::future::Future;
use std::mem::replace;
use std::pin::Pin;
use std::task::{Context, Poll};

use tower::{Layer, Service};

use super::{CallError, Guard, Verdict};

/// What a call has come to.
pub trait Judge<T, E> {
    /// What its result says of the target.
    fn judge(&self, result: &Result<T, E>) -> Verdict;
}

impl<T, E, F: Fn(&Result<T, E>) -> Verdict> Judge<T, E> for F {
    fn judge(&self, result: &Result<T, E>) -> Verdict {
        self(result)
    }
}

/// Judges an HTTP call by what it is answered with: 5xx is a failure, and so is no answer; 4xx is the request's own fault and says
/// nothing of the target; all else is a success. What becomes of the body counts for nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct HttpStatus;

impl<B, E> Judge<http::Response<B>, E> for HttpStatus {
    fn judge(&self, result: &Result<http::Response<B>, E>) -> Verdict {
        match result.as_ref().map(http::Response::status) {
            Err(_) => Verdict::Failure,
            Ok(status) if status.is_server_error() => Verdict::Failure,
            Ok(status) if status.is_client_error() => Verdict::Ignored,
            Ok(_) => Verdict::Success,
        }
    }
}

/// Puts a guard before a service, such as one of hyper's clients. A call that it rejects fails with [`CallError::Rejected`]. As its
/// guard does, it keeps the mirror alive.
#[derive(Clone, Debug)]
pub struct CircuitLayer<J = HttpStatus> {
    guard: Guard,
    judge: J,
}

impl CircuitLayer {
    /// Guards an HTTP client.
    pub fn http(guard: Guard) -> Self {
        Self { guard, judge: HttpStatus }
    }
}

impl<J> CircuitLayer<J> {
    /// Guards a service whose results are judged otherwise.
    pub fn judged(guard: Guard, judge: J) -> Self {
        Self { guard, judge }
    }
}

impl<S, J: Clone> Layer<S> for CircuitLayer<J> {
    type Service = Guarded<S, J>;

    fn layer(&self, inner: S) -> Guarded<S, J> {
        Guarded { inner, guard: self.guard.clone(), judge: self.judge.clone() }
    }
}

/// A service behind a guard.
#[derive(Clone, Debug)]
pub struct Guarded<S, J> {
    inner: S,
    guard: Guard,
    judge: J,
}

impl<S, Q, J> Service<Q> for Guarded<S, J>
where
    S: Service<Q> + Clone + Send + 'static,
    S::Future: Send,
    Q: Send + 'static,
    J: Judge<S::Response, S::Error> + Clone + Send + 'static,
{
    type Response = S::Response;
    type Error = CallError<S::Error>;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context).map_err(CallError::Failed)
    }

    fn call(&mut self, request: Q) -> Self::Future {
        let (guard, judge) = (self.guard.clone(), self.judge.clone());
        let mut inner = take_ready(&mut self.inner);
        Box::pin(async move {
            let pass = guard.admit().await.map_err(CallError::Rejected)?;
            let result = inner.call(request).await;
            pass.finish(judge.judge(&result));
            result.map_err(CallError::Failed)
        })
    }
}

/// The service that was found ready; a clone, which need not be, stays in its place.
pub(super) fn take_ready<S: Clone>(inner: &mut S) -> S {
    let clone = inner.clone();
    replace(inner, clone)
}
