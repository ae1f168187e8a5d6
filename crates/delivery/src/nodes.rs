//! The nodes that work on one store, and what of each webhook is this one's to send.
//!
//! Every node counts the nodes whose lease runs, about once a second and when a hint says so, and
//! works its shares out by itself ([`domain::share`]). What a node has counted it announces. One
//! that joins takes its shares once every older node that sends has counted it, and so has left
//! them to it; a node that is drained is counted until it is gone. Where the store cannot be
//! reached the last shares stand: whether anything may still be sent, the lease says.
//!
//! It relies on leases becoming visible in the order of their numbers: who has counted up to a
//! number has seen every node with a smaller one that still lives.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use domain::{
    WebhookId,
    share::{Share, share},
    webhook::WebhookConfig,
};
use parking_lot::{Mutex, RwLock};
use store::{Announcement, Lease, Node, NodeRole, StoreError};
use tokio::{sync::Notify, time::Instant};

use crate::{Pipeline, Shared, lane::Lane};

/// How often the nodes are counted when nothing hints.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// The least time between two counts.
const PAUSE: Duration = Duration::from_millis(20);

/// The nodes that send, as this one has counted them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Members {
    /// This node, if it may send by now.
    own: Option<i64>,
    delivering: Vec<i64>,
    /// Whether it was alone from the start: then nobody has used up a rate before.
    starts_alone: bool,
}

impl Members {
    /// One node that sends everything.
    fn alone() -> Self {
        Self {
            own: Some(0),
            delivering: vec![0],
            starts_alone: true,
        }
    }

    /// Nobody was counted yet, or this node never sends.
    const fn nobody() -> Self {
        Self {
            own: None,
            delivering: Vec::new(),
            starts_alone: false,
        }
    }

    /// Those that `nodes` says, as `own` with `role` sees them.
    fn count(nodes: &[Node], own: Lease, role: NodeRole, before: &Self) -> Self {
        let others = || nodes.iter().filter(|node| node.role.delivers());
        let delivering: Vec<i64> = others().map(|node| node.lease.0).collect();
        let counted_by_all = others()
            .filter(|node| node.lease < own)
            .all(|node| node.about.counted_to.is_some_and(|to| to >= own));
        let sends = role.delivers() && counted_by_all;
        let first = before.delivering.is_empty();
        Self {
            own: sends.then_some(own.0),
            starts_alone: delivering == [own.0] && (first || before.starts_alone),
            delivering,
        }
    }

    /// This node's share in what a webhook allows.
    pub fn share(&self, webhook: WebhookId, config: &WebhookConfig) -> Share {
        self.own.map_or(Share::NONE, |own| {
            share(&self.delivering, own, webhook, config.into())
        })
    }

    /// Whether no other node has sent anything since this one came up.
    pub const fn starts_alone(&self) -> bool {
        self.starts_alone
    }
}

/// What is known of the nodes, and said of this one.
pub(crate) struct Nodes {
    members: RwLock<Arc<Members>>,
    /// The lease for which `members` was counted, and up to which others were.
    counted_for: AtomicI64,
    counted_to: AtomicI64,
    /// Whether another node wants notes.
    watched: AtomicBool,
    address: Mutex<Option<String>>,
    /// Whether it is about to be drained.
    leaving: AtomicBool,
    said_at: Mutex<Option<Instant>>,
    /// One count at a time.
    turn: tokio::sync::Mutex<()>,
    /// Rung when the nodes, or what this one says of itself, have changed.
    pub bell: Notify,
}

impl Nodes {
    /// Before the first count.
    pub fn new(among_nodes: bool, role: NodeRole) -> Self {
        let members = if among_nodes || !role.delivers() {
            Members::nobody()
        } else {
            Members::alone()
        };
        Self {
            members: RwLock::new(Arc::new(members)),
            counted_for: AtomicI64::new(0),
            counted_to: AtomicI64::new(0),
            watched: AtomicBool::new(false),
            address: Mutex::default(),
            leaving: AtomicBool::new(false),
            said_at: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            bell: Notify::new(),
        }
    }

    /// As they were counted last.
    pub fn members(&self) -> Arc<Members> {
        Arc::clone(&self.members.read())
    }

    /// Whether another node wants notes.
    pub fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }
}

impl Pipeline {
    /// The nodes that work on the store, the oldest first; this one with what it says now.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        let shared = &self.shared;
        let mut nodes = shared.store.nodes().await?;
        for node in nodes.iter_mut().filter(|node| node.is_self) {
            node.about = shared.about();
        }
        Ok(nodes)
    }

    /// Says where this node can be reached, as `host:port`.
    pub fn set_address(&self, address: String) {
        *self.shared.nodes.address.lock() = Some(address);
        self.shared.nodes.bell.notify_one();
    }

    /// Says that this node is about to go down. It goes on sending until [`Pipeline::drain`].
    pub fn set_leaving(&self) {
        self.shared.nodes.leaving.store(true, Ordering::Release);
        self.shared.nodes.bell.notify_one();
    }
}

