//! `GET /api/v1/webhooks/{id}/stats`: counts of a webhook, and what its lane does now.

use std::time::Duration;

use axum::extract::State;
use domain::{Timestamp, WebhookId, access::Scope, schedule::parse_duration};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::find;
use crate::{
    SharedApp,
    auth::Access,
    extract::{Id, Json, Query},
    problem::Problem,
};

/// What is counted where nothing is said.
const WINDOW_DEFAULT: Duration = Duration::from_hours(24);

/// Since when it is counted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StatsQuery {
    /// Since this time (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Since so long ago; `24h` where nothing is said.
    #[param(example = "24h")]
    window: Option<String>,
}

/// Counts of a webhook.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct WebhookStats {
    /// The webhook.
    #[schema(value_type = String)]
    webhook_id: WebhookId,
    /// Since when deliveries and attempts are counted.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// Deliveries that wait, for their first attempt or a retry.
    pending: u64,
    /// Deliveries that arrived.
    delivered: u64,
    /// Deliveries that were given up.
    dead: u64,
    /// Attempts.
    attempts: u64,
    /// Attempts that failed.
    attempts_failed: u64,
    /// The share of attempts that succeeded, 0 to 1; null without attempts.
    #[schema(required, example = 0.998)]
    success_rate: Option<f64>,
    /// Median duration of the newest 1,000 attempts, in milliseconds.
    #[schema(required)]
    duration_ms_p50: Option<f64>,
    /// 95th percentile of the same.
    #[schema(required)]
    duration_ms_p95: Option<f64>,
    /// `closed`: everything is sent; `open`: nothing is; `half_open`: one attempt probes;
    /// `ramping`: fewer than the cap are sent.
    #[schema(example = "closed")]
    breaker: &'static str,
    /// Until when the open breaker holds deliveries.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    held_until: Option<Timestamp>,
    /// Attempts in flight now.
    in_flight: u32,
    /// Deliveries held in memory now, to be sent next.
    queued: usize,
    /// Since when every attempt failed; null while the last one succeeded.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    failing_since: Option<Timestamp>,
}

/// Show a webhook's counts
///
/// Counts since a time, and what its lane does at this moment.
#[utoipa::path(
    get, path = "/api/v1/webhooks/{id}/stats", tag = "Webhooks", operation_id = "getWebhookStats",
    params(("id" = String, Path, description = "The webhook's id", example = "whk_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b"), StatsQuery),
    responses((status = 200, description = "The counts", body = WebhookStats)),
)]
pub(super) async fn stats(
    State(app): State<SharedApp>,
    access: Access,
    Id(id): Id<WebhookId>,
    Query(query): Query<StatsQuery>,
) -> Result<Json<WebhookStats>, Problem> {
    let workspace = access.require(Scope::Read)?;
    let since = since(&query, app.now())?;
    let webhook = find(&app, workspace, id).await?;
    let counts = app.store().webhook_stats(workspace, id, since).await?;
    let lane = app
        .pipeline
        .lane_status(workspace, id)
        .ok_or_else(|| Problem::not_found("webhook"))?;
    Ok(Json(WebhookStats {
        webhook_id: id,
        since,
        pending: counts.pending,
        delivered: counts.delivered,
        dead: counts.dead,
        attempts: counts.attempts,
        attempts_failed: counts.attempts_failed,
        success_rate: share(
            counts.attempts - counts.attempts_failed.min(counts.attempts),
            counts.attempts,
        ),
        duration_ms_p50: counts.duration_us_p50.map(milliseconds),
        duration_ms_p95: counts.duration_us_p95.map(milliseconds),
        breaker: lane.breaker.as_str(),
        held_until: lane.held_until,
        in_flight: lane.in_flight,
        queued: lane.ready,
        failing_since: lane.failing_since.or(webhook.failing_since),
    }))
}

fn since(query: &StatsQuery, now: Timestamp) -> Result<Timestamp, Problem> {
    match (query.since, &query.window) {
        (Some(_), Some(_)) => Err(Problem::field("window", "must not be given beside `since`")),
        (Some(since), None) => Ok(since),
        (None, None) => Ok(now.before(WINDOW_DEFAULT)),
        (None, Some(text)) => parse_duration(text)
            .map(|window| now.before(window))
            .ok_or_else(|| {
                Problem::field("window", "must be a duration such as `15m`, `24h` or `7d`")
            }),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a share for people, three digits matter"
)]
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Microseconds as milliseconds, the rest behind the point.
#[expect(
    clippy::cast_precision_loss,
    reason = "durations are far below 2^53 microseconds"
)]
pub fn milliseconds(us: u64) -> f64 {
    us as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_said_in_one_way() {
        let now = Timestamp::parse("2026-01-31T12:00:00Z").unwrap();
        let ask = |since: Option<&str>, window: Option<&str>| {
            let since_at = since.map(|text| Timestamp::parse(text).unwrap());
            super::since(
                &StatsQuery {
                    since: since_at,
                    window: window.map(str::to_owned),
                },
                now,
            )
        };
        assert_eq!(
            ask(None, None).unwrap().to_string(),
            "2026-01-30T12:00:00.000Z"
        );
        assert_eq!(
            ask(None, Some("15m")).unwrap().to_string(),
            "2026-01-31T11:45:00.000Z"
        );
        assert_eq!(
            ask(Some("2026-01-01T00:00:00Z"), None).unwrap().to_string(),
            "2026-01-01T00:00:00.000Z"
        );
        assert!(ask(Some("2026-01-01T00:00:00Z"), Some("1h")).is_err());
        assert!(ask(None, Some("a day")).is_err());
    }

    #[test]
    fn nothing_sent_has_no_success_rate() {
        assert_eq!(share(0, 0), None);
        assert_eq!(share(3, 4), Some(0.75));
    }
}
