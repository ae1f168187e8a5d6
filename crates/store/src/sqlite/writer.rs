//! The one writer: a thread that drains a bounded queue of transitions into group commits.
//!
//! While one commit's fsync runs, the next batch gathers; a lone transition commits at once.
//! All that is there is applied in one transaction and then answered. A transition that fails
//! before it changed anything fails alone; one that fails half-way costs its batch a rollback,
//! after which the others are applied again without it: so no savepoint is needed for those
//! that succeed, which are nearly all. (Transitions can be applied again since they take their
//! input by reference.)
//!
//! A panic in a transition is a bug: its batch is rolled back, whoever waits is told, and the
//! store refuses all later transitions. Restarting the process is safe, since nothing of the
//! batch was committed.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    thread,
    time::Instant,
};

use domain::{EventKey, WorkspaceId};
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{checkpoint::Checkpoints, hot::Hot, tally::Tally, waiters::Waiters};
use crate::{CommitObserver, StoreError};

/// How many transitions wait at most; whoever comes then waits for room.
const QUEUE_MAX: usize = 4_096;
/// How many transitions one commit takes at most.
const BATCH_MAX: usize = 512;

/// What a transition works on: the open transaction and what is kept along with it.
pub(super) struct Batch<'b, 'c> {
    /// The connection, inside the transaction.
    pub(super) conn: &'c Connection,
    /// The statements of the hot path.
    pub(super) hot: &'b mut Hot<'c>,
    /// The present lease.
    pub(super) epoch: i64,
    /// What the transaction adds to counts.
    pub(super) tally: Tally,
    /// What stays from batch to batch.
    pub(super) kept: &'b mut Kept,
}

/// What the writer knows between batches. Nothing breaks if a rolled-back batch changed it.
pub(super) struct Kept {
    /// The row of the next attempt.
    pub(super) next_attempt: i64,
    /// Where the running pass of retention stands.
    pub(super) pruned_to: Option<(WorkspaceId, EventKey)>,
}

/// A transition in the queue.
pub(super) trait Transition: Send {
    /// Whether whoever waits can be told by a task of its own runtime.
    fn is_home(&self) -> bool;
    /// Applies it. May be called again after a rollback.
    fn apply(&mut self, batch: &mut Batch<'_, '_>) -> Result<(), StoreError>;
    /// Tells whoever waits: how it went, or that the commit failed.
    fn answer(self: Box<Self>, commit: Result<(), StoreError>);
}

struct Pending<T, F> {
    apply: F,
    outcome: Option<Result<T, StoreError>>,
    answer: oneshot::Sender<Result<T, StoreError>>,
    is_home: bool,
}

impl<T, F> Transition for Pending<T, F>
where
    T: Send,
    F: FnMut(&mut Batch<'_, '_>) -> Result<T, StoreError> + Send,
{
    fn is_home(&self) -> bool {
        self.is_home
    }

    fn apply(&mut self, batch: &mut Batch<'_, '_>) -> Result<(), StoreError> {
        let outcome = (self.apply)(batch);
        let told = outcome.as_ref().map(|_| ()).map_err(Clone::clone);
        self.outcome = Some(outcome);
        told
    }

    fn answer(self: Box<Self>, commit: Result<(), StoreError>) {
        let outcome = match (self.outcome, commit) {
            (Some(Err(own)), _) => Err(own),
            (_, Err(error)) => Err(error),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (None, Ok(())) => Err(StoreError::Failed("a transition was not applied".into())),
        };
        // Whoever asked may have gone; what was committed stays so.
        drop(self.answer.send(outcome));
    }
}

enum Message {
    Apply(Box<dyn Transition>),
    Close(oneshot::Sender<()>),
}

/// What the writer shares with those who ask.
pub(super) struct Shared {
    /// Deliveries in state 0, as of the last commit.
    pub(super) pending: AtomicI64,
    /// Those of them under this process's lease.
    pub(super) held: AtomicI64,
    /// Why the writer stopped, if it did for a bug.
    fatal: Mutex<Option<String>>,
    closed: AtomicBool,
    waiters: Waiters,
}

/// The way to the writer.
pub(super) struct Writer {
    queue: mpsc::Sender<Message>,
    pub(super) shared: Arc<Shared>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

/// What the writer starts from.
pub(super) struct Start {
    pub(super) conn: Connection,
    pub(super) epoch: i64,
    pub(super) pending: i64,
    pub(super) next_attempt: i64,
    pub(super) observer: Arc<dyn CommitObserver>,
    pub(super) checkpoints: Checkpoints,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(start: Start) -> Result<Self, StoreError> {
        let (queue, messages) = mpsc::channel(QUEUE_MAX);
        let shared = Arc::new(Shared {
            pending: AtomicI64::new(start.pending),
            held: AtomicI64::new(0),
            fatal: Mutex::new(None),
            closed: AtomicBool::new(false),
            waiters: Waiters::default(),
        });
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || run(start, messages, &of_thread))
            .map_err(|error| StoreError::Failed(format!("no thread for the writer: {error}")))?;
        Ok(Self {
            queue,
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Has a transition applied and committed. Once it is queued it will be, even if the caller
    /// stops waiting.
    pub(super) async fn apply<T, F>(&self, apply: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Batch<'_, '_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, outcome) = oneshot::channel();
        let transition = Box::new(Pending {
            apply,
            outcome: None,
            answer,
            is_home: self.shared.waiters.are_home(),
        });
        if self.queue.send(Message::Apply(transition)).await.is_err() {
            return Err(self.shared.why_gone());
        }
        outcome
            .await
            .unwrap_or_else(|_| Err(self.shared.why_gone()))
    }

    /// Has what is queued committed, then ends the thread. A second call waits for nothing.
    pub(super) async fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
        let (done, closed) = oneshot::channel();
        if self.queue.send(Message::Close(done)).await.is_ok() {
            // An error means that the thread is gone, which is what was asked for.
            let _ = closed.await;
        }
    }

