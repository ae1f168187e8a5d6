//! Triggers: stored whole, replaced with their workflow's file, fired once for each time.

use domain::{TriggerId, intake::Trigger, workflow::definition::OnConflict};
use serde_json::json;

use super::{
    Backend,
    fixture::{Fixture, HOME, MINUTE, all},
};
use crate::{Page, Started};

async fn create(test: &Fixture<'_, impl Backend>, trigger: &Trigger) {
    test.store.create_trigger(trigger.clone()).await.unwrap();
}

/// Every field comes back; listed oldest first, by pages, of one workflow or of all.
pub async fn triggers_are_kept_whole_and_listed(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let elsewhere = test.elsewhere().await;
    let (one, other) = (test.workflow_id(), test.workflow_id());
    let source = test.source(HOME, "github");
    test.store.create_source(source.clone()).await.unwrap();
    let mut made = vec![
        Trigger {
            source: Some(source.id),
            key: None,
            ..test.trigger(one, "a")
        },
        Trigger {
            next_at: Some(test.later(MINUTE)),
            of_definition: true,
            ..test.trigger(other, "b")
        },
        Trigger {
            active: false,
            ..test.trigger(one, "c")
        },
    ];
    for trigger in &made {
        create(&test, trigger).await;
    }
    let list = async |workflow, page| test.store.triggers(HOME, workflow, page).await.unwrap();
    assert_eq!(list(None, all()).await, made);
    assert_eq!(
        list(Some(one), all()).await,
        [made[0].clone(), made[2].clone()]
    );
    let page = Page {
        after: Some(made[0].id),
        limit: 1,
    };
    assert_eq!(list(None, page).await, made[1..2]);
    assert_eq!(list(Some(one), page).await, made[2..]);
    assert_eq!(
        test.store.triggers(elsewhere, None, all()).await,
        Ok(Vec::new())
    );
    let foreign = Trigger {
        workspace: elsewhere,
        ..test.trigger(one, "d")
    };
    create(&test, &foreign).await;
    made.push(foreign);
    let mut every = test.store.all_triggers().await.unwrap();
    every.sort_by_key(|trigger| trigger.id);
    assert_eq!(every, made);
}

/// Only over the record that was seen.
pub async fn a_trigger_is_replaced_and_removed(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let elsewhere = test.elsewhere().await;
    let first = test.trigger(test.workflow_id(), "a");
    create(&test, &first).await;
    test.pass(MINUTE);
    let second = Trigger {
        config: json!({"name": "b"}),
        next_at: Some(test.now()),
        key: None,
        active: false,
        updated_at: test.now(),
        ..first.clone()
    };
    let update = async |trigger: &Trigger, expected| {
        let trigger = trigger.clone();
        test.store.update_trigger(trigger, expected).await.unwrap()
    };
    assert!(!update(&second, test.now()).await);
    assert!(update(&second, first.updated_at).await);
    assert!(!update(&first, first.updated_at).await);
    assert_eq!(test.store.all_triggers().await, Ok(vec![second.clone()]));
    let remove = async |workspace| test.store.delete_trigger(workspace, first.id).await;
    assert_eq!(remove(elsewhere).await, Ok(false));
    assert_eq!(remove(HOME).await, Ok(true));
    assert_eq!(remove(HOME).await, Ok(false));
    assert!(!update(&second, second.updated_at).await);
}

