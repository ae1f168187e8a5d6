//! Signatures against an independent library and recorded vectors.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::{
    json::{Limits, Numbers, canonicalize, members},
    signature::{
        Secret, SecretError, Signer, StandardHeaders, TOLERANCE_S_DEFAULT, VerifyError, verify_hex,
        verify_standard,
    },
};
use proptest::prelude::*;
use ring::hmac;
use serde_json::Value;

fn corpus(name: &str) -> Option<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpora");
    let text = fs::read_to_string(Path::new(folder).join(name)).ok();
    if text.is_none() {
        eprintln!("skipped: no corpus {name}");
    }
    text
}

/// The example of the Standard Webhooks specification.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const AT: i64 = 1_614_265_330;
const BODY: &[u8] = br#"{"test": 2432232314}"#;
const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

fn headers<'a>(timestamp: &'a str, signature: &'a str) -> StandardHeaders<'a> {
    StandardHeaders {
        id: ID,
        timestamp,
        signature,
    }
}

#[test]
fn the_specifications_example_is_signed_and_verified() {
    let secrets = [Secret::parse(SECRET).unwrap()];
    let signed = Signer::new(&secrets).standard(ID, AT, BODY).unwrap();
    assert_eq!(signed, SIGNATURE);
    let given = headers("1614265330", SIGNATURE);
    assert_eq!(
        verify_standard(&secrets, given, BODY, AT, TOLERANCE_S_DEFAULT),
        Ok(())
    );
    assert_eq!(
        verify_standard(&secrets, given, BODY, AT + 301, 300),
        Err(VerifyError::TooOld)
    );
    assert_eq!(
        verify_standard(&secrets, given, BODY, AT - 301, 300),
        Err(VerifyError::TooNew)
    );
    assert_eq!(
        verify_standard(&secrets, given, b"{}", AT, 300),
        Err(VerifyError::Mismatch)
    );
    assert_eq!(
        verify_standard(&[], given, BODY, AT, 300),
        Err(VerifyError::Mismatch)
    );
}

#[test]
fn during_a_rotation_each_secret_signs_and_the_newest_makes_the_hex() {
    let old = Secret::parse(SECRET).unwrap();
    let new = Secret::generate([7; 32]);
    let keys = Signer::new(&[new.clone(), old.clone()]);
    let signed = keys.standard(ID, AT, BODY).unwrap();
    assert_eq!(signed.split(' ').count(), 2);
    assert!(signed.ends_with(SIGNATURE));
    for secret in [&new, &old] {
        let given = headers("1614265330", &signed);
        assert_eq!(
            verify_standard(std::slice::from_ref(secret), given, BODY, AT, 0),
            Ok(())
        );
    }
    let hex = keys.hex(BODY).unwrap();
    assert_eq!(
        verify_hex(std::slice::from_ref(&new), hex.as_str(), BODY),
        Ok(())
    );
    assert_eq!(
        verify_hex(&[old], hex.as_str(), BODY),
        Err(VerifyError::Mismatch)
    );
}

#[test]
fn without_a_secret_nothing_is_signed() {
    let signer = Signer::new(&[]);
    assert!(!signer.is_signed());
    assert_eq!(signer.standard(ID, AT, BODY), None);
    assert_eq!(signer.hex(BODY), None);
}

#[test]
fn secrets_are_taken_or_refused_with_a_reason() {
    for text in [
        "your-webhook-secret",
        "your_webhook_secret",
        "a",
        "sécret 🔑",
        "with space ",
        SECRET,
    ] {
        assert_eq!(Secret::parse(text).unwrap().expose(), text);
    }
    for (text, error) in [
        ("", SecretError::Length),
        (&*"x".repeat(257), SecretError::Length),
        ("secret\n", SecretError::Characters),
        ("whsec_", SecretError::KeyLength),
        ("whsec_c2hvcnQ=", SecretError::KeyLength),
        ("whsec_not base64 at all!", SecretError::Base64),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS", SecretError::Base64),
    ] {
        assert_eq!(Secret::parse(text).unwrap_err(), error, "{text}");
    }
    assert!(Secret::parse("short").unwrap().is_weak());
    assert!(!Secret::parse("your-webhook-secret").unwrap().is_weak());
}

#[test]
fn a_made_secret_reads_back_and_shows_in_no_debug() {
    let secret = Secret::generate([42; 32]);
    let text = secret.expose();
    assert_eq!(text, format!("whsec_{}", STANDARD.encode([42; 32])));
    let read = Secret::parse(text).unwrap();
    let sign = |secret| Signer::new(&[secret]).standard(ID, AT, BODY);
    assert_eq!(sign(read), sign(secret.clone()));
    assert!(!format!("{secret:?}").contains(&text[6..]));
}

