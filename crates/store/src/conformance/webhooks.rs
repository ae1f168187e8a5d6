//! Webhooks: kept whole, changed only by whoever saw the present record.

use domain::{
    ReplayId, Timestamp, WebhookId,
    delivery::Next,
    replay::{Replay, ReplayScope, ReplayState},
    webhook::{DisabledReason, Sealed, Webhook, WebhookSecret, WebhookState},
};

use super::{
    Backend,
    fixture::{Fixture, HOME, MINUTE, all},
};
use crate::Page;

/// Every field comes back.
pub async fn a_webhook_is_kept_whole(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let states = [
        WebhookState::Active,
        WebhookState::Inactive,
        WebhookState::Disabled {
            reason: DisabledReason::Gone,
            at: test.now(),
        },
        WebhookState::Disabled {
            reason: DisabledReason::Failing,
            at: test.later(1),
        },
    ];
    for (index, state) in states.into_iter().enumerate() {
        let mut webhook = test.webhook(HOME);
        webhook.state = state;
        webhook.config.ordered = index == 1;
        webhook.config.rate_per_s = (index == 1).then_some(0.5);
        webhook.failing_since = (index == 2).then(|| test.now());
        webhook.headers = (index == 3).then(|| Sealed(vec![9; 300]));
        webhook.secrets = (0..index)
            .map(|n| WebhookSecret {
                sealed: Sealed(vec![7; n * 50]),
                created_at: test.now(),
                expires_at: (n > 0).then(|| test.later(MINUTE)),
            })
            .collect();
        test.store.create_webhook(webhook.clone()).await.unwrap();
        assert_eq!(
            test.store.webhook(HOME, webhook.id).await.unwrap(),
            Some(webhook)
        );
    }
    assert_eq!(
        test.store.webhook(HOME, test.webhook_id()).await.unwrap(),
        None
    );
}

/// Page by page; `all_webhooks` has those of every workspace.
pub async fn webhooks_are_listed_oldest_first(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let elsewhere = test.elsewhere().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(test.create_webhook().await);
        test.pass(1);
    }
    let mut listed: Vec<Webhook> = Vec::new();
    loop {
        let page = Page {
            after: listed.last().map(|webhook| webhook.id),
            limit: 2,
        };
        let webhooks = test.store.webhooks(HOME, page).await.unwrap();
        let last = webhooks.len() < 2;
        listed.extend(webhooks);
        if last {
            break;
        }
    }
    assert_eq!(listed, made);
    let other = test.webhook(elsewhere);
    test.store.create_webhook(other.clone()).await.unwrap();
    made.push(other);
    assert_eq!(test.store.all_webhooks().await.unwrap(), made);
}

/// Who saw an older one changes nothing.
pub async fn an_update_needs_the_record_that_it_saw(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.create_webhook().await;
    let mut changed = webhook.clone();
    changed.config.name = "changed".into();
    changed.headers = None;
    changed.secrets.clear();
    changed.state = WebhookState::Inactive;
    changed.updated_at = test.later(5);
    // What a person does not set stays, whatever the record says.
    changed.failing_since = Some(test.now());
    assert!(
        test.store
            .update_webhook(changed.clone(), webhook.updated_at)
            .await
            .unwrap()
    );
    changed.failing_since = None;
    assert_eq!(
        test.store.webhook(HOME, webhook.id).await.unwrap(),
        Some(changed.clone())
    );

    let mut stale = webhook.clone();
    stale.updated_at = test.later(9);
    assert!(
        !test
            .store
            .update_webhook(stale, webhook.updated_at)
            .await
            .unwrap()
    );
    let mut unknown = changed.clone();
    unknown.id = test.webhook_id();
    assert!(
        !test
            .store
            .update_webhook(unknown, changed.updated_at)
            .await
            .unwrap()
    );
    assert_eq!(
        test.store.webhook(HOME, webhook.id).await.unwrap(),
        Some(changed)
    );
}

async fn fail<B: Backend>(test: &Fixture<'_, B>, webhook: WebhookId, since: Timestamp) {
    let id = test.held_to(webhook).await;
    let mut finish = test.finish(id, webhook, 1, Next::Dead);
    finish.failing_since = Some(Some(since));
    test.store.finish_attempt(finish).await.unwrap();
}

