//! Replays: durable jobs that make deliveries of past events, a batch at a time.
//!
//! Each step reads a batch of candidates behind the job's cursor, decides which of them the
//! webhook wants, and stores deliveries and cursor in one transaction. A crash repeats at most a
//! step that was not stored. The deliveries are left on disk: lanes take them up as they have
//! room, so a large replay neither fills memory nor goes before fresh events.

use std::{sync::Arc, time::Duration};

use domain::{
    DeliveryId, ReplayId, WebhookId, WorkspaceId,
    replay::{Replay, ReplayScope, ReplayState},
};
use store::{NewDelivery, StoreError};

use crate::{Pipeline, Shared, endpoint::Endpoint, fan_out::passes};

/// How many candidates one step looks at.
const STEP: usize = 500;
/// How often running replays are looked for when no bell rings.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// The same, where another node may have been asked for one.
const LOOK_EVERY_SHARED: Duration = Duration::from_secs(2);

/// Why a replay was not started.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// There is no such webhook in this workspace.
    #[error("there is no such webhook")]
    NoWebhook,
    /// The webhook is switched off: what is made now would wait for ever.
    #[error("the webhook is not active; switch it on first")]
    Inactive,
    /// There is no such event in this workspace (any more).
    #[error("there is no such event, or its payload was pruned")]
    NoEvent,
    /// The range is empty.
    #[error("`until` must be later than `since`")]
    EmptyRange,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Pipeline {
    /// Starts a replay; its deliveries are made in the background.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub async fn start_replay(
        &self,
        workspace: WorkspaceId,
        webhook: WebhookId,
        scope: ReplayScope,
    ) -> Result<Replay, ReplayError> {
        let shared = &self.shared;
        let record = shared
            .store
            .webhook(workspace, webhook)
            .await?
            .ok_or(ReplayError::NoWebhook)?;
        if !record.is_active() {
            return Err(ReplayError::Inactive);
        }
        match scope {
            ReplayScope::Event { event } => {
                shared
                    .store
                    .event(workspace, event)
                    .await?
                    .ok_or(ReplayError::NoEvent)?;
            }
            ReplayScope::Range { since, until } if until <= since => {
                return Err(ReplayError::EmptyRange);
            }
            ReplayScope::Range { .. } | ReplayScope::FailedSince { .. } => {}
        }
        let replay = Replay {
            workspace,
            id: ReplayId::new(shared.edge.ids.next_id()),
            webhook,
            scope,
            state: ReplayState::Running,
            examined: 0,
            total: 0,
            created: 0,
            created_at: shared.now(),
            finished_at: None,
        };
        let replay = shared.store.create_replay(replay).await?;
        shared.replay_bell.notify_one();
        Ok(replay)
    }
}

/// Advances running replays until the pipeline stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        match step(&shared).await {
            Ok(true) => tokio::task::yield_now().await,
            Ok(false) => {
                let wait = if shared.among_nodes {
                    LOOK_EVERY_SHARED
                } else {
                    LOOK_EVERY
                };
                let _ = tokio::time::timeout(wait, shared.replay_bell.notified()).await;
            }
            Err(error) => {
                tracing::warn!(%error, "failed to advance a replay; trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// One step of every running replay; answers whether there was any.
pub(crate) async fn step(shared: &Arc<Shared>) -> Result<bool, StoreError> {
    let running = shared.store.running_replays().await?;
    let mut advanced = false;
    for replay in running {
        advanced |= advance(shared, &replay).await?;
    }
    Ok(advanced)
}

async fn advance(shared: &Arc<Shared>, replay: &Replay) -> Result<bool, StoreError> {
    let Some(lane) = shared.subscriptions.lane(replay.workspace, replay.webhook) else {
        return Ok(false);
    };
    // One node advances it: two would each do the work, and one of them in vain.
    if !lane.leads() {
        return Ok(false);
    }
    // An inactive webhook's replay waits until it is switched on again.
    let Some(endpoint) = shared
        .subscriptions
        .endpoint(replay.workspace, replay.webhook)
    else {
        return Ok(false);
    };
    let batch = shared.store.replay_candidates(replay, STEP).await?;
    let deliveries = batch
        .events
        .iter()
        .filter(|event| wants(replay, &endpoint, event))
        .map(|event| NewDelivery {
            id: DeliveryId::new(shared.edge.ids.next_id()),
            event: event.key,
            webhook: replay.webhook,
            held: false,
            ordered: endpoint.webhook.config.ordered,
            replay: Some(replay.id),
        })
        .collect();
    let advanced = shared
        .store
        .advance_replay(replay, batch, deliveries, shared.now())
        .await?;
    lane.leave_on_disk();
    shared.kick(&lane);
    Ok(advanced)
}

/// A range takes what the webhook subscribes to; what was asked for by name, or had been
/// delivered to it before, is sent as it is.
fn wants(replay: &Replay, endpoint: &Endpoint, event: &domain::event::Event) -> bool {
    match replay.scope {
        ReplayScope::Event { .. } | ReplayScope::FailedSince { .. } => true,
        ReplayScope::Range { .. } => {
            endpoint
                .webhook
                .config
                .events
                .iter()
                .any(|pattern| pattern.matches(&event.event_type))
                && passes(endpoint, event, &mut None)
        }
    }
}
