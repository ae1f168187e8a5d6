//! A webhook as the senders see it: its secrets opened, its target parsed, its signers ready.
//! Immutable; a change of the webhook makes a new one.

use std::sync::Arc;

use domain::{
    Timestamp, header,
    seal::SealingKey,
    signature::{Secret, Signer},
    webhook::Webhook,
};
use egress::Target;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{Shared, lane::Lane, webhooks};

pub(crate) struct Endpoint {
    pub webhook: Webhook,
    pub lane: Arc<Lane>,
    /// Where to; the refusal, if the address policy changed since it was saved.
    pub target: Result<Target, String>,
    /// Custom headers.
    pub headers: HeaderMap,
    /// Signers with the time until which each is right: during a rotation, all active secrets
    /// sign. The last one is right for ever; without secrets it signs nothing.
    signers: Vec<(Timestamp, Signer)>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("webhook", &self.webhook.id)
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    pub fn new(webhook: Webhook, lane: Arc<Lane>, shared: &Shared, now: Timestamp) -> Self {
        let target = Target::parse(&webhook.config.target_url, shared.egress.policy())
            .map_err(|error| error.to_string());
        let headers = custom_headers(&webhook, &shared.sealing).unwrap_or_else(|error| {
            tracing::error!(webhook = %webhook.id, error, "failed to open a webhook's custom headers");
            HeaderMap::new()
        });
        let signers = signers(&webhook, &shared.sealing, now).unwrap_or_else(|error| {
            tracing::error!(webhook = %webhook.id, error, "failed to open a webhook's secrets");
            vec![(Timestamp::FAR_FUTURE, Signer::new(&[]))]
        });
        Self {
            webhook,
            lane,
            target,
            headers,
            signers,
        }
    }

    /// Signs with every secret that is active at `now`.
    pub fn signer(&self, now: Timestamp) -> &Signer {
        let current = self.signers.iter().find(|(until, _)| now < *until);
        let (_, signer) = current
            .or(self.signers.last())
            .expect("there is always a last signer");
        signer
    }

    /// Whether the webhook has secrets that could not be opened: then nothing is sent, since it
    /// would go out unsigned.
    pub fn is_sealed_shut(&self) -> bool {
        !self.webhook.secrets.is_empty()
            && !self.signers.iter().any(|(_, signer)| signer.is_signed())
    }
}

fn custom_headers(webhook: &Webhook, sealing: &SealingKey) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in webhooks::open_headers(webhook, sealing)? {
        let name = HeaderName::try_from(name).map_err(|error| error.to_string())?;
        let mut value = HeaderValue::try_from(value).map_err(|error| error.to_string())?;
        value.set_sensitive(header::is_sensitive(name.as_str()));
        headers.append(name, value);
    }
    Ok(headers)
}

/// One signer per span of time in which the set of active secrets stays the same, earliest first.
fn signers(
    webhook: &Webhook,
    sealing: &SealingKey,
    now: Timestamp,
) -> Result<Vec<(Timestamp, Signer)>, String> {
    let mut secrets: Vec<(Timestamp, Secret)> = Vec::new();
    for secret in &webhook.secrets {
        let until = secret.expires_at.unwrap_or(Timestamp::FAR_FUTURE);
        if until > now {
            secrets.push((until, webhooks::open_secret(webhook, secret, sealing)?));
        }
    }
    let mut ends: Vec<Timestamp> = secrets.iter().map(|(until, _)| *until).collect();
    ends.push(Timestamp::FAR_FUTURE);
    ends.sort_unstable();
    ends.dedup();
    Ok(ends
        .into_iter()
        .map(|end| {
            let active = secrets
                .iter()
                .filter(|(until, _)| *until >= end)
                .map(|(_, secret)| secret.clone());
            (end, Signer::new(&active.collect::<Vec<_>>()))
        })
        .collect())
}
