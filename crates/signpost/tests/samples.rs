//! The seed documents' sample code, as it stands, against the real program.
//!
//! Each sample is taken out of its document when the test runs, and put to work in a real Express
//! or Flask server, or with the published Standard Webhooks libraries. A running Signpost delivers
//! hundreds of hard payloads to it and it must take each; then it gets copies of those deliveries
//! in which a character of the body or of the signature differs, and must refuse each.
//!
//! Needs the documents, Node and Python with their packages (`./test` installs these): without
//! them a test says what is missing and passes.

#[path = "samples/mod.rs"]
mod harness;

use http::HeaderMap;
use serde_json::{Value, json};
use testkit::{Received, Receiver};

use harness::{
    api::Api,
    corpora::{Payload, payloads},
    peers::{Extracted, Peer, Runtimes},
    program::Installation,
    seeds::Seed,
    subscriber::{Subscriber, publish},
};

/// Of the deliveries, each nth is also sent as tampered copies.
const TAMPERED_STRIDE: usize = 7;
/// A secret that Standard Webhooks libraries understand: base64 of 24 bytes.
const STANDARD_SECRET: &str = "whsec_c2lnbnBvc3QgdGVzdHMsIG5vdCBzZWNyZXQ=";
/// Another.
const NEW_SECRET: &str = "whsec_YW5vdGhlciBvbmUgdGhhdCBpcyBwdWJsaWMsIHRvbw==";
/// The secret in S1's and S2's samples.
const S1_SECRET: &str = "your_webhook_secret";
const S2_SECRET: &str = "your-webhook-secret";

/// A sample that runs, and how Signpost has to send to it.
struct Sample {
    name: &'static str,
    peer: Peer,
    path: &'static str,
    format: &'static str,
    secret: &'static str,
    /// The header that it verifies.
    header: &'static str,
}

