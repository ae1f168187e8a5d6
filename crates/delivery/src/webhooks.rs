//! Webhooks as people manage them: checked, sealed, stored, and taken up at once.

use domain::{
    Timestamp, WebhookId, WorkspaceId,
    filter::Filter,
    format::Format,
    header::check_custom_headers,
    pattern::EventPattern,
    schedule::RetrySchedule,
    seal::{NONCE_BYTES, SealingKey, record_context},
    signature::Secret,
    webhook::{
        CONCURRENCY_DEFAULT, CONCURRENCY_MAX, PATTERNS_MAX, RATE_MAX, ROTATION_OVERLAP_DEFAULT,
        SECRETS_MAX, Sealed, TIMEOUT_DEFAULT, TIMEOUT_MAX, TIMEOUT_MIN, Webhook, WebhookConfig,
        WebhookSecret, WebhookState,
    },
};
use egress::Target;
use serde_json::Value;
use store::StoreError;

use crate::{LaneStatus, Pipeline, Shared};

/// The longest name of a webhook, in characters.
const NAME_CHARS_MAX: usize = 200;
/// The longest description, in characters.
const DESCRIPTION_CHARS_MAX: usize = 2_000;
/// The longest prefix of a signature, in bytes.
const PREFIX_BYTES_MAX: usize = 32;
/// The longest that an old secret may go on signing.
const OVERLAP_MAX: std::time::Duration = std::time::Duration::from_hours(720);

/// What a person sets of a webhook; `None` leaves it as it is (or takes the default).
#[derive(Clone, Debug, Default)]
pub struct WebhookInput {
    /// What people call it.
    pub name: Option<String>,
    /// What it is for; `Some(None)` removes it.
    pub description: Option<Option<String>>,
    /// Where deliveries go.
    pub target_url: Option<String>,
    /// Patterns that it subscribes to.
    pub events: Option<Vec<String>>,
    /// Which bodies and headers it gets.
    pub format: Option<Format>,
    /// Conditions on the payload; `Some(None)` removes them.
    pub filter: Option<Option<Value>>,
    /// Custom headers, all of them.
    pub headers: Option<Vec<(String, String)>>,
    /// What stands before the hex of the format's own signature.
    pub signature_prefix: Option<String>,
    /// The retry schedule, in its JSON form; `Some(None)` takes the format's preset.
    pub schedule: Option<Option<Value>>,
    /// How long a whole exchange may take, in milliseconds; `Some(None)` takes the preset.
    pub timeout_ms: Option<Option<u64>>,
    /// Attempts at once; `Some(None)` takes the default.
    pub concurrency: Option<Option<u32>>,
    /// Attempts per second; `Some(None)` removes the limit.
    pub rate_per_s: Option<Option<f64>>,
    /// One at a time, in the order of acceptance.
    pub ordered: Option<bool>,
    /// Switched on or off.
    pub active: Option<bool>,
    /// The signing secret.
    pub secret: SecretChoice,
}

/// Where a webhook's secret comes from.
#[derive(Clone, Default)]
pub enum SecretChoice {
    /// Made where there is none; left as it is on a change.
    #[default]
    Unsaid,
    /// This one. On a change it replaces the others at once.
    Given(String),
    /// None: deliveries are unsigned (S2).
    Unsigned,
}

impl std::fmt::Debug for SecretChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unsaid => "Unsaid",
            Self::Given(_) => "Given(***)",
            Self::Unsigned => "Unsigned",
        })
    }
}

/// What kind of fault a field has, for the answer's error type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Any other.
    Invalid,
    /// An event name that is not known.
    UnknownEvent,
    /// A target that may not be called.
    UnsafeTarget,
    /// A header that may not be set.
    ForbiddenHeader,
}

/// One field that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The field, such as `events[0]`.
    pub path: String,
    /// What is wrong, what is expected, what to do.
    pub message: String,
    /// Of what kind.
    pub fault: Fault,
}

/// Why a webhook was not stored.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// Fields are refused.
    #[error("the webhook has {} unusable field(s)", .0.len())]
    Invalid(Vec<FieldError>),
    /// There is no such webhook in this workspace.
    #[error("there is no such webhook")]
    NotFound,
    /// It was changed by somebody else meanwhile.
    #[error("the webhook was changed meanwhile; read it again and repeat the change")]
    Changed,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A webhook that was made, or whose secret was: the only time that the secret is told.
