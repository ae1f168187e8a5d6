//! Which addresses and names may be called.
//!
//! A webhook's URL is typed by somebody, and the process that calls it sits inside a network that
//! somebody may not reach. So everything that is not a public unicast address is refused unless
//! the operator has allowed it. The same [`AddressPolicy`] is asked three times on the way out:
//! when the URL is saved ([`crate::Target::parse`]), for *every* address of a DNS answer, and for
//! the one address that is dialled.
//!
//! The ranges are those of IANA's IPv4 and IPv6 Special-Purpose Address Registries, written out
//! rather than taken from `is_global`, so that a toolchain update cannot change what is refused.
//! For IPv6 the rule is turned around: only `2000::/3` is public, minus the ranges listed.
//!
//! This module does no I/O and resolves nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Why the policy refuses an address or a name. The text is meant for the webhook's owner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Blocked {
    /// The address lies in a range that is not public.
    #[error("{ip} is not a public address ({range})")]
    Address {
        /// The refused address.
        ip: IpAddr,
        /// What the range is for, with its prefix.
        range: &'static str,
    },
    /// An IPv6 form that stands for an IPv4 address. Such forms reach hosts that a check of the
    /// outer address would miss, and no public receiver needs them.
    #[error("{ip} is {form} for {inner}, a form that is refused")]
    Embedded {
        /// The refused address.
        ip: Ipv6Addr,
        /// The kind of transition address it is.
        form: &'static str,
        /// The IPv4 address it stands for.
        inner: Ipv4Addr,
    },
    /// The name is special: it never means a public host.
    #[error("{host:?} is not a public host name ({reason})")]
    Name {
        /// The refused name, in lower case.
        host: String,
        /// What the name is for.
        reason: &'static str,
    },
}

/// Which addresses may be called.
///
/// Immutable once an [`crate::Egress`] has it: a changed policy means a new `Egress` with an empty
/// connection pool, so no connection opened under the old policy is used under the new one.
#[derive(Debug, Clone, Default)]
pub struct AddressPolicy {
    anything: bool,
    loopback: bool,
    networks: Vec<IpNet>,
}

impl AddressPolicy {
    /// Public unicast addresses only: the policy of a server that others can reach.
    pub fn public_only() -> Self {
        Self::default()
    }

    /// No restriction at all: for the command line's own requests, whose URL the user typed.
    pub fn anything() -> Self {
        Self {
            anything: true,
            ..Self::default()
        }
    }

    /// Also allows `127.0.0.0/8`, `::1` and the names that mean them (local mode).
    #[must_use]
    pub fn allow_loopback(mut self, allowed: bool) -> Self {
        self.loopback = allowed;
        self
    }

    /// Also allows one network, for example `10.0.0.0/8`.
    ///
    /// Names of private networks (one label, `.internal`, `.lan`, …) are then no longer refused
    /// by name: what they resolve to decides. An allowed network of IPv6 forms that stand for
    /// IPv4 addresses (`64:ff9b::/96` on a host behind NAT64) still has the inner address checked.
    #[must_use]
    pub fn allow(mut self, network: IpNet) -> Self {
        self.networks.push(network.trunc());
        self
    }

    /// Checks one address.
    ///
    /// # Errors
    /// [`Blocked`] with the range the address lies in.
    pub fn check_ip(&self, ip: IpAddr) -> Result<(), Blocked> {
        if self.anything {
            return Ok(());
        }
        if let IpAddr::V6(v6) = ip
            && let Some((form, inner)) = embedded_v4(v6)
        {
            if !self.allows(ip) {
                return Err(Blocked::Embedded {
                    ip: v6,
                    form,
                    inner,
                });
            }
            return self.check_ip(IpAddr::V4(inner));
        }
        if self.allows(ip) || (self.loopback && ip.is_loopback()) {
            return Ok(());
        }
        match special_range(ip) {
            Some(range) => Err(Blocked::Address { ip, range }),
            None => Ok(()),
        }
    }

