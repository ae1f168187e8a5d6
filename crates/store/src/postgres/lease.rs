//! This node's lease: taken, renewed, lost, given back; and the end of other nodes' leases.
//!
//! A lease runs by the database's clock. The node itself trusts it only for three quarters of
//! its time, counted by its own steady clock from before it asked for the renewal: so it stops
//! before anybody else may take over. A node whose lease ran out takes a new one; what it held
//! under the old one belongs to whoever claims it next.

use std::{sync::Arc, time::Duration};

use deadpool_postgres::GenericClient;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::Instant,
};
use tokio_postgres::Client;

use super::{
    PostgresOptions,
    connect::{Link, OwnConnection, settings},
    hints::Hints,
    migrate::{LEASES, LOCK_KEY},
    nodes::role_number,
    transact::transact,
    writer::WRITERS,
};
use crate::{Announcement, Hint, Identity, Lease, StoreError};

/// The row of `fences` that claims lock.
pub(super) const CLAIMS: i16 = 0;

/// The tables whose rows say in `held_by` under which lease they are held. What nobody holds any
/// more is due as it was before.
const HELD: [&str; 2] = ["pending_deliveries", "executions"];

/// Takes and keeps the lease.
pub(super) struct LeaseKeeper {
    /// Its own: the lease must not wait for look-ups.
    link: Arc<Link>,
    hints: Arc<Hints>,
    identity: Identity,
    runs: Duration,
    state: Mutex<State>,
    about: Mutex<Announcement>,
    /// Rung when the present lease is to be given up for a new one.
    abandoned: Notify,
    /// The end of others' leases, if it is under way.
    ending: Mutex<Option<JoinHandle<()>>>,
    stop: watch::Sender<bool>,
}

struct State {
    lease: Lease,
    /// Until when it is certain that nobody else has taken over.
    sure_until: Instant,
}

impl LeaseKeeper {
    /// Takes a lease and renews it in the background until [`LeaseKeeper::release`].
    pub(super) async fn start(
        link: Arc<Link>,
        hints: Arc<Hints>,
        options: &PostgresOptions,
    ) -> Result<Arc<Self>, StoreError> {
        let keeper = Arc::new(Self {
            link,
            hints,
            identity: options.identity.clone(),
            runs: options.lease,
            state: Mutex::new(State {
                lease: Lease(0),
                sure_until: Instant::now(),
            }),
            about: Mutex::default(),
            abandoned: Notify::new(),
            ending: Mutex::default(),
            stop: watch::channel(false).0,
        });
        keeper.take().await?;
        tokio::spawn(keep(Arc::clone(&keeper)));
        Ok(keeper)
    }

    /// The present lease.
    pub(super) fn current(&self) -> Lease {
        self.state.lock().lease
    }

    /// See [`crate::Store::holds`].
    pub(super) fn holds(&self, lease: Lease) -> bool {
        let state = self.state.lock();
        state.lease == lease && Instant::now() < state.sure_until
    }

    /// The present lease, as far as it may still be worked under.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it has run out.
    pub(super) fn trusted_lease(&self) -> Result<Lease, StoreError> {
        let lease = self.current();
        if self.holds(lease) {
            Ok(lease)
        } else {
            Err(StoreError::Unavailable(
                "this node's lease has run out".to_owned(),
            ))
        }
    }

    /// Stops trusting a lease, if it is still the present one, and takes another: for when it has
    /// ended, or when it is not known what is held under it.
    pub(super) fn abandon(&self, lease: Lease) {
        if self.current() == lease {
            self.distrust();
            self.abandoned.notify_one();
        }
    }

    fn distrust(&self) {
        self.state.lock().sure_until = Instant::now();
    }

    /// See [`crate::Store::announce`].
    pub(super) async fn announce(&self, about: Announcement) -> Result<(), StoreError> {
        let news = {
            let mut said = self.about.lock();
            let in_flight = about.in_flight;
            let before = std::mem::replace(&mut *said, about);
            Announcement {
                in_flight,
                ..before
            } != *said
        };
        let conn = self.link.connection().await?;
        self.renew(&conn).await?;
        if news {
            self.hints.send(Hint::Nodes);
        }
        Ok(())
    }

    /// Ends the lease: what is still held under it is free at once.
    pub(super) async fn release(&self) {
        self.stop.send_replace(true);
        let lease = self.current();
        self.distrust();
        let ended = transact!(self, |tx| end(tx, &[lease.0]));
        match ended {
            Ok(freed) => {
                self.hints.send(Hint::Nodes);
                if freed > 0 {
                    self.hints.send(Hint::Executions);
                }
            }
            Err(error) => tracing::warn!(%error, "failed to give back the lease; it will run out"),
        }
    }

