//! A make-believe Signpost in a thread: takes the routes the benchmark uses, forwards what is
//! published, and misbehaves on request, to prove that the benchmark notices.
//!
//! It keeps nothing and never retries more than once. Unless told otherwise it delivers before it
//! answers the publisher, so that a finished run has nothing under way and what is missing is lost.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What goes wrong, each with every n-th event (0: never).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Faults {
    /// Accepted and not delivered.
    pub(super) lose_every: u64,
    /// Delivered twice.
    pub(super) double_every: u64,
    /// Signed with another key.
    pub(super) missign_every: u64,
    /// Delivered under an id that was not answered.
    pub(super) misname_every: u64,
    /// Publishing answered 503, not delivered.
    pub(super) refuse_every: u64,
    /// Delivers after it answered.
    pub(super) in_background: bool,
}

/// The server's state.
#[derive(Debug)]
pub(super) struct Fake {
    faults: Faults,
    events: AtomicU64,
    webhooks: Mutex<HashMap<String, Arc<Webhook>>>,
    /// Every webhook ever made, as it was asked for.
    pub(super) made: Mutex<Vec<Value>>,
}

#[derive(Debug)]
struct Webhook {
    address: SocketAddr,
    path: String,
    key: hmac::Key,
    idle: Mutex<Vec<TcpStream>>,
}

#[derive(Deserialize)]
struct Publish<'a> {
    event: &'a str,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    events: Vec<Publish<'a>>,
}

