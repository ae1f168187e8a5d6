//! A whole server in process, without a port: the real router, store and pipeline under a clock
//! that stands still, ids that count and randomness that repeats.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use delivery::{Edge, Entropy, Pipeline, Settings};
use domain::{
    Timestamp, UserId, WorkspaceId,
    access::{Membership, Role, User},
    id::IdSource,
    seal::SealingKey,
    time::Clock,
};
use egress::{AddressPolicy, Egress, EgressConfig};
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::Value;
use server::{
    App, ServerConfig,
    auth::{
        Gatekeeper,
        password::{Passwords, hash_now},
        token::Tokens,
    },
    front::Front,
    metrics::Metrics,
};
use testkit::TestStore;

/// The time at which every test begins: 2026-01-31T09:30:00Z.
pub const T0: Timestamp = Timestamp::from_ms(1_769_851_800_000);
/// Where requests come from.
pub const PEER: ([u8; 4], u16) = ([127, 0, 0, 1], 50_000);
/// Every test user's password.
pub const PASSWORD: &str = "correct horse battery";

/// A clock that is moved by hand.
pub struct StillClock(AtomicI64);

impl StillClock {
    /// Moves it on.
    pub fn advance(&self, span: Duration) {
        let ms = i64::try_from(span.as_millis()).unwrap();
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.0.load(Ordering::SeqCst))
    }
}

/// Ids that count up from one.
struct CountingIds(AtomicU64);

impl IdSource for CountingIds {
    fn next_id(&self) -> uuid::Uuid {
        let number = self.0.fetch_add(1, Ordering::SeqCst);
        uuid::Uuid::from_u128(0x019c_1356_4ec0_7000_8000_0000_0000_0000 + u128::from(number))
    }
}

/// Bytes of a small generator: the same in each run.
struct RepeatingEntropy(AtomicU64);

impl Entropy for RepeatingEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            let state = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst);
            let mixed = (state ^ (state >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *byte = mixed.to_be_bytes()[0];
        }
    }
}

/// A clock that stands at [`T0`], ids that count, randomness that repeats.
pub fn edge() -> Edge {
    Edge {
        clock: Arc::new(StillClock(AtomicI64::new(T0.ms()))),
        ids: Arc::new(CountingIds(AtomicU64::new(1))),
        entropy: Arc::new(RepeatingEntropy(AtomicU64::new(1))),
    }
}

/// A server in process.
pub struct TestServer {
    pub front: Front,
    pub clock: Arc<StillClock>,
    edge: Edge,
    _place: TestStore,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The slug of a problem's type.
    pub fn slug(&self) -> String {
        let json = self.json();
        json["type"]
            .as_str()
            .unwrap_or_default()
            .trim_start_matches("/errors/")
            .to_owned()
    }
}

/// A request being put together.
pub struct Call<'a> {
    server: &'a TestServer,
    request: http::request::Builder,
    body: Vec<u8>,
}

impl Call<'_> {
    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// Adds a token or key.
    #[must_use]
    pub fn bearer(self, credentials: &str) -> Self {
        self.header("authorization", &format!("Bearer {credentials}"))
    }

    /// Sets a JSON body.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// Sets a body of any type.
    #[must_use]
    pub fn body(mut self, media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("content-type", media_type)
    }

    /// Sends it from somewhere.
    pub async fn from(self, peer: SocketAddr) -> Answer {
        let request: Request<Body> = self.request.body(Body::from(self.body)).unwrap();
        let response = self.server.front.handle(request, peer).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    /// Sends it.
    pub async fn send(self) -> Answer {
        self.from(PEER.into()).await
    }
}

impl TestServer {
    /// In local mode: bound to loopback, no users.
    pub async fn local() -> Self {
        Self::with(ServerConfig::default(), true, false).await
    }

    /// With an owner named `ann` and the default settings.
    pub async fn owned() -> Self {
        Self::owned_with(ServerConfig::default()).await
    }

    /// With an owner named `ann`.
    pub async fn owned_with(config: ServerConfig) -> Self {
        let server = Self::with(config, true, true).await;
        server.add_user("ann", Role::Owner).await;
        server
    }

    /// With everything said.
    pub async fn with(config: ServerConfig, loopback: bool, has_users: bool) -> Self {
        let place = TestStore::chosen();
        let clock = Arc::new(StillClock(AtomicI64::new(T0.ms())));
        let edge = Edge {
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            ..edge()
        };
        let mut metrics = Metrics::default();
        let store = place.open_observed(T0, metrics.commit_observer()).await;
        let sealing = SealingKey::new([7; 32]);
        let tokens = Tokens::of_installation(&sealing);
        let policy = AddressPolicy::public_only().allow_loopback(true);
        let egress = Egress::new(EgressConfig {
            policy,
            ..EgressConfig::default()
        });
        let loaded = Pipeline::load(store, egress, edge.clone(), sealing, Settings::default());
        let pipeline = loaded.await.unwrap();
        pipeline.metrics().register(metrics.registry_mut());
        let passwords = Passwords::new(Arc::clone(&edge.entropy));
        let gatekeeper = Gatekeeper::new(tokens, passwords, loopback, has_users);
        let executions = server::engine::build(&config, &pipeline, "localhost:8000", false);
        let app = App::new(config, pipeline, executions, gatekeeper, metrics);
        let front = Front::new(app);
        Self {
            front,
            clock,
            edge,
            _place: place,
        }
    }

    /// Adds a member to the default workspace, past the interface.
    pub async fn add_user(&self, login: &str, role: Role) -> UserId {
        let user = User {
            id: UserId::new(self.edge.ids.next_id()),
            login: login.to_owned(),
            password_hash: hash_now(PASSWORD, &*self.edge.entropy).unwrap(),
            created_at: T0,
        };
        let id = user.id;
        let membership = Membership {
            user: id,
            workspace: WorkspaceId::DEFAULT,
            role,
        };
        assert!(
            self.front
                .app()
                .store()
                .create_user(user, membership)
                .await
                .unwrap()
        );
        id
    }

    /// A token of a user.
    pub async fn token(&self, login: &str) -> String {
        let body = serde_json::json!({ "login": login, "password": PASSWORD });
        let answer = self.post("/api/v1/auth/login").json(&body).send().await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    /// A request.
    pub fn call(&self, method: Method, path: &str) -> Call<'_> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost:8000");
        Call {
            server: self,
            request,
            body: Vec::new(),
        }
    }

    /// A GET request.
    pub fn get(&self, path: &str) -> Call<'_> {
        self.call(Method::GET, path)
    }

    /// A POST request.
    pub fn post(&self, path: &str) -> Call<'_> {
        self.call(Method::POST, path)
    }
}
