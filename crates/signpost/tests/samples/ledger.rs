//! A ledger of what was published, what the server says became of it, and what a receiver got.

use std::collections::HashMap;

use serde_json::Value;
use standardwebhooks::Webhook;
use testkit::Received;

/// An event that was acknowledged, and how its delivery must have ended.
#[derive(Debug)]
pub struct Expected {
    /// The id that its publisher gave.
    pub id: String,
    /// What it carries as `data.number`.
    pub number: usize,
    /// `delivered` or `dead`.
    pub state: &'static str,
}

/// What the receiver got, by event.
pub struct Ledger {
    received: HashMap<String, Vec<Received>>,
    total: usize,
}

impl Ledger {
    /// Enters every request; each must be rightly signed.
    pub fn new(secret: &str, requests: &[Received]) -> Self {
        let webhook = Webhook::new(secret).expect("the secret is valid");
        let mut received: HashMap<String, Vec<Received>> = HashMap::new();
        for request in requests {
            webhook
                .verify(&request.body, &request.headers)
                .expect("each attempt is rightly signed");
            let id = request.header("webhook-id").to_owned();
            received.entry(id).or_default().push(request.clone());
        }
        Self {
            received,
            total: requests.len(),
        }
    }

    /// Holds the deliveries that the API lists to what was published and what arrived; answers
    /// how many requests repeated an event.
    pub fn check(&self, deliveries: &[Value], expected: &[Expected]) -> usize {
        let states: HashMap<_, _> = deliveries
            .iter()
            .map(|delivery| {
                (
                    delivery["eventId"].as_str().expect("an id is text"),
                    delivery,
                )
            })
            .collect();
        assert_eq!(
            deliveries.len(),
            expected.len(),
            "one delivery for each event"
        );
        assert_eq!(states.len(), expected.len(), "each of its own event");
        for Expected { id, number, state } in expected {
            let delivery = states
                .get(id.as_str())
                .unwrap_or_else(|| panic!("{id} is lost"));
            let copies = self
                .received
                .get(id)
                .unwrap_or_else(|| panic!("{id} never arrived: {delivery:#}"));
            assert!(
                copies.iter().all(|copy| copy.body == copies[0].body),
                "{id} arrived in two forms"
            );
            let body: Value = serde_json::from_slice(&copies[0].body).expect("a body is JSON");
            assert_eq!(body["data"]["number"], *number, "{id}");
            assert_eq!(delivery["state"], *state, "{id}: {delivery:#}");
        }
        assert_eq!(
            self.received.len(),
            expected.len(),
            "nothing arrived that was not published"
        );
        self.total - self.received.len()
    }
}
