//! A URL that may be called, as checked when it is saved.
//!
//! [`Target::parse`] does everything that needs no network: what was typed must be an absolute
//! `http` or `https` URL that every parser reads alike (no control characters, spaces,
//! backslashes, user information), and its host must pass the [`AddressPolicy`]. Odd spellings of
//! addresses (`0x7f.1`, `2130706433`, full-width digits) are undone by the WHATWG parser before
//! the check. It resolves nothing: what a name means is checked at each connection.
//!
//! The parts a request needs (origin-form path, `Host` value, pool key, TLS name) are made once
//! here, so that sending allocates none of them.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderValue, Uri};
use rustls_pki_types::ServerName;
use url::{Host, Position, Url};

use crate::policy::{AddressPolicy, Blocked};

/// Longest URL accepted, in bytes, as typed and as normalised.
pub const URL_BYTES_MAX: usize = 2048;

/// Longest host name of DNS, without a trailing dot (RFC 1035 §2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// Why a URL cannot be a target. The text is meant for whoever typed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Longer than [`URL_BYTES_MAX`].
    #[error("the URL is longer than {URL_BYTES_MAX} bytes")]
    TooLong,
    /// A control character, white space or a backslash, which parsers read differently.
    #[error("the URL holds {0:?}; control characters, spaces and backslashes are refused")]
    Character(char),
    /// Not `http://` or `https://` followed by a host.
    #[error("the URL must begin with http:// or https:// and a host")]
    Scheme,
    /// A user name or password before the host.
    #[error("the URL must not hold a user name or password")]
    UserInfo,
    /// Not a URL.
    #[error("not a valid URL: {0}")]
    Malformed(String),
    /// A host that cannot be a DNS name.
    #[error("not a valid host name: {0}")]
    Host(&'static str),
    /// Port 0, which nobody can listen on.
    #[error("port 0 cannot be called")]
    Port,
    /// A host the address policy refuses.
    #[error(transparent)]
    Blocked(#[from] Blocked),
}

/// `http` or `https`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain TCP, default port 80.
    Http,
    /// TLS, default port 443.
    Https,
}

/// A URL that has passed the check made when it is saved. Cheap to clone.
#[derive(Clone)]
pub struct Target(Arc<Parts>);

struct Parts {
    url: String,
    scheme: Scheme,
    host: TargetHost,
    port: u16,
    /// `host` or `host:port`, the port only where it is not the scheme's own.
    authority: String,
    host_header: HeaderValue,
    /// `/path?query`, as HTTP/1.1 wants it.
    origin_form: Uri,
    /// The whole URL without fragment, as HTTP/2's pseudo-headers are made from.
    absolute_form: Uri,
    /// `scheme://host:port`: requests with the same key may share a connection.
    key: Arc<str>,
    /// What the receiver's certificate must be valid for; `None` for `http`.
    server_name: Option<ServerName<'static>>,
}

/// The host of a target: a name to resolve, or an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TargetHost {
    /// Lower case, possibly with a trailing dot.
    Name(String),
    Address(IpAddr),
}