#[derive(Debug)]
pub struct WithSecret {
    /// The record.
    pub webhook: Webhook,
    /// The secret; `None` if it is unsigned.
    pub secret: Option<Secret>,
}

impl Pipeline {
    /// Makes a webhook.
    ///
    /// # Errors
    /// If a field is refused, or the store fails.
    pub async fn create_webhook(
        &self,
        workspace: WorkspaceId,
        input: WebhookInput,
    ) -> Result<WithSecret, WebhookError> {
        let shared = &self.shared;
        let now = shared.now();
        let id = WebhookId::new(shared.edge.ids.next_id());
        let mut faults = Faults::default();
        let format = input.format.unwrap_or_default();
        let config = WebhookConfig {
            name: String::new(),
            description: None,
            target_url: String::new(),
            events: Vec::new(),
            format,
            filter: None,
            signature_prefix: String::new(),
            schedule: RetrySchedule::preset(format),
            timeout_ms: preset_timeout_ms(format),
            concurrency: CONCURRENCY_DEFAULT,
            rate_per_s: None,
            ordered: false,
        };
        let mut webhook = Webhook {
            workspace,
            id,
            config,
            headers: None,
            secrets: Vec::new(),
            state: WebhookState::Active,
            failing_since: None,
            created_at: now,
            updated_at: now,
        };
        if input.target_url.is_none() {
            faults.add(
                "targetUrl",
                "is required: the URL that deliveries are POSTed to",
            );
        }
        if input.events.is_none() {
            faults.add(
                "events",
                "is required: a list of event names, `prefix.*` or `*`",
            );
        }
        let unsaid = matches!(input.secret, SecretChoice::Unsaid);
        let mut secret = shared.apply(&mut webhook, input, now, &mut faults);
        if unsaid {
            secret = Some(shared.new_secret());
            webhook.secrets =
                vec![shared.seal_secret(&webhook, secret.as_ref().expect("just made"), now)];
        }
        faults.end()?;
        if webhook.config.name.is_empty() {
            webhook.config.name = default_name(&webhook.config.target_url);
        }
        shared.store.create_webhook(webhook.clone()).await?;
        shared.put_webhook(webhook.clone());
        Ok(WithSecret { webhook, secret })
    }

    /// Changes what `input` names of a webhook, and leaves the rest.
    ///
    /// # Errors
    /// If there is none, a field is refused, or it was changed meanwhile.
    pub async fn update_webhook(
        &self,
        workspace: WorkspaceId,
        id: WebhookId,
        input: WebhookInput,
    ) -> Result<WithSecret, WebhookError> {
        let shared = &self.shared;
        let mut webhook = shared
            .store
            .webhook(workspace, id)
            .await?
            .ok_or(WebhookError::NotFound)?;
        let expected = webhook.updated_at;
        let mut faults = Faults::default();
        let secret = shared.apply(&mut webhook, input, shared.now(), &mut faults);
        faults.end()?;
        self.replace(webhook, expected, secret).await
    }

    /// Gives a webhook a new secret (`given`, or a made one); the ones before sign along for
    /// `overlap` more.
    ///
    /// # Errors
    /// If there is none, the given secret or the overlap is refused, or it was changed meanwhile.
    pub async fn rotate_secret(
        &self,
        workspace: WorkspaceId,
        id: WebhookId,
        given: Option<String>,
        overlap: Option<std::time::Duration>,
    ) -> Result<WithSecret, WebhookError> {
        let shared = &self.shared;
        let mut webhook = shared
            .store
            .webhook(workspace, id)
            .await?
            .ok_or(WebhookError::NotFound)?;
        let expected = webhook.updated_at;
        let now = shared.now();
        let mut faults = Faults::default();
        let overlap = overlap.unwrap_or(ROTATION_OVERLAP_DEFAULT);
        if overlap > OVERLAP_MAX {
            faults.add("overlapSeconds", "is at most 2592000 (30 days)");
        }
        let secret = match given {
            Some(text) => faults.take("secret", Secret::parse(&text)),
            None => Some(shared.new_secret()),
        };
        faults.end()?;
        let secret = secret.expect("no faults were found");
        let until = now + overlap;
        for old in &mut webhook.secrets {
            old.expires_at = Some(old.expires_at.map_or(until, |at| at.min(until)));
        }
        webhook
            .secrets
            .retain(|old| old.expires_at.is_none_or(|at| at > now));
        webhook
            .secrets
            .insert(0, shared.seal_secret(&webhook, &secret, now));
        webhook.secrets.truncate(SECRETS_MAX);
        self.replace(webhook, expected, Some(secret)).await
    }

