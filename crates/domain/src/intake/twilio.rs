//! Twilio's signature: base64 HMAC-SHA1 of the URL, followed by a form's fields in order of their
//! names; a body that is no form is covered by its hash in the URL (`bodySHA256`).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::digest;

use super::{
    config::Algorithm,
    hmac::{same, tag},
    verify::Request,
};

/// Whether `signature` is Twilio's of `request` under one of `secrets`.
pub(super) fn fits(secrets: &[&[u8]], request: &Request<'_>, signature: &str) -> bool {
    let Ok(theirs) = STANDARD.decode(signature) else {
        return false;
    };
    let mut signed = request.url.to_owned();
    let hash = url::form_urlencoded::parse(request.query.as_bytes())
        .find(|(name, _)| name == "bodySHA256")
        .map(|(_, value)| value.into_owned());
    if let Some(hash) = hash {
        let ours = digest::digest(&digest::SHA256, request.body);
        if !hex::decode(hash).is_ok_and(|theirs| same(ours.as_ref(), &theirs)) {
            return false;
        }
    } else {
        let mut fields: Vec<_> = url::form_urlencoded::parse(request.body).collect();
        fields.sort();
        fields.dedup();
        for (name, value) in fields {
            signed.push_str(&name);
            signed.push_str(&value);
        }
    }
    secrets.iter().any(|secret| {
        let ours = tag(Algorithm::Sha1, secret, &[signed.as_bytes()]);
        same(ours.as_ref(), &theirs)
    })
}