/// Staying active does not.
pub async fn becoming_active_clears_the_failing_mark(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let mut webhook = test.create_webhook().await;
    let since = test.now();
    fail(&test, webhook.id, since).await;
    let states = [
        (WebhookState::Active, Some(since)),
        (WebhookState::Inactive, Some(since)),
        (WebhookState::Active, None),
    ];
    for (state, expected) in states {
        let seen = webhook.updated_at;
        test.pass(1);
        webhook.state = state;
        webhook.updated_at = test.now();
        assert!(
            test.store
                .update_webhook(webhook.clone(), seen)
                .await
                .unwrap()
        );
        let stored = test.store.webhook(HOME, webhook.id).await.unwrap().unwrap();
        assert_eq!(stored.failing_since, expected);
    }
}

/// And the event that says so is stored along with it, once.
pub async fn only_an_active_webhook_is_disabled(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.create_webhook().await;
    test.pass(MINUTE);
    for expected in [true, false] {
        let told = test.event_to(HOME, &[test.webhook_id()]);
        let disabled = test
            .store
            .disable_webhook(
                HOME,
                webhook.id,
                DisabledReason::Failing,
                test.now(),
                told.clone(),
            )
            .await
            .unwrap();
        assert_eq!(disabled, expected);
        assert_eq!(
            test.store
                .event(HOME, told.event.key)
                .await
                .unwrap()
                .is_some(),
            expected
        );
        assert_eq!(
            test.store
                .delivery(HOME, told.deliveries[0].id)
                .await
                .unwrap()
                .is_some(),
            expected
        );
    }
    let stored = test.store.webhook(HOME, webhook.id).await.unwrap().unwrap();
    assert_eq!(
        stored.state,
        WebhookState::Disabled {
            reason: DisabledReason::Failing,
            at: test.now()
        }
    );
    // A change that was read before must not undo it unseen.
    assert!(stored.updated_at > webhook.updated_at);
    let stale = Webhook {
        updated_at: test.now(),
        ..webhook.clone()
    };
    assert!(
        !test
            .store
            .update_webhook(stale, webhook.updated_at)
            .await
            .unwrap()
    );
    let told = test.event(HOME);
    let unknown = test.webhook_id();
    assert!(
        !test
            .store
            .disable_webhook(HOME, unknown, DisabledReason::Gone, test.now(), told)
            .await
            .unwrap()
    );
}

/// Running ones are cancelled; what it got is kept.
pub async fn a_deleted_webhook_takes_its_replays_along(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.create_webhook().await.id;
    let delivery = test.deliver_to(webhook).await;
    let replay = Replay {
        workspace: HOME,
        id: ReplayId::new(test.id()),
        webhook,
        scope: ReplayScope::FailedSince { since: test.now() },
        state: ReplayState::Running,
        examined: 0,
        total: 0,
        created: 0,
        created_at: test.now(),
        finished_at: None,
    };
    test.store.create_replay(replay.clone()).await.unwrap();
    test.pass(MINUTE);
    assert!(
        test.store
            .delete_webhook(HOME, webhook, test.now())
            .await
            .unwrap()
    );
    assert!(
        !test
            .store
            .delete_webhook(HOME, webhook, test.now())
            .await
            .unwrap()
    );
    assert_eq!(test.store.webhook(HOME, webhook).await.unwrap(), None);
    let cancelled = test.store.replay(HOME, replay.id).await.unwrap().unwrap();
    assert_eq!(cancelled.state, ReplayState::Cancelled);
    assert_eq!(cancelled.finished_at, Some(test.now()));
    let step = test.store.replay_candidates(&replay, 10).await.unwrap();
    assert!(
        !test
            .store
            .advance_replay(&replay, step, Vec::new(), test.now())
            .await
            .unwrap()
    );
    assert_eq!(test.get(delivery).await.webhook, webhook);
}

/// Nor changes, disables or deletes anything.
pub async fn another_workspace_sees_nothing(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let elsewhere = test.elsewhere().await;
    let webhook = test.create_webhook().await;
    assert_eq!(
        test.store.webhook(elsewhere, webhook.id).await.unwrap(),
        None
    );
    assert_eq!(test.store.webhooks(elsewhere, all()).await.unwrap(), []);
    let mut foreign = webhook.clone();
    foreign.workspace = elsewhere;
    assert!(
        !test
            .store
            .update_webhook(foreign, webhook.updated_at)
            .await
            .unwrap()
    );
    let told = test.event(elsewhere);
    let gone = DisabledReason::Gone;
    assert!(
        !test
            .store
            .disable_webhook(elsewhere, webhook.id, gone, test.now(), told)
            .await
            .unwrap()
    );
    assert!(
        !test
            .store
            .delete_webhook(elsewhere, webhook.id, test.now())
            .await
            .unwrap()
    );
    assert_eq!(
        test.store.webhook(HOME, webhook.id).await.unwrap(),
        Some(webhook)
    );
}
