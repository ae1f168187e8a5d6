//! Listening: a developer's terminal sees events as a webhook would get them, signed, without a
//! URL of its own. Nothing is stored for it, and one that is too slow misses what does not fit
//! its backlog.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use domain::{
    WorkspaceId,
    event::Event,
    format::{self, Format, webhook_headers},
    pattern::EventPattern,
    signature::{Secret, Signer},
};
use parking_lot::RwLock;
use tokio::sync::mpsc;

use crate::{Pipeline, Shared};

/// How many deliveries wait for a slow listener.
const BACKLOG: usize = 256;
/// How many bytes of bodies wait for a slow listener.
const BACKLOG_BYTES: usize = 4 << 20;
/// How many may listen at once.
const LISTENERS_MAX: usize = 64;

/// One delivery as a listener gets it.
#[derive(Debug)]
pub struct Heard {
    /// The event's id.
    pub id: String,
    /// Its type.
    pub event: String,
    /// The headers that a webhook would have got.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
    /// Counts the body as waiting until this is dropped.
    _waiting: Waiting,
}

/// Bytes that wait for one listener.
#[derive(Debug)]
struct Waiting {
    bytes: usize,
    total: Arc<AtomicUsize>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

impl Waiting {
    /// Counts `bytes` in; `None` if they do not fit beside what waits already. Where nothing
    /// waits, a body of any length fits.
    fn count(bytes: usize, total: &Arc<AtomicUsize>) -> Option<Self> {
        let fits = |waiting: usize| waiting == 0 || waiting + bytes <= BACKLOG_BYTES;
        total
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |waiting| {
                fits(waiting).then_some(waiting + bytes)
            })
            .ok()?;
        let total = Arc::clone(total);
        Some(Self { bytes, total })
    }
}

/// A place among the listeners, until it is dropped.
pub struct Listening {
    /// The secret that signs what this listener gets.
    pub secret: Secret,
    /// Where deliveries arrive.
    pub heard: mpsc::Receiver<Heard>,
    key: usize,
    shared: Arc<Shared>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.shared.listeners.remove(self.key);
    }
}

/// Everybody who listens.
#[derive(Default)]
pub(crate) struct Listeners {
    all: RwLock<Vec<Listener>>,
    count: AtomicUsize,
    next: AtomicUsize,
}

struct Listener {
    key: usize,
    workspace: WorkspaceId,
    patterns: Vec<EventPattern>,
    format: Format,
    signer: Signer,
    waiting: Arc<AtomicUsize>,
    to: mpsc::Sender<Heard>,
}

impl Listeners {
    fn remove(&self, key: usize) {
        let mut all = self.all.write();
        all.retain(|listener| listener.key != key);
        self.count.store(all.len(), Ordering::Release);
    }

    /// Whether anybody listens.
    pub fn any(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    /// Whether anybody listens to this workspace.
    pub fn any_of(&self, workspace: WorkspaceId) -> bool {
        let all = self.all.read();
        all.iter().any(|listener| listener.workspace == workspace)
    }

    /// Sends an accepted event to whoever listens for it.
    pub fn tell(&self, shared: &Shared, event: &Event) {
        if !self.any() {
            return;
        }
        for listener in self.all.read().iter() {
            let wanted = listener.workspace == event.workspace
                && listener
                    .patterns
                    .iter()
                    .any(|pattern| pattern.matches(&event.event_type));
            if wanted && let Some(heard) = heard(listener, event, shared.now().unix_s()) {
                let _ = listener.to.try_send(heard);
            }
        }
    }
}

/// The event as the listener gets it; `None` if what waits for it is too much already.
fn heard(listener: &Listener, event: &Event, attempt_unix_s: i64) -> Option<Heard> {
    let waiting = Waiting::count(event.data.len(), &listener.waiting)?;
    let body = format::render(listener.format, event);
    let mut headers = vec![
        (
            "content-type".to_owned(),
            listener.format.content_type().to_owned(),
        ),
        ("user-agent".to_owned(), format::USER_AGENT.to_owned()),
    ];
    let outgoing = format::Outgoing {
        format: listener.format,
        event,
        body: &body,
        attempt_unix_s,
        signer: &listener.signer,
        signature_prefix: "",
    };
    webhook_headers(&outgoing, |name, value| {
        headers.push((name.to_owned(), value.to_owned()));
    });
    Some(Heard {
        id: event.id.to_string(),
        event: event.event_type.to_string(),
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
        _waiting: waiting,
    })
}

impl Pipeline {
    /// Listens for the workspace's events that match, whichever node accepts them; `None` if too many listen already.
    pub fn listen(
        &self,
        workspace: WorkspaceId,
        patterns: Vec<EventPattern>,
        format: Format,
    ) -> Option<Listening> {
        let shared = &self.shared;
        let mut random = [0; 32];
        shared.edge.entropy.fill(&mut random);
        let secret = Secret::generate(random);
        let (to, heard) = mpsc::channel(BACKLOG);
        let key = shared.listeners.next.fetch_add(1, Ordering::Relaxed);
        let signer = Signer::new(std::slice::from_ref(&secret));
        let mut all = shared.listeners.all.write();
        if all.len() >= LISTENERS_MAX {
            return None;
        }
        all.push(Listener {
            key,
            workspace,
            patterns,
            format,
            signer,
            waiting: Arc::default(),
            to,
        });
        shared.listeners.count.store(all.len(), Ordering::Release);
        drop(all);
        shared.begin_to_watch();
        Some(Listening {
            secret,
            heard,
            key,
            shared: Arc::clone(shared),
        })
    }
}
