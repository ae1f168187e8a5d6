//! What an exchange sends, how connections are kept, and reading a response piece by piece.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod receivers;

use std::time::Duration;

use egress::{Egress, EgressConfig, ErrorClass};
use http::{HeaderValue, Method, Version};
use receivers::{LONG, OK, Receiver, SHORT, local, local_config, post, send};

#[tokio::test]
async fn a_request_carries_what_was_given_and_nothing_else() {
    let receiver = Receiver::always(OK).await;
    let egress = local();
    let url = format!("http://{}/a/%2e/b?x=%20#part", receiver.address);
    let mut outgoing = post(&egress, &url, LONG);
    outgoing.body = "{\"a\":1}".into();
    for (name, value) in [
        ("content-type", "application/json"),
        ("x-webhook-id", "evt_1"),
        ("host", "elsewhere.example.com"),
        ("content-length", "1"),
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("expect", "100-continue"),
        ("accept-encoding", "gzip"),
    ] {
        outgoing
            .headers
            .insert(name, HeaderValue::from_static(value));
    }
    let exchange = egress.exchange(outgoing).await.unwrap();
    assert_eq!(exchange.status, 200);
    assert_eq!(exchange.body, "ok");
    assert_eq!(exchange.http_version, Version::HTTP_11);
    assert_eq!(exchange.tls_not_after, None);

    let request = receiver.requests().remove(0);
    assert_eq!(request.request_line(), "POST /a/b?x=%20 HTTP/1.1");
    assert_eq!(request.body, b"{\"a\":1}");
    let mut headers: Vec<_> = request
        .head
        .lines()
        .skip(1)
        .filter(|line| !line.is_empty())
        .collect();
    headers.sort_unstable();
    let host = format!("host: {}", receiver.address);
    assert_eq!(
        headers,
        [
            "content-length: 7",
            "content-type: application/json",
            &host,
            "x-webhook-id: evt_1"
        ]
    );
}

#[tokio::test]
async fn a_request_without_a_body() {
    let receiver = Receiver::always(OK).await;
    let egress = local();
    for (method, length) in [(Method::GET, None), (Method::POST, Some("0"))] {
        let mut outgoing = post(&egress, &receiver.url(), LONG);
        outgoing.method = method.clone();
        outgoing.body = bytes::Bytes::new();
        assert_eq!(egress.exchange(outgoing).await.unwrap().status, 200);
        let request = receiver.requests().pop().unwrap();
        assert!(request.request_line().starts_with(method.as_str()));
        assert_eq!(request.header("content-length"), length);
    }
}

#[tokio::test]
async fn one_connection_serves_exchanges_that_follow_each_other() {
    let chunked =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx: y\r\n\r\n";
    let empty = "HTTP/1.1 204 No Content\r\n\r\n";
    for answer in [OK, chunked, empty] {
        let receiver = Receiver::always(answer).await;
        let egress = local();
        for turn in 0..5 {
            let exchange = send(&egress, &receiver).await.unwrap();
            assert_eq!(exchange.connection_reused, turn > 0, "{answer}");
            assert!(!exchange.body_truncated);
        }
        assert_eq!(receiver.connections(), 1);
    }
}

#[tokio::test]
async fn a_connection_is_not_kept_against_the_receivers_will() {
    for answer in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ] {
        let receiver = Receiver::always(answer).await;
        let egress = local();
        for _ in 0..2 {
            let exchange = send(&egress, &receiver).await.unwrap();
            assert_eq!(exchange.body, "ok");
            assert!(!exchange.connection_reused);
        }
    }
    // Without a length the body ends with the connection.
    let receiver = Receiver::once("HTTP/1.1 200 OK\r\n\r\nuntil the end").await;
    let exchange = send(&local(), &receiver).await.unwrap();
    assert_eq!(exchange.body, "until the end");
    assert!(!exchange.body_truncated);
}

