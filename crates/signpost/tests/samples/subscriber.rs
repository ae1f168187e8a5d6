//! A webhook that was made over the API, and what became of its deliveries.

use bytes::Bytes;
use serde_json::{Value, json};

use super::api::Api;

/// A webhook that subscribes to everything and is tried once, so that each outcome is final.
pub struct Subscriber {
    /// Its id.
    pub id: String,
}

impl Subscriber {
    /// Makes one; `further` fields are added or replace what is said here.
    pub async fn create(api: &Api, url: &str, further: &Value) -> Self {
        let mut body = json!({
            "name": url, "targetUrl": url, "events": ["*"], "schedule": {"delays": []}, "timeoutMs": 30_000,
        });
        for (field, value) in further.as_object().expect("further fields are an object") {
            body[field] = value.clone();
        }
        let made = api.post("/api/v1/webhooks", &body).await.expect(201);
        Self {
            id: made["id"].as_str().expect("a webhook has an id").to_owned(),
        }
    }

    /// Waits until none of its deliveries is pending, then gives them all.
    pub async fn settled(&self, api: &Api) -> Vec<Value> {
        let pending = format!(
            "/api/v1/deliveries?webhookId={}&state=pending&limit=1",
            self.id
        );
        api.until(&pending, |page| {
            page["data"].as_array().is_some_and(Vec::is_empty)
        })
        .await;
        api.all(&format!("/api/v1/deliveries?webhookId={}", self.id))
            .await
    }

    /// Asserts that `count` deliveries were made and that the receiver took each.
    pub async fn took_all(&self, api: &Api, count: usize, whose: &str) {
        let deliveries = self.settled(api).await;
        for delivery in &deliveries {
            assert_eq!(
                delivery["state"], "delivered",
                "{whose} refused {delivery:#}"
            );
            assert_eq!(delivery["lastStatus"], 200, "{whose}: {delivery:#}");
        }
        assert_eq!(
            deliveries.len(),
            count,
            "{whose}: one delivery for each event"
        );
    }
}

/// Publishes `data`, a JSON text that reaches the server as it is; whether it was accepted.
pub async fn publish(api: &Api, event: &str, data: &str) -> bool {
    let body = Bytes::from(format!(r#"{{"event":"{event}","data":{data}}}"#));
    let answer = api.send(http::Method::POST, "/api/v1/events", body).await;
    match answer.status.as_u16() {
        202 => true,
        422 => {
            assert!(
                answer.text().contains("unsafe-number"),
                "{data} is refused for its numbers alone: {}",
                answer.text()
            );
            false
        }
        other => panic!("publishing {data} was answered {other}: {}", answer.text()),
    }
}
