//! Custom event types.

use domain::{WorkspaceId, event::EventType};

use super::{
    Backend,
    fixture::{Fixture, HOME},
};
use crate::CustomEventType;

fn event_type(workspace: WorkspaceId, name: &str) -> CustomEventType {
    CustomEventType {
        workspace,
        name: EventType::parse(name).unwrap(),
        // With characters that not every database takes as they are.
        description: "An order\0 was\u{1}0 paid.".into(),
        schema: Some(r#"{"type":"object"}"#.into()),
        example: None,
        enforce: true,
        created_at: domain::Timestamp::from_ms(5),
    }
}

/// Made once, replaced, removed; listed by name.
pub async fn an_event_type_is_kept_whole(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let (paid, sent) = (
        event_type(HOME, "order.paid"),
        event_type(HOME, "order.Sent"),
    );
    assert!(test.store.create_event_type(paid.clone()).await.unwrap());
    assert!(test.store.create_event_type(sent.clone()).await.unwrap());
    let mut changed = event_type(HOME, "order.paid");
    changed.description.clear();
    changed.schema = None;
    changed.example = Some("{}".into());
    changed.enforce = false;
    assert!(!test.store.create_event_type(changed.clone()).await.unwrap());
    assert_eq!(
        test.store.event_types(HOME).await.unwrap(),
        [sent.clone(), paid]
    );
    assert!(test.store.update_event_type(changed.clone()).await.unwrap());
    assert_eq!(test.store.event_types(HOME).await.unwrap(), [sent, changed]);
    assert!(
        test.store
            .delete_event_type(HOME, "order.Sent")
            .await
            .unwrap()
    );
    assert!(
        !test
            .store
            .delete_event_type(HOME, "order.Sent")
            .await
            .unwrap()
    );
    assert!(
        !test
            .store
            .update_event_type(event_type(HOME, "order.Sent"))
            .await
            .unwrap()
    );
    assert_eq!(test.store.event_types(HOME).await.unwrap().len(), 1);
}

/// The same name can be taken in each.
pub async fn another_workspace_sees_nothing(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let elsewhere = test.elsewhere().await;
    let here = event_type(HOME, "order.paid");
    let there = event_type(elsewhere, "order.paid");
    assert!(test.store.create_event_type(here.clone()).await.unwrap());
    assert_eq!(test.store.event_types(elsewhere).await.unwrap(), []);
    assert!(!test.store.update_event_type(there.clone()).await.unwrap());
    assert!(
        !test
            .store
            .delete_event_type(elsewhere, "order.paid")
            .await
            .unwrap()
    );
    assert!(test.store.create_event_type(there.clone()).await.unwrap());
    assert_eq!(test.store.all_event_types().await.unwrap(), [here, there]);
}
