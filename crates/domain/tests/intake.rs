//! Inbound verification against the corpora of signatures and of providers' payloads. Says so and
//! passes where the corpora are not beside the project.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::{
    Timestamp,
    intake::{
        Headers, Preset, Refusal, Request, SourceConfig, Verified,
        config::{Algorithm, Encoding, HmacConfig},
        handshake, verify,
    },
};
use ring::hmac;
use serde_json::{Value, json};

const NOW_S: i64 = 1_781_000_000;
const URL: &str = "https://hooks.example.com/webhooks/x";

fn corpus(path: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpora");
    let found = folder.join(path);
    if found.exists() {
        Some(found)
    } else {
        println!("skipped: {} is not there", found.display());
        None
    }
}

fn config(preset: Preset) -> SourceConfig {
    SourceConfig {
        preset,
        ..SourceConfig::default()
    }
}

fn own(header: &str) -> SourceConfig {
    let hmac: HmacConfig = serde_json::from_value(json!({ "header": header })).unwrap();
    SourceConfig {
        hmac: Some(hmac),
        ..config(Preset::Hmac)
    }
}

fn profile(name: &str) -> SourceConfig {
    match name {
        "generic-hex" | "seed3-generic" => config(Preset::Generic),
        "seed4-uptiq" => own("x-signature"),
        "seed4-uptiq+canonical-fallback" => SourceConfig {
            canonical_fallback: true,
            ..own("x-signature")
        },
        "seed1-agentfactory" => own("X-AgentFactory-Signature"),
        "github" => config(Preset::Github),
        "shopify" => config(Preset::Shopify),
        "slack" => config(Preset::Slack),
        "stripe" => config(Preset::Stripe),
        "standard-webhooks" => config(Preset::StandardWebhooks),
        other => panic!("no preset for profile {other}"),
    }
}

fn check(
    config: &SourceConfig,
    secrets: &[&[u8]],
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Verified, Refusal> {
    check_at(config, secrets, headers, body, NOW_S)
}

fn check_at(
    config: &SourceConfig,
    secrets: &[&[u8]],
    headers: &[(&str, &str)],
    body: &[u8],
    now_s: i64,
) -> Result<Verified, Refusal> {
    let headers = Headers::new(
        headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    let request = Request {
        method: "POST",
        url: URL,
        query: "",
        headers: &headers,
        body,
    };
    verify(config, secrets, &request, Timestamp::from_ms(now_s * 1_000))
}

fn tag(algorithm: hmac::Algorithm, secret: &[u8], content: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(algorithm, secret);
    hmac::sign(&key, content).as_ref().to_vec()
}

fn hex256(secret: &[u8], content: &[u8]) -> String {
    hex::encode(tag(hmac::HMAC_SHA256, secret, content))
}

#[test]
fn every_vector_is_decided_as_it_says() {
    let Some(path) = corpus("signatures/vectors.jsonl") else {
        return;
    };
    let mut count = 0;
    for line in fs::read_to_string(path).unwrap().lines() {
        let vector: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| vector[key].as_str().unwrap();
        let headers: Vec<(&str, &str)> = vector["headers"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
            .collect();
        let body = STANDARD.decode(text("body_b64")).unwrap();
        let config = profile(text("profile"));
        assert_eq!(config.faults(), []);
        let secrets: [&[u8]; 3] = [b"another", b"", text("secret").as_bytes()];
        let now = vector["now"].as_i64().unwrap();
        let outcome = check_at(&config, &secrets, &headers, &body, now);
        assert_eq!(
            outcome.is_ok(),
            text("expect") == "accept",
            "{} {}: {outcome:?}",
            text("id"),
            text("why")
        );
        if let Some(canonical) = vector["canonical"].as_str() {
            let processed = outcome.unwrap().canonical;
            assert_eq!(
                processed.as_deref(),
                Some(canonical.as_bytes()),
                "{}",
                text("id")
            );
        }
        count += 1;
    }
    assert!(count > 200, "only {count} vectors");
    println!("{count} vectors");
}

fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            files(&path, into);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            into.push(path);
        }
    }
}

/// Runs `check` over every JSON file of a corpus; tampering with any must make it fail.
fn each(folder: &str, check: impl Fn(&Path, &[u8], &[u8]) -> Result<Verified, Refusal>) {
    let Some(folder) = corpus(folder) else {
        return;
    };
    let mut paths = Vec::new();
    files(&folder, &mut paths);
    for path in &paths {
        let body = fs::read(path).unwrap();
        let verified = check(path, &body, &body).unwrap();
        assert!(verified.payload.is_ok(), "{}", path.display());
        let mut tampered = body.clone();
        tampered.push(b' ');
        let refused = check(path, &body, &tampered).unwrap_err();
        assert_eq!(refused.kind, "signature_mismatch");
    }
    println!("{} payloads of {}", paths.len(), folder.display());
}