impl Target {
    /// Checks what was typed and makes a target of it. A fragment is dropped: it is never sent.
    ///
    /// # Errors
    /// [`TargetError`], which says what to change.
    pub fn parse(raw: &str, policy: &AddressPolicy) -> Result<Self, TargetError> {
        check_spelling(raw)?;
        let mut url = Url::parse(raw).map_err(|error| TargetError::Malformed(error.to_string()))?;
        url.set_fragment(None);
        if url.as_str().len() > URL_BYTES_MAX {
            return Err(TargetError::TooLong);
        }
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(TargetError::Scheme),
        };
        let host = match url.host() {
            Some(Host::Ipv4(ip)) => TargetHost::Address(ip.into()),
            Some(Host::Ipv6(ip)) => TargetHost::Address(ip.into()),
            Some(Host::Domain(name)) => {
                check_name(name)?;
                TargetHost::Name(name.to_owned())
            }
            None => return Err(TargetError::Scheme),
        };
        let port = url.port_or_known_default().ok_or(TargetError::Scheme)?;
        if port == 0 {
            return Err(TargetError::Port);
        }
        match &host {
            TargetHost::Address(ip) => policy.check_ip(*ip)?,
            TargetHost::Name(name) => policy.check_host(name)?,
        }
        Self::assemble(&url, scheme, host, port)
    }

    fn assemble(
        url: &Url,
        scheme: Scheme,
        host: TargetHost,
        port: u16,
    ) -> Result<Self, TargetError> {
        fn malformed(error: impl fmt::Display) -> TargetError {
            TargetError::Malformed(error.to_string())
        }
        let authority = url[Position::BeforeHost..Position::AfterPort].to_owned();
        let server_name = match (scheme, &host) {
            (Scheme::Http, _) => None,
            (Scheme::Https, TargetHost::Address(ip)) => Some(ServerName::IpAddress((*ip).into())),
            (Scheme::Https, TargetHost::Name(name)) => {
                // Certificates and SNI know no trailing dot (RFC 6066 §3).
                let name = name.strip_suffix('.').unwrap_or(name).to_owned();
                Some(ServerName::try_from(name).map_err(malformed)?)
            }
        };
        let host_text = url.host_str().unwrap_or_default();
        Ok(Self(Arc::new(Parts {
            url: url.as_str().to_owned(),
            scheme,
            port,
            host_header: HeaderValue::from_str(&authority).map_err(malformed)?,
            origin_form: url[Position::BeforePath..Position::AfterQuery]
                .parse()
                .map_err(malformed)?,
            absolute_form: url.as_str().parse().map_err(malformed)?,
            key: format!("{}://{host_text}:{port}", url.scheme()).into(),
            authority,
            host,
            server_name,
        })))
    }

    /// The normalised URL, without fragment.
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> Scheme {
        self.0.scheme
    }

    /// The host as it stands in the URL: a lower-case name, or an address without brackets.
    pub fn host(&self) -> String {
        match &self.0.host {
            TargetHost::Name(name) => name.clone(),
            TargetHost::Address(ip) => ip.to_string(),
        }
    }

    /// The port, the scheme's own if the URL names none.
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// `host` or `host:port`, as the `Host` header carries it.
    pub fn authority(&self) -> &str {
        &self.0.authority
    }

    /// `/path?query`.
    pub fn path_and_query(&self) -> &str {
        self.0
            .origin_form
            .path_and_query()
            .map_or("/", http::uri::PathAndQuery::as_str)
    }

    /// `scheme://host:port`: what requests must have in common to share a connection.
    pub fn key(&self) -> &Arc<str> {
        &self.0.key
    }

    pub(crate) fn target_host(&self) -> &TargetHost {
        &self.0.host
    }

    pub(crate) fn host_header(&self) -> &HeaderValue {
        &self.0.host_header
    }

    pub(crate) fn origin_form(&self) -> &Uri {
        &self.0.origin_form
    }

    pub(crate) fn absolute_form(&self) -> &Uri {
        &self.0.absolute_form
    }

    pub(crate) fn server_name(&self) -> Option<&ServerName<'static>> {
        self.0.server_name.as_ref()
    }
}

/// Shows scheme, host and port only: paths and queries of webhooks often hold secrets.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Target").field(&self.0.key).finish()
    }
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        self.0.url == other.0.url
    }
}

impl Eq for Target {}

/// Refuses spellings that the WHATWG parser would repair silently and another parser would not.
fn check_spelling(raw: &str) -> Result<(), TargetError> {
    if raw.len() > URL_BYTES_MAX {
        return Err(TargetError::TooLong);
    }
    if let Some(odd) = raw
        .chars()
        .find(|c| c.is_control() || c.is_whitespace() || *c == '\\')
    {
        return Err(TargetError::Character(odd));
    }
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|prefix| {
            let (head, rest) = raw.split_at_checked(prefix.len())?;
            head.eq_ignore_ascii_case(prefix).then_some(rest)
        })
        .ok_or(TargetError::Scheme)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() {
        return Err(TargetError::Scheme);
    }
    if authority.contains('@') {
        return Err(TargetError::UserInfo);
    }
    Ok(())
}

