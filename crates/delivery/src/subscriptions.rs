//! Which webhooks want which events, in memory: read on every publish, rebuilt for a workspace
//! when one of its webhooks changes.

use std::sync::Arc;

use domain::{Timestamp, WebhookId, WorkspaceId, event::EventType, webhook::Webhook};
use parking_lot::RwLock;
use rustc_hash::FxHashMap;
use store::StoreError;

use crate::{
    Shared,
    endpoint::Endpoint,
    lane::Lane,
    types::{KnownType, known},
};

/// The index.
#[derive(Default)]
pub struct Subscriptions {
    inner: RwLock<FxHashMap<WorkspaceId, Entry>>,
}

#[derive(Default)]
struct Entry {
    /// Active webhooks by the text of each of their patterns.
    by_pattern: Arc<FxHashMap<Box<str>, Vec<Arc<Endpoint>>>>,
    /// Every webhook's lane, inactive ones included.
    lanes: FxHashMap<WebhookId, Arc<Lane>>,
    /// Which version of each webhook was taken up: two changes may be read in any order.
    changed_at: FxHashMap<WebhookId, Timestamp>,
    /// Active webhooks.
    endpoints: FxHashMap<WebhookId, Arc<Endpoint>>,
    types: FxHashMap<Box<str>, Arc<KnownType>>,
}

impl Entry {
    /// Puts an active webhook under each of its patterns.
    fn link(&mut self, endpoint: &Arc<Endpoint>) {
        let by_pattern = Arc::make_mut(&mut self.by_pattern);
        for pattern in &endpoint.webhook.config.events {
            let same = by_pattern.entry(pattern.to_string().into()).or_default();
            same.push(Arc::clone(endpoint));
        }
    }

    /// Takes a webhook from under its patterns.
    fn unlink(&mut self, endpoint: &Arc<Endpoint>) {
        let by_pattern = Arc::make_mut(&mut self.by_pattern);
        for pattern in &endpoint.webhook.config.events {
            let pattern: Box<str> = pattern.to_string().into();
            if let Some(same) = by_pattern.get_mut(&pattern) {
                same.retain(|other| !Arc::ptr_eq(other, endpoint));
                if same.is_empty() {
                    by_pattern.remove(&pattern);
                }
            }
        }
    }
}

impl Subscriptions {
    /// The active webhooks whose patterns match, each once.
    pub(crate) fn matching(
        &self,
        workspace: WorkspaceId,
        event_type: &EventType,
    ) -> Vec<Arc<Endpoint>> {
        let by_pattern = match self.inner.read().get(&workspace) {
            Some(entry) if !entry.by_pattern.is_empty() => Arc::clone(&entry.by_pattern),
            _ => return Vec::new(),
        };
        let mut found: Vec<Arc<Endpoint>> = patterns_of(event_type.as_str())
            .filter_map(|pattern| by_pattern.get(&*pattern))
            .flatten()
            .cloned()
            .collect();
        // More than one of a webhook's patterns may match.
        found.sort_unstable_by_key(|endpoint| endpoint.webhook.id);
        found.dedup_by_key(|endpoint| endpoint.webhook.id);
        found
    }

    pub(crate) fn lane(&self, workspace: WorkspaceId, webhook: WebhookId) -> Option<Arc<Lane>> {
        self.inner
            .read()
            .get(&workspace)?
            .lanes
            .get(&webhook)
            .cloned()
    }

    pub(crate) fn endpoint(
        &self,
        workspace: WorkspaceId,
        webhook: WebhookId,
    ) -> Option<Arc<Endpoint>> {
        self.inner
            .read()
            .get(&workspace)?
            .endpoints
            .get(&webhook)
            .cloned()
    }

    pub(crate) fn lanes(&self) -> Vec<Arc<Lane>> {
        self.inner
            .read()
            .values()
            .flat_map(|entry| entry.lanes.values().cloned())
            .collect()
    }

    /// The workspaces of which anything is known.
    pub(crate) fn workspaces(&self) -> Vec<WorkspaceId> {
        self.inner.read().keys().copied().collect()
    }

    pub(crate) fn put_type(&self, known: Arc<KnownType>) {
        let name = known.record.name.as_str().into();
        self.inner
            .write()
            .entry(known.record.workspace)
            .or_default()
            .types
            .insert(name, known);
    }

