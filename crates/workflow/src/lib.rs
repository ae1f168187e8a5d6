//! Durable executions: claim → decide → step → record.
//!
//! The players, in the order of the flow:
//!
//! - [`start`] makes an execution's record and what it begins with; whoever asks for it has it
//!   stored with what caused it (a receipt, another execution's step, a schedule's turn).
//! - `drive` is one execution in memory: a task that asks [`domain::workflow::run::Run`] what comes
//!   next, has it done (`step`), and has the outcome written (`record`), with every event that it
//!   causes, in one transaction. Only then does the next step start.
//! - `claim` takes up what is due and what others left; `signals` hands on what came from outside
//!   for executions that are in memory; `schedule` fires triggers by the clock.
//! - [`registry`] keeps definitions; [`files`] opens their files.
//! - [`outbox`] is how events get into a transaction of this crate; [`callbacks`] makes the
//!   addresses at which outside systems answer.
//!
//! What is in memory can be lost at any moment: everything is decided from the steps on disk.

pub mod callbacks;
mod claim;
mod drive;
pub mod events;
pub mod files;
pub mod follow;
pub mod outbox;
pub mod present;
pub mod programs;
mod record;
pub mod registry;
mod schedule;
mod signals;
pub mod start;
mod step;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use domain::{ExecutionId, Timestamp, WorkspaceId, edge::Edge};
use egress::Egress;
use models::Models;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use sandbox::Sandbox;
use store::{SharedStore, StoreError};
use tokio::sync::{Notify, Semaphore, broadcast, mpsc, watch};

pub use crate::callbacks::{Callbacks, NoCallbacks};
use crate::{follow::Notice, outbox::Outbox, programs::Programs};

/// Bounds of the engine.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The most executions in memory.
    pub live_max: usize,
    /// The most steps that talk to the outside at once.
    pub steps_max: usize,
    /// How often the disk is asked for what no bell announced.
    pub poll_every: Duration,
    /// How often it is asked for signals to executions in memory.
    pub signals_every: Duration,
    /// Whether every model is the offline stand-in.
    pub offline: bool,
    /// Whether this node runs executions.
    pub runs: bool,
    /// How long finished executions are kept.
    pub retention: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            live_max: 10_000,
            steps_max: 512,
            poll_every: Duration::from_secs(2),
            signals_every: Duration::from_millis(500),
            offline: false,
            runs: true,
            retention: Duration::from_hours(720),
        }
    }
}

/// What the engine is made of.
pub struct Parts {
    /// Where executions are kept.
    pub store: SharedStore,
    /// Time, ids, randomness.
    pub edge: Edge,
    /// How events get into transactions.
    pub outbox: Arc<dyn Outbox>,
    /// Where outside systems answer nodes that wait for them.
    pub callbacks: Arc<dyn Callbacks>,
    /// The guarded way out.
    pub egress: Egress,
    /// Models and their tools.
    pub models: Models,
    /// jq and Python.
    pub sandbox: Sandbox,
    /// Bounds.
    pub settings: Settings,
}

/// The engine: a handle that is cheap to clone.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

/// What all players share.
pub(crate) struct Shared {
    pub store: SharedStore,
    pub edge: Edge,
    pub outbox: Arc<dyn Outbox>,
    pub callbacks: Arc<dyn Callbacks>,
    pub egress: Egress,
    pub models: Models,
    pub sandbox: Sandbox,
    pub settings: Settings,
    pub programs: Programs,
    /// Executions in memory, and the way to each.
    pub live: Mutex<FxHashMap<ExecutionId, mpsc::UnboundedSender<drive::Word>>>,
    /// How many of them there are, those about to be among them.
    pub places: AtomicUsize,
    /// Bounds the steps that talk to the outside.
    pub steps: Arc<Semaphore>,
    /// Rung when something may be due.
    pub due_bell: Notify,
    /// Rung when a signal may wait for an execution in memory.
    pub signal_bell: Notify,
    /// Rung when a schedule was made or changed.
    pub schedule_bell: Notify,
    /// Rung when an execution has left memory.
    pub idle_bell: Notify,
    pub notices: broadcast::Sender<Arc<Notice>>,
    pub draining: AtomicBool,
    pub stop: watch::Sender<bool>,
}

impl Engine {
    /// Prepares the engine. Nothing runs in the background until [`Engine::spawn`].
    pub fn new(parts: Parts) -> Self {
        let Parts {
            store,
            edge,
            outbox,
            callbacks,
            egress,
            models,
            sandbox,
            settings,
        } = parts;
        let steps = Arc::new(Semaphore::new(settings.steps_max));
        Self {
            shared: Arc::new(Shared {
                store,
                edge,
                outbox,
                callbacks,
                egress,
                models,
                sandbox,
                programs: Programs::default(),
                live: Mutex::default(),
                places: AtomicUsize::new(0),
                steps,
                due_bell: Notify::new(),
                signal_bell: Notify::new(),
                schedule_bell: Notify::new(),
                idle_bell: Notify::new(),
                notices: broadcast::channel(4_096).0,
                draining: AtomicBool::new(false),
                stop: watch::channel(false).0,
                settings,
            }),
        }
    }

