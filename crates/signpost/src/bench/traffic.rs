//! The threads that make the load and take it: what they share, how they start and end.
//!
//! Generator and receiver run on one current-thread runtime, in one thread: measured, that costs
//! less CPU per event than a thread each, since one wake-up then serves both sides (`--two-threads`
//! separates them when one core is not enough). The caller's thread stays free to watch. With
//! `--rate`, a further thread only sleeps and releases requests when they are due.

use std::future::Future;
use std::io;
use std::net::TcpListener as StdListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

use super::generator::{self, Plan};
use super::ledger::Ledger;
use super::receiver::Receiver;

/// What generator, receiver and watcher share.
#[derive(Debug)]
pub(super) struct Shared {
    started: Instant,
    ledger: Mutex<Ledger>,
    stop: AtomicBool,
    interrupted: AtomicBool,
    abandon: Notify,
    close: Notify,
}

impl Shared {
    /// Starts the run's clock.
    pub(super) fn new(ledger: Ledger) -> Self {
        Self {
            started: Instant::now(),
            ledger: Mutex::new(ledger),
            stop: AtomicBool::new(false),
            interrupted: AtomicBool::new(false),
            abandon: Notify::new(),
            close: Notify::new(),
        }
    }

    /// Nanoseconds since the run's clock was started.
    pub(super) fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).expect("a run ends within centuries")
    }

    /// The books, for a moment.
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger
            .lock()
            .expect("no thread panics while it holds the ledger")
    }

    /// Ends publishing: requests under way are finished, none is begun.
    pub(super) fn stop_publishing(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether publishing is to end.
    pub(super) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Gives up on requests under way.
    pub(super) fn abandon_requests(&self) {
        self.abandon.notify_one();
    }

    /// Resolves when requests under way are to be given up.
    pub(super) async fn abandoned(&self) {
        self.abandon.notified().await;
    }

    /// Whether the user asked this process to end.
    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}

/// The running threads. Dropping it leaves them to end with the process.
#[derive(Debug)]
pub(super) struct Traffic {
    shared: Arc<Shared>,
    generator: Option<JoinHandle<Result<()>>>,
    receiver: Option<JoinHandle<Result<()>>>,
    /// Set when publishing has ended, whichever thread it ran on.
    published: Arc<AtomicBool>,
}

impl Traffic {
    /// Starts receiving on `listeners` and publishing to `plan`.
    ///
    /// # Errors
    /// When a thread or a runtime cannot be made.
    pub(super) fn start(
        shared: &Arc<Shared>,
        plan: Plan,
        receiver: Receiver,
        listeners: Vec<StdListener>,
        two_threads: bool,
    ) -> Result<Self> {
        let published = Arc::new(AtomicBool::new(false));
        let receive = {
            let shared = Arc::clone(shared);
            move || async move { receive(&shared, receiver, listeners).await }
        };
        let publish = {
            let (shared, published) = (Arc::clone(shared), Arc::clone(&published));
            move || async move {
                generator::publish(&shared, plan).await;
                published.store(true, Ordering::Relaxed);
            }
        };
        let mut traffic = Self {
            shared: Arc::clone(shared),
            generator: None,
            receiver: None,
            published,
        };
        if two_threads {
            traffic.receiver = Some(spawn("bench-receiver", move |runtime| {
                runtime.block_on(receive())
            })?);
            traffic.generator = Some(spawn("bench-generator", move |runtime| {
                runtime.block_on(publish());
                Ok(())
            })?);
        } else {
            traffic.receiver = Some(spawn("bench-traffic", move |runtime| {
                runtime.block_on(async move {
                    tokio::spawn(publish());
                    receive().await
                })
            })?);
        }
        Ok(traffic)
    }

    /// Whether publishing has ended.
    ///
    /// # Errors
    /// When a thread ended that should be running.
    pub(super) fn has_published(&self) -> Result<bool> {
        if self.published.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let gone =
            |thread: &Option<JoinHandle<_>>| thread.as_ref().is_some_and(JoinHandle::is_finished);
        if gone(&self.generator) || gone(&self.receiver) {
            return Err(anyhow!("the load generator ended early"));
        }
        Ok(false)
    }

    /// Closes all connections and ends the threads.
    ///
    /// # Errors
    /// What a thread failed with.
    pub(super) fn close(mut self) -> Result<()> {
        self.shared.stop_publishing();
        self.shared.abandon_requests();
        self.shared.close.notify_one();
        for thread in [self.generator.take(), self.receiver.take()]
            .into_iter()
            .flatten()
        {
            thread
                .join()
                .map_err(|_| anyhow!("a thread of the load generator panicked"))??;
        }
        Ok(())
    }
}

fn spawn<F>(name: &str, run: F) -> Result<JoinHandle<Result<()>>>
where
    F: FnOnce(&Runtime) -> Result<()> + Send + 'static,
{
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to make a runtime")?;
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || run(&runtime))
        .with_context(|| format!("failed to start thread {name}"))
}

/// Receives until the run is closed.
async fn receive(
    shared: &Arc<Shared>,
    receiver: Receiver,
    listeners: Vec<StdListener>,
) -> Result<()> {
    let receiver = Arc::new(receiver);
    for listener in listeners {
        listener
            .set_nonblocking(true)
            .context("failed to prepare the receiver's socket")?;
        let listener =
            TcpListener::from_std(listener).context("failed to prepare the receiver's socket")?;
        tokio::spawn(Arc::clone(&receiver).listen(listener));
    }
    let interruptible = Arc::clone(shared);
    tokio::spawn(async move {
        if interrupted().await.is_ok() {
            interruptible.interrupted.store(true, Ordering::Relaxed);
        }
    });
    shared.close.notified().await;
    Ok(())
}

/// Resolves when the process is asked to end, by Ctrl-C or SIGTERM.
fn interrupted() -> impl Future<Output = io::Result<()>> {
    #[cfg(unix)]
    return async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            asked = tokio::signal::ctrl_c() => asked,
            _ = terminate.recv() => Ok(()),
        }
    };
    #[cfg(not(unix))]
    return tokio::signal::ctrl_c();
}
