//! A few read-only connections, opened when first needed and used from blocking threads, so that
//! no look-up ever holds up the async runtime or a commit.

use std::{path::PathBuf, sync::Arc};

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use crate::StoreError;

/// How many look-ups run at once.
const READERS_MAX: usize = 4;
/// Page cache of each connection, in KiB (negative: KiB rather than pages).
const CACHE_KIB: i64 = -8_192;

/// The pool.
pub(super) struct Readers {
    path: PathBuf,
    permits: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    /// A pool for the database at `path`.
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            permits: Arc::new(Semaphore::new(READERS_MAX)),
            idle: Arc::default(),
        }
    }

    /// Runs a look-up; all its statements see the same commit.
    pub(super) async fn read<T, F>(&self, look_up: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let permits = Arc::clone(&self.permits);
        let permit = permits
            .acquire_owned()
            .await
            .map_err(|_| StoreError::Closed)?;
        let idle = Arc::clone(&self.idle);
        let path = self.path.clone();
        let found = tokio::task::spawn_blocking(move || {
            let ready = idle.lock().pop();
            let conn = match ready {
                Some(conn) => conn,
                None => connect(&path)?,
            };
            let found = conn
                .unchecked_transaction()
                .map_err(StoreError::from)
                .and_then(|_tx| look_up(&conn));
            idle.lock().push(conn);
            drop(permit);
            found
        });
        found
            .await
            .map_err(|error| StoreError::Failed(format!("a look-up panicked: {error}")))?
    }

    /// Waits for running look-ups and closes the connections; later ones are refused.
    pub(super) async fn close(&self) {
        let all = u32::try_from(READERS_MAX).unwrap_or(u32::MAX);
        // An error means that it was closed before.
        let running = self.permits.acquire_many(all).await;
        self.permits.close();
        drop(running);
        self.idle.lock().clear();
    }
}

fn connect(path: &std::path::Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(std::time::Duration::from_secs(5))?;
    conn.pragma_update(None, "cache_size", CACHE_KIB)?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(conn)
}
