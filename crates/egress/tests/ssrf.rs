//! Every case of the SSRF corpus, from the URL as typed to the address that is dialled.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod receivers;

use std::net::IpAddr;
use std::sync::Arc;

use egress::{AddressPolicy, Blocked, Egress, EgressConfig, ErrorClass, Target, TargetError};
use receivers::{Answer, Answers, Dialled, LONG, Receiver, local, post, send};

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpora/ssrf");

fn corpus(file: &str) -> Option<String> {
    let path = format!("{CORPUS}/{file}");
    let text = std::fs::read_to_string(&path).ok();
    if text.is_none() {
        eprintln!("skipped: {file} is not there");
    }
    text
}

struct Case<'a> {
    id: &'a str,
    allowed: bool,
    stage: &'a str,
    url: String,
    /// Successive look-ups, each with all its addresses.
    lookups: Vec<Vec<IpAddr>>,
}

fn cases(text: &str) -> Vec<Case<'_>> {
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    rows.map(|line| {
        let fields: Vec<_> = line.split('\t').collect();
        let [
            id,
            verdict,
            _level,
            stage,
            _category,
            url,
            resolves_to,
            _reason,
        ] = fields[..]
        else {
            panic!("not eight fields: {line}");
        };
        let addresses = |set: &str| {
            let set = set.split(',').filter(|address| *address != "-");
            set.map(|address| address.parse().unwrap()).collect()
        };
        Case {
            id,
            allowed: verdict == "allow",
            stage,
            url: serde_json::from_str(url).unwrap(),
            lookups: resolves_to.split('|').map(addresses).collect(),
        }
    })
    .collect()
}

#[tokio::test]
async fn every_target_of_the_corpus_is_judged_as_expected() {
    let Some(text) = corpus("targets.tsv") else {
        return;
    };
    let cases = cases(&text);
    assert!(cases.len() > 100);
    for case in cases {
        let parsed = Target::parse(&case.url, &AddressPolicy::public_only());
        let label = format!("{} {:?} gave {parsed:?}", case.id, case.url);
        match (case.stage, case.allowed) {
            ("parse", false) => assert!(parsed.is_err(), "{label}"),
            ("literal", false) => {
                let by_address = matches!(
                    parsed,
                    Err(TargetError::Blocked(
                        Blocked::Address { .. } | Blocked::Embedded { .. }
                    ))
                );
                assert!(by_address, "{label}");
                assert_refused_unparsed(&case).await;
            }
            ("name", false) => {
                let by_name = matches!(parsed, Err(TargetError::Blocked(Blocked::Name { .. })));
                assert!(by_name, "{label}");
                assert_refused_unparsed(&case).await;
            }
            ("literal", true) => {
                let target = parsed.expect(&label);
                let literal: IpAddr = target.host().parse().unwrap();
                assert_eq!(dialled(target, &[]).await, [literal], "{label}");
            }
            ("dns", allowed) => assert_by_answer(&case, parsed.expect(&label), allowed).await,
            _ => panic!("unknown stage: {label}"),
        }
    }
}

/// A target made under a looser policy is refused all the same when it is to be called.
async fn assert_refused_unparsed(case: &Case<'_>) {
    let target = Target::parse(&case.url, &AddressPolicy::anything()).unwrap();
    let dialer = Arc::new(Dialled::default());
    let egress = Egress::new(EgressConfig {
        resolver: Answers::here(),
        dialer: dialer.clone(),
        ..EgressConfig::default()
    });
    let outgoing = egress::Outgoing::new(http::Method::POST, target);
    let error = egress.exchange(outgoing).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Blocked, "{}: {error}", case.id);
    assert!(dialer.addresses.lock().is_empty(), "{}", case.id);
}

