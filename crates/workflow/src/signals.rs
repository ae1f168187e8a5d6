//! What comes from outside for executions: stops, retries, approvals, callbacks.

use std::{sync::Arc, time::Duration};

use domain::{ExecutionId, WorkspaceId, execution::Signal};
use store::{Hint, Signalled, StoreError};
use tokio::sync::broadcast::error::RecvError;

use crate::{Engine, Shared, drive::Word};

/// The most signals that are read at once.
const SIGNALS_MAX: usize = 500;
/// The pause after a failure of the store.
const PAUSE: Duration = Duration::from_secs(1);

impl Engine {
    /// Leaves a signal for an execution, and has it taken up.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn signal(
        &self,
        workspace: WorkspaceId,
        execution: ExecutionId,
        signal: Signal,
    ) -> Result<Signalled, StoreError> {
        let shared = &self.shared;
        let signalled = shared
            .store
            .signal(workspace, execution, signal, shared.now())
            .await?;
        match signalled {
            Signalled::Held { here: true } => shared.signal_bell.notify_one(),
            Signalled::Held { here: false } => shared.store.hint(Hint::Executions),
            Signalled::Due => shared.due_bell.notify_one(),
            Signalled::Refused(_) | Signalled::Unknown => {}
        }
        Ok(signalled)
    }
}

/// Hands signals to executions in memory until the engine stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        let bell = shared.signal_bell.notified();
        // An execution that is not in memory has nobody to be handed anything.
        if !shared.live.lock().is_empty() {
            match step(&shared).await {
                Ok(_) => {}
                Err(StoreError::Closed) => return std::future::pending().await,
                Err(error) => {
                    tracing::warn!(%error, "failed to read signals; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        let _ = tokio::time::timeout(shared.settings.signals_every, bell).await;
    }
}

/// Hands on what waits; answers how much that was.
pub(crate) async fn step(shared: &Arc<Shared>) -> Result<usize, StoreError> {
    let signals = shared.store.held_signals(SIGNALS_MAX).await?;
    let mut handed = 0;
    let live = shared.live.lock();
    for held in signals {
        if let Some(way) = live.get(&held.execution)
            && way
                .send(Word::Signal(held.number, Box::new(held.signal)))
                .is_ok()
        {
            handed += 1;
        }
    }
    Ok(handed)
}

/// Takes other nodes' hints until the engine stops.
pub(crate) async fn hear(shared: Arc<Shared>) {
    let mut hints = shared.store.hints();
    loop {
        match hints.recv().await {
            Ok(Hint::Executions) | Err(RecvError::Lagged(_)) => {
                shared.due_bell.notify_one();
                shared.signal_bell.notify_one();
            }
            Ok(_) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