impl Shared {
    /// What this node says of itself now.
    fn about(&self) -> Announcement {
        let counted_to = self.nodes.counted_to.load(Ordering::Acquire);
        let in_flight = self.in_flight.load(Ordering::Acquire);
        Announcement {
            address: self.nodes.address.lock().clone(),
            draining: self.is_draining() || self.nodes.leaving.load(Ordering::Acquire),
            in_flight: u32::try_from(in_flight).unwrap_or(u32::MAX),
            watches: self.watches(),
            counted_to: (counted_to > 0).then_some(Lease(counted_to)),
        }
    }

    /// Whether somebody here follows or listens.
    pub(crate) fn watches(&self) -> bool {
        self.notices.receiver_count() > 0 || self.listeners.any()
    }

    /// Whether the shares are those of the lease that this process has now. After a lost lease
    /// they are not, until the nodes are counted again.
    pub(crate) fn shares_stand(&self) -> bool {
        let stand = !self.among_nodes
            || self.store.lease().0 == self.nodes.counted_for.load(Ordering::Acquire);
        if !stand {
            self.nodes.bell.notify_one();
        }
        stand
    }
}

/// Counts the nodes until the pipeline stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut unreachable = false;
    loop {
        match step(&shared).await {
            Ok(()) => unreachable = false,
            Err(error) => {
                if !std::mem::replace(&mut unreachable, true) {
                    tracing::warn!(%error, "failed to count the nodes; the shares stay until it can be done");
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
        let _ = tokio::time::timeout(COUNT_EVERY, shared.nodes.bell.notified()).await;
    }
}

/// Counts the nodes, gives the lanes their shares, and then says so.
pub(crate) async fn step(shared: &Arc<Shared>) -> Result<(), StoreError> {
    let _turn = shared.nodes.turn.lock().await;
    let nodes = shared.store.nodes().await?;
    let Some(own) = nodes.iter().find(|node| node.is_self) else {
        // The lease is lost: the store will have another.
        return Ok(());
    };
    let watched = nodes.iter().any(|node| !node.is_self && node.about.watches);
    shared.nodes.watched.store(watched, Ordering::Relaxed);
    let before = shared.nodes.members();
    let members = Members::count(&nodes, own.lease, shared.settings.role, &before);
    let more = if members == *before {
        Vec::new()
    } else {
        share_out(shared, members)
    };
    let counted_to = nodes.iter().map(|node| node.lease.0).max().unwrap_or(0);
    let state = &shared.nodes;
    state.counted_for.store(own.lease.0, Ordering::Release);
    state.counted_to.store(counted_to, Ordering::Release);
    for lane in more {
        shared.kick(&lane);
    }
    say(shared, &own.about).await
}

/// Gives every lane its share, and answers those that have more to do. What may no longer be here
/// goes back to the disk.
fn share_out(shared: &Arc<Shared>, members: Members) -> Vec<Arc<Lane>> {
    tracing::info!(nodes = ?members.delivering, sends = members.own.is_some(), "the work is shared out anew");
    let members = Arc::new(members);
    // Before the lanes are asked for: one that is made meanwhile takes its share from here.
    *shared.nodes.members.write() = Arc::clone(&members);
    let now = shared.now();
    let mut more = shared.subscriptions.lanes();
    more.retain(|lane| {
        let grew = lane.set_share(&members, now);
        shared.give_back(lane, &lane.take_misplaced());
        grew
    });
    shared.replay_bell.notify_one();
    more
}

/// Announces what has changed since the others were told: at once, or (where it is no more than
/// the number of attempts in flight) once a second.
async fn say(shared: &Shared, known: &Announcement) -> Result<(), StoreError> {
    let about = shared.about();
    if about == *known {
        return Ok(());
    }
    let counts_only = Announcement {
        in_flight: about.in_flight,
        ..known.clone()
    } == about;
    let just_said = (*shared.nodes.said_at.lock()).is_some_and(|at| at.elapsed() < COUNT_EVERY);
    if counts_only && just_said {
        return Ok(());
    }
    announce(shared).await
}

/// Announces what there is to be said of this node.
pub(crate) async fn announce(shared: &Shared) -> Result<(), StoreError> {
    shared.store.announce(shared.about()).await?;
    *shared.nodes.said_at.lock() = Some(Instant::now());
    Ok(())
}
