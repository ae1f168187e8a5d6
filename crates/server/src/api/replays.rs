//! Replays: sending past events to a webhook again, as a durable job that reports its progress.

use axum::{extract::State, response::IntoResponse};
use delivery::replay::ReplayError;
use domain::{
    EventKey, ReplayId, Timestamp, WebhookId, WorkspaceId,
    access::Scope,
    replay::{Replay, ReplayScope, ReplayState},
};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    events,
    fields::{self, Fields},
    webhooks,
};
use crate::{
    SharedApp,
    auth::Access,
    extract::{BodyBytes, Id, Json, List, PageQuery, Query},
    problem::Problem,
};

/// The routes.
pub fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new()
        .routes(routes!(start))
        .routes(routes!(list))
        .routes(routes!(show))
}

/// What is sent again: one event, a range of time, or everything that failed since a time.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReplayInput)]
struct ReplayBody {
    /// This event, whether the webhook subscribes to it or not.
    #[schema(example = "evt_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")]
    event_id: Option<String>,
    /// Every event that was accepted since this time and that the webhook subscribes to.
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// The first instant that no longer counts; now where nothing is said. Goes with `since`.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// Every delivery that was given up since this time.
    #[schema(value_type = Option<String>, format = DateTime)]
    failed_since: Option<Timestamp>,
}

impl Fields for ReplayBody {
    const KNOWN: &'static [&'static str] = &["eventId", "since", "until", "failedSince"];
}

/// A replay and how far it is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Replay)]
struct ReplayView {
    /// Its id.
    #[schema(value_type = String, example = "rpl_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")]
    id: ReplayId,
    /// Where to.
    #[schema(value_type = String)]
    webhook_id: WebhookId,
    /// What is sent again: `event`, `range` or `failed`.
    kind: &'static str,
    /// The event, for `event`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    event_id: Option<EventKey>,
    /// The first instant that counts, for `range`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// The first instant that no longer counts, for `range`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// The first instant that counts, for `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    failed_since: Option<Timestamp>,
    /// `running`: deliveries are being made; `completed`: all of them are; `cancelled`: the
    /// webhook was removed meanwhile.
    #[schema(value_type = String, example = "running")]
    state: ReplayState,
    /// How many events or deliveries there were to look at when it was started.
    total: u64,
    /// How many of them were looked at so far.
    examined: u64,
    /// How many deliveries were made so far.
    created: u64,
    /// How far it is, 0 to 100.
    #[schema(example = 40)]
    percentage: u64,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it ended.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
}

impl From<Replay> for ReplayView {
    fn from(replay: Replay) -> Self {
        let percentage = percentage(&replay);
        let mut view = Self {
            id: replay.id,
            webhook_id: replay.webhook,
            kind: "event",
            event_id: None,
            since: None,
            until: None,
            failed_since: None,
            state: replay.state,
            total: replay.total,
            examined: replay.examined,
            created: replay.created,
            percentage,
            created_at: replay.created_at,
            finished_at: replay.finished_at,
        };
        match replay.scope {
            ReplayScope::Event { event } => view.event_id = Some(event),
            ReplayScope::Range { since, until } => {
                view.kind = "range";
                view.since = Some(since);
                view.until = Some(until);
            }
            ReplayScope::FailedSince { since } => {
                view.kind = "failed";
                view.failed_since = Some(since);
            }
        }
        view
    }
}

/// How far it is: 100 only once it has ended, since there can be more to look at than there was.
fn percentage(replay: &Replay) -> u64 {
    match replay.state {
        ReplayState::Completed => 100,
        ReplayState::Running | ReplayState::Cancelled => (replay.examined * 100)
            .checked_div(replay.total)
            .unwrap_or_default()
            .min(99),
    }
}

impl From<ReplayError> for Problem {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::NoWebhook => Self::not_found("webhook"),
            ReplayError::Inactive => Self::conflict(
                "The webhook is not active: switch it on first, else what is made now would wait for ever.",
            ),
            ReplayError::NoEvent => Self::not_found("event"),
            ReplayError::EmptyRange => Self::field("until", "must be later than `since`"),
            ReplayError::Store(error) => error.into(),
        }
    }
}

