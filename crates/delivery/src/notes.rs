//! Notes between nodes: what one does, told to those where somebody follows or listens.
//!
//! A node where nobody watches costs the others nothing. Notes are told, not kept: one that does
//! not get through, or comes too fast, is missed, as it is by a follower that is too slow.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use domain::{
    DeliveryId, EventId, EventKey, Timestamp, WebhookId, WorkspaceId,
    attempt::ErrorClass,
    delivery::Next,
    event::{Event, EventType},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use store::StoreError;
use tokio::sync::Notify;

use crate::{AttemptNotice, Shared};

/// How long notes gather before they are written.
const GATHER: Duration = Duration::from_millis(100);
/// The most notes that gather: what a second may bring is ten times this.
const GATHERED_MAX: usize = 500;
/// How often a node that watches reads notes.
const READ_EVERY: Duration = Duration::from_millis(250);

/// What a node tells the others, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Note {
    /// An attempt was recorded.
    Attempt(AttemptNote),
    /// An event was accepted.
    Event { workspace: i64, key: EventKey },
}

/// An [`AttemptNotice`] in plain values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct AttemptNote {
    workspace: i64,
    delivery: DeliveryId,
    webhook: WebhookId,
    event_id: String,
    event_type: String,
    number: u32,
    started_ms: i64,
    duration_us: u64,
    status: Option<u16>,
    error: Option<String>,
    next: NextNote,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum NextNote {
    Delivered,
    RetryAtMs(i64),
    Dead,
}

impl From<&AttemptNotice> for AttemptNote {
    fn from(notice: &AttemptNotice) -> Self {
        Self {
            workspace: notice.workspace.number(),
            delivery: notice.delivery,
            webhook: notice.webhook,
            event_id: notice.event_id.to_string(),
            event_type: notice.event_type.to_string(),
            number: notice.number,
            started_ms: notice.started_at.ms(),
            duration_us: notice.duration_us,
            status: notice.status,
            error: notice.error.map(|class| class.as_str().to_owned()),
            next: match notice.next {
                Next::Delivered => NextNote::Delivered,
                Next::RetryAt(at) => NextNote::RetryAtMs(at.ms()),
                Next::Dead => NextNote::Dead,
            },
        }
    }
}

impl AttemptNote {
    /// The notice; `None` if another version of Signpost wrote what this one does not know.
    fn read(self) -> Option<AttemptNotice> {
        Some(AttemptNotice {
            workspace: WorkspaceId::new(self.workspace),
            delivery: self.delivery,
            webhook: self.webhook,
            event_id: EventId::parse(&self.event_id).ok()?,
            event_type: EventType::parse(&self.event_type).ok()?,
            number: self.number,
            started_at: Timestamp::from_ms(self.started_ms),
            duration_us: self.duration_us,
            status: self.status,
            error: match self.error {
                Some(class) => Some(ErrorClass::parse(&class)?),
                None => None,
            },
            next: match self.next {
                NextNote::Delivered => Next::Delivered,
                NextNote::RetryAtMs(at) => Next::RetryAt(Timestamp::from_ms(at)),
                NextNote::Dead => Next::Dead,
            },
        })
    }
}

/// Notes that wait to be written, the oldest first.
#[derive(Default)]
pub(crate) struct Notes {
    gathered: Mutex<VecDeque<Note>>,
    /// Rung when the first one waits.
    bell: Notify,
    /// Rung when somebody begins to watch here.
    pub watch_bell: Notify,
}

impl Shared {
    /// Tells whoever follows, here and on other nodes, of an attempt.
    pub(crate) fn tell_followers(&self, notice: AttemptNotice) {
        if self.nodes.is_watched() {
            self.note(Note::Attempt(AttemptNote::from(&notice)));
        }
        if self.notices.receiver_count() > 0 {
            let _ = self.notices.send(Arc::new(notice));
        }
    }

