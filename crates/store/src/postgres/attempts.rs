//! Attempts: logged together with what becomes of their delivery, whole batches at a time, and
//! read back.

use std::borrow::Cow;

use deadpool_postgres::GenericClient;
use domain::{
    DeliveryId, EventKey, Timestamp, WorkspaceId,
    attempt::{Attempt, Outcome},
    delivery::Next,
};
use tokio_postgres::{Row, Statement};
use uuid::Uuid;

use super::{
    row::{
        Counts, DEAD, DELIVERED, PENDING, corrupt, error_class, error_number, get, integer,
        made_at, small, time, time_or_null, unsigned,
    },
    tally::Tally,
};
use crate::{FinishAttempt, StoreError};

/// Ends what has ended, keeps what is tried again, logs both; answers the deliveries that were
/// still held under the lease of their attempt. What is not is left alone.
const FINISH: &str = "
    WITH done AS (
        SELECT * FROM UNNEST($1::bigint[], $2::uuid[], $3::bigint[], $4::smallint[], $5::integer[], $6::bigint[],
                             $7::bigint[], $8::bigint[], $9::bigint[], $10::smallint[], $11::smallint[], $12::text[],
                             $13::text[], $14::text[], $15::text[], $16::bytea[], $17::boolean[], $18::text[],
                             $19::bigint[])
        AS d (workspace, delivery, lease, state, number, due_ms, finished_ms, started_ms, duration_us, status, error,
              url, error_message, request_headers, response_headers, response_body, response_truncated, peer,
              tls_not_after_ms)
    ), ended AS (
        DELETE FROM pending_deliveries p USING done d
        WHERE d.state <> 0 AND p.workspace = d.workspace AND p.id = d.delivery AND p.held_by = d.lease
        RETURNING d.*, p.event, p.webhook, p.ordered, p.position, p.created_ms, p.replay
    ), kept AS (
        UPDATE pending_deliveries p
        SET held_by = 0, due_ms = d.due_ms, attempts = d.number, last_status = d.status, last_error = d.error,
            last_started_ms = d.started_ms, last_duration_us = d.duration_us
        FROM done d
        WHERE d.state = 0 AND p.workspace = d.workspace AND p.id = d.delivery AND p.held_by = d.lease
        RETURNING d.*, p.event
    ), moved AS (
        INSERT INTO finished_deliveries (workspace, id, event, webhook, state, attempts, ordered, position, created_ms,
                                         finished_ms, replay, last_status, last_error, last_started_ms,
                                         last_duration_us)
        SELECT workspace, delivery, event, webhook, state, number, ordered, position, created_ms, finished_ms, replay,
               status, error, started_ms, duration_us
        FROM ended
    ), logged AS (
        INSERT INTO attempts (workspace, delivery, number, event, started_ms, duration_us, url, status, error,
                              error_message, request_headers, response_headers, response_body, response_truncated,
                              peer, tls_not_after_ms)
        SELECT workspace, delivery, number, event, started_ms, duration_us, url, status, error, error_message,
               request_headers, response_headers, response_body, response_truncated, peer, tls_not_after_ms
        FROM (SELECT workspace, delivery, number, event, started_ms, duration_us, url, status, error, error_message,
                     request_headers, response_headers, response_body, response_truncated, peer, tls_not_after_ms
              FROM ended
              UNION ALL
              SELECT workspace, delivery, number, event, started_ms, duration_us, url, status, error, error_message,
                     request_headers, response_headers, response_body, response_truncated, peer, tls_not_after_ms
              FROM kept) both_kinds
    )
    SELECT workspace, delivery FROM ended UNION ALL SELECT workspace, delivery FROM kept";

const MARK_FAILING: &str = "
    UPDATE webhooks SET failing_since_ms = $3
    WHERE workspace = $1 AND id = $2 AND (failing_since_ms IS NULL) = ($3::bigint IS NOT NULL)";

/// The statements of this file, prepared.
pub(super) struct Statements {
    finish: Statement,
    mark_failing: Statement,
}

impl Statements {
    /// Out of a connection's cache.
    pub(super) async fn cached(client: &impl GenericClient) -> Result<Self, StoreError> {
        Ok(Self {
            finish: client.prepare_cached(FINISH).await?,
            mark_failing: client.prepare_cached(MARK_FAILING).await?,
        })
    }
}