    /// Removes a webhook. Its pending deliveries die.
    ///
    /// # Errors
    /// If there is none, or the store fails.
    pub async fn delete_webhook(
        &self,
        workspace: WorkspaceId,
        id: WebhookId,
    ) -> Result<(), WebhookError> {
        let shared = &self.shared;
        if !shared
            .store
            .delete_webhook(workspace, id, shared.now())
            .await?
        {
            return Err(WebhookError::NotFound);
        }
        shared.refresh(workspace, id).await;
        Ok(())
    }

    /// What its lane does now; `None` if there is no such webhook.
    pub fn lane_status(&self, workspace: WorkspaceId, id: WebhookId) -> Option<LaneStatus> {
        let lane = self.shared.subscriptions.lane(workspace, id)?;
        Some(lane.status(self.shared.now()))
    }

    /// The webhook's newest secret in clear: for the S2 routes, whose document shows it again.
    ///
    /// # Errors
    /// If it cannot be opened with this installation's key.
    pub fn reveal_secret(&self, webhook: &Webhook) -> Result<Option<Secret>, String> {
        let newest = webhook.secrets.first();
        newest
            .map(|secret| open_secret(webhook, secret, &self.shared.sealing))
            .transpose()
    }

    /// The webhook's custom headers in clear.
    ///
    /// # Errors
    /// If they cannot be opened with this installation's key.
    pub fn custom_headers(&self, webhook: &Webhook) -> Result<Vec<(String, String)>, String> {
        open_headers(webhook, &self.shared.sealing)
    }

    async fn replace(
        &self,
        mut webhook: Webhook,
        expected: Timestamp,
        secret: Option<Secret>,
    ) -> Result<WithSecret, WebhookError> {
        let shared = &self.shared;
        // Greater than before also within one millisecond: it tells changes apart.
        webhook.updated_at = shared.now().max(Timestamp::from_ms(expected.ms() + 1));
        if !shared
            .store
            .update_webhook(webhook.clone(), expected)
            .await?
        {
            let gone = shared
                .store
                .webhook(webhook.workspace, webhook.id)
                .await?
                .is_none();
            return Err(if gone {
                WebhookError::NotFound
            } else {
                WebhookError::Changed
            });
        }
        shared.refresh(webhook.workspace, webhook.id).await;
        Ok(WithSecret { webhook, secret })
    }
}

/// Collects what is refused.
#[derive(Default)]
struct Faults(Vec<FieldError>);

impl Faults {
    fn push(&mut self, path: impl Into<String>, message: impl Into<String>, fault: Fault) {
        self.0.push(FieldError {
            path: path.into(),
            message: message.into(),
            fault,
        });
    }

    fn add(&mut self, path: &str, message: &str) {
        self.push(path, message, Fault::Invalid);
    }

    fn take<T, E: std::fmt::Display>(&mut self, path: &str, result: Result<T, E>) -> Option<T> {
        result
            .map_err(|error| self.push(path, error.to_string(), Fault::Invalid))
            .ok()
    }

    fn end(self) -> Result<(), WebhookError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(WebhookError::Invalid(self.0))
        }
    }
}

impl Shared {
    /// Checks `input` field by field and sets what passes. Answers the secret, if a new one was
    /// given.
    fn apply(
        &self,
        webhook: &mut Webhook,
        input: WebhookInput,
        now: Timestamp,
        faults: &mut Faults,
    ) -> Option<Secret> {
        self.apply_what(webhook, &input, faults);
        apply_how(&mut webhook.config, &input, faults);
        if let Some(headers) = input.headers {
            self.apply_headers(webhook, &headers, faults);
        }
        match input.active {
            Some(true) if !webhook.is_active() => {
                webhook.state = WebhookState::Active;
                webhook.failing_since = None;
            }
            Some(false) if webhook.is_active() => webhook.state = WebhookState::Inactive,
            _ => {}
        }
        match input.secret {
            SecretChoice::Unsaid => None,
            SecretChoice::Unsigned => {
                webhook.secrets = Vec::new();
                None
            }
            SecretChoice::Given(text) => {
                let secret = faults.take("secret", Secret::parse(&text))?;
                webhook.secrets = vec![self.seal_secret(webhook, &secret, now)];
                Some(secret)
            }
        }
    }

