//! Server-Sent Events: bounded in number, kept alive, and ended when the server goes down or the
//! listener may not listen any more.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::response::{
    IntoResponse, Response,
    sse::{Event, KeepAlive, Sse},
};
use domain::{WorkspaceId, access::Scope};
use futures_util::{Stream, StreamExt};
use http::{HeaderMap, HeaderValue};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    SharedApp,
    problem::{Kind, Problem},
};

/// The most streams of one kind at once.
const STREAMS_MAX: usize = 256;
/// How often it is asked whether a listener may still listen.
const CHECK_EVERY: Duration = Duration::from_secs(15);
/// How often a comment is sent where nothing else is, so that proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Places for streams of one kind.
#[derive(Clone)]
pub struct Places(Arc<Semaphore>);

impl Default for Places {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(STREAMS_MAX)))
    }
}

/// One stream's place, until it is dropped.
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Places {
    /// Takes a place.
    ///
    /// # Errors
    /// 503 if all are taken.
    pub fn take(&self) -> Result<Place, Problem> {
        match Arc::clone(&self.0).try_acquire_owned() {
            Ok(permit) => Ok(Place { _permit: permit }),
            Err(_) => Err(full()),
        }
    }
}

/// That too many listen already.
pub fn full() -> Problem {
    Problem::new(
        Kind::Overloaded,
        "Too many streams are open. Close one, or try again later.",
    )
    .retry_after(Duration::from_secs(30))
}

/// One event: its name, and its data as JSON on one line.
pub fn event(name: &str, data: &impl Serialize) -> Event {
    let data = serde_json::to_string(data).expect("records of strings and numbers are always JSON");
    Event::default().event(name).data(data)
}

/// Whose stream it is: the credentials that opened it, and the workspace that it tells of.
pub struct Listener {
    /// The request's headers.
    pub headers: HeaderMap,
    /// Where they listen.
    pub workspace: WorkspaceId,
}

impl Listener {
    /// Returns once the credentials do not cover reading here any more: the key was revoked, the
    /// token expired, the person removed. What cannot be found out now is asked again later.
    async fn lose_access(&self, app: &SharedApp) {
        loop {
            tokio::time::sleep(CHECK_EVERY).await;
            let found = app
                .gatekeeper
                .authenticate(&self.headers, app.store(), app.now())
                .await;
            let lost = match found {
                Ok(identity) => {
                    identity.workspace != self.workspace || !identity.grant.covers(Scope::Read)
                }
                Err(problem) => matches!(
                    problem.kind(),
                    Kind::Unauthenticated | Kind::Forbidden | Kind::NotFound
                ),
            };
            if lost {
                return;
            }
        }
    }
}

/// The answer that carries `events` until they end, the server goes down, or `listener` may not
/// listen any more.
pub fn respond<S>(app: &SharedApp, listener: Listener, events: S) -> Response
where
    S: Stream<Item = Result<Event, Infallible>> + Send + 'static,
{
    let app = Arc::clone(app);
    let events = events.take_until(async move {
        tokio::select! {
            () = app.wait_for_draining() => {}
            () = listener.lose_access(&app) => {}
        }
    });
    let mut response = Sse::new(events)
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response();
    // Proxies that gather answers before they pass them on would hold the events back.
    response
        .headers_mut()
        .insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
