//! Partitions: the spans of time that events, finished deliveries and attempts lie in.
//!
//! A span has a row in `partitions` and a partition of each of the three tables, named by its
//! first millisecond; the row and the tables come and go together. Spans begin at multiples of
//! the length that they are made with; where others, of another length, are in the way, a span
//! is cut. A span that is `closing` is about to be dropped: nothing of it becomes pending again,
//! and none is made in its place before it is gone.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use deadpool_postgres::{GenericClient, Transaction};
use domain::Timestamp;
use parking_lot::RwLock;
use uuid::Uuid;

use super::{
    connect::Link,
    migrate::{LOCK_KEY, PARTITIONS},
    row::{get, least_id},
    transact::transact,
};
use crate::{StoreError, columns::id_ms};

/// The partitioned tables.
pub(super) const TABLES: [&str; 3] = ["events", "finished_deliveries", "attempts"];

/// The most that one call makes: more are a clock that is wrong.
const MADE_MAX: i64 = 1_000;

/// From the first millisecond up to the first that is no longer in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
}

impl Span {
    /// The name of this span's partition of `table`.
    pub(super) fn of(self, table: &str) -> String {
        format!("{table}_{}", self.from_ms)
    }

    /// SQL that makes this span's partition, `DETACH`ed before, one of `table` again.
    pub(super) fn attach(self, table: &str) -> String {
        let (first, end) = self.ids();
        format!(
            "ALTER TABLE {table} ATTACH PARTITION {} FOR VALUES FROM ('{first}') TO ('{end}')",
            self.of(table)
        )
    }

    /// The least id of an event in it, and the least of one behind it.
    pub(super) fn ids(self) -> (Uuid, Uuid) {
        let least = |ms| least_id(Timestamp::from_ms(ms));
        (least(self.from_ms), least(self.to_ms))
    }
}

/// The spans that have partitions, as far as this process knows.
pub(super) struct Partitions {
    link: Arc<Link>,
    span_ms: i64,
    known: RwLock<Vec<Span>>,
    /// Whether the next span is being made.
    going_ahead: AtomicBool,
}

impl Partitions {
    /// Nothing is known yet; what is made will cover `span` each.
    pub(super) fn new(link: Arc<Link>, span: Duration) -> Self {
        Self {
            link,
            span_ms: i64::try_from(span.as_millis()).unwrap_or(i64::MAX).max(1),
            known: RwLock::default(),
            going_ahead: AtomicBool::new(false),
        }
    }

    /// Sees to it that events with keys made from `first_ms` to `last_ms` have partitions. Costs
    /// next to nothing if they do; the next span is made in the background, half a span before
    /// it begins.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while a span among them is being dropped.
    pub(super) async fn cover(
        self: &Arc<Self>,
        first_ms: i64,
        last_ms: i64,
    ) -> Result<(), StoreError> {
        let (first_ms, last_ms) = (first_ms.max(0), last_ms.max(0));
        if !covers(&self.known.read(), first_ms, last_ms) {
            self.make(first_ms, last_ms).await?;
        }
        self.go_ahead(last_ms.saturating_add(self.span_ms / 2));
        Ok(())
    }

    async fn make(&self, first_ms: i64, last_ms: i64) -> Result<(), StoreError> {
        let spans = transact!(self, |tx| make(tx, self.span_ms, first_ms, last_ms))?;
        *self.known.write() = spans;
        Ok(())
    }

    /// Makes the span of `soon_ms` in the background, unless it is there.
    fn go_ahead(self: &Arc<Self>, soon_ms: i64) {
        if covers(&self.known.read(), soon_ms, soon_ms)
            || self.going_ahead.swap(true, Ordering::Relaxed)
        {
            return;
        }
        let this = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = this.make(soon_ms, soon_ms).await {
                // It is tried again, at the latest when the span is needed.
                tracing::debug!(%error, "failed to make a partition ahead of time");
            }
            this.going_ahead.store(false, Ordering::Relaxed);
        });
    }

    /// Forgets everything: what was known may no longer be so.
    pub(super) fn forget_all(&self) {
        self.known.write().clear();
    }

    /// Forgets a span that is about to be dropped.
    pub(super) fn forget(&self, span: Span) {
        self.known.write().retain(|known| *known != span);
    }
}

/// Whether spans, sorted, cover everything from `first_ms` to `last_ms`.
fn covers(spans: &[Span], first_ms: i64, last_ms: i64) -> bool {
    let mut next = first_ms;
    let begin = spans.partition_point(|span| span.to_ms <= first_ms);
    for span in &spans[begin..] {
        if span.from_ms > next {
            return false;
        }
        next = span.to_ms;
        if next > last_ms {
            return true;
        }
    }
    false
}