impl Fake {
    /// Starts one and returns its base address.
    pub(super) fn start(faults: Faults) -> (Arc<Self>, String) {
        let (events, webhooks, made) = (AtomicU64::new(1), Mutex::default(), Mutex::default());
        let fake = Arc::new(Self {
            faults,
            events,
            webhooks,
            made,
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        listener.set_nonblocking(true).unwrap();
        let serving = Arc::clone(&fake);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    stream.set_nodelay(true).unwrap();
                    tokio::spawn(Arc::clone(&serving).serve(stream));
                }
            });
        });
        (fake, address)
    }

    /// Webhooks that were made and not removed.
    pub(super) fn webhooks_left(&self) -> usize {
        self.webhooks.lock().unwrap().len()
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        let mut buffer = Vec::with_capacity(8 * 1024);
        loop {
            let Some((head, body_at)) = read_message(&mut stream, &mut buffer).await else {
                return;
            };
            let (method, path) = (head.0, head.1);
            let (status, answer) = self.answer(&method, &path, &buffer[body_at..]).await;
            buffer.clear();
            let bytes = format!(
                "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{answer}",
                answer.len()
            );
            if stream.write_all(bytes.as_bytes()).await.is_err() || method == "DELETE" {
                return;
            }
        }
    }

    async fn answer(self: &Arc<Self>, method: &str, path: &str, body: &[u8]) -> (u16, String) {
        match (method, path) {
            ("GET", "/readyz") => (200, String::new()),
            ("POST", "/api/v1/event-types") => (409, "{}".to_owned()),
            ("POST", "/api/v1/webhooks") => (201, self.create_webhook(body)),
            ("DELETE", path) => {
                let id = path.strip_prefix("/api/v1/webhooks/").unwrap();
                (
                    if self.webhooks.lock().unwrap().remove(id).is_some() {
                        204
                    } else {
                        404
                    },
                    String::new(),
                )
            }
            ("POST", "/api/v1/events") => self.publish(serde_json::from_slice(body).unwrap()).await,
            ("POST", "/api/v1/events/batch") => {
                let batch: Batch<'_> = serde_json::from_slice(body).unwrap();
                let mut answers = Vec::new();
                for event in batch.events {
                    answers.push(self.publish(event).await.1);
                }
                (202, format!(r#"{{"data":[{}]}}"#, answers.join(",")))
            }
            _ => (404, String::new()),
        }
    }

    fn create_webhook(&self, body: &[u8]) -> String {
        let asked: Value = serde_json::from_slice(body).unwrap();
        let target = url::Url::parse(asked["targetUrl"].as_str().unwrap()).unwrap();
        let secret = asked["secret"]
            .as_str()
            .unwrap()
            .strip_prefix("whsec_")
            .unwrap();
        let webhook = Webhook {
            address: target.socket_addrs(|| None).unwrap()[0],
            path: target.path().to_owned(),
            key: hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(secret).unwrap()),
            idle: Mutex::default(),
        };
        self.made.lock().unwrap().push(asked);
        let id = format!("whk_{}", self.made.lock().unwrap().len());
        self.webhooks
            .lock()
            .unwrap()
            .insert(id.clone(), Arc::new(webhook));
        json!({ "id": id }).to_string()
    }

    async fn publish(self: &Arc<Self>, publish: Publish<'_>) -> (u16, String) {
        let number = self.events.fetch_add(1, Ordering::Relaxed);
        let strikes = |every: u64| every > 0 && number.is_multiple_of(every);
        if strikes(self.faults.refuse_every) {
            return (503, "{}".to_owned());
        }
        let id = format!("evt_{number:08}");
        let answer = format!(r#"{{"id":"{id}"}}"#);
        let id = if strikes(self.faults.misname_every) {
            "evt_other".to_owned()
        } else {
            id
        };
        let body = format!(
            r#"{{"id":"{id}","event":"{}","timestamp":"2026-01-01T00:00:00Z","data":{}}}"#,
            publish.event,
            publish.data.get()
        );
        let times = if strikes(self.faults.lose_every) {
            0
        } else {
            1 + u32::from(strikes(self.faults.double_every))
        };
        let missign = strikes(self.faults.missign_every);
        let webhooks: Vec<_> = self.webhooks.lock().unwrap().values().cloned().collect();
        for webhook in webhooks {
            for _ in 0..times {
                let request = webhook.request(&id, &body, missign);
                let delivery = Arc::clone(&webhook).deliver(request);
                if self.faults.in_background {
                    tokio::spawn(delivery);
                } else {
                    delivery.await;
                }
            }
        }
        (202, answer)
    }
}

impl Webhook {
    fn request(&self, id: &str, body: &str, missign: bool) -> Vec<u8> {
        let wrong = hmac::Key::new(hmac::HMAC_SHA256, b"another");
        let key = if missign { &wrong } else { &self.key };
        let signature = STANDARD.encode(hmac::sign(key, format!("{id}.17.{body}").as_bytes()));
        format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\nwebhook-id: {id}\r\nwebhook-timestamp: 17\r\nwebhook-signature: v1,{signature}\r\ncontent-length: {}\r\n\r\n{body}",
            self.path,
            self.address,
            body.len()
        )
        .into_bytes()
    }

    /// Sends the request, once more if it is answered 500.
    async fn deliver(self: Arc<Self>, request: Vec<u8>) {
        let mut buffer = Vec::new();
        for _ in 0..2 {
            let idle = self.idle.lock().unwrap().pop();
            let mut stream = match idle {
                Some(stream) => stream,
                None => TcpStream::connect(self.address).await.unwrap(),
            };
            stream.set_nodelay(true).unwrap();
            // The receiver closes its connections when the run is over.
            if stream.write_all(&request).await.is_err() {
                return;
            }
            buffer.clear();
            let Ok(1..) = stream.read_buf(&mut buffer).await else {
                return;
            };
            self.idle.lock().unwrap().push(stream);
            if !buffer.starts_with(b"HTTP/1.1 500") {
                return;
            }
        }
    }
}

/// Reads one request; returns method and path, and where its body begins in `buffer`.
async fn read_message(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
) -> Option<((String, String), usize)> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut headers);
        if let httparse::Status::Complete(head) = request.parse(buffer).unwrap() {
            let length = request
                .headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case("content-length"));
            let length: usize = length.map_or(0, |header| {
                std::str::from_utf8(header.value).unwrap().parse().unwrap()
            });
            if buffer.len() == head + length {
                return Some(((request.method?.to_owned(), request.path?.to_owned()), head));
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
