//! The HTTP side: `/metrics` for Prometheus, `/healthz` and `/readyz` for whoever runs the process.

mod serve;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::{Semaphore, watch};
use tokio::task;

use crate::model::Admission;
use crate::telemetry::Metrics;

pub use serve::{Limits, serve};

/// Scrapes that render at once. One that went away goes on rendering, so without a bound a client that keeps calling and
/// hanging up could fill the blocking pool; two, so that a person's look does not delay Prometheus.
const SCRAPES: usize = 2;

/// Whether new work is welcome; cheap to clone, all clones are one.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<watch::Sender<(Phase, Admission)>>);

/// Where the server is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not serving yet.
    Starting,
    /// Serving.
    Ready,
    /// Refusing new work, ending the rest.
    Draining,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        })
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new((Phase::Starting, Admission::Open))))
    }
}

impl Readiness {
    /// Moves on to `phase`.
    pub fn set(&self, phase: Phase) {
        self.0.send_modify(|now| now.0 = phase);
    }

    /// Says what the journal takes in.
    pub fn set_admission(&self, admission: Admission) {
        self.0.send_modify(|now| now.1 = admission);
    }

    /// Whether the server is ready; and if it is not, why.
    fn look(&self) -> (StatusCode, String) {
        match *self.0.borrow() {
            (Phase::Ready, Admission::Open) => (StatusCode::OK, format!("{}\n", Phase::Ready)),
            // It takes in nothing new; another server might.
            (Phase::Ready, Admission::Stalled) => unready("the journal is stalled"),
            (Phase::Ready, Admission::Full) => unready("the journal's store is full"),
            (phase, _) => unready(phase),
        }
    }
}

fn unready(why: impl fmt::Display) -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"))
}

/// Sets the gauges that are computed when scraped. Runs on the blocking pool.
pub type Refresh = Arc<dyn Fn() + Send + Sync>;

#[derive(Clone)]
struct Scrape {
    metrics: Metrics,
    refresh: Refresh,
    slots: Arc<Semaphore>,
}

/// The routes. `refresh` is called before each rendering of the metrics.
pub fn router(metrics: Metrics, readiness: Readiness, refresh: Refresh) -> Router {
    let scrape = Scrape { metrics, refresh, slots: Arc::new(Semaphore::new(SCRAPES)) };
    Router::new()
        .route("/metrics", get(exposition).with_state(scrape))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready).with_state(readiness))
}

async fn ready(State(readiness): State<Readiness>) -> (StatusCode, String) {
    readiness.look()
}

async fn exposition(State(Scrape { metrics, refresh, slots }): State<Scrape>) -> Response {
    let Ok(slot) = slots.acquire_owned().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let rendering = task::spawn_blocking(move || {
        let _held_until_rendered = slot;
        refresh();
        metrics.render()
    });
    match rendering.await {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Ok(Err(error)) => failed(&error),
        Err(panicked) => failed(&panicked),
    }
}

fn failed(error: &dyn fmt::Display) -> Response {
    tracing::error!(%error, "the metrics could not be rendered");
    (StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be rendered; the log says why\n").into_response()
}

#[cfg(test)]
mod tests;
