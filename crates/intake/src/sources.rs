//! Sources as people manage them: checked, sealed, stored, and taken up at once.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::{
    SourceId, Timestamp, WorkspaceId,
    intake::{Preset, Source, SourceConfig, SourceSecret},
    seal::NONCE_BYTES,
};
use store::{Page, StoreError};
use zeroize::Zeroizing;

use crate::{Intake, index};

/// The longest name of a source, in bytes.
pub const NAME_BYTES_MAX: usize = 100;
/// The longest secret, in bytes.
pub const SECRET_BYTES_MAX: usize = 1_024;
/// The most secrets of one source.
const SECRETS_MAX: usize = 5;
/// How long an old secret still counts after a rotation, where nothing is said.
pub const OVERLAP_DEFAULT: Duration = Duration::from_hours(24);
/// The longest that an old secret may still count.
pub const OVERLAP_MAX: Duration = Duration::from_hours(720);
/// Random bytes of a secret that is made here.
const MADE_BYTES: usize = 32;
/// Names that are taken: `/webhooks/generic` is a door of its own.
const RESERVED: [&str; 1] = ["generic"];

/// What a person sets of a source; `None` leaves it as it is.
#[derive(Default)]
pub struct SourceInput {
    /// The last part of its URL.
    pub name: Option<String>,
    /// Everything else but the secret.
    pub config: Option<SourceConfig>,
    /// The secret; made on creation where the provider takes one of ours.
    pub secret: Option<Zeroizing<String>>,
    /// Whether it takes requests.
    pub active: Option<bool>,
}

/// One field that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldFault {
    /// Which.
    pub path: String,
    /// What is wrong, and what is expected.
    pub message: String,
}

impl FieldFault {
    pub(crate) fn new(path: &str, message: &str) -> Self {
        Self {
            path: path.to_owned(),
            message: message.to_owned(),
        }
    }
}

/// Why a source or a trigger was not stored.
#[derive(Debug, thiserror::Error)]
pub enum ManageError {
    /// Fields are refused.
    #[error("{} field(s) cannot be used", .0.len())]
    Invalid(Vec<FieldFault>),
    /// There is none in this workspace.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// Its name is taken, perhaps in another workspace.
    #[error("the name is taken: names of sources are unique in the whole installation")]
    NameTaken,
    /// It was changed by somebody else meanwhile.
    #[error("it was changed meanwhile; read it again and repeat the change")]
    Changed,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A source whose secret was made or set: the only time that it is told.
pub struct WithSecret {
    /// The record.
    pub source: Source,
    /// The secret that was made here; none if a person gave it, or there is none.
    pub secret: Option<Zeroizing<String>>,
}

impl Intake {
    /// Makes a source.
    ///
    /// # Errors
    /// If a field is refused, or the name is taken.
    pub async fn create_source(
        &self,
        workspace: WorkspaceId,
        input: SourceInput,
    ) -> Result<WithSecret, ManageError> {
        let now = self.now();
        let mut source = Source {
            workspace,
            id: SourceId::new(self.shared.parts.edge.ids.next_id()),
            name: input.name.unwrap_or_default(),
            config: serde_json::Value::Null,
            secrets: Vec::new(),
            active: input.active.unwrap_or(true),
            created_at: now,
            updated_at: now,
        };
        let config = input.config.unwrap_or_default();
        let made = match &input.secret {
            Some(_) => None,
            None => self.make_secret(config.preset),
        };
        let given = input.secret.or_else(|| made.clone());
        check(&source.name, &config, given.as_ref())?;
        source.config = to_json(&config);
        if let Some(secret) = given {
            source.secrets = vec![self.seal_secret(&source, &secret, now)];
        }
        if !self
            .shared
            .parts
            .records
            .create_source(source.clone())
            .await?
        {
            return Err(ManageError::NameTaken);
        }
        self.reload().await?;
        Ok(WithSecret {
            source,
            secret: made,
        })
    }

