//! Random walks: transitions in random order beside a model in memory that knows the rules in
//! their simplest form. Whatever the walk, store and model agree after each step.

use std::collections::BTreeMap;

use domain::{
    DeliveryId, EventId, EventKey, WebhookId,
    delivery::{DeliveryState, Next},
};

use super::{
    Backend,
    fixture::{Fixture, HOME, ids},
};
use crate::{Accepted, DeliveryFilter, Due, Finished, Lease, Retried};

/// How many walks, each on from where the last one ended.
const WALKS: u64 = 4;
/// Steps of each.
const STEPS: usize = 120;

/// `SplitMix64`: the same seed takes the same walk.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % sides as u64).expect("less than the sides")
    }

    fn one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }
}

#[derive(Clone, Debug)]
struct Modelled {
    event: EventKey,
    webhook: WebhookId,
    state: DeliveryState,
    attempts: u32,
    logged: usize,
    due: Option<i64>,
    held: bool,
}

#[derive(Default)]
struct Model {
    deliveries: BTreeMap<DeliveryId, Modelled>,
    /// Accepted when, and under which given id.
    events: BTreeMap<EventKey, i64>,
    given: BTreeMap<String, EventKey>,
}

impl Model {
    fn free(&self, webhook: WebhookId) -> Vec<(i64, DeliveryId)> {
        let mut free: Vec<_> = self
            .deliveries
            .iter()
            .filter(|(_, modelled)| modelled.webhook == webhook && !modelled.held)
            .filter_map(|(id, modelled)| modelled.due.map(|due| (due, *id)))
            .collect();
        free.sort_unstable();
        free
    }

    fn pick(&self, dice: &mut Dice) -> Option<DeliveryId> {
        let count = self.deliveries.len();
        (count > 0)
            .then(|| dice.roll(count))
            .and_then(|index| self.deliveries.keys().nth(index).copied())
    }
}

/// The whole of it; a failure names the seed and the step.
pub async fn a_random_walk_agrees_with_the_model(backend: &impl Backend) {
    let mut test = Fixture::new(backend).await;
    let webhooks = [test.webhook_id(), test.webhook_id(), test.webhook_id()];
    for webhook in webhooks {
        let mut stored = test.webhook(HOME);
        stored.id = webhook;
        test.store.create_webhook(stored).await.unwrap();
    }
    let mut model = Model::default();
    for seed in 1..=WALKS {
        let mut dice = Dice(seed);
        for step in 0..STEPS {
            let at = format!("seed {seed}, step {step}");
            test.pass(i64::try_from(dice.roll(2_000)).expect("small"));
            match dice.roll(12) {
                0..=3 => accept(&test, &mut model, &mut dice, &webhooks, &at).await,
                4..=6 => finish(&test, &mut model, &mut dice, &at).await,
                7 | 8 => claim(&test, &mut model, &mut dice, &webhooks, &at).await,
                9 => retry(&test, &mut model, &mut dice, &at).await,
                10 => release(&test, &mut model, &mut dice).await,
                _ if dice.one_in(4) => {
                    test = test.restart().await;
                    model
                        .deliveries
                        .values_mut()
                        .for_each(|modelled| modelled.held = false);
                }
                _ => prune(&test, &mut model, &mut dice, &at).await,
            }
            agree(&test, &model, &webhooks, &at).await;
        }
    }
}

async fn accept<B: Backend>(
    test: &Fixture<'_, B>,
    model: &mut Model,
    dice: &mut Dice,
    webhooks: &[WebhookId],
    at: &str,
) {
    let mut batch = Vec::new();
    let mut expected = Vec::new();
    for _ in 0..=dice.roll(3) {
        let wanted: Vec<_> = webhooks
            .iter()
            .copied()
            .filter(|_| dice.one_in(2))
            .collect();
        let mut new = test.event_to(HOME, &wanted);
        for delivery in &mut new.deliveries {
            delivery.held = dice.one_in(2);
        }
        if dice.one_in(3) {
            let given = format!("id-{}", dice.roll(30));
            new.event.id = EventId::parse(&given).unwrap();
            new.id_given = true;
            if let Some(first) = model.given.get(&given) {
                expected.push(Accepted::Duplicate {
                    key: *first,
                    id: new.event.id.clone(),
                });
                batch.push(new);
                continue;
            }
            model.given.insert(given, new.event.key);
        }
        model.events.insert(new.event.key, test.now().ms());
        for delivery in &new.deliveries {
            let modelled = Modelled {
                event: new.event.key,
                webhook: delivery.webhook,
                state: DeliveryState::Pending,
                attempts: 0,
                logged: 0,
                due: Some(test.now().ms()),
                held: delivery.held,
            };
            model.deliveries.insert(delivery.id, modelled);
        }
        expected.push(Accepted::New);
        batch.push(new);
    }
    assert_eq!(test.store.accept(batch).await.unwrap(), expected, "{at}");
}

