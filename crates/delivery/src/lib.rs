//! The delivery pipeline: events on their way to webhooks.
//!
//! The players, in the order of the flow:
//!
//! - [`accept`] stores an event with its deliveries in one transaction, and answers once that is
//!   on disk. Which webhooks get it, `fan_out` reads off the [`subscriptions`] in memory.
//! - each webhook has a lane ([`lane`]): its own queue, its own cap, its breaker, its rate. What
//!   was just accepted waits there under this process's lease; what does not fit stays on disk.
//! - [`dispatch`] starts attempts: as many as lanes allow, fairly under a global cap.
//! - `send` renders, signs and sends one delivery through `egress`; `settle` decides what follows
//!   and records it. Only then is the slot free: an attempt is in flight until it is recorded.
//! - `due` wakes lanes whose retries, breakers or rates fall due, and takes up from disk what
//!   nobody holds. Bells only hint: polling alone suffices.
//! - [`replay`] makes deliveries of past events, a batch at a time; [`retention`] prunes.
//!
//! Where several nodes work on one store, [`nodes`] counts them and gives each lane this node's
//! share; [`changes`] takes up what others have changed; `hints` and `notes` tell each other of
//! due work, and of what is to be seen. With a store of one's own, none of these runs.
//!
//! The pipeline never renders HTTP answers and never speaks SQL.

pub mod accept;
pub mod changes;
mod dispatch;
mod due;
mod endpoint;
mod fan_out;
mod hints;
pub mod lane;
pub mod listen;
mod metrics;
pub mod nodes;
mod notes;
pub mod replay;
pub mod retention;
mod retry;
mod send;
mod settle;
pub mod subscriptions;
pub mod test_send;
pub mod types;
pub mod webhooks;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize},
    },
    time::Duration,
};

use domain::{DeliveryId, Timestamp, WebhookId, WorkspaceId, seal::SealingKey};
use egress::Egress;
use parking_lot::Mutex;
use store::{NodeRole, SharedStore, StoreError};
use tokio::sync::{Notify, broadcast, watch};

pub use domain::edge::{Edge, Entropy};
pub use lane::LaneStatus;
pub use metrics::Metrics;

use dispatch::Waiting;
use subscriptions::Subscriptions;

/// Bounds of the pipeline.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The most attempts in flight over all webhooks.
    pub in_flight_max: usize,
    /// The most deliveries held in memory over all webhooks.
    pub ready_max: usize,
    /// The most bytes of event data held in memory over all webhooks.
    pub ready_bytes_max: usize,
    /// The most deliveries held in memory for one webhook.
    pub lane_ready_max: usize,
    /// How often the disk is asked for due work that no bell announced.
    pub poll_every: Duration,
    /// How long finished events are kept.
    pub retention: Duration,
    /// How often retention runs.
    pub prune_every: Duration,
    /// What this node does: one of role `Api` leaves all sending to others.
    pub role: NodeRole,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            in_flight_max: 2_048,
            ready_max: 20_000,
            ready_bytes_max: 48 << 20,
            lane_ready_max: 2_000,
            poll_every: Duration::from_secs(5),
            retention: Duration::from_hours(720),
            prune_every: Duration::from_mins(10),
            role: NodeRole::All,
        }
    }
}

/// One attempt, told to whoever follows the log.
#[derive(Clone, Debug)]
pub struct AttemptNotice {
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// The delivery.
    pub delivery: DeliveryId,
    /// The webhook.
    pub webhook: WebhookId,
    /// The event's id.
    pub event_id: domain::EventId,
    /// The event's type.
    pub event_type: domain::event::EventType,
    /// Which attempt.
    pub number: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// The status, if an answer came.
    pub status: Option<u16>,
    /// Why none came.
    pub error: Option<domain::attempt::ErrorClass>,
    /// What follows.
    pub next: domain::delivery::Next,
}

/// The pipeline: a handle that is cheap to clone.
#[derive(Clone)]
pub struct Pipeline {
    shared: Arc<Shared>,
}

