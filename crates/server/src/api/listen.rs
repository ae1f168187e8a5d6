//! `GET /api/v1/listen`: events as a webhook would get them, signed, over Server-Sent Events, so
//! that a developer needs no URL of their own. Nothing is stored for it.

use std::convert::Infallible;

use axum::{
    extract::State,
    response::{Response, sse::Event},
};
use delivery::listen::{Heard, Listening};
use domain::{access::Scope, format::Format, pattern::EventPattern, webhook::PATTERNS_MAX};
use futures_util::{Stream, StreamExt, stream};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::sse;
use crate::{
    SharedApp,
    auth::Access,
    extract::Query,
    problem::{FieldError, Problem},
};

/// The routes.
pub fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new().routes(routes!(listen))
}

/// What is listened for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListenQuery {
    /// Event types, `prefix.*` or `*`, separated by commas; `*` where nothing is said.
    #[param(example = "workflow.completed,agent.*")]
    events: Option<String>,
    /// As a webhook of this format gets them; `default` where nothing is said.
    format: Option<String>,
}

/// The first message (event `ready`).
#[derive(Serialize, ToSchema)]
struct Ready {
    /// What signs the deliveries of this stream.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwkR2p3X4Yz5E=")]
    secret: String,
}

/// A delivery (event `delivery`).
#[derive(Serialize, ToSchema)]
struct HeardDelivery {
    /// The event's id.
    id: String,
    /// Its type.
    event: String,
    /// The headers that a webhook would have got.
    #[schema(value_type = std::collections::HashMap<String, String>)]
    headers: Map<String, Value>,
    /// The body, as it would have been sent.
    body: String,
}

impl From<Heard> for HeardDelivery {
    fn from(heard: Heard) -> Self {
        let headers = heard
            .headers
            .into_iter()
            .map(|(name, value)| (name, Value::String(value)));
        Self {
            id: heard.id,
            event: heard.event,
            headers: headers.collect(),
            body: heard.body,
        }
    }
}

/// Listen to events
///
/// A stream of Server-Sent Events: first `ready` with the secret that signs, then `delivery` for
/// each event that is accepted from now on, with the headers and the body that a webhook would
/// have got. What a slow reader does not take is left out.
#[utoipa::path(
    get, path = "/api/v1/listen", tag = "Events", operation_id = "listen",
    params(ListenQuery),
    responses((status = 200, description = "The stream", body = inline(HeardDelivery), content_type = "text/event-stream")),
)]
async fn listen(
    State(app): State<SharedApp>,
    access: Access,
    headers: HeaderMap,
    Query(query): Query<ListenQuery>,
) -> Result<Response, Problem> {
    let workspace = access.require(Scope::Read)?;
    let patterns = patterns(query.events.as_deref().unwrap_or("*"))?;
    let format = query
        .format
        .as_deref()
        .map_or(Ok(Format::Default), Format::parse);
    let format = format.map_err(|error| Problem::field("format", error.to_string()))?;
    let listening = app
        .pipeline
        .listen(workspace, patterns, format)
        .ok_or_else(sse::full)?;
    let listener = sse::Listener { headers, workspace };
    Ok(sse::respond(&app, listener, messages(listening)))
}

fn patterns(text: &str) -> Result<Vec<EventPattern>, Problem> {
    let texts: Vec<_> = text
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .collect();
    if texts.is_empty() || texts.len() > PATTERNS_MAX {
        return Err(Problem::field(
            "events",
            format!("has 1 to {PATTERNS_MAX} patterns, separated by commas"),
        ));
    }
    let mut errors = Vec::new();
    let mut patterns = Vec::with_capacity(texts.len());
    for (index, text) in texts.into_iter().enumerate() {
        match EventPattern::parse(text) {
            Ok(pattern) => patterns.push(pattern),
            Err(error) => errors.push(FieldError {
                path: format!("events[{index}]"),
                message: error.to_string(),
            }),
        }
    }
    if errors.is_empty() {
        Ok(patterns)
    } else {
        Err(Problem::fields(errors))
    }
}

fn messages(listening: Listening) -> impl Stream<Item = Result<Event, Infallible>> + Send {
    let ready = sse::event(
        "ready",
        &Ready {
            secret: listening.secret.expose().to_owned(),
        },
    );
    let heard = stream::unfold(listening, async |mut listening| {
        let heard = listening.heard.recv().await?;
        Some((
            Ok(sse::event("delivery", &HeardDelivery::from(heard))),
            listening,
        ))
    });
    stream::once(std::future::ready(Ok(ready))).chain(heard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_separated_by_commas() {
        let texts: Vec<_> = patterns("a.b, c.*,")
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(texts, ["a.b", "c.*"]);
        assert_eq!(
            patterns("a.b,c*").unwrap_err().errors()[0].path,
            "events[1]"
        );
        assert_eq!(patterns(" ,").unwrap_err().errors()[0].path, "events");
    }
}
