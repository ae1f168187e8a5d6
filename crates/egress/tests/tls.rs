//! TLS to receivers: what is trusted, how refusals are told, and HTTP/2.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod receivers;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use egress::{Egress, EgressConfig, ErrorClass, Exchange, ExchangeError, RootsError};
use http::{Request, Response, Version};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use receivers::certificates::{self, Authority, HOST, Identity, accept, server};
use receivers::{LONG, OK, Receiver, SHORT, Socket, local_config, post};
use rustls::ServerConfig;
use rustls::version::{TLS12, TLS13};
use tokio::io::AsyncWriteExt as _;

const BOTH: &[&rustls::SupportedProtocolVersion] = &[&TLS12, &TLS13];

/// An egress that trusts `authority` and finds every name on this machine.
fn trusting(authority: &Authority) -> Egress {
    Egress::new(EgressConfig {
        extra_roots: vec![authority.root.clone()],
        ..local_config()
    })
}

async fn receiver(config: Arc<ServerConfig>) -> Receiver {
    Receiver::start_over(accept(config), |mut connection| async move {
        while connection.request().await.is_some() {
            connection.write(OK).await;
        }
    })
    .await
}

async fn send(
    egress: &Egress,
    receiver: &Receiver,
    timeout: Duration,
) -> Result<Exchange, ExchangeError> {
    let url = format!("https://{HOST}:{}/hook", receiver.address.port());
    egress.exchange(post(egress, &url, timeout)).await
}

async fn refusal(authority: &Authority, identity: Identity) -> String {
    let receiver = receiver(server(identity, BOTH, &[])).await;
    let error = send(&trusting(authority), &receiver, LONG)
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Tls, "{error}");
    assert_eq!(error.peer, Some(receiver.address));
    assert!(receiver.requests().is_empty());
    error.message
}

/// tls12, and TLS 1.3
#[tokio::test]
async fn a_good_certificate_over_either_version_is_a_success() {
    let authority = Authority::new();
    for version in [&TLS12, &TLS13] {
        let receiver = receiver(server(authority.good(), &[version], &["http/1.1"])).await;
        let egress = trusting(&authority);
        for turn in 0..3 {
            let exchange = send(&egress, &receiver, LONG).await.unwrap();
            assert_eq!(exchange.body, "ok");
            // 2049-12-31T00:00:00Z
            assert_eq!(exchange.tls_not_after, Some(2_524_521_600));
            assert_eq!(exchange.http_version, Version::HTTP_11);
            assert_eq!(exchange.connection_reused, turn > 0);
        }
        assert_eq!(receiver.connections(), 1);
    }
}

/// tls-not-yet, tls-wrong-host, tls-cn-only, tls-incomplete-chain and their relatives.
/// (tls-revoked: revocation is not checked, as the module `tls` documents.)
#[tokio::test]
async fn each_bad_certificate_is_refused_with_its_reason() {
    let authority = Authority::new();
    let unknown = Authority::named("another root");
    let forged = Authority::new();
    for (identity, reason) in [
        (authority.valid(2000, 2001), "expired"),
        (authority.valid(2090, 2091), "not yet valid"),
        (authority.for_names(&["other.example.com"]), "name mismatch"),
        (authority.for_names(&["*.example.org"]), "name mismatch"),
        (authority.common_name_only(), "name mismatch"),
        (authority.incomplete_chain(), "unknown issuer"),
        (unknown.good(), "unknown issuer"),
        (forged.good(), "signature"),
    ] {
        let message = refusal(&authority, identity).await;
        assert!(message.contains(reason), "{reason}: {message}");
    }
}

#[tokio::test]
async fn wildcards_addresses_and_trailing_dots_match_as_they_should() {
    let authority = Authority::new();
    let identity = authority.for_names(&["*.example.com", "127.0.0.1"]);
    let receiver = receiver(server(identity, BOTH, &[])).await;
    let egress = trusting(&authority);
    let port = receiver.address.port();
    for host in ["hooks.example.com", "hooks.example.com.", "127.0.0.1"] {
        let url = format!("https://{host}:{port}/");
        let exchange = egress.exchange(post(&egress, &url, LONG)).await.unwrap();
        assert_eq!(exchange.status, 200, "{host}");
    }
    let url = format!("https://a.b.example.com:{port}/");
    let error = egress
        .exchange(post(&egress, &url, LONG))
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Tls);
}

