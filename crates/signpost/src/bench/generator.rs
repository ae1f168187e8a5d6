//! The publisher: a task per connection, one request at a time on each.
//!
//! *Closed loop*: a connection sends its next request as soon as the last one is answered; latency
//! counts from just before the write. *Open loop* (`--rate`): requests fall due on a schedule that
//! does not care how the server is doing, and latency counts from the scheduled instant, so time
//! spent waiting for a free connection is not left out. Due times are rounded up to whole
//! [`TICK`]s: a runtime's own timer is coarser than that, and one wake-up per tick is cheap.
//!
//! A request that failed is counted and not repeated.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::ledger::{PublishError, id_mark};
use super::traffic::Shared;
use super::wire::{self, PublishRequest};

/// Granularity of the open loop's schedule.
const TICK: Duration = Duration::from_micros(500);
/// Pause of a connection after a request failed, so that a refusing server is not flooded.
const PAUSE: Duration = Duration::from_millis(10);
const BUFFER_BYTES: usize = 4 * 1024;
const BUFFER_BYTES_MAX: usize = 1024 * 1024;

/// One server to publish to.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// The request, to be patched.
    pub(super) request: PublishRequest,
}

/// What to publish, where and how fast.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// The servers; connections are spread over them.
    pub(super) targets: Vec<Target>,
    /// Events in a request.
    pub(super) batch: u64,
    /// Connections to use.
    pub(super) connections: u32,
    /// Events per second; `None`: closed loop.
    pub(super) rate: Option<f64>,
    /// How long to wait for answers once publishing is to end.
    pub(super) patience: Duration,
}

/// Publishes until told to stop or all events are issued.
pub(super) async fn publish(shared: &Arc<Shared>, plan: Plan) {
    let pace = plan
        .rate
        .map(|rate| Arc::new(Pace::new(rate, plan.batch, shared.now_ns())));
    if let Some(pace) = &pace {
        let (shared, pace, connections) = (
            Arc::clone(shared),
            Arc::clone(pace),
            plan.connections as usize,
        );
        thread::Builder::new()
            .name("bench-pace".to_owned())
            .spawn(move || pace.run(&shared, connections))
            .expect("the system has room for one more thread");
    }
    let mut connections = JoinSet::new();
    for target in plan.targets.iter().cycle().take(plan.connections as usize) {
        let publisher = Publisher {
            shared: Arc::clone(shared),
            pace: pace.clone(),
            address: target.address,
            request: target.request.clone(),
            batch: plan.batch,
            stream: None,
            buffer: vec![0; BUFFER_BYTES],
            under_way: 0,
        };
        connections.spawn(publisher.run());
    }
    tokio::select! {
        () = async { while connections.join_next().await.is_some() {} } => {}
        () = shared.abandoned() => {}
        () = overdue(shared, plan.patience) => {}
    }
    connections.shutdown().await;
}

/// Resolves `patience` after publishing was told to end.
async fn overdue(shared: &Shared, patience: Duration) {
    while !shared.is_stopping() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(patience).await;
}

/// The open loop's schedule.
#[derive(Debug)]
struct Pace {
    /// A permit per request that is due.
    due: Semaphore,
    started_ns: u64,
    interval_ns: f64,
}

impl Pace {
    fn new(events_per_second: f64, batch: u64, started_ns: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
        let interval_ns = 1e9 * batch as f64 / events_per_second;
        Self {
            due: Semaphore::new(0),
            started_ns,
            interval_ns,
        }
    }