    /// Tells whoever listens, here and on other nodes, of an accepted event.
    pub(crate) fn tell_listeners(&self, event: &Event) {
        if self.nodes.is_watched() {
            self.note(Note::Event {
                workspace: event.workspace.number(),
                key: event.key,
            });
        }
        self.listeners.tell(self, event);
    }

    fn note(&self, note: Note) {
        let mut gathered = self.notes.gathered.lock();
        if gathered.len() >= GATHERED_MAX {
            gathered.pop_front();
            self.metrics.notes_dropped.inc();
        }
        gathered.push_back(note);
        drop(gathered);
        self.notes.bell.notify_one();
    }

    /// Somebody begins to watch here: the others shall hear of it at once.
    pub(crate) fn begin_to_watch(&self) {
        self.nodes.bell.notify_one();
        self.notes.watch_bell.notify_one();
    }
}

/// Writes notes until the pipeline stops.
pub(crate) async fn write(shared: Arc<Shared>) {
    loop {
        shared.notes.bell.notified().await;
        tokio::time::sleep(GATHER).await;
        let gathered = std::mem::take(&mut *shared.notes.gathered.lock());
        let count = u64::try_from(gathered.len()).unwrap_or(u64::MAX);
        let texts = gathered
            .iter()
            .map(|note| serde_json::to_string(note).expect("plain values make JSON"))
            .collect::<Vec<_>>();
        if texts.is_empty() {
            continue;
        }
        if let Err(error) = shared.store.leave_notes(texts).await {
            shared.metrics.notes_dropped.inc_by(count);
            tracing::debug!(%error, "failed to leave notes; whoever follows misses them");
        }
    }
}

/// Reads notes, while somebody watches here, until the pipeline stops.
pub(crate) async fn read(shared: Arc<Shared>) {
    loop {
        if !shared.watches() {
            shared.notes.watch_bell.notified().await;
            continue;
        }
        if let Err(error) = read_once(&shared).await {
            tracing::debug!(%error, "failed to read other nodes' notes");
        }
        tokio::time::sleep(READ_EVERY).await;
    }
}

/// Hands what other nodes have noted to whoever watches here.
pub(crate) async fn read_once(shared: &Shared) -> Result<(), StoreError> {
    for text in shared.store.notes().await? {
        match serde_json::from_str(&text) {
            Ok(Note::Attempt(note)) => {
                if let Some(notice) = note.read() {
                    let _ = shared.notices.send(Arc::new(notice));
                }
            }
            Ok(Note::Event { workspace, key }) => {
                let workspace = WorkspaceId::new(workspace);
                if shared.listeners.any_of(workspace)
                    && let Some(event) = shared.store.event(workspace, key).await?
                {
                    shared.listeners.tell(shared, &event);
                }
            }
            // Another version's.
            Err(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_notice_reads_back_as_it_was() {
        for (error, next) in [
            (None, Next::Delivered),
            (Some(ErrorClass::Timeout), Next::Dead),
            (
                Some(ErrorClass::Dns),
                Next::RetryAt(Timestamp::from_ms(1_700_000_000_123)),
            ),
        ] {
            let notice = AttemptNotice {
                workspace: WorkspaceId::new(7),
                delivery: DeliveryId::new(Uuid::from_u128(1)),
                webhook: WebhookId::new(Uuid::from_u128(2)),
                event_id: EventId::parse("order-17:paid").unwrap(),
                event_type: EventType::parse("order.paid").unwrap(),
                number: 3,
                started_at: Timestamp::from_ms(1_700_000_000_000),
                duration_us: 1_234,
                status: error.is_none().then_some(200),
                error,
                next,
            };
            let note = Note::Attempt(AttemptNote::from(&notice));
            let text = serde_json::to_string(&note).unwrap();
            let Note::Attempt(read) = serde_json::from_str(&text).unwrap() else {
                panic!("an attempt")
            };
            assert_eq!(format!("{:?}", read.read().unwrap()), format!("{notice:?}"));
        }
    }
}
