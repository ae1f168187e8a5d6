//! Tests of a webhook: one delivery, made at once, whose result the caller sees.

use std::sync::Arc;

use bytes::Bytes;
use domain::{
    DeliveryId, EventId, EventKey, Timestamp, WebhookId, WorkspaceId,
    attempt::Attempt,
    delivery::Next,
    event::{Event, EventType},
    format::Format,
    schedule::RetrySchedule,
    signature::Secret,
    webhook::{CONCURRENCY_DEFAULT, TIMEOUT_DEFAULT, Webhook, WebhookConfig, WebhookState},
};
use serde_json::json;
use store::{FinishAttempt, NewDelivery, NewEvent, StoreError};

use crate::{Pipeline, endpoint::Endpoint, fan_out::Loaded, lane::Lane, webhooks::WebhookError};

/// What came of a test.
#[derive(Debug)]
pub struct Tested {
    /// The event that was sent.
    pub event_id: EventId,
    /// The delivery, in whose log the attempt is found; none for a URL that is no webhook.
    pub delivery: Option<DeliveryId>,
    /// The attempt.
    pub attempt: Attempt,
}

impl Tested {
    /// Whether the receiver took it.
    pub fn is_success(&self) -> bool {
        matches!(self.attempt.status, Some(200..=299))
    }
}

impl Pipeline {
    /// Sends a test event to one webhook, active or not, whatever it subscribes to: once, now.
    /// It is stored and logged as any delivery.
    ///
    /// # Errors
    /// If there is no such webhook, or the store fails.
    pub async fn test_webhook(
        &self,
        workspace: WorkspaceId,
        id: WebhookId,
        event_type: Option<EventType>,
        data: Option<Bytes>,
    ) -> Result<Tested, WebhookError> {
        let shared = &self.shared;
        let webhook = shared
            .store
            .webhook(workspace, id)
            .await?
            .ok_or(WebhookError::NotFound)?;
        let now = shared.now();
        let data = data.unwrap_or_else(|| {
            Bytes::from(
                json!({ "message": "This is a test of your webhook.", "webhookId": id })
                    .to_string(),
            )
        });
        let event = self.test_event(workspace, event_type, data, now);
        let delivery = DeliveryId::new(shared.edge.ids.next_id());
        let new_delivery = NewDelivery {
            id: delivery,
            event: event.key,
            webhook: id,
            held: true,
            ordered: false,
            replay: None,
        };
        let accepted = NewEvent {
            event: event.clone(),
            id_given: false,
            idempotency_key: None,
            deliveries: vec![new_delivery],
        };
        let lane = Arc::new(Lane::new(&webhook, shared.among_nodes));
        let endpoint = Endpoint::new(webhook, lane, shared, now);
        let this = self.clone();
        // In a task of its own: what is stored as held must be finished, even if the caller goes.
        let task =
            tokio::spawn(async move { this.send_test(endpoint, event, delivery, accepted).await });
        let tested = task
            .await
            .map_err(|error| StoreError::Failed(error.to_string()))??;
        Ok(tested)
    }

    async fn send_test(
        &self,
        endpoint: Endpoint,
        event: Event,
        delivery: DeliveryId,
        accepted: NewEvent,
    ) -> Result<Tested, StoreError> {
        let shared = &self.shared;
        let lease = shared.store.lease();
        shared.store.accept(vec![accepted]).await?;
        shared.metrics.accepted.inc();
        if !shared.is_still_held(lease) {
            // Whoever claims it sends it; nobody here would see the result.
            let held = (endpoint.webhook.workspace, delivery, shared.store.lease());
            shared.give_back_ids(&endpoint.lane, vec![held]);
            return Err(StoreError::Unavailable(
                "the lease was lost; the test is sent like any delivery".to_owned(),
            ));
        }
        let loaded = Loaded::new(event, shared);
        let sent = shared
            .send(
                &endpoint,
                &loaded.event,
                loaded.body(endpoint.webhook.config.format),
                1,
            )
            .await;
        let next = if sent.outcome.is_success() {
            Next::Delivered
        } else {
            Next::Dead
        };
        let attempt = &sent.attempt;
        let metrics = &shared.metrics;
        metrics.attempt(attempt.duration_us, attempt.status, attempt.error);
        let finish = FinishAttempt {
            workspace: endpoint.webhook.workspace,
            delivery,
            webhook: endpoint.webhook.id,
            lease,
            attempt: sent.attempt.clone(),
            next,
            failing_since: None,
        };
        shared.finish(finish).await;
        Ok(Tested {
            event_id: loaded.event.id.clone(),
            delivery: Some(delivery),
            attempt: sent.attempt,
        })
    }

