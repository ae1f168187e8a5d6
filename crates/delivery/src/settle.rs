//! Makes one attempt and records it with what follows: delivered, retried, dead; and, where the
//! receiver is gone or has failed for days, the webhook disabled.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use domain::{
    Timestamp,
    attempt::Outcome,
    delivery::Next,
    event::EventType,
    webhook::{DisabledReason, FAILING_MAX, Webhook},
};
use serde_json::json;
use store::{FinishAttempt, Finished, NewEvent, StoreError};

use crate::{
    AttemptNotice, Shared,
    accept::Publish,
    endpoint::Endpoint,
    lane::{Lane, Ready},
};

impl Shared {
    /// Sends what is `ready` and records the end; returns once that is on disk.
    pub(crate) async fn attempt(
        self: &Arc<Self>,
        lane: &Arc<Lane>,
        endpoint: &Arc<Endpoint>,
        ready: Ready,
    ) {
        let event = &ready.event.event;
        let body = ready.event.body(endpoint.webhook.config.format);
        let sent = self.send(endpoint, event, body, ready.attempts + 1).await;
        let now = self.now();
        let success = sent.outcome.is_success();
        let next = self.verdict(endpoint, &ready, &sent.outcome, now);
        let recorded = lane.record(sent.outcome, now, self.jitter(&sent.outcome));
        self.give_back(lane, &recorded.given_back);
        if let Next::RetryAt(at) = next
            && endpoint.webhook.config.ordered
        {
            self.give_back(lane, &lane.hold_until(at));
        }
        let gone = sent.outcome.is_gone();
        let notice = AttemptNotice {
            workspace: lane.workspace,
            delivery: ready.delivery,
            webhook: lane.webhook,
            event_id: event.id.clone(),
            event_type: event.event_type.clone(),
            number: sent.attempt.number,
            started_at: sent.attempt.started_at,
            duration_us: sent.attempt.duration_us,
            status: sent.attempt.status,
            error: sent.attempt.error,
            next,
        };
        let finish = FinishAttempt {
            workspace: lane.workspace,
            delivery: ready.delivery,
            webhook: lane.webhook,
            lease: ready.lease,
            attempt: sent.attempt,
            next,
            failing_since: recorded.mark,
        };
        if self.finish(finish).await {
            self.count(&ready, &notice, now);
            self.tell_followers(notice);
        } else if self.among_nodes {
            // Nothing of it was written: neither the mark nor when the next attempt is due.
            self.forget(lane);
        }
        if let Next::RetryAt(at) = next {
            self.set_alarm(lane, at);
        }
        let failing = recorded.failing_since.filter(|_| !success);
        if gone {
            self.disable(endpoint, DisabledReason::Gone, now).await;
        } else if failing.is_some_and(|since| now.since(since) >= FAILING_MAX)
            && self.fails_everywhere(lane, now).await
        {
            self.disable(endpoint, DisabledReason::Failing, now).await;
        }
    }

    /// Whether the other nodes' attempts have failed for as long as this one's.
    async fn fails_everywhere(&self, lane: &Lane, now: Timestamp) -> bool {
        if !self.among_nodes {
            return true;
        }
        let Ok(Some(webhook)) = self.store.webhook(lane.workspace, lane.webhook).await else {
            // The next failure asks again.
            return false;
        };
        lane.set_failing_since(webhook.failing_since);
        webhook
            .failing_since
            .is_some_and(|since| now.since(since) >= FAILING_MAX)
    }

    fn verdict(
        &self,
        endpoint: &Endpoint,
        ready: &Ready,
        outcome: &Outcome,
        now: Timestamp,
    ) -> Next {
        let schedule = &endpoint.webhook.config.schedule;
        schedule.after(
            ready.attempts + 1,
            outcome,
            ready.created_at,
            now,
            self.jitter(outcome),
        )
    }

    /// Randomness for what a failure delays; a success delays nothing and needs none.
    fn jitter(&self, outcome: &Outcome) -> f64 {
        if outcome.is_success() {
            0.0
        } else {
            self.edge.entropy.unit()
        }
    }