/// A new version replaces the triggers of its file; one that stayed the same is the same still. A
/// person's own stay.
pub async fn a_version_replaces_the_triggers_of_its_file(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let mut first = test.new_workflow(HOME, "order");
    let id = first.workflow.id;
    let of_file = |name: &str| Trigger {
        of_definition: true,
        next_at: Some(test.later(MINUTE)),
        ..test.trigger(id, name)
    };
    let (same, gone) = (of_file("same"), of_file("gone"));
    let paused = Trigger {
        active: false,
        next_at: None,
        ..of_file("paused")
    };
    first.triggers = vec![same.clone(), gone, paused.clone()];
    test.store.put_workflow(first.clone()).await.unwrap();
    let own = test.trigger(id, "same");
    create(&test, &own).await;
    test.pass(2 * MINUTE);
    let mut second = test.next_version(&first);
    second.triggers = vec![of_file("new"), of_file("same"), of_file("paused")];
    for trigger in &mut second.triggers {
        trigger.key = None;
    }
    let new = second.triggers[0].clone();
    test.store.put_workflow(second).await.unwrap();

    let found = test.store.triggers(HOME, Some(id), all()).await.unwrap();
    let ids: Vec<TriggerId> = found.iter().map(|trigger| trigger.id).collect();
    assert_eq!(ids, [same.id, paused.id, own.id, new.id]);
    assert_eq!((&found[0].key, found[0].next_at), (&same.key, same.next_at));
    assert_eq!(found[0].created_at, same.created_at);
    assert!(found[0].active && found[0].of_definition);
    assert!(!found[1].active);
    assert_eq!(found[1].next_at, None);
    assert_eq!((&found[2], &found[3]), (&own, &new));
}

/// Active ones, earliest first.
pub async fn due_triggers_are_told(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let workflow = test.workflow_id();
    let next = async || test.store.next_trigger_due().await.unwrap();
    assert_eq!(next().await, None);
    let mut made = Vec::new();
    for (wait, active) in [(3_000, true), (1_000, false), (2_000, true)] {
        let trigger = Trigger {
            next_at: Some(test.later(wait)),
            active,
            ..test.trigger(workflow, "a")
        };
        create(&test, &trigger).await;
        made.push(trigger);
    }
    create(&test, &test.trigger(workflow, "never")).await;
    assert_eq!(next().await, Some(test.later(2_000)));
    let due = async |limit| test.store.due_triggers(test.now(), limit).await.unwrap();
    test.pass(1_999);
    assert_eq!(due(10).await, []);
    test.pass(1);
    assert_eq!(due(10).await, made[2..]);
    test.pass(MINUTE);
    assert_eq!(due(10).await, [made[2].clone(), made[0].clone()]);
    assert_eq!(due(1).await, made[2..]);
}

/// Once for each time that it is due, together with its execution.
pub async fn a_trigger_fires_once(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let workflow = test.workflow_id();
    let at = test.now();
    let trigger = Trigger {
        next_at: Some(at),
        ..test.trigger(workflow, "a")
    };
    create(&test, &trigger).await;
    let next = Some(test.later(MINUTE));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (store, id) = (test.store.clone(), trigger.id);
        let mut start = test.start_of(workflow);
        start.held = false;
        calls.spawn(async move { store.fire_trigger(HOME, id, at, next, start).await.unwrap() });
    }
    let fired = calls.join_all().await;
    let started: Vec<_> = fired.into_iter().flatten().collect();
    assert_eq!(started, [Started::Running]);
    assert_eq!(test.taken_up().await.len(), 1);
    assert_eq!(test.store.next_trigger_due().await, Ok(next));

    // What is one too many is skipped, and its time is over all the same.
    let at = test.later(MINUTE);
    let start = || test.limited(workflow, 1, OnConflict::Skip);
    let fire = async |id, expected, next, start| {
        let fired = test.store.fire_trigger(HOME, id, expected, next, start);
        fired.await.unwrap()
    };
    assert_eq!(fire(trigger.id, test.now(), None, start()).await, None);
    assert_eq!(
        fire(trigger.id, at, None, start()).await,
        Some(Started::Skipped)
    );
    assert_eq!(test.store.next_trigger_due().await, Ok(None));
    assert_eq!(fire(trigger.id, at, None, start()).await, None);

    // What was switched off at the last moment does not fire.
    let off = Trigger {
        next_at: Some(at),
        active: false,
        ..test.trigger(workflow, "off")
    };
    create(&test, &off).await;
    let start = test.start_of(workflow);
    let id = start.execution.id;
    assert_eq!(fire(off.id, at, None, start).await, None);
    assert_eq!(test.store.execution(HOME, id).await, Ok(None));
}
