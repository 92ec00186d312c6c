//! What operators ask, on an address of their own: `/metrics` for Prometheus, `/healthz` for whoever sends visitors here.

use std::time::Duration;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use dewar::SessionManager;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// The upper bounds of the buckets, in seconds: from a store in memory to one that hangs.
const SECONDS: &[f64] =
    &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// In bytes: from an id on a store to the 4096 that browsers keep. 3584 is where the alert begins.
const BYTES: &[f64] = &[64.0, 128.0, 256.0, 512.0, 1024.0, 1536.0, 2048.0, 2560.0, 3072.0, 3584.0, 4096.0];

/// A commit needs one or two. More are requests that write the same session at once, or a store that lost an answer.
const ROUND_TRIPS: &[f64] = &[0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0];

/// Begins to count, for the whole process.
///
/// Without buckets the exporter would make summaries, and those of several instances cannot be added up.
pub(crate) fn count() -> Result<PrometheusHandle, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)?
        .set_buckets_for_metric(Matcher::Full("dewar_cookie_bytes".into()), BYTES)?
        .set_buckets_for_metric(Matcher::Full("dewar_commit_round_trips".into()), ROUND_TRIPS)?
        .install_recorder()
}

/// Puts what was measured into its buckets, as long as the process runs, where nobody asks for it.
pub(crate) async fn upkeep(metrics: PrometheusHandle) {
    let mut often = tokio::time::interval(Duration::from_secs(5));
    loop {
        often.tick().await;
        metrics.run_upkeep();
    }
}

/// Counts the sessions of the store, as long as the process runs. Redis looks at each for it: not with every question of Prometheus.
pub(crate) async fn count_sessions(manager: SessionManager, every: Duration) {
    let mut now_and_then = tokio::time::interval(every);
    loop {
        now_and_then.tick().await;
        if let Err(error) = manager.count().await {
            tracing::warn!(%error, "the sessions could not be counted");
        }
    }
}

pub(crate) fn app(metrics: PrometheusHandle, manager: SessionManager) -> Router {
    Router::new().route("/metrics", get(page).with_state(metrics)).route("/healthz", get(healthz).with_state(manager))
}

async fn page(State(metrics): State<PrometheusHandle>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render())
}

/// 503 while the store does not answer. Let it decide where visitors are sent, and not whether the process is started anew: that would not help.
async fn healthz(State(manager): State<SessionManager>) -> (StatusCode, String) {
    match manager.ping().await {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}