/// tls10: a server that knows nothing newer answers with the alert `protocol_version`.
#[tokio::test]
async fn an_old_server_is_refused_with_the_version_as_reason() {
    let receiver = Receiver::start(|mut connection| async move {
        let mut hello = [0; 4096];
        let _ = tokio::io::AsyncReadExt::read(&mut connection.socket, &mut hello).await;
        // Alert record, TLS 1.0, two bytes: fatal, protocol_version (70).
        connection.write([0x15, 3, 1, 0, 2, 2, 70]).await;
        connection.hang().await;
    })
    .await;
    let error = send(&trusting(&Authority::new()), &receiver, LONG)
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Tls);
    assert!(error.message.contains("protocol version"), "{error}");
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_is_told_apart() {
    let receiver = Receiver::once("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let plain = Receiver::start(|mut connection| async move {
        connection.write("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        connection.hang().await;
    })
    .await;
    drop(receiver);
    let error = send(&trusting(&Authority::new()), &plain, LONG)
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Tls);
    assert!(error.message.contains("does not speak TLS"), "{error}");
}

/// tls-client-cert
#[tokio::test]
async fn a_server_that_requires_a_client_certificate_is_told_apart() {
    let authority = Authority::new();
    let receiver = receiver(certificates::server_for_known_clients(&authority)).await;
    let error = send(&trusting(&authority), &receiver, LONG)
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Tls, "{error}");
    assert!(error.message.contains("client certificate"), "{error}");
}

/// tls-hang, tls-slow-handshake
#[tokio::test]
async fn a_handshake_that_hangs_or_drips_ends_with_the_deadline() {
    let hangs = Receiver::start(|mut connection| async move { connection.hang().await }).await;
    let drips = Receiver::start(|mut connection| async move {
        // A handshake record that announces 16 KiB, byte by byte.
        let record = [0x16, 3, 3, 0x40, 0]
            .into_iter()
            .chain(std::iter::repeat(2));
        for byte in record {
            if connection.socket.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    for receiver in [hangs, drips] {
        let error = send(&trusting(&Authority::new()), &receiver, SHORT)
            .await
            .unwrap_err();
        assert_eq!(error.class, ErrorClass::Timeout, "{error}");
        assert_eq!(error.peer, Some(receiver.address));
    }
}

#[tokio::test]
async fn a_connection_closed_within_the_handshake_is_a_tls_failure() {
    let receiver = Receiver::start(|connection| async move { drop(connection) }).await;
    let error = send(&trusting(&Authority::new()), &receiver, LONG)
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Tls, "{error}");
}

#[tokio::test]
async fn the_name_asked_for_is_the_targets() {
    let (asked, mut names) = tokio::sync::mpsc::unbounded_channel();
    let receiver = Receiver::start_over(
        move |stream| {
            let asked = asked.clone();
            Box::pin(async move {
                let _ = asked.send(certificates::requested_name(stream).await);
                None
            }) as receivers::Accepted
        },
        |_| async {},
    )
    .await;
    let _ = send(&trusting(&Authority::new()), &receiver, LONG).await;
    assert_eq!(names.recv().await.unwrap().as_deref(), Some(HOST));
}

#[test]
fn a_pem_file_adds_roots_or_says_why_not() {
    let mut config = EgressConfig::default();
    assert!(matches!(config.trust_pem(b""), Err(RootsError::Empty)));
    let broken = b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
    assert!(matches!(config.trust_pem(broken), Err(RootsError::Pem(_))));
    assert!(config.extra_roots.is_empty());
    let key = rcgen::KeyPair::generate().unwrap();
    let root = rcgen::CertificateParams::default()
        .self_signed(&key)
        .unwrap();
    config.trust_pem(root.pem().as_bytes()).unwrap();
    assert_eq!(config.extra_roots, [root.der().clone()]);
}

/// An HTTP/2 receiver. Answers `/hang` never, `/large` with 1 MiB and everything else with the
/// request's body; counts what it was asked.
async fn http2_receiver(identity: Identity, asked: Arc<AtomicUsize>) -> Receiver {
    let config = server(identity, BOTH, &["h2"]);
    Receiver::start_over(accept(config), move |connection| {
        let asked = Arc::clone(&asked);
        serve_http2(connection.socket, asked)
    })
    .await
}

async fn serve_http2(socket: Box<dyn Socket>, asked: Arc<AtomicUsize>) {
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        asked.fetch_add(1, Ordering::SeqCst);
        async move {
            assert_eq!(request.version(), Version::HTTP_2);
            assert_eq!(request.headers().get("host"), None);
            let path = request.uri().path().to_owned();
            let body = match path.as_str() {
                "/hang" => std::future::pending().await,
                "/large" => vec![b'x'; 1 << 20].into(),
                _ => request.into_body().collect().await.unwrap().to_bytes(),
            };
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::new(body)))
        }
    });
    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(socket), service)
        .await;
}

