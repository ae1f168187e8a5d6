//! Wakes lanes: for retries that fall due, breakers that may probe, rates that allow the next.
//!
//! Alarms are kept in memory for what this process knows of. Beside them, [`poll`] asks the store
//! from time to time for due work that nobody holds; it alone suffices, alarms only make it quick.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc, time::Duration};

use domain::Timestamp;
use store::StoreError;

use crate::{Shared, lane::Lane};

/// How many webhooks one look at the store takes.
const POLL_PAGE: usize = 500;

/// Lanes by the time at which they have to be looked at.
#[derive(Default)]
pub(crate) struct Alarms {
    heap: BinaryHeap<Alarm>,
}

struct Alarm {
    at: Reverse<Timestamp>,
    lane: Arc<Lane>,
}

impl PartialEq for Alarm {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Alarm {}

impl PartialOrd for Alarm {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Alarm {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

impl Alarms {
    /// Adds an alarm; answers whether it is now the earliest.
    pub fn push(&mut self, at: Timestamp, lane: Arc<Lane>) -> bool {
        let earliest = self.next().is_none_or(|next| at < next);
        self.heap.push(Alarm {
            at: Reverse(at),
            lane,
        });
        earliest
    }

    fn next(&self) -> Option<Timestamp> {
        self.heap.peek().map(|alarm| alarm.at.0)
    }

    fn pop_due(&mut self, now: Timestamp) -> Option<(Timestamp, Arc<Lane>)> {
        self.next().filter(|at| *at <= now)?;
        self.heap.pop().map(|alarm| (alarm.at.0, alarm.lane))
    }
}

/// Wakes lanes whose alarms are due, and polls, until the pipeline stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        if let Err(error) = poll(&shared).await {
            tracing::warn!(%error, "failed to ask the store for due deliveries; trying again");
        }
        let poll_at = tokio::time::Instant::now() + shared.settings.poll_every;
        loop {
            ring_alarms(&shared);
            let next = shared.alarms.lock().next();
            let wait = next.map_or(Duration::MAX, |at| {
                at.since(shared.now()).max(Duration::from_millis(1))
            });
            let alarm_at = tokio::time::Instant::now() + wait.min(shared.settings.poll_every);
            tokio::select! {
                () = tokio::time::sleep_until(alarm_at.min(poll_at)) => {}
                () = shared.alarm_bell.notified() => {}
            }
            if tokio::time::Instant::now() >= poll_at {
                break;
            }
        }
    }
}

/// Wakes the lanes whose alarm is due; answers how many started something.
pub(crate) fn ring_alarms(shared: &Arc<Shared>) -> usize {
    let now = shared.now();
    let mut started = 0;
    loop {
        let Some((at, lane)) = shared.alarms.lock().pop_due(now) else {
            return started;
        };
        if lane.take_alarm(at) {
            lane.leave_on_disk();
            shared.leave_to_others(&lane);
            started += usize::from(shared.kick(&lane));
        }
    }
}

/// Looks for due work that nobody holds; answers how many lanes started something.
pub(crate) async fn poll(shared: &Arc<Shared>) -> Result<usize, StoreError> {
    let mut started = 0;
    let mut after = None;
    loop {
        let page = shared.store.due(after, POLL_PAGE).await?;
        let now = shared.now();
        for due in &page {
            after = Some((due.workspace, due.webhook));
            let Some(lane) = shared.subscriptions.lane(due.workspace, due.webhook) else {
                continue;
            };
            if due.at <= now {
                lane.leave_on_disk();
                started += usize::from(shared.kick(&lane));
            } else {
                shared.set_alarm(&lane, due.at);
            }
        }
        if page.len() < POLL_PAGE {
            return Ok(started);
        }
    }
}

/// Marks the lanes that have work on disk, without starting it: before the first publish.
pub(crate) async fn mark(shared: &Arc<Shared>) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let page = shared.store.due(after, POLL_PAGE).await?;
        for due in &page {
            after = Some((due.workspace, due.webhook));
            if let Some(lane) = shared.subscriptions.lane(due.workspace, due.webhook) {
                lane.leave_on_disk();
            }
        }
        if page.len() < POLL_PAGE {
            return Ok(());
        }
    }
}
