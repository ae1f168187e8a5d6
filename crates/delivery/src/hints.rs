//! Hints between nodes: what makes things quick that each would find by itself a little later.

use std::{sync::Arc, time::Duration};

use domain::{WebhookId, WorkspaceId};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use store::{Hint, Store};
use tokio::sync::{Notify, broadcast::error::RecvError};

use crate::{Shared, due, lane::Lane};

/// How long hints gather: the least time between two of one webhook.
const GATHER: Duration = Duration::from_millis(20);

/// Webhooks with due deliveries that others are to be told of, each once, and whether a person
/// asked for one.
#[derive(Default)]
pub(crate) struct Hints {
    due: Mutex<FxHashMap<(WorkspaceId, WebhookId), bool>>,
    bell: Notify,
}

impl Hints {
    fn add(&self, workspace: WorkspaceId, webhook: WebhookId, forced: bool) {
        let mut due = self.due.lock();
        *due.entry((workspace, webhook)).or_default() |= forced;
        drop(due);
        self.bell.notify_one();
    }

    /// Sends what has gathered.
    pub fn send(&self, store: &Arc<dyn Store>) {
        let due = std::mem::take(&mut *self.due.lock());
        for ((workspace, webhook), forced) in due {
            store.hint(Hint::Due {
                workspace,
                webhook,
                forced,
            });
        }
    }
}

impl Shared {
    /// Whether what lies on disk for the lane is for other nodes to send.
    pub(crate) fn is_for_others(&self, lane: &Lane) -> bool {
        self.among_nodes && (self.is_draining() || lane.is_elsewhere())
    }

    /// Tells the others that the lane has due deliveries on disk, if it is they who send them.
    pub(crate) fn leave_to_others(&self, lane: &Lane) {
        if self.is_for_others(lane) {
            self.hints.add(lane.workspace, lane.webhook, false);
        }
    }

    /// Tells the others that a person wants a delivery attempted now.
    pub(crate) fn hint_forced(&self, workspace: WorkspaceId, webhook: WebhookId) {
        if self.among_nodes {
            self.hints.add(workspace, webhook, true);
        }
    }
}

/// Sends hints until the pipeline stops.
pub(crate) async fn tell(shared: Arc<Shared>) {
    loop {
        shared.hints.bell.notified().await;
        shared.hints.send(&shared.store);
        tokio::time::sleep(GATHER).await;
    }
}

/// Takes hints until the pipeline stops.
pub(crate) async fn hear(shared: Arc<Shared>) {
    let mut hints = shared.store.hints();
    loop {
        match hints.recv().await {
            Ok(hint) => take(&shared, hint),
            Err(RecvError::Lagged(_)) => look_everywhere(&shared).await,
            // The store is closed: so is the pipeline, soon.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

fn take(shared: &Arc<Shared>, hint: Hint) {
    match hint {
        Hint::Changes => shared.changes.bell.notify_one(),
        Hint::Nodes => shared.nodes.bell.notify_one(),
        // Whoever runs executions listens by itself.
        Hint::Executions => {}
        Hint::Due {
            workspace,
            webhook,
            forced,
        } => {
            let Some(lane) = shared.subscriptions.lane(workspace, webhook) else {
                return;
            };
            // One node's breaker is enough to be passed by.
            if forced && lane.leads() {
                lane.force();
            } else {
                lane.leave_on_disk();
            }
            shared.kick(&lane);
        }
    }
}

/// Hints were missed.
async fn look_everywhere(shared: &Arc<Shared>) {
    shared.changes.bell.notify_one();
    shared.nodes.bell.notify_one();
    if shared.settings.role.delivers()
        && let Err(error) = due::poll(shared).await
    {
        tracing::warn!(%error, "failed to ask the store for due deliveries; trying again");
    }
}
