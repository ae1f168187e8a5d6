//! The only way out of Signpost: resolve → address policy → connect → capped exchange.
//!
//! Players, in the order of the flow:
//!
//! - [`Target`] ([`mod@target`]): a URL checked when it is saved, without DNS.
//! - [`AddressPolicy`] ([`policy`]): which names and addresses may be called. Asked for the URL,
//!   for every address of a DNS answer, and for the address that is dialled.
//! - `pool`, `http1`, `http2`: connections kept between exchanges.
//! - [`Resolve`] ([`resolve`]), [`Dial`] ([`connect`]), `tls`, `open`: how a fresh connection is
//!   made. Resolver and dialer are traits, so that tests need no network.
//! - [`Egress::exchange`] ([`exchange`]): one request, one response, one deadline, a capped body
//!   (`body`). [`Egress::stream`] ([`stream`]) reads the body piece by piece instead.
//!
//! Deliberately absent: redirects, proxies from the environment, decompression, cookies,
//! authentication, retries beyond the one for a dead kept-alive connection, and any knowledge of
//! events, webhooks or schedules. What a status means is the caller's business.
//!
//! Durations are measured and timeouts run on tokio's clock; the wall clock is read only by the
//! certificate check inside rustls.

mod body;
pub mod connect;
mod error;
pub mod exchange;
mod http1;
mod http2;
mod open;
pub mod policy;
mod pool;
pub mod resolve;
pub mod stream;
pub mod target;
mod tls;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

pub use connect::{Dial, SystemDialer};
pub use error::{ErrorClass, ExchangeError};
pub use exchange::{Exchange, Outgoing};
/// A network in CIDR form, as [`AddressPolicy::allow`] takes it.
pub use ipnet::IpNet;
pub use policy::{AddressPolicy, Blocked};
pub use resolve::{BoxFuture, CachedResolver, Resolve, SystemResolver};
pub use stream::Streaming;
pub use target::{Scheme, Target, TargetError};

/// How an [`Egress`] behaves. `Default` is what a server uses.
#[derive(Clone)]
pub struct EgressConfig {
    /// Which addresses may be called. Default: public ones only.
    pub policy: AddressPolicy,
    /// Names to addresses. Default: the system's resolver behind a short cache.
    pub resolver: Arc<dyn Resolve>,
    /// Addresses to sockets. Default: the operating system.
    pub dialer: Arc<dyn Dial>,
    /// Root certificates trusted beside the system's; see [`EgressConfig::trust_pem`].
    pub extra_roots: Vec<CertificateDer<'static>>,
    /// Limit for resolving a name, within the exchange's own. Default: 5 s.
    pub resolve_timeout: Duration,
    /// Limit for opening a connection to any of a host's addresses. Default: 5 s.
    pub connect_timeout: Duration,
    /// Idle connections kept per scheme, host and port. Default: 1,000, a webhook's highest
    /// concurrency: a connection that is not kept is opened anew for each exchange.
    pub idle_per_host_max: usize,
    /// Idle connections kept in all. Default: 2,048, the pipeline's attempts in flight.
    pub idle_max: usize,
    /// How long a connection is kept idle. Default: 50 s, below the 60 s after which many
    /// load balancers close theirs.
    pub idle_timeout: Duration,
    /// How old a connection may become, used or not, so that changes in DNS are followed.
    /// Default: 5 min.
    pub connection_age_max: Duration,
}

impl Default for EgressConfig {
    fn default() -> Self {
        Self {
            policy: AddressPolicy::public_only(),
            resolver: Arc::new(CachedResolver::new(SystemResolver::default())),
            dialer: Arc::new(SystemDialer),
            extra_roots: Vec::new(),
            resolve_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            idle_per_host_max: 1_000,
            idle_max: 2_048,
            idle_timeout: Duration::from_secs(50),
            connection_age_max: Duration::from_mins(5),
        }
    }
}

/// A PEM file of root certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// Not PEM.
    #[error("not a PEM file of certificates: {0}")]
    Pem(rustls_pki_types::pem::Error),
    /// No certificate in it.
    #[error("no certificate found")]
    Empty,
}

impl EgressConfig {
    /// Trusts the certificates of a PEM file beside the system's.
    ///
    /// # Errors
    /// [`RootsError`] if the text is not PEM or holds no certificate.
    pub fn trust_pem(&mut self, pem: &[u8]) -> Result<(), RootsError> {
        let before = self.extra_roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            self.extra_roots.push(certificate.map_err(RootsError::Pem)?);
        }
        if self.extra_roots.len() == before {
            return Err(RootsError::Empty);
        }
        Ok(())
    }
}

/// The way out. Cheap to clone; clones share the policy and the connections.
#[derive(Clone)]
pub struct Egress {
    pub(crate) parts: Arc<Parts>,
}

pub(crate) struct Parts {
    pub(crate) policy: AddressPolicy,
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) dialer: Arc<dyn Dial>,
    pub(crate) tls: tls::Tls,
    pub(crate) pool: Arc<pool::Pool>,
    pub(crate) resolve_timeout: Duration,
    pub(crate) connect_timeout: Duration,
}

impl Egress {
    /// Reads no file and opens nothing: root certificates are loaded by the first `https`
    /// exchange. Exchanges must run on the runtime that polled the connections before.
    pub fn new(config: EgressConfig) -> Self {
        Self {
            parts: Arc::new(Parts {
                policy: config.policy,
                resolver: config.resolver,
                dialer: config.dialer,
                tls: tls::Tls::new(config.extra_roots),
                pool: pool::Pool::new(pool::Limits {
                    idle_per_host: config.idle_per_host_max,
                    idle: config.idle_max,
                    idle_time: config.idle_timeout,
                    age: config.connection_age_max,
                }),
                resolve_timeout: config.resolve_timeout,
                connect_timeout: config.connect_timeout,
            }),
        }
    }

    /// Which addresses may be called: what [`Target::parse`] should be given.
    pub fn policy(&self) -> &AddressPolicy {
        &self.parts.policy
    }
}

impl Default for Egress {
    fn default() -> Self {
        Self::new(EgressConfig::default())
    }
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Egress")
            .field("policy", &self.parts.policy)
            .finish_non_exhaustive()
    }
}