/// Makes what is missing from `first_ms` to `last_ms`; answers all spans there are then, in order.
async fn make(
    tx: &Transaction<'_>,
    span_ms: i64,
    first_ms: i64,
    last_ms: i64,
) -> Result<Vec<Span>, StoreError> {
    let lock = format!("SELECT pg_advisory_xact_lock({LOCK_KEY}, $1)");
    tx.execute(&lock, &[&PARTITIONS]).await?;
    let rows = tx
        .query(
            "SELECT from_ms, to_ms, closing FROM partitions ORDER BY from_ms",
            &[],
        )
        .await?;
    let (mut spans, mut open) = (Vec::new(), Vec::new());
    for row in &rows {
        let span = Span {
            from_ms: get(row, 0)?,
            to_ms: get(row, 1)?,
        };
        spans.push(span);
        if !get::<bool>(row, 2)? {
            open.push(span);
        } else if span.from_ms <= last_ms && span.to_ms > first_ms {
            return Err(StoreError::Unavailable(
                "the partition is being dropped".to_owned(),
            ));
        }
    }
    let missing = missing(&spans, span_ms, first_ms, last_ms)
        .ok_or_else(|| StoreError::Failed("events lie too far apart in time".to_owned()))?;
    for span in missing {
        for table in TABLES {
            tx.batch_execute(&format!(
                "CREATE TABLE {} (LIKE {table} INCLUDING ALL); {}",
                span.of(table),
                span.attach(table)
            ))
            .await?;
        }
        tx.execute(
            "INSERT INTO partitions (from_ms, to_ms) VALUES ($1, $2)",
            &[&span.from_ms, &span.to_ms],
        )
        .await?;
        open.push(span);
    }
    open.sort_unstable();
    Ok(open)
}

/// The spans that are missing among `spans`, sorted, from `first_ms` to `last_ms`; `None` if
/// they are too many.
fn missing(spans: &[Span], span_ms: i64, first_ms: i64, last_ms: i64) -> Option<Vec<Span>> {
    if (last_ms - first_ms) / span_ms > MADE_MAX {
        return None;
    }
    let mut missing = Vec::new();
    let mut next = first_ms;
    while next <= last_ms {
        let behind = spans.partition_point(|span| span.to_ms <= next);
        let (before, after) = spans.split_at(behind);
        if let Some(span) = after.first().filter(|span| span.from_ms <= next) {
            next = span.to_ms;
            continue;
        }
        let begin = next.div_euclid(span_ms) * span_ms;
        let span = Span {
            from_ms: before.last().map_or(begin, |span| span.to_ms.max(begin)),
            to_ms: after
                .first()
                .map_or(begin + span_ms, |span| span.from_ms.min(begin + span_ms)),
        };
        next = span.to_ms;
        missing.push(span);
    }
    Some(missing)
}

/// Those of these events whose span stays until the transaction has ended: what belongs to them
/// may become pending. (Events may have been removed from it one by one.)
pub(super) async fn keep(
    tx: &impl GenericClient,
    events: &[Uuid],
) -> Result<Vec<Uuid>, StoreError> {
    let (Some(first), Some(last)) = (events.iter().min(), events.iter().max()) else {
        return Ok(Vec::new());
    };
    // Always in the same order, so that no two wait for each other in a circle.
    let lock = tx
        .prepare_cached(
            "SELECT from_ms, to_ms FROM partitions WHERE from_ms <= $2 AND to_ms > $1 AND NOT closing
             ORDER BY from_ms FOR SHARE",
        )
        .await?;
    let rows = tx.query(&lock, &[&id_ms(*first), &id_ms(*last)]).await?;
    let mut kept = Vec::new();
    for row in &rows {
        let (from_ms, to_ms): (i64, i64) = (get(row, 0)?, get(row, 1)?);
        let inside = |event: &&Uuid| (from_ms..to_ms).contains(&id_ms(**event));
        kept.extend(events.iter().filter(inside).copied());
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::{Span, covers, missing};

    fn span(from_ms: i64, to_ms: i64) -> Span {
        Span { from_ms, to_ms }
    }

    #[test]
    fn what_is_missing_is_made_in_multiples() {
        assert_eq!(missing(&[], 10, 25, 25), Some(vec![span(20, 30)]));
        assert_eq!(
            missing(&[], 10, 25, 30),
            Some(vec![span(20, 30), span(30, 40)])
        );
        assert_eq!(missing(&[span(20, 30)], 10, 20, 29), Some(vec![]));
        assert_eq!(missing(&[], 10, 0, 1_000_000), None);
    }

    #[test]
    fn a_span_is_cut_where_others_are_in_the_way() {
        let spans = [span(0, 22), span(28, 35)];
        assert_eq!(missing(&spans, 10, 25, 25), Some(vec![span(22, 28)]));
        assert_eq!(
            missing(&spans, 10, 10, 41),
            Some(vec![span(22, 28), span(35, 40), span(40, 50)])
        );
    }

    #[test]
    fn a_range_is_covered_without_gaps() {
        let spans = [span(0, 10), span(10, 20), span(30, 40)];
        assert!(covers(&spans, 0, 19));
        assert!(covers(&spans, 30, 39));
        assert!(!covers(&spans, 15, 30));
        assert!(!covers(&spans, 39, 40));
        assert!(!covers(&[], 0, 0));
    }
}
