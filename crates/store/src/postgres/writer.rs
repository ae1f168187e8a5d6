//! Group commits: a few connections that drain one bounded queue of events accepted and attempts
//! finished, whole batches at a time.
//!
//! While one batch's commit is under way the next gathers; a lone transition commits at once. A
//! batch is a few statements over arrays and costs two round trips. One that fails is tried
//! again transition by transition, so that each fails alone.
//!
//! *A connection that breaks* before the COMMIT was sent has written nothing: the batch is
//! applied anew. One that breaks during the COMMIT leaves it open: then what the batch would
//! have written is looked for, once its transaction is certain to have ended. If that cannot be
//! found out in time, the node's lease is given up, and with it whatever may be held under it.

use std::{sync::Arc, time::Duration};

use deadpool_postgres::{Client, GenericClient as _};
use futures_util::future::try_join4;
use rustc_hash::FxHashSet;
use tokio::{
    sync::{Mutex, mpsc, oneshot, watch},
    task::JoinSet,
    time::Instant,
};
use tokio_postgres::Statement;

use super::{
    accept::{self, Rows},
    attempts::{self, Ends},
    connect::Link,
    lease::LeaseKeeper,
    partitions::Partitions,
    row::made_at,
    tally::{Sums, Tally},
};
use crate::{Accepted, CommitObserver, FinishAttempt, Finished, Lease, NewEvent, StoreError};

/// How many connections commit groups. With two, one prepares while the other waits for the disk.
pub(super) const WRITERS: i16 = 2;
/// How many transitions wait at most; whoever comes then waits for room.
const QUEUE_MAX: usize = 4_096;
/// How many transitions one commit takes at most.
const BATCH_MAX: usize = 256;
/// How long a transition waits for a database that cannot be reached, from when that began.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it is tried to find out whether a commit was made.
const PATIENCE_TO_LOOK: Duration = Duration::from_mins(1);
/// How often a batch is tried whose ids or keys others store at the same time.
const CONFLICTS_MAX: u32 = 3;
/// The pause between two tries to connect.
const PAUSE: Duration = Duration::from_millis(50);

/// What is to be written.
enum Job {
    Accept {
        events: Vec<NewEvent>,
        answer: oneshot::Sender<Result<Vec<Accepted>, StoreError>>,
    },
    Finish {
        finish: Box<FinishAttempt>,
        answer: oneshot::Sender<Result<Finished, StoreError>>,
    },
}

/// What came of a job.
enum Outcome {
    Accepted(Vec<Accepted>),
    Finished(Finished),
}

impl Job {
    /// Tells whoever asked; they may have gone.
    fn answer(self, outcome: Result<Outcome, StoreError>) {
        match (self, outcome) {
            (Self::Accept { answer, .. }, Ok(Outcome::Accepted(answers))) => {
                drop(answer.send(Ok(answers)));
            }
            (Self::Finish { answer, .. }, Ok(Outcome::Finished(finished))) => {
                drop(answer.send(Ok(finished)));
            }
            (Self::Accept { answer, .. }, outcome) => drop(answer.send(Err(failure(outcome)))),
            (Self::Finish { answer, .. }, outcome) => drop(answer.send(Err(failure(outcome)))),
        }
    }
}

fn failure(outcome: Result<Outcome, StoreError>) -> StoreError {
    match outcome {
        Err(error) => error,
        Ok(_) => StoreError::Failed("a transition got the answer of another".to_owned()),
    }
}

/// The way to the writers.
pub(super) struct Writers {
    queue: mpsc::Sender<Job>,
    closing: watch::Sender<bool>,
    tasks: Mutex<JoinSet<()>>,
}

