//! How nodes share the sending out: which of them sends to a webhook, and how much of its cap and
//! its rate each may use.
//!
//! Nothing is agreed on: every node counts the same nodes, and so works out the same shares. The
//! nodes are ranked anew for each webhook (rendezvous hashing), so that the work spreads, and so
//! that little moves when a node joins or leaves: the others keep their order among themselves.
//! A node that joins never makes another's share larger. So it suffices that a joining node waits
//! until the others have counted it: what all of them may do at once stays within the whole.

use crate::{WebhookId, webhook::WebhookConfig};

/// What a webhook allows all nodes together.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Whole {
    /// Attempts at once; at least 1.
    pub concurrency: u32,
    /// Attempts per second, where they are limited.
    pub rate_per_s: Option<f64>,
    /// Whether it is strictly ordered: one node sends everything.
    pub ordered: bool,
}

impl From<&WebhookConfig> for Whole {
    fn from(config: &WebhookConfig) -> Self {
        Self {
            concurrency: config.concurrency,
            rate_per_s: config.rate_per_s,
            ordered: config.ordered,
        }
    }
}

/// What one node may do of it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Share {
    /// Attempts at once; 0: this node sends nothing to the webhook.
    pub concurrency: u32,
    /// Attempts per second, where they are limited.
    pub rate_per_s: Option<f64>,
    /// Whether this node does what exactly one node has to do for the webhook.
    pub leads: bool,
}

impl Share {
    /// Nothing.
    pub const NONE: Self = Self {
        concurrency: 0,
        rate_per_s: None,
        leads: false,
    };

    /// Whether it is nothing.
    pub const fn is_none(&self) -> bool {
        self.concurrency == 0
    }
}

/// The share of the node `own` in what `webhook` allows, where `nodes` send: numbers of their
/// leases, in any order, each once. A node that is not among them has none.
///
/// All sharing nodes together have exactly the whole. At most as many share as there are attempts
/// at once or per second, so that each has at least one of both; a strictly ordered webhook has
/// one node.
pub fn share(nodes: &[i64], own: i64, webhook: WebhookId, whole: Whole) -> Share {
    if !nodes.contains(&own) {
        return Share::NONE;
    }
    let score = |node: i64| (weight(webhook, node), node);
    let before = nodes.iter().filter(|node| score(**node) > score(own));
    let rank = count(before.count());
    let sharing = sharing(count(nodes.len()), whole);
    if rank >= sharing {
        return Share::NONE;
    }
    Share {
        concurrency: (whole.concurrency.max(1) - rank).div_ceil(sharing),
        rate_per_s: whole.rate_per_s.map(|rate| rate / f64::from(sharing)),
        leads: rank == 0,
    }
}

/// How many of `nodes` share; at least 1.
fn sharing(nodes: u32, whole: Whole) -> u32 {
    if whole.ordered {
        return 1;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float that is too large or negative becomes the nearest number"
    )]
    let by_rate = whole
        .rate_per_s
        .map_or(u32::MAX, |rate| (rate.floor() as u32).max(1));
    nodes.min(whole.concurrency).min(by_rate).max(1)
}

fn count(nodes: usize) -> u32 {
    u32::try_from(nodes).unwrap_or(u32::MAX)
}

/// How much `webhook` is drawn to `node`: the same on every machine and in every version, since
/// nodes of two versions share the work of one webhook during an upgrade.
fn weight(webhook: WebhookId, node: i64) -> u64 {
    let (high, low) = webhook.uuid().as_u64_pair();
    let node = u64::from_le_bytes(node.to_le_bytes());
    [high, low, node]
        .into_iter()
        .fold(0, |hash, part| mix(hash ^ part))
}

/// The finish of `SplitMix64`: every bit of the result depends on every bit of `z`.
const fn mix(z: u64) -> u64 {
    let z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
