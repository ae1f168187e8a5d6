//! Extractors: a request's parts as typed values, each refusal a [`Problem`].
//!
//! - [`Json`] for a body, [`BodyBytes`] for one that is parsed elsewhere (publishing, inbound),
//! - [`Id`] for the `{id}` of a path, [`Query`] for a query string, [`PageQuery`] for lists,
//! - [`crate::auth::Access`] for who asks.

use std::{str::FromStr, time::Duration};

use axum::{
    extract::{FromRequest, FromRequestParts, RawPathParams, Request},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, header, request::Parts};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{Serialize, de::DeserializeOwned};
use store::Page;
use utoipa::{IntoParams, ToSchema};

use crate::{
    SharedApp,
    problem::{Kind, Problem},
    shape::parse_object,
};

pub use crate::shape::parse_json;

/// How long a whole body may take to arrive.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How many records a list has where nothing else is said.
pub const PAGE_DEFAULT: usize = 50;
/// The most records of one page.
pub const PAGE_MAX: usize = 250;

/// A JSON object as the body; as an answer, `application/json`.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<SharedApp> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &SharedApp) -> Result<Self, Problem> {
        let BodyBytes(bytes) = BodyBytes::from_request(request, app).await?;
        parse_object(&bytes).map(Self)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// A JSON body's bytes, not parsed.
#[derive(Clone, Debug)]
pub struct BodyBytes(pub Bytes);

impl FromRequest<SharedApp> for BodyBytes {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &SharedApp) -> Result<Self, Problem> {
        require_json(request.headers())?;
        read_body(request, app.config.limits.body_bytes_max)
            .await
            .map(Self)
    }
}

/// Reads a whole body, up to `max` bytes, within [`BODY_TIMEOUT`].
///
/// # Errors
/// If it is larger, slower, or breaks off; at once if it says that it is larger.
pub async fn read_body(request: Request, max: usize) -> Result<Bytes, Problem> {
    let body = request.into_body();
    if body.size_hint().lower() > max as u64 {
        return Err(too_large(max));
    }
    let body = Limited::new(body, max);
    match tokio::time::timeout(BODY_TIMEOUT, body.collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(max)),
        Ok(Err(_)) => Err(Problem::new(Kind::BadRequest, "The body broke off.")),
        Err(_) => Err(Problem::new(
            Kind::RequestTimeout,
            "The body did not arrive in time.",
        )),
    }
}

fn too_large(max: usize) -> Problem {
    Problem::new(
        Kind::BodyTooLarge,
        format!("No more than {max} bytes are taken here."),
    )
}

/// Refuses a body that says that it is something else than JSON, or packed. None said passes.
fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let is_plain = |coding: &http::HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
    if !headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .all(is_plain)
    {
        return Err(Problem::new(
            Kind::UnsupportedMediaType,
            "Send the body as it is, without Content-Encoding: nothing is unpacked here.",
        ));
    }
    let Some(media_type) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let essence = media_type
        .to_str()
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    let is_json = essence.eq_ignore_ascii_case("application/json")
        || (essence.len() > 5
            && essence.is_char_boundary(essence.len() - 5)
            && essence[essence.len() - 5..].eq_ignore_ascii_case("+json"));
    if is_json {
        Ok(())
    } else {
        Err(Problem::new(
            Kind::UnsupportedMediaType,
            "Send the body as JSON, with Content-Type: application/json.",
        ))
    }
}

/// The `{id}` of a path. A text that is no id of the kind is a 404: nothing can be there.
#[derive(Clone, Copy, Debug)]
pub struct Id<T>(pub T);

impl<T: FromStr> FromRequestParts<SharedApp> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &SharedApp) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, app).await;
        params
            .ok()
            .and_then(|params| {
                let (_, value) = params.iter().find(|(name, _)| *name == "id")?;
                value.parse().ok()
            })
            .map(Self)
            .ok_or_else(|| Problem::new(Kind::NotFound, "There is nothing with this id."))
    }
}

/// The parameters of a path as texts. What is no text is a 404: nothing can be there.
#[derive(Clone, Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<SharedApp> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &SharedApp) -> Result<Self, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, app).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(_) => Err(Problem::new(
                Kind::NotFound,
                "There is nothing with this name.",
            )),
        }
    }
}

/// A query string.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<SharedApp> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &SharedApp) -> Result<Self, Problem> {
        match axum::extract::Query::<T>::from_request_parts(parts, app).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(rejection) => {
                let text = rejection.body_text();
                let text = text
                    .strip_prefix("Failed to deserialize query string: ")
                    .unwrap_or(&text);
                let (path, message) = text.split_once(": ").unwrap_or(("query", text));
                Err(Problem::field(path, message))
            }
        }
    }
}

/// Which page of a list. To be flattened into nothing: take it as a [`Query`] of its own beside
/// the filters.
#[derive(Clone, Debug, Default, serde::Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
pub struct PageQuery {
    /// The most records, 1 to 250; 50 where nothing is said.
    #[param(minimum = 1, maximum = 250, default = 50)]
    pub limit: Option<usize>,
    /// Where the page before ended: its `nextCursor`.
    pub cursor: Option<String>,
}

impl PageQuery {
    /// What the store is asked for: one record more than is shown, so that a further page is
    /// known of ([`List::new`] takes it off again).
    ///
    /// # Errors
    /// If the limit is out of bounds or the cursor is none of this list.
    pub fn page<T: FromStr>(&self) -> Result<Page<T>, Problem> {
        let limit = self.limit.unwrap_or(PAGE_DEFAULT);
        if !(1..=PAGE_MAX).contains(&limit) {
            return Err(Problem::field("limit", format!("must be 1 to {PAGE_MAX}")));
        }
        let after = match self.cursor.as_deref().filter(|cursor| !cursor.is_empty()) {
            None => None,
            Some(cursor) => Some(cursor.parse().map_err(|_| {
                Problem::field(
                    "cursor",
                    "is none of this list: pass on the nextCursor of the page before",
                )
            })?),
        };
        Ok(Page {
            after,
            limit: limit + 1,
        })
    }
}

/// A page of a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct List<T> {
    /// The records.
    pub data: Vec<T>,
    /// What to pass as `cursor` to get the next page; null on the last.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

impl<T> List<T> {
    /// Renders what the store gave for `page` (see [`PageQuery::page`]): `cursor` is a record's id.
    pub fn new<R, Id>(
        page: &Page<Id>,
        mut records: Vec<R>,
        cursor: impl Fn(&R) -> String,
        render: impl FnMut(R) -> T,
    ) -> Self {
        let shown = page.limit - 1;
        let more = records.len() > shown;
        records.truncate(shown);
        let next_cursor = records.last().filter(|_| more).map(cursor);
        Self {
            data: records.into_iter().map(render).collect(),
            next_cursor,
        }
    }

    /// A list that has one page only.
    pub fn whole(data: Vec<T>) -> Self {
        Self {
            data,
            next_cursor: None,
        }
    }
}