impl Writers {
    /// Starts them.
    pub(super) fn start(
        link: &Arc<Link>,
        lease: &Arc<LeaseKeeper>,
        partitions: &Arc<Partitions>,
        observer: &Arc<dyn CommitObserver>,
    ) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let inbox = Arc::new(Mutex::new(jobs));
        let closing = watch::channel(false).0;
        let mut tasks = JoinSet::new();
        for number in 1..=WRITERS {
            let writer = Writer {
                number,
                link: Arc::clone(link),
                lease: Arc::clone(lease),
                partitions: Arc::clone(partitions),
                observer: Arc::clone(observer),
                client: None,
                down_since: None,
            };
            tasks.spawn(writer.run(Arc::clone(&inbox), closing.subscribe()));
        }
        Self {
            queue,
            closing,
            tasks: Mutex::new(tasks),
        }
    }

    /// See [`crate::Store::accept`]. Once it is queued it will be written, even if the caller
    /// stops waiting.
    pub(super) async fn accept(&self, events: Vec<NewEvent>) -> Result<Vec<Accepted>, StoreError> {
        let (answer, outcome) = oneshot::channel();
        self.ask(Job::Accept { events, answer }, outcome).await
    }

    /// See [`crate::Store::finish_attempt`]; as sure as [`Writers::accept`].
    pub(super) async fn finish(&self, finish: FinishAttempt) -> Result<Finished, StoreError> {
        let (answer, outcome) = oneshot::channel();
        let finish = Box::new(finish);
        self.ask(Job::Finish { finish, answer }, outcome).await
    }

    async fn ask<T>(
        &self,
        job: Job,
        outcome: oneshot::Receiver<Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        if *self.closing.borrow() || self.queue.send(job).await.is_err() {
            return Err(StoreError::Closed);
        }
        outcome.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Has what is queued written, then ends the writers. A second call waits for nothing.
    pub(super) async fn close(&self) {
        self.closing.send_replace(true);
        let mut tasks = self.tasks.lock().await;
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a writer broke");
            }
        }
    }
}

/// The statements of this file, prepared.
struct Statements {
    lock_fence: Statement,
    count: Statement,
}

impl Statements {
    /// Out of a connection's cache.
    async fn cached(client: &Client) -> Result<Self, StoreError> {
        Ok(Self {
            lock_fence: client
                .prepare_cached(
                    "SELECT 1 FROM fences WHERE lease = $1 AND writer = $2 FOR NO KEY UPDATE",
                )
                .await?,
            count: client.prepare_cached(Sums::SQL).await?,
        })
    }
}

type Inbox = Arc<Mutex<mpsc::Receiver<Job>>>;

struct Writer {
    number: i16,
    link: Arc<Link>,
    lease: Arc<LeaseKeeper>,
    partitions: Arc<Partitions>,
    observer: Arc<dyn CommitObserver>,
    client: Option<Client>,
    /// Since when the database cannot be reached.
    down_since: Option<Instant>,
}

/// How a try to write a batch failed.
enum Fault {
    /// Nothing was written.
    Unwritten(StoreError),
    /// The connection broke during the COMMIT.
    Unknown(StoreError, Witness, Vec<Outcome>),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Unwritten(error)
    }
}

/// What tells whether a batch was committed: it is all there or not at all.
enum Witness {
    Event(domain::WorkspaceId, domain::EventKey),
    Attempt(Box<FinishAttempt>),
    /// The batch wrote nothing.
    Nothing,
}

impl Writer {
    async fn run(mut self, inbox: Inbox, mut closing: watch::Receiver<bool>) {
        let mut jobs = Vec::with_capacity(BATCH_MAX);
        while take(&inbox, &mut closing, &mut jobs).await > 0 {
            while !jobs.is_empty() {
                let later = repeated(&mut jobs);
                let began = Instant::now();
                let written = jobs.len();
                self.write(std::mem::take(&mut jobs)).await;
                self.observer.committed(written, began.elapsed());
                jobs = later;
            }
        }
    }

    /// Writes a batch and answers each of its jobs; one that fails as a whole is written job by
    /// job.
    async fn write(&mut self, jobs: Vec<Job>) {
        match self.try_batch(&jobs).await {
            Ok(outcomes) => {
                for (job, outcome) in jobs.into_iter().zip(outcomes) {
                    job.answer(Ok(outcome));
                }
            }
            Err(StoreError::Failed(_) | StoreError::Busy) if jobs.len() > 1 => {
                for job in jobs {
                    let one = [job];
                    let outcome = self.try_batch(&one).await;
                    let [job] = one;
                    job.answer(outcome.and_then(only));
                }
            }
            Err(error) => {
                for job in jobs {
                    job.answer(Err(error.clone()));
                }
            }
        }
    }