/// Letters, digits, hyphens and underscores in labels of 1 to 63 bytes, 253 in all, and one
/// optional trailing dot. Expects what the URL parser made of it (lower case, punycode).
fn check_name(name: &str) -> Result<(), TargetError> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > HOST_BYTES_MAX {
        return Err(TargetError::Host("longer than 253 bytes"));
    }
    for label in name.split('.') {
        if label.is_empty() {
            return Err(TargetError::Host("an empty label"));
        }
        if label.len() > 63 {
            return Err(TargetError::Host("a label longer than 63 bytes"));
        }
        if !label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        {
            return Err(TargetError::Host(
                "only letters, digits, hyphens and underscores can stand in a label",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use super::*;

    fn parse(raw: &str) -> Result<Target, TargetError> {
        Target::parse(raw, &AddressPolicy::public_only())
    }

    #[test]
    fn the_parts_of_a_target() {
        let target = parse("HTTPS://Hooks.Example.com:8443/a/../b?q={x}&y=ü#frag").unwrap();
        assert_eq!(
            target.url(),
            "https://hooks.example.com:8443/b?q={x}&y=%C3%BC"
        );
        assert_eq!(target.scheme(), Scheme::Https);
        assert_eq!(target.host(), "hooks.example.com");
        assert_eq!(target.port(), 8443);
        assert_eq!(target.authority(), "hooks.example.com:8443");
        assert_eq!(target.path_and_query(), "/b?q={x}&y=%C3%BC");
        assert_eq!(&**target.key(), "https://hooks.example.com:8443");
        assert_eq!(
            format!("{target:?}"),
            "Target(\"https://hooks.example.com:8443\")"
        );
    }

    #[test]
    fn default_ports_and_empty_paths() {
        let target = parse("http://example.com").unwrap();
        assert_eq!(target.port(), 80);
        assert_eq!(target.authority(), "example.com");
        assert_eq!(target.path_and_query(), "/");
        assert_eq!(&**target.key(), "http://example.com:80");
        let v6 = parse("https://[2606:4700:4700::1111]/x").unwrap();
        assert_eq!(v6.authority(), "[2606:4700:4700::1111]");
        assert_eq!(v6.host(), "2606:4700:4700::1111");
        assert_eq!(v6.port(), 443);
    }

    #[test]
    fn a_trailing_dot_is_kept_for_dns_and_dropped_for_tls() {
        let target = parse("https://example.com./").unwrap();
        assert_eq!(target.host(), "example.com.");
        assert_eq!(
            target.server_name(),
            Some(&ServerName::try_from("example.com").unwrap())
        );
    }

    #[test]
    fn each_refusal_names_its_reason() {
        assert_eq!(parse("http://a b.com/"), Err(TargetError::Character(' ')));
        assert_eq!(parse("http:/example.com/"), Err(TargetError::Scheme));
        assert_eq!(parse("http:///example.com/"), Err(TargetError::Scheme));
        assert_eq!(parse("ftp://example.com/"), Err(TargetError::Scheme));
        assert_eq!(parse("http://:@example.com/"), Err(TargetError::UserInfo));
        assert_eq!(parse("http://example.com:0/"), Err(TargetError::Port));
        assert_eq!(
            parse(&format!("http://example.com/{}", "a".repeat(URL_BYTES_MAX))),
            Err(TargetError::TooLong)
        );
        assert!(matches!(
            parse("http://a..example.com/"),
            Err(TargetError::Host("an empty label"))
        ));
        assert!(matches!(
            parse("http://2130706433/"),
            Err(TargetError::Blocked(Blocked::Address { .. }))
        ));
        assert!(matches!(
            parse("http://localhost:8080/"),
            Err(TargetError::Blocked(Blocked::Name { .. }))
        ));
        assert!(matches!(
            parse("http://example.com:99999/"),
            Err(TargetError::Malformed(_))
        ));
    }

    #[test]
    fn an_at_sign_in_the_path_is_fine() {
        assert!(parse("https://example.com/@user/hook?x=a@b").is_ok());
    }
}