    /// Takes a new lease, and ends those that an earlier process of this identity left: of two
    /// processes with one identity only one can run, since it is kept in a locked folder.
    async fn take(&self) -> Result<(), StoreError> {
        let about = self.about.lock().clone();
        let asked = Instant::now();
        let lease = transact!(self, |tx| self.take_in(tx, &about))?;
        *self.state.lock() = State {
            lease,
            sure_until: asked + self.trusted(),
        };
        self.hints.send(Hint::Nodes);
        Ok(())
    }

    async fn take_in(
        &self,
        tx: &impl GenericClient,
        about: &Announcement,
    ) -> Result<Lease, StoreError> {
        let identity = &self.identity;
        // Leases become visible in the order of their numbers: who sees one sees all before it.
        tx.query_one(
            &format!("SELECT pg_advisory_xact_lock({LOCK_KEY}, $1)"),
            &[&LEASES],
        )
        .await?;
        let earlier = tx
            .query(
                "SELECT lease FROM nodes WHERE id = $1 FOR UPDATE",
                &[&identity.id],
            )
            .await?;
        let mut earlier: Vec<i64> = earlier.iter().map(|row| row.get(0)).collect();
        let own = self.current().0;
        if identity.id.is_nil() {
            // Nobody said who this is: only what this very process took before is its own.
            earlier.retain(|lease| *lease == own);
        }
        end(tx, &earlier).await?;
        let row = tx
            .query_one(
                "INSERT INTO nodes (lease, id, name, version, role, started_at, seen_at, expires_at,
                                    address, draining, in_flight, watches)
                 SELECT nextval('leases'), $1, $2, $3, $4, now.at, now.at, now.at + $5 * interval '1 ms',
                        $6, $7, $8, $9
                 FROM (SELECT clock_timestamp() AS at) now
                 RETURNING lease",
                &[
                    &identity.id,
                    &identity.name,
                    &identity.version,
                    &role_number(identity.role),
                    &self.runs_ms(),
                    &about.address,
                    &about.draining,
                    &in_flight(about),
                    &about.watches,
                ],
            )
            .await?;
        let lease = row.get(0);
        for writer in CLAIMS..=WRITERS {
            tx.execute(
                "INSERT INTO fences (lease, writer) VALUES ($1, $2)",
                &[&lease, &writer],
            )
            .await?;
        }
        Ok(Lease(lease))
    }

    /// Renews the lease and writes down what the node says of itself; `false` if it has run out,
    /// or was not trusted any more: what was held under it is forgotten then, so it must not come
    /// back.
    async fn renew(&self, client: &tokio_postgres::Client) -> Result<bool, StoreError> {
        let about = self.about.lock().clone();
        let lease = self.current();
        let asked = Instant::now();
        let renewed = client
            .execute(
                "UPDATE nodes
                 SET seen_at = clock_timestamp(), expires_at = clock_timestamp() + $2 * interval '1 ms',
                     address = $3, draining = $4, in_flight = $5, watches = $6, counted_to = $7
                 WHERE lease = $1 AND id = $8 AND expires_at > clock_timestamp()",
                &[
                    &lease.0,
                    &self.runs_ms(),
                    &about.address,
                    &about.draining,
                    &in_flight(&about),
                    &about.watches,
                    &about.counted_to.map(|lease| lease.0),
                    &self.identity.id,
                ],
            )
            .await?;
        let mut state = self.state.lock();
        if renewed == 0 || state.lease != lease || Instant::now() >= state.sure_until {
            return Ok(false);
        }
        // Two renewals may overlap.
        state.sure_until = state.sure_until.max(asked + self.trusted());
        Ok(true)
    }

    fn trusted(&self) -> Duration {
        self.runs * 3 / 4
    }

    fn runs_ms(&self) -> f64 {
        self.runs.as_secs_f64() * 1000.0
    }
}

fn in_flight(about: &Announcement) -> i32 {
    i32::try_from(about.in_flight).unwrap_or(i32::MAX)
}

/// Renews the lease four times in its time, on a connection of its own, and ends the leases of
/// others that have run out.
async fn keep(keeper: Arc<LeaseKeeper>) {
    let mut stop = keeper.stop.subscribe();
    let every = keeper.runs / 4;
    let mut client = None;
    loop {
        let mut abandoned = false;
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(every) => {}
            () = keeper.abandoned.notified() => abandoned = true,
        }
        let Err(error) = step(&keeper, &mut client, abandoned, every).await else {
            continue;
        };
        if abandoned {
            keeper.abandoned.notify_one();
        }
        client = None;
        if keeper.holds(keeper.current()) {
            tracing::warn!(%error, "failed to renew this node's lease; trying again");
        } else {
            tracing::error!(%error, "this node's lease has run out and cannot be renewed: it sends nothing until it can");
        }
        tokio::time::sleep(every.min(Duration::from_millis(250))).await;
    }
}

