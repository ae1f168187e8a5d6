//! Takes up what other nodes have changed: webhooks, event types, access.
//!
//! The store numbers changes; this process remembers up to which it has taken them up, and asks
//! for more twice a second, and when a hint says so. What this process changed by itself is among
//! them: taking it up once more changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use domain::{WebhookId, WorkspaceId};
use parking_lot::Mutex;
use store::{Change, StoreError};
use tokio::sync::{Notify, watch};

use crate::{Pipeline, Shared, types::known};

/// How often changes are asked for when nothing hints: others see one within twice this.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The least time between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// How far changes were taken up.
pub(crate) struct TakenUp {
    to: Mutex<Option<u64>>,
    /// One look at a time.
    turn: tokio::sync::Mutex<()>,
    /// Rung when there may be more.
    pub bell: Notify,
    /// Counts changes of access.
    access: watch::Sender<u64>,
    /// Counts changes of workflows, triggers and sources.
    workflows: watch::Sender<u64>,
}

impl Default for TakenUp {
    fn default() -> Self {
        Self {
            to: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            bell: Notify::new(),
            access: watch::channel(0).0,
            workflows: watch::channel(0).0,
        }
    }
}

impl Pipeline {
    /// Changes whenever users, roles, passwords or API keys were changed by some node (this one
    /// among them), and whenever they may have been: what is remembered of them is then stale.
    /// Never changes with a store that is not shared.
    pub fn on_access_change(&self) -> watch::Receiver<u64> {
        self.shared.changes.access.subscribe()
    }

    /// The same for workflows, triggers and sources.
    pub fn on_workflow_change(&self) -> watch::Receiver<u64> {
        self.shared.changes.workflows.subscribe()
    }
}

/// Remembers where changes begin that [`Shared::load_subscriptions`] does not see.
pub(crate) async fn begin(shared: &Shared) -> Result<(), StoreError> {
    if shared.among_nodes {
        let from = shared.store.changes(None).await?.to;
        *shared.changes.to.lock() = Some(from);
    }
    Ok(())
}

/// Takes changes up until the pipeline stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut unreachable = false;
    loop {
        match step(&shared).await {
            Ok(()) => unreachable = false,
            Err(error) => {
                if !std::mem::replace(&mut unreachable, true) {
                    tracing::warn!(%error, "failed to read what other nodes changed; trying again");
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
        let _ = tokio::time::timeout(LOOK_EVERY, shared.changes.bell.notified()).await;
    }
}

/// Takes up what was changed. If the store fails on the way, the same is taken up again.
pub(crate) async fn step(shared: &Arc<Shared>) -> Result<(), StoreError> {
    let _turn = shared.changes.turn.lock().await;
    let after = *shared.changes.to.lock();
    let changes = shared.store.changes(after).await?;
    match changes.what {
        Some(what) => take_up(shared, what).await?,
        None => read_all(shared).await?,
    }
    *shared.changes.to.lock() = Some(changes.to);
    Ok(())
}

async fn take_up(shared: &Arc<Shared>, what: Vec<Change>) -> Result<(), StoreError> {
    let (mut webhooks, mut types) = (BTreeSet::new(), BTreeMap::new());
    let (mut access, mut workflows) = (false, false);
    for change in what {
        match change {
            Change::Webhook(workspace, webhook) => {
                webhooks.insert((workspace, webhook));
            }
            Change::EventType(workspace, name) => {
                let names: &mut BTreeSet<String> = types.entry(workspace).or_default();
                names.insert(name);
            }
            Change::Access => access = true,
            Change::Workflows | Change::Sources => workflows = true,
        }
    }
    if access {
        shared.access_changed();
    }
    if workflows {
        shared.workflows_changed();
    }
    for (workspace, webhook) in webhooks {
        shared.read_again(workspace, webhook).await?;
    }
    for (workspace, names) in types {
        read_types(shared, workspace, &names).await?;
    }
    Ok(())
}

/// Reads everything again: more was changed than is remembered one by one.
async fn read_all(shared: &Arc<Shared>) -> Result<(), StoreError> {
    shared.access_changed();
    shared.workflows_changed();
    let records = shared.store.all_event_types().await?;
    let mut names: BTreeMap<WorkspaceId, BTreeSet<String>> = BTreeMap::new();
    for record in &records {
        let of_workspace = names.entry(record.workspace).or_default();
        of_workspace.insert(record.name.to_string());
    }
    for workspace in shared.subscriptions.workspaces() {
        let of_workspace = names.entry(workspace).or_default();
        of_workspace.extend(shared.subscriptions.type_names(workspace));
    }
    for (workspace, names) in names {
        read_types(shared, workspace, &names).await?;
    }
    let mut webhooks: BTreeSet<(WorkspaceId, WebhookId)> = BTreeSet::new();
    for webhook in shared.store.all_webhooks().await? {
        webhooks.insert((webhook.workspace, webhook.id));
    }
    let known = shared.subscriptions.lanes();
    webhooks.extend(known.iter().map(|lane| (lane.workspace, lane.webhook)));
    for (workspace, webhook) in webhooks {
        // One by one: one that was made meanwhile must not be taken for one that is gone.
        shared.read_again(workspace, webhook).await?;
    }
    Ok(())
}

/// Takes up the event types with these names, as the store has them; those that it has not are
/// dropped.
async fn read_types(
    shared: &Shared,
    workspace: WorkspaceId,
    names: &BTreeSet<String>,
) -> Result<(), StoreError> {
    if names.is_empty() {
        return Ok(());
    }
    let records = shared.store.event_types(workspace).await?;
    for name in names {
        if !records.iter().any(|record| record.name.as_str() == name) {
            shared.subscriptions.remove_type(workspace, name);
        }
    }
    let wanted = records
        .into_iter()
        .filter(|record| names.contains(record.name.as_str()));
    for record in wanted {
        match known(record) {
            Ok(known) => shared.subscriptions.put_type(Arc::new(known)),
            Err(error) => tracing::error!(%error, "a stored event type is unusable"),
        }
    }
    Ok(())
}

impl Shared {
    fn access_changed(&self) {
        self.changes.access.send_modify(|count| *count += 1);
    }

    fn workflows_changed(&self) {
        self.changes.workflows.send_modify(|count| *count += 1);
    }
}
