//! The offline stand-in: fills the output from the prompt, the same each time, without a model.
//!
//! It proves that a workflow holds together, not that its prompts are good. Tools are not called;
//! what they need has been checked before. Tokens are counted as one for each four bytes, rounded
//! up, of the prompt and of the answer; they cost nothing.

use domain::{
    execution::Usage,
    workflow::definition::{FieldType, Output},
};
use serde_json::{Map, Value, json};

use crate::{Turn, TurnEnd, error::cut, provider_name};

/// What every text of the stand-in begins with.
const MARK: &str = "[offline] ";
/// The most characters that are taken over from a prompt.
const SENTENCE_CHARS_MAX: usize = 160;
/// Bytes for each token.
const TOKEN_BYTES: usize = 4;
/// The items of each list.
const ITEMS: usize = 2;

pub(crate) fn turn(turn: &Turn<'_>) -> TurnEnd {
    let filler = Filler {
        prompt: hash(FNV_OFFSET, turn.prompt.as_bytes()),
        sentence: first_sentence(&turn.prompt),
    };
    let output = match turn.output {
        None | Some(Output::Value(FieldType::Str)) => {
            Value::from(format!("{MARK}{}", filler.sentence))
        }
        Some(Output::Value(kind)) => filler.value(kind, "value"),
        Some(Output::Fields(fields)) => fields
            .iter()
            .map(|field| (field.name.clone(), filler.value(&field.kind, &field.name)))
            .collect::<Map<_, _>>()
            .into(),
    };
    let answered = match &output {
        Value::String(text) => text.len(),
        other => other.to_string().len(),
    };
    TurnEnd {
        usage: Usage {
            tokens_in: tokens(turn.prompt.len()),
            tokens_out: tokens(answered),
            cost_nanos: 0,
        },
        output,
        detail: json!({
            "provider": provider_name(turn.llm.provider),
            "model": turn.llm.model,
            "offline": true,
            "rounds": 1,
        }),
    }
}

fn tokens(bytes: usize) -> u64 {
    bytes.div_ceil(TOKEN_BYTES) as u64
}

/// The prompt's first sentence in one line, without the marks of stand-in texts within it.
fn first_sentence(prompt: &str) -> String {
    let plain = prompt.replace(MARK, "");
    let words = plain.split_whitespace();
    let mut sentence = String::new();
    for word in words {
        if !sentence.is_empty() {
            sentence.push(' ');
        }
        sentence.push_str(word);
        if word.ends_with(['.', '!', '?']) || sentence.len() > 4 * SENTENCE_CHARS_MAX {
            break;
        }
    }
    cut(&sentence, SENTENCE_CHARS_MAX)
}

struct Filler {
    /// The prompt's hash.
    prompt: u64,
    sentence: String,
}

impl Filler {
    /// A value of this type for the field at `path`.
    fn value(&self, kind: &FieldType, path: &str) -> Value {
        let number = mixed(hash(self.prompt, path.as_bytes()));
        match kind {
            FieldType::Str => self.text(path),
            FieldType::Int => Value::from(number % 10 + 1),
            FieldType::Float => json!(f64::from(u8::try_from(number % 101).unwrap_or(0)) / 100.0),
            FieldType::Bool => Value::from(number.is_multiple_of(2)),
            FieldType::List => self.list(&FieldType::Str, path),
            FieldType::ListOf(item) => self.list(item, path),
            FieldType::Dict => json!({"offline": self.text(path)}),
            FieldType::DictOf(value) => {
                json!({"offline": self.value(value, &format!("{path}.offline"))})
            }
            FieldType::Object(fields) if fields.is_empty() => self.value(&FieldType::Dict, path),
            FieldType::Object(fields) => fields
                .iter()
                .map(|(name, kind)| (name.clone(), self.value(kind, &format!("{path}.{name}"))))
                .collect::<Map<_, _>>()
                .into(),
        }
    }

    fn text(&self, path: &str) -> Value {
        Value::from(format!("{MARK}{path}: {}", self.sentence))
    }

    fn list(&self, item: &FieldType, path: &str) -> Value {
        (0..ITEMS)
            .map(|index| self.value(item, &format!("{path}[{index}]")))
            .collect()
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// FNV-1a, 64 bits: the same on every machine and in every version.
fn hash(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME)
    })
}

/// FNV's low bits follow the last byte closely: mixed as `SplitMix64` does.
fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
