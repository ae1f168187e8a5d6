//! `Idempotency-Key`: a POST that is sent again is answered again, not done again
//! (draft-ietf-httpapi-idempotency-key-header).
//!
//! The first answer is kept in the store, sealed, since it may carry a secret. The same key with
//! another request is refused; the same key while the first still runs waits for it. Each caller
//! has keys of their own. Only successes are kept: what was refused did nothing and may be tried
//! again under its key. Publishing has its own way, in the transaction that stores the event.
//!
//! The work runs in a task of its own, so that a client that hangs up meanwhile finds the answer
//! when it comes back.

use std::sync::Arc;

use axum::{Router, body::Body};
use bytes::Bytes;
use domain::{WorkspaceId, seal::Sealed};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use ring::digest::{Context, SHA256};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use store::KeptAnswer;
use tokio::sync::OwnedMutexGuard;
use tower::ServiceExt;

use crate::{
    SharedApp,
    auth::{Identity, Subject},
    extract::read_body,
    problem::{Kind, Problem},
};

/// The header's name.
pub const HEADER: &str = "idempotency-key";
/// Says on an answer that it is a kept one.
pub const REPLAYED_HEADER: &str = "idempotency-replayed";
/// The longest key, in bytes.
const KEY_BYTES_MAX: usize = 255;
/// The largest answer that is kept, in bytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// Keys whose requests may run at once.
const LOCKS_MAX: usize = 10_000;

/// Whether a request is to be answered once, where its path allows that
/// ([`crate::front::RouteClass`]): a POST with a key.
pub fn applies(request: &Request<Body>) -> bool {
    request.method() == Method::POST && request.headers().contains_key(HEADER)
}

/// Runs `request` unless it was before, and answers as then.
///
/// # Errors
/// If the key is malformed, was used for another request, or the store fails.
pub async fn answer_once(
    app: SharedApp,
    identity: &Identity,
    request: Request<Body>,
    router: Router,
) -> Result<Response<Body>, Problem> {
    let name = KeyName {
        workspace: identity.workspace,
        key: scoped_key(identity, request.headers())?,
    };
    let (parts, body) = request.into_parts();
    let body = read_body(Request::new(body), app.config.limits.body_bytes_max).await?;
    let hash = request_hash(&parts.method, &parts.uri, &body);
    let request = Request::from_parts(parts, Body::from(body));
    let work = tokio::spawn(async move {
        let _turn = Turn::wait(&app, name.clone()).await?;
        if let Some(kept) = app.store().kept_answer(name.workspace, &name.key).await? {
            return if kept.request_hash == hash {
                replay(&app, &name, kept)
            } else {
                Err(reused())
            };
        }
        let response = match router.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        keep(&app, &name, hash, response).await
    });
    match work.await {
        Ok(answer) => answer,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(cancelled) => Err(Problem::internal(&cancelled)),
        },
    }
}

fn reused() -> Problem {
    Problem::new(
        Kind::IdempotencyKeyReused,
        "This Idempotency-Key came with another request before: use a new one for a new request.",
    )
}

/// What is kept of an answer beside its status and body.
#[derive(Default, Serialize, Deserialize)]
struct KeptHeaders {
    content_type: Option<String>,
    location: Option<String>,
}

