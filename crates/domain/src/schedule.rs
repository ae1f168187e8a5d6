//! When a failed delivery is tried again, and what a receiver's `Retry-After` means.
//!
//! `delivery` asks [`RetrySchedule::after`] once an attempt has ended; the store writes what it
//! says. Disabling a webhook (410, or failing too long) is not decided here.

mod duration;
mod retry_after;

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Map, Value};

pub use self::{
    duration::{parse_duration, write_duration},
    retry_after::{RETRY_AFTER_S_MAX, retry_after_seconds},
};
use crate::{Timestamp, attempt::Outcome, delivery::Next, format::Format, nearest};

/// The most attempts of one delivery, the first included.
pub const ATTEMPTS_MAX: u32 = 50;
/// The longest delay between two attempts.
pub const DELAY_MAX: Duration = Duration::from_hours(7 * 24);
/// The longest time over which a delivery is tried.
pub const WINDOW_MAX: Duration = Duration::from_hours(30 * 24);
/// Jitter lengthens a delay by up to this share.
const JITTER_SHARE: f64 = 0.2;

/// 5 s, 5 m, 30 m, 2 h, 5 h, 10 h, 10 h (CONTRACTS: delivery rules).
const DEFAULT_S: [u64; 7] = [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000];
/// 1 m, 5 m, 30 m (S1: at most 3 retries, in a window of 24 h).
const AGENT_FACTORY_S: [u64; 3] = [60, 300, 1_800];

/// The delays before each retry, and how long after its start a delivery is tried at all.
///
/// Written as the name of a preset (`"default"`, `"agent-factory"`) or as
/// `{"delays": ["5s", "5m", "2h"], "within": "24h"}`. On input a delay may also be a number of
/// seconds, and a bare list stands for `{"delays": …}`. No delays: one attempt, no retry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RetrySchedule {
    delays: Vec<Duration>,
    within: Option<Duration>,
}

/// Why a schedule is refused; `path` is a JSON Pointer into it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ScheduleError {
    /// Where, as a JSON Pointer.
    pub path: String,
    /// What to change.
    pub message: String,
}

impl Default for RetrySchedule {
    fn default() -> Self {
        Self::preset(Format::Default)
    }
}

impl RetrySchedule {
    /// The preset of a format: that of `agent-factory` is S1's, all others' is the default.
    pub fn preset(format: Format) -> Self {
        let (seconds, within) = match format {
            Format::AgentFactory => (AGENT_FACTORY_S.as_slice(), Some(Duration::from_hours(24))),
            Format::Default | Format::Orchestration | Format::CloudEvents => {
                (DEFAULT_S.as_slice(), None)
            }
        };
        Self {
            delays: seconds.iter().map(|s| Duration::from_secs(*s)).collect(),
            within,
        }
    }

