//! Sources: stored whole, each under a name of its own.

use domain::intake::{Door, Source};
use serde_json::json;

use super::{
    Backend,
    fixture::{Fixture, HOME, MINUTE, all},
};
use crate::{Page, Receive, Received};

/// Every field comes back; oldest first, by pages.
pub async fn sources_are_kept_whole_and_listed(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let elsewhere = test.elsewhere().await;
    let mut made = Vec::new();
    for name in ["github", "a", "stripe"] {
        let mut source = test.source(HOME, name);
        source.active = name != "a";
        assert_eq!(test.store.create_source(source.clone()).await, Ok(true));
        made.push(source);
    }
    assert_eq!(
        test.store.source(HOME, made[0].id).await,
        Ok(Some(made[0].clone()))
    );
    assert_eq!(test.store.source(elsewhere, made[0].id).await, Ok(None));
    assert_eq!(test.store.sources(HOME, all()).await.unwrap(), made);
    let page = Page {
        after: Some(made[0].id),
        limit: 1,
    };
    assert_eq!(test.store.sources(HOME, page).await.unwrap(), made[1..2]);
    assert_eq!(test.store.sources(elsewhere, all()).await, Ok(Vec::new()));
    let foreign = test.source(elsewhere, "slack");
    assert_eq!(test.store.create_source(foreign.clone()).await, Ok(true));
    made.push(foreign);
    let mut every = test.store.all_sources().await.unwrap();
    every.sort_by_key(|source| source.id);
    assert_eq!(every, made);
}

/// In the whole installation: it is part of a URL.
pub async fn a_sources_name_is_taken_once(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let elsewhere = test.elsewhere().await;
    let first = test.source(HOME, "github");
    let other = test.source(HOME, "stripe");
    let create = async |source: &Source| test.store.create_source(source.clone()).await.unwrap();
    assert!(create(&first).await);
    assert!(create(&other).await);
    assert!(!create(&test.source(HOME, "github")).await);
    assert!(!create(&test.source(elsewhere, "github")).await);

    test.pass(MINUTE);
    let update = async |source: &Source, expected| {
        let source = source.clone();
        test.store.update_source(source, expected).await.unwrap()
    };
    let taken = Source {
        name: "stripe".into(),
        updated_at: test.now(),
        ..first.clone()
    };
    assert!(!update(&taken, first.updated_at).await);
    let renamed = Source {
        name: "hub".into(),
        config: json!({}),
        secrets: Vec::new(),
        active: false,
        ..taken
    };
    assert!(!update(&renamed, test.now()).await);
    assert!(update(&renamed, first.updated_at).await);
    assert!(!update(&renamed, first.updated_at).await);
    assert_eq!(
        test.store.source(HOME, first.id).await,
        Ok(Some(renamed.clone()))
    );
    assert!(create(&test.source(elsewhere, "github")).await);
}

/// With the triggers that it fires; its receipts stay.
pub async fn a_removed_source_takes_its_triggers_along(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let elsewhere = test.elsewhere().await;
    let source = test.source(HOME, "github");
    test.store.create_source(source.clone()).await.unwrap();
    let mut goes = test.trigger(test.workflow_id(), "of the source");
    goes.source = Some(source.id);
    let stays = test.trigger(test.workflow_id(), "of the clock");
    for trigger in [&goes, &stays] {
        test.store.create_trigger(trigger.clone()).await.unwrap();
    }
    let receipt = test.receipt(Door::Source(source.id), None);
    let request = Receive {
        receipt: receipt.clone(),
        starts: Vec::new(),
        events: Vec::new(),
    };
    let received = test.store.receive(request).await.unwrap();
    assert!(matches!(received, Received::New { .. }));
    let remove = async |workspace| test.store.delete_source(workspace, source.id).await;
    assert_eq!(remove(elsewhere).await, Ok(false));
    assert_eq!(remove(HOME).await, Ok(true));
    assert_eq!(remove(HOME).await, Ok(false));
    assert_eq!(test.store.all_triggers().await, Ok(vec![stays]));
    let kept = test.store.receipt(HOME, receipt.id).await;
    assert_eq!(kept, Ok(Some(receipt)));
}