async fn keep(
    app: &SharedApp,
    name: &KeyName,
    request_hash: [u8; 32],
    response: Response<Body>,
) -> Result<Response<Body>, Problem> {
    let small = response
        .body()
        .size_hint()
        .exact()
        .is_some_and(|size| size <= ANSWER_BYTES_MAX);
    if !response.status().is_success() || !small {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body = body
        .collect()
        .await
        .map_err(|error| Problem::internal(&error))?
        .to_bytes();
    let text = |name| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let headers = KeptHeaders {
        content_type: text(header::CONTENT_TYPE),
        location: text(header::LOCATION),
    };
    let mut plain = serde_json::to_vec(&headers).map_err(|error| Problem::internal(&error))?;
    plain.push(b'\n');
    plain.extend_from_slice(&body);
    let mut nonce = [0; domain::seal::NONCE_BYTES];
    app.edge().entropy.fill(&mut nonce);
    let answer = KeptAnswer {
        request_hash,
        status: parts.status.as_u16(),
        body: app
            .sealing()
            .seal(nonce, &plain, name.context().as_bytes())
            .0,
        created_at: app.now(),
    };
    if !app
        .store()
        .keep_answer(name.workspace, &name.key, answer)
        .await?
    {
        tracing::warn!("another process answered a request with the same idempotency key");
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn replay(app: &SharedApp, name: &KeyName, kept: KeptAnswer) -> Result<Response<Body>, Problem> {
    let sealed = Sealed(kept.body);
    let plain = app
        .sealing()
        .open(&sealed, name.context().as_bytes())
        .map_err(|error| Problem::internal(&error))?;
    let split = plain
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(plain.len());
    let kept_headers: KeptHeaders = serde_json::from_slice(&plain[..split]).unwrap_or_default();
    let body = Bytes::copy_from_slice(plain.get(split + 1..).unwrap_or_default());
    let mut response = Response::new(Body::from(body));
    *response.status_mut() =
        StatusCode::from_u16(kept.status).map_err(|error| Problem::internal(&error))?;
    let headers = response.headers_mut();
    let mut put = |name, value: Option<String>| {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
            headers.insert(name, value);
        }
    };
    put(header::CONTENT_TYPE, kept_headers.content_type);
    put(header::LOCATION, kept_headers.location);
    headers.insert(REPLAYED_HEADER, HeaderValue::from_static("true"));
    Ok(response)
}

/// The key as the store keeps it: each caller has their own.
fn scoped_key(identity: &Identity, headers: &HeaderMap) -> Result<String, Problem> {
    let mut given = headers.get_all(HEADER).iter();
    let (Some(key), None) = (given.next(), given.next()) else {
        return Err(Problem::field("Idempotency-Key", "must be given once"));
    };
    let key = key.as_bytes();
    let well_formed = (1..=KEY_BYTES_MAX).contains(&key.len())
        && key.iter().all(|byte| (0x20..0x7f).contains(byte));
    if !well_formed {
        let message = format!("must have 1 to {KEY_BYTES_MAX} printable ASCII characters");
        return Err(Problem::field("Idempotency-Key", message));
    }
    let caller = match &identity.subject {
        Subject::Local => "local".to_owned(),
        Subject::User { id, .. } => id.to_string(),
        Subject::Key { id } => id.to_string(),
    };
    Ok(hex::encode(hash_parts(&[caller.as_bytes(), key])))
}

fn request_hash(method: &Method, uri: &http::Uri, body: &[u8]) -> [u8; 32] {
    let target = uri
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str);
    hash_parts(&[method.as_str().as_bytes(), target.as_bytes(), body])
}

/// SHA-256 over parts, each with its length before it, so that none can run into the next.
fn hash_parts(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context
        .finish()
        .as_ref()
        .try_into()
        .expect("SHA-256 has 32 bytes")
}

/// One caller's key in one workspace.
#[derive(Clone, PartialEq, Eq, Hash)]
struct KeyName {
    workspace: WorkspaceId,
    key: String,
}

impl KeyName {
    fn context(&self) -> String {
        domain::seal::record_context(self.workspace, &self.key, "answer")
    }
}

type Lock = Arc<tokio::sync::Mutex<()>>;

/// The keys whose requests run at this moment.
#[derive(Default)]
pub struct KeyLocks {
    locks: Mutex<FxHashMap<KeyName, Lock>>,
}

/// The right to run the request of one key. Given up when it is dropped.
struct Turn {
    app: SharedApp,
    name: KeyName,
    lock: Lock,
    held: Option<OwnedMutexGuard<()>>,
}

impl Turn {
    async fn wait(app: &SharedApp, name: KeyName) -> Result<Self, Problem> {
        let lock = {
            let mut locks = app.key_locks.locks.lock();
            if locks.len() >= LOCKS_MAX && !locks.contains_key(&name) {
                return Err(Problem::new(
                    Kind::Overloaded,
                    "Too many requests run at once. Try again.",
                ));
            }
            Arc::clone(locks.entry(name.clone()).or_default())
        };
        // Made before the wait: its end takes the lock off the list, also if the wait is given up.
        let mut turn = Self {
            app: Arc::clone(app),
            name,
            lock,
            held: None,
        };
        turn.held = Some(Arc::clone(&turn.lock).lock_owned().await);
        Ok(turn)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.held = None;
        let mut locks = self.app.key_locks.locks.lock();
        // The list's and this one: nobody else waits.
        if Arc::strong_count(&self.lock) == 2 {
            locks.remove(&self.name);
        }
    }
}
