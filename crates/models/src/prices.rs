//! What tokens cost: list prices of the providers' own APIs, in US dollars per million tokens.
//!
//! The providers publish them at <https://ai.google.dev/gemini-api/docs/pricing>,
//! <https://openai.com/api/pricing> and <https://www.anthropic.com/pricing>. This list was made on
//! 2026-11-20 for text, without batch discounts, long-context surcharges and tiers, and was not
//! compared with theirs on that day. Prices change: an operator overrides them with a JSON
//! object, `{"openai/gpt-4.1": {"input": 2.0, "output": 8.0, "cached": 0.5}}`. A model that is
//! not listed costs 0, and the turn's detail says that it has no price (`"priced": false`).

use std::collections::BTreeMap;

use domain::workflow::definition::Provider;
use serde::Deserialize;

use crate::provider_name;

/// A model's price, in US dollars per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// For what is sent.
    pub input: f64,
    /// For what is received.
    pub output: f64,
    /// For what is sent and was found in the provider's cache; none: as `input`.
    #[serde(default)]
    pub cached: Option<f64>,
}

/// Provider and model, input, cached input, output. A name also stands for its dated versions
/// (`gpt-4.1-2025-04-14`), and for `-latest` and previews; other models of a family have a line
/// of their own, or no price.
const LIST: [(&str, f64, f64, f64); 32] = [
    ("google/gemini-2.0-flash", 0.10, 0.025, 0.40),
    ("google/gemini-2.0-flash-lite", 0.075, 0.075, 0.30),
    ("google/gemini-2.5-flash", 0.30, 0.03, 2.50),
    ("google/gemini-2.5-flash-lite", 0.10, 0.01, 0.40),
    ("google/gemini-2.5-pro", 1.25, 0.125, 10.0),
    ("google/gemini-3-pro", 2.0, 0.20, 12.0),
    ("openai/gpt-4o", 2.50, 1.25, 10.0),
    ("openai/gpt-4o-mini", 0.15, 0.075, 0.60),
    ("openai/gpt-4.1", 2.0, 0.50, 8.0),
    ("openai/gpt-4.1-mini", 0.40, 0.10, 1.60),
    ("openai/gpt-4.1-nano", 0.10, 0.025, 0.40),
    ("openai/gpt-4-turbo", 10.0, 10.0, 30.0),
    ("openai/gpt-3.5-turbo", 0.50, 0.50, 1.50),
    ("openai/gpt-5", 1.25, 0.125, 10.0),
    ("openai/gpt-5-mini", 0.25, 0.025, 2.0),
    ("openai/gpt-5-nano", 0.05, 0.005, 0.40),
    ("openai/gpt-5.1", 1.25, 0.125, 10.0),
    ("openai/o1", 15.0, 7.50, 60.0),
    ("openai/o3", 2.0, 0.50, 8.0),
    ("openai/o3-mini", 1.10, 0.55, 4.40),
    ("openai/o4-mini", 1.10, 0.275, 4.40),
    ("anthropic/claude-3-haiku", 0.25, 0.03, 1.25),
    ("anthropic/claude-3-5-haiku", 0.80, 0.08, 4.0),
    ("anthropic/claude-3-5-sonnet", 3.0, 0.30, 15.0),
    ("anthropic/claude-3-7-sonnet", 3.0, 0.30, 15.0),
    ("anthropic/claude-haiku-4-5", 1.0, 0.10, 5.0),
    ("anthropic/claude-sonnet-4", 3.0, 0.30, 15.0),
    ("anthropic/claude-sonnet-4-5", 3.0, 0.30, 15.0),
    ("anthropic/claude-sonnet-4-6", 3.0, 0.30, 15.0),
    ("anthropic/claude-opus-4", 15.0, 1.50, 75.0),
    ("anthropic/claude-opus-4-1", 15.0, 1.50, 75.0),
    ("anthropic/claude-opus-4-5", 5.0, 0.50, 25.0),
];

/// What the models cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Prices(BTreeMap<String, Price>);

/// The list of this module.
impl Default for Prices {
    fn default() -> Self {
        let price = |(name, input, cached, output): &(&str, f64, f64, f64)| {
            let price = Price {
                input: *input,
                output: *output,
                cached: Some(*cached),
            };
            ((*name).to_owned(), price)
        };
        Self(LIST.iter().map(price).collect())
    }
}

/// A file of prices that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PricesError {
    /// Not of the expected shape.
    #[error(
        "the prices must be a JSON object such as {{\"openai/gpt-4.1\": {{\"input\": 2.0, \"output\": 8.0}}}}: {0}"
    )]
    Json(#[from] serde_json::Error),
    /// A price below zero, or no number.
    #[error("the price of {0} must be 0 or more US dollars per million tokens")]
    Negative(String),
    /// A name without a provider.
    #[error("{0:?} must be a provider and a model, such as \"openai/gpt-4.1\"")]
    Name(String),
}

