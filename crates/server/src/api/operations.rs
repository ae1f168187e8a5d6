//! For operators: `/healthz`, `/readyz`, `/metrics`. Open to all, as they say nothing of content.

use std::time::Duration;

use axum::{extract::State, response::IntoResponse};
use http::header;
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    SharedApp,
    extract::Json,
    metrics,
    problem::{Kind, Problem},
};

/// How long the store may take to answer before the node counts as not ready.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// When to ask again whether the node is ready.
const COME_BACK: Duration = Duration::from_secs(2);

/// The routes.
pub fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new()
        .routes(routes!(health))
        .routes(routes!(readiness))
        .routes(routes!(show_metrics))
}

/// A state in one word.
#[derive(Serialize, ToSchema)]
struct Status {
    /// `ok`.
    #[schema(value_type = String, example = "ok")]
    status: &'static str,
    /// The version of this program.
    #[schema(value_type = String, example = "0.1.0")]
    version: &'static str,
}

const OK: Status = Status {
    status: "ok",
    version: env!("CARGO_PKG_VERSION"),
};

/// Is the process alive?
#[utoipa::path(
    get, path = "/healthz", tag = "Operations", operation_id = "health",
    responses((status = 200, description = "It is", body = Status)),
    security(()),
)]
async fn health() -> Json<Status> {
    Json(OK)
}

/// Should requests be sent here?
///
/// Yes while the store answers, this node's lease runs, and the server is not going down.
#[utoipa::path(
    get, path = "/readyz", tag = "Operations", operation_id = "readiness",
    responses((status = 200, description = "Yes", body = Status)),
    security(()),
)]
async fn readiness(State(app): State<SharedApp>) -> Result<Json<Status>, Problem> {
    let no = |why: &'static str| Err(Problem::new(Kind::Overloaded, why).retry_after(COME_BACK));
    if app.is_draining() {
        return no("The server is going down.");
    }
    let store = app.store();
    if !store.holds(store.lease()) {
        return no("This node has lost its lease: it cannot reach the database in time.");
    }
    match timeout(ANSWER_MAX, store.user_count()).await {
        Ok(Ok(_)) => Ok(Json(OK)),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the store does not answer");
            no("The store does not answer.")
        }
        Err(_) => no("The store does not answer in time."),
    }
}

/// Metrics
///
/// Counters, gauges and histograms in the `OpenMetrics` text format, for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "Operations", operation_id = "metrics",
    responses((
        status = 200, description = "The metrics", body = String,
        content_type = "application/openmetrics-text",
    )),
    security(()),
)]
async fn show_metrics(State(app): State<SharedApp>) -> Result<impl IntoResponse, Problem> {
    let text = app.metrics.render(&app).await?;
    Ok(([(header::CONTENT_TYPE, metrics::MEDIA_TYPE)], text))
}
