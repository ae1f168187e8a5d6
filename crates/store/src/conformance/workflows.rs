//! Workflows and their versions: stored whole, replaced by whoever saw the newest.

use domain::execution::ExecutionState;

use super::{
    Backend,
    fixture::{Fixture, HOME, MINUTE, all},
};
use crate::{Accepted, Page, PutWorkflow};

/// Stores what must be stored.
async fn put(test: &Fixture<'_, impl Backend>, put: &PutWorkflow) {
    let stored = test.store.put_workflow(put.clone()).await;
    assert_eq!(stored, Ok(Some(Vec::new())));
}

/// Every field comes back, by id and by name, and its version with it; its events are stored.
pub async fn a_workflow_is_kept_whole(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let mut new = test.new_workflow(HOME, "order");
    let event = test.event(HOME);
    let key = event.event.key;
    new.events = vec![event];
    assert_eq!(
        test.store.put_workflow(new.clone()).await,
        Ok(Some(vec![Accepted::New]))
    );
    assert!(test.store.event(HOME, key).await.unwrap().is_some());
    let id = new.workflow.id;
    let stored = Ok(Some(new.workflow.clone()));
    assert_eq!(test.store.workflow(HOME, id).await, stored);
    assert_eq!(test.store.workflow_by_name(HOME, "order").await, stored);
    assert_eq!(
        test.store.workflow_version(HOME, id, 1).await,
        Ok(Some(new.version))
    );
    assert_eq!(test.store.workflow_version(HOME, id, 2).await, Ok(None));
    assert_eq!(test.store.workflow_by_name(HOME, "Order").await, Ok(None));
    assert_eq!(
        test.store.workflow(HOME, test.workflow_id()).await,
        Ok(None)
    );
}

/// Only by whoever saw the version before; the old one stays readable.
pub async fn a_version_follows_the_one_that_was_seen(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let first = test.new_workflow(HOME, "order");
    put(&test, &first).await;
    test.pass(MINUTE);
    let mut second = test.next_version(&first);
    second.workflow.name = "orders".into();
    second.workflow.description = String::new();
    put(&test, &second).await;
    let mut late = test.next_version(&first);
    late.events = vec![test.event(HOME)];
    late.triggers = vec![test.trigger(first.workflow.id, "late")];
    let event = late.events[0].event.key;
    assert_eq!(test.store.put_workflow(late).await, Ok(None));
    assert_eq!(test.store.event(HOME, event).await, Ok(None));
    assert_eq!(test.store.all_triggers().await, Ok(Vec::new()));

    let id = first.workflow.id;
    assert_eq!(
        test.store.workflow(HOME, id).await,
        Ok(Some(second.workflow.clone()))
    );
    let versions = async |page| test.store.workflow_versions(HOME, id, page).await.unwrap();
    assert_eq!(
        versions(all()).await,
        [second.version.clone(), first.version.clone()]
    );
    let page = Page {
        after: Some(2),
        limit: 1,
    };
    assert_eq!(versions(page).await, [first.version]);
    // There is none of what was never there.
    let nobody = test.new_workflow(HOME, "nobody");
    let next = test.next_version(&nobody);
    assert_eq!(test.store.put_workflow(next).await, Ok(None));
}

/// In each workspace by itself; it is free again once its workflow is gone.
pub async fn a_name_is_taken_once(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let elsewhere = test.elsewhere().await;
    let first = test.new_workflow(HOME, "order");
    put(&test, &first).await;
    put(&test, &test.new_workflow(elsewhere, "order")).await;
    let second = test.new_workflow(HOME, "order");
    assert_eq!(test.store.put_workflow(second.clone()).await, Ok(None));
    assert_eq!(
        test.store
            .workflow_version(HOME, second.workflow.id, 1)
            .await,
        Ok(None)
    );
    let other = test.new_workflow(HOME, "other");
    put(&test, &other).await;
    let mut renamed = test.next_version(&other);
    renamed.workflow.name = "order".into();
    assert_eq!(test.store.put_workflow(renamed).await, Ok(None));
    assert_eq!(
        test.store.workflow(HOME, other.workflow.id).await,
        Ok(Some(other.workflow))
    );
    let removed = test
        .store
        .delete_workflow(HOME, first.workflow.id, Vec::new())
        .await;
    assert_eq!(removed, Ok(Some(Vec::new())));
    put(&test, &second).await;
}

