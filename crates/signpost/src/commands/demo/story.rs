//! The story that the demo tells, step by step. Each step does what it says over the API.

use std::time::{Duration, Instant};

use anyhow::Result;
use domain::signature::{Secret, VerifyError};
use http::Method;
use serde::Serialize;
use serde_json::{Value, json};

use super::receiver::{Received, Receiver};
use crate::{
    client::Client,
    commands::{
        attempt_log::{indented, outcome_cell},
        deliveries::took,
        events::path_part,
        listen::verify,
    },
    edge,
    output::{self, BAD, BOLD, DIM, GOOD, Out, cell, show, styled, text},
    problem::Problem,
    terminal, when,
};

/// How often and how long the log of a delivery is asked for.
const POLL: (Duration, u32) = (Duration::from_millis(50), 400);

/// Who plays.
pub struct Story<'a> {
    /// The server.
    pub client: &'a Client,
    /// The receiver.
    pub receiver: &'a Receiver,
    /// Where it is told.
    pub out: Out,
}

/// What came of it, for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own that a program reads"
)]
pub struct Outcome {
    webhook_id: String,
    event_id: String,
    received: bool,
    verified: bool,
    tampered_refused: bool,
    recovered: bool,
    attempts: Vec<Value>,
}

impl Outcome {
    /// Whether all went as it should.
    pub const fn is_good(&self) -> bool {
        self.received && self.verified && self.tampered_refused && self.recovered
    }
}

