//! Shares of nodes in a webhook: exact sums, one answer everywhere, little moves.

use std::collections::BTreeSet;

use domain::{
    WebhookId,
    share::{Share, Whole, share},
};
use proptest::prelude::*;
use uuid::Uuid;

fn webhook() -> impl Strategy<Value = WebhookId> {
    any::<u128>().prop_map(|number| WebhookId::new(Uuid::from_u128(number)))
}

fn nodes() -> impl Strategy<Value = Vec<i64>> {
    prop::collection::btree_set(1..1_000_i64, 1..12).prop_map(|set| set.into_iter().collect())
}

fn whole() -> impl Strategy<Value = Whole> {
    (1..40_u32, prop::option::of(0.01..200.0_f64), any::<bool>()).prop_map(
        |(concurrency, rate_per_s, ordered)| Whole {
            concurrency,
            rate_per_s,
            ordered,
        },
    )
}

fn shares(nodes: &[i64], webhook: WebhookId, whole: Whole) -> Vec<Share> {
    nodes
        .iter()
        .map(|own| share(nodes, *own, webhook, whole))
        .collect()
}

fn rate(share: Share) -> f64 {
    share.rate_per_s.unwrap_or_default()
}

proptest! {
    #[test]
    fn the_shares_are_the_whole(nodes in nodes(), webhook in webhook(), whole in whole()) {
        let shares = shares(&nodes, webhook, whole);
        prop_assert_eq!(shares.iter().map(|share| share.concurrency).sum::<u32>(), whole.concurrency);
        let rates: f64 = shares.iter().copied().map(rate).sum();
        prop_assert!((rates - whole.rate_per_s.unwrap_or_default()).abs() < 1e-9);
        prop_assert_eq!(shares.iter().filter(|share| share.leads).count(), 1);
        for share in &shares {
            prop_assert!(!share.leads || !share.is_none());
            prop_assert_eq!(share.is_none(), share.concurrency == 0);
            if !share.is_none() {
                prop_assert_eq!(share.rate_per_s.is_some(), whole.rate_per_s.is_some());
            }
        }
    }

    #[test]
    fn an_ordered_webhook_has_exactly_one_node(nodes in nodes(), webhook in webhook(), whole in whole()) {
        let whole = Whole { ordered: true, ..whole };
        let sending = shares(&nodes, webhook, whole).into_iter().filter(|share| !share.is_none());
        prop_assert_eq!(sending.count(), 1);
    }

    #[test]
    fn every_node_works_out_the_same_in_whatever_order_it_counts(
        nodes in nodes(), webhook in webhook(), whole in whole(),
    ) {
        let mut reversed = nodes.clone();
        reversed.reverse();
        for own in &nodes {
            prop_assert_eq!(share(&nodes, *own, webhook, whole), share(&reversed, *own, webhook, whole));
        }
    }

    #[test]
    fn a_node_that_joins_makes_no_share_larger_and_moves_little(
        nodes in nodes(), joins in 1_000..2_000_i64, webhook in webhook(), whole in whole(),
    ) {
        let mut more = nodes.clone();
        more.push(joins);
        let (mut lost, mut newly) = (0, BTreeSet::new());
        for own in &nodes {
            let (before, after) = (share(&nodes, *own, webhook, whole), share(&more, *own, webhook, whole));
            prop_assert!(after.concurrency <= before.concurrency);
            prop_assert!(rate(after) <= rate(before));
            prop_assert!(before.leads || !after.leads, "only the new node may lead anew");
            lost += u32::from(after.is_none() && !before.is_none());
            if before.is_none() && !after.is_none() {
                newly.insert(*own);
            }
        }
        prop_assert!(lost <= 1);
        prop_assert!(newly.is_empty());
    }

    #[test]
    fn who_is_not_counted_has_nothing(nodes in nodes(), webhook in webhook(), whole in whole()) {
        prop_assert_eq!(share(&nodes, 5_000, webhook, whole), Share::NONE);
    }

    #[test]
    fn alone_a_node_has_everything(own in 1..1_000_i64, webhook in webhook(), whole in whole()) {
        let all = Share { concurrency: whole.concurrency, rate_per_s: whole.rate_per_s, leads: true };
        prop_assert_eq!(share(&[own], own, webhook, whole), all);
    }
}

#[test]
fn webhooks_spread_over_the_nodes() {
    let whole = Whole {
        concurrency: 1,
        rate_per_s: None,
        ordered: false,
    };
    let mut led = [0; 4];
    for number in 0..4_000_u128 {
        let webhook = WebhookId::new(Uuid::from_u128(number << 80));
        for (own, led) in (1..=4).zip(&mut led) {
            *led += u32::from(share(&[1, 2, 3, 4], own, webhook, whole).leads);
        }
    }
    assert!(led.iter().all(|led| (800..1_200).contains(led)), "{led:?}");
}

/// Nodes of different versions have to agree, so the ranking must never change.
#[test]
fn the_ranking_stays_what_it_is() {
    let whole = Whole {
        concurrency: 1,
        rate_per_s: None,
        ordered: false,
    };
    let leads = |number: u128| {
        let webhook = WebhookId::new(Uuid::from_u128(number));
        (1..=5).find(|own| share(&[1, 2, 3, 4, 5], *own, webhook, whole).leads)
    };
    let leaders: Vec<_> = (0..8).filter_map(leads).collect();
    assert_eq!(leaders, [2, 4, 3, 4, 4, 1, 3, 5]);
}