    /// Waits for the thread to end; it does once the queue is closed or dropped.
    pub(super) fn join(self) {
        drop(self.queue);
        if let Some(thread) = self.thread.into_inner() {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl Shared {
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn why_gone(&self) -> StoreError {
        match &*self.fatal.lock() {
            Some(why) => StoreError::Failed(format!("the writer stopped after a bug: {why}")),
            None => StoreError::Closed,
        }
    }
}

thread_local! {
    /// Pages in the write-ahead log after this thread's last commit.
    static WAL_PAGES: Cell<u32> = const { Cell::new(0) };
}

fn run(start: Start, mut messages: mpsc::Receiver<Message>, shared: &Shared) {
    let Start {
        conn,
        epoch,
        next_attempt,
        observer,
        mut checkpoints,
        ..
    } = start;
    conn.wal_hook(Some(|_, pages| {
        WAL_PAGES.set(u32::try_from(pages).unwrap_or(0));
        Ok(())
    }));
    let mut hot = match Hot::prepare(&conn) {
        Ok(hot) => hot,
        Err(error) => {
            *shared.fatal.lock() = Some(error.to_string());
            return;
        }
    };
    let mut kept = Kept {
        next_attempt,
        pruned_to: None,
    };
    let mut inbox = Vec::with_capacity(BATCH_MAX);
    let mut transitions = Vec::with_capacity(BATCH_MAX);
    let mut closing = Vec::new();
    while messages.blocking_recv_many(&mut inbox, BATCH_MAX) > 0 {
        for message in inbox.drain(..) {
            match message {
                Message::Apply(transition) => transitions.push(transition),
                Message::Close(done) => {
                    messages.close();
                    closing.push(done);
                }
            }
        }
        if transitions.is_empty() {
            continue;
        }
        let began = Instant::now();
        let applied = transitions.len();
        let committed = catch_unwind(AssertUnwindSafe(|| {
            commit(&conn, &mut hot, epoch, &mut kept, &mut transitions, shared);
        }));
        if let Err(panic) = committed {
            let why = panic_text(panic.as_ref());
            tracing::error!(
                why,
                "a transition panicked: the store takes no more of them"
            );
            *shared.fatal.lock() = Some(why);
            break;
        }
        observer.committed(applied, began.elapsed());
        checkpoints.after_commit(&conn, WAL_PAGES.get());
    }
    drop(transitions);
    drop(hot);
    checkpoints.last(conn);
    for done in closing {
        // Whoever asked may have gone.
        let _ = done.send(());
    }
}

/// Applies and commits what is in `transitions`, and answers each; leaves it empty.
fn commit<'c>(
    conn: &'c Connection,
    hot: &mut Hot<'c>,
    epoch: i64,
    kept: &mut Kept,
    transitions: &mut Vec<Box<dyn Transition>>,
    shared: &Shared,
) {
    let mut batch = Batch {
        conn,
        hot,
        epoch,
        tally: Tally::default(),
        kept,
    };
    let mut failed: Vec<Box<dyn Transition>> = Vec::new();
    let outcome = loop {
        match attempt(&mut batch, transitions) {
            Ok(()) => break Ok(()),
            // Nothing else that needs room would fare better.
            Err(Fault::Of(_, StoreError::Full)) => break Err(StoreError::Full),
            Err(Fault::Of(index, _)) => failed.push(transitions.remove(index)),
            Err(Fault::Commit(error)) => break Err(error),
        }
    };
    if outcome.is_ok() {
        shared
            .pending
            .fetch_add(batch.tally.pending, Ordering::Relaxed);
        shared.held.fetch_add(batch.tally.held, Ordering::Relaxed);
    }
    shared.waiters.tell(transitions, &outcome);
    // They have outcomes of their own.
    shared.waiters.tell(&mut failed, &Ok(()));
}

enum Fault {
    /// This transition failed after it had changed something.
    Of(usize, StoreError),
    /// The transaction as a whole could not begin or commit.
    Commit(StoreError),
}

/// Tries to apply and commit all transitions; on an error nothing is left of it.
fn attempt(
    batch: &mut Batch<'_, '_>,
    transitions: &mut [Box<dyn Transition>],
) -> Result<(), Fault> {
    batch.tally.clear();
    batch
        .hot
        .begin
        .execute([])
        .map_err(|error| Fault::Commit(error.into()))?;
    let outcome = apply_all(batch, transitions).and_then(|()| {
        let counted = batch.tally.write(batch.hot);
        let committed = counted.and_then(|()| Ok(batch.hot.commit.execute([])?));
        committed.map(|_| ()).map_err(Fault::Commit)
    });
    // On some errors SQLite has rolled back by itself.
    if outcome.is_err()
        && !batch.conn.is_autocommit()
        && let Err(error) = batch.conn.execute_batch("ROLLBACK")
    {
        tracing::error!(%error, "a transaction could not be rolled back");
    }
    outcome
}

fn apply_all(
    batch: &mut Batch<'_, '_>,
    transitions: &mut [Box<dyn Transition>],
) -> Result<(), Fault> {
    for (index, transition) in transitions.iter_mut().enumerate() {
        let mark = batch.tally.mark();
        let changes = batch.conn.total_changes();
        if let Err(error) = transition.apply(batch) {
            if batch.conn.total_changes() != changes || batch.conn.is_autocommit() {
                return Err(Fault::Of(index, error));
            }
            batch.tally.back_to(mark);
        }
    }
    Ok(())
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".into())
}