    /// Sends an event to a URL that is no webhook (yet): once, now, not stored (S2's test).
    ///
    /// # Errors
    /// If the URL or the secret is refused.
    pub async fn test_url(
        &self,
        workspace: WorkspaceId,
        url: &str,
        secret: Option<&str>,
        format: Format,
        event_type: EventType,
        data: Bytes,
    ) -> Result<Tested, WebhookError> {
        let shared = &self.shared;
        let now = shared.now();
        let webhook = Webhook {
            workspace,
            id: WebhookId::new(shared.edge.ids.next_id()),
            config: WebhookConfig {
                name: "test".to_owned(),
                description: None,
                target_url: url.to_owned(),
                events: Vec::new(),
                format,
                filter: None,
                signature_prefix: String::new(),
                schedule: RetrySchedule::preset(format),
                timeout_ms: u64::try_from(TIMEOUT_DEFAULT.as_millis()).expect("ten seconds fit"),
                concurrency: CONCURRENCY_DEFAULT,
                rate_per_s: None,
                ordered: false,
            },
            headers: None,
            secrets: Vec::new(),
            state: WebhookState::Active,
            failing_since: None,
            created_at: now,
            updated_at: now,
        };
        let webhook = self.with_test_secret(webhook, secret, now)?;
        let lane = Arc::new(Lane::new(&webhook, shared.among_nodes));
        let endpoint = Endpoint::new(webhook, lane, shared, now);
        let event = self.test_event(workspace, Some(event_type), data, now);
        let loaded = Loaded::new(event, shared);
        let sent = shared
            .send(&endpoint, &loaded.event, loaded.body(format), 1)
            .await;
        Ok(Tested {
            event_id: loaded.event.id.clone(),
            delivery: None,
            attempt: sent.attempt,
        })
    }

    fn with_test_secret(
        &self,
        mut webhook: Webhook,
        secret: Option<&str>,
        now: Timestamp,
    ) -> Result<Webhook, WebhookError> {
        let mut faults = Vec::new();
        if let Err(error) =
            egress::Target::parse(&webhook.config.target_url, self.shared.egress.policy())
        {
            faults.push(crate::webhooks::FieldError {
                path: "url".to_owned(),
                message: error.to_string(),
                fault: crate::webhooks::Fault::UnsafeTarget,
            });
        }
        match secret.map(Secret::parse).transpose() {
            Ok(secret) => {
                webhook.secrets = secret
                    .iter()
                    .map(|secret| self.shared.seal_secret(&webhook, secret, now))
                    .collect();
            }
            Err(error) => faults.push(crate::webhooks::FieldError {
                path: "secret".to_owned(),
                message: error.to_string(),
                fault: crate::webhooks::Fault::Invalid,
            }),
        }
        if faults.is_empty() {
            Ok(webhook)
        } else {
            Err(WebhookError::Invalid(faults))
        }
    }

    fn test_event(
        &self,
        workspace: WorkspaceId,
        event_type: Option<EventType>,
        data: Bytes,
        now: Timestamp,
    ) -> Event {
        let key = EventKey::new(self.shared.edge.ids.next_id());
        Event {
            workspace,
            key,
            id: EventId::from_key(key),
            event_type: event_type.unwrap_or_else(|| {
                EventType::parse("webhook.test").expect("a name of the catalogue")
            }),
            timestamp: now,
            accepted_at: now,
            data,
            hops: 0,
        }
    }
}