impl Story<'_> {
    /// Tells it.
    ///
    /// # Errors
    /// If the server refuses, or a delivery does not arrive.
    pub async fn tell(&self) -> Result<Outcome> {
        self.step(1, &format!("A receiver listens at {}", self.receiver.url()))?;
        let (webhook_id, secret) = self.create_webhook().await?;
        let started = Instant::now();
        let event_id = self
            .publish(
                3,
                "An event is published",
                &json!({
                    "workflowId": "wf_demo", "executionId": "ex_1", "status": "completed",
                    "result": { "summary": "hello from the demo", "items": 3 },
                }),
            )
            .await?;
        let received = self.receiver.next().await?;
        self.show_received(&received, started.elapsed())?;
        let (verified, tampered_refused) = self.check_signatures(&secret, &received)?;
        let recovered_id = self.fail_and_recover().await?;
        let attempts = self.show_log(&[&event_id, &recovered_id]).await?;
        let recovered = attempts
            .iter()
            .filter(|attempt| show(attempt, "eventId") == recovered_id)
            .count()
            == 2;
        Ok(Outcome {
            webhook_id,
            received: received.headers.get("webhook-id") == Some(&event_id),
            event_id,
            verified,
            tampered_refused,
            recovered,
            attempts,
        })
    }

    fn say(&self, line: impl std::fmt::Display) -> Result<()> {
        if self.out.is_json() {
            Ok(())
        } else {
            self.out.line(line)
        }
    }

    fn step(&self, number: u32, title: &str) -> Result<()> {
        self.say(format_args!(
            "\n{} {}",
            styled(DIM, format_args!("{number}.")),
            styled(BOLD, title)
        ))
    }

    async fn create_webhook(&self) -> Result<(String, Secret)> {
        self.step(
            2,
            "A webhook is created: the receiver subscribes to workflow.*",
        )?;
        let body = json!({
            "name": "demo", "targetUrl": self.receiver.url(), "events": ["workflow.*"],
            "schedule": { "delays": ["1s", "1s", "5s"] },
        });
        let answer = self
            .client
            .send(Method::POST, "/api/v1/webhooks", Some(body.to_string()))
            .await?;
        let webhook = answer.body;
        let secret = text(&webhook, "secret")
            .ok_or_else(|| Problem::failed("the webhook came without a secret"))?;
        self.say(format_args!(
            "   {} {}",
            answer.status,
            show(&webhook, "id")
        ))?;
        self.say(format_args!("   secret {}", terminal::line(secret)))?;
        Ok((show(&webhook, "id"), Secret::parse(secret)?))
    }

    async fn publish(&self, number: u32, title: &str, data: &Value) -> Result<String> {
        self.step(number, title)?;
        let body = json!({ "event": "workflow.completed", "data": data });
        self.say(format_args!(
            "   POST /api/v1/events {}",
            styled(DIM, &body)
        ))?;
        let answer = self
            .client
            .send(Method::POST, "/api/v1/events", Some(body.to_string()))
            .await?;
        let id = show(&answer.body, "id");
        self.say(format_args!(
            "   {} {id} {}",
            styled(GOOD, answer.status),
            styled(DIM, "(it is on disk now)")
        ))?;
        Ok(id)
    }

    fn show_received(&self, received: &Received, after: Duration) -> Result<()> {
        self.step(
            4,
            &format!("The receiver gets it, {} later", when::show(after)),
        )?;
        for (name, value) in received.headers.iter() {
            let line = terminal::line(&format!("{name}: {value}")).into_owned();
            self.say(format_args!("    {}", styled(DIM, line)))?;
        }
        self.say(format_args!("\n{}", indented(&received.body)))
    }

    /// Whether the delivery verifies, and whether a copy with one letter changed is refused.
    fn check_signatures(&self, secret: &Secret, received: &Received) -> Result<(bool, bool)> {
        self.step(5, "The receiver checks the signature")?;
        let now = edge::now();
        let genuine = verify(Some(secret), &received.headers, &received.body, now);
        let tampered = received.body.replacen("completed", "cOmpleted", 1);
        let forged = verify(Some(secret), &received.headers, &tampered, now);
        let good = matches!(genuine, Ok(()));
        let refused = forged == Err(VerifyError::Mismatch);
        self.say(match genuine {
            Ok(()) => format!("   {} as it came: verified", styled(GOOD, "✓")),
            Err(error) => format!("   {} as it came: {error}", styled(BAD, "✗")),
        })?;
        self.say(match forged {
            Err(error) => format!(
                "   {} with one letter changed: refused, {error}",
                styled(GOOD, "✗")
            ),
            Ok(()) => format!("   {} with one letter changed: accepted!", styled(BAD, "✓")),
        })?;
        Ok((good, refused))
    }

    async fn fail_and_recover(&self) -> Result<String> {
        self.receiver.fail_next(503);
        let title = "The receiver is down for a moment; the next event waits for it";
        let id = self
            .publish(
                6,
                title,
                &json!({ "workflowId": "wf_demo", "executionId": "ex_2", "status": "completed" }),
            )
            .await?;
        let failed = self.receiver.next().await?;
        self.say(format_args!(
            "   {} first attempt: the receiver answers {}",
            styled(BAD, "✗"),
            failed.status
        ))?;
        let started = Instant::now();
        let again = self.receiver.next().await?;
        let waited = when::show(started.elapsed());
        self.say(format_args!(
            "   {} second attempt, {waited} later: {} (same id, so it is no second event)",
            styled(GOOD, "✓"),
            again.status
        ))?;
        Ok(id)
    }

    async fn show_log(&self, events: &[&str]) -> Result<Vec<Value>> {
        self.step(7, "Every attempt is in the log")?;
        let mut attempts = Vec::new();
        let mut table = output::table(["EVENT ID", "ATTEMPT", "RESULT", "TOOK", "STARTED"]);
        for id in events {
            let delivery = self.finished_delivery(id).await?;
            for attempt in delivery
                .get("attempts")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                let mut attempt = attempt.clone();
                attempt["eventId"] = json!(id);
                table.add_row(vec![
                    cell(id, None),
                    cell(&show(&attempt, "number"), None),
                    outcome_cell(&attempt),
                    cell(&took(&attempt), None),
                    cell(&show(&attempt, "startedAt"), None),
                ]);
                attempts.push(attempt);
            }
        }
        if !self.out.is_json() {
            self.out.table(table, "the log is empty")?;
        }
        Ok(attempts)
    }

    /// The one delivery of an event, once its last attempt is recorded.
    async fn finished_delivery(&self, event: &str) -> Result<Value> {
        for _ in 0..POLL.1 {
            let listing = self
                .client
                .list("/api/v1/deliveries", &[("eventId", event)], 1)
                .await?;
            if let Some(delivery) = listing.data.first()
                && text(delivery, "state") == Some("delivered")
            {
                let path = format!("/api/v1/deliveries/{}", path_part(&show(delivery, "id")));
                return self.client.get(&path, &[]).await;
            }
            tokio::time::sleep(POLL.0).await;
        }
        Err(Problem::failed(format!("the delivery of {event} was not recorded")).into())
    }
}
