//! `signpost listen`: deliveries on a laptop, with no tunnel, each one verified.
//!
//! The server renders and signs what a webhook would get, under a secret made for this stream;
//! this prints it, checks the signature, and hands it on to a local receiver.

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use bytes::Bytes;
use clap::Args;
use domain::{
    Timestamp,
    format::Format,
    signature::{Secret, StandardHeaders, TOLERANCE_S_DEFAULT, VerifyError, verify_standard},
};
use egress::{Egress, Target};
use http::{HeaderName, HeaderValue, Method};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{attempt_log, connection::Connection, headers::Headers, sign::parse_format};
use crate::{
    cli,
    client::{Client, Followed},
    edge,
    output::{BAD, BOLD, DIM, GOOD, Out, styled},
    problem::Problem,
    sse::Message,
    terminal,
};

/// How long a local receiver may take.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(30);

/// Stream deliveries to this machine, verify each, and forward them to a local receiver
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  signpost listen
  signpost listen --events 'workflow.*' --forward-to http://127.0.0.1:3000/hook
  signpost listen --format agent-factory --max 1 --json

No webhook is created and nothing is stored: what happens while nobody listens is not repeated.
The secret that signs is printed at the start; give it to your receiver to verify with.")]
pub struct ListenArgs {
    #[command(flatten)]
    connection: Connection,

    /// Only these events, separated by commas: exact types, `prefix.*`, or `*`
    #[arg(
        short,
        long,
        default_value = "*",
        value_name = "TYPES",
        value_delimiter = ','
    )]
    events: Vec<String>,

    /// Which bodies and headers: default, agent-factory, orchestration or cloudevents
    #[arg(long, default_value = "default", value_name = "FORMAT", value_parser = parse_format)]
    format: Format,

    /// POST each delivery, headers and all, to this URL
    #[arg(short, long, value_name = "URL")]
    forward_to: Option<String>,

    /// End after this many deliveries
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max: Option<u64>,
}

/// What the server says of one delivery.
#[derive(Deserialize)]
struct Delivery {
    id: String,
    event: String,
    headers: Map<String, Value>,
    body: String,
}

/// The first message of a stream.
#[derive(Deserialize)]
struct Ready {
    secret: String,
}

/// Runs `signpost listen`. Exit code 1 if a signature was wrong.
pub async fn run(args: ListenArgs, out: Out) -> Result<ExitCode> {
    let client = Client::new(&args.connection)?;
    let forward = args
        .forward_to
        .as_deref()
        .map(|url| receiver(url, client.egress()))
        .transpose()?;
    let events = args.events.join(",");
    let query = [
        ("events", events.as_str()),
        ("format", args.format.as_str()),
    ];
    let mut follow = client.follow("/api/v1/listen", &query).await?;
    let mut listener = Listener {
        out,
        secret: None,
        forward,
        egress: client.egress().clone(),
    };
    let (mut seen, mut well) = (0, true);
    while args.max.is_none_or(|max| seen < max) {
        let next = tokio::select! {
            next = follow.next() => next?,
            _ = tokio::signal::ctrl_c() => break,
        };
        match next {
            Followed::Message(message) => {
                if let Some(genuine) = listener.take(&message).await? {
                    seen += 1;
                    well &= genuine;
                }
            }
            Followed::Lost(why) => out.note(styled(
                BAD,
                format_args!("connection lost ({why}); connecting again…"),
            )),
            Followed::Back => out.note(styled(DIM, "connected again")),
        }
    }
    Ok(cli::done(well))
}

fn receiver(url: &str, egress: &Egress) -> Result<Target> {
    Target::parse(url, egress.policy()).map_err(|error| {
        Problem::misuse("that is no URL to forward to")
            .at(url)
            .detail(error.to_string())
            .into()
    })
}

struct Listener {
    out: Out,
    secret: Option<Secret>,
    forward: Option<Target>,
    egress: Egress,
}

