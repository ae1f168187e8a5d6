//! Pools: units are taken all or none, given back, and waited for.

use domain::{ExecutionId, execution::ExecutionState};

use super::{
    Backend,
    fixture::{Fixture, HOME, MINUTE},
    running::{key, take},
};
use crate::{Pool, Recorded, Take};

/// How many units of each pool are taken.
async fn taken(test: &Fixture<'_, impl Backend>) -> Vec<(String, u32)> {
    let pools = test.store.pools(HOME).await.unwrap();
    pools.into_iter().map(|one| (one.name, one.taken)).collect()
}

fn named(free: &[(&str, u32)]) -> Vec<(String, u32)> {
    free.iter()
        .map(|(name, units)| ((*name).to_owned(), *units))
        .collect()
}

/// A workflow's execution that this process holds, and that takes these units.
async fn taking(test: &Fixture<'_, impl Backend>, takes: Vec<Take>) -> ExecutionId {
    let id = test.running(test.workflow_id()).await;
    let mut record = test.found(id);
    record.takes = takes;
    test.written(record).await;
    id
}

fn short(pool: &str, free: Option<u32>) -> Recorded {
    Recorded::Short {
        pool: pool.into(),
        free,
    }
}

/// By name, each in its workspace; a change leaves what is taken.
pub async fn pools_are_made_changed_and_removed(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let elsewhere = test.elsewhere().await;
    for (name, units) in [("gpu", 2), ("api", 5), ("gpu", 4)] {
        test.store.put_pool(HOME, name, units).await.unwrap();
    }
    test.store.put_pool(elsewhere, "gpu", 1).await.unwrap();
    taking(&test, vec![take("gpu", 3, "a")]).await;
    test.store.put_pool(HOME, "gpu", 2).await.unwrap();
    let pool = |name: &str, units, taken| Pool {
        name: name.into(),
        units,
        taken,
    };
    assert_eq!(
        test.store.pools(HOME).await.unwrap(),
        [pool("api", 5, 0), pool("gpu", 2, 3)]
    );
    assert_eq!(
        test.store.pools(elsewhere).await.unwrap(),
        [pool("gpu", 1, 0)]
    );
    let id = test.running(test.workflow_id()).await;
    let mut record = test.found(id);
    record.takes = vec![take("gpu", 1, "a")];
    assert_eq!(test.store.record(record).await, Ok(short("gpu", Some(0))));
    let remove = async |name| test.store.delete_pool(HOME, name, test.now()).await;
    assert_eq!(remove("gpu").await, Ok(true));
    assert_eq!(remove("gpu").await, Ok(false));
    assert_eq!(test.store.pools(HOME).await.unwrap(), [pool("api", 5, 0)]);
    assert_eq!(test.store.pools(elsewhere).await.unwrap().len(), 1);
}

/// All that a record takes, or nothing of the record.
pub async fn units_are_taken_all_or_none(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    test.store.put_pool(HOME, "api", 5).await.unwrap();
    test.store.put_pool(HOME, "gpu", 2).await.unwrap();
    let id = test.running(test.workflow_id()).await;
    let mut record = test.found(id);
    record.takes = vec![take("gpu", 1, "a"), take("api", 2, "a")];
    let (_, _, free) = test.written(record).await;
    assert_eq!(free, named(&[("api", 3), ("gpu", 1)]));

    let other = test.running(test.workflow_id()).await;
    let lacks = [
        (
            vec![take("api", 1, "a"), take("gpu", 2, "a")],
            "gpu",
            Some(1),
        ),
        (
            vec![take("gpu", 1, "a"), take("gpu", 1, "b")],
            "gpu",
            Some(1),
        ),
        (vec![take("api", 1, "a"), take("gpu", 3, "a")], "gpu", None),
        (vec![take("api", 1, "a"), take("tpu", 1, "a")], "tpu", None),
    ];
    for (takes, pool, free) in lacks {
        let event = test.event(HOME);
        let event_key = event.event.key;
        let mut record = test.ended(other, ExecutionState::Completed);
        record.steps = vec![test.step_of(1, "a", domain::execution::StepState::Completed)];
        record.takes = takes;
        record.events = vec![event];
        assert_eq!(test.store.record(record).await, Ok(short(pool, free)));
        assert_eq!(test.store.event(HOME, event_key).await, Ok(None));
        assert_eq!(test.store.steps(HOME, other).await, Ok(Vec::new()));
        assert_eq!(taken(&test).await, named(&[("api", 2), ("gpu", 1)]));
    }
    let mut record = test.found(other);
    record.takes = vec![
        take("gpu", 1, "a"),
        take("api", 1, "a"),
        take("api", 2, "b"),
    ];
    let (_, _, free) = test.written(record).await;
    assert_eq!(free, named(&[("api", 0), ("gpu", 0)]));
}

/// A run that has units of a pool and takes them again has no more of them than it asks for: after
/// a crash, it is begun anew.
pub async fn a_run_takes_its_units_once(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    test.store.put_pool(HOME, "gpu", 2).await.unwrap();
    let id = taking(&test, vec![take("gpu", 2, "a")]).await;
    let test = test.restart().await;
    assert_eq!(taken(&test).await, named(&[("gpu", 2)]));
    assert_eq!(test.taken_up().await, [id]);
    for (units, free) in [(2, 0), (1, 1), (2, 0)] {
        let mut record = test.found(id);
        record.takes = vec![take("gpu", units, "a")];
        assert_eq!(test.written(record).await.2, named(&[("gpu", free)]));
    }
}

