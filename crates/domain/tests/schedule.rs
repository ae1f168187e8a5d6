//! When a failed delivery is tried again.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::Duration;

use domain::{
    Timestamp,
    attempt::{ErrorClass, Outcome},
    delivery::Next,
    format::Format,
    schedule::{DELAY_MAX, RetrySchedule},
};
use proptest::prelude::*;
use serde_json::{Value, json};

const CREATED: Timestamp = Timestamp::from_ms(1_781_000_000_000);
const FAILED: Outcome = Outcome::Failed(ErrorClass::Timeout);

fn answered(status: u16, retry_after_s: Option<u64>) -> Outcome {
    Outcome::Answered {
        status,
        retry_after_s,
    }
}

fn in_s(seconds: u64) -> Next {
    Next::RetryAt(CREATED + Duration::from_secs(seconds))
}

fn schedule(value: &Value) -> RetrySchedule {
    RetrySchedule::from_json(value).unwrap()
}

#[test]
fn the_default_schedule_is_the_contracts() {
    let schedule = RetrySchedule::default();
    let delays = [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000];
    for (attempt, seconds) in (1..).zip(delays) {
        assert_eq!(
            schedule.after(attempt, &FAILED, CREATED, CREATED, 0.0),
            in_s(seconds)
        );
    }
    assert_eq!(
        schedule.after(8, &FAILED, CREATED, CREATED, 0.0),
        Next::Dead
    );
    assert_eq!(schedule.attempts_max(), 8);
}

#[test]
fn agent_factory_retries_three_times_within_a_day() {
    let schedule = RetrySchedule::preset(Format::AgentFactory);
    for (attempt, next) in [
        (1, in_s(60)),
        (2, in_s(300)),
        (3, in_s(1_800)),
        (4, Next::Dead),
    ] {
        assert_eq!(
            schedule.after(attempt, &FAILED, CREATED, CREATED, 0.0),
            next,
            "{attempt}"
        );
    }
    let late = CREATED + Duration::from_secs(24 * 3600 - 59);
    assert_eq!(schedule.after(1, &FAILED, CREATED, late, 0.0), Next::Dead);
    let just = CREATED + Duration::from_mins(24 * 60 - 1);
    assert!(matches!(
        schedule.after(1, &FAILED, CREATED, just, 0.0),
        Next::RetryAt(_)
    ));
}

#[test]
fn the_outcome_decides() {
    let schedule = RetrySchedule::default();
    for (outcome, next) in [
        (answered(200, None), Next::Delivered),
        (answered(299, None), Next::Delivered),
        (answered(301, None), in_s(5)),
        (answered(400, None), in_s(5)),
        (answered(404, None), in_s(5)),
        (answered(410, None), Next::Dead),
        (answered(500, None), in_s(5)),
        (FAILED, in_s(5)),
        // Retry-After lengthens, up to a day, and never shortens.
        (answered(429, Some(1)), in_s(5)),
        (answered(429, Some(120)), in_s(120)),
        (answered(503, Some(86_400)), in_s(86_400)),
        (answered(503, Some(u64::MAX)), in_s(86_400)),
    ] {
        assert_eq!(
            schedule.after(1, &outcome, CREATED, CREATED, 0.0),
            next,
            "{outcome:?}"
        );
    }
    let last = answered(429, Some(60));
    assert_eq!(schedule.after(8, &last, CREATED, CREATED, 0.0), Next::Dead);
}

#[test]
fn jitter_lengthens_by_up_to_a_fifth() {
    let schedule = RetrySchedule::default();
    assert_eq!(schedule.after(2, &FAILED, CREATED, CREATED, 1.0), in_s(360));
    assert_eq!(schedule.after(2, &FAILED, CREATED, CREATED, 0.5), in_s(330));
    assert_eq!(
        schedule.after(2, &answered(429, Some(350)), CREATED, CREATED, 0.5),
        in_s(350)
    );
}

#[test]
fn schedules_are_read_and_written_in_one_form() {
    for (given, written) in [
        (json!("default"), json!("default")),
        (json!("agent-factory"), json!("agent-factory")),
        (
            json!([5, 300, 1800, 7200, 18000, 36000, 36000]),
            json!("default"),
        ),
        (
            json!({"delays": ["1m", "5m", "30m"], "within": "24h"}),
            json!("agent-factory"),
        ),
        (
            json!({"delays": ["1m", "5m", "30m"]}),
            json!({"delays": ["1m", "5m", "30m"]}),
        ),
        (
            json!([1, 0.5, "90s", "2h"]),
            json!({"delays": ["1s", "500ms", "90s", "2h"]}),
        ),
        (json!([]), json!({"delays": []})),
        (
            json!({"delays": [1], "within": 60}),
            json!({"delays": ["1s"], "within": "1m"}),
        ),
    ] {
        let read = schedule(&given);
        assert_eq!(serde_json::to_value(&read).unwrap(), written, "{given}");
        assert_eq!(
            serde_json::from_value::<RetrySchedule>(written).unwrap(),
            read
        );
    }
}

#[test]
fn what_is_refused_says_where_and_why() {
    for (given, path, told) in [
        (json!("defualt"), "", "did you mean `default`"),
        (json!(5), "", "expected"),
        (json!({}), "/delays", "list"),
        (json!({"delays": "5s"}), "/delays", "list"),
        (
            json!({"delays": ["5s"], "whithin": 1}),
            "",
            "did you mean `within`",
        ),
        (json!({"delays": ["5s", "soon"]}), "/delays/1", "duration"),
        (json!([-1]), "/0", "duration"),
        (json!([1e300]), "/0", "duration"),
        (json!([true]), "/0", "duration"),
        (json!(["8d"]), "/delays/0", "7d"),
        (json!(["7d", "7d", "7d", "7d", "7d"]), "/delays", "30d"),
        (json!(vec![1; 50]), "/delays", "49"),
        (json!(vec![1; 5000]), "/delays", "49"),
        (json!({"delays": [], "within": "31d"}), "/within", "30d"),
        (json!({"delays": [], "within": 0}), "/within", "longer"),
    ] {
        let error = RetrySchedule::from_json(&given).unwrap_err();
        assert_eq!(error.path, path, "{given}: {error}");
        assert!(error.message.contains(told), "{given}: {error}");
    }
    assert_eq!(schedule(&json!(vec![1; 49])).attempts_max(), 50);
}

proptest! {
    #[test]
    fn a_retry_is_never_early_and_never_far_off(
        delays in prop::collection::vec(0_u64..604_800_000, 0..4),
        attempt in 1_u32..8,
        asked in prop::option::of(0_u64..200_000),
        jitter in 0.0..=1.0,
        elapsed_ms in 0_u64..1_000_000_000,
    ) {
        let delays: Vec<Duration> = delays.into_iter().map(Duration::from_millis).collect();
        let schedule = RetrySchedule::new(delays.clone(), None).unwrap();
        let now = CREATED + Duration::from_millis(elapsed_ms);
        match schedule.after(attempt, &answered(429, asked), CREATED, now, jitter) {
            Next::RetryAt(at) => {
                let base = delays[attempt as usize - 1];
                let asked = Duration::from_secs(asked.unwrap_or(0).min(86_400));
                prop_assert!(at >= now + base && at >= now + asked);
                prop_assert!(at <= now + base.mul_f64(1.2).max(asked) + Duration::from_millis(1));
                prop_assert!(at.since(now) <= DELAY_MAX.mul_f64(1.2));
            }
            Next::Dead => prop_assert!(attempt as usize > delays.len()),
            Next::Delivered => prop_assert!(false, "429 is no success"),
        }
    }
}