    /// Records an attempt's end, trying again while the disk is full or busy: the attempt was
    /// made, so its record must not be dropped. Answers whether it was written.
    pub(crate) async fn finish(&self, finish: FinishAttempt) -> bool {
        let mut pause = Duration::from_millis(50);
        loop {
            match self.store.finish_attempt(finish.clone()).await {
                Ok(Finished::Recorded) => return true,
                Ok(Finished::LeaseLost) => {
                    self.metrics.lease_lost.inc();
                    tracing::warn!(delivery = %finish.delivery, "another node had taken over; its result counts");
                    return false;
                }
                Err(StoreError::Closed) => return false,
                // Drained, and out of patience.
                Err(_) if *self.stop.borrow() => return false,
                Err(error) => {
                    tracing::warn!(delivery = %finish.delivery, %error, "failed to record an attempt; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
            }
        }
    }

    fn count(&self, ready: &Ready, ended: &AttemptNotice, now: Timestamp) {
        let metrics = &self.metrics;
        metrics.attempt(ended.duration_us, ended.status, ended.error);
        match ended.next {
            Next::Delivered => {
                metrics.delivered.inc();
                metrics
                    .delivery_seconds
                    .observe(now.since(ready.created_at).as_secs_f64());
            }
            Next::RetryAt(_) => {
                metrics.retries.inc();
            }
            Next::Dead => {
                metrics.dead.inc();
            }
        }
    }

    /// Switches a webhook off for good, and says so in an event, in one transaction.
    async fn disable(
        self: &Arc<Self>,
        endpoint: &Endpoint,
        reason: DisabledReason,
        now: Timestamp,
    ) {
        let webhook = &endpoint.webhook;
        let (code, message) = match reason {
            DisabledReason::Gone => ("webhook.gone", "the receiver answered 410 Gone"),
            DisabledReason::Failing => ("webhook.failing", "no attempt succeeded for five days"),
        };
        let (event, lanes) = self.system_warning(
            webhook,
            &json!({
                "code": code,
                "message": format!("webhook `{}` was disabled: {message}", webhook.config.name),
                "details": { "webhookId": webhook.id, "name": webhook.config.name },
            }),
            now,
        );
        let warning = event.event.clone();
        match self
            .store
            .disable_webhook(webhook.workspace, webhook.id, reason, now, event)
            .await
        {
            Ok(true) => {
                self.metrics.accepted.inc();
                self.tell_listeners(&warning);
                tracing::warn!(webhook = %webhook.id, code, "webhook disabled");
                self.metrics.disabled.inc();
                self.refresh(webhook.workspace, webhook.id).await;
            }
            Ok(false) => {}
            Err(error) => {
                // The next failure tries again.
                tracing::error!(webhook = %webhook.id, %error, "failed to disable a webhook");
            }
        }
        for lane in lanes {
            self.leave_to_others(&lane);
            self.kick(&lane);
        }
    }

    /// The event that says so, to every webhook but the disabled one, its deliveries to be taken
    /// up from disk by their lanes.
    fn system_warning(
        &self,
        disabled: &Webhook,
        data: &serde_json::Value,
        now: Timestamp,
    ) -> (NewEvent, Vec<Arc<Lane>>) {
        let publish = Publish {
            event_type: EventType::parse("system.warning").expect("a name of the catalogue"),
            data: Bytes::from(data.to_string()),
            id: None,
            timestamp: None,
            hops: 0,
            idempotency_key: None,
        };
        let (mut event, planned) = self.plan_event(disabled.workspace, publish, now);
        let lanes = planned
            .iter()
            .map(|planned| Arc::clone(&planned.endpoint.lane))
            .collect();
        for planned in planned.iter().filter(|planned| planned.delivery.held) {
            planned.endpoint.lane.unreserve();
            planned.endpoint.lane.leave_on_disk();
            self.ready
                .fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        }
        for delivery in &mut event.deliveries {
            delivery.held = false;
        }
        event
            .deliveries
            .retain(|delivery| delivery.webhook != disabled.id);
        (event, lanes)
    }

    /// Reads a webhook again after a change that did not come from a person.
    pub(crate) async fn refresh(
        self: &Arc<Self>,
        workspace: domain::WorkspaceId,
        id: domain::WebhookId,
    ) {
        if let Err(error) = self.read_again(workspace, id).await {
            tracing::error!(webhook = %id, %error, "failed to read a webhook again");
        }
    }

    /// Takes up a webhook as the store has it now, or drops it if it is gone.
    pub(crate) async fn read_again(
        self: &Arc<Self>,
        workspace: domain::WorkspaceId,
        id: domain::WebhookId,
    ) -> Result<(), StoreError> {
        if let Some(webhook) = self.store.webhook(workspace, id).await? {
            let lane = self.put_webhook(webhook);
            self.give_back(&lane, &lane.take_misplaced());
            self.kick(&lane);
        } else if let Some(lane) = self.remove_webhook(workspace, id) {
            self.give_back(&lane, &lane.take_ready());
        }
        Ok(())
    }
}