impl Listener {
    /// Takes a message; says of a delivery whether its signature was right.
    async fn take(&mut self, message: &Message) -> Result<Option<bool>> {
        match message.event.as_str() {
            "ready" => {
                let ready: Ready = serde_json::from_str(&message.data)?;
                self.secret = Some(Secret::parse(&ready.secret)?);
                if self.out.is_json() {
                    self.out
                        .record(&json!({ "ready": { "secret": ready.secret } }))?;
                } else {
                    let secret = terminal::line(&ready.secret);
                    self.out.line(format_args!(
                        "listening; signed with {}",
                        styled(BOLD, secret)
                    ))?;
                }
                Ok(None)
            }
            "delivery" => {
                let delivery: Delivery = serde_json::from_str(&message.data)?;
                self.deliver(delivery).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    async fn deliver(&self, delivery: Delivery) -> Result<bool> {
        let headers: Headers = delivery
            .headers
            .iter()
            .map(|(name, value)| (name, value.as_str().unwrap_or_default()))
            .collect();
        let verdict = verify(self.secret.as_ref(), &headers, &delivery.body, edge::now());
        let forwarded = match &self.forward {
            Some(target) => Some(forward(&self.egress, target, &headers, &delivery.body).await),
            None => None,
        };
        if self.out.is_json() {
            self.out.record(&json!({
                "id": delivery.id, "event": delivery.event, "headers": delivery.headers,
                "body": delivery.body, "verified": verdict.is_ok(),
                "forwarded": forwarded.as_ref().map(|answer| match answer {
                    Ok(status) => json!({ "status": status }),
                    Err(why) => json!({ "error": why }),
                }),
            }))?;
        } else {
            self.print(&delivery, &headers, verdict, forwarded)?;
        }
        Ok(verdict.is_ok())
    }

    fn print(
        &self,
        delivery: &Delivery,
        headers: &Headers,
        verdict: Result<(), VerifyError>,
        forwarded: Option<Result<u16, String>>,
    ) -> Result<()> {
        let mark = match verdict {
            Ok(()) => styled(GOOD, "✓ signature"),
            Err(why) => styled(BAD, format_args!("✗ signature: {why}")),
        };
        let (event, id) = (
            terminal::line(&delivery.event),
            terminal::line(&delivery.id),
        );
        self.out
            .line(format_args!("\n{} {id}  {mark}", styled(BOLD, event)))?;
        for (name, value) in headers.iter() {
            self.out.line(format_args!(
                "  {}",
                styled(DIM, terminal::line(&format!("{name}: {value}")))
            ))?;
        }
        self.out.line(attempt_log::indented(&delivery.body))?;
        match forwarded {
            Some(Ok(status @ 200..=299)) => {
                self.out.line(styled(GOOD, format_args!("  → {status}")))
            }
            Some(Ok(status)) => self.out.line(styled(BAD, format_args!("  → {status}"))),
            Some(Err(why)) => self
                .out
                .line(styled(BAD, format_args!("  → {}", terminal::line(&why)))),
            None => Ok(()),
        }
    }
}

/// Checks a delivery as any Standard Webhooks library would.
pub fn verify(
    secret: Option<&Secret>,
    headers: &Headers,
    body: &str,
    now: Timestamp,
) -> Result<(), VerifyError> {
    let secret = secret.ok_or(VerifyError::Mismatch)?;
    let header = |name| headers.get(name).ok_or(VerifyError::Malformed);
    let standard = StandardHeaders {
        id: header("webhook-id")?,
        timestamp: header("webhook-timestamp")?,
        signature: header("webhook-signature")?,
    };
    let secrets = std::slice::from_ref(secret);
    verify_standard(
        secrets,
        standard,
        body.as_bytes(),
        now.unix_s(),
        TOLERANCE_S_DEFAULT,
    )
}

/// Hands a delivery on as it came; answers the receiver's status, or why there is none.
async fn forward(
    egress: &Egress,
    target: &Target,
    headers: &Headers,
    body: &str,
) -> Result<u16, String> {
    let mut outgoing = egress::Outgoing::new(Method::POST, target.clone());
    outgoing.timeout = FORWARD_TIMEOUT;
    for (name, value) in headers.iter() {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            outgoing.headers.append(name, value);
        }
    }
    outgoing.body = Bytes::copy_from_slice(body.as_bytes());
    match egress.exchange(outgoing).await {
        Ok(exchange) => Ok(exchange.status.as_u16()),
        Err(error) => Err(error.message),
    }
}

#[cfg(test)]
mod tests {
    use domain::signature::Signer;

    use super::*;

    #[test]
    fn a_delivery_is_verified_and_an_altered_one_refused() {
        let now = Timestamp::from_ms(1_769_860_800_000);
        let secret = Secret::generate([3; 32]);
        let signer = Signer::new(std::slice::from_ref(&secret));
        let headers: Headers = [
            ("Webhook-Id", "evt_1".to_owned()),
            ("Webhook-Timestamp", now.unix_s().to_string()),
            (
                "Webhook-Signature",
                signer.standard("evt_1", now.unix_s(), b"{}").unwrap(),
            ),
        ]
        .into_iter()
        .collect();
        assert_eq!(verify(Some(&secret), &headers, "{}", now), Ok(()));
        assert_eq!(
            verify(Some(&secret), &headers, "{ }", now),
            Err(VerifyError::Mismatch)
        );
        assert_eq!(
            verify(None, &headers, "{}", now),
            Err(VerifyError::Mismatch)
        );
        assert_eq!(
            verify(Some(&secret), &Headers::default(), "{}", now),
            Err(VerifyError::Malformed)
        );
    }
}
