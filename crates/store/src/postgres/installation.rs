//! What the database knows of the installation.

use domain::{Timestamp, WorkspaceId};

use super::{
    connect::Link,
    transact::{Over, look, transact},
};
use crate::StoreError;

/// Sees to it that there is a default workspace.
pub(super) async fn prepare(link: &Link, now: Timestamp) -> Result<(), StoreError> {
    let over = Over { link };
    transact!(over, |tx| async {
        tx.execute(
            "INSERT INTO workspaces (id, name, created_ms) VALUES ($1, 'default', $2) ON CONFLICT DO NOTHING",
            &[&WorkspaceId::DEFAULT.number(), &now.ms()],
        )
        .await?;
        Ok::<_, StoreError>(())
    })
}

/// See [`crate::Store::sealed_with`].
pub(super) async fn sealed_with(
    link: &Link,
    fingerprint: Option<&str>,
) -> Result<Option<String>, StoreError> {
    let over = Over { link };
    if let Some(fingerprint) = fingerprint {
        transact!(over, |tx| async {
            tx.execute(
                "UPDATE installation SET key_fingerprint = $1 WHERE key_fingerprint IS NULL",
                &[&fingerprint],
            )
            .await?;
            Ok::<_, StoreError>(())
        })?;
    }
    look!(over, |conn| async {
        let row = conn
            .query_one("SELECT key_fingerprint FROM installation", &[])
            .await?;
        Ok(row.get(0))
    })
}
