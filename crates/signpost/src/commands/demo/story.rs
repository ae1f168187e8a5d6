//! The story that the demo tells, step by step. Each step does what it says over the API.

use std::time::{Duration, Instant};

use anyhow::Result;
use domain::signature::{Secret, VerifyError};
use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    receiver::{Received, Receiver},
    sender::{HEADER, Sender},
    setting,
};
use crate::{
    client::{Client, Followed},
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
/// How long an execution's end is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// The longest output of a step that is shown, in characters.
const OUTPUT_CHARS_MAX: usize = 70;

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
    execution_id: String,
    event_id: String,
    /// Whether the workflow's models were the stand-in.
    offline_model: bool,
    forged_refused: bool,
    repeat_ignored: bool,
    completed: bool,
    received: bool,
    verified: bool,
    tampered_refused: bool,
    recovered: bool,
    steps: Vec<Value>,
    attempts: Vec<Value>,
}

impl Outcome {
    /// Whether all went as it should.
    pub const fn is_good(&self) -> bool {
        self.forged_refused
            && self.repeat_ignored
            && self.completed
            && self.received
            && self.verified
            && self.tampered_refused
            && self.recovered
    }
}

/// What came of a webhook that was sent.
struct Sent {
    execution: String,
    forged_refused: bool,
    repeat_ignored: bool,
}