/// What all of the pipeline's players share.
pub(crate) struct Shared {
    pub store: SharedStore,
    /// Whether other nodes can work on the store.
    pub among_nodes: bool,
    pub egress: Egress,
    pub edge: Edge,
    pub sealing: SealingKey,
    pub settings: Settings,
    pub subscriptions: Subscriptions,
    pub metrics: Metrics,
    /// Deliveries held in memory, and the bytes of their events.
    pub ready: AtomicUsize,
    pub ready_bytes: AtomicUsize,
    /// Attempts in flight, and lanes that wait for a free place.
    pub in_flight: AtomicUsize,
    pub waiting: Waiting,
    /// When which lane has to be looked at again.
    pub alarms: Mutex<due::Alarms>,
    /// Rung when an alarm was set that is earlier than all others.
    pub alarm_bell: Notify,
    /// Rung when an attempt was recorded or a load ended: for `run_until_idle` and `drain`.
    pub idle_bell: Notify,
    /// Loads from disk under way.
    pub loading: AtomicUsize,
    /// Rung when a replay was asked for.
    pub replay_bell: Notify,
    pub notices: broadcast::Sender<Arc<AttemptNotice>>,
    pub listeners: listen::Listeners,
    /// What is known of the nodes.
    pub nodes: nodes::Nodes,
    /// How far other nodes' changes were taken up.
    pub changes: changes::TakenUp,
    /// What other nodes are to be told: of due work, and for those who watch there.
    pub hints: hints::Hints,
    pub notes: notes::Notes,
    /// Once set, no attempt starts.
    pub draining: AtomicBool,
    pub stop: watch::Sender<bool>,
}

impl Pipeline {
    /// Loads the subscriptions and prepares the pipeline. Nothing runs in the background until
    /// [`Pipeline::spawn`].
    ///
    /// # Errors
    /// If the store fails.
    pub async fn load(
        store: SharedStore,
        egress: Egress,
        edge: Edge,
        sealing: SealingKey,
        settings: Settings,
    ) -> Result<Self, StoreError> {
        let among_nodes = store.is_shared();
        let shared = Arc::new(Shared {
            store,
            among_nodes,
            egress,
            edge,
            sealing,
            nodes: nodes::Nodes::new(among_nodes, settings.role),
            settings,
            subscriptions: Subscriptions::default(),
            metrics: Metrics::default(),
            ready: AtomicUsize::new(0),
            ready_bytes: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            waiting: Waiting::default(),
            alarms: Mutex::default(),
            alarm_bell: Notify::new(),
            idle_bell: Notify::new(),
            loading: AtomicUsize::new(0),
            replay_bell: Notify::new(),
            notices: broadcast::channel(1_024).0,
            listeners: listen::Listeners::default(),
            changes: changes::TakenUp::default(),
            hints: hints::Hints::default(),
            notes: notes::Notes::default(),
            draining: AtomicBool::new(false),
            stop: watch::channel(false).0,
        });
        changes::begin(&shared).await?;
        shared.load_subscriptions().await?;
        due::mark(&shared).await?;
        Ok(Self { shared })
    }

    /// Starts the background tasks: due work, replays, retention, and what a shared store needs.
    /// Each is restarted if it panics.
    pub fn spawn(&self) {
        let shared = &self.shared;
        if shared.settings.role.delivers() {
            shared.supervise("due", due::run);
            shared.supervise("replay", replay::run);
            shared.supervise("retention", retention::run);
        }
        if shared.among_nodes {
            shared.supervise("nodes", nodes::run);
            shared.supervise("changes", changes::run);
            shared.supervise("hints to others", hints::tell);
            shared.supervise("hints of others", hints::hear);
            shared.supervise("notes to others", notes::write);
            shared.supervise("notes of others", notes::read);
        }
    }

    /// Stops starting attempts, waits up to `patience` for those in flight to be recorded, and
    /// gives back what is held in memory.
    pub async fn drain(&self, patience: Duration) {
        self.shared.drain(patience).await;
    }

    /// Runs everything that can run at the clock's present time, without waiting for time to
    /// pass: for tests.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn run_until_idle(&self) -> Result<(), StoreError> {
        if self.shared.among_nodes {
            changes::step(&self.shared).await?;
            nodes::step(&self.shared).await?;
        }
        loop {
            let replayed = replay::step(&self.shared).await?;
            let woken = due::poll(&self.shared).await? + due::ring_alarms(&self.shared);
            self.shared.quiet().await;
            if !replayed && woken == 0 {
                return Ok(());
            }
        }
    }

    /// Every attempt of every workspace and node from now on; a slow reader loses the oldest.
    pub fn follow(&self) -> broadcast::Receiver<Arc<AttemptNotice>> {
        let notices = self.shared.notices.subscribe();
        self.shared.begin_to_watch();
        notices
    }

    /// The numbers that `/metrics` shows.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// The store, for look-ups that need no rule.
    pub fn store(&self) -> &SharedStore {
        &self.shared.store
    }

    /// The guarded way out, for whoever else must call an address.
    pub fn egress(&self) -> &Egress {
        &self.shared.egress
    }

    /// The clock, ids and randomness that the pipeline runs on.
    pub fn edge(&self) -> &Edge {
        &self.shared.edge
    }

    /// The key that seals what is kept secret.
    pub fn sealing(&self) -> &SealingKey {
        &self.shared.sealing
    }
}

impl Shared {
    pub fn now(&self) -> Timestamp {
        self.edge.clock.now()
    }

    /// Runs `task` until the pipeline stops; a panic is logged and the task started again.
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