impl Prices {
    /// The list, with the prices of a JSON object before it.
    ///
    /// # Errors
    /// [`PricesError`] with what is wrong and what is expected.
    pub fn with_overrides(json: &str) -> Result<Self, PricesError> {
        let mut prices = Self::default();
        let overrides: BTreeMap<String, Price> = serde_json::from_str(json)?;
        for (name, price) in overrides {
            let amounts = [price.input, price.output, price.cached.unwrap_or(0.0)];
            if !amounts.iter().all(|usd| usd.is_finite() && *usd >= 0.0) {
                return Err(PricesError::Negative(name));
            }
            if !name.contains('/') {
                return Err(PricesError::Name(name));
            }
            prices.0.insert(name, price);
        }
        Ok(prices)
    }

    /// The price of a model. What runs on a server of one's own (Ollama) costs nothing.
    pub fn of(&self, provider: Provider, model: &str) -> Option<Price> {
        let model = model.strip_prefix("models/").unwrap_or(model);
        let name = format!("{}/{model}", provider_name(provider));
        let fits = |listed: &str| {
            name.strip_prefix(listed)
                .is_some_and(|rest| rest.is_empty() || is_version(rest))
        };
        let longest = self
            .0
            .iter()
            .filter(|(listed, _)| fits(listed))
            .max_by_key(|(listed, _)| listed.len());
        match longest {
            Some((_, price)) => Some(*price),
            None if provider == Provider::Ollama => Some(Price {
                input: 0.0,
                output: 0.0,
                cached: None,
            }),
            None => None,
        }
    }
}

/// Whether what follows a model's name only says which version: `-20250514`, `@20250514`,
/// `-2025-04-14`, `-001`, `-latest`, `-preview-09-2025`, `-exp`.
fn is_version(rest: &str) -> bool {
    let Some(version) = rest.strip_prefix(['-', '@', ':']) else {
        return false;
    };
    let digits = version.bytes().take_while(u8::is_ascii_digit).count();
    digits >= 3
        || ["latest", "preview", "exp"]
            .iter()
            .any(|word| version.starts_with(word))
}

impl Price {
    /// What so many tokens cost, in billionths of a US dollar, rounded to the nearest. `cached`
    /// of the `sent` ones came from the provider's cache.
    pub fn cost_nanos(&self, sent: u64, cached: u64, received: u64) -> u64 {
        let cached = cached.min(sent);
        let picos = [
            (sent - cached, self.input),
            (cached, self.cached.unwrap_or(self.input)),
            (received, self.output),
        ]
        .into_iter()
        .map(|(tokens, usd)| u128::from(tokens) * picos_per_token(usd))
        .sum::<u128>();
        u64::try_from((picos + 500) / 1_000).unwrap_or(u64::MAX)
    }
}

/// One US dollar per million tokens is a million billionths of a thousandth for each.
fn picos_per_token(usd_per_million: f64) -> u128 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "prices are checked to be finite and not negative; beyond 2^64 they saturate"
    )]
    let picos = (usd_per_million * 1e6).round() as u64;
    u128::from(picos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::float_cmp, reason = "they are the list's own numbers")]
    fn the_longest_name_that_fits_counts() {
        let prices = Prices::default();
        let input = |model: &str| prices.of(Provider::Openai, model).map(|price| price.input);
        assert_eq!(input("gpt-4.1-2025-04-14"), Some(2.0));
        assert_eq!(input("gpt-4.1-mini-2025-04-14"), Some(0.4));
        assert_eq!(input("gpt-4.12"), None);
        assert_eq!(input("gpt-4o-audio-preview"), None);
        let opus = |model| prices.of(Provider::Anthropic, model);
        assert_eq!(opus("claude-opus-4-20250514").unwrap().input, 15.0);
        assert_eq!(opus("claude-opus-4-9"), None);
        let lite = prices.of(Provider::Google, "models/gemini-2.5-flash-lite");
        assert_eq!(lite.map(|price| price.output), Some(0.4));
        let local = prices.of(Provider::Ollama, "llama3").unwrap();
        assert_eq!(local.cost_nanos(1_000, 0, 1_000), 0);
    }

    #[test]
    fn costs_are_exact_to_the_billionth() {
        let price = Price {
            input: 0.10,
            output: 0.40,
            cached: Some(0.025),
        };
        // 1,000 × $0.10/M + 500 × $0.40/M = $0.0003.
        assert_eq!(price.cost_nanos(1_000, 0, 500), 300_000);
        assert_eq!(price.cost_nanos(1_000, 1_000, 0), 25_000);
        assert_eq!(price.cost_nanos(1, 1, 0), 25);
    }

    #[test]
    fn an_operator_overrides_prices_and_hears_what_is_wrong() {
        let prices =
            Prices::with_overrides(r#"{"openai/gpt-4.1": {"input": 1, "output": 2}}"#).unwrap();
        let price = prices.of(Provider::Openai, "gpt-4.1").unwrap();
        assert_eq!(price.cost_nanos(10, 10, 0), 10_000);
        for (json, expected) in [
            (
                r#"{"gpt": {"input": 1, "output": 2}}"#,
                "a provider and a model",
            ),
            (
                r#"{"a/b": {"input": -1, "output": 2}}"#,
                "0 or more US dollars",
            ),
            (r#"{"a/b": {"in": 1}}"#, "unknown field"),
        ] {
            let error = Prices::with_overrides(json).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