/// By the run that has them, by the end of the execution, whatever it has; and taken in the same
/// record by another run.
pub async fn units_are_given_back(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    test.store.put_pool(HOME, "api", 5).await.unwrap();
    test.store.put_pool(HOME, "gpu", 2).await.unwrap();
    let takes = vec![
        take("gpu", 2, "a"),
        take("api", 1, "a"),
        take("api", 3, "b"),
    ];
    let id = taking(&test, takes).await;
    let mut record = test.found(id);
    record.gives = vec![key("a"), key("unknown")];
    record.takes = vec![take("gpu", 1, "c")];
    let (_, _, free) = test.written(record).await;
    assert_eq!(free, named(&[("api", 2), ("gpu", 1)]));
    assert_eq!(taken(&test).await, named(&[("api", 3), ("gpu", 1)]));
    let (_, _, free) = test.written(test.ended(id, ExecutionState::Stopped)).await;
    assert_eq!(free, named(&[("api", 5), ("gpu", 2)]));
    assert_eq!(taken(&test).await, named(&[("api", 0), ("gpu", 0)]));
}

/// Whoever waits for a pool is due when units come back to it, and not before.
pub async fn who_waits_for_units_is_woken(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    test.store.put_pool(HOME, "api", 1).await.unwrap();
    test.store.put_pool(HOME, "gpu", 1).await.unwrap();
    let has_gpu = taking(&test, vec![take("gpu", 1, "a")]).await;
    let has_api = taking(&test, vec![take("api", 1, "a")]).await;
    let mut waiters = Vec::new();
    for pools in [vec!["gpu"], vec!["api", "gpu"], vec!["api"]] {
        let id = test.running(test.workflow_id()).await;
        let mut record = test.found(id);
        record.waits_for = pools.into_iter().map(str::to_owned).collect();
        record.change = Some(test.change(ExecutionState::Waiting));
        test.written(record).await;
        waiters.push(id);
    }
    assert_eq!(test.taken_up().await, []);
    test.pass(MINUTE);
    let mut record = test.found(has_gpu);
    record.gives = vec![key("a")];
    test.written(record).await;
    assert_eq!(test.execution(waiters[0]).await.due_at, Some(test.now()));
    let mut woken = test.taken_up().await;
    woken.sort_unstable();
    assert_eq!(woken, waiters[..2]);
    for id in &waiters[..2] {
        // It no longer waits for any.
        test.wait_until(*id, None).await;
    }
    test.written(test.ended(has_api, ExecutionState::Completed))
        .await;
    assert_eq!(test.taken_up().await, waiters[2..]);
}

/// When it gets more units; and when it is removed, there is nothing to wait for.
pub async fn a_changed_pool_wakes_who_waits(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    test.store.put_pool(HOME, "gpu", 1).await.unwrap();
    taking(&test, vec![take("gpu", 1, "a")]).await;
    let id = test.running(test.workflow_id()).await;
    let mut record = test.found(id);
    record.waits_for = vec!["gpu".into()];
    record.change = Some(test.change(ExecutionState::Waiting));
    test.written(record).await;
    test.pass(MINUTE);
    test.store.put_pool(HOME, "gpu", 1).await.unwrap();
    assert_eq!(test.taken_up().await, []);
    test.store.put_pool(HOME, "gpu", 3).await.unwrap();
    assert_eq!(test.taken_up().await, [id]);
    test.store.put_pool(HOME, "gpu", 1).await.unwrap();
    let mut record = test.found(id);
    record.waits_for = vec!["gpu".into()];
    record.change = Some(test.change(ExecutionState::Waiting));
    test.written(record).await;
    assert_eq!(test.taken_up().await, []);
    let removed = test.store.delete_pool(HOME, "gpu", test.now()).await;
    assert_eq!(removed, Ok(true));
    assert_eq!(test.execution(id).await.due_at, Some(test.now()));
    assert_eq!(test.taken_up().await, [id]);
}

/// Units that came back between being found short and the wait are not missed: it looks again
/// after a second.
pub async fn units_that_come_meanwhile_are_not_missed(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    test.store.put_pool(HOME, "gpu", 2).await.unwrap();
    let has = taking(&test, vec![take("gpu", 2, "a")]).await;
    let id = test.running(test.workflow_id()).await;
    let mut record = test.found(id);
    record.takes = vec![take("gpu", 2, "a")];
    assert_eq!(test.store.record(record).await, Ok(short("gpu", Some(0))));
    test.written(test.ended(has, ExecutionState::Completed))
        .await;
    let mut record = test.found(id);
    record.waits_for = vec!["gpu".into()];
    record.change = Some(test.change(ExecutionState::Waiting));
    test.written(record).await;
    assert_eq!(test.execution(id).await.due_at, Some(test.later(1_000)));
    assert_eq!(test.taken_up().await, []);
    test.pass(1_000);
    assert_eq!(test.taken_up().await, [id]);
}

/// Of many at once, no more take than there are units.
pub async fn a_race_takes_no_more_than_there_is(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    test.store.put_pool(HOME, "gpu", 4).await.unwrap();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let id = test.running(test.workflow_id()).await;
        let mut record = test.found(id);
        record.takes = vec![take("gpu", 1, "a")];
        let store = test.store.clone();
        calls.spawn(async move { store.record(record).await.unwrap() });
    }
    let answers = calls.join_all().await;
    let short = answers.iter().filter(|one| **one == short("gpu", Some(0)));
    assert_eq!(short.count(), 16);
    assert_eq!(taken(&test).await, named(&[("gpu", 4)]));
}
