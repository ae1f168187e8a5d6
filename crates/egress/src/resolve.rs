//! Names to addresses.
//!
//! [`Resolve`] is the seam: the system's resolver in the product, scripted answers in tests.
//! [`CachedResolver`] wraps one so that many deliveries to one host make one look-up, and a name
//! whose servers never answer holds one look-up however many deliveries wait for it.
//!
//! Nothing here judges addresses: the policy checks every address of every answer, cached or not.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

/// A boxed future, as the traits of this crate return them.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Turns a host name into addresses.
pub trait Resolve: Send + Sync + 'static {
    /// All addresses of `host`, in the order in which they should be tried, each with `port`.
    ///
    /// # Errors
    /// Whatever the look-up failed with. An empty answer is treated as a failure by the caller.
    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'_, io::Result<Vec<SocketAddr>>>;
}

/// The system's resolver (`getaddrinfo` on a blocking thread), no cache.
pub struct SystemResolver {
    /// `getaddrinfo` cannot be cancelled: without a bound, names that hang would take all of the
    /// runtime's blocking threads.
    lookups: Arc<Semaphore>,
}

/// How many look-ups may be under way at once; further ones wait within their own deadline.
const LOOKUPS_MAX: usize = 64;

impl Default for SystemResolver {
    fn default() -> Self {
        Self {
            lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
        }
    }
}

impl Resolve for SystemResolver {
    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'_, io::Result<Vec<SocketAddr>>> {
        let host = host.to_owned();
        Box::pin(async move {
            let _permit = self.lookups.acquire().await.map_err(io::Error::other)?;
            let found = tokio::net::lookup_host((host.as_str(), port)).await?;
            Ok(found.collect())
        })
    }
}

/// How long a [`CachedResolver`] keeps an answer.
const ANSWER_KEPT: Duration = Duration::from_secs(10);
/// How long it keeps a failure.
const FAILURE_KEPT: Duration = Duration::from_secs(1);
/// How many names it remembers.
const NAMES_MAX: usize = 1024;

/// A resolver with a short cache that asks once for all who wait for the same name.
pub struct CachedResolver<R> {
    shared: Arc<Shared<R>>,
}

struct Shared<R> {
    inner: R,
    names: Mutex<HashMap<String, Entry>>,
}

enum Entry {
    /// A look-up is under way; its result will be sent here.
    Running(watch::Receiver<Option<Answer>>),
    Known {
        answer: Answer,
        until: Instant,
    },
}

/// An `io::Error` cannot be cloned: kind and text stand for it.
type Answer = Result<Arc<[IpAddr]>, (io::ErrorKind, Arc<str>)>;

impl<R: Resolve> CachedResolver<R> {
    /// Caches what `inner` answers: 10 s, failures 1 s, at most 1,024 names.
    pub fn new(inner: R) -> Self {
        Self {
            shared: Arc::new(Shared {
                inner,
                names: Mutex::default(),
            }),
        }
    }

    /// The remembered answer, or a receiver for the one under way (started here if none is).
    fn answer_or_wait(&self, host: &str) -> Result<Answer, watch::Receiver<Option<Answer>>> {
        let mut names = self.shared.names.lock();
        match names.get(host) {
            Some(Entry::Known { answer, until }) if *until > Instant::now() => {
                return Ok(answer.clone());
            }
            // A sender that is gone without a result belongs to a look-up that was aborted.
            Some(Entry::Running(result)) if result.has_changed().is_ok() => {
                return Err(result.clone());
            }
            _ => {}
        }
        let (sender, result) = watch::channel(None);
        names.insert(host.to_owned(), Entry::Running(result.clone()));
        let shared = Arc::clone(&self.shared);
        let host = host.to_owned();
        // Not part of the caller's future: the look-up outlives a caller whose deadline passes,
        // so that callers after it join this one instead of starting another. It ends when the
        // inner resolver answers.
        tokio::spawn(async move {
            let answer = match shared.inner.resolve(&host, 0).await {
                Ok(found) => Ok(found.iter().map(SocketAddr::ip).collect()),
                Err(error) => Err((error.kind(), error.to_string().into())),
            };
            shared.remember(host, answer.clone());
            // Nobody may be waiting any more.
            let _ = sender.send(Some(answer));
        });
        Err(result)
    }
}

