//! A receiver of webhooks on a free loopback port, with answers in a script, and what the tests
//! of deliveries share.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, extract::State, response::IntoResponse};
use domain::access::{Membership, Role, User};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, PASSWORD, T0, TestServer};

/// One request that arrived.
#[derive(Clone, Debug)]
pub struct Received {
    pub headers: HeaderMap,
    pub body: String,
}

impl Received {
    /// A header's value; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

#[derive(Default)]
struct Script {
    received: Mutex<Vec<Received>>,
    answers: Mutex<VecDeque<(u16, Vec<u8>)>>,
}

/// A receiver; it stops when it is dropped.
pub struct Receiver {
    pub url: String,
    script: Arc<Script>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn receive(
    State(script): State<Arc<Script>>,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    let body = String::from_utf8(body.to_vec()).unwrap();
    script
        .received
        .lock()
        .unwrap()
        .push(Received { headers, body });
    let (status, body) = script
        .answers
        .lock()
        .unwrap()
        .pop_front()
        .unwrap_or((200, b"ok".to_vec()));
    (StatusCode::from_u16(status).unwrap(), body)
}

impl Receiver {
    /// Answers 200 to everything that [`Receiver::answer`] has not put in line.
    pub async fn start() -> Self {
        let script = Arc::new(Script::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let router = Router::new()
            .fallback(receive)
            .with_state(Arc::clone(&script));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            script,
            serving,
        }
    }

    /// Puts an answer in line.
    pub fn answer(&self, status: u16, body: impl Into<Vec<u8>>) {
        self.script
            .answers
            .lock()
            .unwrap()
            .push_back((status, body.into()));
    }

    /// What has arrived.
    pub fn received(&self) -> Vec<Received> {
        self.script.received.lock().unwrap().clone()
    }

    /// The only request that has arrived.
    pub fn only(&self) -> Received {
        let [one] = <[Received; 1]>::try_from(self.received()).unwrap();
        one
    }

    /// An answer's body without what differs from run to run: ports, durations, dates, jitter.
    pub fn shown(&self, answer: &Answer) -> Value {
        let port = self
            .url
            .trim_start_matches("http://")
            .split('/')
            .next()
            .unwrap()
            .to_owned();
        let text = answer.text().replace(&port, "127.0.0.1:9");
        let mut value: Value = serde_json::from_str(&text).unwrap();
        settle(&mut value);
        value
    }
}

fn settle(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name == "durationMs" {
                    assert!(value.as_f64().unwrap() >= 0.0);
                    *value = json!(0);
                }
                if name == "nextAttemptAt" && value.is_string() {
                    // Five seconds and up to 20 % of jitter.
                    assert!(
                        ("2026-01-31T09:30:05".."2026-01-31T09:30:06.001")
                            .contains(&value.as_str().unwrap())
                    );
                    *value = json!("2026-01-31T09:30:05Z and jitter");
                }
                settle(value);
            }
        }
        Value::Array(values) => {
            values.retain(|value| value["name"] != "date");
            values.iter_mut().for_each(settle);
        }
        _ => {}
    }
}

impl TestServer {
    /// Makes a webhook with these fields and answers its record.
    pub async fn webhook(&self, fields: &Value) -> Value {
        let answer = self.post("/api/v1/webhooks").json(fields).send().await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
        answer.json()
    }

    /// Publishes an event and waits until nothing is left to be done about it.
    pub async fn publish(&self, event: &Value) -> Answer {
        let answer = self.post("/api/v1/events").json(event).send().await;
        self.idle().await;
        answer
    }

    /// Waits until nothing is left to be done now.
    pub async fn idle(&self) {
        self.front.app().pipeline.run_until_idle().await.unwrap();
    }

    /// The token of an owner of another workspace.
    pub async fn stranger(&self) -> String {
        let store = self.front.app().store();
        let workspace = store.create_workspace("elsewhere", T0).await.unwrap();
        let user = User {
            id: domain::UserId::new(uuid::Uuid::from_u128(0xdead)),
            login: "zoe".to_owned(),
            password_hash: server::auth::password::hash_now(
                PASSWORD,
                &*self.front.app().edge().entropy,
            )
            .unwrap(),
            created_at: T0,
        };
        let membership = Membership {
            user: user.id,
            workspace: workspace.id,
            role: Role::Owner,
        };
        assert!(store.create_user(user, membership).await.unwrap());
        self.token("zoe").await
    }
}

/// The paths that a problem names.
pub fn paths(answer: &Answer) -> Vec<String> {
    let json = answer.json();
    let errors = json["errors"]
        .as_array()
        .unwrap_or_else(|| panic!("{json}"));
    errors
        .iter()
        .map(|error| error["path"].as_str().unwrap().to_owned())
        .collect()
}

/// The messages that a problem names, each behind its path.
pub fn faults(answer: &Answer) -> String {
    let json = answer.json();
    let errors = json["errors"]
        .as_array()
        .unwrap_or_else(|| panic!("{json}"));
    let line = |error: &Value| {
        format!(
            "{}: {}\n",
            error["path"].as_str().unwrap(),
            error["message"].as_str().unwrap()
        )
    };
    errors.iter().map(line).collect()
}
