//! How receivers behave, and what an exchange makes of it: the receiver corpus, case by case.
//!
//! Each behaviour has a test of its own, so that they run without the corpus too;
//! [`the_corpus_is_covered`] says which case of the corpus is which test's.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod receivers;

use std::sync::Arc;
use std::time::Duration;

use egress::{AddressPolicy, Egress, EgressConfig, ErrorClass, ExchangeError};
use receivers::{
    Answer, Answers, Dialled, LONG, OK, Receiver, SHORT, local, local_config, post, send,
};

/// Cases that say nothing about one exchange, with what they are about instead.
const ELSEWHERE: &[(&str, &str)] = &[("flap-50", "a sequence of attempts: the retry schedule's")];

/// Cases played by a test below or in `tls.rs`, by name. `status-*` and `retry-after-*` are
/// played from the corpus itself.
const PLAYED: &[&str] = &[
    "endless-body",
    "10k-headers",
    "gzip-bomb",
    "content-length-too-long",
    "content-length-too-short",
    "chunked-bad",
    "chunked-endless",
    "no-status-line",
    "bad-status-000",
    "status-999",
    "status-99999",
    "100-forever",
    "close-before-read",
    "blackhole",
    "dns-servfail",
    "dns-timeout",
    "200-but-slow-9s",
    "echo-request-body",
    "response-ansi",
    "response-invalid-utf8-header",
    "www-authenticate",
    "keepalive-then-silent-close",
    // tls.rs
    "tls-not-yet",
    "tls-wrong-host",
    "tls-cn-only",
    "tls-incomplete-chain",
    "tls-revoked",
    "tls10",
    "tls12",
    "tls-hang",
    "tls-slow-handshake",
    "tls-client-cert",
];

fn corpus() -> Vec<serde_json::Value> {
    const FILE: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../shared/corpora/receiver-behaviours/behaviours.jsonl"
    );
    let Ok(text) = std::fs::read_to_string(FILE) else {
        eprintln!("skipped: the receiver corpus is not there");
        return Vec::new();
    };
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn the_corpus_is_covered() {
    for case in corpus() {
        let name = case["name"].as_str().unwrap();
        let covered = case["receiver"]["status"].is_u64()
            || PLAYED.contains(&name)
            || ELSEWHERE.iter().any(|(elsewhere, _)| *elsewhere == name);
        assert!(covered, "no test plays {case}");
    }
}

/// Every status is a result, with its headers, after exactly one request without credentials.
#[tokio::test]
async fn every_status_of_the_corpus_is_a_result() {
    for case in corpus() {
        let Some(status) = case["receiver"]["status"].as_u64() else {
            continue;
        };
        let mut answer = format!("HTTP/1.1 {status} Whatever\r\n");
        let headers = case["receiver"]["headers"].as_object();
        let headers = headers.into_iter().flatten();
        let headers: Vec<_> = headers
            .filter(|(name, _)| *name != "Content-Length")
            .collect();
        for (name, value) in &headers {
            answer += &[name, ": ", value.as_str().unwrap(), "\r\n"].concat();
        }
        answer += if status == 304 {
            "\r\n"
        } else {
            "Content-Length: 0\r\n\r\n"
        };
        let receiver = Receiver::always(answer).await;
        let exchange = send(&local(), &receiver).await.unwrap();
        assert_eq!(u64::from(exchange.status.as_u16()), status, "{case}");
        for (name, value) in headers {
            assert_eq!(exchange.headers[name], value.as_str().unwrap(), "{case}");
        }
        let requests = receiver.requests();
        assert_eq!(requests.len(), 1, "{case}");
        assert_eq!(requests[0].header("authorization"), None, "{case}");
        assert_eq!(exchange.peer, receiver.address);
        assert_eq!(exchange.body_error, None);
    }
}

/// www-authenticate
#[tokio::test]
async fn a_challenge_gets_no_credentials_and_no_second_request() {
    let answer =
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Negotiate\r\nContent-Length: 0\r\n\r\n";
    let receiver = Receiver::always(answer).await;
    assert_eq!(send(&local(), &receiver).await.unwrap().status, 401);
    let requests = receiver.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].header("authorization"), None);
}

/// endless-body
#[tokio::test]
async fn an_endless_body_is_read_up_to_the_cap_and_the_connection_dropped() {
    for framing in ["", "Content-Length: 999999999999\r\n"] {
        let receiver = Receiver::start(move |mut connection| async move {
            connection.request().await;
            connection
                .write(format!("HTTP/1.1 200 OK\r\n{framing}\r\n"))
                .await;
            connection.write_forever(vec![b'x'; 8192]).await;
        })
        .await;
        let egress = local();
        let exchange = send(&egress, &receiver).await.unwrap();
        assert_eq!(exchange.status, 200);
        assert_eq!(exchange.body.len(), 64 * 1024);
        assert!(exchange.body.iter().all(|byte| *byte == b'x'));
        assert!(exchange.body_truncated);
        assert_eq!(exchange.body_error, None);
        assert!(!send(&egress, &receiver).await.unwrap().connection_reused);
    }
}

