//! A fresh connection: resolve → address policy → connect → TLS → HTTP.

use std::net::SocketAddr;

use crate::Egress;
use crate::connect;
use crate::error::{ErrorClass, Failure};
use crate::exchange::{Phase, Progress};
use crate::http1::Http1;
use crate::http2::Http2;
use crate::pool::Connection;
use crate::target::{Target, TargetHost};
use crate::wire::{Facts, Wire};

impl Egress {
    /// Opens a connection to the host of `target`. An HTTP/2 connection is shared through the
    /// pool at once; an HTTP/1.1 connection gets there after its first exchange.
    pub(crate) async fn open(
        &self,
        target: &Target,
        progress: &mut Progress,
    ) -> Result<Connection, Failure> {
        let parts = &self.parts;
        progress.phase = Phase::Resolving;
        let addresses = self.addresses(target).await?;
        progress.phase = Phase::Connecting;
        let (tcp, peer) = connect::connect(
            &*parts.dialer,
            &parts.policy,
            &addresses,
            parts.connect_timeout,
        )
        .await?;
        progress.peer = Some(peer);
        let mut facts = Facts {
            peer,
            tls_not_after: None,
        };
        let Some(name) = target.server_name() else {
            return Ok(Connection::Http1(
                Http1::open(Wire::plain(tcp), facts).await?,
            ));
        };
        progress.phase = Phase::Securing;
        let secured = parts.tls.handshake(name.clone(), tcp).await?;
        facts.tls_not_after = secured.not_after;
        let wire = Wire::tls(secured.stream);
        if secured.http2 {
            let fresh = Http2::open(wire, facts).await?;
            Ok(Connection::Http2(parts.pool.share(target.key(), fresh)))
        } else {
            Ok(Connection::Http1(Http1::open(wire, facts).await?))
        }
    }

    /// The addresses of the target's host, every one of which the policy has passed. One refused
    /// address refuses the answer: which of several is dialled must not be left to chance.
    async fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, Failure> {
        let parts = &self.parts;
        let name = match target.target_host() {
            TargetHost::Address(ip) => {
                parts.policy.check_ip(*ip)?;
                return Ok(vec![SocketAddr::new(*ip, target.port())]);
            }
            TargetHost::Name(name) => name,
        };
        // Again, because the target may have been made under another policy.
        parts.policy.check_host(name)?;
        let lookup = parts.resolver.resolve(name, target.port());
        let limit = parts.resolve_timeout;
        let found = tokio::time::timeout(limit, lookup)
            .await
            .map_err(|_| {
                Failure::new(
                    ErrorClass::Dns,
                    format!("{name} could not be resolved within {limit:?}"),
                )
            })?
            .map_err(|error| {
                Failure::new(
                    ErrorClass::Dns,
                    format!("{name} could not be resolved: {error}"),
                )
            })?;
        if found.is_empty() {
            return Err(Failure::new(
                ErrorClass::Dns,
                format!("{name} has no address"),
            ));
        }
        for address in &found {
            parts.policy.check_ip(address.ip()).map_err(|blocked| {
                Failure::new(
                    ErrorClass::Blocked,
                    format!("{name} resolves to an address that is refused: {blocked}"),
                )
            })?;
        }
        Ok(found)
    }
}
