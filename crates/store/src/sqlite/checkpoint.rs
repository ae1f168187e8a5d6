//! Keeps the write-ahead log short without stalling commits.
//!
//! Copying the log into the database is done by a thread of its own, with its own connection,
//! while commits go on. That never reaches the log's end under constant load, so when it has
//! caught up the writer copies the short rest between two batches; the next commit then begins
//! the log anew. Should readers keep it from that for long, the writer waits for them.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use rusqlite::Connection;

use crate::StoreError;

/// Pages in the log from which on copying begins.
const BEGIN_PAGES: u32 = 8_192;
/// Pages in the log at which the writer waits for readers, rather than let it grow further.
const INSIST_PAGES: u32 = 8 * BEGIN_PAGES;
/// The longest such wait.
const INSIST_FOR: Duration = Duration::from_millis(250);
/// The background copies again at once while this much or more was written meanwhile.
const REST_PAGES: i64 = 512;
/// The most rounds of that.
const ROUNDS_MAX: usize = 4;

/// The writer's side.
pub(super) struct Checkpoints {
    ask: SyncSender<()>,
    caught_up: Arc<AtomicBool>,
    asked: bool,
    thread: thread::JoinHandle<()>,
}

impl Checkpoints {
    /// Starts the thread with a connection of its own.
    pub(super) fn start(path: &Path) -> Result<Self, StoreError> {
        let conn = super::open::connect(path)?;
        let (ask, asked) = sync_channel(1);
        let caught_up = Arc::new(AtomicBool::new(false));
        let of_thread = Arc::clone(&caught_up);
        let thread = thread::Builder::new()
            .name("store-checkpoint".into())
            .spawn(move || run(&conn, &asked, &of_thread))
            .map_err(|error| StoreError::Failed(format!("no thread for checkpoints: {error}")))?;
        Ok(Self {
            ask,
            caught_up,
            asked: false,
            thread,
        })
    }

    /// To be called between batches, with the length of the log.
    pub(super) fn after_commit(&mut self, conn: &Connection, wal_pages: u32) {
        if self.asked {
            if !self.caught_up.swap(false, Ordering::Acquire) {
                return;
            }
            self.asked = false;
            let insist = wal_pages >= INSIST_PAGES;
            if let Err(error) = copy_rest(conn, insist) {
                tracing::warn!(%error, "the write-ahead log could not be copied into the database");
            }
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

fn run(conn: &Connection, asked: &Receiver<()>, caught_up: &AtomicBool) {
    while asked.recv().is_ok() {
        for _ in 0..ROUNDS_MAX {
            match checkpoint(conn, "PASSIVE").and_then(|_| checkpoint(conn, "NOOP")) {
                Ok(Progress { in_log, copied }) if in_log - copied >= REST_PAGES => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "the write-ahead log could not be copied into the database");
                    break;
                }
            }
        }
        caught_up.store(true, Ordering::Release);
    }
}

fn copy_rest(conn: &Connection, insist: bool) -> rusqlite::Result<()> {
    if insist {
        conn.busy_timeout(INSIST_FOR)?;
        let done = checkpoint(conn, "RESTART");
        conn.busy_timeout(Duration::ZERO)?;
        done?;
    } else {
        checkpoint(conn, "PASSIVE")?;
    }
    Ok(())
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