fn some_headers(count: usize) -> String {
    let lines: Vec<_> = (0..count).map(|n| format!("x-{n}: y\r\n")).collect();
    lines.concat()
}

/// 10k-headers
#[tokio::test]
async fn too_many_or_too_large_headers_are_a_body_failure() {
    let (many, few_more) = (some_headers(10_000), some_headers(101));
    let large = format!("x: {}\r\n", "y".repeat(70_000));
    for headers in [many, few_more, large] {
        let receiver = Receiver::once(format!("HTTP/1.1 200 OK\r\n{headers}\r\n")).await;
        let error = send(&local(), &receiver).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Body);
        assert!(error.message.contains("64 KiB"), "{error}");
        assert_eq!(error.peer, Some(receiver.address));
    }
    // A hundred is still fine.
    let headers = some_headers(99);
    let receiver = Receiver::once(format!("HTTP/1.1 200 OK\r\n{headers}\r\n")).await;
    assert_eq!(send(&local(), &receiver).await.unwrap().headers.len(), 99);
}

/// gzip-bomb
#[tokio::test]
async fn a_compressed_body_is_neither_asked_for_nor_decompressed() {
    let bomb = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3].repeat(10_000);
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        bomb.len()
    )
    .into_bytes();
    answer.extend_from_slice(&bomb);
    let receiver = Receiver::always(answer).await;
    let egress = local();
    let mut outgoing = post(&egress, &receiver.url(), LONG);
    let gzip = http::HeaderValue::from_static("gzip");
    outgoing.headers.insert("accept-encoding", gzip);
    let exchange = egress.exchange(outgoing).await.unwrap();
    assert_eq!(exchange.body, bomb[..64 * 1024]);
    assert!(exchange.body_truncated);
    assert_eq!(receiver.requests()[0].header("accept-encoding"), None);
}

/// content-length-too-long: the status was seen, so it decides.
#[tokio::test]
async fn a_body_that_ends_early_keeps_its_status_and_says_so() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n0123456789";
    let receiver = Receiver::once(answer).await;
    let exchange = send(&local(), &receiver).await.unwrap();
    assert_eq!(exchange.status, 200);
    assert_eq!(exchange.body, "0123456789");
    assert!(exchange.body_truncated);
    assert!(exchange.body_error.is_some());
}

/// content-length-too-short
#[tokio::test]
async fn bytes_after_the_body_cost_the_connection_and_nothing_else() {
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{}",
        "x".repeat(1000)
    );
    let receiver = Receiver::always(answer).await;
    let egress = local();
    for _ in 0..2 {
        let exchange = send(&egress, &receiver).await.unwrap();
        assert_eq!(exchange.body, "x");
        assert!(!exchange.connection_reused);
        assert!(!exchange.body_truncated);
    }
    assert_eq!(receiver.connections(), 2);
}

/// chunked-bad
#[tokio::test]
async fn a_bad_chunk_breaks_the_body_not_the_exchange() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n";
    let receiver = Receiver::once(answer).await;
    let exchange = send(&local(), &receiver).await.unwrap();
    assert_eq!(exchange.status, 200);
    assert_eq!(exchange.body, "ok");
    assert!(exchange.body_truncated);
    assert!(exchange.body_error.is_some());
}

