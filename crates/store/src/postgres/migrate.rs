//! The schema and its versions.
//!
//! Nodes of two versions run side by side while an installation is upgraded: a step only adds
//! what older programs do not mind, and says which version of the schema the oldest program
//! knows that can still work with what it leaves behind. What older programs need is taken away
//! by a later release's step.

use tokio_postgres::Client;

use super::connect::settings;
use crate::StoreError;

/// A step: its SQL, and the least schema version that a program must know to work with the result.
struct Step {
    sql: &'static str,
    oldest: u32,
}

/// One after the other; a step that was released is never changed.
const STEPS: &[Step] = &[
    Step {
        sql: include_str!("migrations/0001_initial.sql"),
        oldest: 1,
    },
    Step {
        sql: include_str!("migrations/0002_workflows.sql"),
        oldest: 1,
    },
];

/// The schema's version that this program writes.
pub(super) fn schema_version() -> u32 {
    u32::try_from(STEPS.len()).unwrap_or(u32::MAX)
}

// What no two nodes do at the same time: the second key of advisory locks, behind [`LOCK_KEY`].

/// Bringing the schema up to date.
const SCHEMA: i32 = 1;
/// Making partitions.
pub(super) const PARTITIONS: i32 = 2;
/// Retention.
pub(super) const RETENTION: i32 = 3;
/// Taking a lease.
pub(super) const LEASES: i32 = 4;

/// SQL of the key of an advisory lock: two schemas in one database do not block each other.
pub(super) const LOCK_KEY: &str = "hashtext('signpost ' || current_schema())";

/// Brings the schema up to date, one node at a time.
pub(super) async fn migrate(client: &mut Client) -> Result<(), StoreError> {
    // Another node may be at it, with a large table.
    client
        .batch_execute(&settings(std::time::Duration::from_mins(10)))
        .await?;
    let tx = client.transaction().await?;
    tx.execute(
        &format!("SELECT pg_advisory_xact_lock({LOCK_KEY}, $1)"),
        &[&SCHEMA],
    )
    .await?;
    tx.batch_execute(
        "CREATE TABLE IF NOT EXISTS schema_versions (
             version    INTEGER     PRIMARY KEY, -- the version
             oldest     INTEGER     NOT NULL,    -- the version that the oldest program knows that can work with it
             applied_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp() -- when it was reached
         )",
    )
    .await?;
    let row = tx
        .query_opt(
            "SELECT version, oldest FROM schema_versions ORDER BY version DESC LIMIT 1",
            &[],
        )
        .await?;
    let (found, oldest) = row.map_or((0, 0), |row| {
        let number = |column| u32::try_from(row.get::<_, i32>(column)).unwrap_or(u32::MAX);
        (number(0), number(1))
    });
    let known = schema_version();
    if oldest > known {
        return Err(StoreError::Newer { found, known });
    }
    for (index, step) in STEPS.iter().enumerate().skip(found as usize) {
        tx.batch_execute(step.sql).await?;
        let version = i32::try_from(index + 1).unwrap_or(i32::MAX);
        tx.execute(
            "INSERT INTO schema_versions (version, oldest) VALUES ($1, $2)",
            &[&version, &i32::try_from(step.oldest).unwrap_or(i32::MAX)],
        )
        .await?;
    }
    tx.commit().await?;
    Ok(())
}