/// Of many at once, one.
pub async fn a_race_for_a_name_has_one_winner(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (store, new) = (test.store.clone(), test.new_workflow(HOME, "order"));
        calls.spawn(async move { store.put_workflow(new).await.unwrap().is_some() });
    }
    let won = calls.join_all().await.into_iter().filter(|won| *won);
    assert_eq!(won.count(), 1);
    assert_eq!(test.store.workflows(HOME, all()).await.unwrap().len(), 1);
}

/// By pages.
pub async fn workflows_are_listed_oldest_first(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let elsewhere = test.elsewhere().await;
    let mut made = Vec::new();
    for name in ["c", "a", "b"] {
        let new = test.new_workflow(HOME, name);
        put(&test, &new).await;
        made.push(new.workflow);
    }
    let other = test.new_workflow(elsewhere, "d");
    put(&test, &other).await;
    assert_eq!(test.store.workflows(HOME, all()).await.unwrap(), made);
    let page = Page {
        after: Some(made[0].id),
        limit: 1,
    };
    assert_eq!(test.store.workflows(HOME, page).await.unwrap(), made[1..2]);
    assert_eq!(
        test.store.workflows(elsewhere, all()).await.unwrap(),
        [other.workflow]
    );
}

/// With its triggers; what runs goes on, and its versions are read for as long as that names them.
pub async fn a_removed_workflow_leaves_its_versions(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let mut first = test.new_workflow(HOME, "order");
    let id = first.workflow.id;
    first.triggers = vec![test.trigger(id, "of the file")];
    first.triggers[0].of_definition = true;
    put(&test, &first).await;
    let second = test.next_version(&first);
    put(&test, &second).await;
    let kept = test.new_workflow(HOME, "kept");
    put(&test, &kept).await;
    let own = test.trigger(id, "of a person");
    test.store.create_trigger(own).await.unwrap();
    let stays = test.trigger(kept.workflow.id, "another's");
    test.store.create_trigger(stays.clone()).await.unwrap();
    let runs = test.running(id).await;

    let event = test.event(HOME);
    let key = event.event.key;
    let elsewhere = test.elsewhere().await;
    assert_eq!(
        test.store.delete_workflow(elsewhere, id, Vec::new()).await,
        Ok(None)
    );
    assert_eq!(
        test.store.delete_workflow(HOME, id, vec![event]).await,
        Ok(Some(vec![Accepted::New]))
    );
    assert!(test.store.event(HOME, key).await.unwrap().is_some());
    let event = test.event(HOME);
    let key = event.event.key;
    assert_eq!(
        test.store.delete_workflow(HOME, id, vec![event]).await,
        Ok(None)
    );
    assert_eq!(test.store.event(HOME, key).await, Ok(None));
    assert_eq!(test.store.workflow(HOME, id).await, Ok(None));
    assert_eq!(test.store.all_triggers().await, Ok(vec![stays]));

    let version = async |number| test.store.workflow_version(HOME, id, number).await.unwrap();
    let prune = async || {
        let before = test.later(MINUTE);
        while test.store.prune_executions(before, 10).await.unwrap() > 0 {}
    };
    prune().await;
    assert_eq!(version(1).await, Some(first.version));
    assert_eq!(version(2).await, None);
    test.written(test.ended(runs, ExecutionState::Completed))
        .await;
    prune().await;
    assert_eq!(version(1).await, None);
    let kept_version = test.store.workflow_version(HOME, kept.workflow.id, 1).await;
    assert_eq!(kept_version, Ok(Some(kept.version)));
}