/// chunked-endless: a body that never ends runs into the deadline; the status decides.
#[tokio::test]
async fn endless_small_chunks_end_with_the_deadline() {
    let receiver = Receiver::start(|mut connection| async move {
        connection.request().await;
        connection
            .write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        while connection.write("1\r\nx\r\n").await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    let egress = local();
    let outgoing = post(&egress, &receiver.url(), SHORT);
    let exchange = egress.exchange(outgoing).await.unwrap();
    assert_eq!(exchange.status, 200);
    assert!(exchange.body.starts_with(b"x"));
    assert!(exchange.body_truncated);
    assert!(exchange.body_error.unwrap().contains("300ms"));
    assert!(exchange.duration >= SHORT);
}

/// The same from a receiver that writes as fast as it can: reading must not starve the deadline.
#[tokio::test]
async fn a_flood_of_small_chunks_ends_with_the_cap_or_the_deadline() {
    let receiver = Receiver::start(|mut connection| async move {
        connection.request().await;
        connection
            .write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        connection.write_forever("1\r\nx\r\n".repeat(100)).await;
    })
    .await;
    let egress = local();
    let mut outgoing = post(&egress, &receiver.url(), SHORT);
    outgoing.response_body_bytes_max = usize::MAX;
    let exchange = egress.exchange(outgoing).await.unwrap();
    assert!(exchange.body_truncated);
    assert!(exchange.body_error.unwrap().contains("300ms"));
}

async fn failure_of(answer: &'static str) -> ExchangeError {
    let receiver = Receiver::once(answer).await;
    let error = send(&local(), &receiver).await.unwrap_err();
    assert_eq!(receiver.connections(), 1, "nothing is retried");
    error
}

/// no-status-line, bad-status-000, status-999, status-99999
#[tokio::test]
async fn what_is_not_http_is_a_body_failure() {
    for answer in [
        "hello\r\n",
        "hello\r\n\r\n",
        "HTTP/1.1 000 X\r\n\r\n",
        "HTTP/1.1 099 X\r\n\r\n",
        "HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 600 X\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 99999 X\r\n\r\n",
        "HTTP/1.1 2x0 X\r\n\r\n",
        "HTTP/9.9 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nok",
        "SSH-2.0-OpenSSH_9.2\r\n",
    ] {
        let error = failure_of(answer).await;
        assert_eq!(error.class, ErrorClass::Body, "{answer:?}: {error}");
    }
}

/// 100-forever
#[tokio::test]
async fn endless_informational_responses_end_with_the_deadline() {
    let receiver = Receiver::start(|mut connection| async move {
        connection.request().await;
        connection
            .write_forever("HTTP/1.1 100 Continue\r\n\r\n".repeat(10))
            .await;
    })
    .await;
    let egress = local();
    let outgoing = post(&egress, &receiver.url(), SHORT);
    let error = egress.exchange(outgoing).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Timeout);
    assert_eq!(error.peer, Some(receiver.address));
    assert!(error.duration >= SHORT);
}

/// close-before-read, and its relatives
#[tokio::test]
async fn a_connection_closed_before_the_head_is_complete_is_a_reset() {
    let on_accept = Receiver::start(|connection| async move { drop(connection) }).await;
    let after_request = Receiver::start(|mut connection| async move {
        connection.request().await;
    })
    .await;
    let mid_head = Receiver::once("HTTP/1.1 200 OK\r\nContent-Le").await;
    for receiver in [on_accept, after_request, mid_head] {
        let error = send(&local(), &receiver).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Reset, "{error}");
        assert_eq!(receiver.connections(), 1, "nothing is retried");
    }
}

#[tokio::test]
async fn a_port_nobody_listens_on_is_a_connect_failure() {
    let address = Receiver::always(OK).await.address;
    // The receiver is gone; give its listener a moment to close.
    tokio::task::yield_now().await;
    let egress = local();
    let outgoing = post(&egress, &format!("http://{address}/"), LONG);
    let error = egress.exchange(outgoing).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Connect);
    assert_eq!(error.peer, None);
}

/// blackhole
#[tokio::test]
async fn an_address_that_never_answers_is_a_connect_failure_and_holds_up_nobody_else() {
    let receiver = Receiver::always(OK).await;
    let blackhole = Egress::new(EgressConfig {
        dialer: Arc::new(Dialled::default()),
        connect_timeout: Duration::from_millis(50),
        ..local_config()
    });
    let lost = blackhole.exchange(post(&blackhole, "http://127.0.0.1:9/", LONG));
    let egress = local();
    let (lost, other) = tokio::join!(lost, send(&egress, &receiver));
    let error = lost.unwrap_err();
    assert_eq!(error.class, ErrorClass::Connect);
    assert!(error.message.contains("within 50ms"), "{error}");
    assert_eq!(other.unwrap().status, 200);
}

/// The exchange's own deadline, where it is the shorter, is a timeout that names the phase.
#[tokio::test]
async fn a_deadline_while_connecting_is_a_timeout() {
    let egress = Egress::new(EgressConfig {
        dialer: Arc::new(Dialled::default()),
        ..local_config()
    });
    let outgoing = post(&egress, "http://127.0.0.1:9/", Duration::from_millis(50));
    let error = egress.exchange(outgoing).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Timeout);
    assert!(error.message.contains("connection"), "{error}");
}

fn with_answer(answer: Answer) -> Egress {
    Egress::new(EgressConfig {
        resolver: Answers::new([answer]),
        resolve_timeout: Duration::from_millis(50),
        policy: AddressPolicy::public_only(),
        ..EgressConfig::default()
    })
}

/// dns-servfail, dns-timeout, and an answer without addresses
#[tokio::test]
async fn a_name_that_does_not_resolve_is_a_dns_failure() {
    for answer in [
        Answer::Fails(std::io::ErrorKind::NotFound),
        Answer::Never,
        Answer::Addresses(Vec::new()),
    ] {
        let egress = with_answer(answer);
        let outgoing = post(&egress, "https://hooks.example.com/hook", LONG);
        let error = egress.exchange(outgoing).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Dns, "{error}");
        assert!(error.message.starts_with("hooks.example.com"), "{error}");
    }
}

