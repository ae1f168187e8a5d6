//! What is kept of a request, and how one is replayed.

use bytes::Bytes;
use domain::{
    ReceiptId, Timestamp, WorkspaceId,
    intake::{Door, Headers, Outcome, Receipt, payload},
};
use store::{Page, ReceiptFilter, Receive, Received, StoreError};

use crate::{
    Intake,
    receive::{Accepted, Flow, ReceiveError, Request},
};

/// The most bytes of a refused request's body that are kept.
pub const REFUSED_BODY_BYTES_MAX: usize = 16 << 10;
/// The longest reason that is kept, in characters.
const REASON_CHARS_MAX: usize = 2_000;
/// Headers whose values are never kept.
const SECRET: [&str; 6] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "x-telegram-bot-api-secret-token",
];
/// What such headers of other senders have in their names.
const SECRET_PARTS: [&str; 7] = [
    "signature",
    "hmac",
    "secret",
    "token",
    "api-key",
    "apikey",
    "password",
];
/// Has one of these in its name and is none.
const NOT_SECRET: [&str; 1] = ["i-twilio-idempotency-token"];
/// What stands for a value that is not kept.
const REDACTED: &str = "***";

/// Headers as a receipt has them: credentials and signatures without their values. `also` is a
/// header that holds the sender's key.
pub(crate) fn kept_headers(headers: &Headers, also: Option<&str>) -> String {
    let list: Vec<[&str; 2]> = headers
        .iter()
        .map(|(name, value)| {
            let secret = SECRET.contains(&name)
                || also.is_some_and(|also| also.eq_ignore_ascii_case(name))
                || SECRET_PARTS.iter().any(|part| name.contains(part))
                    && !NOT_SECRET.contains(&name);
            [name, if secret { REDACTED } else { value }]
        })
        .collect();
    serde_json::to_string(&list).expect("texts are always JSON")
}

/// A receipt's headers.
pub fn headers_of(receipt: &Receipt) -> Headers {
    let list: Vec<(String, String)> = serde_json::from_str(&receipt.headers).unwrap_or_default();
    Headers::new(list)
}

impl Intake {
    pub(crate) fn receipt(
        &self,
        workspace: WorkspaceId,
        door: Door,
        request: &Request,
        key_header: Option<&str>,
    ) -> Receipt {
        Receipt {
            workspace,
            id: ReceiptId::new(self.shared.parts.edge.ids.next_id()),
            door,
            received_at: self.now(),
            peer: request.peer.clone(),
            headers: kept_headers(&request.headers, key_header),
            body: request.body.clone(),
            outcome: Outcome::Started,
            event_id: None,
            executions: Vec::new(),
            reason: None,
            replay_of: None,
        }
    }

    /// Keeps a request that starts nothing.
    pub(crate) async fn keep(
        &self,
        mut receipt: Receipt,
        outcome: Outcome,
        reason: Option<String>,
    ) -> Result<Received, StoreError> {
        receipt.outcome = outcome;
        receipt.reason = reason.map(|text| text.chars().take(REASON_CHARS_MAX).collect());
        let receive = Receive {
            receipt,
            starts: Vec::new(),
            events: Vec::new(),
        };
        self.shared.parts.records.receive(receive).await
    }

    /// Keeps a refused request, if not too many were kept just before; a failure to keep it is
    /// logged, and changes nothing for the sender.
    pub(crate) async fn keep_refused(&self, mut receipt: Receipt, reason: &str, now: Timestamp) {
        let gate = self.shared.gates.of(receipt.door);
        let Some(unkept) = gate.keeps_refused(now) else {
            return;
        };
        if receipt.body.len() > REFUSED_BODY_BYTES_MAX {
            // A copy, so that the rest of the body goes.
            receipt.body = Bytes::copy_from_slice(&receipt.body[..REFUSED_BODY_BYTES_MAX]);
        }
        let reason = match unkept {
            0 => reason.to_owned(),
            more => format!("{reason} ({more} more just before it were refused and not kept)"),
        };
        tracing::warn!(door = ?receipt.door, reason, "an inbound request was refused");
        if let Err(error) = self.keep(receipt, Outcome::Refused, Some(reason)).await {
            tracing::warn!(%error, "a refused request was not kept");
        }
    }

    /// A workspace's receipts, newest first.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn receipts(
        &self,
        workspace: WorkspaceId,
        filter: ReceiptFilter,
        page: Page<ReceiptId>,
    ) -> Result<Vec<Receipt>, StoreError> {
        let records = &self.shared.parts.records;
        records.receipts(workspace, filter, page).await
    }

    /// One receipt.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn find_receipt(
        &self,
        workspace: WorkspaceId,
        id: ReceiptId,
    ) -> Result<Option<Receipt>, StoreError> {
        self.shared.parts.records.receipt(workspace, id).await
    }

    /// Runs a kept request once more, as its door would now, without verifying or deduplicating
    /// it again. It gets a receipt of its own.
    ///
    /// # Errors
    /// If there is none, it was refused then, its door is gone, or it cannot be started.
    pub async fn replay(
        &self,
        workspace: WorkspaceId,
        id: ReceiptId,
    ) -> Result<Accepted, ReceiveError> {
        let records = &self.shared.parts.records;
        let Some(old) = records.receipt(workspace, id).await? else {
            return Err(ReceiveError::Unknown);
        };
        if matches!(old.outcome, Outcome::Refused | Outcome::Challenge) {
            return Err(ReceiveError::NotReplayable(old.outcome));
        }
        let flow = self.flow_of_door(old.door)?;
        let headers = headers_of(&old);
        let value = payload::read(flow.preset(), headers.get("content-type"), &old.body)
            .map_err(ReceiveError::Body)?;
        let receipt = Receipt {
            id: ReceiptId::new(self.shared.parts.edge.ids.next_id()),
            received_at: self.now(),
            outcome: Outcome::Started,
            event_id: None,
            executions: Vec::new(),
            reason: None,
            replay_of: Some(old.id),
            ..old
        };
        self.start(&flow, receipt, value, None).await
    }

    pub(crate) fn flow_of_door(&self, door: Door) -> Result<Flow, ReceiveError> {
        let index = self.index();
        match door {
            Door::Generic => Some(Flow::Generic),
            Door::Source(id) => index.source_by_id(id).cloned().map(Flow::Source),
            Door::Trigger(id) => index.trigger(id).cloned().map(Flow::Trigger),
        }
        .ok_or(ReceiveError::Unknown)
    }
}
