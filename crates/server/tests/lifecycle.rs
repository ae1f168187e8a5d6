//! Up and down on a real port: the data folder, the key, refusals to start, connections.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use server::{
    ServerConfig, StartError,
    config::{AccessConfig, FirstOwner, LimitsConfig, NodeConfig},
    lifecycle::{FINGERPRINT_FILE, Installation, KEY_FILE, NODE_FILE},
    metrics::Metrics,
};
use support::{PASSWORD, edge};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

fn config(folder: &Path) -> ServerConfig {
    ServerConfig {
        port: 0,
        data_dir: folder.join("data"),
        ..ServerConfig::default()
    }
}

/// Sends bytes and reads until the server closes.
async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_server_answers_at_its_address_and_leaves_a_private_folder() {
    let folder = tempfile::tempdir().unwrap();
    let running = server::start(config(folder.path()), edge()).await.unwrap();
    assert!(running.is_local());
    assert_ne!(running.address().port(), 0);
    let answer = exchange(running.address(), &get("/readyz")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    running.stop().await;

    let data = folder.path().join("data");
    assert_eq!(mode(&data), 0o700);
    for file in fs::read_dir(&data).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    let again = server::start(config(folder.path()), edge()).await.unwrap();
    again.stop().await;
}

#[tokio::test]
async fn a_folder_that_others_could_read_is_closed_to_them() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    server::start(config(folder.path()), edge())
        .await
        .unwrap()
        .stop()
        .await;
    assert_eq!(mode(&data), 0o700);
}

#[tokio::test]
async fn a_wrong_a_damaged_and_a_lost_key_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let start = async |key: Option<&str>| {
        let config = ServerConfig {
            key: key.map(str::to_owned),
            ..config(folder.path())
        };
        match server::start(config, edge()).await {
            Ok(running) => {
                running.stop().await;
                Ok(())
            }
            Err(error) => Err(error),
        }
    };
    start(None).await.unwrap();
    let key_file = folder.path().join("data").join(KEY_FILE);
    let key = fs::read_to_string(&key_file).unwrap();
    start(Some(&key)).await.unwrap();
    assert!(matches!(
        start(Some(&"ab".repeat(32))).await,
        Err(StartError::WrongKey { .. })
    ));
    assert!(matches!(
        start(Some("too short")).await,
        Err(StartError::BadKey { .. })
    ));
    fs::remove_file(&key_file).unwrap();
    let lost = start(None).await.unwrap_err();
    let fingerprint = Installation::visit(
        &ServerConfig {
            key: Some(key.clone()),
            ..config(folder.path())
        },
        &edge(),
    )
    .await
    .unwrap()
    .sealing
    .fingerprint();
    assert!(
        matches!(&lost, StartError::LostKey { expected: Some(expected), .. } if *expected == fingerprint),
        "{lost}"
    );
    assert!(lost.to_string().contains(&fingerprint), "{lost}");
    assert!(!key_file.exists(), "no other key was made");
    start(Some(&key)).await.unwrap();
}

#[tokio::test]
async fn a_folder_of_an_older_version_keeps_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let start = async || match server::start(config(folder.path()), edge()).await {
        Ok(running) => {
            running.stop().await;
            Ok(())
        }
        Err(error) => Err(error),
    };
    // It kept the fingerprint in a file; the database knows nothing of it.
    let options = store::sqlite::SqliteOptions::new(support::T0);
    drop(store::sqlite::SqliteStore::open(&data.join("signpost.db"), options).unwrap());
    let lost = start().await.unwrap_err();
    assert!(
        matches!(lost, StartError::LostKey { expected: None, .. }),
        "{lost}"
    );
    let key = domain::seal::SealingKey::new([7; 32]);
    fs::write(data.join(FINGERPRINT_FILE), key.fingerprint()).unwrap();
    let lost = start().await.unwrap_err();
    assert!(lost.to_string().contains(&key.fingerprint()), "{lost}");
    let another = domain::seal::SealingKey::new([8; 32]);
    fs::write(data.join(KEY_FILE), another.to_text()).unwrap();
    let wrong = start().await.unwrap_err();
    assert!(matches!(wrong, StartError::WrongKey { .. }), "{wrong}");
    fs::write(data.join(KEY_FILE), key.to_text()).unwrap();
    start().await.unwrap();
    // From now on the database knows.
    fs::remove_file(data.join(FINGERPRINT_FILE)).unwrap();
    fs::write(data.join(KEY_FILE), another.to_text()).unwrap();
    let wrong = start().await.unwrap_err();
    assert!(matches!(wrong, StartError::WrongKey { .. }), "{wrong}");
}

#[tokio::test]
async fn an_installation_is_the_same_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let running = server::start(config(folder.path()), edge()).await.unwrap();
        let nodes = running.app().store().nodes().await.unwrap();
        ids.push(nodes[0].id);
        running.stop().await;
    }
    assert_eq!(ids[0], ids[1]);
    assert!(!ids[0].is_nil());
    let file = folder.path().join("data").join(NODE_FILE);
    assert_eq!(mode(&file), 0o600);
    fs::write(&file, "nonsense").unwrap();
    let refused = server::start(config(folder.path()), edge())
        .await
        .err()
        .unwrap();
    assert!(matches!(refused, StartError::BadNode(_)), "{refused}");
}

