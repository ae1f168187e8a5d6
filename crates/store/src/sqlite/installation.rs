//! What the file knows of the installation.

use rusqlite::{Connection, params};

use super::writer::Batch;
use crate::StoreError;

/// See [`crate::Store::sealed_with`].
pub(super) fn key_fingerprint(conn: &Connection) -> Result<Option<String>, StoreError> {
    Ok(
        conn.query_row("SELECT key_fingerprint FROM installation", [], |row| {
            row.get(0)
        })?,
    )
}

/// Records the fingerprint, if there is none yet.
pub(super) fn record_key(batch: &mut Batch<'_, '_>, fingerprint: &str) -> Result<(), StoreError> {
    batch.conn.execute(
        "UPDATE installation SET key_fingerprint = ?1 WHERE key_fingerprint IS NULL",
        params![fingerprint],
    )?;
    Ok(())
}
