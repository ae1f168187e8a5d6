//! Keeps web pages out of local mode.
//!
//! In local mode whoever reaches the port is the owner. A page in the same person's browser can
//! reach it too: across origins (CSRF), or after its own name was made to resolve to 127.0.0.1
//! (DNS rebinding). Browsers say where a request is for (`Host`) and where it comes from
//! (`Origin`, `Sec-Fetch-Site`); what is not this server itself is refused, reads included.
//!
//! A tunnel or reverse proxy on this machine makes strangers look local, and many rewrite `Host`.
//! What says that it was forwarded is refused too, unless hosts were named as trusted.

use http::{HeaderMap, Uri, header, uri::Authority};

use crate::problem::{Kind, Problem};

/// What proxies and tunnels add to requests that they pass on.
const FORWARDED: [&str; 7] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "cf-connecting-ip",
];

/// Refuses a request that names another host, or comes from another origin, than this server, or
/// was passed on by a proxy. `trusted` are further host names that mean this server.
///
/// # Errors
/// [`Kind::ForeignOrigin`].
pub fn check(headers: &HeaderMap, uri: &Uri, trusted: &[String]) -> Result<(), Problem> {
    let host = asked_host(headers, uri)
        .ok_or_else(|| refused("the Host header is missing or malformed"))?;
    if !is_ours(host.host(), trusted) {
        return Err(refused("the Host header names another host"));
    }
    for origin in headers.get_all(header::ORIGIN) {
        let same = origin
            .to_str()
            .is_ok_and(|origin| is_same_origin(origin, &host));
        if !same {
            return Err(refused("the Origin header names another origin"));
        }
    }
    if headers
        .get_all("sec-fetch-site")
        .iter()
        .any(|site| site == "cross-site")
    {
        return Err(refused("a page of another site sent it"));
    }
    if trusted.is_empty() && FORWARDED.iter().any(|name| headers.contains_key(*name)) {
        return Err(refused(
            "a proxy passed it on, so it may be a stranger's; make a user (`signpost users add`), or trust the proxy's \
             host name (--trusted-host)",
        ));
    }
    Ok(())
}

/// The refusal of a request that a webhook, a workflow or a model of a Signpost has sent: whoever
/// wrote its URL is not the owner.
pub fn own_request() -> Problem {
    refused(
        "a webhook or a workflow sent it, and those may not act as the owner; give it a key of its own",
    )
}

fn asked_host(headers: &HeaderMap, uri: &Uri) -> Option<Authority> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let authority = match (uri.authority(), hosts.next(), hosts.next()) {
        (_, _, Some(_)) | (None, None, None) => return None,
        (Some(authority), None, None) => authority.clone(),
        (None, Some(host), None) => host.to_str().ok()?.parse().ok()?,
        (Some(authority), Some(host), None) => {
            let named: Authority = host.to_str().ok()?.parse().ok()?;
            (named == *authority).then_some(named)?
        }
    };
    (!authority.as_str().contains('@')).then_some(authority)
}

fn is_ours(host: &str, trusted: &[String]) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    ["localhost", "127.0.0.1", "[::1]"]
        .iter()
        .any(|own| host.eq_ignore_ascii_case(own))
        || trusted.iter().any(|own| host.eq_ignore_ascii_case(own))
}

fn is_same_origin(origin: &str, host: &Authority) -> bool {
    let Some((scheme, rest)) = origin.split_once("://") else {
        return false;
    };
    matches!(scheme, "http" | "https") && rest.parse::<Authority>().is_ok_and(|from| from == *host)
}

fn refused(why: &str) -> Problem {
    Problem::new(
        Kind::ForeignOrigin,
        format!("In local mode only this machine may ask: {why}."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(headers: &[(&'static str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        check(
            &map,
            &Uri::from_static("/api/v1/webhooks"),
            &["signpost.test".to_owned()],
        )
        .is_ok()
    }

    #[test]
    fn this_machine_may_ask_by_any_of_its_names() {
        for host in [
            "localhost",
            "localhost:8000",
            "127.0.0.1:8000",
            "[::1]:8000",
            "LOCALHOST.:80",
            "signpost.test",
        ] {
            assert!(allowed(&[("host", host)]), "{host}");
        }
    }

    #[test]
    fn other_names_and_malformed_ones_are_refused() {
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "a b",
            "",
            "user@localhost",
        ] {
            assert!(!allowed(&[("host", host)]), "{host}");
        }
        assert!(!allowed(&[]), "no host at all");
        assert!(!allowed(&[("host", "localhost"), ("host", "evil.example")]));
    }

    #[test]
    fn what_a_proxy_passed_on_is_refused_unless_one_is_trusted() {
        let uri = Uri::from_static("/api/v1/webhooks");
        for name in FORWARDED {
            let mut headers = HeaderMap::new();
            headers.insert("host", "localhost:8000".parse().unwrap());
            assert!(check(&headers, &uri, &[]).is_ok());
            headers.insert(name, "192.0.2.1".parse().unwrap());
            assert!(check(&headers, &uri, &[]).is_err(), "{name}");
            assert!(check(&headers, &uri, &["signpost.test".to_owned()]).is_ok());
        }
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let host = ("host", "localhost:8000");
        assert!(allowed(&[host, ("origin", "http://localhost:8000")]));
        for origin in [
            "http://localhost:3000",
            "http://evil.example",
            "null",
            "file://",
            "http://localhost:8000.evil.example",
            "localhost:8000",
        ] {
            assert!(!allowed(&[host, ("origin", origin)]), "{origin}");
        }
        assert!(!allowed(&[host, ("sec-fetch-site", "cross-site")]));
        assert!(allowed(&[host, ("sec-fetch-site", "same-origin")]));
        assert!(allowed(&[host, ("sec-fetch-site", "none")]));
    }
}