#[tokio::test]
async fn on_the_way_down_it_serves_until_load_balancers_have_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let node = NodeConfig {
        drain_delay: Duration::from_mins(10),
        ..NodeConfig::default()
    };
    let config = ServerConfig {
        node,
        ..config(folder.path())
    };
    let running = server::start(config, edge()).await.unwrap();
    let (address, app) = (running.address(), running.app().clone());
    let stopping = tokio::spawn(running.stop());
    app.wait_for_draining().await;
    let ready = exchange(address, &get("/readyz")).await;
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    let alive = exchange(address, &get("/healthz")).await;
    assert!(alive.starts_with("HTTP/1.1 200"), "{alive}");
    // A client that would keep its connection is told not to.
    let body = r#"{"event":"order.paid","data":{}}"#;
    let publish = format!(
        "POST /api/v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = exchange(address, &publish).await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    stopping.abort();
}

#[tokio::test]
async fn strangers_are_not_served_without_an_owner() {
    let folder = tempfile::tempdir().unwrap();
    let open = ServerConfig {
        host: "0.0.0.0".to_owned(),
        ..config(folder.path())
    };
    let refused = server::start(open.clone(), edge()).await.err().unwrap();
    assert!(
        refused.to_string().contains("signpost users add"),
        "{refused}"
    );

    let first_owner = FirstOwner {
        login: "Ann".to_owned(),
        password: PASSWORD.to_owned(),
    };
    let access = AccessConfig {
        first_owner: Some(first_owner),
        ..AccessConfig::default()
    };
    let running = server::start(
        ServerConfig {
            access,
            ..open.clone()
        },
        edge(),
    )
    .await
    .unwrap();
    assert!(!running.is_local());
    running.stop().await;
    let running = server::start(open, edge()).await.unwrap();
    let local = SocketAddr::from(([127, 0, 0, 1], running.address().port()));
    let answer = exchange(local, &get("/api/v1/auth/me")).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    running.stop().await;
}

#[tokio::test]
async fn a_user_added_offline_counts_and_a_second_process_is_kept_out() {
    let folder = tempfile::tempdir().unwrap();
    let (config, edge) = (config(folder.path()), edge());
    let open = Installation::open(&config, &edge, &Metrics::default())
        .await
        .unwrap();
    let taken = server::start(config.clone(), edge.clone())
        .await
        .err()
        .unwrap();
    assert!(taken.to_string().contains("in use"), "{taken}");
    assert!(
        open.add_user(&edge, "ann", PASSWORD, domain::access::Role::Owner)
            .await
            .unwrap()
    );
    assert!(
        !open
            .add_user(&edge, "ANN", PASSWORD, domain::access::Role::Owner)
            .await
            .unwrap()
    );
    open.store.close().await;
    drop(open);
    let running = server::start(config, edge).await.unwrap();
    assert!(!running.is_local());
    running.stop().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let config = ServerConfig {
        port,
        ..config(folder.path())
    };
    let refused = server::start(config, edge()).await.err().unwrap();
    assert!(
        matches!(&refused, StartError::Bind { address, .. } if address.port() == port),
        "{refused}"
    );
}

#[tokio::test]
async fn hostile_heads_are_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let limits = LimitsConfig {
        header_timeout: Duration::from_millis(50),
        ..LimitsConfig::default()
    };
    let running = server::start(
        ServerConfig {
            limits,
            ..config(folder.path())
        },
        edge(),
    )
    .await
    .unwrap();
    let slow = exchange(running.address(), "GET / HTTP/1.1\r\nhost: local").await;
    assert_eq!(slow, "", "a head that never ends");
    let huge = format!(
        "GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n",
        "x".repeat(200 << 10)
    );
    let huge = exchange(running.address(), &huge).await;
    assert!(huge.starts_with("HTTP/1.1 431"), "{huge}");
    let vast = "POST /api/v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999\r\nconnection: close\r\n\r\n";
    let vast = exchange(running.address(), vast).await;
    assert!(vast.starts_with("HTTP/1.1 413"), "{vast}");
    let both = "POST /api/v1/auth/login HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let both = exchange(running.address(), both).await;
    assert!(both.starts_with("HTTP/1.1 400"), "{both}");
    running.stop().await;
}

#[tokio::test]
async fn on_the_way_down_a_request_in_progress_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let running = server::start(config(folder.path()), edge()).await.unwrap();
    let body = r#"{"name":"k","scopes":["read"]}"#;
    let (first, rest) = body.split_at(5);
    let mut stream = TcpStream::connect(running.address()).await.unwrap();
    let head = format!(
        "POST /api/v1/keys HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         expect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert!(
        go_on.starts_with(b"HTTP/1.1 100"),
        "the handler waits for the body"
    );
    stream.write_all(first.as_bytes()).await.unwrap();
    let stopped = tokio::spawn(running.stop());
    stream.write_all(rest.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    stopped.await.unwrap();
}