    /// Writes a batch, again and again while the database is away for less than [`PATIENCE`].
    async fn try_batch(&mut self, jobs: &[Job]) -> Result<Vec<Outcome>, StoreError> {
        let mut conflicts = 0;
        loop {
            let lease = self.lease.current();
            let error = match self.try_once(jobs, lease).await {
                Ok(outcomes) => {
                    self.down_since = None;
                    return Ok(outcomes);
                }
                Err(Fault::Unwritten(error)) => error,
                Err(Fault::Unknown(error, witness, outcomes)) => {
                    // Not back into the pool: its transaction may still be open.
                    drop(self.client.take().map(Client::take));
                    if self.was_committed(lease, &witness).await {
                        return Ok(outcomes);
                    }
                    error
                }
            };
            match error {
                StoreError::Unavailable(why) => {
                    let since = *self.down_since.get_or_insert_with(Instant::now);
                    if self.client.as_ref().is_none_or(|client| client.is_closed()) {
                        self.client = None;
                    } else {
                        self.roll_back().await;
                    }
                    if since.elapsed() >= PATIENCE {
                        return Err(StoreError::Unavailable(why));
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                // Another node has stored the same id or key a moment ago: the next look finds it.
                // Or the partitions are not what they were.
                StoreError::Busy if conflicts < CONFLICTS_MAX => {
                    conflicts += 1;
                    self.partitions.forget_all();
                    self.roll_back().await;
                }
                error => {
                    self.roll_back().await;
                    return Err(error);
                }
            }
        }
    }

    async fn roll_back(&mut self) {
        if let Some(client) = &self.client
            && client.batch_execute("ROLLBACK").await.is_err()
        {
            self.client = None;
        }
    }

    async fn connected(&mut self) -> Result<&Client, StoreError> {
        if self.client.as_ref().is_none_or(|client| client.is_closed()) {
            let client = self.link.connection().await?;
            // Each statement goes by a key to each of its rows, however the tables have grown
            // since they were last measured.
            client
                .batch_execute(
                    "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
                     SET plan_cache_mode = force_generic_plan;",
                )
                .await?;
            self.client = Some(client);
        }
        self.client
            .as_ref()
            .ok_or_else(|| StoreError::Unavailable("no connection".to_owned()))
    }

    async fn try_once(&mut self, jobs: &[Job], lease: Lease) -> Result<Vec<Outcome>, Fault> {
        let (events, ends) = sorted(jobs);
        if let Some((first, last)) = span(&events) {
            self.partitions.cover(first, last).await?;
        }
        let number = self.number;
        let client = self.connected().await?;
        // All are prepared before the batch begins: its statements reach the server in the order
        // in which they stand below, the lock first.
        let accepting = accept::Statements::cached(client).await?;
        let finishing = attempts::Statements::cached(client).await?;
        let own = Statements::cached(client).await?;
        let (answers, rows) = accept::plan(client, &accepting, &events).await?;
        let begin = async {
            client.batch_execute("BEGIN").await?;
            Ok::<_, StoreError>(())
        };
        let ((), alive, (), held) = try_join4(
            begin,
            fence(client, &own.lock_fence, lease, number),
            rows.insert(client, &accepting, lease.0, number),
            ends.write(client, &finishing),
        )
        .await?;
        let held: FxHashSet<_> = held.into_iter().collect();
        let recorded: Vec<&FinishAttempt> = ends
            .finishes
            .iter()
            .copied()
            .filter(|finish| held.contains(&(finish.workspace, finish.delivery)))
            .collect();
        attempts::mark_failing(client, &finishing, &recorded).await?;
        let outcomes = outcomes(jobs, answers, &held);
        let mut tally = Tally::default();
        rows.count(&mut tally);
        for finish in &recorded {
            attempts::count(&mut tally, finish);
        }
        if let Err(error) = commit(client, &own.count, &mut tally, counter(lease, number)).await {
            return Err(match error {
                // Also where the database says that it is going down: it may have committed.
                StoreError::Unavailable(_) => {
                    Fault::Unknown(error, witness(&rows, &recorded), outcomes)
                }
                error => Fault::Unwritten(error),
            });
        }
        if !alive {
            // What was to be held is not: before anybody hears of it, it must be known here.
            self.lease.abandon(lease);
        }
        Ok(outcomes)
    }

    /// Whether a batch is there whose COMMIT was cut off.
    async fn was_committed(&mut self, lease: Lease, witness: &Witness) -> bool {
        let end = Instant::now() + PATIENCE_TO_LOOK;
        loop {
            match self.look_for(lease, witness).await {
                Ok(found) => {
                    tracing::info!(
                        committed = found,
                        "a connection broke during a commit; its outcome was looked up"
                    );
                    return found;
                }
                Err(error) if Instant::now() >= end => {
                    tracing::error!(%error, "cannot find out whether a commit was made");
                    self.lease.abandon(lease);
                    return false;
                }
                Err(_) => {
                    self.client = None;
                    tokio::time::sleep(PAUSE * 4).await;
                }
            }
        }
    }

    async fn look_for(&mut self, lease: Lease, witness: &Witness) -> Result<bool, StoreError> {
        let number = self.number;
        let client = self.connected().await?;
        // Waits for the transaction that was cut off, should it still run. Where the row is gone,
        // whoever ended the lease has waited for it.
        client
            .execute(
                "SELECT 1 FROM fences WHERE lease = $1 AND writer = $2 FOR UPDATE",
                &[&lease.0, &number],
            )
            .await?;
        match witness {
            Witness::Nothing => Ok(true),
            Witness::Event(workspace, key) => {
                let found = client
                    .query_opt(
                        "SELECT 1 FROM events WHERE workspace = $1 AND key = $2",
                        &[&workspace.number(), &key.uuid()],
                    )
                    .await?;
                Ok(found.is_some())
            }
            Witness::Attempt(finish) => attempts::is_logged(client, finish).await,
        }
    }
}

/// Takes what is queued, or waits for it; 0 once the queue is closed and empty.
async fn take(inbox: &Inbox, closing: &mut watch::Receiver<bool>, jobs: &mut Vec<Job>) -> usize {
    let mut inbox = inbox.lock().await;
    tokio::select! {
        biased;
        taken = inbox.recv_many(jobs, BATCH_MAX) => return taken,
        _ = closing.wait_for(|closing| *closing) => {}
    }
    inbox.close();
    inbox.recv_many(jobs, BATCH_MAX).await
}

/// Leaves the first end of each delivery's attempts in `jobs`, and answers the rest: a statement
/// over a batch sees each row once.
fn repeated(jobs: &mut Vec<Job>) -> Vec<Job> {
    let mut seen = FxHashSet::default();
    let mut later = Vec::new();
    for job in std::mem::take(jobs) {
        match &job {
            Job::Finish { finish, .. } if !seen.insert((finish.workspace, finish.delivery)) => {
                later.push(job);
            }
            _ => jobs.push(job),
        }
    }
    later
}

fn sorted(jobs: &[Job]) -> (Vec<&NewEvent>, Ends<'_>) {
    let mut events = Vec::new();
    let mut ends = Ends::default();
    for job in jobs {
        match job {
            Job::Accept { events: more, .. } => events.extend(more),
            Job::Finish { finish, .. } => ends.push(finish),
        }
    }
    (events, ends)
}

/// From when to when the events' keys were made.
fn span(events: &[&NewEvent]) -> Option<(i64, i64)> {
    let made = events
        .iter()
        .map(|new| made_at(domain::DeliveryId::new(new.event.key.uuid())).ms());
    Some((made.clone().min()?, made.max()?))
}

/// Locks the lease's row for this writer; `false` if the lease has ended.
async fn fence(
    client: &Client,
    lock: &Statement,
    lease: Lease,
    writer: i16,
) -> Result<bool, StoreError> {
    Ok(client
        .query_opt(lock, &[&lease.0, &writer])
        .await?
        .is_some())
}

/// Which rows of counts are this writer's alone: those of other nodes are other ones, so that no
/// commit waits for another. (After some ten thousand leases they come again, which does no harm.)
fn counter(lease: Lease, writer: i16) -> i16 {
    let of_lease = (lease.0 % 10_000) * i64::from(WRITERS) + i64::from(writer);
    i16::try_from(of_lease).unwrap_or(writer)
}

/// Writes the counts and commits.
async fn commit(
    client: &Client,
    counting: &Statement,
    tally: &mut Tally,
    writer: i16,
) -> Result<(), StoreError> {
    let sums = tally.sums();
    if sums.workspaces.is_empty() {
        client.batch_execute("COMMIT").await?;
        return Ok(());
    }
    let committed = async {
        client.batch_execute("COMMIT").await?;
        Ok::<_, StoreError>(())
    };
    futures_util::future::try_join(sums.write(client, counting, writer), committed).await?;
    Ok(())
}

fn outcomes(
    jobs: &[Job],
    answers: Vec<Accepted>,
    held: &FxHashSet<(domain::WorkspaceId, domain::DeliveryId)>,
) -> Vec<Outcome> {
    let mut answers = answers.into_iter();
    jobs.iter()
        .map(|job| match job {
            Job::Accept { events, .. } => {
                Outcome::Accepted(answers.by_ref().take(events.len()).collect())
            }
            Job::Finish { finish, .. } => {
                Outcome::Finished(if held.contains(&(finish.workspace, finish.delivery)) {
                    Finished::Recorded
                } else {
                    Finished::LeaseLost
                })
            }
        })
        .collect()
}

fn witness(rows: &Rows<'_>, recorded: &[&FinishAttempt]) -> Witness {
    match (rows.witness(), recorded.first()) {
        (Some((workspace, key)), _) => Witness::Event(workspace, key),
        (None, Some(finish)) => Witness::Attempt(Box::new((*finish).clone())),
        (None, None) => Witness::Nothing,
    }
}

fn only(outcomes: Vec<Outcome>) -> Result<Outcome, StoreError> {
    outcomes
        .into_iter()
        .next()
        .ok_or_else(|| StoreError::Failed("a transition was not applied".to_owned()))
}