    /// When request number `request` (from 0) is due.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and exact below 2^53 ns, which is 104 days"
    )]
    fn due_ns(&self, request: u64) -> u64 {
        let tick_ns = TICK.as_nanos() as u64;
        self.started_ns + ((request as f64 * self.interval_ns) as u64).next_multiple_of(tick_ns)
    }

    /// Releases requests as they fall due, until publishing ends or all are issued; then releases
    /// every waiting connection, so that it sees that this is so.
    fn run(&self, shared: &Shared, connections: usize) {
        let mut released = 0;
        while !shared.is_stopping() && shared.ledger().has_more() {
            let now_ns = shared.now_ns();
            let due_before = released;
            while self.due_ns(released) <= now_ns {
                released += 1;
            }
            self.due
                .add_permits(usize::try_from(released - due_before).expect("few fall due at once"));
            thread::sleep(
                Duration::from_nanos(self.due_ns(released).saturating_sub(shared.now_ns()))
                    .min(PAUSE),
            );
        }
        self.due.add_permits(connections);
    }
}

/// One connection.
struct Publisher {
    shared: Arc<Shared>,
    pace: Option<Arc<Pace>>,
    address: SocketAddr,
    request: PublishRequest,
    batch: u64,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
    /// Events written and not answered.
    under_way: u64,
}

impl Publisher {
    async fn run(mut self) {
        loop {
            if let Some(pace) = &self.pace {
                pace.due.acquire().await.expect("never closed").forget();
            }
            if self.shared.is_stopping() {
                return;
            }
            let Some(first) = self.shared.ledger().issue(self.batch) else {
                self.shared.stop_publishing();
                return;
            };
            let sent_ns = match &self.pace {
                Some(pace) => pace.due_ns(first / self.batch),
                None => self.shared.now_ns(),
            };
            self.request.patch(first, sent_ns);
            self.under_way = self.batch;
            let ended = self.exchange(first, sent_ns).await;
            self.under_way = 0;
            if let Err(error) = ended {
                self.shared.ledger().publish_failed(error, self.batch);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Sends the request, reads the answer and enters it.
    async fn exchange(&mut self, first: u64, sent_ns: u64) -> Result<(), PublishError> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(self.address).await?,
        };
        stream
            .write_all(self.request.bytes())
            .await
            .map_err(|_| PublishError::Connection)?;
        let mut filled = 0;
        let answer = loop {
            if filled == self.buffer.len() {
                if filled >= BUFFER_BYTES_MAX {
                    return Err(PublishError::Connection);
                }
                self.buffer.resize(filled * 2, 0);
            }
            match stream.read(&mut self.buffer[filled..]).await {
                Ok(0) | Err(_) => return Err(PublishError::Connection),
                Ok(read) => filled += read,
            }
            match wire::parse_answer(&self.buffer[..filled]) {
                Ok(Some(answer)) => break answer,
                Ok(None) => {}
                Err(wire::Malformed) => return Err(PublishError::Connection),
            }
        };
        if !answer.close {
            self.stream = Some(stream);
        }
        if !(200..300).contains(&answer.status) {
            return Err(PublishError::Status(answer.status));
        }
        let now_ns = self.shared.now_ns();
        let mut ids = wire::ids_in(answer.body);
        let mut ledger = self.shared.ledger();
        for sequence in first..first + self.batch {
            ledger.accept(sequence, ids.next().map_or(0, id_mark), sent_ns, now_ns);
        }
        Ok(())
    }
}

impl Drop for Publisher {
    /// A task that is given up in the middle of a request says so.
    fn drop(&mut self) {
        if self.under_way > 0 {
            self.shared
                .ledger()
                .publish_failed(PublishError::Unanswered, self.under_way);
        }
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, PublishError> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|_| PublishError::Connection)?;
    // Requests are one write each; where this can't be set, all still works.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_fall_due_at_the_rate_on_whole_ticks() {
        let pace = Pace::new(10_000.0, 1, 7);
        assert_eq!(
            (pace.due_ns(0), pace.due_ns(1), pace.due_ns(5)),
            (7, 500_007, 500_007)
        );
        assert_eq!(pace.due_ns(10_000), 1_000_000_007);
        let batches = Pace::new(10_000.0, 100, 0);
        assert_eq!(
            (batches.due_ns(1), batches.due_ns(100)),
            (10_000_000, 1_000_000_000)
        );
    }
}