#[tokio::test]
async fn a_name_with_one_private_address_among_public_ones_is_blocked() {
    let addresses = ["93.184.216.34", "10.0.0.9"].map(|ip| ip.parse().unwrap());
    let egress = with_answer(Answer::Addresses(addresses.into()));
    let outgoing = post(&egress, "https://hooks.example.com/hook", LONG);
    let error = egress.exchange(outgoing).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Blocked);
    assert!(error.message.contains("10.0.0.0/8"), "{error}");
}

/// 200-but-slow-9s, with shorter times
#[tokio::test]
async fn a_slow_answer_within_the_deadline_is_a_success() {
    let receiver = Receiver::start(|mut connection| async move {
        connection.request().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        connection.write(OK).await;
    })
    .await;
    assert_eq!(send(&local(), &receiver).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_head_that_drips_ends_with_the_deadline() {
    let receiver = Receiver::start(|mut connection| async move {
        connection.request().await;
        connection.write("HTTP/1.1 200 OK\r\n").await;
        while connection.write("x: y\r\n").await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let egress = local();
    let outgoing = post(&egress, &receiver.url(), SHORT);
    let error = egress.exchange(outgoing).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Timeout);
}

/// echo-request-body, response-ansi: bodies are bytes; what is stored and shown is others' care.
#[tokio::test]
async fn a_body_comes_back_as_it_was_sent() {
    let ansi = b"\x1b[2J\x1b]0;x\x07\0\xff\r\n";
    let receiver = Receiver::start(|mut connection| async move {
        let request = connection.request().await.unwrap();
        let length = request.body.len();
        let head = format!("HTTP/1.1 500 No\r\nContent-Length: {length}\r\n\r\n");
        connection.write(head).await;
        connection.write(request.body).await;
    })
    .await;
    let egress = local();
    let mut outgoing = post(&egress, &receiver.url(), LONG);
    outgoing.body = bytes::Bytes::from_static(ansi);
    let exchange = egress.exchange(outgoing).await.unwrap();
    assert_eq!(exchange.status, 500);
    assert_eq!(exchange.body, &ansi[..]);
    assert!(!exchange.body_truncated);
}

/// response-invalid-utf8-header: a bad name is skipped, a bad value is bytes.
#[tokio::test]
async fn headers_that_are_not_text_do_not_hide_the_status() {
    let answer = b"HTTP/1.1 200 OK\r\nX-\xff: \xfe\r\nY: \xfe\r\nContent-Length: 0\r\n\r\n";
    let receiver = Receiver::always(*answer).await;
    let exchange = send(&local(), &receiver).await.unwrap();
    assert_eq!(exchange.status, 200);
    assert_eq!(exchange.headers["y"].as_bytes(), b"\xfe");
    assert_eq!(exchange.headers.len(), 2);
}

/// keepalive-then-silent-close: the close may be noticed before the request is written, or the
/// request may be lost on the way. Neither is a failure.
#[tokio::test]
async fn a_kept_connection_closed_by_the_peer_costs_one_silent_retry() {
    let closes_at_once = Receiver::once(OK).await;
    let closes_on_request = Receiver::start(|mut connection| async move {
        connection.request().await;
        connection.write(OK).await;
        if connection.number == 1 {
            // Takes the second request and closes without a byte.
            connection.request().await;
        } else {
            connection.hang().await;
        }
    })
    .await;
    for receiver in [closes_at_once, closes_on_request] {
        let egress = local();
        assert!(!send(&egress, &receiver).await.unwrap().connection_reused);
        let second = send(&egress, &receiver).await.unwrap();
        assert_eq!(second.status, 200);
        assert!(!second.connection_reused);
        assert_eq!(receiver.connections(), 2);
    }
}

#[tokio::test]
async fn a_kept_connection_that_breaks_within_an_answer_is_not_retried() {
    let receiver = Receiver::start(|mut connection| async move {
        connection.request().await;
        connection.write(OK).await;
        connection.request().await;
        connection.write("HTTP/1.1 2").await;
    })
    .await;
    let egress = local();
    send(&egress, &receiver).await.unwrap();
    let error = send(&egress, &receiver).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Reset);
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn the_retry_shares_the_deadline() {
    let receiver = Receiver::start(|mut connection| async move {
        connection.request().await;
        if connection.number == 1 {
            connection.write(OK).await;
            connection.request().await;
        } else {
            connection.hang().await;
        }
    })
    .await;
    let egress = local();
    send(&egress, &receiver).await.unwrap();
    let outgoing = post(&egress, &receiver.url(), SHORT);
    let error = egress.exchange(outgoing).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Timeout);
    assert_eq!(receiver.connections(), 2);
}
