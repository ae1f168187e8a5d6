//! What nodes tell those that watch.
//!
//! A node numbers its own notes, and writes them one call after the other, so that whoever has
//! read one has read all before it. The table is not logged: a server that crashes forgets them.

use std::collections::HashMap;

use deadpool_postgres::Client;
use tokio::sync::Mutex;

use super::{
    connect::Link,
    row::{get, limit, stored, text},
    transact::{Over, look},
};
use crate::{Lease, StoreError};

/// How many of its own notes a node keeps, and how many it leaves at once.
const KEPT_MAX: usize = 2_000;
/// How many of each other node's notes one call answers.
const READ_MAX: i64 = 500;

/// Where to go on from: each lease's last note. The leases are found one by one, so that what
/// was read is not walked through again.
const LAST: &str = "SELECT lease, max(number) FROM notes GROUP BY lease";
const NEWS: &str = "
    WITH RECURSIVE leases AS (
        SELECT min(lease) AS lease FROM notes
        UNION ALL
        SELECT (SELECT min(n.lease) FROM notes n WHERE n.lease > l.lease) FROM leases l WHERE l.lease IS NOT NULL
    )
    SELECT n.lease, n.number, n.text
    FROM leases l
    LEFT JOIN unnest($1::bigint[], $2::bigint[]) AS seen (lease, number) ON seen.lease = l.lease
    CROSS JOIN LATERAL (
        SELECT * FROM notes n WHERE n.lease = l.lease AND n.number > coalesce(seen.number, 0)
        ORDER BY n.number LIMIT $3
    ) n
    WHERE l.lease <> ALL ($4::bigint[])
    ORDER BY n.lease, n.number";

/// What this process has written and read.
#[derive(Default)]
pub(super) struct Notes {
    written: Mutex<Written>,
    /// By lease, the number of the last note that was read; `None` before the first call.
    read: Mutex<Option<HashMap<i64, i64>>>,
    /// The leases that this process has had since it began to write or read.
    own: parking_lot::Mutex<Vec<i64>>,
}

/// What was written last, and under which lease.
#[derive(Default)]
struct Written {
    lease: i64,
    number: i64,
}

impl Notes {
    /// See [`crate::Store::leave_notes`].
    pub(super) async fn leave(
        &self,
        link: &Link,
        lease: Lease,
        notes: &[String],
    ) -> Result<(), StoreError> {
        self.own(lease);
        let newest = &notes[notes.len().saturating_sub(KEPT_MAX)..];
        if newest.is_empty() {
            return Ok(());
        }
        let newest: Vec<_> = newest.iter().map(|note| stored(note)).collect();
        let mut written = self.written.lock().await;
        if written.lease < lease.0 {
            *written = Written {
                lease: lease.0,
                number: 0,
            };
        }
        let (writer, before) = (written.lease, written.number);
        // Whatever becomes of them: a number is not used twice.
        written.number += limit(newest.len());
        let trimmed = written.number - limit(KEPT_MAX);
        let over = Over { link };
        // Tried again after a broken connection, it writes what is not there yet.
        look!(over, |conn| async {
            let insert = conn
                .prepare_cached(
                    "WITH old AS (
                         DELETE FROM notes
                         WHERE lease = $1 AND (number <= $4 OR at < clock_timestamp() - interval '10 s')
                     )
                     INSERT INTO notes (lease, number, text)
                     SELECT $1, $2 + number, text
                     FROM unnest($3::text[]) WITH ORDINALITY AS new (text, number)
                     ON CONFLICT DO NOTHING",
                )
                .await?;
            conn.execute(&insert, &[&writer, &before, &newest, &trimmed])
                .await?;
            Ok(())
        })
    }

    /// See [`crate::Store::notes`].
    pub(super) async fn read(&self, link: &Link, lease: Lease) -> Result<Vec<String>, StoreError> {
        let own = self.own(lease);
        let mut read = self.read.lock().await;
        let over = Over { link };
        let Some(seen) = &mut *read else {
            *read = Some(look!(over, |conn| last(conn))?);
            return Ok(Vec::new());
        };
        let (leases, numbers): (Vec<i64>, Vec<i64>) = seen.iter().unzip();
        let found = look!(over, |conn| news(conn, &leases, &numbers, &own))?;
        for (lease, number, _) in &found {
            seen.insert(*lease, *number);
        }
        Ok(found.into_iter().map(|(_, _, note)| note).collect())
    }

    /// All leases of this process, `lease` among them.
    fn own(&self, lease: Lease) -> Vec<i64> {
        let mut own = self.own.lock();
        if !own.contains(&lease.0) {
            own.push(lease.0);
        }
        own.clone()
    }
}

async fn last(conn: &Client) -> Result<HashMap<i64, i64>, StoreError> {
    let find = conn.prepare_cached(LAST).await?;
    let rows = conn.query(&find, &[]).await?;
    rows.iter()
        .map(|row| Ok((get(row, 0)?, get(row, 1)?)))
        .collect()
}

/// Notes of others than `own` behind these numbers of these leases: lease, number and text.
async fn news(
    conn: &Client,
    leases: &[i64],
    numbers: &[i64],
    own: &[i64],
) -> Result<Vec<(i64, i64, String)>, StoreError> {
    let find = conn.prepare_cached(NEWS).await?;
    let rows = conn
        .query(&find, &[&leases, &numbers, &READ_MAX, &own])
        .await?;
    rows.iter()
        .map(|row| Ok((get(row, 0)?, get(row, 1)?, text(row, 2)?)))
        .collect()
}
