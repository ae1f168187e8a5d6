//! What the story needs before it begins: a source, a workflow and a webhook. Where the data folder
//! has them from an earlier demo, they are used again.

use anyhow::Result;
use domain::signature::Secret;
use http::Method;
use serde_json::{Value, json};

use crate::{
    client::{Answer, Client},
    commands::events::path_part,
    output::{show, text},
    problem::Problem,
};

/// The workflow's file.
pub const WORKFLOW: &str = include_str!("welcome.yaml");
/// What source, workflow and webhook are called.
const NAME: &str = "demo";
/// The most records that are looked through.
const LOOK_MAX: usize = 10_000;

/// A record that has a secret.
pub struct WithSecret {
    /// How it was answered.
    pub answer: Answer,
    /// Its secret.
    pub secret: Secret,
}

async fn named(client: &Client, path: &str) -> Result<Option<Value>> {
    let listing = client.list(path, &[], LOOK_MAX).await?;
    let mut all = listing.data.into_iter();
    Ok(all.find(|record| text(record, "name") == Some(NAME)))
}

fn with_secret(answer: Answer) -> Result<WithSecret> {
    let secret = text(&answer.body, "secret")
        .ok_or_else(|| Problem::failed("the server answered without a secret"))?;
    let secret = Secret::parse(secret)?;
    Ok(WithSecret { answer, secret })
}

/// Where webhooks come in. One that is there already gets a new secret.
pub async fn source(client: &Client) -> Result<WithSecret> {
    let path = "/api/v1/sources";
    let answer = if let Some(known) = named(client, path).await? {
        let path = format!("{path}/{}/rotate-secret", path_part(&show(&known, "id")));
        client.send(Method::POST, &path, None).await?
    } else {
        let body = json!({ "name": NAME, "preset": "generic" });
        client
            .send(Method::POST, path, Some(body.to_string()))
            .await?
    };
    with_secret(answer)
}

/// The workflow, or its next version.
pub async fn workflow(client: &Client) -> Result<Answer> {
    let path = "/api/v1/workflows";
    let (method, path) = match named(client, path).await? {
        Some(known) => (
            Method::PUT,
            format!("{path}/{}", path_part(&show(&known, "id"))),
        ),
        None => (Method::POST, path.to_owned()),
    };
    let body = json!({ "source": WORKFLOW });
    client.send(method, &path, Some(body.to_string())).await
}

/// The webhook that tells the receiver how executions end.
pub async fn webhook(client: &Client, receiver: &str) -> Result<WithSecret> {
    let body = json!({
        "name": NAME, "targetUrl": receiver, "events": ["workflow.completed"],
        "schedule": { "delays": ["1s", "1s", "5s"] },
    });
    let path = "/api/v1/webhooks";
    with_secret(
        client
            .send(Method::POST, path, Some(body.to_string()))
            .await?,
    )
}