async fn finish<B: Backend>(test: &Fixture<'_, B>, model: &mut Model, dice: &mut Dice, at: &str) {
    let Some(id) = model.pick(dice) else { return };
    let modelled = model.deliveries.get_mut(&id).expect("picked from it");
    let next = match dice.roll(3) {
        0 => Next::Delivered,
        1 => Next::RetryAt(test.later(i64::try_from(dice.roll(9_000)).expect("small"))),
        _ => Next::Dead,
    };
    let mut finish = test.finish(id, modelled.webhook, modelled.attempts + 1, next);
    let stale = dice.one_in(5);
    if stale {
        finish.lease = Lease(finish.lease.0 - 1);
    }
    let answer = test.store.finish_attempt(finish).await.unwrap();
    if stale || !modelled.held {
        assert_eq!(answer, Finished::LeaseLost, "{at}");
        return;
    }
    assert_eq!(answer, Finished::Recorded, "{at}");
    modelled.attempts += 1;
    modelled.logged += 1;
    modelled.held = false;
    (modelled.state, modelled.due) = match next {
        Next::Delivered => (DeliveryState::Delivered, None),
        Next::RetryAt(due) => (DeliveryState::Pending, Some(due.ms())),
        Next::Dead => (DeliveryState::Dead, None),
    };
}

async fn claim<B: Backend>(
    test: &Fixture<'_, B>,
    model: &mut Model,
    dice: &mut Dice,
    webhooks: &[WebhookId],
    at: &str,
) {
    let webhook = webhooks[dice.roll(webhooks.len())];
    let limit = dice.roll(6);
    let due = model
        .free(webhook)
        .into_iter()
        .filter(|(due, _)| *due <= test.now().ms());
    let expected: Vec<_> = due.take(limit).map(|(_, id)| id).collect();
    assert_eq!(ids(&test.claim(webhook, limit).await), expected, "{at}");
    for id in expected {
        model.deliveries.get_mut(&id).expect("it is due").held = true;
    }
}

async fn retry<B: Backend>(test: &Fixture<'_, B>, model: &mut Model, dice: &mut Dice, at: &str) {
    let Some(id) = model.pick(dice) else { return };
    let modelled = model.deliveries.get_mut(&id).expect("picked from it");
    let answer = test.store.retry(HOME, id, test.now()).await.unwrap();
    if modelled.held {
        assert_eq!(answer, Retried::InFlight(modelled.webhook), "{at}");
        return;
    }
    assert_eq!(answer, Retried::Due(modelled.webhook), "{at}");
    modelled.state = DeliveryState::Pending;
    modelled.due = Some(test.now().ms());
}

async fn release<B: Backend>(test: &Fixture<'_, B>, model: &mut Model, dice: &mut Dice) {
    let Some(id) = model.pick(dice) else { return };
    test.store
        .release(vec![(HOME, id, test.lease())], test.now())
        .await
        .unwrap();
    let modelled = model.deliveries.get_mut(&id).expect("picked from it");
    if modelled.held {
        modelled.held = false;
        modelled.due = Some(test.now().ms());
    }
}

async fn prune<B: Backend>(test: &Fixture<'_, B>, model: &mut Model, dice: &mut Dice, at: &str) {
    let before = test.later(-20_000);
    let limit = 1 + dice.roll(5);
    let mut removed = 0;
    loop {
        let pruned = test.store.prune(before, before, limit).await.unwrap();
        removed += pruned.events;
        if !pruned.more {
            break;
        }
    }
    let needed = |key: &EventKey| {
        model
            .deliveries
            .values()
            .any(|modelled| modelled.event == *key && modelled.state == DeliveryState::Pending)
    };
    let old_before = test.pruned_up_to(before);
    let old: Vec<_> = model
        .events
        .iter()
        .filter(|(key, accepted)| **accepted < old_before && !needed(key))
        .map(|(key, _)| *key)
        .collect();
    assert_eq!(removed, old.len(), "{at}");
    model
        .given
        .retain(|_, key| model.events[key] >= before.ms());
    for key in old {
        model.events.remove(&key);
        model.deliveries.retain(|_, modelled| modelled.event != key);
    }
}

async fn agree<B: Backend>(test: &Fixture<'_, B>, model: &Model, webhooks: &[WebhookId], at: &str) {
    let page = crate::Page {
        after: None,
        limit: 100_000,
    };
    let rows = test
        .store
        .deliveries(HOME, DeliveryFilter::default(), page)
        .await
        .unwrap();
    assert_eq!(rows.len(), model.deliveries.len(), "{at}");
    for (row, (id, modelled)) in rows.iter().rev().zip(&model.deliveries) {
        let delivery = &row.delivery;
        assert_eq!(delivery.id, *id, "{at}");
        let found = (
            delivery.state,
            delivery.attempts,
            delivery.next_attempt_at.map(domain::Timestamp::ms),
        );
        assert_eq!(
            found,
            (modelled.state, modelled.attempts, modelled.due),
            "{at}: {id}"
        );
    }
    if let Some((id, modelled)) = model.deliveries.iter().next_back() {
        assert_eq!(
            test.store.attempts(HOME, *id).await.unwrap().len(),
            modelled.logged,
            "{at}"
        );
    }
    let mut due = Vec::new();
    for webhook in webhooks {
        let at = model
            .free(*webhook)
            .first()
            .map(|(due, _)| domain::Timestamp::from_ms(*due));
        due.extend(at.map(|at| Due {
            workspace: HOME,
            webhook: *webhook,
            at,
        }));
    }
    assert_eq!(test.store.due(None, 10).await.unwrap(), due, "{at}");
    let depth = test.store.queue_depth().await.unwrap();
    let pending = model
        .deliveries
        .values()
        .filter(|modelled| modelled.state == DeliveryState::Pending)
        .count();
    let held = model
        .deliveries
        .values()
        .filter(|modelled| modelled.held)
        .count();
    assert_eq!(
        (depth.pending, depth.held),
        (pending as u64, held as u64),
        "{at}"
    );
}