    /// Checks a host name (not an address) before any DNS: names that never mean a public host.
    ///
    /// Upper case and one trailing dot make no difference. Passing says nothing about the
    /// addresses the name resolves to.
    ///
    /// # Errors
    /// [`Blocked::Name`] with what the name is for.
    pub fn check_host(&self, host: &str) -> Result<(), Blocked> {
        if self.anything {
            return Ok(());
        }
        let lower = host.to_ascii_lowercase();
        let name = lower.strip_suffix('.').unwrap_or(&lower);
        let local_is_allowed = !self.networks.is_empty();
        let reason = if is_metadata_name(name) {
            Some("a cloud's metadata service")
        } else if under(name, "onion") {
            Some("Tor names must never reach DNS, RFC 7686")
        } else if is_loopback_name(name) {
            (!self.loopback && !local_is_allowed).then_some("this host itself, RFC 6761")
        } else if local_is_allowed {
            None
        } else if !name.contains('.') {
            Some("a single label is a name of the local network")
        } else {
            PRIVATE_SUFFIXES
                .iter()
                .any(|suffix| under(name, suffix))
                .then_some("a name of the local network")
        };
        match reason {
            Some(reason) => Err(Blocked::Name {
                host: name.to_owned(),
                reason,
            }),
            None => Ok(()),
        }
    }

    fn allows(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&ip))
    }
}

/// Suffixes that resolve inside a private network, if at all.
const PRIVATE_SUFFIXES: &[&str] = &[
    "local",       // mDNS, RFC 6762; Kubernetes' cluster.local
    "internal",    // reserved by ICANN for private use; docker.internal, GCP, EC2
    "home.arpa",   // RFC 8375
    "localdomain", // resolvers' default search domain
    "lan",
    "home",
    "corp",
    "intranet",
    "private",
    "svc", // Kubernetes, through its search domains
];

/// Names of metadata services that hand out a machine's credentials. Refused even where private
/// networks are allowed: nobody's webhook lives there.
fn is_metadata_name(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "metadata",
        "metadata.google.internal",
        "metadata.goog",
        "instance-data",
        "instance-data.ec2.internal",
    ];
    NAMES.contains(&name)
}

/// RFC 6761 and the names that Linux distributions put in the hosts file.
fn is_loopback_name(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "loopback",
        "localhost4",
        "localhost6",
        "ip6-localhost",
        "ip6-loopback",
        "localhost.localdomain",
        "localhost4.localdomain4",
        "localhost6.localdomain6",
    ];
    under(name, "localhost") || NAMES.contains(&name)
}

/// Whether `name` is `suffix` or ends in `.suffix`.
fn under(name: &str, suffix: &str) -> bool {
    name.strip_suffix(suffix)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// What an address is for if it is not public.
fn special_range(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(v4) => V4_SPECIAL
            .iter()
            .find(|(network, _)| network.contains(&v4))
            .map(|(_, range)| *range),
        IpAddr::V6(v6) => V6_SPECIAL
            .iter()
            .find(|(network, _)| network.contains(&v6))
            .map(|(_, range)| *range)
            .or_else(|| {
                (!V6_UNICAST.contains(&v6)).then_some("outside 2000::/3, not global unicast")
            }),
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

/// IANA IPv4 Special-Purpose Address Registry, without the few entries that are globally
/// reachable, plus multicast and one address that is special by a cloud's practice.
const V4_SPECIAL: &[(Ipv4Net, &str)] = &[
    (v4(0, 0, 0, 0, 8), "this network, 0.0.0.0/8"),
    (v4(10, 0, 0, 0, 8), "private network, 10.0.0.0/8"),
    (v4(100, 64, 0, 0, 10), "carrier-grade NAT, 100.64.0.0/10"),
    (v4(127, 0, 0, 0, 8), "loopback, 127.0.0.0/8"),
    (
        v4(168, 63, 129, 16, 32),
        "Azure's platform service, 168.63.129.16",
    ),
    (
        v4(169, 254, 0, 0, 16),
        "link-local and cloud metadata, 169.254.0.0/16",
    ),
    (v4(172, 16, 0, 0, 12), "private network, 172.16.0.0/12"),
    (v4(192, 0, 0, 0, 24), "protocol assignments, 192.0.0.0/24"),
    (v4(192, 0, 2, 0, 24), "documentation, 192.0.2.0/24"),
    (v4(192, 88, 99, 0, 24), "6to4 relays, 192.88.99.0/24"),
    (v4(192, 168, 0, 0, 16), "private network, 192.168.0.0/16"),
    (v4(198, 18, 0, 0, 15), "benchmarking, 198.18.0.0/15"),
    (v4(198, 51, 100, 0, 24), "documentation, 198.51.100.0/24"),
    (v4(203, 0, 113, 0, 24), "documentation, 203.0.113.0/24"),
    (v4(224, 0, 0, 0, 4), "multicast, 224.0.0.0/4"),
    (v4(240, 0, 0, 0, 4), "reserved and broadcast, 240.0.0.0/4"),
];

const fn v6(segments: [u16; 8], prefix: u8) -> Ipv6Net {
    let mut bits: u128 = 0;
    let mut next = 0;
    while next < segments.len() {
        bits = bits << 16 | segments[next] as u128;
        next += 1;
    }
    Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), prefix)
}