/// Replay events
///
/// Starts a job that makes deliveries of past events: of one (`eventId`), of a time range
/// (`since`, `until`), or of everything that was given up since a time (`failedSince`). It
/// survives a restart; follow it at the answer's `Location`.
#[utoipa::path(
    post, path = "/api/v1/webhooks/{id}/replay", tag = "Replays", operation_id = "startReplay",
    params(("id" = String, Path, description = "The webhook's id", example = "whk_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    request_body = ReplayBody,
    responses((status = 202, description = "The replay has begun", body = ReplayView)),
)]
async fn start(
    State(app): State<SharedApp>,
    access: Access,
    Id(id): Id<WebhookId>,
    BodyBytes(body): BodyBytes,
) -> Result<impl IntoResponse, Problem> {
    let workspace = access.require(Scope::Write)?;
    webhooks::find(&app, workspace, id).await?;
    let scope = scope(&app, workspace, fields::parse(&body)?).await?;
    let replay = app.pipeline.start_replay(workspace, id, scope).await?;
    let location = format!("/api/v1/replays/{}", replay.id);
    Ok((
        StatusCode::ACCEPTED,
        [(header::LOCATION, location)],
        Json(ReplayView::from(replay)),
    ))
}

async fn scope(
    app: &SharedApp,
    workspace: WorkspaceId,
    body: ReplayBody,
) -> Result<ReplayScope, Problem> {
    match body {
        ReplayBody {
            event_id: Some(id),
            since: None,
            until: None,
            failed_since: None,
        } => Ok(ReplayScope::Event {
            event: events::show::find(app, workspace, &id).await?.key,
        }),
        ReplayBody {
            event_id: None,
            since: Some(since),
            until,
            failed_since: None,
        } => Ok(ReplayScope::Range {
            since,
            until: until.unwrap_or_else(|| app.now()),
        }),
        ReplayBody {
            event_id: None,
            since: None,
            until: None,
            failed_since: Some(since),
        } => Ok(ReplayScope::FailedSince { since }),
        _ => Err(Problem::field(
            "",
            "give one of `eventId`, `since` (with or without `until`), or `failedSince`",
        )),
    }
}

/// List a webhook's replays
///
/// Newest first.
#[utoipa::path(
    get, path = "/api/v1/webhooks/{id}/replays", tag = "Replays", operation_id = "listReplays",
    params(("id" = String, Path, description = "The webhook's id", example = "whk_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b"), PageQuery),
    responses((status = 200, description = "A page of replays", body = List<ReplayView>)),
)]
async fn list(
    State(app): State<SharedApp>,
    access: Access,
    Id(id): Id<WebhookId>,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<ReplayView>>, Problem> {
    let workspace = access.require(Scope::Read)?;
    let page = page.page::<ReplayId>()?;
    webhooks::find(&app, workspace, id).await?;
    let replays = app.store().replays(workspace, id, page).await?;
    Ok(Json(List::new(
        &page,
        replays,
        |replay| replay.id.to_string(),
        ReplayView::from,
    )))
}

/// Show a replay
///
/// And how far it is.
#[utoipa::path(
    get, path = "/api/v1/replays/{id}", tag = "Replays", operation_id = "getReplay",
    params(("id" = String, Path, description = "The replay's id", example = "rpl_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    responses((status = 200, description = "The replay", body = ReplayView)),
)]
async fn show(
    State(app): State<SharedApp>,
    access: Access,
    Id(id): Id<ReplayId>,
) -> Result<Json<ReplayView>, Problem> {
    let workspace = access.require(Scope::Read)?;
    let replay = app.store().replay(workspace, id).await?;
    replay
        .map(|replay| Json(replay.into()))
        .ok_or_else(|| Problem::not_found("replay"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_ended_replay_is_whole() {
        let mut replay = Replay {
            workspace: WorkspaceId::DEFAULT,
            id: ReplayId::new(uuid::Uuid::nil()),
            webhook: WebhookId::new(uuid::Uuid::nil()),
            scope: ReplayScope::FailedSince {
                since: Timestamp::default(),
            },
            state: ReplayState::Running,
            examined: 0,
            total: 0,
            created: 0,
            created_at: Timestamp::default(),
            finished_at: None,
        };
        assert_eq!(percentage(&replay), 0);
        (replay.examined, replay.total) = (2, 5);
        assert_eq!(percentage(&replay), 40);
        replay.examined = 5;
        assert_eq!(percentage(&replay), 99);
        replay.state = ReplayState::Completed;
        assert_eq!(percentage(&replay), 100);
    }
}
