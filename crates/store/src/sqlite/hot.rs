//! The statements that run thousands of times a second, prepared once for the writer's life.

use rusqlite::{Connection, Statement};

/// Statements of `accept`, `finish_attempt`, `receive`, `record` and of each commit.
pub(super) struct Hot<'c> {
    pub(super) begin: Statement<'c>,
    pub(super) commit: Statement<'c>,
    /// workspace, key, type, id, accepted, happened, hops, first, last, data
    pub(super) insert_event: Statement<'c>,
    /// workspace, id, event, webhook, due, holder, ordered, created, replay
    pub(super) insert_delivery: Statement<'c>,
    /// row, then as the table's columns from `number` on, then workspace, delivery, holder; stores
    /// nothing unless that holder has that delivery
    pub(super) insert_attempt: Statement<'c>,
    /// workspace, delivery, state, attempts, due, finished, last attempt
    pub(super) settle: Statement<'c>,
    /// change
    pub(super) add_pending: Statement<'c>,
    /// workspace, webhook, slot, then the counts
    pub(super) add_counts: Statement<'c>,
    /// as the table's columns from `workspace` on
    pub(super) insert_receipt: Statement<'c>,
    /// workspace, id, workflow, version, state, holder, due, offline, created, started, cause, input
    pub(super) insert_execution: Statement<'c>,
    /// workspace, id, holder; tells row and whether it has more
    pub(super) held_execution: Statement<'c>,
    /// row, state, holder, due, started, ended, steps, tokens in and out, cost, error, result
    pub(super) change_execution: Statement<'c>,
    /// as the table's columns
    pub(super) put_step: Statement<'c>,
}

impl<'c> Hot<'c> {
    /// Prepares all of them.
    pub(super) fn prepare(conn: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            begin: conn.prepare("BEGIN IMMEDIATE")?,
            commit: conn.prepare("COMMIT")?,
            insert_event: conn.prepare(
                "INSERT INTO events (workspace, key, type, id, accepted_ms, happened_ms, hops, first, last, data)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?,
            insert_delivery: conn.prepare(
                "INSERT INTO deliveries (workspace, id, event, webhook, state, attempts, due_ms, held_by, ordered,
                                         created_ms, finished_ms, last_attempt, replay)
                 VALUES (?1, ?2, ?3, ?4, 0, 0, ?5, ?6, ?7, ?8, NULL, NULL, ?9)",
            )?,
            insert_attempt: conn.prepare(
                "INSERT INTO attempts (row, previous, number, started_ms, duration_us, url, status, error,
                                       error_message, request_headers, response_headers, response_body,
                                       response_truncated, peer, tls_not_after_ms)
                 SELECT ?1, last_attempt, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14
                 FROM deliveries WHERE workspace = ?15 AND id = ?16 AND state = 0 AND held_by = ?17",
            )?,
            settle: conn.prepare(
                "UPDATE deliveries
                 SET state = ?3, attempts = ?4, due_ms = ?5, held_by = 0, finished_ms = ?6, last_attempt = ?7
                 WHERE workspace = ?1 AND id = ?2",
            )?,
            add_pending: conn.prepare("UPDATE installation SET pending = pending + ?1")?,
            add_counts: conn.prepare(
                "INSERT INTO webhook_counts (workspace, webhook, slot, made, delivered, dead, attempts, attempts_failed)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                 ON CONFLICT DO UPDATE SET made = made + ?4, delivered = delivered + ?5, dead = dead + ?6,
                                           attempts = attempts + ?7, attempts_failed = attempts_failed + ?8",
            )?,
            insert_receipt: conn.prepare(
                "INSERT INTO receipts (workspace, id, door, outcome, received_ms, event_id, executions, replay_of,
                                       peer, reason, headers, body)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?,
            insert_execution: conn.prepare(
                "INSERT INTO executions (workspace, id, workflow, version, state, held_by, due_ms, has_more, offline,
                                         created_ms, started_ms, ended_ms, steps, tokens_in, tokens_out, cost_nanos,
                                         cause, error, result, input)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, ?9, ?10, NULL, 0, 0, 0, 0, ?11, NULL, NULL, ?12)",
            )?,
            held_execution: conn.prepare(
                "SELECT row, has_more FROM executions INDEXED BY executions_by_id
                 WHERE workspace = ?1 AND id = ?2 AND held_by = ?3",
            )?,
            change_execution: conn.prepare(
                "UPDATE executions
                 SET state = ?2, held_by = ?3, due_ms = ?4, started_ms = coalesce(?5, started_ms), ended_ms = ?6,
                     steps = ?7, tokens_in = ?8, tokens_out = ?9, cost_nanos = ?10, error = ?11, result = ?12
                 WHERE row = ?1",
            )?,
            put_step: conn.prepare(
                "INSERT OR REPLACE INTO steps (row, node, iteration, item, attempt, state, started_ms, ended_ms, until_ms,
                                               tokens_in, tokens_out, cost_nanos, error, detail, output)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
            )?,
        })
    }
}