    /// A schedule of these delays; with `within`, no retry starts later than that after the
    /// delivery was made.
    ///
    /// # Errors
    /// If there are too many delays or they are too long.
    pub fn new(delays: Vec<Duration>, within: Option<Duration>) -> Result<Self, ScheduleError> {
        let refused = |path: String, message| Err(ScheduleError { path, message });
        if delays.len() >= ATTEMPTS_MAX as usize {
            return refused(
                "/delays".into(),
                format!(
                    "at most {} retries, so that there are {ATTEMPTS_MAX} attempts",
                    ATTEMPTS_MAX - 1
                ),
            );
        }
        if let Some(at) = delays.iter().position(|delay| *delay > DELAY_MAX) {
            return refused(format!("/delays/{at}"), "a delay is at most 7d".into());
        }
        if delays.iter().sum::<Duration>() > WINDOW_MAX {
            return refused(
                "/delays".into(),
                "all delays together are at most 30d".into(),
            );
        }
        match within {
            Some(window) if window > WINDOW_MAX => {
                refused("/within".into(), "the window is at most 30d".into())
            }
            Some(Duration::ZERO) => {
                refused("/within".into(), "the window is longer than nothing".into())
            }
            _ => Ok(Self { delays, within }),
        }
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    /// If it is of none of the forms above, or over a limit.
    pub fn from_json(value: &Value) -> Result<Self, ScheduleError> {
        match value {
            Value::String(name) => Self::named(name),
            Value::Array(delays) => Self::new(read_delays(delays, "")?, None),
            Value::Object(fields) => Self::from_fields(fields),
            _ => Err(ScheduleError {
                path: String::new(),
                message: "expected a preset's name, a list of delays, or {\"delays\", \"within\"}"
                    .into(),
            }),
        }
    }

    /// How many attempts there are at most, the first included.
    pub fn attempts_max(&self) -> u32 {
        u32::try_from(self.delays.len())
            .unwrap_or(ATTEMPTS_MAX)
            .saturating_add(1)
    }

    /// The delay before each retry, without jitter.
    pub fn delays(&self) -> &[Duration] {
        &self.delays
    }

    /// How long after it was made a delivery is tried at all, if limited.
    pub const fn within(&self) -> Option<Duration> {
        self.within
    }

    /// Decides what follows attempt number `attempt` (the first is 1) of a delivery that was
    /// made at `created`, when the attempt ended at `now` in `outcome`.
    ///
    /// `jitter` is in `0.0..=1.0` and lengthens the delay by up to 20 %. A `Retry-After` can
    /// lengthen it, up to 24 h, never shorten it. 410 ends the delivery.
    ///
    /// # Panics
    /// If `attempt` is 0 or `jitter` is out of range: both are bugs in the caller.
    pub fn after(
        &self,
        attempt: u32,
        outcome: &Outcome,
        created: Timestamp,
        now: Timestamp,
        jitter: f64,
    ) -> Next {
        assert!(attempt > 0, "attempts are counted from 1");
        assert!((0.0..=1.0).contains(&jitter), "jitter is a share");
        if outcome.is_success() {
            return Next::Delivered;
        }
        if outcome.is_gone() {
            return Next::Dead;
        }
        let Some(delay) = self.delays.get(attempt as usize - 1) else {
            return Next::Dead;
        };
        let asked = match outcome {
            Outcome::Answered {
                retry_after_s: Some(seconds),
                ..
            } => Duration::from_secs((*seconds).min(RETRY_AFTER_S_MAX)),
            Outcome::Answered { .. } | Outcome::Failed(_) => Duration::ZERO,
        };
        let at = now + delay.mul_f64(1.0 + JITTER_SHARE * jitter).max(asked);
        match self.within {
            Some(window) if at > created + window => Next::Dead,
            _ => Next::RetryAt(at),
        }
    }

    fn named(name: &str) -> Result<Self, ScheduleError> {
        PRESETS
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, format)| Self::preset(*format))
            .ok_or_else(|| ScheduleError {
                path: String::new(),
                message: format!(
                    "unknown preset `{}`{}: expected default or agent-factory",
                    name.chars().take(40).collect::<String>(),
                    nearest::hint(name, PRESETS.map(|(known, _)| known)),
                ),
            })
    }

    fn from_fields(fields: &Map<String, Value>) -> Result<Self, ScheduleError> {
        let refused = |path: &str, message: String| ScheduleError {
            path: path.into(),
            message,
        };
        if let Some(unknown) = fields
            .keys()
            .find(|key| *key != "delays" && *key != "within")
        {
            let hint = nearest::hint(unknown, ["delays", "within"]);
            return Err(refused("", format!("unknown field `{unknown}`{hint}")));
        }
        let Some(Value::Array(delays)) = fields.get("delays") else {
            return Err(refused("/delays", "expected a list of delays".into()));
        };
        let within = match fields.get("within") {
            None | Some(Value::Null) => None,
            Some(value) => {
                Some(read_duration(value).map_err(|message| refused("/within", message))?)
            }
        };
        Self::new(read_delays(delays, "/delays")?, within)
    }
}

/// The names that stand for whole schedules.
const PRESETS: [(&str, Format); 2] = [
    ("default", Format::Default),
    ("agent-factory", Format::AgentFactory),
];

fn read_delays(values: &[Value], path: &str) -> Result<Vec<Duration>, ScheduleError> {
    values
        .iter()
        .take(ATTEMPTS_MAX as usize)
        .enumerate()
        .map(|(at, value)| {
            read_duration(value).map_err(|message| ScheduleError {
                path: format!("{path}/{at}"),
                message,
            })
        })
        .collect()
}

fn read_duration(value: &Value) -> Result<Duration, String> {
    let read = match value {
        Value::String(text) => parse_duration(text),
        Value::Number(number) => number
            .as_f64()
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        _ => None,
    };
    read.ok_or_else(|| {
        "expected seconds or a duration such as \"30s\", \"5m\", \"2h\", \"1d\"".into()
    })
}

impl Serialize for RetrySchedule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields {
            delays: Vec<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            within: Option<String>,
        }
        if let Some((name, _)) = PRESETS
            .iter()
            .find(|(_, format)| *self == Self::preset(*format))
        {
            return serializer.serialize_str(name);
        }
        Fields {
            delays: self
                .delays
                .iter()
                .map(|delay| write_duration(*delay))
                .collect(),
            within: self.within.map(write_duration),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RetrySchedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_json(&Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