    /// What it is called, where it goes, what it gets.
    fn apply_what(&self, webhook: &mut Webhook, input: &WebhookInput, faults: &mut Faults) {
        let config = &mut webhook.config;
        if let Some(name) = &input.name {
            if name.trim().is_empty() || name.chars().count() > NAME_CHARS_MAX {
                faults.add("name", "has 1 to 200 characters");
            }
            config.name.clone_from(name);
        }
        if let Some(description) = &input.description {
            if description
                .as_ref()
                .is_some_and(|text| text.chars().count() > DESCRIPTION_CHARS_MAX)
            {
                faults.add("description", "has at most 2000 characters");
            }
            config.description.clone_from(description);
        }
        if let Some(url) = &input.target_url {
            match Target::parse(url, self.egress.policy()) {
                Ok(_) => config.target_url.clone_from(url),
                Err(error) => faults.push("targetUrl", error.to_string(), Fault::UnsafeTarget),
            }
        }
        if let Some(events) = &input.events {
            config.events = self.patterns(webhook.workspace, events, faults);
        }
        if let Some(filter) = &input.filter {
            config.filter = match filter.clone().map(Filter::parse).transpose() {
                Ok(filter) => filter,
                Err(error) => {
                    faults.push(
                        format!("filter{}", error.path),
                        error.message,
                        Fault::Invalid,
                    );
                    None
                }
            };
        }
    }

    fn patterns(
        &self,
        workspace: WorkspaceId,
        texts: &[String],
        faults: &mut Faults,
    ) -> Vec<EventPattern> {
        if texts.is_empty() || texts.len() > PATTERNS_MAX {
            faults.add(
                "events",
                "has 1 to 100 patterns: event names, `prefix.*` or `*`",
            );
        }
        let mut patterns = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate().take(PATTERNS_MAX) {
            let path = format!("events[{index}]");
            match EventPattern::parse(text) {
                Ok(pattern) => {
                    if let Some(exact) = pattern.exact()
                        && !self.knows_type(workspace, exact.as_str())
                    {
                        faults.push(
                            path,
                            self.unknown_event(workspace, text),
                            Fault::UnknownEvent,
                        );
                    } else if !patterns.contains(&pattern) {
                        patterns.push(pattern);
                    }
                }
                Err(error) => faults.push(path, error.to_string(), Fault::Invalid),
            }
        }
        patterns
    }

    fn unknown_event(&self, workspace: WorkspaceId, name: &str) -> String {
        let nearest = self.nearest_type(workspace, name);
        let hint = nearest
            .map(|near| format!(" Did you mean `{near}`?"))
            .unwrap_or_default();
        format!(
            "`{name}` is not a known event type.{hint} Register it at POST /api/v1/event-types to subscribe to it by name"
        )
    }

    fn apply_headers(
        &self,
        webhook: &mut Webhook,
        headers: &[(String, String)],
        faults: &mut Faults,
    ) {
        let pairs = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        if let Err(problems) = check_custom_headers(pairs) {
            for problem in problems {
                faults.push(
                    format!("headers.{}", problem.name),
                    problem.message,
                    Fault::ForbiddenHeader,
                );
            }
            return;
        }
        webhook.headers = if headers.is_empty() {
            None
        } else {
            let text = serde_json::to_vec(headers).expect("pairs of strings are always JSON");
            Some(
                self.sealing
                    .seal(self.nonce(), &text, headers_context(webhook).as_bytes()),
            )
        };
    }

    pub(crate) fn seal_secret(
        &self,
        webhook: &Webhook,
        secret: &Secret,
        now: Timestamp,
    ) -> WebhookSecret {
        let context = secret_context(webhook);
        WebhookSecret {
            sealed: self
                .sealing
                .seal(self.nonce(), secret.expose().as_bytes(), context.as_bytes()),
            created_at: now,
            expires_at: None,
        }
    }

    fn new_secret(&self) -> Secret {
        let mut random = [0; 32];
        self.edge.entropy.fill(&mut random);
        Secret::generate(random)
    }

