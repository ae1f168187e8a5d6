//! Webhooks in: receive → verify → dedupe → map → start.
//!
//! The players, in the order of the flow:
//!
//! - [`index`] knows every source and trigger in memory, with opened secrets; it is read anew
//!   when one changes ([`Intake::reload`]).
//! - [`limits`] says how much one door takes: requests at once, per second, refused ones kept.
//! - [`receive`] is the way of one request: limits, `domain::intake::verify`, handshakes,
//!   triggers, start. What is genuine is on disk before it is answered.
//! - [`map`] asks the triggers' jq expressions, through the [`map::Jq`] port.
//! - [`start`] is the port through which the engine starts executions, in the transaction that
//!   keeps the request and refuses a second one with the same event id.
//! - [`receipts`] says what is kept of a request, and replays one.
//! - [`sources`] and [`triggers`] are what people manage.
//!
//! Not here: HTTP, and whatever an execution does.

pub mod index;
pub mod limits;
pub mod map;
pub mod receipts;
pub mod receive;
pub mod sources;
pub mod start;
pub mod triggers;

use std::sync::Arc;

use domain::{Timestamp, WorkspaceId, id::IdSource, seal::SealingKey, time::Clock};
use parking_lot::RwLock;
use store::StoreError;
use zeroize::Zeroizing;

use index::Index;
use limits::Gates;
use map::Jq;
use start::Starter;

/// What intake needs of the outside world.
#[derive(Clone)]
pub struct Edge {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes ids.
    pub ids: Arc<dyn IdSource>,
    /// Fills bytes with random ones.
    pub random: Arc<Random>,
}

/// Fills bytes with random ones. The program's is the system's; a test's is seeded.
pub type Random = dyn Fn(&mut [u8]) + Send + Sync;

/// What intake works on.
#[derive(Clone)]
pub struct Parts {
    /// Sources and receipts.
    pub records: Arc<dyn store::Intake>,
    /// Triggers and workflows.
    pub workflows: Arc<dyn store::Workflows>,
    /// The engine.
    pub starter: Arc<dyn Starter>,
    /// Runs expressions.
    pub jq: Arc<dyn Jq>,
    /// Seals secrets.
    pub sealing: Arc<SealingKey>,
    /// Time, ids, randomness.
    pub edge: Edge,
}

/// What the operator sets.
#[derive(Clone, Default)]
pub struct Settings {
    /// The secrets of `/webhooks/generic`; with none, that door takes unsigned requests in local
    /// mode only ([`receive::Request::local`]). An empty secret counts as set, and verifies
    /// nothing.
    pub generic_secrets: Vec<Zeroizing<String>>,
    /// Whose workflows the generic door starts.
    pub generic_workspace: Option<WorkspaceId>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("generic_secrets", &self.generic_secrets.len())
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// The secret of the generic door as the environment has it (S3): the first of
    /// `WEBHOOK_SECRET_GENERIC`, `WEBHOOK_SECRET_DEFAULT` and `WEBHOOK_SECRET` that is set.
    /// `read` reads a variable.
    pub fn generic_secret(read: impl Fn(&str) -> Option<String>) -> Vec<Zeroizing<String>> {
        [
            "WEBHOOK_SECRET_GENERIC",
            "WEBHOOK_SECRET_DEFAULT",
            "WEBHOOK_SECRET",
        ]
        .into_iter()
        .find_map(|name| read(name).filter(|value| !value.is_empty()))
        .map(Zeroizing::new)
        .into_iter()
        .collect()
    }
}

/// Webhooks in: a handle that is cheap to clone.
#[derive(Clone)]
pub struct Intake {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub parts: Parts,
    pub settings: Settings,
    pub index: RwLock<Arc<Index>>,
    pub gates: Gates,
}

impl Intake {
    /// Reads sources and triggers.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn load(parts: Parts, settings: Settings) -> Result<Self, StoreError> {
        let intake = Self {
            shared: Arc::new(Shared {
                parts,
                settings,
                index: RwLock::default(),
                gates: Gates::default(),
            }),
        };
        intake.reload().await?;
        Ok(intake)
    }

    /// Reads sources and triggers anew: after a change here or by another node, or of a workflow.
    ///
    /// # Errors
    /// If the store fails; what was known stays.
    pub async fn reload(&self) -> Result<(), StoreError> {
        let parts = &self.shared.parts;
        let sources = parts.records.all_sources().await?;
        let triggers = parts.workflows.all_triggers().await?;
        let index = Index::new(sources, triggers, &parts.sealing);
        *self.shared.index.write() = Arc::new(index);
        Ok(())
    }

    pub(crate) fn index(&self) -> Arc<Index> {
        Arc::clone(&self.shared.index.read())
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.shared.parts.edge.clock.now()
    }
}