impl Story<'_> {
    /// Tells it.
    ///
    /// # Errors
    /// If the server refuses, or a delivery does not arrive.
    pub async fn tell(&self) -> Result<Outcome> {
        self.step(
            1,
            "A webhook: the receiver is told of each run that completes",
        )?;
        let webhook = setting::webhook(self.client, &self.receiver.url()).await?;
        let webhook_id = show(&webhook.answer.body, "id");
        self.say(format_args!(
            "   {} {webhook_id} → {}",
            styled(GOOD, webhook.answer.status),
            self.receiver.url()
        ))?;
        let sender = self.open_the_door().await?;
        let started = Instant::now();
        let sent = self.send(&sender).await?;
        let ended = self.follow(&sent.execution).await?;
        if text(&ended, "state") != Some("completed") {
            let why = text(&ended, "error/message").unwrap_or_default();
            return Err(Problem::failed("the workflow did not complete")
                .detail(terminal::line(why).into_owned())
                .into());
        }
        let received = self.receiver.next().await?;
        self.show_received(&received, started.elapsed())?;
        let (verified, tampered_refused) = self.check_signatures(&webhook.secret, &received)?;
        let event_id = event_of(&received);
        let recovered_id = self.fail_and_recover(&sender).await?;
        let attempts = self.show_log(&[&event_id, &recovered_id]).await?;
        let recovered = attempts
            .iter()
            .filter(|attempt| show(attempt, "eventId") == recovered_id)
            .count()
            == 2;
        let told: Value = serde_json::from_str(&received.body).unwrap_or_default();
        Ok(Outcome {
            webhook_id,
            received: text(&told, "data/executionId") == Some(&sent.execution),
            execution_id: sent.execution,
            event_id,
            offline_model: ended["offline"] == true,
            forged_refused: sent.forged_refused,
            repeat_ignored: sent.repeat_ignored,
            completed: text(&ended, "state") == Some("completed"),
            verified,
            tampered_refused,
            recovered,
            steps: ended["timeline"].as_array().cloned().unwrap_or_default(),
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

    fn check(&self, good: bool, line: impl std::fmt::Display) -> Result<()> {
        let mark = if good {
            styled(GOOD, "✓")
        } else {
            styled(BAD, "✗")
        };
        self.say(format_args!("   {mark} {line}"))
    }

    /// Source and workflow, with the trigger between them.
    async fn open_the_door(&self) -> Result<Sender<'_>> {
        self.step(
            2,
            "A source for a shop's webhooks, and a workflow that they start",
        )?;
        let source = setting::source(self.client).await?;
        let url = show(&source.answer.body, "url");
        self.say(format_args!(
            "   {} {} takes what is signed at {url}",
            styled(GOOD, source.answer.status),
            show(&source.answer.body, "id"),
        ))?;
        let workflow = setting::workflow(self.client).await?;
        self.say(format_args!(
            "   {} {} total (jq) → thanks (model) → pack (jq)",
            styled(GOOD, workflow.status),
            show(&workflow.body, "id"),
        ))?;
        let url = if url.starts_with('/') {
            format!("{}{url}", self.client.address())
        } else {
            url
        };
        Ok(Sender {
            client: self.client,
            url,
            secret: source.secret,
        })
    }

    async fn send(&self, sender: &Sender<'_>) -> Result<Sent> {
        self.step(3, "The shop sends a signed webhook")?;
        let body = order(17);
        let signature = sender.signature(&body);
        self.say(format_args!(
            "   POST {} {}",
            sender.url,
            styled(DIM, &body)
        ))?;
        self.say(styled(DIM, format_args!("   {HEADER}: {signature}")))?;
        let taken = sender.post(&body, &signature).await?;
        let execution = taken.execution()?;
        self.say(format_args!(
            "   {} {execution} {}",
            styled(GOOD, taken.status),
            styled(DIM, "(request and execution are on disk now)")
        ))?;
        let again = sender.post(&body, &signature).await?;
        let repeat_ignored = again.execution()? == execution && again.body["duplicate"] == true;
        self.check(
            repeat_ignored,
            format_args!(
                "sent again: {}, the same execution, no second one",
                again.status
            ),
        )?;
        let forged = sender.post(&order(18), &signature).await?;
        let forged_refused = forged.status == StatusCode::UNAUTHORIZED;
        self.check(
            forged_refused,
            format_args!("another order under that signature: {}", forged.status),
        )?;
        Ok(Sent {
            execution,
            forged_refused,
            repeat_ignored,
        })
    }

    /// Shows an execution's steps as they end; answers it as it is at its end.
    async fn follow(&self, execution: &str) -> Result<Value> {
        self.step(
            4,
            "The workflow runs (offline model: a stand-in, no AI is asked)",
        )?;
        let ended = timeout(PATIENCE, self.watch(execution)).await;
        ended.unwrap_or_else(|_| {
            Err(Problem::failed("the execution did not end within 20 s")
                .advice(format!("look at it: signpost executions show {execution}"))
                .into())
        })
    }

    async fn watch(&self, execution: &str) -> Result<Value> {
        let path = format!("/api/v1/executions/{}/events", path_part(execution));
        let mut follow = self.client.follow(&path, &[]).await?;
        loop {
            let Followed::Message(message) = follow.next().await? else {
                continue;
            };
            let told: Value = serde_json::from_str(&message.data).unwrap_or_default();
            match message.event.as_str() {
                "step" => self.show_step(&told)?,
                "end" => {
                    let state = show(&told, "state");
                    self.check(state == "completed", styled(BOLD, &state))?;
                    return Ok(told);
                }
                _ => {}
            }
        }
    }

    fn show_step(&self, step: &Value) -> Result<()> {
        let good = text(step, "state") == Some("completed");
        let outcome = match text(step, "error/message") {
            Some(why) => terminal::brief(why, OUTPUT_CHARS_MAX),
            None => terminal::brief(&step["output"].to_string(), OUTPUT_CHARS_MAX),
        };
        let model = if step["detail"]["offline"] == true {
            " [offline model]"
        } else {
            ""
        };
        self.check(
            good,
            format_args!("{:<6} {}{model}", show(step, "node"), styled(DIM, outcome)),
        )
    }

    fn show_received(&self, received: &Received, after: Duration) -> Result<()> {
        let took = when::show(after);
        self.step(
            5,
            &format!("The receiver gets workflow.completed, {took} after the webhook"),
        )?;
        for (name, value) in received.headers.iter() {
            if name.starts_with("webhook-") {
                let line = terminal::line(&format!("{name}: {value}")).into_owned();
                self.say(format_args!("    {}", styled(DIM, line)))?;
            }
        }
        self.say(indented(&received.body))
    }

    /// Whether the delivery verifies, and whether a copy with one letter changed is refused.
    fn check_signatures(&self, secret: &Secret, received: &Received) -> Result<(bool, bool)> {
        let now = edge::now();
        let genuine = verify(Some(secret), &received.headers, &received.body, now);
        let tampered = received.body.replacen("completed", "cOmpleted", 1);
        let forged = verify(Some(secret), &received.headers, &tampered, now);
        let good = genuine.is_ok();
        let refused = forged == Err(VerifyError::Mismatch);
        match genuine {
            Ok(()) => self.check(true, "as it came: verified")?,
            Err(error) => self.check(false, format_args!("as it came: {error}"))?,
        }
        match forged {
            Err(error) => self.check(
                refused,
                format_args!("with one letter changed: refused, {error}"),
            )?,
            Ok(()) => self.check(false, "with one letter changed: accepted!")?,
        }
        Ok((good, refused))
    }

    async fn fail_and_recover(&self, sender: &Sender<'_>) -> Result<String> {
        self.step(
            6,
            "The receiver is down for a moment; the next run's event waits for it",
        )?;
        self.receiver.fail_next(503);
        let body = order(18);
        let taken = sender.post(&body, &sender.signature(&body)).await?;
        self.say(format_args!(
            "   {} {}",
            styled(GOOD, taken.status),
            taken.execution()?
        ))?;
        let failed = self.receiver.next().await?;
        self.say(format_args!(
            "   {} first attempt: the receiver answers {}",
            styled(BAD, "✗"),
            failed.status
        ))?;
        let started = Instant::now();
        let again = self.receiver.next().await?;
        let waited = when::show(started.elapsed());
        self.check(
            again.status == 200,
            format_args!(
                "second attempt, {waited} later: {} (same id, so it is no second event)",
                again.status
            ),
        )?;
        Ok(event_of(&again))
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

/// The id by which a receiver knows an event again.
fn event_of(received: &Received) -> String {
    let id = received.headers.get("webhook-id");
    id.unwrap_or_default().to_owned()
}

/// What a shop sends. Each has an id of its own, so that it counts once.
fn order(number: u32) -> String {
    let id = edge::id().simple();
    json!({
        "id": format!("order-{number}-{id}"), "event": "order.paid",
        "order": { "number": number, "items": [{ "price": 40, "quantity": 2 }, { "price": 19.5, "quantity": 1 }] },
    })
    .to_string()
}