impl<R> Shared<R> {
    fn remember(&self, host: String, answer: Answer) {
        let now = Instant::now();
        let kept = if answer.is_ok() {
            ANSWER_KEPT
        } else {
            FAILURE_KEPT
        };
        let mut names = self.names.lock();
        if names.len() >= NAMES_MAX {
            names.retain(|_, entry| match entry {
                Entry::Running(_) => true,
                Entry::Known { until, .. } => *until > now,
            });
        }
        if names.len() > NAMES_MAX {
            names.remove(&host);
        } else {
            let until = now + kept;
            names.insert(host, Entry::Known { answer, until });
        }
    }
}

impl<R: Resolve> Resolve for CachedResolver<R> {
    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'_, io::Result<Vec<SocketAddr>>> {
        let host = host.to_owned();
        Box::pin(async move {
            let answer = match self.answer_or_wait(&host) {
                Ok(answer) => answer,
                Err(mut result) => {
                    let done = result
                        .wait_for(Option::is_some)
                        .await
                        .map_err(|_| io::Error::other("the look-up was aborted"))?;
                    done.clone().expect("wait_for returns on Some only")
                }
            };
            match answer {
                Ok(found) => Ok(found.iter().map(|ip| SocketAddr::new(*ip, port)).collect()),
                Err((kind, text)) => Err(io::Error::new(kind, text.to_string())),
            }
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Notify;

    /// Counts look-ups; each waits for a permit before it answers.
    struct Gate {
        lookups: Arc<AtomicUsize>,
        open: Arc<Notify>,
        fails: bool,
    }

    impl Resolve for Gate {
        fn resolve(&self, _: &str, port: u16) -> BoxFuture<'_, io::Result<Vec<SocketAddr>>> {
            Box::pin(async move {
                self.lookups.fetch_add(1, Ordering::SeqCst);
                self.open.notified().await;
                if self.fails {
                    return Err(io::Error::new(io::ErrorKind::NotFound, "no such name"));
                }
                Ok(vec![SocketAddr::from(([93, 184, 216, 34], port))])
            })
        }
    }

    fn gate(fails: bool) -> (CachedResolver<Gate>, Arc<AtomicUsize>, Arc<Notify>) {
        let lookups = Arc::new(AtomicUsize::new(0));
        let open = Arc::new(Notify::new());
        let resolver = CachedResolver::new(Gate {
            lookups: Arc::clone(&lookups),
            open: Arc::clone(&open),
            fails,
        });
        (resolver, lookups, open)
    }

    #[tokio::test(start_paused = true)]
    async fn callers_share_one_look_up_and_then_the_cache() {
        let (resolver, lookups, open) = gate(false);
        open.notify_one();
        let (a, b) = tokio::join!(resolver.resolve("h", 80), resolver.resolve("h", 443));
        assert_eq!(a.unwrap(), [SocketAddr::from(([93, 184, 216, 34], 80))]);
        assert_eq!(b.unwrap(), [SocketAddr::from(([93, 184, 216, 34], 443))]);
        resolver.resolve("h", 80).await.unwrap();
        assert_eq!(lookups.load(Ordering::SeqCst), 1);

        tokio::time::advance(ANSWER_KEPT).await;
        open.notify_one();
        resolver.resolve("h", 80).await.unwrap();
        assert_eq!(lookups.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_name_holds_one_look_up_whoever_gives_up() {
        let (resolver, lookups, open) = gate(false);
        for _ in 0..5 {
            let waited = tokio::time::timeout(Duration::from_secs(1), resolver.resolve("h", 80));
            assert!(waited.await.is_err());
        }
        assert_eq!(lookups.load(Ordering::SeqCst), 1);
        open.notify_one();
        assert_eq!(resolver.resolve("h", 80).await.unwrap().len(), 1);
        assert_eq!(lookups.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_forgotten_sooner() {
        let (resolver, lookups, open) = gate(true);
        open.notify_one();
        let error = resolver.resolve("h", 80).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(resolver.resolve("h", 80).await.is_err());
        assert_eq!(lookups.load(Ordering::SeqCst), 1);
        tokio::time::advance(FAILURE_KEPT).await;
        open.notify_one();
        assert!(resolver.resolve("h", 80).await.is_err());
        assert_eq!(lookups.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_names_is_bounded() {
        let (resolver, _, open) = gate(false);
        for name in 0..NAMES_MAX + 50 {
            open.notify_one();
            resolver.resolve(&name.to_string(), 80).await.unwrap();
        }
        assert!(resolver.shared.names.lock().len() <= NAMES_MAX);
    }
}
