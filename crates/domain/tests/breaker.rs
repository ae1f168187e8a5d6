//! The circuit breaker, as its webhook lives through trouble.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::Duration;

use domain::{
    Timestamp,
    breaker::{
        Allowance, Breaker, BreakerState, FAILURES_TO_OPEN, OPEN_MAX, OPEN_MIN, is_overload,
    },
};
use proptest::prelude::*;

const START: Timestamp = Timestamp::from_ms(1_781_000_000_000);

/// A breaker that has just opened at [`START`].
fn opened(cap: u32) -> Breaker {
    let mut breaker = Breaker::new(cap);
    for _ in 0..FAILURES_TO_OPEN {
        breaker.record(false, START, 0.0);
    }
    breaker
}

fn until(breaker: &Breaker, now: Timestamp) -> Timestamp {
    match breaker.allowance(now) {
        Allowance::OpenUntil(until) => until,
        Allowance::Limit(limit) => panic!("it allows {limit}"),
    }
}

#[test]
fn it_opens_after_failures_in_a_row_only() {
    let mut breaker = Breaker::new(10);
    for _ in 0..5 {
        for _ in 1..FAILURES_TO_OPEN {
            breaker.record(false, START, 0.0);
        }
        breaker.record(true, START, 0.0);
    }
    assert_eq!(breaker.allowance(START), Allowance::Limit(10));
    let breaker = opened(10);
    assert_eq!(until(&breaker, START), START + OPEN_MIN);
    assert_eq!(breaker.state(START), BreakerState::Open);
}

#[test]
fn one_probe_then_it_ramps_up_to_the_cap() {
    let mut breaker = opened(10);
    let now = START + OPEN_MIN;
    assert_eq!(breaker.state(now), BreakerState::HalfOpen);
    assert_eq!(breaker.allowance(now), Allowance::Limit(1));
    for limit in [1, 2, 4, 8] {
        breaker.record(true, now, 0.0);
        assert_eq!(breaker.allowance(now), Allowance::Limit(limit));
        assert_eq!(breaker.state(now).as_str(), "ramping");
    }
    breaker.record(true, now, 0.0);
    assert_eq!(breaker.allowance(now), Allowance::Limit(10));
    assert_eq!(breaker.state(now).as_str(), "closed");
}

#[test]
fn each_failed_probe_doubles_the_wait_up_to_ten_minutes() {
    let mut breaker = opened(10);
    let mut now = START;
    for seconds in [5, 10, 20, 40, 80, 160, 320, 600, 600] {
        let end = until(&breaker, now);
        assert_eq!(end.since(now), Duration::from_secs(seconds));
        now = end;
        breaker.record(false, now, 0.0);
    }
    let mut jittered = Breaker::new(1);
    for _ in 0..FAILURES_TO_OPEN {
        jittered.record(false, START, 1.0);
    }
    assert_eq!(until(&jittered, START), START + Duration::from_secs(6));
}

#[test]
fn a_success_in_full_forgets_how_often_it_opened() {
    let mut breaker = opened(2);
    let now = START + OPEN_MIN;
    breaker.record(true, now, 0.0);
    breaker.record(true, now, 0.0);
    assert_eq!(breaker.state(now), BreakerState::Closed);
    for _ in 0..FAILURES_TO_OPEN {
        breaker.record(false, now, 0.0);
    }
    assert_eq!(until(&breaker, now).since(now), OPEN_MIN);
}

#[test]
fn failing_one_at_a_time_after_the_probe_opens_it_again_for_longer() {
    let mut breaker = opened(10);
    let now = START + OPEN_MIN;
    breaker.record(true, now, 0.0);
    breaker.record(false, now, 0.0);
    assert_eq!(until(&breaker, now).since(now), 2 * OPEN_MIN);
}

#[test]
fn stragglers_change_nothing_while_it_is_open() {
    let mut breaker = opened(10);
    let before = breaker.clone();
    breaker.record(true, START, 0.0);
    breaker.record(false, START, 0.0);
    assert_eq!(breaker, before);
}

#[test]
fn an_overloaded_receiver_gets_half() {
    let mut breaker = Breaker::new(10);
    breaker.record_overload(START, 0.0);
    assert_eq!(breaker.allowance(START), Allowance::Limit(5));
    breaker.record_overload(START, 0.0);
    assert_eq!(breaker.allowance(START), Allowance::Limit(2));
    breaker.record(true, START, 0.0);
    assert_eq!(breaker.allowance(START), Allowance::Limit(4));
    for _ in 0..FAILURES_TO_OPEN {
        breaker.record_overload(START, 0.0);
    }
    assert_eq!(breaker.state(START), BreakerState::Open);
    assert!(is_overload(429) && is_overload(503) && !is_overload(500));
    let mut alone = Breaker::new(1);
    alone.record_overload(START, 0.0);
    assert_eq!(alone.allowance(START), Allowance::Limit(1));
}

#[test]
fn a_changed_cap_holds_at_once() {
    let mut breaker = Breaker::new(10);
    breaker.set_cap(3);
    assert_eq!(breaker.allowance(START), Allowance::Limit(3));
    breaker.record_overload(START, 0.0);
    breaker.set_cap(100);
    assert_eq!(breaker.allowance(START), Allowance::Limit(1));
}

proptest! {
    #[test]
    fn whatever_happens_it_allows_no_more_than_the_cap_and_recovers(
        cap in 1_u32..1_000,
        steps in prop::collection::vec((0_u8..4, 0_u64..700_000, 0.0..=1.0), 0..200),
    ) {
        let mut breaker = Breaker::new(cap);
        let mut now = START;
        for (what, ms, jitter) in steps {
            now = now + Duration::from_millis(ms);
            match what {
                0 => breaker.record(true, now, jitter),
                1 => breaker.record_overload(now, jitter),
                _ => breaker.record(false, now, jitter),
            }
            match breaker.allowance(now) {
                Allowance::Limit(limit) => prop_assert!((1..=cap).contains(&limit)),
                Allowance::OpenUntil(until) => {
                    prop_assert_eq!(breaker.state(now), BreakerState::Open);
                    prop_assert!(until > now && until.since(now) <= OPEN_MAX);
                    prop_assert_eq!(breaker.allowance(until), Allowance::Limit(1));
                }
            }
        }
        // However bad it was: once the receiver answers, everything flows again.
        now = now + OPEN_MAX;
        for _ in 0..12 {
            breaker.record(true, now, 0.0);
        }
        prop_assert_eq!(breaker.allowance(now), Allowance::Limit(cap));
        prop_assert_eq!(breaker.state(now), BreakerState::Closed);
    }
}