#[tokio::test(flavor = "multi_thread")]
async fn s0_express_takes_deliveries_and_refuses_tampered_ones() {
    let (Some(seed), Some(runtimes)) = (Seed::read(0), Runtimes::find()) else {
        return;
    };
    let files = Extracted::new();
    let file = files.file(
        "s0.js",
        seed.block("javascript", "function verifyWebhookSignature"),
    );
    let args = [
        &file,
        "verifyWebhookSignature",
        "x-webhook-signature",
        STANDARD_SECRET,
    ];
    let s0 = Sample {
        name: "S0's function in Express",
        peer: runtimes.node_script("express_function.js", &args),
        path: "/webhook",
        format: "default",
        secret: STANDARD_SECRET,
        header: "x-webhook-signature",
    };
    holds_in(&[s0], &[], &payloads()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s1_flask_and_express_take_deliveries_and_refuse_tampered_ones() {
    let (Some(seed), Some(runtimes)) = (Seed::read(1), Runtimes::find()) else {
        return;
    };
    let files = Extracted::new();
    let flask = files.file("s1.py", seed.block("python", "app.run(port=5000)"));
    let express = files.file("s1.js", seed.block("javascript", "app.listen(5000"));
    let sample = |name, peer| Sample {
        name,
        peer,
        path: "/webhooks/agentfactory",
        format: "agent-factory",
        secret: S1_SECRET,
        header: "x-agentfactory-signature",
    };
    let samples = [
        sample(
            "S1's Flask app",
            runtimes.python_script("flask_on_free_port.py", &[&flask]),
        ),
        sample("S1's Express app", runtimes.node(express.as_ref(), &[])),
    ];
    // The handlers read snake_case: these events must arrive that way however they are published.
    let own = [
        (
            "agent.created",
            r#"{"agentId":"agent_123","agentName":"Customer Support Bot"}"#,
        ),
        (
            "conversation.message",
            r#"{"conversationId":"conv_789","messageId":"msg_101","message":"Hello, how can I help you?"}"#,
        ),
    ];
    holds_in(&samples, &own, &payloads()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_express_takes_deliveries_and_refuses_tampered_ones() {
    let (Some(seed), Some(runtimes)) = (Seed::read(2), Runtimes::find()) else {
        return;
    };
    let files = Extracted::new();
    let handler = files.file("s2.js", seed.block("javascript", "app.post('/webhook'"));
    let peer = runtimes.node_script("express_handler.js", &[&handler]);

    let program = Installation::start(&[]);
    let api = Api::new(program.address());
    // Made as the document makes it, its URL apart; and a recorder like it.
    let recorder = Receiver::ok().await;
    let mut webhooks = Vec::new();
    for url in [peer.url("/webhook"), recorder.url()] {
        let mut body: Value =
            serde_json::from_str(&seed.request("POST", "/api/webhooks").body).expect("it is JSON");
        body["url"] = json!(url);
        body["events"] = json!(["*"]);
        let made = api.post("/api/webhooks", &body).await.expect(201);
        webhooks.push(Subscriber {
            id: made["id"].as_str().expect("an id is text").to_owned(),
        });
    }
    let count = publish_all(&api, &[], &payloads()).await;
    webhooks[0].took_all(&api, count, "S2's handler").await;

    // Its own way of testing a receiver, as the document shows it.
    let mut body: Value =
        serde_json::from_str(&seed.request("POST", "/api/webhooks/test").body).expect("it is JSON");
    body["url"] = json!(peer.url("/webhook"));
    let told = api.post("/api/webhooks/test", &body).await.expect(200);
    assert_eq!(
        told,
        json!({"success": true, "statusCode": 200, "message": "Webhook delivered successfully"})
    );
    body["secret"] = json!("another-secret");
    let told = api.post("/api/webhooks/test", &body).await.expect(200);
    assert_eq!(
        (&told["success"], &told["statusCode"]),
        (&json!(false), &json!(401)),
        "{told}"
    );

    let s2 = Sample {
        name: "S2's handler in Express",
        peer,
        path: "/webhook",
        format: "orchestration",
        secret: S2_SECRET,
        header: "x-webhook-signature",
    };
    refuses_tampered(&s2, &recorder.wait_for(count).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_webhooks_libraries_take_every_format_and_refuse_tampered_ones() {
    let Some(runtimes) = Runtimes::find() else {
        return;
    };
    let mut samples = Vec::new();
    for format in ["default", "agent-factory", "orchestration", "cloudevents"] {
        let sample = |name, peer| Sample {
            name,
            peer,
            path: "/0",
            format,
            secret: STANDARD_SECRET,
            header: "webhook-signature",
        };
        samples.push(sample(
            "npm standardwebhooks",
            runtimes.node_script("standard_webhooks.js", &[STANDARD_SECRET]),
        ));
        samples.push(sample(
            "PyPI standardwebhooks",
            runtimes.python_script("standard_webhooks.py", &[STANDARD_SECRET]),
        ));
    }
    let few: Vec<_> = payloads().into_iter().step_by(8).collect();
    holds_in(
        &samples,
        &[(
            "agent.created",
            r#"{"agentId":"a-1","Ünïcode":"\u00e9 ☃ 🦀"}"#,
        )],
        &few,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_and_new_secret_verify_while_a_rotation_overlaps() {
    let Some(runtimes) = Runtimes::find() else {
        return;
    };
    let secrets = [STANDARD_SECRET, NEW_SECRET];
    let peers = [
        (
            "npm",
            runtimes.node_script("standard_webhooks.js", &secrets),
        ),
        (
            "PyPI",
            runtimes.python_script("standard_webhooks.py", &secrets),
        ),
    ];
    let program = Installation::start(&[]);
    let api = Api::new(program.address());
    let recorder = Receiver::ok().await;
    let webhook =
        Subscriber::create(&api, &recorder.url(), &json!({"secret": STANDARD_SECRET})).await;
    let rotate = format!("/api/v1/webhooks/{}/rotate-secret", webhook.id);

    // What is asked of the server, and whether the old and the new secret verify what follows.
    let steps = [
        (None, [200, 401]),
        (
            Some(json!({"secret": NEW_SECRET, "overlapSeconds": 3600})),
            [200, 200],
        ),
        (
            Some(json!({"secret": NEW_SECRET, "overlapSeconds": 0})),
            [401, 200],
        ),
    ];
    for (number, (rotation, expected)) in steps.into_iter().enumerate() {
        if let Some(body) = rotation {
            let rotated = api.post(&rotate, &body).await.expect(200);
            assert_eq!(rotated["secret"], NEW_SECRET);
        }
        assert!(publish(&api, "workflow.completed", r#"{"workflowId":"w-1"}"#).await);
        let received = recorder.wait_for(number + 1).await;
        let delivery = &received[number];
        for (name, peer) in &peers {
            for (index, expected) in expected.into_iter().enumerate() {
                let to = Api::new(&peer.url(""));
                let answer = to
                    .post_copy(
                        &format!("/{index}"),
                        &delivery.headers,
                        delivery.body.clone(),
                    )
                    .await;
                assert_eq!(
                    answer.status, expected,
                    "{name}, step {number}, secret {index}: {delivery:?}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_prefix_stands_before_the_same_signature() {
    let program = Installation::start(&[]);
    let api = Api::new(program.address());
    let (bare, prefixed) = (Receiver::ok().await, Receiver::ok().await);
    let settings = json!({"format": "agent-factory", "secret": S1_SECRET});
    Subscriber::create(&api, &bare.url(), &settings).await;
    let mut settings = settings;
    settings["signaturePrefix"] = json!("sha256=");
    Subscriber::create(&api, &prefixed.url(), &settings).await;
    assert!(publish(&api, "agent.created", r#"{"agentId":"agent_123"}"#).await);
    let (bare, prefixed) = (bare.wait_for(1).await, prefixed.wait_for(1).await);
    let header = "x-agentfactory-signature";
    assert_eq!(
        prefixed[0].header(header),
        format!("sha256={}", bare[0].header(header))
    );
    assert_eq!(bare[0].header(header).len(), 64);
}

/// Delivers everything to each sample, which must take all of it and refuse what was tampered with.
async fn holds_in(samples: &[Sample], own: &[(&str, &str)], payloads: &[Payload]) {
    let program = Installation::start(&[]);
    let api = Api::new(program.address());
    let mut webhooks = Vec::new();
    for sample in samples {
        let settings = json!({"format": sample.format, "secret": sample.secret});
        let webhook = Subscriber::create(&api, &sample.peer.url(sample.path), &settings).await;
        // What this one records is what the sample gets.
        let recorder = Receiver::ok().await;
        Subscriber::create(&api, &recorder.url(), &settings).await;
        webhooks.push((sample, webhook, recorder));
    }
    let count = publish_all(&api, own, payloads).await;
    for (sample, webhook, recorder) in &webhooks {
        webhook.took_all(&api, count, sample.name).await;
        refuses_tampered(sample, &recorder.wait_for(count).await).await;
    }
}

/// Publishes the samples' own events and the payloads; how many were accepted.
async fn publish_all(api: &Api, own: &[(&str, &str)], payloads: &[Payload]) -> usize {
    // Where the corpora are missing there is something to verify all the same.
    let mut accepted = usize::from(
        publish(
            api,
            "workflow.completed",
            r#"{"b":1.50,"10":"é","a":[1e2,-0]}"#,
        )
        .await,
    );
    for (event, data) in own {
        assert!(publish(api, event, data).await, "{data} is taken");
        accepted += 1;
    }
    for payload in payloads {
        let taken = publish(api, "samples.payload", &payload.text).await;
        assert!(
            taken || !payload.is_plain,
            "{} loses nothing in a double: it must be taken",
            payload.text
        );
        accepted += usize::from(taken);
    }
    eprintln!("{accepted} events published");
    accepted
}

/// Sends copies of recorded deliveries: a true one is taken, a tampered one refused.
async fn refuses_tampered(sample: &Sample, recorded: &[Received]) {
    let to = Api::new(&sample.peer.url(""));
    let send = async |headers: &HeaderMap, body: &str| {
        to.post_copy(sample.path, headers, body.to_owned())
            .await
            .status
            .as_u16()
    };
    for delivery in recorded.iter().step_by(TAMPERED_STRIDE) {
        let body = std::str::from_utf8(&delivery.body).expect("bodies are UTF-8");
        assert_eq!(
            send(&delivery.headers, body).await,
            200,
            "{} takes a true copy: {body}",
            sample.name
        );
        assert_eq!(
            send(&delivery.headers, &tampered_body(body)).await,
            401,
            "{} refuses another body: {body}",
            sample.name
        );
        let mut headers = delivery.headers.clone();
        let altered = tampered_signature(delivery.header(sample.header));
        headers.insert(sample.header, altered.parse().expect("it is a valid value"));
        assert_eq!(
            send(&headers, body).await,
            401,
            "{} refuses {altered}: {body}",
            sample.name
        );
    }
}

/// Another minute in the event's time: one byte differs, and so does the value that is parsed.
fn tampered_body(body: &str) -> String {
    let field = ["\"timestamp\":\"", "\"time\":\""]
        .iter()
        .find_map(|name| Some(body.find(name)? + name.len()));
    // 2026-01-31T09:30:00Z: the minute's last digit is the 16th character.
    let at = field.expect("every body has a time") + 15;
    let digit = if &body[at..=at] == "0" { "1" } else { "0" };
    format!("{}{digit}{}", &body[..at], &body[at + 1..])
}

/// The same length and alphabet, one character differs.
fn tampered_signature(signature: &str) -> String {
    let at = signature.len() / 2;
    let other = if &signature[at..=at] == "0" { "1" } else { "0" };
    format!("{}{other}{}", &signature[..at], &signature[at + 1..])
}
