//! Retention: what is finished and old is removed, in small steps between which deliveries run.

use std::{sync::Arc, time::Duration};

use domain::Timestamp;
use store::StoreError;

use crate::{Pipeline, Shared};

/// How many events one step removes.
const STEP: usize = 200;
/// The pause between steps.
const PAUSE: Duration = Duration::from_millis(50);
/// How long ids and `Idempotency-Key`s deduplicate at least.
const KEYS_KEPT: Duration = Duration::from_hours(48);

impl Pipeline {
    /// Removes everything that is due for removal now.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn prune(&self) -> Result<(), StoreError> {
        prune(&self.shared).await
    }
}

pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(shared.settings.prune_every).await;
        if let Err(error) = prune(&shared).await {
            tracing::warn!(%error, "failed to remove what is past its retention; trying again later");
        }
    }
}

async fn prune(shared: &Arc<Shared>) -> Result<(), StoreError> {
    let now = agreed_now(shared).await?;
    while shared.store.bury_orphans(now, STEP).await? == STEP {
        tokio::time::sleep(PAUSE).await;
    }
    let before = now.before(shared.settings.retention);
    let keys_before = now.before(shared.settings.retention.max(KEYS_KEPT));
    while shared.store.prune(before, keys_before, STEP).await?.more {
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// The time now: on a shared store no later than its own clock says, so that a node whose clock is
/// ahead does not remove what the others still need.
async fn agreed_now(shared: &Shared) -> Result<Timestamp, StoreError> {
    let now = shared.now();
    if !shared.among_nodes {
        return Ok(now);
    }
    let nodes = shared.store.nodes().await?;
    let seen_at = nodes
        .iter()
        .find(|node| node.is_self)
        .map(|node| node.seen_at);
    Ok(seen_at.map_or(now, |seen_at| seen_at.min(now)))
}