proptest! {
    #[test]
    fn an_independent_library_signs_alike(
        key in prop::collection::vec(any::<u8>(), 16..=64),
        id in "[A-Za-z0-9_-]{1,40}",
        at in 0_i64..4_000_000_000,
        body in "\\PC{0,200}",
    ) {
        let encoded = STANDARD.encode(&key);
        let theirs = standardwebhooks::Webhook::new(&encoded).unwrap().sign(&id, at, body.as_bytes()).unwrap();
        let ours = Secret::parse(&format!("whsec_{encoded}")).unwrap();
        let signed = Signer::new(std::slice::from_ref(&ours)).standard(&id, at, body.as_bytes()).unwrap();
        prop_assert_eq!(&signed, &theirs);
        let timestamp = at.to_string();
        let given = StandardHeaders { id: &id, timestamp: &timestamp, signature: &theirs };
        prop_assert_eq!(verify_standard(&[ours], given, body.as_bytes(), at, 0), Ok(()));
    }

    #[test]
    fn a_changed_signature_is_refused(at in 0_usize..64, to in 0_u8..16) {
        let secrets = [Secret::parse("your-webhook-secret").unwrap()];
        let signed = Signer::new(&secrets).hex(BODY).unwrap();
        let mut digits = signed.as_str().to_owned();
        digits.replace_range(at..=at, &format!("{to:x}"));
        let verdict = verify_hex(&secrets, &digits, BODY);
        prop_assert_eq!(verdict.is_ok(), digits == signed.as_str());
    }
}

#[test]
fn hmac_is_the_one_of_wycheproof() {
    let Some(text) = corpus("wycheproof/hmac_sha256_test.json") else {
        return;
    };
    let corpus: Value = serde_json::from_str(&text).unwrap();
    let (mut texts, mut binaries) = (0, 0);
    for group in corpus["testGroups"].as_array().unwrap() {
        for test in group["tests"].as_array().unwrap() {
            let bytes = |field: &str| hex::decode(test[field].as_str().unwrap()).unwrap();
            let (key, message) = (bytes("key"), bytes("msg"));
            // Cut tags are valid to others, never here.
            let is_valid = test["result"] == "valid" && group["tagSize"] == 256;
            let secret = String::from_utf8(key.clone())
                .ok()
                .and_then(|key| Secret::parse(&key).ok());
            if let Some(secret) = secret {
                let verdict = verify_hex(&[secret], test["tag"].as_str().unwrap(), &message);
                assert_eq!(verdict.is_ok(), is_valid, "{}", test["tcId"]);
                texts += 1;
            } else {
                // A key that is no text can't be a secret; the primitive below is still the same.
                let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
                let verdict = hmac::verify(&key, &message, &bytes("tag"));
                assert_eq!(verdict.is_ok(), is_valid, "{}", test["tcId"]);
                binaries += 1;
            }
        }
    }
    eprintln!("{texts} keys that are secrets, {binaries} that are not");
    assert!(texts + binaries > 10, "the corpus is nearly empty");
}

#[test]
fn what_an_express_receiver_computes_is_what_is_sent() {
    let Some(text) = corpus("signatures/outbound-js.jsonl") else {
        return;
    };
    for line in text.lines() {
        // `serde_json` refuses the lone surrogates that some lines hold.
        let fields = members(line.as_bytes(), &Limits::default()).unwrap();
        let field = |name| {
            canonicalize(
                fields.get(name).unwrap(),
                Numbers::Exact,
                &Limits::default(),
            )
            .unwrap()
        };
        let string = |name| -> String { serde_json::from_slice(field(name).as_bytes()).unwrap() };
        let Ok(payload) = serde_json::from_slice::<String>(field("payload").as_bytes()) else {
            eprintln!("{}: a payload that is no Unicode text", string("id"));
            continue;
        };
        let Ok(body) = canonicalize(payload.as_bytes(), Numbers::Exact, &Limits::default()) else {
            // Refused rather than altered: the reference altered it.
            continue;
        };
        assert_eq!(body.as_str(), string("wire_body"), "{}", string("id"));
        let secret = Secret::parse(&string("secret")).unwrap();
        let signed = Signer::new(&[secret]).hex(body.as_bytes()).unwrap();
        assert_eq!(
            signed.as_str(),
            string("x_webhook_signature"),
            "{}",
            string("id")
        );
    }
}

#[test]
fn recorded_signatures_are_accepted_or_refused_as_they_should_be() {
    let Some(text) = corpus("signatures/vectors.jsonl") else {
        return;
    };
    let mut checked = 0;
    for line in text.lines() {
        let vector: Value = serde_json::from_str(line).unwrap();
        let header = |name: &str| {
            let headers = vector["headers"].as_object().unwrap();
            headers
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map_or("", |(_, value)| value.as_str().unwrap())
        };
        let body = STANDARD
            .decode(vector["body_b64"].as_str().unwrap())
            .unwrap();
        let secrets = [Secret::parse(vector["secret"].as_str().unwrap()).unwrap()];
        let verdict = match vector["profile"].as_str().unwrap() {
            "standard-webhooks" => {
                let given = StandardHeaders {
                    id: header("webhook-id"),
                    timestamp: header("webhook-timestamp"),
                    signature: header("webhook-signature"),
                };
                verify_standard(&secrets, given, &body, vector["now"].as_i64().unwrap(), 300)
            }
            "generic-hex" => verify_hex(&secrets, header("x-webhook-signature"), &body),
            "seed1-agentfactory" => verify_hex(&secrets, header("x-agentfactory-signature"), &body),
            "github" => verify_hex(&secrets, header("x-hub-signature-256"), &body),
            _ => continue,
        };
        assert_eq!(
            verdict.is_ok(),
            vector["expect"] == "accept",
            "{line:.300}: {verdict:?}"
        );
        checked += 1;
    }
    assert!(checked > 80, "only {checked} vectors");
}
