//! What was changed of that which nodes keep in memory, numbered without gaps in the order of
//! the commits.
//!
//! The number is taken from one row, whose lock a transaction keeps until it has committed: a
//! number is seen only after all that are less. So transactions record their change last.

use deadpool_postgres::{Client, Transaction};
use domain::{WebhookId, WorkspaceId};
use tokio_postgres::Row;
use uuid::Uuid;

use super::row::{corrupt, get, stored_or_null, text};
use crate::{
    Change, Changes, StoreError,
    columns::{count, integer},
};

const WEBHOOK: i16 = 0;
const EVENT_TYPE: i16 = 1;
const ACCESS: i16 = 2;
const WORKFLOWS: i16 = 3;
const SOURCES: i16 = 4;

/// How many are told one by one.
const TOLD_MAX: usize = 1_000;

/// Records a change in its own transaction.
pub(super) async fn record(tx: &Transaction<'_>, change: &Change) -> Result<(), StoreError> {
    let (kind, workspace, webhook, name): (_, Option<WorkspaceId>, Option<Uuid>, Option<&str>) =
        match change {
            Change::Webhook(workspace, webhook) => {
                (WEBHOOK, Some(*workspace), Some(webhook.uuid()), None)
            }
            Change::EventType(workspace, name) => {
                (EVENT_TYPE, Some(*workspace), None, Some(name.as_str()))
            }
            Change::Access => (ACCESS, None, None, None),
            Change::Workflows => (WORKFLOWS, None, None, None),
            Change::Sources => (SOURCES, None, None, None),
        };
    let insert = tx
        .prepare_cached(
            "WITH next AS (UPDATE installation SET change = change + 1 RETURNING change)
             INSERT INTO changes (change, kind, workspace, webhook, name)
             SELECT change, $1, $2, $3, $4 FROM next",
        )
        .await?;
    tx.execute(
        &insert,
        &[
            &kind,
            &workspace.map(WorkspaceId::number),
            &webhook,
            &stored_or_null(name),
        ],
    )
    .await?;
    Ok(())
}

/// See [`crate::Store::changes`].
pub(super) async fn since(conn: &Client, after: Option<u64>) -> Result<Changes, StoreError> {
    // One statement, so that the last number and the changes are of one moment.
    let find = conn
        .prepare_cached(
            "SELECT i.change, c.change, c.kind, c.workspace, c.webhook, c.name
             FROM installation i LEFT JOIN LATERAL (
                 SELECT * FROM changes WHERE change > $1 ORDER BY change LIMIT $2
             ) c ON true
             ORDER BY c.change",
        )
        .await?;
    let most = i64::try_from(TOLD_MAX + 1).unwrap_or(i64::MAX);
    let cursor = after.map_or(i64::MAX, integer);
    let rows = conn.query(&find, &[&cursor, &most]).await?;
    let last: i64 = get(rows.first().ok_or_else(|| corrupt("no installation"))?, 0)?;
    let to = count(last);
    let what = match after {
        None => Some(Vec::new()),
        // Nothing is missing if there are as many as their numbers say.
        Some(after) => match to.checked_sub(after) {
            Some(0) => Some(Vec::new()),
            Some(news) if news <= TOLD_MAX as u64 && told(&rows)? == news => {
                rows.iter().map(read).collect::<Result<_, _>>()?
            }
            _ => None,
        },
    };
    Ok(Changes { to, what })
}

/// How many changes there are in the rows, which are one of nulls if there is none.
fn told(rows: &[Row]) -> Result<u64, StoreError> {
    let mut told = 0;
    for row in rows {
        told += u64::from(get::<Option<i64>>(row, 1)?.is_some());
    }
    Ok(told)
}

/// The change; `None` if it is of a kind that only a newer version knows. Its nodes may run beside
/// this one: then everything that is known here is read again.
fn read(row: &Row) -> Result<Option<Change>, StoreError> {
    Ok(match get::<i16>(row, 2)? {
        WEBHOOK => Some(Change::Webhook(
            WorkspaceId::new(get(row, 3)?),
            WebhookId::new(get(row, 4)?),
        )),
        EVENT_TYPE => Some(Change::EventType(
            WorkspaceId::new(get(row, 3)?),
            text(row, 5)?,
        )),
        ACCESS => Some(Change::Access),
        WORKFLOWS => Some(Change::Workflows),
        SOURCES => Some(Change::Sources),
        _ => None,
    })
}