    /// Starts the background tasks. Each is started again if it breaks.
    pub fn spawn(&self) {
        if !self.shared.settings.runs {
            return;
        }
        let shared = &self.shared;
        shared.supervise("claims of executions", claim::run);
        shared.supervise("signals", signals::run);
        shared.supervise("schedules", schedule::run);
        shared.supervise("retention of executions", claim::prune);
        if shared.store.is_shared() {
            shared.supervise("hints of executions", signals::hear);
        }
    }

    /// Starts nothing more, and waits up to `patience` for what runs to be recorded; what is left
    /// is cut off and goes back to disk, where it is due.
    pub async fn drain(&self, patience: Duration) {
        let shared = &self.shared;
        shared.draining.store(true, Ordering::Release);
        for way in shared.live.lock().values() {
            // One that has just ended needs no telling.
            let _ = way.send(drive::Word::Leave);
        }
        // Beyond it, whatever was held is free as soon as the lease has ended.
        let _ = tokio::time::timeout(patience, shared.quiet()).await;
        shared.stop.send_replace(true);
    }

    /// Runs everything that can run at the clock's present time: for tests.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn run_until_idle(&self) -> Result<(), StoreError> {
        loop {
            self.shared.quiet().await;
            let fired = schedule::step(&self.shared).await?;
            let signalled = signals::step(&self.shared).await?;
            let claimed = claim::step(&self.shared).await?;
            if fired + signalled + claimed == 0 {
                return Ok(());
            }
        }
    }

    /// Compiled definitions.
    pub fn programs(&self) -> &Programs {
        &self.shared.programs
    }

    /// The store, for look-ups that need no rule.
    pub fn store(&self) -> &SharedStore {
        &self.shared.store
    }

    /// Where events are planned.
    pub fn outbox(&self) -> &Arc<dyn Outbox> {
        &self.shared.outbox
    }

    /// jq and Python.
    pub fn sandbox(&self) -> &Sandbox {
        &self.shared.sandbox
    }

    /// How many executions are in memory.
    pub fn live(&self) -> usize {
        self.shared.live.lock().len()
    }

    /// Has triggers looked at again: one was made or changed.
    pub fn schedules_changed(&self) {
        self.shared.schedule_bell.notify_one();
    }

    /// Says that something may be due that this process has not made so by itself.
    pub fn look(&self) {
        self.shared.due_bell.notify_one();
        self.shared.signal_bell.notify_one();
    }
}

impl Shared {
    pub fn now(&self) -> Timestamp {
        self.edge.clock.now()
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Takes a place in memory for one more execution, if there is one.
    pub fn take_place(&self) -> bool {
        if !self.settings.runs || self.is_draining() {
            return false;
        }
        self.places
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
                (taken < self.settings.live_max).then_some(taken + 1)
            })
            .is_ok()
    }

    /// Gives a place back.
    pub fn leave_place(&self) {
        self.leave_places(1);
    }

    /// Gives places back.
    pub fn leave_places(&self, count: usize) {
        self.places.fetch_sub(count, Ordering::AcqRel);
        self.idle_bell.notify_waiters();
    }

    /// Returns once no execution is in memory.
    async fn quiet(&self) {
        loop {
            let bell = self.idle_bell.notified();
            tokio::pin!(bell);
            bell.as_mut().enable();
            if self.places.load(Ordering::Acquire) == 0 {
                return;
            }
            bell.await;
        }
    }

    /// Tells whoever follows.
    pub fn tell(&self, workspace: WorkspaceId, execution: ExecutionId, what: follow::What) {
        if self.notices.receiver_count() > 0 {
            let notice = Notice {
                workspace,
                execution,
                what,
            };
            // Nobody may follow any more.
            let _ = self.notices.send(Arc::new(notice));
        }
    }

    /// Runs `task` until the engine stops; a panic is logged and the task started again.
    fn supervise<F, T>(self: &Arc<Self>, name: &'static str, task: F)
    where
        F: Fn(Arc<Shared>) -> T + Send + Sync + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let mut stop = shared.stop.subscribe();
            loop {
                let mut run = tokio::spawn(task(Arc::clone(&shared)));
                let stopped = async { stop.wait_for(|stop| *stop).await.map(|_| ()) };
                tokio::select! {
                    _ = stopped => {
                        run.abort();
                        return;
                    }
                    ended = &mut run => {
                        tracing::error!(task = name, error = ?ended.err(), "a background task ended; starting it again");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
            }
        });
    }
}