    /// Changes what `input` names of a source, and leaves the rest. A secret replaces all others
    /// at once.
    ///
    /// # Errors
    /// If there is none, a field is refused, or it was changed meanwhile.
    pub async fn update_source(
        &self,
        workspace: WorkspaceId,
        id: SourceId,
        input: SourceInput,
    ) -> Result<Source, ManageError> {
        let mut source = self.find_source(workspace, id).await?;
        let now = self.now();
        if let Some(name) = input.name {
            source.name = name;
        }
        let config = match input.config {
            Some(config) => config,
            None => serde_json::from_value(source.config.clone()).unwrap_or_default(),
        };
        check(&source.name, &config, input.secret.as_ref())?;
        if config.preset == Preset::None && input.secret.is_none() {
            source.secrets.clear();
        }
        source.config = to_json(&config);
        if let Some(active) = input.active {
            source.active = active;
        }
        if let Some(secret) = input.secret {
            source.secrets = vec![self.seal_secret(&source, &secret, now)];
        }
        self.replace_source(source, now).await
    }

    /// Gives a source a new secret; the old ones count for `overlap` longer.
    ///
    /// # Errors
    /// If there is none, the secret is refused, or it was changed meanwhile.
    pub async fn rotate_source_secret(
        &self,
        workspace: WorkspaceId,
        id: SourceId,
        secret: Option<Zeroizing<String>>,
        overlap: Option<Duration>,
    ) -> Result<WithSecret, ManageError> {
        let mut source = self.find_source(workspace, id).await?;
        let now = self.now();
        let overlap = overlap.unwrap_or(OVERLAP_DEFAULT);
        if overlap > OVERLAP_MAX {
            let message = "is at most 2592000 (30 days)";
            return Err(ManageError::Invalid(vec![FieldFault::new(
                "overlapSeconds",
                message,
            )]));
        }
        let config: SourceConfig =
            serde_json::from_value(source.config.clone()).unwrap_or_default();
        let made = match &secret {
            Some(_) => None,
            None => self.make_secret(config.preset),
        };
        let given = secret.or_else(|| made.clone());
        let Some(given) = given else {
            let message = "is required: this provider makes the secret itself; copy it from there";
            return Err(ManageError::Invalid(vec![FieldFault::new(
                "secret", message,
            )]));
        };
        check(&source.name, &config, Some(&given))?;
        let new = self.seal_secret(&source, &given, now);
        let end = now + overlap;
        source.secrets.retain_mut(|old| {
            old.expires_at = Some(old.expires_at.map_or(end, |at| at.min(end)));
            old.expires_at.is_some_and(|at| at > now)
        });
        source.secrets.insert(0, new);
        source.secrets.truncate(SECRETS_MAX);
        let source = self.replace_source(source, now).await?;
        Ok(WithSecret {
            source,
            secret: made,
        })
    }

    /// Removes a source and the triggers that it fires.
    ///
    /// # Errors
    /// If there is none.
    pub async fn delete_source(
        &self,
        workspace: WorkspaceId,
        id: SourceId,
    ) -> Result<(), ManageError> {
        if !self
            .shared
            .parts
            .records
            .delete_source(workspace, id)
            .await?
        {
            return Err(ManageError::NotFound("source"));
        }
        Ok(self.reload().await?)
    }

    /// One source.
    ///
    /// # Errors
    /// If there is none.
    pub async fn find_source(
        &self,
        workspace: WorkspaceId,
        id: SourceId,
    ) -> Result<Source, ManageError> {
        let found = self.shared.parts.records.source(workspace, id).await?;
        found.ok_or(ManageError::NotFound("source"))
    }

    /// A workspace's sources, oldest first.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn sources(
        &self,
        workspace: WorkspaceId,
        page: Page<SourceId>,
    ) -> Result<Vec<Source>, StoreError> {
        self.shared.parts.records.sources(workspace, page).await
    }

    async fn replace_source(
        &self,
        mut source: Source,
        now: Timestamp,
    ) -> Result<Source, ManageError> {
        let expected = source.updated_at;
        source.updated_at = later(now, expected);
        let records = &self.shared.parts.records;
        if records.update_source(source.clone(), expected).await? {
            self.reload().await?;
            return Ok(source);
        }
        let present = self.find_source(source.workspace, source.id).await?;
        Err(if present.updated_at == expected {
            ManageError::NameTaken
        } else {
            ManageError::Changed
        })
    }