/// The only part of IPv6 from which public unicast addresses have been given out.
const V6_UNICAST: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// IANA IPv6 Special-Purpose Address Registry: the entries inside `2000::/3`, and those outside it
/// that deserve a better reason than "not global unicast".
const V6_SPECIAL: &[(Ipv6Net, &str)] = &[
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "unspecified, ::"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "loopback, ::1"),
    (
        v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64),
        "discard only, 100::/64",
    ),
    (
        v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
        "protocol assignments, 2001::/23",
    ),
    (
        v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
        "documentation, 2001:db8::/32",
    ),
    (
        v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
        "documentation, 3fff::/20",
    ),
    (
        v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16),
        "segment routing, 5f00::/16",
    ),
    (
        v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),
        "unique local, fc00::/7",
    ),
    (
        v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
        "link-local, fe80::/10",
    ),
    (
        v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10),
        "site-local, fec0::/10",
    ),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast, ff00::/8"),
];

/// The IPv4 address that an IPv6 address stands for, with the name of the form.
///
/// RFC 4291 §2.5.5 (compatible, mapped), RFC 2765 (translated), RFC 6052 and RFC 8215 (NAT64),
/// RFC 3056 (6to4), RFC 4380 (Teredo: the client's address, inverted, is the last 32 bits).
fn embedded_v4(ip: Ipv6Addr) -> Option<(&'static str, Ipv4Addr)> {
    let s = ip.segments();
    let from = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    let last = from(s[6], s[7]);
    match s {
        // :: and ::1 are addresses of their own.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0, _, _] => Some(("IPv4-compatible, ::/96,", last)),
        [0, 0, 0, 0, 0, 0xffff, _, _] => Some(("IPv4-mapped, ::ffff:0:0/96,", last)),
        [0, 0, 0, 0, 0xffff, 0, _, _] => Some(("IPv4-translated, ::ffff:0:0:0/96,", last)),
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] => Some(("NAT64, 64:ff9b::/96,", last)),
        [0x64, 0xff9b, 1, ..] => Some(("local NAT64, 64:ff9b:1::/48,", last)),
        [0x2001, 0, ..] => Some(("Teredo, 2001::/32,", from(!s[6], !s[7]))),
        [0x2002, high, low, ..] => Some(("6to4, 2002::/16,", from(high, low))),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn public_only_refuses_the_edges_of_each_range_and_nothing_beside_them() {
        let policy = AddressPolicy::public_only();
        for (network, range) in V4_SPECIAL {
            let first = u32::from(network.network());
            let last = u32::from(network.broadcast());
            for edge in [first, last] {
                let edge = IpAddr::from(Ipv4Addr::from(edge));
                assert_eq!(
                    policy.check_ip(edge),
                    Err(Blocked::Address { ip: edge, range })
                );
            }
            let outside = [first.checked_sub(1), last.checked_add(1)];
            for beside in outside.into_iter().flatten().map(Ipv4Addr::from) {
                let special = V4_SPECIAL.iter().any(|(other, _)| other.contains(&beside));
                assert_eq!(policy.check_ip(beside.into()).is_err(), special, "{beside}");
            }
        }
    }

    #[test]
    fn forms_that_hide_an_ipv4_address_are_refused() {
        let policy = AddressPolicy::public_only();
        for (text, inner) in [
            ("::ffff:127.0.0.1", "127.0.0.1"),
            ("::ffff:8.8.8.8", "8.8.8.8"),
            ("::10.0.0.1", "10.0.0.1"),
            ("::ffff:0:10.0.0.1", "10.0.0.1"),
            ("64:ff9b::a9fe:a9fe", "169.254.169.254"),
            ("64:ff9b:1:ffff::7f00:1", "127.0.0.1"),
            ("2002:c0a8:101::1", "192.168.1.1"),
            ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "192.0.2.45"),
        ] {
            match policy.check_ip(ip(text)) {
                Err(Blocked::Embedded { inner: found, .. }) => {
                    assert_eq!(IpAddr::V4(found), ip(inner), "{text}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_allowed_nat64_prefix_still_has_its_inner_address_checked() {
        let policy = AddressPolicy::public_only().allow(net("64:ff9b::/96"));
        assert_eq!(policy.check_ip(ip("64:ff9b::8.8.8.8")), Ok(()));
        assert!(policy.check_ip(ip("64:ff9b::10.0.0.1")).is_err());
        let both = policy.allow(net("10.0.0.0/8"));
        assert_eq!(both.check_ip(ip("64:ff9b::10.0.0.1")), Ok(()));
    }

    #[test]
    fn allowances_open_what_they_name_and_no_more() {
        let local = AddressPolicy::public_only().allow_loopback(true);
        assert_eq!(local.check_ip(ip("127.9.9.9")), Ok(()));
        assert_eq!(local.check_ip(ip("::1")), Ok(()));
        assert!(local.check_ip(ip("0.0.0.0")).is_err());
        assert!(local.check_ip(ip("::ffff:127.0.0.1")).is_err());
        assert!(local.check_ip(ip("10.0.0.1")).is_err());
        assert_eq!(local.check_host("LOCALHOST."), Ok(()));
        assert!(local.check_host("intranet").is_err());

        let office = AddressPolicy::public_only().allow(net("10.1.0.0/16"));
        assert_eq!(office.check_ip(ip("10.1.2.3")), Ok(()));
        assert!(office.check_ip(ip("10.2.0.1")).is_err());
        assert!(office.check_ip(ip("127.0.0.1")).is_err());
        assert_eq!(office.check_host("n8n"), Ok(()));
        assert!(office.check_host("metadata.google.internal").is_err());
        assert!(office.check_host("x.onion").is_err());

        let cli = AddressPolicy::anything();
        assert_eq!(cli.check_ip(ip("169.254.169.254")), Ok(()));
        assert_eq!(cli.check_host("metadata"), Ok(()));
    }

    #[test]
    fn a_suffix_counts_only_at_a_label_boundary() {
        let policy = AddressPolicy::public_only();
        for public in [
            "atlan.com",
            "mylan.example",
            "notlocalhost.com",
            "local.example.com",
        ] {
            assert_eq!(policy.check_host(public), Ok(()), "{public}");
        }
        for private in [
            "a.lan",
            "a.b.internal.",
            "localhost",
            "x.localhost",
            "nas.home.arpa",
        ] {
            assert!(policy.check_host(private).is_err(), "{private}");
        }
    }

    #[test]
    fn the_reason_names_the_range() {
        let policy = AddressPolicy::public_only();
        assert_eq!(
            policy.check_ip(ip("10.0.0.5")).unwrap_err().to_string(),
            "10.0.0.5 is not a public address (private network, 10.0.0.0/8)"
        );
        assert_eq!(
            policy
                .check_ip(ip("::ffff:10.0.0.5"))
                .unwrap_err()
                .to_string(),
            "::ffff:10.0.0.5 is IPv4-mapped, ::ffff:0:0/96, for 10.0.0.5, a form that is refused"
        );
    }
}
