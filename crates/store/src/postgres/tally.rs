//! What a transaction adds to counts, written once before its commit: one row per webhook, ten
//! minutes and writer instead of one per transition.

use deadpool_postgres::GenericClient;
use domain::{Timestamp, WebhookId, WorkspaceId};
use tokio_postgres::Statement;
use uuid::Uuid;

use super::row::{Counts, slot};
use crate::StoreError;

/// The writer that counts what is written seldom.
pub(super) const SELDOM: i16 = 0;

type Slot = (WorkspaceId, WebhookId, i64);

/// A transaction's additions.
#[derive(Default)]
pub(super) struct Tally {
    counts: Vec<(Slot, Counts)>,
}

/// Sums as the columns of [`Sums::SQL`] take them.
#[derive(Default)]
pub(super) struct Sums {
    pub(super) workspaces: Vec<i64>,
    webhooks: Vec<Uuid>,
    slots: Vec<i64>,
    made: Vec<i64>,
    delivered: Vec<i64>,
    dead: Vec<i64>,
    attempts: Vec<i64>,
    attempts_failed: Vec<i64>,
}

impl Sums {
    /// Takes the eight columns, then the writer.
    pub(super) const SQL: &str = "
        INSERT INTO webhook_counts AS c
               (workspace, webhook, slot, made, delivered, dead, attempts, attempts_failed, writer)
        SELECT t.*, $9::smallint
        FROM UNNEST($1::bigint[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
                    $7::bigint[], $8::bigint[]) AS t
        ON CONFLICT (workspace, webhook, slot, writer) DO UPDATE
        SET made = c.made + excluded.made, delivered = c.delivered + excluded.delivered,
            dead = c.dead + excluded.dead, attempts = c.attempts + excluded.attempts,
            attempts_failed = c.attempts_failed + excluded.attempts_failed";

    /// Adds them up in the database; `add` is [`Sums::SQL`] prepared.
    pub(super) async fn write(
        &self,
        client: &impl GenericClient,
        add: &Statement,
        writer: i16,
    ) -> Result<(), StoreError> {
        client
            .execute(
                add,
                &[
                    &self.workspaces,
                    &self.webhooks,
                    &self.slots,
                    &self.made,
                    &self.delivered,
                    &self.dead,
                    &self.attempts,
                    &self.attempts_failed,
                    &writer,
                ],
            )
            .await?;
        Ok(())
    }
}

impl Tally {
    /// Adds to a webhook's counts in the slot of `at`.
    pub(super) fn add(
        &mut self,
        workspace: WorkspaceId,
        webhook: WebhookId,
        at: Timestamp,
        counts: Counts,
    ) {
        self.counts.push(((workspace, webhook, slot(at)), counts));
    }

    /// What was gathered, a row each, always in the same order: so two transactions that count
    /// for the same webhooks never wait for each other in a circle.
    pub(super) fn sums(&mut self) -> Sums {
        self.counts.sort_unstable_by_key(|(slot, _)| *slot);
        let mut sums = Sums::default();
        for same in self.counts.chunk_by(|(one, _), (other, _)| one == other) {
            let (workspace, webhook, slot) = same[0].0;
            let sum = same
                .iter()
                .fold(Counts::default(), |sum, (_, more)| sum.plus(*more));
            sums.workspaces.push(workspace.number());
            sums.webhooks.push(webhook.uuid());
            sums.slots.push(slot);
            sums.made.push(sum.made);
            sums.delivered.push(sum.delivered);
            sums.dead.push(sum.dead);
            sums.attempts.push(sum.attempts);
            sums.attempts_failed.push(sum.attempts_failed);
        }
        sums
    }

    /// Writes what was gathered, as [`SELDOM`].
    pub(super) async fn write(&mut self, tx: &impl GenericClient) -> Result<(), StoreError> {
        if self.counts.is_empty() {
            return Ok(());
        }
        let add = tx.prepare_cached(Sums::SQL).await?;
        self.sums().write(tx, &add, SELDOM).await
    }
}