#[tokio::test]
async fn http2_exchanges_share_one_connection() {
    let authority = Authority::new();
    let asked = Arc::new(AtomicUsize::new(0));
    let receiver = http2_receiver(authority.good(), Arc::clone(&asked)).await;
    let egress = trusting(&authority);
    let first = send(&egress, &receiver, LONG).await.unwrap();
    assert_eq!(first.http_version, Version::HTTP_2);
    assert_eq!(first.body, "{}");
    assert_eq!(first.tls_not_after, Some(2_524_521_600));
    assert!(!first.connection_reused);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let url = format!("https://{HOST}:{}/hook", receiver.address.port());
        let outgoing = post(&egress, &url, LONG);
        let egress = egress.clone();
        tasks.spawn(async move { egress.exchange(outgoing).await.unwrap() });
    }
    while let Some(exchange) = tasks.join_next().await {
        let exchange = exchange.unwrap();
        assert!(exchange.connection_reused);
        assert_eq!(exchange.body, "{}");
    }
    assert_eq!(receiver.connections(), 1);
    assert_eq!(asked.load(Ordering::SeqCst), 51);
}

#[tokio::test]
async fn more_http2_exchanges_than_a_connection_carries_open_another() {
    let authority = Authority::new();
    let asked = Arc::new(AtomicUsize::new(0));
    let receiver = http2_receiver(authority.good(), Arc::clone(&asked)).await;
    let egress = trusting(&authority);
    send(&egress, &receiver, LONG).await.unwrap();
    let url = format!("https://{HOST}:{}/hang", receiver.address.port());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (egress, outgoing) = (egress.clone(), post(&egress, &url, LONG));
        tasks.spawn(async move { egress.exchange(outgoing).await });
    }
    while asked.load(Ordering::SeqCst) < 101 {
        tokio::task::yield_now().await;
    }
    assert_eq!(receiver.connections(), 1);
    assert_eq!(send(&egress, &receiver, LONG).await.unwrap().status, 200);
    assert_eq!(receiver.connections(), 2);
}

#[tokio::test]
async fn http2_caps_and_deadlines_leave_the_connection_to_others() {
    let authority = Authority::new();
    let receiver = http2_receiver(authority.good(), Arc::default()).await;
    let egress = trusting(&authority);
    let port = receiver.address.port();

    let large = post(&egress, &format!("https://{HOST}:{port}/large"), LONG);
    let exchange = egress.exchange(large).await.unwrap();
    assert_eq!(exchange.body.len(), 64 * 1024);
    assert!(exchange.body_truncated);

    let hang = post(&egress, &format!("https://{HOST}:{port}/hang"), SHORT);
    let error = egress.exchange(hang).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Timeout);

    let after = send(&egress, &receiver, LONG).await.unwrap();
    assert_eq!(after.status, 200);
    assert!(after.connection_reused);
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn a_shared_connection_that_died_costs_one_silent_retry() {
    let authority = Authority::new();
    let config = server(authority.good(), BOTH, &["h2"]);
    let kill = Arc::new(tokio::sync::Notify::new());
    let killed = Arc::clone(&kill);
    let receiver = Receiver::start_over(accept(config), move |connection| {
        let killed = Arc::clone(&killed);
        async move {
            tokio::select! {
                () = serve_http2(connection.socket, Arc::default()) => {}
                () = killed.notified() => {}
            }
        }
    })
    .await;
    let egress = trusting(&authority);
    for turn in 1..=3 {
        let exchange = send(&egress, &receiver, LONG).await.unwrap();
        assert_eq!(exchange.status, 200);
        assert!(!exchange.connection_reused);
        assert_eq!(receiver.connections(), turn);
        kill.notify_one();
        // Whether the close is seen before the next request or after is up to the scheduler.
        tokio::task::yield_now().await;
    }
}
