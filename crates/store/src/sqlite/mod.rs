//! [`Store`](crate::Store) in one SQLite file.
//!
//! The players: `open` prepares the file and takes the next lease, guarded by [`FileLock`]; the
//! `writer` thread gathers transitions into group commits (`hot`, `tally` and `waiters` make that
//! cheap); `readers` answer look-ups from connections of their own; `checkpoint` keeps the
//! write-ahead log short. The transitions and look-ups stand in a file per resource: `events`, `due`,
//! `attempts`, `deliveries`, `webhooks`, `replays`, `event_types`, `access`, `answers`,
//! `retention`, `installation`, `stats`; of what comes in and runs, `sources`, `receipts`,
//! `triggers`, `workflows`, `executions`, `turns` (concurrency), `claims`, `record`, `signals`,
//! `pools`, `expiry`; how values stand in columns, in `row`. The traits' methods, which only hand
//! over to these, stand in `store` and `engine`.
//!
//! The file belongs to one process as long as that lives, so what it holds never expires. A
//! lease is the number of times that the file was opened, its *epoch*: what an earlier process
//! held is free the moment the file is opened again, with nothing to be rewritten.

mod access;
mod answers;
mod attempts;
mod checkpoint;
mod claims;
mod deliveries;
mod due;
mod engine;
mod event_types;
mod events;
mod executions;
mod expiry;
mod hot;
mod installation;
mod open;
mod pools;
mod readers;
mod receipts;
mod record;
mod replays;
mod retention;
mod row;
mod signals;
mod sources;
mod stats;
mod store;
mod tally;
#[cfg(test)]
mod tests;
mod triggers;
mod turns;
mod waiters;
mod webhooks;
mod workflows;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use domain::Timestamp;
use parking_lot::Mutex;
use tokio::sync::broadcast;

use crate::{
    Announcement, CommitObserver, Hint, Identity, Lease, Node, StoreError, lock::FileLock,
};

/// How a file is opened.
#[derive(Clone)]
pub struct SqliteOptions {
    /// The time now, for what is made at the first opening.
    pub now: Timestamp,
    /// Which process opens it.
    pub identity: Identity,
    /// Told of every commit.
    pub observer: Arc<dyn CommitObserver>,
    /// Bytes of a page of a new file: a power of two from 512 to 65,536; measurements set it,
    /// otherwise it is the store's choice.
    pub page_bytes: Option<u32>,
    /// The most pages that the database may have: lets tests fill the disk.
    pub pages_max: Option<u32>,
}

impl SqliteOptions {
    /// Opened at `now`, nobody told of commits.
    pub fn new(now: Timestamp) -> Self {
        Self {
            now,
            identity: Identity::default(),
            observer: Arc::new(crate::Unobserved),
            page_bytes: None,
            pages_max: None,
        }
    }
}

/// The store in one SQLite file.
///
/// If a transition panics, nothing of its batch is committed, whoever waited is told, and every
/// later transition is refused with [`StoreError::Failed`]; look-ups go on. The process should
/// then end and be started anew.
pub struct SqliteStore {
    path: PathBuf,
    epoch: i64,
    node: Mutex<Node>,
    /// Never used: there is nobody else.
    hints: broadcast::Sender<Hint>,
    readers: readers::Readers,
    writer: Option<writer::Writer>,
    lock: Mutex<Option<FileLock>>,
}

impl SqliteStore {
    /// Opens the database at `path`; makes it, and its folder, where they are missing, readable
    /// for their owner only.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another process has it open, [`StoreError::Newer`] if a newer
    /// Signpost wrote it, [`StoreError::Failed`] if it is no Signpost database or cannot be read
    /// or written.
    pub fn open(path: &Path, options: SqliteOptions) -> Result<Self, StoreError> {
        open::make_folder(path)?;
        let lock = FileLock::take(path)?;
        open::make_file(path)?;
        let opened = open::open(path, &options)?;
        let epoch = opened.epoch;
        let writer = writer::Writer::start(writer::Start {
            conn: opened.conn,
            epoch,
            pending: opened.pending,
            next_attempt: opened.next_attempt,
            observer: options.observer,
            checkpoints: checkpoint::Checkpoints::start(path)?,
        })?;
        Ok(Self {
            path: path.to_owned(),
            epoch,
            node: Mutex::new(Node {
                lease: Lease(epoch),
                id: options.identity.id,
                name: options.identity.name,
                version: options.identity.version,
                role: options.identity.role,
                is_self: true,
                started_at: options.now,
                seen_at: options.now,
                about: Announcement::default(),
            }),
            hints: broadcast::channel(1).0,
            readers: readers::Readers::new(path.to_owned()),
            writer: Some(writer),
            lock: Mutex::new(Some(lock)),
        })
    }
}

impl Drop for SqliteStore {
    /// Waits until what is queued is committed, so that the lock is not given up before.
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.join();
        }
    }
}
