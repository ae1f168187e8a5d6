//! Commands against a server: publishing, webhooks, deliveries, replays, keys.

use std::net::{TcpListener, TcpStream};

use serde_json::{Value, json};

use crate::program::{Receiver, Server, finish, run};

fn webhook(server: &Server, receiver: &Receiver, more: &[&str]) -> Value {
    let args = [
        "webhooks",
        "create",
        &receiver.url,
        "--events",
        "workflow.*",
    ];
    server.json(args.iter().chain(more))
}

fn id(record: &Value) -> &str {
    record["id"].as_str().unwrap()
}

/// The delivery of the event to the webhook, once it is in this state.
pub fn delivery_in(server: &Server, event: &str, state: &str) -> Value {
    for _ in 0..1_000 {
        let list = server.json(["deliveries", "list", "--event", event, "--state", state]);
        if let Some(delivery) = list["data"].as_array().unwrap().first() {
            return delivery.clone();
        }
    }
    panic!("no delivery of {event} became {state}");
}

#[test]
fn it_says_where_it_is_and_stops_when_it_is_told() {
    let server = Server::start();
    assert!(
        server.address.starts_with("http://127.0.0.1:"),
        "{}",
        server.address
    );
    let (code, _) = server.stop();
    assert_eq!(code, Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let server = Server::start();
    // A receiver that takes the delivery and never answers: the drain would wait for it.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", silent.local_addr().unwrap());
    server.json(["webhooks", "create", &url, "--events", "*"]);
    server
        .run(["events", "send", "workflow.completed"])
        .expect(0);
    let _held = silent.accept().unwrap();
    server.terminate();
    let address = server.address.trim_start_matches("http://").to_owned();
    while TcpStream::connect(&address).is_ok() {}
    let (code, _) = server.stop();
    assert_eq!(code, Some(1));
}

#[test]
fn an_event_is_published_once_and_found_again() {
    let server = Server::start();
    let args = [
        "events",
        "send",
        "workflow.completed",
        "-d",
        r#"{"n": 1}"#,
        "--id",
        "order-17",
    ];
    let first = server.json(args);
    assert_eq!(
        (id(&first), &first["duplicate"]),
        ("order-17", &json!(false))
    );
    let again = server.run(args).expect(0);
    assert!(
        again.stdout.contains("published before"),
        "{}",
        again.stdout
    );
    let shown = server.json(["events", "show", "order-17"]);
    assert_eq!(shown["data"], json!({"n": 1}));
    let list = server
        .run(["events", "list", "--type", "workflow.completed"])
        .expect(0);
    assert!(list.stdout.contains("order-17"), "{}", list.stdout);
    assert_eq!(list.stdout.lines().count(), 2, "{}", list.stdout);
}

#[test]
fn numbers_keep_their_digits_or_are_refused_with_their_place() {
    let server = Server::start();
    let data = r#"{"big": {"n": 12345678901234567890123}}"#;
    let refused = server
        .run(["events", "send", "workflow.completed", "-d", data])
        .expect(1);
    assert!(refused.stderr.contains("big.n"), "{}", refused.stderr);
    let sent = server.json([
        "events",
        "send",
        "workflow.completed",
        "-d",
        data,
        "--numbers",
        "verbatim",
    ]);
    let shown = finish(
        server.command(["events", "show", id(&sent)]).arg("--json"),
        "",
    )
    .expect(0);
    assert!(
        shown.stdout.contains(r#""data":{"big":"#),
        "{}",
        shown.stdout
    );
}

#[test]
fn data_comes_from_standard_input_and_many_are_sent_at_once() {
    let server = Server::start();
    let mut send = server.command(["events", "send", "workflow.completed", "-d", "-", "--json"]);
    let sent = finish(&mut send, r#"{"from": "a pipe"}"#).expect(0).json();
    assert_eq!(
        server.json(["events", "show", id(&sent)])["data"],
        json!({"from": "a pipe"})
    );
    let many = server.json(["events", "send", "workflow.failed", "--count", "40"]);
    assert_eq!(many["accepted"], 40);
    let list = server.json([
        "events",
        "list",
        "--type",
        "workflow.failed",
        "--limit",
        "300",
    ]);
    assert_eq!(list["data"].as_array().unwrap().len(), 40);
}

#[test]
fn a_webhook_is_created_changed_tested_and_removed() {
    let server = Server::start();
    let receiver = Receiver::start([]);
    let made = webhook(
        &server,
        &receiver,
        &["--timeout", "5s", "--schedule", "5s,1m", "-H", "X-Team: a"],
    );
    assert!(made["secret"].as_str().unwrap().starts_with("whsec_"));
    assert_eq!(
        (&made["timeoutMs"], &made["name"]),
        (&json!(5_000), &json!("127.0.0.1"))
    );
    let test = server.run(["webhooks", "test", id(&made)]).expect(0);
    assert!(test.stdout.contains("delivered"), "{}", test.stdout);
    let (head, _) = receiver.next();
    assert!(head.to_ascii_lowercase().contains("x-team: a"), "{head}");
    let changed = server.json([
        "webhooks",
        "update",
        id(&made),
        "--name",
        "orders",
        "--rate",
        "5",
    ]);
    assert_eq!(
        (&changed["name"], &changed["ratePerSecond"]),
        (&json!("orders"), &json!(5.0))
    );
    assert_eq!(
        server.json(["webhooks", "disable", id(&made)])["isActive"],
        false
    );
    assert_eq!(
        server.json(["webhooks", "enable", id(&made)])["isActive"],
        true
    );
    let rotated = server.json(["webhooks", "rotate-secret", id(&made), "--overlap", "1h"]);
    assert_ne!(rotated["secret"], made["secret"]);
    assert_eq!(server.json(["webhooks", "stats", id(&made)])["attempts"], 1);
    let table = server.run(["webhooks", "list"]).expect(0);
    assert!(
        table.stdout.contains("orders") && table.stdout.contains("active"),
        "{}",
        table.stdout
    );
    server
        .run(["webhooks", "delete", id(&made), "--yes"])
        .expect(0);
    let gone = server.run(["webhooks", "show", id(&made)]).expect(1);
    assert!(gone.stderr.contains("404"), "{}", gone.stderr);
}

#[test]
fn what_the_server_refuses_names_the_field_and_what_was_meant() {
    let server = Server::start();
    let refused = server
        .run([
            "webhooks",
            "create",
            "https://example.com",
            "--events",
            "workflow.complete",
        ])
        .expect(1);
    assert!(
        refused.stderr.contains("workflow.completed"),
        "{}",
        refused.stderr
    );
    let refused = server
        .run([
            "webhooks",
            "create",
            "http://169.254.169.254/",
            "--events",
            "*",
        ])
        .expect(1);
    assert!(refused.stderr.contains("targetUrl"), "{}", refused.stderr);
}

#[test]
fn a_delivery_shows_its_attempts_and_is_sent_again_by_hand() {
    let server = Server::start();
    let receiver = Receiver::start([500]);
    let made = webhook(&server, &receiver, &["--schedule", "none"]);
    let sent = server.json(["events", "send", "workflow.completed"]);
    let dead = delivery_in(&server, id(&sent), "dead");
    let shown = server.run(["deliveries", "show", id(&dead)]).expect(0);
    assert!(
        shown.stdout.contains("✗ 500") && shown.stdout.contains("> webhook-id: "),
        "{}",
        shown.stdout
    );
    server.run(["deliveries", "retry", id(&dead)]).expect(0);
    let delivered = delivery_in(&server, id(&sent), "delivered");
    let log = server.json(["deliveries", "show", id(&delivered)])["attempts"].clone();
    let statuses: Vec<_> = log
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| attempt["status"].clone())
        .collect();
    assert_eq!(statuses, [500, 200]);
    let of_webhook = server.json(["webhooks", "deliveries", id(&made), "--state", "delivered"]);
    assert_eq!(of_webhook["data"].as_array().unwrap().len(), 1);
}

#[test]
fn what_was_given_up_is_replayed_and_waited_for() {
    let server = Server::start();
    let receiver = Receiver::start([503, 503]);
    let made = webhook(&server, &receiver, &["--schedule", "none"]);
    let sent = server.json(["events", "send", "workflow.completed", "-d", r#"{"n": 1}"#]);
    delivery_in(&server, id(&sent), "dead");
    let (_, first) = receiver.next();
    let one = server.json([
        "replay",
        "--webhook",
        id(&made),
        "--event",
        id(&sent),
        "--wait",
    ]);
    assert_eq!(
        (&one["state"], &one["created"]),
        (&json!("completed"), &json!(1))
    );
    receiver.next();
    let failed = server
        .run([
            "replay",
            "--webhook",
            id(&made),
            "--failed-since",
            "1h",
            "--wait",
        ])
        .expect(0);
    assert!(
        failed.stdout.contains("deliveries made"),
        "{}",
        failed.stdout
    );
    let (_, again) = receiver.next();
    assert_eq!(first, again);
}

#[test]
fn event_types_of_ones_own_are_registered_and_enforced() {
    let server = Server::start();
    let schema = r#"{"type":"object","required":["amount"]}"#;
    server
        .run([
            "event-types",
            "create",
            "order.paid",
            "--schema",
            schema,
            "--enforce",
        ])
        .expect(0);
    let refused = server
        .run(["events", "send", "order.paid", "-d", "{}"])
        .expect(1);
    assert!(refused.stderr.contains("amount"), "{}", refused.stderr);
    server
        .run(["events", "send", "order.paid", "-d", r#"{"amount": 3}"#])
        .expect(0);
    let shown = server.run(["event-types", "show", "order.paid"]).expect(0);
    assert!(shown.stdout.contains("required"), "{}", shown.stdout);
    let list = server.run(["event-types", "list"]).expect(0);
    assert!(list.stdout.contains("workflow.completed") && list.stdout.contains("order.paid"));
    server
        .run(["event-types", "delete", "order.paid"])
        .expect(0);
    server
        .run(["event-types", "delete", "workflow.completed"])
        .expect(1);
}

#[test]
fn a_key_is_shown_once_and_opens_what_its_scope_covers() {
    let server = Server::start();
    let made = server.json([
        "keys",
        "create",
        "ci",
        "--scopes",
        "events:write",
        "--expires-in",
        "90d",
    ]);
    let key = made["key"].as_str().unwrap();
    let with_key = |args: &[&str]| finish(server.command(args).env("SIGNPOST_TOKEN", key), "");
    with_key(&["events", "send", "workflow.completed"]).expect(0);
    let forbidden = with_key(&["webhooks", "list"]).expect(1);
    assert!(forbidden.stderr.contains("403"), "{}", forbidden.stderr);
    let list = server.run(["keys", "list"]).expect(0);
    assert!(
        list.stdout.contains("live") && !list.stdout.contains(key),
        "{}",
        list.stdout
    );
    server.run(["keys", "revoke", id(&made)]).expect(0);
    let refused = with_key(&["events", "send", "workflow.completed"]).expect(1);
    assert!(
        refused.stderr.contains("signpost token"),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_flag_can_be_set_by_its_environment_variable() {
    let server = Server::start();
    let mut send = server.command(["events", "send", "workflow.completed", "--json"]);
    let sent = finish(send.env("SIGNPOST_EVENTS_SEND_COUNT", "3"), "")
        .expect(0)
        .json();
    assert_eq!(sent["accepted"], 3);
}

#[test]
fn the_doctor_finds_a_running_server_well() {
    let server = Server::start();
    let port = server.address.rsplit(':').next().unwrap();
    let args = ["doctor", "--offline", "--port", port, "--data-dir"];
    let ended = finish(
        server
            .command(args)
            .arg(server.folder.path().join("data"))
            .arg("--json"),
        "",
    )
    .expect(0);
    let checks = ended.json()["checks"].clone();
    let verdict = |name: &str| {
        let found = checks
            .as_array()
            .unwrap()
            .iter()
            .find(|check| check["check"] == name);
        found.unwrap()["verdict"].clone()
    };
    for name in [
        "data folder",
        "key file",
        "database",
        "clock",
        "port",
        "server",
    ] {
        assert_eq!(verdict(name), "ok", "{name}: {checks}");
    }
}

#[test]
fn a_folder_in_use_and_a_port_in_use_are_said() {
    let server = Server::start();
    let data = server.folder.path().join("data");
    let second = finish(
        crate::program::command()
            .args(["serve", "--port", "0", "--data-dir"])
            .arg(&data),
        "",
    )
    .expect(1);
    assert!(
        second.stderr.contains("in use") && second.stderr.contains("--data-dir"),
        "{}",
        second.stderr
    );
    let port = server.address.rsplit(':').next().unwrap();
    let other = tempfile::tempdir().unwrap();
    let other = other.path().join("data").display().to_string();
    let taken = run(["serve", "--port", port, "--data-dir", &other]).expect(1);
    assert!(taken.stderr.contains("--port 0"), "{}", taken.stderr);
}
