//! What every request handler shares.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use delivery::{Edge, Pipeline};
use domain::{Timestamp, seal::SealingKey};
use intake::Intake;
use store::{NodeRole, SharedStore};
use tokio::sync::watch;
use workflow::Engine;

use crate::{
    auth::Gatekeeper,
    callbacks::CallbackUrls,
    config::ServerConfig,
    engine::Executions,
    idempotency::KeyLocks,
    metrics::Metrics,
    problem::{Kind, Problem},
};

/// The state of a running server. Handlers get it as `State<SharedApp>`.
pub struct App {
    /// What the operator set.
    pub config: ServerConfig,
    /// The delivery pipeline; it also holds the store, the clock and the sealing key.
    pub pipeline: Pipeline,
    /// What runs executions.
    pub engine: Engine,
    /// Where outside systems answer nodes that wait for them.
    pub callbacks: Arc<CallbackUrls>,
    /// Who may come in: tokens, API keys, logins, local mode.
    pub gatekeeper: Gatekeeper,
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// The `Idempotency-Key`s whose requests run at this moment.
    pub key_locks: KeyLocks,
    intake: OnceLock<Intake>,
    draining: watch::Sender<bool>,
}

/// The state as it is shared.
pub type SharedApp = Arc<App>;

impl App {
    /// Puts the parts together.
    pub fn new(
        config: ServerConfig,
        pipeline: Pipeline,
        executions: Executions,
        gatekeeper: Gatekeeper,
        metrics: Metrics,
    ) -> SharedApp {
        let Executions { engine, callbacks } = executions;
        Arc::new(Self {
            config,
            pipeline,
            engine,
            callbacks,
            gatekeeper,
            metrics,
            key_locks: KeyLocks::default(),
            intake: OnceLock::new(),
            draining: watch::Sender::new(false),
        })
    }

    /// Opens the doors: once, on start, when the engine that intake starts executions with is
    /// there. Until then whatever belongs to intake answers 503.
    pub fn set_intake(&self, intake: Intake) {
        // A second one would be a mistake of the start-up; the first stays.
        let _ = self.intake.set(intake);
    }

    /// Webhooks in.
    ///
    /// # Errors
    /// 503 while the server starts.
    pub fn intake(&self) -> Result<&Intake, Problem> {
        self.intake.get().ok_or_else(|| {
            Problem::new(Kind::Overloaded, "The server is starting. Try again.")
                .retry_after(Duration::from_secs(1))
        })
    }

    /// Has intake read sources and triggers again: a workflow was made, changed or removed.
    pub async fn reload_intake(&self) {
        if let Some(intake) = self.intake.get()
            && let Err(error) = intake.reload().await
        {
            tracing::warn!(%error, "failed to read sources and triggers again; the next change tries anew");
        }
    }

    /// The store.
    pub fn store(&self) -> &SharedStore {
        self.pipeline.store()
    }

    /// The clock, ids and randomness.
    pub fn edge(&self) -> &Edge {
        self.pipeline.edge()
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.edge().clock.now()
    }

    /// The key that seals what is kept secret.
    pub fn sealing(&self) -> &SealingKey {
        self.pipeline.sealing()
    }

    /// What this node does.
    pub fn role(&self) -> NodeRole {
        self.config.node.role
    }

    /// Says that the server is going down: `/readyz` answers 503 from now on, and other nodes see
    /// it as draining.
    pub fn start_draining(&self) {
        self.draining.send_replace(true);
        self.pipeline.set_leaving();
    }

    /// Whether the server is going down.
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Waits until the server is going down: what would never end by itself ends then.
    pub async fn wait_for_draining(&self) {
        // An error would mean that the sender is gone, which lives in `self`.
        let _ = self
            .draining
            .subscribe()
            .wait_for(|draining| *draining)
            .await;
    }
}
