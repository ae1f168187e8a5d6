//! `--offline`: connections to this machine and to allowed networks only.
//!
//! The address policy says what *may* be called and is asked first; this dialer then refuses
//! whatever would leave the machine. A refusal is a failed connection, so deliveries wait and are
//! tried again, and nothing is lost when the server is started online. Names are still resolved.

use std::{io, net::SocketAddr};

use egress::{BoxFuture, Dial, IpNet, SystemDialer};
use tokio::net::TcpStream;

/// Dials loopback and allowed networks only.
pub(crate) struct OfflineDialer {
    allowed: Vec<IpNet>,
}

impl OfflineDialer {
    pub(crate) fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed }
    }

    fn may_dial(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        ip.is_loopback() || self.allowed.iter().any(|network| network.contains(&ip))
    }
}

impl Dial for OfflineDialer {
    fn dial(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        if self.may_dial(address) {
            return SystemDialer.dial(address);
        }
        let refused = io::Error::new(
            io::ErrorKind::NetworkUnreachable,
            "the server was started with --offline",
        );
        Box::pin(std::future::ready(Err(refused)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_this_machine_and_allowed_networks_are_dialled() {
        let dialer = OfflineDialer::new(vec!["10.1.0.0/16".parse().unwrap()]);
        for (address, allowed) in [
            ("127.0.0.1:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("10.1.2.3:1", true),
            ("10.2.2.3:1", false),
            ("192.0.2.1:1", false),
            ("[2001:db8::1]:1", false),
        ] {
            assert_eq!(
                dialer.may_dial(address.parse().unwrap()),
                allowed,
                "{address}"
            );
        }
        let refused = dialer
            .dial("192.0.2.1:80".parse().unwrap())
            .await
            .unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::NetworkUnreachable);
    }
}
