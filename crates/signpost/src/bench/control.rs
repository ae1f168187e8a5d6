//! Sets the server up for a run: waits until it is ready, registers the event type, makes the
//! webhooks and removes them.
//!
//! Plain blocking HTTP/1.1, a connection per request: there are few of them and none is measured.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use url::Url;

use super::wire::{self, EVENT_NAME, WORKFLOW_NAME};

const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(15);
const READY_TIMEOUT: Duration = Duration::from_mins(1);
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A client of the server's management routes.
#[derive(Debug, Clone)]
pub(super) struct Control {
    address: SocketAddr,
    host: String,
    token: Option<String>,
}

/// What to ask for when making a webhook.
#[derive(Debug, Clone)]
pub(super) struct Webhook {
    /// Shown on the dashboard.
    pub(super) name: String,
    /// Where deliveries go.
    pub(super) target_url: String,
    /// `whsec_…`.
    pub(super) secret: String,
    /// Deliveries in flight.
    pub(super) concurrency: u32,
    /// Timeout of an attempt; `None`: the server's default.
    pub(super) timeout_ms: Option<u64>,
    /// Format; `None`: the server's default.
    pub(super) format: Option<String>,
}

impl Control {
    /// A client of the server at `base`, `http://host:port`.
    ///
    /// # Errors
    /// When `base` is not such an address or its host has none.
    pub(super) fn new(base: &str, token: Option<String>) -> Result<Self> {
        let url = Url::parse(base).with_context(|| format!("{base} is not an address"))?;
        let name = url
            .host_str()
            .with_context(|| format!("{base} names no host"))?;
        let port = url
            .port_or_known_default()
            .with_context(|| format!("{base} names no port"))?;
        let host = format!("{name}:{port}");
        let address = host
            .to_socket_addrs()
            .with_context(|| format!("failed to look up {name}"))?
            .next()
            .with_context(|| format!("{name} has no address"))?;
        Ok(Self {
            address,
            host,
            token,
        })
    }

    /// The server's address.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The `Host` header's value.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// The bearer token, if there is one.
    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Waits until `/readyz` answers 200. Something must be listening already: a server prints its
    /// address when it is.
    ///
    /// # Errors
    /// When nothing answers, or not so within a minute.
    pub(super) fn wait_until_ready(&self) -> Result<()> {
        let started = Instant::now();
        loop {
            match self.send("GET", "/readyz", None)? {
                (200, _) => return Ok(()),
                (status, answer) if started.elapsed() > READY_TIMEOUT => {
                    bail!(
                        "the server at {} is not ready; /readyz answers {status}: {answer}",
                        self.host
                    )
                }
                _ => thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// Registers the event type that is published; that it exists already is fine.
    ///
    /// # Errors
    /// When the server refuses.
    pub(super) fn register_event_type(&self) -> Result<()> {
        let body = json!({ "name": EVENT_NAME, "description": "Published by signpost bench." });
        match self.send("POST", "/api/v1/event-types", Some(&body))? {
            (200..300 | 409, _) => Ok(()),
            (status, answer) => {
                bail!("registering event type {EVENT_NAME} was answered {status}: {answer}")
            }
        }
    }

    /// Registers the workflow that webhooks start: three steps, the last publishes the event.
    ///
    /// # Errors
    /// When the server refuses.
    pub(super) fn register_workflow(&self) -> Result<()> {
        let config = json!({
            "schema_version": "1.0",
            "flow": { "name": WORKFLOW_NAME, "description": "Measured by signpost bench." },
            "state": { "fields": {
                "event": { "type": "dict", "required": true },
                "checked": { "type": "dict" },
                "order": { "type": "dict" },
            } },
            "nodes": [
                { "id": "check", "kind": "transform", "outputs": ["checked"],
                  "jq": "{seq: .state.event.seq, late: (.state.event.sent_ns < 0)}" },
                { "id": "order", "kind": "transform", "outputs": ["order"],
                  "jq": "{event: .state.event, check: .state.checked}" },
                { "id": "tell", "kind": "emit", "event": EVENT_NAME, "data": "{event}" },
            ],
            "edges": [
                { "from": "START", "to": "check" },
                { "from": "check", "to": "order" },
                { "from": "order", "to": "tell" },
                { "from": "tell", "to": "END" },
            ],
        });
        let body = json!({ "name": WORKFLOW_NAME, "config": config });
        match self.send("POST", "/api/v1/workflows", Some(&body))? {
            (200..300, _) => Ok(()),
            (status, answer) => bail!("registering the workflow was answered {status}: {answer}"),
        }
    }

    /// Makes a webhook and returns its id.
    ///
    /// # Errors
    /// When the server refuses.
    pub(super) fn create_webhook(&self, webhook: &Webhook) -> Result<String> {
        let mut body = json!({
            "name": webhook.name,
            "targetUrl": webhook.target_url,
            "events": [EVENT_NAME],
            "secret": webhook.secret,
            "concurrency": webhook.concurrency,
        });
        if let Some(timeout_ms) = webhook.timeout_ms {
            body["timeoutMs"] = timeout_ms.into();
        }
        if let Some(format) = &webhook.format {
            body["format"] = format.as_str().into();
        }
        let (status, answer) = self.send("POST", "/api/v1/webhooks", Some(&body))?;
        if !(200..300).contains(&status) {
            bail!("making a webhook was answered {status}: {answer}");
        }
        let id = answer["id"]
            .as_str()
            .with_context(|| format!("the new webhook has no id: {answer}"))?;
        Ok(id.to_owned())
    }

    /// Removes a webhook.
    ///
    /// # Errors
    /// When the server refuses.
    pub(super) fn delete_webhook(&self, id: &str) -> Result<()> {
        match self.send("DELETE", &format!("/api/v1/webhooks/{id}"), None)? {
            (200..300 | 404, _) => Ok(()),
            (status, answer) => bail!("removing webhook {id} was answered {status}: {answer}"),
        }
    }

    fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        let body = body.map_or_else(String::new, Value::to_string);
        let authorization = self.token.as_ref().map_or_else(String::new, |token| {
            format!("Authorization: Bearer {token}\r\n")
        });
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{authorization}Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.host,
            body.len()
        );
        let (status, answer) = self
            .exchange(request.as_bytes())
            .with_context(|| format!("failed to {method} {path} at {}", self.host))?;
        let text = || Value::String(String::from_utf8_lossy(&answer).into_owned());
        Ok((
            status,
            serde_json::from_slice(&answer).unwrap_or_else(|_| text()),
        ))
    }

    /// Sends a request and returns the answer's status and body.
    fn exchange(&self, request: &[u8]) -> Result<(u16, Vec<u8>)> {
        let mut stream = TcpStream::connect_timeout(&self.address, EXCHANGE_TIMEOUT)?;
        stream.set_read_timeout(Some(EXCHANGE_TIMEOUT))?;
        stream.set_write_timeout(Some(EXCHANGE_TIMEOUT))?;
        stream.write_all(request)?;
        let mut received = Vec::new();
        let mut part = [0; 4096];
        loop {
            match wire::parse_answer(&received) {
                Ok(Some(answer)) => return Ok((answer.status, answer.body.to_vec())),
                Ok(None) if received.len() < ANSWER_BYTES_MAX => {}
                _ => bail!("the answer is not HTTP/1.1 with a Content-Length, or too long"),
            }
            let read = stream.read(&mut part)?;
            ensure!(read > 0, "the server closed the connection");
            received.extend_from_slice(&part[..read]);
        }
    }
}
