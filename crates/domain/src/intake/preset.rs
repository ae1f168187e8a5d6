//! What each known provider does: how it signs, where it says which event this is.
//!
//! From the providers' own documentation of their webhooks.

use serde::{Deserialize, Serialize};

use super::config::{Algorithm, Encoding, HmacConfig, Location, SourceConfig};

/// Who sends, or how it signs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// GitHub: `X-Hub-Signature-256`.
    Github,
    /// Stripe: `Stripe-Signature: t=…,v1=…`.
    Stripe,
    /// Slack: `X-Slack-Signature: v0=…`, over version, time and body.
    Slack,
    /// Shopify: `X-Shopify-Hmac-Sha256`, base64.
    Shopify,
    /// Twilio: `X-Twilio-Signature`, over the URL and the form's fields.
    Twilio,
    /// Linear: `Linear-Signature`, and a time in the body.
    Linear,
    /// Telegram: a secret token in a header.
    Telegram,
    /// `WhatsApp` and Meta's others: `X-Hub-Signature-256` under the app's secret.
    Whatsapp,
    /// Zoom: `x-zm-signature: v0=…`, over version, time and body.
    Zoom,
    /// Standard Webhooks: `webhook-id`, `webhook-timestamp`, `webhook-signature`.
    StandardWebhooks,
    /// Signpost's and others' plain form: hex HMAC-SHA256 of the body in `X-Webhook-Signature` or
    /// `X-Signature`.
    #[default]
    Generic,
    /// An HMAC as [`SourceConfig::hmac`] describes it.
    Hmac,
    /// HTTP's Basic authentication; the secret is `user:password`.
    Basic,
    /// A key in a header.
    ApiKey,
    /// Nobody signs: anyone who knows the URL can send.
    None,
}

/// How a request is told to be genuine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// An HMAC in one of these headers.
    Hmac {
        headers: Vec<String>,
        config: HmacConfig,
    },
    /// `t=…,v1=…`.
    Stripe,
    /// Standard Webhooks.
    Standard,
    /// URL and fields.
    Twilio,
    /// The secret itself, in this header.
    Token(String),
    /// `Authorization: Basic`.
    Basic,
    /// Nothing.
    Open,
}

impl Preset {
    /// All of them, as the API writes them.
    pub const NAMES: [&str; 15] = [
        "github",
        "stripe",
        "slack",
        "shopify",
        "twilio",
        "linear",
        "telegram",
        "whatsapp",
        "zoom",
        "standard-webhooks",
        "generic",
        "hmac",
        "basic",
        "api-key",
        "none",
    ];

    /// Where the event's id may be, the first that is there counts.
    pub(super) fn event_ids(self) -> Vec<Location> {
        let header = |name: &str| Location::Header(name.to_owned());
        let json = |path: &str| Location::Json(path.to_owned());
        match self {
            Self::Github => vec![header("x-github-delivery")],
            Self::Stripe => vec![json("id")],
            Self::Slack => vec![json("event_id")],
            Self::Shopify => vec![header("x-shopify-webhook-id")],
            Self::Twilio => vec![header("i-twilio-idempotency-token")],
            Self::Linear => vec![header("linear-delivery")],
            Self::Telegram => vec![json("update_id")],
            Self::Whatsapp => vec![
                json("entry[0].changes[0].value.messages[0].id"),
                json("entry[0].messaging[0].message.mid"),
            ],
            // Zoom's requests say nothing that stays the same when one is sent again.
            Self::Zoom => Vec::new(),
            Self::StandardWebhooks => vec![header("webhook-id")],
            Self::Generic | Self::Hmac | Self::Basic | Self::ApiKey | Self::None => {
                vec![json("webhook_id"), json("id"), header("idempotency-key")]
            }
        }
    }

    /// Where it says what has happened, the first that is there counts.
    pub(super) fn event_types(self) -> Vec<Location> {
        let header = |name: &str| Location::Header(name.to_owned());
        let json = |path: &str| Location::Json(path.to_owned());
        match self {
            Self::Github => vec![header("x-github-event")],
            Self::Slack => vec![json("event.type"), json("type")],
            Self::Shopify => vec![header("x-shopify-topic")],
            Self::Zoom => vec![json("event")],
            Self::Whatsapp => vec![json("entry[0].changes[0].field"), json("object")],
            Self::Twilio | Self::Telegram => Vec::new(),
            Self::Linear | Self::Stripe => vec![json("type")],
            _ => vec![json("event"), json("type"), header("x-webhook-event")],
        }
    }
}

/// The scheme that a configuration asks for; none if it asks for one that it does not describe.
pub(super) fn scheme(config: &SourceConfig) -> Option<Scheme> {
    let body = |header: &str, encoding| Scheme::Hmac {
        headers: vec![header.to_owned()],
        config: plain(encoding),
    };
    Some(match config.preset {
        Preset::Github | Preset::Whatsapp => body("x-hub-signature-256", Encoding::Hex),
        Preset::Stripe => Scheme::Stripe,
        Preset::Slack => versioned("x-slack-signature", "x-slack-request-timestamp"),
        Preset::Zoom => versioned("x-zm-signature", "x-zm-request-timestamp"),
        Preset::Shopify => body("x-shopify-hmac-sha256", Encoding::Base64),
        Preset::Twilio => Scheme::Twilio,
        Preset::Linear => body("linear-signature", Encoding::Hex),
        Preset::Telegram => Scheme::Token("x-telegram-bot-api-secret-token".to_owned()),
        Preset::StandardWebhooks => Scheme::Standard,
        Preset::Generic => Scheme::Hmac {
            headers: vec!["x-webhook-signature".to_owned(), "x-signature".to_owned()],
            config: plain(Encoding::Hex),
        },
        Preset::Hmac => {
            let hmac = config.hmac.clone()?;
            Scheme::Hmac {
                headers: vec![hmac.header.clone()],
                config: hmac,
            }
        }
        Preset::Basic => Scheme::Basic,
        Preset::ApiKey => Scheme::Token(
            config
                .header
                .clone()
                .unwrap_or_else(|| "x-api-key".to_owned()),
        ),
        Preset::None => Scheme::Open,
    })
}

fn plain(encoding: Encoding) -> HmacConfig {
    HmacConfig {
        algorithm: Algorithm::Sha256,
        header: String::new(),
        encoding,
        prefix: String::new(),
        timestamp_header: None,
        content: None,
        id_header: None,
    }
}

/// `v0=` and the HMAC of `v0:<time>:<body>`.
fn versioned(header: &str, timestamp_header: &str) -> Scheme {
    Scheme::Hmac {
        headers: vec![header.to_owned()],
        config: HmacConfig {
            prefix: "v0=".to_owned(),
            timestamp_header: Some(timestamp_header.to_owned()),
            content: Some("v0:{timestamp}:{body}".to_owned()),
            ..plain(Encoding::Hex)
        },
    }
}