    fn seal_secret(&self, source: &Source, secret: &str, now: Timestamp) -> SourceSecret {
        let number = index::next_number(&source.secrets);
        let context = index::secret_context(source, number);
        SourceSecret {
            sealed: self.seal(secret.as_bytes(), &context),
            number,
            created_at: now,
            expires_at: None,
        }
    }

    pub(crate) fn seal(&self, plain: &[u8], context: &str) -> domain::seal::Sealed {
        let mut nonce = [0; NONCE_BYTES];
        (self.shared.parts.edge.random)(&mut nonce);
        self.shared
            .parts
            .sealing
            .seal(nonce, plain, context.as_bytes())
    }

    pub(crate) fn random_hex(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; MADE_BYTES]);
        (self.shared.parts.edge.random)(&mut *bytes);
        Zeroizing::new(hex::encode(bytes.as_slice()))
    }

    /// A secret for senders that take one of ours; none for those that make it themselves.
    fn make_secret(&self, preset: Preset) -> Option<Zeroizing<String>> {
        match preset {
            Preset::Github | Preset::Telegram | Preset::Generic | Preset::Hmac | Preset::ApiKey => {
                Some(self.random_hex())
            }
            Preset::Basic => Some(Zeroizing::new(format!("signpost:{}", &*self.random_hex()))),
            Preset::StandardWebhooks => {
                let mut bytes = Zeroizing::new([0; MADE_BYTES]);
                (self.shared.parts.edge.random)(&mut *bytes);
                Some(Zeroizing::new(format!(
                    "whsec_{}",
                    STANDARD.encode(bytes.as_slice())
                )))
            }
            Preset::Stripe
            | Preset::Slack
            | Preset::Shopify
            | Preset::Twilio
            | Preset::Linear
            | Preset::Whatsapp
            | Preset::Zoom
            | Preset::None => None,
        }
    }
}

/// The time of a change: later than the one before, also where a clock stands.
pub(crate) fn later(now: Timestamp, before: Timestamp) -> Timestamp {
    now.max(before + Duration::from_millis(1))
}

fn to_json(config: &SourceConfig) -> serde_json::Value {
    serde_json::to_value(config).expect("a configuration is made of JSON values")
}

fn check(
    name: &str,
    config: &SourceConfig,
    secret: Option<&Zeroizing<String>>,
) -> Result<(), ManageError> {
    let mut faults: Vec<FieldFault> = config
        .faults()
        .into_iter()
        .map(|fault| FieldFault::new(fault.path, &fault.message))
        .collect();
    let fits = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte)
        });
    if !fits {
        let message =
            "has 1 to 100 characters out of a–z 0–9 `-` `_`: it is the last part of the URL";
        faults.push(FieldFault::new("name", message));
    } else if RESERVED.contains(&name) {
        faults.push(FieldFault::new(
            "name",
            "is taken: `/webhooks/generic` is built in",
        ));
    }
    if let Some(secret) = secret {
        check_secret(config.preset, secret, &mut faults);
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(ManageError::Invalid(faults))
    }
}

fn check_secret(preset: Preset, secret: &str, faults: &mut Vec<FieldFault>) {
    let mut fault = |message| faults.push(FieldFault::new("secret", message));
    if !(1..=SECRET_BYTES_MAX).contains(&secret.len()) {
        fault("has 1 to 1024 bytes");
    } else if secret.chars().any(char::is_control) {
        fault("has no control characters, such as line ends");
    }
    match preset {
        Preset::None => fault("is not for preset `none`, which checks nothing"),
        Preset::Basic if !secret.contains(':') => fault("is `user:password` with preset `basic`"),
        Preset::StandardWebhooks => {
            let encoded = secret.strip_prefix("whsec_");
            if encoded.is_some_and(|text| STANDARD.decode(text).is_err()) {
                fault("is standard base64 after `whsec_`");
            }
        }
        _ => {}
    }
}
