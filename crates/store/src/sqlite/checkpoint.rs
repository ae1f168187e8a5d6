//! Keeps the write-ahead log short without stalling commits.
//!
//! Copying the log into the database is done by a thread of its own, with its own connection,
//! while commits go on. That never reaches the log's end under constant load, so when it has
//! caught up the writer copies the short rest between two batches; the next commit then begins
//! the log anew. Should readers keep it from that for long, the writer waits for them.
//!
//! Copying the rest holds up commits for two syncs of the disk, so the log may become long before
//! that is done. Under little load it never is: once a second what is in the log is copied, which
//! then reaches its end by itself. So a crash leaves a short log to read, unless it comes in the
//! midst of heavy load.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use rusqlite::Connection;

use crate::StoreError;

/// Pages in the log from which on copying begins.
const BEGIN_PAGES: u32 = 16_384;
/// Pages in the log at which the writer waits for readers, rather than let it grow further.
const INSIST_PAGES: u32 = 4 * BEGIN_PAGES;
/// The longest such wait.
const INSIST_FOR: Duration = Duration::from_millis(250);
/// The background copies again at once while this much or more was written meanwhile.
const REST_PAGES: i64 = 512;
/// The most rounds of that.
const ROUNDS_MAX: usize = 4;
/// How often what is in the log is copied, however short it is.
const EVERY: Duration = Duration::from_secs(1);

/// What both threads see.
#[derive(Default)]
struct Shared {
    /// Something was written since the log was last copied.
    written: AtomicBool,
    /// What was asked for is done.
    caught_up: AtomicBool,
}

/// The writer's side.
pub(super) struct Checkpoints {
    ask: SyncSender<()>,
    shared: Arc<Shared>,
    asked: bool,
    thread: thread::JoinHandle<()>,
}

impl Checkpoints {
    /// Starts the thread with a connection of its own.
    pub(super) fn start(path: &Path) -> Result<Self, StoreError> {
        let conn = super::open::connect(path)?;
        let (ask, asked) = sync_channel(1);
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("store-checkpoint".into())
            .spawn(move || run(&conn, &asked, &of_thread))
            .map_err(|error| StoreError::Failed(format!("no thread for checkpoints: {error}")))?;
        Ok(Self {
            ask,
            shared,
            asked: false,
            thread,
        })
    }

    /// To be called between batches, with the length of the log.
    pub(super) fn after_commit(&mut self, conn: &Connection, wal_pages: u32) {
        self.shared.written.store(true, Ordering::Relaxed);
        if self.asked {
            if !self.shared.caught_up.swap(false, Ordering::Acquire) {
                return;
            }
            self.asked = false;
            let insist = wal_pages >= INSIST_PAGES;
            copied(copy_rest(conn, insist));
        } else if wal_pages >= BEGIN_PAGES {
            // A full channel means that it is asked already.
            self.asked = self.ask.try_send(()).is_ok();
        }
    }

    /// Copies everything, ends the thread and closes the writer's connection.
    pub(super) fn last(self, conn: Connection) {
        drop(self.ask);
        // A panic of the thread was reported when it happened.
        let _ = self.thread.join();
        if !conn.is_autocommit() {
            // What cannot be rolled back now is when the file is next opened.
            let _ = conn.execute_batch("ROLLBACK");
        }
        let copied = conn
            .busy_timeout(Duration::from_secs(5))
            .and_then(|()| checkpoint(&conn, "TRUNCATE"));
        if let Err(error) = copied {
            tracing::warn!(%error, "the write-ahead log stays: it could not be copied into the database");
        }
        if let Err((_, error)) = conn.close() {
            tracing::warn!(%error, "the database did not close cleanly");
        }
    }
}

fn run(conn: &Connection, asked: &Receiver<()>, shared: &Shared) {
    loop {
        match asked.recv_timeout(EVERY) {
            Ok(()) => {
                copy_until_short(conn);
                shared.caught_up.store(true, Ordering::Release);
            }
            Err(RecvTimeoutError::Timeout) => {
                if shared.written.swap(false, Ordering::Relaxed) {
                    copied(checkpoint(conn, "PASSIVE"));
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Copies what is in the log, then what was written meanwhile.
fn copy_until_short(conn: &Connection) {
    for _ in 0..ROUNDS_MAX {
        match copied(checkpoint(conn, "PASSIVE").and_then(|_| checkpoint(conn, "NOOP"))) {
            Some(Progress { in_log, copied }) if in_log - copied >= REST_PAGES => {}
            _ => return,
        }
    }
}

/// A failure is no more than reported: the log only grows longer until the next time.
fn copied(outcome: rusqlite::Result<Progress>) -> Option<Progress> {
    outcome
        .inspect_err(|error| {
            tracing::warn!(%error, "the write-ahead log could not be copied into the database");
        })
        .ok()
}

fn copy_rest(conn: &Connection, insist: bool) -> rusqlite::Result<Progress> {
    if !insist {
        return checkpoint(conn, "PASSIVE");
    }
    conn.busy_timeout(INSIST_FOR)?;
    let done = checkpoint(conn, "RESTART");
    conn.busy_timeout(Duration::ZERO)?;
    done
}

struct Progress {
    in_log: i64,
    copied: i64,
}

fn checkpoint(conn: &Connection, mode: &str) -> rusqlite::Result<Progress> {
    conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
        Ok(Progress {
            in_log: row.get(1)?,
            copied: row.get(2)?,
        })
    })
}