/// Ends of attempts, column by column.
#[derive(Default)]
pub(super) struct Ends<'f> {
    pub(super) finishes: Vec<&'f FinishAttempt>,
    workspaces: Vec<i64>,
    deliveries: Vec<Uuid>,
    leases: Vec<i64>,
    states: Vec<i16>,
    numbers: Vec<i32>,
    due_ms: Vec<Option<i64>>,
    finished_ms: Vec<Option<i64>>,
    started_ms: Vec<i64>,
    durations_us: Vec<i64>,
    statuses: Vec<Option<i16>>,
    errors: Vec<Option<i16>>,
    urls: Vec<Cow<'f, str>>,
    error_messages: Vec<Option<Cow<'f, str>>>,
    request_headers: Vec<Cow<'f, str>>,
    response_headers: Vec<Cow<'f, str>>,
    response_bodies: Vec<Option<&'f [u8]>>,
    response_truncated: Vec<bool>,
    peers: Vec<Option<String>>,
    tls_not_after_ms: Vec<Option<i64>>,
}

/// What a column of text can hold: everything but U+0000, which a peer may have sent and which
/// stands in the log as U+FFFD.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        text.replace('\0', "\u{FFFD}").into()
    } else {
        text.into()
    }
}

impl<'f> Ends<'f> {
    pub(super) fn push(&mut self, finish: &'f FinishAttempt) {
        let attempt = &finish.attempt;
        let ended = attempt
            .started_at
            .ms()
            .saturating_add(integer(attempt.duration_us / 1000));
        let (state, due, finished) = match finish.next {
            Next::Delivered => (DELIVERED, None, Some(ended)),
            Next::Dead => (DEAD, None, Some(ended)),
            Next::RetryAt(at) => (PENDING, Some(at.ms()), None),
        };
        self.finishes.push(finish);
        self.workspaces.push(finish.workspace.number());
        self.deliveries.push(finish.delivery.uuid());
        self.leases.push(finish.lease.0);
        self.states.push(small(state));
        self.numbers
            .push(i32::try_from(attempt.number).unwrap_or(i32::MAX));
        self.due_ms.push(due);
        self.finished_ms.push(finished);
        self.started_ms.push(attempt.started_at.ms());
        self.durations_us.push(integer(attempt.duration_us));
        self.statuses
            .push(attempt.status.map(|status| small(status.into())));
        self.errors
            .push(attempt.error.map(|class| small(error_number(class))));
        self.urls.push(text(&attempt.url));
        self.error_messages
            .push(attempt.error_message.as_deref().map(text));
        self.request_headers.push(text(&attempt.request_headers));
        self.response_headers.push(text(&attempt.response_headers));
        self.response_bodies
            .push(Some(&attempt.response_body[..]).filter(|body| !body.is_empty()));
        self.response_truncated.push(attempt.response_truncated);
        self.peers.push(attempt.peer.map(|peer| peer.to_string()));
        self.tls_not_after_ms
            .push(attempt.tls_not_after.map(Timestamp::ms));
    }

    /// Writes the ends; answers which deliveries were still held under their attempt's lease.
    pub(super) async fn write(
        &self,
        tx: &impl GenericClient,
        statements: &Statements,
    ) -> Result<Vec<(WorkspaceId, DeliveryId)>, StoreError> {
        if self.finishes.is_empty() {
            return Ok(Vec::new());
        }
        let rows = tx
            .query(
                &statements.finish,
                &[
                    &self.workspaces,
                    &self.deliveries,
                    &self.leases,
                    &self.states,
                    &self.numbers,
                    &self.due_ms,
                    &self.finished_ms,
                    &self.started_ms,
                    &self.durations_us,
                    &self.statuses,
                    &self.errors,
                    &self.urls,
                    &self.error_messages,
                    &self.request_headers,
                    &self.response_headers,
                    &self.response_bodies,
                    &self.response_truncated,
                    &self.peers,
                    &self.tls_not_after_ms,
                ],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok((
                    WorkspaceId::new(get(row, 0)?),
                    DeliveryId::new(get(row, 1)?),
                ))
            })
            .collect()
    }
}

/// Sets or clears the webhooks' failing marks as the recorded attempts say, always in the same
/// order of webhooks.
pub(super) async fn mark_failing(
    tx: &impl GenericClient,
    statements: &Statements,
    recorded: &[&FinishAttempt],
) -> Result<(), StoreError> {
    let mut marks: Vec<_> = recorded
        .iter()
        .filter_map(|finish| Some((finish.workspace, finish.webhook, finish.failing_since?)))
        .collect();
    marks.sort_by_key(|(workspace, webhook, _)| (*workspace, *webhook));
    for (workspace, webhook, since) in marks {
        let since = since.map(Timestamp::ms);
        tx.execute(
            &statements.mark_failing,
            &[&workspace.number(), &webhook.uuid(), &since],
        )
        .await?;
    }
    Ok(())
}

