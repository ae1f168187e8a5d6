//! A sender as a customer's provider would be: posts webhooks to the demo's source, signed with
//! the secret that the source was given.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use domain::signature::{Secret, Signer};
use egress::{Exchange, Outgoing, Target};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::Value;

use crate::{client::Client, output::text, problem::Problem};

/// The header that carries the signature.
pub const HEADER: &str = "x-webhook-signature";

/// What a webhook was answered.
pub struct Answered {
    /// The status.
    pub status: StatusCode,
    /// The body; null where it is no JSON.
    pub body: Value,
}

impl Answered {
    /// The first execution that the webhook started, or that an earlier one with its id did.
    ///
    /// # Errors
    /// If it started none.
    pub fn execution(&self) -> Result<String> {
        let id = text(&self.body, "executions/0").map(str::to_owned);
        id.ok_or_else(|| {
            Problem::failed(format!(
                "the webhook started nothing: it was answered with {}",
                self.status
            ))
            .advice("see what came of it: signpost receipts list")
            .into()
        })
    }
}

/// Who sends.
pub struct Sender<'a> {
    /// Whose way out is used.
    pub client: &'a Client,
    /// Where to.
    pub url: String,
    /// What is signed with.
    pub secret: Secret,
}

impl Sender<'_> {
    /// The signature of a body.
    pub fn signature(&self, body: &str) -> String {
        let signer = Signer::new(std::slice::from_ref(&self.secret));
        let hex = signer.hex(body.as_bytes());
        hex.map_or_else(String::new, |hex| hex.as_str().to_owned())
    }

    /// Posts a body under a signature.
    ///
    /// # Errors
    /// If nobody answers.
    pub async fn post(&self, body: &str, signature: &str) -> Result<Answered> {
        let egress = self.client.egress();
        let target = Target::parse(&self.url, egress.policy())?;
        let mut outgoing = Outgoing::new(Method::POST, target);
        let json = HeaderValue::from_static("application/json");
        outgoing.headers.insert(header::CONTENT_TYPE, json);
        let value = HeaderValue::try_from(signature).context("failed to send the signature")?;
        let name = HeaderName::from_static(HEADER);
        outgoing.headers.insert(name, value);
        outgoing.body = Bytes::from(body.to_owned());
        let Exchange { status, body, .. } = egress
            .exchange(outgoing)
            .await
            .with_context(|| format!("failed to send a webhook to {}", self.url))?;
        let body = serde_json::from_slice(&body).unwrap_or_default();
        Ok(Answered { status, body })
    }
}
