//! How a refusal looks: RFC 9457 `application/problem+json`.
//!
//! [`Kind`] lists every type of problem with its status, title and the page that explains it;
//! a [`Problem`] is one occurrence. Its `type` is the path of a page that this server itself
//! serves (`/errors/<slug>`), so that it can be read without a network. Our own failures say
//! nothing of their cause: that is in the log.

use std::{borrow::Cow, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use store::StoreError;
use utoipa::ToSchema;

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $slug:literal, $status:ident, $title:literal;)*) => {
        /// Every type of problem.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Kind { $($(#[$doc])* $name,)* }

        impl Kind {
            /// All of them, by status.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// What stands in its `type` after `/errors/`; never changes.
            pub const fn slug(self) -> &'static str {
                match self { $(Self::$name => $slug),* }
            }

            /// Its `type`: the page of this server that explains it.
            pub const fn type_path(self) -> &'static str {
                match self { $(Self::$name => concat!("/errors/", $slug)),* }
            }

            /// The status that it is answered with.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status),* }
            }

            /// A sentence that is the same on every occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title),* }
            }

            /// The page that explains it: what, why, what to do. Markdown.
            pub const fn page(self) -> &'static str {
                match self {
                    $(Self::$name => include_str!(concat!("../../../docs/errors/", $slug, ".md"))),*
                }
            }
        }
    };
}

kinds! {
    /// The body is not JSON.
    InvalidJson = "invalid-json", BAD_REQUEST, "The body is not valid JSON";
    /// The request is malformed in some other way.
    BadRequest = "bad-request", BAD_REQUEST, "The request is malformed";
    /// No credentials where some are needed, or wrong ones.
    Unauthenticated = "unauthenticated", UNAUTHORIZED, "Credentials are missing or not valid";
    /// An inbound request that is not signed as its door asks.
    SignatureRefused = "signature-refused", UNAUTHORIZED, "The request is not signed as it has to be";
    /// Good credentials that do not cover this.
    Forbidden = "forbidden", FORBIDDEN, "These credentials do not allow this";
    /// Local mode was addressed from a page or by a name that is not its own.
    ForeignOrigin = "foreign-origin", FORBIDDEN, "The request comes from a foreign host or origin";
    /// Nothing is there.
    NotFound = "not-found", NOT_FOUND, "There is nothing here";
    /// The path exists, the method does not.
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, "The path does not take this method";
    /// The body did not arrive in time.
    RequestTimeout = "request-timeout", REQUEST_TIMEOUT, "The request took too long to arrive";
    /// Something is in the way of the change.
    Conflict = "conflict", CONFLICT, "The request conflicts with the present state";
    /// The body is larger than is taken.
    BodyTooLarge = "body-too-large", PAYLOAD_TOO_LARGE, "The body is too large";
    /// The body is of another type than is taken.
    UnsupportedMediaType = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "The body has to be JSON";
    /// One or more fields are wrong.
    ValidationFailed = "validation-failed", UNPROCESSABLE_ENTITY, "Some fields are not valid";
    /// A number that a JavaScript receiver would read as another.
    UnsafeNumber = "unsafe-number", UNPROCESSABLE_ENTITY, "A number would not survive a JavaScript receiver";
    /// No event type of that name is known.
    UnknownEventType = "unknown-event-type", UNPROCESSABLE_ENTITY, "The event type is not known";
    /// The target's address is one that may not be called.
    UnsafeTarget = "unsafe-target", UNPROCESSABLE_ENTITY, "The target must not be called";
    /// A custom header that would replace one of Signpost's or break the message.
    ForbiddenHeader = "forbidden-header", UNPROCESSABLE_ENTITY, "A custom header is not allowed";
    /// A genuine inbound request of which no trigger could make anything.
    NotMapped = "not-mapped", UNPROCESSABLE_ENTITY, "The request could not be mapped to a workflow's inputs";
    /// An idempotency key came back with another request.
    IdempotencyKeyReused = "idempotency-key-reused", UNPROCESSABLE_ENTITY, "The idempotency key was used for another request";
    /// The event has passed through too many Signposts.
    LoopDetected = "loop-detected", LOOP_DETECTED, "The event goes round in a loop";
    /// Too many requests.
    RateLimited = "rate-limited", TOO_MANY_REQUESTS, "Too many requests";
    /// A failure of ours.
    Internal = "internal", INTERNAL_SERVER_ERROR, "Something went wrong on our side";
    /// Too much work is queued, or the server is going down.
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, "The server cannot take more at the moment";
    /// Nothing can be stored.
    DiskFull = "disk-full", INSUFFICIENT_STORAGE, "The disk is full";
}

/// What is wrong with one field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FieldError {
    /// Where it is, as in JavaScript: `events[0].name`; empty for the whole body.
    pub path: String,
    /// What is wrong with it, as a sentence without its subject.
    pub message: String,
}

/// Line and column, from 1, of what is wrong in a text.
pub type Place = Option<(u32, u32)>;

/// What is wrong with one field.
#[derive(Serialize, ToSchema)]
#[schema(as = FieldError)]
pub struct FieldErrorView<'a> {
    /// Where it is, as in JavaScript: `events[0].name`; empty for the whole body.
    #[schema(example = "targetUrl")]
    path: &'a str,
    /// What is wrong with it, as a sentence without its subject.
    #[schema(example = "is required")]
    message: &'a str,
    /// In a workflow file: the line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    /// In a workflow file: the column, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<u32>,
}

