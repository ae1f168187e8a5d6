//! A manual retry: a person has one delivery attempted now, whatever its schedule says.

use domain::{DeliveryId, Timestamp, WorkspaceId};
use store::{Retried, StoreError};

use crate::Pipeline;

impl Pipeline {
    /// Makes a delivery due before all others of its webhook, and lets it past an open breaker.
    /// One that had been given up gets one more attempt.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn retry(
        &self,
        workspace: WorkspaceId,
        delivery: DeliveryId,
    ) -> Result<Retried, StoreError> {
        let shared = &self.shared;
        let retried = shared
            .store
            .retry(workspace, delivery, Timestamp::from_ms(0))
            .await?;
        if let Retried::Due(webhook) = retried {
            match shared.subscriptions.lane(workspace, webhook) {
                Some(lane) if !shared.is_for_others(&lane) => {
                    lane.force();
                    shared.kick(&lane);
                }
                _ => shared.hint_forced(workspace, webhook),
            }
        }
        Ok(retried)
    }
}
