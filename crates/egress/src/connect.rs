//! From addresses to a connected socket.
//!
//! The policy has passed every address of the answer already; it is asked once more for each
//! address as it is dialled, so that no path into this module can skip it. Addresses are tried in
//! the resolver's order, families alternating, a new one started when the one before has been
//! silent for 250 ms (RFC 8305); the first to connect wins and the others are dropped.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::net::TcpStream;

use crate::error::{ErrorClass, Failure};
use crate::policy::AddressPolicy;
use crate::resolve::BoxFuture;

/// Opens TCP connections: the system's in the product; tests put scripted receivers behind public
/// addresses with it.
pub trait Dial: Send + Sync + 'static {
    /// Connects to `address`, which the policy has passed.
    ///
    /// # Errors
    /// Whatever the connection failed with.
    fn dial(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>>;
}

/// Connects through the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemDialer;

impl Dial for SystemDialer {
    fn dial(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        Box::pin(TcpStream::connect(address))
    }
}

/// How long an address may be silent before the next is tried beside it (RFC 8305 §5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// How many addresses of one answer are tried.
const ADDRESSES_MAX: usize = 8;

/// Connects to the first of `addresses` that answers within `limit`.
pub(crate) async fn connect(
    dialer: &dyn Dial,
    policy: &AddressPolicy,
    addresses: &[SocketAddr],
    limit: Duration,
) -> Result<(TcpStream, SocketAddr), Failure> {
    let raced = tokio::time::timeout(limit, race(dialer, policy, addresses)).await;
    let (stream, peer) = raced.unwrap_or_else(|_| {
        Err(Failure::new(
            ErrorClass::Connect,
            format!("no answer to the connection attempt within {limit:?}"),
        ))
    })?;
    // Requests are written whole: waiting to fill a segment only adds delay. A socket that
    // refuses the option still works.
    let _ = stream.set_nodelay(true);
    Ok((stream, peer))
}

async fn race(
    dialer: &dyn Dial,
    policy: &AddressPolicy,
    addresses: &[SocketAddr],
) -> Result<(TcpStream, SocketAddr), Failure> {
    let mut waiting = alternate_families(addresses).into_iter();
    let mut running = FuturesUnordered::new();
    let mut last_failure = Failure::new(ErrorClass::Dns, "the name has no address");
    loop {
        let more = waiting.len() > 0;
        if let Some(address) = waiting.next() {
            running.push(async move { (address, dial(dialer, policy, address).await) });
        }
        let patience = if waiting.len() > 0 {
            NEXT_ADDRESS_AFTER
        } else {
            Duration::MAX
        };
        match tokio::time::timeout(patience, running.next()).await {
            Ok(Some((address, Ok(stream)))) => return Ok((stream, address)),
            Ok(Some((_, Err(failure)))) => last_failure = failure,
            Ok(None) if !more => return Err(last_failure),
            Ok(None) | Err(_) => {}
        }
    }
}

async fn dial(
    dialer: &dyn Dial,
    policy: &AddressPolicy,
    address: SocketAddr,
) -> Result<TcpStream, Failure> {
    policy.check_ip(address.ip())?;
    dialer.dial(address).await.map_err(|error| {
        Failure::new(
            ErrorClass::Connect,
            format!("no connection to {address}: {error}"),
        )
    })
}

/// The first eight addresses, IPv6 and IPv4 in turn, beginning with the family of the first.
fn alternate_families(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (one, other): (Vec<_>, Vec<_>) = addresses
        .iter()
        .copied()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut turns = Vec::with_capacity(addresses.len());
    loop {
        let pair = [one.next(), other.next()];
        if pair == [None, None] {
            turns.truncate(ADDRESSES_MAX);
            return turns;
        }
        turns.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    const LIMIT: Duration = Duration::from_secs(5);

    /// Connects port 1 to a real listener, never answers port 2, refuses port 3; keeps a list.
    struct Scripted {
        listener: SocketAddr,
        dialled: Mutex<Vec<SocketAddr>>,
    }

    impl Scripted {
        async fn new() -> (Self, tokio::net::TcpListener) {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let dialer = Self {
                listener: listener.local_addr().unwrap(),
                dialled: Mutex::default(),
            };
            (dialer, listener)
        }
    }

    impl Dial for Scripted {
        fn dial(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
            self.dialled.lock().push(address);
            match address.port() {
                1 => Box::pin(TcpStream::connect(self.listener)),
                2 => Box::pin(std::future::pending()),
                _ => Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) }),
            }
        }
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_does_not_keep_the_next_one_waiting() {
        let (dialer, _listener) = Scripted::new().await;
        let policy = AddressPolicy::public_only();
        let addresses = [at("[2606::1]:2"), at("[2606::2]:3"), at("8.8.8.8:1")];
        let (_, peer) = connect(&dialer, &policy, &addresses, LIMIT).await.unwrap();
        assert_eq!(peer, at("8.8.8.8:1"));
        assert_eq!(*dialer.dialled.lock(), [at("[2606::1]:2"), at("8.8.8.8:1")]);
    }

    #[tokio::test(start_paused = true)]
    async fn all_refused_and_all_silent_are_connect_failures() {
        let (dialer, _listener) = Scripted::new().await;
        let policy = AddressPolicy::public_only();
        let refused = [at("8.8.8.8:3"), at("8.8.4.4:3")];
        let failure = connect(&dialer, &policy, &refused, LIMIT)
            .await
            .unwrap_err();
        assert_eq!(failure.class, ErrorClass::Connect);
        assert!(failure.message.contains("8.8.4.4:3"), "{}", failure.message);

        let failure = connect(&dialer, &policy, &[at("8.8.8.8:2")], LIMIT)
            .await
            .unwrap_err();
        assert_eq!(failure.class, ErrorClass::Connect);
        assert!(failure.message.contains("within 5s"), "{}", failure.message);

        let failure = connect(&dialer, &policy, &[], LIMIT).await.unwrap_err();
        assert_eq!(failure.class, ErrorClass::Dns);
    }

    #[tokio::test]
    async fn a_refused_address_is_never_dialled() {
        let (dialer, _listener) = Scripted::new().await;
        let policy = AddressPolicy::public_only();
        let failure = connect(&dialer, &policy, &[at("127.0.0.1:1")], LIMIT)
            .await
            .unwrap_err();
        assert_eq!(failure.class, ErrorClass::Blocked);
        assert!(dialer.dialled.lock().is_empty());
    }

    #[test]
    fn families_alternate_and_the_count_is_bounded() {
        let turns = alternate_families(&[at("1.1.1.1:1"), at("1.1.1.2:1"), at("[2606::1]:1")]);
        assert_eq!(turns, [at("1.1.1.1:1"), at("[2606::1]:1"), at("1.1.1.2:1")]);
        let many = vec![at("1.1.1.1:1"); 50];
        assert_eq!(alternate_families(&many).len(), ADDRESSES_MAX);
    }
}