/// One refusal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    kind: Kind,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    /// Where in a text each of the errors is, in the same order; empty where there was no text.
    places: Vec<Place>,
    retry_after: Option<Duration>,
    headers: Option<Box<HeaderMap>>,
}

/// The body of every refusal.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    /// The type of problem: the path of a page of this server that explains it.
    #[serde(rename = "type")]
    #[schema(example = "/errors/validation-failed")]
    type_path: &'a str,
    /// The same for every problem of the type.
    #[schema(example = "Some fields are not valid")]
    title: &'a str,
    /// The HTTP status.
    #[schema(value_type = u16, example = 422)]
    status: u16,
    /// What was wrong this time.
    #[schema(example = "targetUrl: is required")]
    detail: &'a str,
    /// What is wrong with which field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<FieldErrorView>>)]
    errors: Vec<FieldErrorView<'a>>,
}

impl Problem {
    /// A problem of `kind`; `detail` says what was wrong this time and what would be right.
    pub fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            places: Vec::new(),
            retry_after: None,
            headers: None,
        }
    }

    /// One field is wrong.
    pub fn field(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::fields(vec![FieldError {
            path: path.into(),
            message: message.into(),
        }])
    }

    /// Some fields are wrong; the first is told in the detail.
    ///
    /// # Panics
    /// If `errors` is empty: nothing would be wrong then.
    pub fn fields(errors: Vec<FieldError>) -> Self {
        Self::fields_of(Kind::ValidationFailed, errors)
    }

    /// Some fields are wrong in a way that has a type of its own, such as [`Kind::UnsafeTarget`].
    ///
    /// # Panics
    /// If `errors` is empty: nothing would be wrong then.
    pub fn fields_of(kind: Kind, errors: Vec<FieldError>) -> Self {
        let first = errors
            .first()
            .expect("a failed validation names what failed");
        let detail = match (first.path.as_str(), errors.len()) {
            ("", _) => first.message.clone(),
            (path, 1) => format!("{path}: {}", first.message),
            (path, count) => format!("{path}: {} (and {} more)", first.message, count - 1),
        };
        Self {
            errors,
            ..Self::new(kind, detail)
        }
    }

    /// Says where in a text each of the errors is, in the same order.
    #[must_use]
    pub fn at(mut self, places: Vec<Place>) -> Self {
        self.places = places;
        self
    }

    /// There is no such `what` (for this caller).
    pub fn not_found(what: &str) -> Self {
        Self::new(Kind::NotFound, format!("There is no such {what}."))
    }

    /// Something is in the way.
    pub fn conflict(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Conflict, detail)
    }

    /// Credentials are needed, or those given are not good.
    pub fn unauthenticated(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Unauthenticated, detail)
    }

    /// The caller may not do this.
    pub fn forbidden(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Forbidden, detail)
    }

    /// A failure of ours, logged here with its cause; the answer does not name it.
    pub fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(%cause, "a request failed");
        Self::new(Kind::Internal, "The cause is in the server's log.")
    }

    /// Tells the caller when to come back.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Adds headers to the answer.
    #[must_use]
    pub fn with_headers(mut self, headers: HeaderMap) -> Self {
        self.headers = Some(Box::new(headers));
        self
    }

    /// Its type.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// What was wrong this time.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// What is wrong with which field.
    pub fn errors(&self) -> &[FieldError] {
        &self.errors
    }

    fn body(&self) -> ProblemBody<'_> {
        let places = self.places.iter().copied().chain(std::iter::repeat(None));
        let errors = self
            .errors
            .iter()
            .zip(places)
            .map(|(error, place)| FieldErrorView {
                path: &error.path,
                message: &error.message,
                line: place.map(|(line, _)| line),
                column: place.map(|(_, column)| column),
            });
        ProblemBody {
            type_path: self.kind.type_path(),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            detail: &self.detail,
            errors: errors.collect(),
        }
    }

    /// The answer as S2's interface has it: `{"message": …}`.
    pub fn into_message_response(self) -> Response {
        #[derive(Serialize)]
        struct Message<'a> {
            message: &'a str,
        }
        let json = serde_json::to_vec(&Message {
            message: &self.detail,
        });
        self.respond(json.expect("a string is always JSON"), "application/json")
    }

    fn respond(self, json: Vec<u8>, media_type: &'static str) -> Response {
        let mut response = Response::new(Body::from(json));
        *response.status_mut() = self.kind.status();
        let headers = response.headers_mut();
        if let Some(more) = &self.headers {
            headers.clone_from(more);
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        if self.kind == Kind::Unauthenticated {
            let challenge = HeaderValue::from_static("Bearer realm=\"signpost\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let json = serde_json::to_vec(&self.body()).expect("strings and numbers are always JSON");
        self.respond(json, MEDIA_TYPE)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => Self::new(
                Kind::DiskFull,
                "Nothing was stored. Free some space, then try again.",
            ),
            StoreError::Busy => Self::new(
                Kind::Overloaded,
                "Others are storing the same at this moment. Try again.",
            )
            .retry_after(Duration::from_secs(1)),
            StoreError::Unavailable(why) => {
                tracing::warn!(why, "the database cannot be reached");
                Self::new(
                    Kind::Overloaded,
                    "The database cannot be reached just now. Try again.",
                )
                .retry_after(Duration::from_secs(2))
            }
            StoreError::Closed => {
                Self::new(Kind::Overloaded, "The server is going down. Try again.")
                    .retry_after(Duration::from_secs(5))
            }
            error @ (StoreError::Newer { .. } | StoreError::InUse(_) | StoreError::Failed(_)) => {
                Self::internal(&error)
            }
        }
    }
}