    pub(crate) fn remove_type(&self, workspace: WorkspaceId, name: &str) {
        if let Some(entry) = self.inner.write().get_mut(&workspace) {
            entry.types.remove(name);
        }
    }

    pub(crate) fn known_type(&self, workspace: WorkspaceId, name: &str) -> Option<Arc<KnownType>> {
        self.inner.read().get(&workspace)?.types.get(name).cloned()
    }

    pub(crate) fn type_names(&self, workspace: WorkspaceId) -> Vec<String> {
        let inner = self.inner.read();
        inner
            .get(&workspace)
            .map(|entry| entry.types.keys().map(ToString::to_string).collect())
            .unwrap_or_default()
    }
}

/// The texts of all patterns that match `name`: itself, `*`, and `a.*`, `a.b.*` … of its parts.
fn patterns_of(name: &str) -> impl Iterator<Item = Box<str>> + '_ {
    let prefixes = name
        .match_indices('.')
        .map(|(at, _)| format!("{}.*", &name[..at]).into());
    [Box::from(name), Box::from("*")]
        .into_iter()
        .chain(prefixes)
}

impl Shared {
    /// Reads every webhook and event type from the store.
    pub(crate) async fn load_subscriptions(&self) -> Result<(), StoreError> {
        for record in self.store.all_event_types().await? {
            match known(record) {
                Ok(known) => self.subscriptions.put_type(Arc::new(known)),
                Err(error) => tracing::error!(%error, "a stored event type is unusable"),
            }
        }
        let now = self.now();
        let webhooks = self.store.all_webhooks().await?;
        let mut inner = self.subscriptions.inner.write();
        for webhook in webhooks {
            let entry = inner.entry(webhook.workspace).or_default();
            self.insert(entry, webhook, now);
        }
        Ok(())
    }

    /// Takes up a webhook that was made or changed.
    pub(crate) fn put_webhook(&self, webhook: Webhook) -> Arc<Lane> {
        let now = self.now();
        let mut inner = self.subscriptions.inner.write();
        let entry = inner.entry(webhook.workspace).or_default();
        self.insert(entry, webhook, now)
    }

    /// Drops a webhook that was removed; answers its lane, which starts nothing any more.
    pub(crate) fn remove_webhook(
        &self,
        workspace: WorkspaceId,
        webhook: WebhookId,
    ) -> Option<Arc<Lane>> {
        let mut inner = self.subscriptions.inner.write();
        let entry = inner.get_mut(&workspace)?;
        if let Some(endpoint) = entry.endpoints.remove(&webhook) {
            entry.unlink(&endpoint);
        }
        entry.changed_at.remove(&webhook);
        let lane = entry.lanes.remove(&webhook);
        drop(inner);
        if let Some(lane) = &lane {
            lane.set_endpoint(None, &self.nodes.members());
        }
        lane
    }

    fn insert(&self, entry: &mut Entry, webhook: Webhook, now: Timestamp) -> Arc<Lane> {
        let id = webhook.id;
        let known = entry.lanes.get(&id).cloned();
        let changed_at = entry.changed_at.insert(id, webhook.updated_at);
        if let (Some(lane), Some(newer)) = (&known, changed_at)
            && newer > webhook.updated_at
        {
            entry.changed_at.insert(id, newer);
            return Arc::clone(lane);
        }
        let lane = known
            .clone()
            .unwrap_or_else(|| Arc::new(Lane::new(&webhook, self.among_nodes)));
        entry.lanes.insert(id, Arc::clone(&lane));
        let members = self.nodes.members();
        let before = entry.endpoints.remove(&id);
        if let Some(endpoint) = &before {
            entry.unlink(endpoint);
        }
        if webhook.is_active() {
            // What came while it was inactive lies on disk.
            if known.is_some() && before.is_none() {
                lane.leave_on_disk();
            }
            let endpoint = Arc::new(Endpoint::new(webhook, Arc::clone(&lane), self, now));
            lane.set_endpoint(Some(Arc::clone(&endpoint)), &members);
            entry.link(&endpoint);
            entry.endpoints.insert(id, endpoint);
        } else {
            lane.set_endpoint(None, &members);
        }
        lane
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_matched_by_itself_the_star_and_each_prefix() {
        let texts: Vec<_> = patterns_of("a.b.c").map(String::from).collect();
        assert_eq!(texts, ["a.b.c", "*", "a.*", "a.b.*"]);
    }
}