async fn step(
    keeper: &Arc<LeaseKeeper>,
    client: &mut Option<Client>,
    abandoned: bool,
    deadline: Duration,
) -> Result<(), StoreError> {
    let renewing = async {
        let connected = match client.take().filter(|client| !client.is_closed()) {
            Some(connected) => connected,
            None => connect(&keeper.link).await?,
        };
        let renewed = !abandoned && keeper.renew(&connected).await?;
        Ok::<_, StoreError>((connected, renewed))
    };
    // A connection that hangs must not keep the node from trying another.
    let (connected, renewed) = tokio::time::timeout(deadline, renewing)
        .await
        .unwrap_or_else(|_| Err(StoreError::Unavailable("no answer in time".to_owned())))?;
    *client = Some(connected);
    if !renewed {
        keeper.distrust();
        let lost = keeper.current();
        keeper.take().await?;
        tracing::warn!(
            lost = lost.0,
            taken = keeper.current().0,
            "this node's lease was lost; what it held is taken up from the database again"
        );
    }
    // Beside the renewals: they must not wait for it.
    let mut ending = keeper.ending.lock();
    if ending.as_ref().is_none_or(JoinHandle::is_finished) {
        let keeper = Arc::clone(keeper);
        *ending = Some(tokio::spawn(async move {
            if let Err(error) = end_expired(&keeper).await {
                tracing::warn!(%error, "failed to free what a stopped node holds; trying again");
            }
        }));
    }
    Ok(())
}

/// Locks the row of claims of a lease until the transaction has ended, so that the lease cannot
/// end before; `false` if it has.
pub(super) async fn fence(tx: &impl GenericClient, lease: Lease) -> Result<bool, StoreError> {
    let lock = tx
        .prepare_cached("SELECT 1 FROM fences WHERE lease = $1 AND writer = $2 FOR SHARE")
        .await?;
    let found = tx.query_opt(&lock, &[&lease.0, &CLAIMS]).await?;
    Ok(found.is_some())
}

/// A connection of its own, driven in the background.
async fn connect(link: &Link) -> Result<Client, StoreError> {
    let OwnConnection { client, connection } = link.own_connection().await?;
    tokio::spawn(async move {
        // Whoever uses the client hears of its end.
        let _ = connection.await;
    });
    client
        .batch_execute(&settings(Duration::from_secs(10)))
        .await?;
    Ok(client)
}

/// Ends what has run out, if anything has, and frees what names a lease that is no more.
async fn end_expired(keeper: &LeaseKeeper) -> Result<(), StoreError> {
    let client = keeper.link.connection().await?;
    for table in HELD {
        let free = format!(
            "UPDATE {table} h SET held_by = 0
             WHERE h.held_by <> 0 AND NOT EXISTS (SELECT 1 FROM nodes n WHERE n.lease = h.held_by)"
        );
        let astray = client.execute(&free, &[]).await?;
        if astray > 0 {
            tracing::warn!(
                table,
                rows = astray,
                "what named a lease that has ended is free"
            );
        }
    }
    let expired = client
        .query(
            "SELECT lease, name FROM nodes WHERE expires_at <= clock_timestamp() AND lease <> $1",
            &[&keeper.current().0],
        )
        .await?;
    // One connection at a time: the pool is small, and a new lease must not wait for this.
    drop(client);
    for row in expired {
        let (lease, name): (i64, String) = (row.get(0), row.get(1));
        let freed = transact!(keeper, |tx| end_if_expired(tx, lease))?;
        if let Some(freed) = freed {
            tracing::warn!(
                node = name,
                lease,
                freed,
                "a node has stopped renewing its lease; what it held is free"
            );
            keeper.hints.send(Hint::Nodes);
            keeper.hints.send(Hint::Executions);
        }
    }
    Ok(())
}

/// Ends one lease if it still has run out and nobody else is at it.
async fn end_if_expired(tx: &impl GenericClient, lease: i64) -> Result<Option<u64>, StoreError> {
    let expired = tx
        .query_opt(
            "SELECT lease FROM nodes WHERE lease = $1 AND expires_at <= clock_timestamp()
             FOR UPDATE SKIP LOCKED",
            &[&lease],
        )
        .await?;
    match expired {
        Some(_) => end(tx, &[lease]).await.map(Some),
        None => Ok(None),
    }
}

/// Ends leases: waits for what is being written under them, then frees what they hold; answers
/// how many deliveries and executions that were.
async fn end(tx: &impl GenericClient, leases: &[i64]) -> Result<u64, StoreError> {
    if leases.is_empty() {
        return Ok(0);
    }
    tx.execute("DELETE FROM fences WHERE lease = ANY($1)", &[&leases])
        .await?;
    let mut freed = 0;
    for table in HELD {
        let free =
            format!("UPDATE {table} SET held_by = 0 WHERE held_by = ANY($1) AND held_by <> 0");
        freed += tx.execute(&free, &[&leases]).await?;
    }
    tx.execute("DELETE FROM notes WHERE lease = ANY($1)", &[&leases])
        .await?;
    tx.execute("DELETE FROM nodes WHERE lease = ANY($1)", &[&leases])
        .await?;
    Ok(freed)
}
