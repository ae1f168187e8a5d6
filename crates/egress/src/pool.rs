//! Connections kept open between exchanges.
//!
//! Per scheme, host and port: a stack of idle HTTP/1.1 connections (the one used last is used
//! next, so that a burst's surplus grows old and goes) and at most one shared HTTP/2 connection.
//! Everything is bounded: idle connections per host and in all, their idle time, and the age of
//! any connection, so that a receiver that has moved in DNS is followed.
//!
//! A connection in here was opened under this pool's address policy; a new policy means a new
//! pool. A sweep runs while anything is kept and ends when nothing is.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::http1::Http1;
use crate::http2::Http2;

/// A connection on loan from the pool, or fresh.
pub(crate) enum Connection {
    Http1(Box<Http1>),
    Http2(Http2),
}

/// How much is kept, and how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) idle_per_host: usize,
    pub(crate) idle: usize,
    pub(crate) idle_time: Duration,
    pub(crate) age: Duration,
}

pub(crate) struct Pool {
    limits: Limits,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    hosts: HashMap<Arc<str>, Host>,
    /// How many `Idle` there are in all `hosts`.
    idle: usize,
    /// Whether a sweep is scheduled.
    sweeping: bool,
}

#[derive(Default)]
struct Host {
    idle: Vec<Idle>,
    shared: Option<Shared>,
}

struct Idle {
    connection: Box<Http1>,
    since: Instant,
}

struct Shared {
    connection: Http2,
    used: Instant,
}

impl Pool {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            kept: Mutex::default(),
        })
    }

    /// A connection to the host of `key` that can take a request as far as can be seen.
    pub(crate) fn take(&self, key: &str, cx: &mut Context<'_>) -> Option<Connection> {
        let now = Instant::now();
        loop {
            let mut kept = self.kept.lock();
            let host = kept.hosts.get_mut(key)?;
            if let Some(shared) = &mut host.shared {
                if shared.connection.is_closed() || self.is_old(shared.connection.opened, now) {
                    host.shared = None;
                } else if shared.connection.has_room() {
                    shared.used = now;
                    return Some(Connection::Http2(shared.connection.clone()));
                }
            }
            let mut idle = host.idle.pop()?;
            kept.idle -= 1;
            // Polling may close a socket, and dropping does: not under the lock.
            drop(kept);
            if !self.is_stale(&idle, now) && idle.connection.poll_usable(cx) {
                return Some(Connection::Http1(idle.connection));
            }
        }
    }

    /// Keeps an HTTP/1.1 connection whose exchange is complete, if there is room.
    pub(crate) fn give_back(self: &Arc<Self>, key: &Arc<str>, connection: Box<Http1>) {
        let now = Instant::now();
        let mut kept = self.kept.lock();
        if self.is_old(connection.opened, now) || kept.idle >= self.limits.idle {
            drop(kept);
            return;
        }
        let kept = &mut *kept;
        let host = match kept.hosts.get_mut(key) {
            Some(host) => host,
            None => kept.hosts.entry(Arc::clone(key)).or_default(),
        };
        if host.idle.len() < self.limits.idle_per_host {
            host.idle.push(Idle {
                connection,
                since: now,
            });
            kept.idle += 1;
        }
        self.schedule_sweep(kept);
    }

    /// Offers a fresh HTTP/2 connection for sharing and returns the one to use: another task may
    /// have been faster, and then its connection serves both.
    pub(crate) fn share(self: &Arc<Self>, key: &Arc<str>, fresh: Http2) -> Http2 {
        let now = Instant::now();
        let mut kept = self.kept.lock();
        let host = kept.hosts.entry(Arc::clone(key)).or_default();
        if let Some(shared) = &host.shared
            && !shared.connection.is_closed()
            && shared.connection.has_room()
            && !self.is_old(shared.connection.opened, now)
        {
            return shared.connection.clone();
        }
        host.shared = Some(Shared {
            connection: fresh.clone(),
            used: now,
        });
        self.schedule_sweep(&mut kept);
        fresh
    }

    /// Stops sharing `connection`, which has failed.
    pub(crate) fn forget(&self, key: &str, connection: &Http2) {
        if let Some(host) = self.kept.lock().hosts.get_mut(key)
            && let Some(shared) = &host.shared
            && shared.connection.is_same(connection)
        {
            host.shared = None;
        }
    }

    fn is_old(&self, opened: Instant, now: Instant) -> bool {
        now.duration_since(opened) >= self.limits.age
    }

    fn is_stale(&self, idle: &Idle, now: Instant) -> bool {
        now.duration_since(idle.since) >= self.limits.idle_time
            || self.is_old(idle.connection.opened, now)
    }

    fn schedule_sweep(self: &Arc<Self>, kept: &mut Kept) {
        if kept.sweeping {
            return;
        }
        kept.sweeping = true;
        let every = (self.limits.idle_time / 2).max(Duration::from_millis(100));
        // Holds no strong reference while asleep: it ends with the pool.
        tokio::spawn(sweep_until_empty(Arc::downgrade(self), every));
    }

    /// Drops what is stale or closed by the peer; false when nothing is left.
    fn sweep(&self) -> bool {
        let now = Instant::now();
        // Nobody is woken when a peer closes an idle connection: look for it here.
        let mut cx = Context::from_waker(Waker::noop());
        let mut dropped = Vec::new();
        let mut kept = self.kept.lock();
        kept.hosts.retain(|_, host| {
            for mut idle in std::mem::take(&mut host.idle) {
                if self.is_stale(&idle, now) || !idle.connection.poll_usable(&mut cx) {
                    dropped.push(idle);
                } else {
                    host.idle.push(idle);
                }
            }
            let shared_is_done = host.shared.as_ref().is_some_and(|shared| {
                shared.connection.is_closed()
                    || (shared.connection.is_idle()
                        && now.duration_since(shared.used) >= self.limits.idle_time)
            });
            if shared_is_done {
                host.shared = None;
            }
            !host.idle.is_empty() || host.shared.is_some()
        });
        kept.idle = kept.hosts.values().map(|host| host.idle.len()).sum();
        kept.sweeping = !kept.hosts.is_empty();
        let more = kept.sweeping;
        // Sockets are closed after the lock is released.
        drop(kept);
        drop(dropped);
        more
    }
}

async fn sweep_until_empty(pool: Weak<Pool>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        match pool.upgrade() {
            Some(pool) if pool.sweep() => {}
            _ => return,
        }
    }
}