#[tokio::test]
async fn a_body_in_many_pieces_is_put_together_and_cut_at_the_cap() {
    let receiver = Receiver::start(|mut connection| async move {
        while connection.request().await.is_some() {
            connection
                .write("HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n")
                .await;
            for piece in [b'a', b'b', b'c'] {
                connection.write([piece; 100]).await;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    })
    .await;
    let egress = local();
    let whole = ["a", "b", "c"].map(|piece| piece.repeat(100)).concat();
    for (cap, truncated) in [
        (1000, false),
        (300, false),
        (299, true),
        (150, true),
        (0, true),
    ] {
        let mut outgoing = post(&egress, &receiver.url(), LONG);
        outgoing.response_body_bytes_max = cap;
        let exchange = egress.exchange(outgoing).await.unwrap();
        assert_eq!(exchange.body, whole[..cap.min(300)], "{cap}");
        assert_eq!(exchange.body_truncated, truncated, "{cap}");
    }
    // What was over the cap was little and of known length: read, thrown away, connection kept.
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn idle_connections_are_bounded_per_host_and_in_all() {
    let (one, other) = (Receiver::always(OK).await, Receiver::always(OK).await);
    let egress = Egress::new(EgressConfig {
        idle_per_host_max: 2,
        idle_max: 3,
        ..local_config()
    });
    let three = async |receiver| {
        let (a, b, c) = tokio::join!(
            send(&egress, receiver),
            send(&egress, receiver),
            send(&egress, receiver)
        );
        let reused = |exchange: Result<egress::Exchange, _>| exchange.unwrap().connection_reused;
        usize::from(reused(a)) + usize::from(reused(b)) + usize::from(reused(c))
    };
    assert_eq!(three(&one).await, 0);
    assert_eq!(three(&one).await, 2);
    assert_eq!(three(&other).await, 0);
    assert_eq!(three(&other).await, 1);
}

#[tokio::test]
async fn a_connection_is_not_used_after_its_idle_time() {
    let receiver = Receiver::always(OK).await;
    let egress = Egress::new(EgressConfig {
        idle_timeout: Duration::ZERO,
        ..local_config()
    });
    for _ in 0..2 {
        assert!(!send(&egress, &receiver).await.unwrap().connection_reused);
    }
}

/// Nothing is ever spoken but HTTP: an upgrade nobody asked for is a status like any other.
#[tokio::test]
async fn switching_protocols_is_a_status_and_ends_the_connection() {
    let answer =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhello";
    let receiver = Receiver::always(answer).await;
    let egress = local();
    for _ in 0..2 {
        let exchange = send(&egress, &receiver).await.unwrap();
        assert_eq!(exchange.status, 101);
        assert_eq!(exchange.body, "");
        assert!(!exchange.connection_reused);
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_when_its_time_is_up() {
    let (closed, mut was_closed) = tokio::sync::mpsc::unbounded_channel();
    let receiver = Receiver::start(move |mut connection| {
        let closed = closed.clone();
        async move {
            connection.request().await;
            connection.write(OK).await;
            connection.hang().await;
            let _ = closed.send(());
        }
    })
    .await;
    let egress = Egress::new(EgressConfig {
        idle_timeout: Duration::from_millis(10),
        ..local_config()
    });
    send(&egress, &receiver).await.unwrap();
    // Nothing more is sent: only the sweep can close it.
    was_closed.recv().await.unwrap();
}

#[tokio::test]
async fn a_connection_does_not_grow_old() {
    let receiver = Receiver::always(OK).await;
    let egress = Egress::new(EgressConfig {
        connection_age_max: Duration::ZERO,
        ..local_config()
    });
    for _ in 0..2 {
        assert!(!send(&egress, &receiver).await.unwrap().connection_reused);
    }
}

#[tokio::test]
async fn connections_are_closed_with_the_egress() {
    let (closed, mut was_closed) = tokio::sync::mpsc::unbounded_channel();
    let receiver = Receiver::start(move |mut connection| {
        let closed = closed.clone();
        async move {
            connection.request().await;
            connection.write(OK).await;
            connection.hang().await;
            let _ = closed.send(());
        }
    })
    .await;
    let egress = local();
    send(&egress, &receiver).await.unwrap();
    drop(egress);
    was_closed.recv().await.unwrap();
}

#[tokio::test]
async fn an_abandoned_exchange_closes_its_connection() {
    let (closed, mut was_closed) = tokio::sync::mpsc::unbounded_channel();
    let receiver = Receiver::start(move |mut connection| {
        let closed = closed.clone();
        async move {
            connection.hang().await;
            let _ = closed.send(());
        }
    })
    .await;
    let egress = local();
    let outgoing = post(&egress, &receiver.url(), Duration::from_millis(20));
    let error = egress.exchange(outgoing).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Timeout);
    was_closed.recv().await.unwrap();
}

#[tokio::test]
async fn a_large_request_and_an_early_answer() {
    let receiver = Receiver::always(OK).await;
    let egress = local();
    let mut outgoing = post(&egress, &receiver.url(), LONG);
    outgoing.body = vec![b'x'; 3_000_000].into();
    assert_eq!(egress.exchange(outgoing).await.unwrap().status, 200);
    assert_eq!(receiver.requests()[0].body.len(), 3_000_000);

    // Answers after the head and reads the rest only then.
    let early = Receiver::start(|mut connection| async move {
        let mut some = [0; 1000];
        tokio::io::AsyncReadExt::read(&mut connection.socket, &mut some)
            .await
            .unwrap();
        connection
            .write("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            .await;
        connection.hang().await;
    })
    .await;
    let mut outgoing = post(&egress, &early.url(), LONG);
    outgoing.body = vec![b'x'; 3_000_000].into();
    assert_eq!(egress.exchange(outgoing).await.unwrap().status, 413);
}

#[tokio::test]
async fn a_stream_is_read_piece_by_piece_and_its_connection_used_again() {
    let receiver = Receiver::start(|mut connection| async move {
        while connection.request().await.is_some() {
            connection
                .write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                .await;
            for piece in ["one", "two"] {
                tokio::time::sleep(Duration::from_millis(5)).await;
                connection.write(format!("3\r\n{piece}\r\n")).await;
            }
            connection.write("0\r\n\r\n").await;
        }
    })
    .await;
    let egress = local();
    for turn in 0..2 {
        let outgoing = post(&egress, &receiver.url(), LONG);
        let mut stream = egress.stream(outgoing).await.unwrap();
        assert_eq!(stream.status, 200);
        assert_eq!(stream.connection_reused, turn > 0);
        let mut text = Vec::new();
        while let Some(chunk) = stream.chunk(LONG).await.unwrap() {
            text.extend_from_slice(&chunk);
        }
        assert_eq!(text, b"onetwo");
        assert_eq!(stream.chunk(LONG).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_stream_that_falls_silent_or_breaks_is_an_error() {
    let silent = Receiver::start(|mut connection| async move {
        connection.request().await;
        connection
            .write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
            .await;
        connection.hang().await;
    })
    .await;
    let broken = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n";
    let broken = Receiver::once(broken).await;
    let egress = local();
    for (receiver, class) in [(silent, ErrorClass::Timeout), (broken, ErrorClass::Reset)] {
        let outgoing = post(&egress, &receiver.url(), LONG);
        let mut stream = egress.stream(outgoing).await.unwrap();
        assert_eq!(stream.chunk(LONG).await.unwrap().unwrap(), "one");
        let error = stream.chunk(SHORT).await.unwrap_err();
        assert_eq!(error.class, class, "{error}");
        assert_eq!(error.peer, Some(receiver.address));
        assert_eq!(stream.chunk(SHORT).await.unwrap(), None);
    }
}

#[tokio::test]
async fn an_egress_works_from_many_tasks() {
    let receiver = Receiver::always(OK).await;
    let egress = local();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let outgoing = post(&egress, &receiver.url(), LONG);
        let egress = egress.clone();
        tasks.spawn(async move {
            for _ in 0..20 {
                assert_eq!(egress.exchange(outgoing.clone()).await.unwrap().body, "ok");
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    assert_eq!(receiver.requests().len(), 320);
    assert!(receiver.connections() <= 16);
}
