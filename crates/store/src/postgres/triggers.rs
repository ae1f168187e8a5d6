//! Triggers: their records, and what is due by the clock.

use deadpool_postgres::{Client, Transaction};
use domain::{
    SourceId, Timestamp, TriggerId, WorkflowId, WorkspaceId, intake::Trigger, webhook::Sealed,
};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    changes,
    codes::{from_json, json},
    query::Query,
    row::{get, limit, time, time_or_null},
};
use crate::{Change, Page, StoreError, Workflow};

const COLUMNS: &str = "workspace, id, workflow, source, next_ms, config, key, of_definition, active, created_ms, updated_ms";

fn read(row: &Row) -> Result<Trigger, StoreError> {
    Ok(Trigger {
        workspace: WorkspaceId::new(get(row, 0)?),
        id: TriggerId::new(get(row, 1)?),
        workflow: WorkflowId::new(get(row, 2)?),
        source: get::<Option<Uuid>>(row, 3)?.map(SourceId::new),
        next_at: time_or_null(row, 4)?,
        config: from_json(row, 5, "a trigger's configuration")?,
        key: get::<Option<Vec<u8>>>(row, 6)?.map(Sealed),
        of_definition: get(row, 7)?,
        active: get(row, 8)?,
        created_at: time(row, 9)?,
        updated_at: time(row, 10)?,
    })
}

/// See [`crate::Workflows::create_trigger`].
pub(super) async fn create(tx: &Transaction<'_>, trigger: &Trigger) -> Result<(), StoreError> {
    insert(tx, trigger).await?;
    changes::record(tx, &Change::Workflows).await
}

async fn insert(tx: &Transaction<'_>, trigger: &Trigger) -> Result<(), StoreError> {
    let insert = tx
        .prepare_cached(&format!(
            "INSERT INTO triggers ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
        ))
        .await?;
    tx.execute(
        &insert,
        &[
            &trigger.workspace.number(),
            &trigger.id.uuid(),
            &trigger.workflow.uuid(),
            &trigger.source.map(SourceId::uuid),
            &trigger.next_at.map(Timestamp::ms),
            &json(&trigger.config)?,
            &trigger.key.as_ref().map(|key| &key.0[..]),
            &trigger.of_definition,
            &trigger.active,
            &trigger.created_at.ms(),
            &trigger.updated_at.ms(),
        ],
    )
    .await?;
    Ok(())
}

/// See [`crate::Workflows::update_trigger`].
pub(super) async fn update(
    tx: &Transaction<'_>,
    trigger: &Trigger,
    expected: Timestamp,
) -> Result<bool, StoreError> {
    let update = tx
        .prepare_cached(
            "UPDATE triggers
             SET workflow = $4, source = $5, next_ms = $6, config = $7, key = $8, of_definition = $9, active = $10,
                 created_ms = $11, updated_ms = $12
             WHERE workspace = $1 AND id = $2 AND updated_ms = $3",
        )
        .await?;
    let updated = tx
        .execute(
            &update,
            &[
                &trigger.workspace.number(),
                &trigger.id.uuid(),
                &expected.ms(),
                &trigger.workflow.uuid(),
                &trigger.source.map(SourceId::uuid),
                &trigger.next_at.map(Timestamp::ms),
                &json(&trigger.config)?,
                &trigger.key.as_ref().map(|key| &key.0[..]),
                &trigger.of_definition,
                &trigger.active,
                &trigger.created_at.ms(),
                &trigger.updated_at.ms(),
            ],
        )
        .await?;
    if updated == 0 {
        return Ok(false);
    }
    changes::record(tx, &Change::Workflows).await?;
    Ok(true)
}

/// See [`crate::Workflows::delete_trigger`].
pub(super) async fn delete(
    tx: &Transaction<'_>,
    workspace: WorkspaceId,
    id: TriggerId,
) -> Result<bool, StoreError> {
    let delete = tx
        .prepare_cached("DELETE FROM triggers WHERE workspace = $1 AND id = $2")
        .await?;
    let deleted = tx
        .execute(&delete, &[&workspace.number(), &id.uuid()])
        .await?;
    if deleted == 0 {
        return Ok(false);
    }
    changes::record(tx, &Change::Workflows).await?;
    Ok(true)
}

