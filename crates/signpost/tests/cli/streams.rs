//! What keeps printing: listening, and following the log.

use crate::{
    online::delivery_in,
    program::{Receiver, Server, Streaming},
};

#[test]
fn a_listener_gets_what_a_webhook_would_verifies_it_and_hands_it_on() {
    let server = Server::start();
    let receiver = Receiver::start([202]);
    let args = [
        "listen",
        "--events",
        "workflow.*",
        "--forward-to",
        &receiver.url,
        "--max",
        "1",
    ];
    let mut listener = Streaming::start(&mut server.command(args));
    let ready = listener.next();
    assert!(
        ready["ready"]["secret"]
            .as_str()
            .unwrap()
            .starts_with("whsec_"),
        "{ready}"
    );
    server.run(["events", "send", "agent.completed"]).expect(0);
    server
        .run(["events", "send", "workflow.completed", "-d", r#"{"n": 1}"#])
        .expect(0);
    let heard = listener.next();
    assert_eq!(heard["event"], "workflow.completed");
    assert_eq!(heard["verified"], true);
    assert_eq!(heard["forwarded"]["status"], 202);
    let (head, body) = receiver.next();
    assert_eq!(heard["body"], body);
    assert!(
        head.to_ascii_lowercase().contains("webhook-signature: v1,"),
        "{head}"
    );
    assert_eq!(listener.code(), Some(0));
}

#[test]
fn a_listener_for_a_person_says_what_arrived() {
    let server = Server::start();
    let mut command = server.command(["listen", "--max", "1"]);
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    std::io::BufRead::read_line(&mut lines, &mut first).unwrap();
    assert!(
        first.starts_with("listening; signed with whsec_"),
        "{first}"
    );
    server
        .run([
            "events",
            "send",
            "workflow.completed",
            "-d",
            r#"{"esc": "\u001b[2J"}"#,
        ])
        .expect(0);
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut lines, &mut rest).unwrap();
    assert!(
        rest.contains("✓ signature") && !rest.contains('\u{1b}'),
        "{rest}"
    );
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_log_is_followed_failures_only_if_asked() {
    let server = Server::start();
    let receiver = Receiver::start([500]);
    server.json([
        "webhooks",
        "create",
        &receiver.url,
        "--events",
        "*",
        "--schedule",
        "none",
    ]);
    let failed = server.json(["events", "send", "workflow.failed"]);
    delivery_in(&server, failed["id"].as_str().unwrap(), "dead");
    // The stream stands before the past is read, so the first line of the past says that it does.
    let args = ["logs", "--follow", "--max", "1"];
    let mut all = Streaming::start(&mut server.command(args));
    assert_eq!(all.next()["event"], "workflow.failed");
    server
        .run(["events", "send", "workflow.completed"])
        .expect(0);
    let attempt = loop {
        let line = all.next();
        if line["event"] == "workflow.completed" {
            break line;
        }
    };
    assert_eq!(
        (attempt["number"].as_u64(), attempt["status"].as_u64()),
        (Some(1), Some(200))
    );
    assert_eq!(all.code(), Some(0));
    let failed = server.run(["logs", "--failed"]).expect(0);
    assert!(
        failed.stdout.contains("✗ 500") && !failed.stdout.contains("✓"),
        "{}",
        failed.stdout
    );
}

#[test]
fn a_lost_connection_is_made_again() {
    let server = Server::start();
    let mut listener = Streaming::start(&mut server.command(["listen", "--max", "1"]));
    let first = listener.next()["ready"]["secret"].clone();
    let port = server.address.rsplit(':').next().unwrap().to_owned();
    let (_, folder) = server.stop();
    let server = Server::start_at(folder, &port);
    let second = listener.next()["ready"]["secret"].clone();
    assert_ne!(first, second);
    server
        .run(["events", "send", "workflow.completed"])
        .expect(0);
    assert_eq!(listener.next()["verified"], true);
}