    fn nonce(&self) -> [u8; NONCE_BYTES] {
        let mut nonce = [0; NONCE_BYTES];
        self.edge.entropy.fill(&mut nonce);
        nonce
    }
}

/// How it is sent to.
fn apply_how(config: &mut WebhookConfig, input: &WebhookInput, faults: &mut Faults) {
    if let Some(format) = input.format
        && format != config.format
    {
        // What was the old format's preset becomes the new one's; what was set stays.
        if config.schedule == RetrySchedule::preset(config.format) {
            config.schedule = RetrySchedule::preset(format);
        }
        if config.timeout_ms == preset_timeout_ms(config.format) {
            config.timeout_ms = preset_timeout_ms(format);
        }
        config.format = format;
    }
    if let Some(prefix) = &input.signature_prefix {
        if prefix.len() > PREFIX_BYTES_MAX || prefix.bytes().any(|b| !b.is_ascii_graphic()) {
            faults.add(
                "signaturePrefix",
                "has at most 32 visible ASCII characters, such as `sha256=`",
            );
        }
        config.signature_prefix.clone_from(prefix);
    }
    if let Some(schedule) = &input.schedule {
        config.schedule = match schedule {
            None => RetrySchedule::preset(config.format),
            Some(value) => RetrySchedule::from_json(value).unwrap_or_else(|error| {
                faults.push(
                    format!("schedule{}", error.path),
                    error.message,
                    Fault::Invalid,
                );
                RetrySchedule::preset(config.format)
            }),
        };
    }
    if let Some(timeout_ms) = input.timeout_ms {
        config.timeout_ms = timeout_ms.unwrap_or_else(|| preset_timeout_ms(config.format));
        if !(TIMEOUT_MIN..=TIMEOUT_MAX).contains(&config.timeout()) {
            faults.add("timeoutMs", "is 1000 to 30000 (1 to 30 seconds)");
        }
    }
    if let Some(concurrency) = input.concurrency {
        config.concurrency = concurrency.unwrap_or(CONCURRENCY_DEFAULT);
        if !(1..=CONCURRENCY_MAX).contains(&config.concurrency) {
            faults.add("concurrency", "is 1 to 1000 attempts at once");
        }
    }
    if let Some(rate) = input.rate_per_s {
        if rate.is_some_and(|rate| !(0.01..=RATE_MAX).contains(&rate)) {
            faults.add(
                "ratePerSecond",
                "is 0.01 to 10000 attempts per second, or null for no limit",
            );
        }
        config.rate_per_s = rate;
    }
    if let Some(ordered) = input.ordered {
        config.ordered = ordered;
    }
}

fn preset_timeout_ms(format: Format) -> u64 {
    match format {
        Format::AgentFactory => 5_000,
        Format::Default | Format::Orchestration | Format::CloudEvents => {
            u64::try_from(TIMEOUT_DEFAULT.as_millis()).expect("ten seconds fit")
        }
    }
}

fn default_name(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    host.chars().take(NAME_CHARS_MAX).collect()
}

fn secret_context(webhook: &Webhook) -> String {
    record_context(webhook.workspace, &webhook.id.to_string(), "secret")
}

fn headers_context(webhook: &Webhook) -> String {
    record_context(webhook.workspace, &webhook.id.to_string(), "headers")
}

/// Opens one of a webhook's secrets.
pub(crate) fn open_secret(
    webhook: &Webhook,
    secret: &WebhookSecret,
    sealing: &SealingKey,
) -> Result<Secret, String> {
    let text = open(&secret.sealed, &secret_context(webhook), sealing)?;
    let text = std::str::from_utf8(&text).map_err(|error| error.to_string())?;
    Secret::parse(text).map_err(|error| error.to_string())
}

/// Opens a webhook's custom headers.
pub(crate) fn open_headers(
    webhook: &Webhook,
    sealing: &SealingKey,
) -> Result<Vec<(String, String)>, String> {
    let Some(sealed) = &webhook.headers else {
        return Ok(Vec::new());
    };
    let text = open(sealed, &headers_context(webhook), sealing)?;
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}

fn open(
    sealed: &Sealed,
    context: &str,
    sealing: &SealingKey,
) -> Result<zeroize::Zeroizing<Vec<u8>>, String> {
    sealing
        .open(sealed, context.as_bytes())
        .map_err(|error| error.to_string())
}
