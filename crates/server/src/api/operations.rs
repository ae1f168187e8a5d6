//! For operators: `/healthz`, `/readyz`, `/metrics`. Open to all, as they say nothing of content.

use axum::{extract::State, response::IntoResponse};
use http::header;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    SharedApp,
    extract::Json,
    metrics,
    problem::{Kind, Problem},
};

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
/// Yes while the store answers and the server is not going down.
#[utoipa::path(
    get, path = "/readyz", tag = "Operations", operation_id = "readiness",
    responses((status = 200, description = "Yes", body = Status)),
    security(()),
)]
async fn readiness(State(app): State<SharedApp>) -> Result<Json<Status>, Problem> {
    if app.is_draining() {
        return Err(Problem::new(Kind::Overloaded, "The server is going down."));
    }
    if let Err(error) = app.store().user_count().await {
        tracing::warn!(%error, "the store does not answer");
        return Err(Problem::new(Kind::Overloaded, "The store does not answer."));
    }
    Ok(Json(OK))
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