/// Adds a recorded attempt to counts.
pub(super) fn count(tally: &mut Tally, finish: &FinishAttempt) {
    let attempt = &finish.attempt;
    let succeeded = attempt.status.is_some_and(|status| {
        Outcome::Answered {
            status,
            retry_after_s: None,
        }
        .is_success()
    });
    let tried = Counts {
        attempts: 1,
        attempts_failed: i64::from(!succeeded),
        ..Counts::default()
    };
    tally.add(finish.workspace, finish.webhook, attempt.started_at, tried);
    if !matches!(finish.next, Next::RetryAt(_)) {
        let ended = Counts {
            delivered: i64::from(finish.next == Next::Delivered),
            dead: i64::from(finish.next == Next::Dead),
            ..Counts::default()
        };
        let made_at = made_at(finish.delivery);
        tally.add(finish.workspace, finish.webhook, made_at, ended);
    }
}

/// Whether an attempt is in the log.
pub(super) async fn is_logged(
    client: &impl GenericClient,
    finish: &FinishAttempt,
) -> Result<bool, StoreError> {
    let number = i32::try_from(finish.attempt.number).unwrap_or(i32::MAX);
    let row = client
        .query_opt(
            "SELECT 1 FROM attempts WHERE workspace = $1 AND delivery = $2 AND number = $3
             AND started_ms = $4 LIMIT 1",
            &[
                &finish.workspace.number(),
                &finish.delivery.uuid(),
                &number,
                &finish.attempt.started_at.ms(),
            ],
        )
        .await?;
    Ok(row.is_some())
}

/// See [`crate::Store::attempts`].
pub(super) async fn list(
    conn: &impl GenericClient,
    workspace: WorkspaceId,
    id: DeliveryId,
) -> Result<Vec<Attempt>, StoreError> {
    let Some(event) = event_of(conn, workspace, id).await? else {
        return Ok(Vec::new());
    };
    let find = conn
        .prepare_cached(
            "SELECT number, started_ms, duration_us, url, status, error, error_message, request_headers,
                    response_headers, response_body, response_truncated, peer, tls_not_after_ms
             FROM attempts WHERE workspace = $1 AND delivery = $2 AND event = $3 ORDER BY number",
        )
        .await?;
    let rows = conn
        .query(&find, &[&workspace.number(), &id.uuid(), &event.uuid()])
        .await?;
    rows.iter().map(read).collect()
}

/// The event that a delivery carries.
async fn event_of(
    conn: &impl GenericClient,
    workspace: WorkspaceId,
    id: DeliveryId,
) -> Result<Option<EventKey>, StoreError> {
    let find = conn
        .prepare_cached(
            "SELECT event FROM pending_deliveries WHERE workspace = $1 AND id = $2
             UNION ALL
             SELECT event FROM finished_deliveries WHERE workspace = $1 AND id = $2
             LIMIT 1",
        )
        .await?;
    let row = conn
        .query_opt(&find, &[&workspace.number(), &id.uuid()])
        .await?;
    row.map(|row| get(&row, 0).map(EventKey::new)).transpose()
}

fn read(row: &Row) -> Result<Attempt, StoreError> {
    let unsigned_32 =
        |column| u32::try_from(get::<i32>(row, column)?).map_err(|_| corrupt("a number"));
    let status: Option<i16> = get(row, 4)?;
    let peer: Option<&str> = get(row, 11)?;
    Ok(Attempt {
        number: unsigned_32(0)?,
        started_at: time(row, 1)?,
        duration_us: unsigned(row, 2)?,
        url: get(row, 3)?,
        status: status
            .map(u16::try_from)
            .transpose()
            .map_err(|_| corrupt("a status"))?,
        error: error_class(get::<Option<i16>>(row, 5)?.map(i64::from))?,
        error_message: get(row, 6)?,
        request_headers: get(row, 7)?,
        response_headers: get(row, 8)?,
        response_body: get::<Option<Vec<u8>>>(row, 9)?.unwrap_or_default().into(),
        response_truncated: get(row, 10)?,
        peer: peer
            .map(|peer| peer.parse().map_err(|_| corrupt("an address")))
            .transpose()?,
        tls_not_after: time_or_null(row, 12)?,
    })
}