/// One exchange per look-up: what is allowed is dialled, and of what is denied nothing private
/// ever is.
async fn assert_by_answer(case: &Case<'_>, target: Target, allowed: bool) {
    if allowed {
        assert_eq!(dialled(target, &case.lookups).await, case.lookups[0]);
        return;
    }
    let policy = AddressPolicy::public_only();
    let all = dialled(target, &case.lookups).await;
    for address in &all {
        assert_eq!(policy.check_ip(*address), Ok(()), "{}", case.id);
    }
    let good =
        |set: &Vec<IpAddr>| !set.is_empty() && set.iter().all(|ip| policy.check_ip(*ip).is_ok());
    let expected: Vec<_> = case
        .lookups
        .iter()
        .filter(|set| good(set))
        .flatten()
        .collect();
    assert_eq!(all.iter().collect::<Vec<_>>(), expected, "{}", case.id);
    assert!(expected.len() < case.lookups.iter().flatten().count().max(1));
}

/// The addresses dialled by one exchange per look-up. The dialer refuses every connection.
async fn dialled(target: Target, lookups: &[Vec<IpAddr>]) -> Vec<IpAddr> {
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let dialer = Arc::new(Dialled {
        to: Some(nobody),
        ..Dialled::default()
    });
    let egress = Egress::new(EgressConfig {
        resolver: Answers::new(lookups.iter().cloned().map(Answer::Addresses)),
        dialer: dialer.clone(),
        ..EgressConfig::default()
    });
    for _ in 0..lookups.len().max(1) {
        let outgoing = egress::Outgoing::new(http::Method::POST, target.clone());
        let error = egress.exchange(outgoing).await.unwrap_err();
        let expected = [ErrorClass::Connect, ErrorClass::Blocked, ErrorClass::Dns];
        assert!(expected.contains(&error.class), "{error:?}");
    }
    dialer
        .addresses
        .lock()
        .iter()
        .map(std::net::SocketAddr::ip)
        .collect()
}

#[tokio::test]
async fn no_redirect_of_the_corpus_is_followed() {
    let Some(text) = corpus("redirects.tsv") else {
        return;
    };
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let id = line.split('\t').next().unwrap();
        let (answer, status): (fn(&str) -> String, u16) = match id {
            "r13" => (|own| redirect("307 Temporary Redirect", own), 307),
            "r14" => (
                |_| "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n".into(),
                302,
            ),
            "r16" => (
                |_| {
                    "HTTP/1.1 200 OK\r\nRefresh: 0;url=http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n"
                        .into()
                },
                200,
            ),
            "r20" => (
                |_| {
                    let early = "HTTP/1.1 103 Early Hints\r\nLink: <http://127.0.0.1/>;rel=preload";
                    format!("{early}\r\n\r\n{}", receivers::OK)
                },
                200,
            ),
            other => panic!("the corpus has a redirect without a script: {other}"),
        };
        let receiver = Receiver::start(move |mut connection| async move {
            while let Some(request) = connection.request().await {
                let own = format!("http://{}/", request.header("host").unwrap());
                connection.write(answer(&own)).await;
            }
        })
        .await;
        let exchange = send(&local(), &receiver).await.unwrap();
        assert_eq!(exchange.status, status, "{id}");
        assert_eq!(receiver.requests().len(), 1, "{id}");
    }
}

fn redirect(status: &str, location: &str) -> String {
    format!("HTTP/1.1 {status}\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
}

/// The pool must not carry a connection over into a time in which its address is refused: a new
/// answer is judged as soon as a new connection is needed.
#[tokio::test]
async fn a_name_that_turns_private_is_refused_at_the_next_connection() {
    let receiver = Receiver::once(receivers::OK).await;
    let dialer = Arc::new(Dialled {
        to: Some(receiver.address),
        ..Dialled::default()
    });
    let public: IpAddr = "93.184.216.34".parse().unwrap();
    let egress = Egress::new(EgressConfig {
        resolver: Answers::new([
            Answer::Addresses(vec![public]),
            Answer::Addresses(vec!["127.0.0.1".parse().unwrap()]),
        ]),
        dialer: dialer.clone(),
        ..EgressConfig::default()
    });
    let url = "http://rebind.example.com/hook";
    let first = egress.exchange(post(&egress, url, LONG)).await.unwrap();
    assert_eq!(first.peer.ip(), public);
    let second = egress.exchange(post(&egress, url, LONG)).await.unwrap_err();
    assert_eq!(second.class, ErrorClass::Blocked);
    assert_eq!(receiver.requests().len(), 1);
}