#[test]
fn github_s_payloads_verify_and_name_their_delivery() {
    let config = config(Preset::Github);
    each("github-webhooks", |path, signed, sent| {
        let signature = format!("sha256={}", hex256(b"It's a Secret", signed));
        let event = path.parent().unwrap().file_name().unwrap();
        let headers = [
            ("content-type", "application/json"),
            ("X-Hub-Signature-256", &signature),
            ("X-GitHub-Delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
            ("X-GitHub-Event", event.to_str().unwrap()),
        ];
        let verified = check(&config, &[b"It's a Secret"], &headers, sent)?;
        assert_eq!(
            verified.event_id.as_deref(),
            Some("72d3162e-cc78-11e3-81ab-4c9367dc0958")
        );
        assert_eq!(verified.event_type.as_deref(), event.to_str());
        Ok(verified)
    });
}

#[test]
fn stripe_s_events_verify_and_name_themselves() {
    let config = config(Preset::Stripe);
    each("stripe/webhook-events", |_, signed, sent| {
        let content = [format!("{NOW_S}.").as_bytes(), signed].concat();
        let signature = hex256(b"whsec_stripe", &content);
        let signature = format!("t={NOW_S},v1={},v1={signature}", "0".repeat(64));
        let headers = [("Stripe-Signature", signature.as_str())];
        let verified = check(&config, &[b"whsec_stripe"], &headers, sent)?;
        let payload: Value = serde_json::from_slice(signed).unwrap();
        assert_eq!(verified.event_id.as_deref(), payload["id"].as_str());
        assert_eq!(verified.event_type.as_deref(), payload["type"].as_str());
        Ok(verified)
    });
}

#[test]
fn slack_s_payloads_verify() {
    let config = config(Preset::Slack);
    let signature = |body: &[u8]| {
        let content = [format!("v0:{NOW_S}:").as_bytes(), body].concat();
        format!("v0={}", hex256(b"slack", &content))
    };
    let stamp = NOW_S.to_string();
    each("slack", |_, signed, sent| {
        let signature = signature(signed);
        let headers = [
            ("X-Slack-Signature", signature.as_str()),
            ("X-Slack-Request-Timestamp", &stamp),
        ];
        check(&config, &[b"slack"], &headers, sent)
    });
    // The corpus has empty ids; a real one is found.
    let body = br#"{"type":"event_callback","event_id":"Ev08","event":{"type":"file_unshared"}}"#;
    let signature = signature(body);
    let headers = [
        ("X-Slack-Signature", signature.as_str()),
        ("X-Slack-Request-Timestamp", &stamp),
    ];
    let verified = check(&config, &[b"slack"], &headers, body).unwrap();
    assert_eq!(verified.event_id.as_deref(), Some("Ev08"));
    assert_eq!(verified.event_type.as_deref(), Some("file_unshared"));
}

#[test]
fn it_fails_closed() {
    let signature = hex256(b"", b"{}");
    let headers = [("x-signature", signature.as_str())];
    let generic = config(Preset::Generic);
    let kind = |secrets: &[&[u8]], headers: &[(&str, &str)]| {
        check(&generic, secrets, headers, b"{}").unwrap_err().kind
    };
    assert_eq!(kind(&[], &headers), "no_secret");
    assert_eq!(kind(&[b""], &headers), "no_secret");
    assert_eq!(kind(&[b"s"], &[]), "signature_missing");
    assert_eq!(kind(&[b"s"], &[("x-signature", "")]), "signature_missing");
    assert_eq!(
        kind(&[b"s"], &[("x-signature", "sha256=")]),
        "signature_malformed"
    );
    assert_eq!(kind(&[b"s"], &headers), "signature_mismatch");
    let open = config(Preset::None);
    assert!(check(&open, &[], &[], b"{}").is_ok());
    assert_eq!(
        check(&open, &[b"s"], &[], b"{}").unwrap_err().kind,
        "not_configured"
    );
    let undescribed = config(Preset::Hmac);
    assert!(!undescribed.faults().is_empty());
    assert_eq!(
        check(&undescribed, &[b"s"], &headers, b"{}")
            .unwrap_err()
            .kind,
        "not_configured"
    );
}

#[test]
fn a_body_may_be_any_bytes_and_any_json() {
    for body in [
        &b"\xff\xfe\x00"[..],
        b"",
        b"[1,2]",
        b"3",
        b"a=1&a=2",
        b"{\"a\":",
    ] {
        let signature = hex256(b"s", body);
        let headers = [("x-signature", signature.as_str())];
        let verified = check(&config(Preset::Generic), &[b"s"], &headers, body).unwrap();
        assert!(verified.payload.is_ok(), "{body:?}");
    }
    let signature = hex256(b"s", b"{\"a\":");
    let headers = [
        ("x-signature", signature.as_str()),
        ("content-type", "application/json"),
    ];
    let verified = check(&config(Preset::Generic), &[b"s"], &headers, b"{\"a\":").unwrap();
    assert!(verified.payload.unwrap_err().contains("not JSON"));
}

#[test]
fn a_sender_s_own_scheme_is_described() {
    let body = b"{\"id\":17}";
    let cases = [
        (Algorithm::Sha1, hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
        (Algorithm::Sha256, hmac::HMAC_SHA256),
        (Algorithm::Sha512, hmac::HMAC_SHA512),
    ];
    for (algorithm, ring) in cases {
        let config = SourceConfig {
            hmac: Some(HmacConfig {
                algorithm,
                header: "X-Sig".to_owned(),
                encoding: Encoding::Base64,
                prefix: "mac:".to_owned(),
                timestamp_header: Some("X-Time".to_owned()),
                content: Some("{id}|{timestamp}|{method}|{body}".to_owned()),
                id_header: Some("X-Id".to_owned()),
            }),
            ..config(Preset::Hmac)
        };
        assert_eq!(config.faults(), []);
        for (stamp, fits) in [
            (format!("{NOW_S}"), true),
            (format!("{NOW_S}123"), true),
            ("2026-06-09T10:13:20Z".to_owned(), true),
            (format!("{}", NOW_S + 301), false),
        ] {
            let content = format!("i7|{stamp}|POST|{{\"id\":17}}");
            let signature = STANDARD.encode(tag(ring, b"key", content.as_bytes()));
            let signature = format!("mac:{signature}");
            let headers = [
                ("x-sig", signature.as_str()),
                ("x-time", stamp.as_str()),
                ("x-id", "i7"),
            ];
            let outcome = check(&config, &[b"key"], &headers, body);
            assert_eq!(outcome.is_ok(), fits, "{stamp}: {outcome:?}");
            if let Ok(verified) = outcome {
                assert_eq!(verified.event_id.as_deref(), Some("17"));
            }
        }
    }
}

#[test]
fn a_scheme_that_signs_too_little_is_refused() {
    for (content, timestamp) in [
        ("{timestamp}", Some("X-Time")),
        ("{body}", Some("X-Time")),
        ("{timestamp}.{body}", None),
        ("{id}.{body}", None),
        ("{body}{nonsense}", None),
        ("{body", None),
    ] {
        let config = SourceConfig {
            hmac: Some(HmacConfig {
                content: Some(content.to_owned()),
                timestamp_header: timestamp.map(str::to_owned),
                ..own("X-Sig").hmac.unwrap()
            }),
            ..config(Preset::Hmac)
        };
        assert_eq!(config.faults()[0].path, "hmac.content", "{content}");
    }
}

#[test]
fn twilio_signs_the_url_and_the_fields() {
    // Twilio's own example of its documentation.
    let form = b"CallSid=CA1234567890ABCDE&Caller=%2B14158675310&Digits=1234&From=%2B14158675310&To=%2B18005551212";
    let url = "https://example.com/myapp.php?foo=1&bar=2";
    let headers = |signature: &str| {
        Headers::new([
            (
                "content-type".to_owned(),
                "application/x-www-form-urlencoded".to_owned(),
            ),
            ("X-Twilio-Signature".to_owned(), signature.to_owned()),
            (
                "I-Twilio-Idempotency-Token".to_owned(),
                "token-1".to_owned(),
            ),
        ])
    };
    let content = format!(
        "{url}CallSidCA1234567890ABCDECaller+14158675310Digits1234From+14158675310To+18005551212"
    );
    let signature = STANDARD.encode(tag(
        hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        b"12345",
        content.as_bytes(),
    ));
    let good = headers(&signature);
    let request = |url, body| Request {
        method: "POST",
        url,
        query: "foo=1&bar=2",
        headers: &good,
        body,
    };
    let now = Timestamp::from_ms(0);
    let config = config(Preset::Twilio);
    let verified = verify(&config, &[b"12345"], &request(url, form), now).unwrap();
    assert_eq!(verified.event_id.as_deref(), Some("token-1"));
    assert_eq!(verified.payload.unwrap()["From"], "+14158675310");
    assert!(verify(&config, &[b"12345"], &request(URL, form), now).is_err());
    assert!(verify(&config, &[b"12345"], &request(url, b"Digits=1"), now).is_err());
}

#[test]
fn tokens_and_passwords_are_compared_whole() {
    let telegram = config(Preset::Telegram);
    let name = "X-Telegram-Bot-Api-Secret-Token";
    let body = br#"{"update_id":10000,"message":{"text":"/start"}}"#;
    let verified = check(&telegram, &[b"tok"], &[(name, "tok")], body).unwrap();
    assert_eq!(verified.event_id.as_deref(), Some("10000"));
    for wrong in ["to", "tokk", "TOK", ""] {
        assert!(check(&telegram, &[b"tok"], &[(name, wrong)], body).is_err());
    }
    let basic = config(Preset::Basic);
    let good = format!("Basic {}", STANDARD.encode("ann:pw"));
    assert!(check(&basic, &[b"ann:pw"], &[("authorization", &good)], b"").is_ok());
    for wrong in ["Basic YW5u", "Bearer ann:pw", "Basic", "Basic ann:pw"] {
        assert!(check(&basic, &[b"ann:pw"], &[("authorization", wrong)], b"").is_err());
    }
    let key = SourceConfig {
        header: Some("X-Token".to_owned()),
        ..config(Preset::ApiKey)
    };
    assert!(check(&key, &[b"k1", b"k2"], &[("x-token", "k2")], b"").is_ok());
    assert!(check(&key, &[b"k1", b"k2"], &[("x-api-key", "k2")], b"").is_err());
}

#[test]
fn linear_s_time_is_in_the_body() {
    let linear = config(Preset::Linear);
    for (at, fits) in [(NOW_S, true), (NOW_S - 301, false), (NOW_S + 301, false)] {
        let body = format!("{{\"type\":\"Issue\",\"webhookTimestamp\":{at}000}}");
        let signature = hex256(b"s", body.as_bytes());
        let headers = [
            ("Linear-Signature", signature.as_str()),
            ("Linear-Delivery", "d-1"),
            ("content-type", "application/json; charset=utf-8"),
        ];
        let outcome = check(&linear, &[b"s"], &headers, body.as_bytes());
        assert_eq!(outcome.is_ok(), fits, "{outcome:?}");
    }
}

#[test]
fn handshakes_are_answered() {
    let slack = config(Preset::Slack);
    let asked = json!({"type": "url_verification", "challenge": "3eZb"});
    let answer = handshake::of_payload(&slack, &[b"s"], &asked).unwrap();
    assert_eq!(answer.body, r#"{"challenge":"3eZb"}"#);
    assert_eq!(handshake::of_payload(&slack, &[b"s"], &json!({})), None);

    let zoom = config(Preset::Zoom);
    let asked = json!({"event": "endpoint.url_validation", "payload": {"plainToken": "qgg8"}});
    let answer = handshake::of_payload(&zoom, &[b"s"], &asked).unwrap();
    let answer: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(answer["encryptedToken"], hex256(b"s", b"qgg8"));

    let meta = config(Preset::Whatsapp);
    let headers = Headers::default();
    let ask = |query| {
        let request = Request {
            method: "GET",
            url: URL,
            query,
            headers: &headers,
            body: b"",
        };
        handshake::of_query(&meta, &[b"", b"tok"], &request)
    };
    let answer = ask("hub.mode=subscribe&hub.verify_token=tok&hub.challenge=1158").unwrap();
    assert_eq!(answer.unwrap().body, "1158");
    for wrong in [
        "hub.mode=subscribe&hub.verify_token=no&hub.challenge=1",
        "hub.mode=subscribe&hub.verify_token=&hub.challenge=1",
    ] {
        assert!(ask(wrong).unwrap().is_err());
    }
    assert_eq!(ask(""), None);
}

#[test]
fn a_configuration_reads_back_as_it_was_written() {
    let text = r#"{"preset":"hmac","hmac":{"algorithm":"sha512","header":"X-Sig","encoding":"hex"},"eventId":{"json":"data.items[0].id"},"limits":{"bodyBytesMax":1000}}"#;
    let config: SourceConfig = serde_json::from_str(text).unwrap();
    assert_eq!(config.faults(), []);
    assert_eq!(serde_json::to_string(&config).unwrap(), text);
    for name in Preset::NAMES {
        let config: SourceConfig = serde_json::from_value(json!({ "preset": name })).unwrap();
        assert_eq!(serde_json::to_value(config.preset).unwrap(), name);
    }
    let wrong: SourceConfig = serde_json::from_value(json!({
        "preset": "github", "header": "a b", "toleranceSeconds": 0, "eventId": {"json": "a..b"},
        "limits": {"bodyBytesMax": 0, "concurrency": 0, "ratePerSecond": -1},
        "response": {"status": 500, "waitMs": 30_001, "contentType": "x"},
    }))
    .unwrap();
    let paths: Vec<_> = wrong.faults().into_iter().map(|fault| fault.path).collect();
    assert_eq!(
        paths,
        [
            "header",
            "header",
            "eventId.json",
            "toleranceSeconds",
            "limits.bodyBytesMax",
            "limits.concurrency",
            "limits.ratePerSecond",
            "response.waitMs",
            "response.status",
            "response.contentType",
        ]
    );
}
