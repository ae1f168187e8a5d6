//! Attempts: logged together with what becomes of their delivery, and read back.

use domain::{
    DeliveryId, Timestamp, WorkspaceId,
    attempt::{Attempt, Outcome},
    delivery::Next,
};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{
    row::{
        Counts, DEAD, DELIVERED, PENDING, corrupt, count, error_class, error_number, integer,
        made_at, time, time_or_null,
    },
    writer::Batch,
};
use crate::{FinishAttempt, Finished, StoreError};

/// See [`crate::Store::finish_attempt`].
pub(super) fn finish(
    batch: &mut Batch<'_, '_>,
    finish: &FinishAttempt,
) -> Result<Finished, StoreError> {
    if finish.lease.0 != batch.epoch {
        return Ok(Finished::LeaseLost);
    }
    let row = batch.kept.next_attempt;
    if !insert(batch, finish, row)? {
        return Ok(Finished::LeaseLost);
    }
    batch.kept.next_attempt += 1;
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
    batch.hot.settle.execute(params![
        finish.workspace.number(),
        finish.delivery.uuid().as_bytes(),
        state,
        attempt.number,
        due,
        finished,
        row
    ])?;
    if let Some(mark) = finish.failing_since {
        mark_failing(batch.conn, finish, mark)?;
    }
    tally(batch, finish);
    Ok(Finished::Recorded)
}

/// Logs the attempt, unless the present lease does not cover the delivery: then `false`.
fn insert(batch: &mut Batch<'_, '_>, finish: &FinishAttempt, row: i64) -> Result<bool, StoreError> {
    let attempt = &finish.attempt;
    let body = Some(&attempt.response_body[..]).filter(|body| !body.is_empty());
    let inserted = batch.hot.insert_attempt.execute(params![
        row,
        attempt.number,
        attempt.started_at.ms(),
        integer(attempt.duration_us),
        attempt.url,
        attempt.status,
        attempt.error.map(error_number),
        attempt.error_message,
        attempt.request_headers,
        attempt.response_headers,
        body,
        attempt.response_truncated,
        attempt.peer.map(|peer| peer.to_string()),
        attempt.tls_not_after.map(Timestamp::ms),
        finish.workspace.number(),
        finish.delivery.uuid().as_bytes(),
        batch.epoch,
    ])?;
    Ok(inserted > 0)
}

fn mark_failing(
    conn: &Connection,
    finish: &FinishAttempt,
    since: Option<Timestamp>,
) -> Result<(), StoreError> {
    // An earlier mark stays: it says since when.
    let mut mark = conn.prepare_cached(
        "UPDATE webhooks SET failing_since_ms = ?3
         WHERE workspace = ?1 AND id = ?2 AND (failing_since_ms IS NULL) = (?3 IS NOT NULL)",
    )?;
    mark.execute(params![
        finish.workspace.number(),
        finish.webhook.uuid().as_bytes(),
        since.map(Timestamp::ms)
    ])?;
    Ok(())
}

fn tally(batch: &mut Batch<'_, '_>, finish: &FinishAttempt) {
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
    let ended = Counts {
        delivered: i64::from(finish.next == Next::Delivered),
        dead: i64::from(finish.next == Next::Dead),
        ..Counts::default()
    };
    let tally = &mut batch.tally;
    tally.add(finish.workspace, finish.webhook, attempt.started_at, tried);
    tally.held -= 1;
    if !matches!(finish.next, Next::RetryAt(_)) {
        tally.pending -= 1;
        let made_at = made_at(finish.delivery);
        tally.add(finish.workspace, finish.webhook, made_at, ended);
    }
}

/// See [`crate::Store::attempts`].
pub(super) fn list(
    conn: &Connection,
    workspace: WorkspaceId,
    id: DeliveryId,
) -> Result<Vec<Attempt>, StoreError> {
    let mut next = last_attempt(conn, workspace, id)?;
    let mut find = conn.prepare_cached(
        "SELECT number, started_ms, duration_us, url, status, error, error_message, request_headers,
                response_headers, response_body, response_truncated, peer, tls_not_after_ms, previous
         FROM attempts WHERE row = ?1",
    )?;
    let mut attempts = Vec::new();
    while let Some(number) = next {
        let mut rows = find.query([number])?;
        let Some(row) = rows.next()? else {
            return Err(corrupt("a reference to an attempt"));
        };
        attempts.push(read(row)?);
        next = row.get(13)?;
    }
    attempts.reverse();
    Ok(attempts)
}

/// The row of a delivery's latest attempt.
pub(super) fn last_attempt(
    conn: &Connection,
    workspace: WorkspaceId,
    id: DeliveryId,
) -> Result<Option<i64>, StoreError> {
    let mut find = conn
        .prepare_cached("SELECT last_attempt FROM deliveries WHERE workspace = ?1 AND id = ?2")?;
    let last = find
        .query_row(params![workspace.number(), id.uuid().as_bytes()], |row| {
            row.get(0)
        })
        .optional()?;
    Ok(last.flatten())
}

fn read(row: &Row<'_>) -> Result<Attempt, StoreError> {
    let peer = row
        .get_ref(11)?
        .as_str_or_null()
        .map_err(|_| corrupt("an address"))?;
    Ok(Attempt {
        number: row.get(0)?,
        started_at: time(row, 1)?,
        duration_us: count(row.get(2)?),
        url: row.get(3)?,
        status: row.get(4)?,
        error: error_class(row.get(5)?)?,
        error_message: row.get(6)?,
        request_headers: row.get(7)?,
        response_headers: row.get(8)?,
        response_body: row.get::<_, Option<Vec<u8>>>(9)?.unwrap_or_default().into(),
        response_truncated: row.get(10)?,
        peer: peer
            .map(|peer| peer.parse().map_err(|_| corrupt("an address")))
            .transpose()?,
        tls_not_after: time_or_null(row, 12)?,
    })
}

/// Removes a delivery's attempts from the latest on; answers how many there were.
pub(super) fn remove(conn: &Connection, last: Option<i64>) -> Result<usize, StoreError> {
    let mut remove =
        conn.prepare_cached("DELETE FROM attempts WHERE row = ?1 RETURNING previous")?;
    let mut next = last;
    let mut removed = 0;
    while let Some(row) = next {
        next = remove
            .query_row([row], |row| row.get(0))
            .optional()?
            .flatten();
        removed += 1;
    }
    Ok(removed)
}