/// Puts triggers in the place of those that the workflow's last file brought along; one with the
/// same configuration keeps what others know it by, and its time.
pub(super) async fn replace_of_definition(
    tx: &Transaction<'_>,
    workflow: &Workflow,
    triggers: &[Trigger],
) -> Result<(), StoreError> {
    let take = tx
        .prepare_cached(&format!(
            "DELETE FROM triggers WHERE workspace = $1 AND workflow = $2 AND of_definition RETURNING {COLUMNS}"
        ))
        .await?;
    let (workspace, id) = (workflow.workspace.number(), workflow.id.uuid());
    let rows = tx.query(&take, &[&workspace, &id]).await?;
    let mut before = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    before.sort_by_key(|trigger| trigger.id);
    for trigger in triggers {
        let same = before.iter().position(|old| old.config == trigger.config);
        match same.map(|index| before.remove(index)) {
            Some(old) => {
                let kept = Trigger {
                    source: trigger.source,
                    updated_at: trigger.updated_at,
                    ..old
                };
                insert(tx, &kept).await?;
            }
            None => insert(tx, trigger).await?,
        }
    }
    Ok(())
}

/// See [`crate::Workflows::triggers`].
pub(super) async fn list(
    conn: &Client,
    workspace: WorkspaceId,
    workflow: Option<WorkflowId>,
    page: Page<TriggerId>,
) -> Result<Vec<Trigger>, StoreError> {
    let mut query = Query::default();
    let mut wanted = vec![
        format!("workspace = {}", query.value(workspace.number())),
        format!(
            "id > {}",
            query.value(page.after.map_or(Uuid::nil(), TriggerId::uuid))
        ),
    ];
    if let Some(workflow) = workflow {
        wanted.push(format!("workflow = {}", query.value(workflow.uuid())));
    }
    let sql = format!(
        "SELECT {COLUMNS} FROM triggers WHERE {} ORDER BY id LIMIT {}",
        wanted.join(" AND "),
        query.value(limit(page.limit))
    );
    let find = conn.prepare_cached(&sql).await?;
    let rows = conn.query(&find, &query.values()).await?;
    rows.iter().map(read).collect()
}

/// See [`crate::Workflows::all_triggers`].
pub(super) async fn all(conn: &Client) -> Result<Vec<Trigger>, StoreError> {
    let find = conn
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM triggers ORDER BY workspace, id"
        ))
        .await?;
    let rows = conn.query(&find, &[]).await?;
    rows.iter().map(read).collect()
}

/// See [`crate::Workflows::due_triggers`].
pub(super) async fn due(
    conn: &Client,
    now: Timestamp,
    most: usize,
) -> Result<Vec<Trigger>, StoreError> {
    let find = conn
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM triggers WHERE active AND next_ms <= $1 ORDER BY next_ms, id LIMIT $2"
        ))
        .await?;
    let rows = conn.query(&find, &[&now.ms(), &limit(most)]).await?;
    rows.iter().map(read).collect()
}

/// See [`crate::Workflows::next_trigger_due`].
pub(super) async fn next_due(conn: &Client) -> Result<Option<Timestamp>, StoreError> {
    let find = conn
        .prepare_cached(
            "SELECT next_ms FROM triggers WHERE active AND next_ms IS NOT NULL ORDER BY next_ms LIMIT 1",
        )
        .await?;
    let row = conn.query_opt(&find, &[]).await?;
    row.map(|row| time(&row, 0)).transpose()
}

/// Moves the time of a trigger that is due; `false` if somebody else has.
pub(super) async fn move_on(
    tx: &Transaction<'_>,
    workspace: WorkspaceId,
    id: TriggerId,
    expected: Timestamp,
    next: Option<Timestamp>,
) -> Result<bool, StoreError> {
    let move_on = tx
        .prepare_cached(
            "UPDATE triggers SET next_ms = $4 WHERE workspace = $1 AND id = $2 AND next_ms = $3 AND active",
        )
        .await?;
    let moved = tx
        .execute(
            &move_on,
            &[
                &workspace.number(),
                &id.uuid(),
                &expected.ms(),
                &next.map(Timestamp::ms),
            ],
        )
        .await?;
    Ok(moved > 0)
}
