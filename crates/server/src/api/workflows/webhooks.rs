//! The webhooks that a workflow's file brings along: made when it is registered.

use delivery::webhooks::{WebhookError, WebhookInput};
use domain::{
    WebhookId, WorkspaceId,
    webhook::Webhook,
    workflow::{
        definition::{Definition, WebhookSpec},
        file::Diagnostic,
    },
};
use serde::Serialize;
use store::{Page, StoreError};
use utoipa::ToSchema;
use workflow::registry::Registered;

use crate::SharedApp;

/// How many webhooks are read at a time.
const PAGE: usize = 500;

/// A webhook that was made with a workflow.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct BroughtWebhook {
    /// Its id.
    #[schema(value_type = String, example = "whk_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")]
    id: WebhookId,
    /// Where it goes.
    target_url: String,
    /// The signing secret: shown this once.
    #[schema(
        required,
        example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwkR2p3X4Yz5E="
    )]
    secret: Option<String>,
}

/// Makes the webhooks that a definition names and that are not there yet: one of the same URL and
/// the same events is left alone. What cannot be made is a warning, since the workflow stands.
pub(super) async fn bring(
    app: &SharedApp,
    workspace: WorkspaceId,
    registered: &mut Registered,
) -> Vec<BroughtWebhook> {
    let mut made = Vec::new();
    if registered.definition.webhooks.is_empty() {
        return made;
    }
    let known = match known(app, workspace).await {
        Ok(known) => known,
        Err(error) => {
            registered.warnings.push(not_made("webhooks", &error));
            return made;
        }
    };
    let missing = missing(&registered.definition, &known);
    for (index, spec) in missing {
        let input = WebhookInput {
            name: Some(registered.workflow.name.clone()),
            target_url: Some(spec.url),
            events: Some(spec.events),
            ..WebhookInput::default()
        };
        match app.pipeline.create_webhook(workspace, input).await {
            Ok(new) => made.push(BroughtWebhook {
                id: new.webhook.id,
                target_url: new.webhook.config.target_url,
                secret: new.secret.map(|secret| secret.expose().to_owned()),
            }),
            Err(error) => registered.warnings.extend(refused(index, error)),
        }
    }
    made
}

/// Every webhook of the workspace.
async fn known(app: &SharedApp, workspace: WorkspaceId) -> Result<Vec<Webhook>, StoreError> {
    let mut known: Vec<Webhook> = Vec::new();
    loop {
        let page = Page {
            after: known.last().map(|webhook| webhook.id),
            limit: PAGE,
        };
        let mut more = app.store().webhooks(workspace, page).await?;
        let is_last = more.len() < PAGE;
        known.append(&mut more);
        if is_last {
            return Ok(known);
        }
    }
}

/// The webhooks that are not there yet, each with its place in the definition.
fn missing(definition: &Definition, known: &[Webhook]) -> Vec<(usize, WebhookSpec)> {
    let mut seen: Vec<(&str, Vec<String>)> = known
        .iter()
        .map(|webhook| {
            let events = webhook.config.events.iter().map(ToString::to_string);
            (webhook.config.target_url.as_str(), sorted(events))
        })
        .collect();
    let mut missing = Vec::new();
    for (index, spec) in definition.webhooks.iter().enumerate() {
        let same = (spec.url.as_str(), sorted(spec.events.iter().cloned()));
        if !seen.contains(&same) {
            seen.push(same);
            missing.push((index, spec.clone()));
        }
    }
    missing
}

fn sorted(events: impl Iterator<Item = String>) -> Vec<String> {
    let mut events: Vec<_> = events.collect();
    events.sort_unstable();
    events.dedup();
    events
}

fn refused(index: usize, error: WebhookError) -> Vec<Diagnostic> {
    let base = format!("webhooks[{index}]");
    let WebhookError::Invalid(faults) = error else {
        return vec![not_made(&base, &error)];
    };
    let warnings = faults.into_iter().map(|fault| {
        let field = match fault.path.as_str() {
            "targetUrl" => "url",
            other => other,
        };
        not_made(&format!("{base}.{field}"), &fault.message)
    });
    warnings.collect()
}

fn not_made(path: &str, why: &dyn std::fmt::Display) -> Diagnostic {
    Diagnostic::warning(
        "webhook.not_made",
        format!("the webhook was not made: {why}"),
    )
    .help("correct it and register the workflow again, or make the webhook yourself")
    .at(path, domain::workflow::file::Span::default())
}
