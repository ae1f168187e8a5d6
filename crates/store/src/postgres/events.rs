//! Events: look-ups and lists. How they are stored stands in `accept.rs`.

use std::collections::HashMap;

use deadpool_postgres::{Client, GenericClient};
use domain::{EventId, EventKey, WorkspaceId, event::Event};
use uuid::Uuid;

use super::{
    query::Query,
    row::{EVENT_COLUMNS, earliest_id, event as read_event, get, latest_id, limit},
};
use crate::{EventFilter, Page, StoreError};

/// See [`crate::Store::event`].
pub(super) async fn by_key(
    conn: &impl GenericClient,
    workspace: WorkspaceId,
    key: EventKey,
) -> Result<Option<Event>, StoreError> {
    let find = conn
        .prepare_cached(&format!(
            "SELECT {EVENT_COLUMNS} FROM events e WHERE workspace = $1 AND key = $2"
        ))
        .await?;
    let row = conn
        .query_opt(&find, &[&workspace.number(), &key.uuid()])
        .await?;
    row.map(|row| read_event(&row, workspace, 0)).transpose()
}

/// Those of the events with these keys that there are.
pub(super) async fn by_keys(
    conn: &impl GenericClient,
    workspace: WorkspaceId,
    keys: &[Uuid],
) -> Result<HashMap<Uuid, Event>, StoreError> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let find = conn
        .prepare_cached(&format!(
            "SELECT {EVENT_COLUMNS} FROM events e WHERE workspace = $1 AND key = ANY ($2)"
        ))
        .await?;
    let rows = conn.query(&find, &[&workspace.number(), &keys]).await?;
    rows.iter()
        .map(|row| {
            let event = read_event(row, workspace, 0)?;
            Ok((event.key.uuid(), event))
        })
        .collect()
}

/// See [`crate::Store::event_by_id`].
pub(super) async fn by_id(
    conn: &Client,
    workspace: WorkspaceId,
    id: &EventId,
) -> Result<Option<Event>, StoreError> {
    if let Some(event) = generated(conn, workspace, id).await? {
        return Ok(Some(event));
    }
    // Sorted apart, so that nobody gets the idea to walk through the events by time.
    let find = conn
        .prepare_cached(&format!(
            "WITH e AS MATERIALIZED (SELECT * FROM events WHERE workspace = $1 AND id = $2)
             SELECT {EVENT_COLUMNS} FROM e ORDER BY key DESC LIMIT 1"
        ))
        .await?;
    let row = conn
        .query_opt(&find, &[&workspace.number(), &id.as_str()])
        .await?;
    row.map(|row| read_event(&row, workspace, 0)).transpose()
}

/// The event whose printed key is `id`, if it got no other.
async fn generated(
    conn: &Client,
    workspace: WorkspaceId,
    id: &EventId,
) -> Result<Option<Event>, StoreError> {
    let Ok(key) = id.as_str().parse::<EventKey>() else {
        return Ok(None);
    };
    let event = by_key(conn, workspace, key).await?;
    Ok(event.filter(|event| event.id == *id))
}

/// See [`crate::Store::events`].
pub(super) async fn list(
    conn: &Client,
    workspace: WorkspaceId,
    filter: &EventFilter,
    page: Page<EventKey>,
) -> Result<Vec<Event>, StoreError> {
    let mut query = Query::default();
    let mut all = vec![format!("workspace = {}", query.value(workspace.number()))];
    if let Some(after) = page.after {
        all.push(format!("key < {}", query.value(after.uuid())));
    }
    if let Some(event_type) = &filter.event_type {
        all.push(format!(
            "type = {}",
            query.value(event_type.as_str().to_owned())
        ));
    }
    if let Some(since) = filter.since {
        all.push(format!(
            "key >= {} AND accepted_ms >= {}",
            query.value(earliest_id(since)),
            query.value(since.ms())
        ));
    }
    if let Some(until) = filter.until {
        all.push(format!(
            "key < {} AND accepted_ms < {}",
            query.value(latest_id(until)),
            query.value(until.ms())
        ));
    }
    let most = query.value(limit(page.limit));
    let sql = format!(
        "SELECT {EVENT_COLUMNS} FROM events e WHERE {} ORDER BY key DESC LIMIT {most}",
        all.join(" AND ")
    );
    let find = conn.prepare_cached(&sql).await?;
    let rows = conn.query(&find, &query.values()).await?;
    rows.iter()
        .map(|row| read_event(row, workspace, 0))
        .collect()
}

/// Between which ids the deliveries lie that were made along with an event; nil ids if none
/// were, `None` if there is no such event.
pub(super) async fn made_with(
    conn: &impl GenericClient,
    workspace: WorkspaceId,
    event: EventKey,
) -> Result<Option<(Uuid, Uuid)>, StoreError> {
    let find = conn
        .prepare_cached("SELECT first, last FROM events WHERE workspace = $1 AND key = $2")
        .await?;
    let row = conn
        .query_opt(&find, &[&workspace.number(), &event.uuid()])
        .await?;
    row.map(|row| {
        let first = get::<Option<Uuid>>(&row, 0)?.unwrap_or_default();
        Ok((first, get::<Option<Uuid>>(&row, 1)?.unwrap_or(first)))
    })
    .transpose()
}
