//! The way of one request: limits → verify → handshake → triggers → start.
//!
//! [`Intake::open`] is asked before the body is read, and says how much of it is taken;
//! [`Intake::receive`] does the rest. What is genuine is on disk before it is answered.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use domain::{
    ReceiptId, SourceId, TriggerId, WorkflowId, WorkspaceId,
    execution::Cause,
    intake::{
        self, Door, Headers, Outcome, Preset, Receipt, Refusal, SourceConfig, Verified,
        config::{self, ResponseConfig},
        handshake,
    },
};
use serde_json::{Map, Value};
use store::{Received, StoreError};

use crate::{
    Intake,
    index::{SourceEntry, TriggerEntry},
    limits::{Full, Gate, ReadingPlace},
    map::{self, MapError},
    start::{InputFault, Inputs, Standing, StartError, StartOutcome, StartRequest, WorkflowRef},
};

/// How long the generic door waits for the end of what it starts.
pub const GENERIC_WAIT: Duration = Duration::from_secs(30);
/// How soon a sender that found no place may come again.
const BUSY_WAIT: Duration = Duration::from_secs(1);

/// Where a request comes in, by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address<'a> {
    /// `/webhooks/generic`.
    Generic,
    /// `/webhooks/{source}`.
    Source(&'a str),
    /// `/triggers/{id}`.
    Trigger(TriggerId),
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its method, in capitals.
    pub method: String,
    /// The whole URL that the sender called.
    pub url: String,
    /// The query, without `?`.
    pub query: String,
    /// Its headers.
    pub headers: Headers,
    /// Its body.
    pub body: Bytes,
    /// Where it comes from.
    pub peer: Option<String>,
    /// Whether the sender wants no answer but that it was taken (`Prefer: respond-async`).
    pub respond_async: bool,
    /// Whether it came in local mode, to a server whose callers may do everything.
    pub local: bool,
}

/// A place at a door, to be used for one request.
pub struct Opened {
    flow: Flow,
    /// The largest body that is taken, in bytes.
    pub body_bytes_max: usize,
    gate: Arc<Gate>,
    concurrency: u32,
    rate: Option<f64>,
    /// Until the body has been read, and what came of it is done.
    _reading: ReadingPlace,
}

/// What a door does with what is genuine.
#[derive(Clone)]
pub(crate) enum Flow {
    Generic,
    Source(Arc<SourceEntry>),
    Trigger(Arc<TriggerEntry>),
}

impl Flow {
    pub fn preset(&self) -> Preset {
        match self {
            Self::Source(entry) => entry.config.as_ref().map_or(Preset::None, |it| it.preset),
            Self::Generic | Self::Trigger(_) => Preset::Generic,
        }
    }
}

/// What a sender is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// It was taken.
    Accepted(Accepted),
    /// A handshake's answer.
    Challenge(handshake::Answer),
}

/// A request that was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// Its receipt, or the first one's.
    pub receipt: ReceiptId,
    /// Whether it repeats an earlier one.
    pub duplicate: bool,
    /// What it, or the earlier one, started.
    pub executions: Vec<Standing>,
    /// Whether the answer was to wait for their end.
    pub waited: bool,
    /// What the source wants answered.
    pub response: ResponseConfig,
}

/// Why a request was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// There is no such door, or it is closed.
    #[error("nothing takes requests here")]
    Unknown,
    /// The door takes no such method.
    #[error("only POST is taken here")]
    Method,
    /// Too many at once, or per second.
    #[error("this door takes no more requests at the moment")]
    Full(Duration),
    /// It is not genuine.
    #[error(transparent)]
    Refused(Refusal),
    /// Its body is not what it says.
    #[error("{0}")]
    Body(String),
    /// Parts of it are not what the door expects.
    #[error("{} part(s) of the body cannot be used", .0.len())]
    Shape(Vec<InputFault>),
    /// No trigger could make anything of it; kept for a replay.
    #[error("{0}")]
    Map(String),
    /// What makes inputs of it cannot run at the moment.
    #[error("{0}")]
    Unavailable(String),
    /// It was genuine and started nothing.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It cannot be replayed.
    #[error("a request that was {} cannot be replayed", .0.as_str())]
    NotReplayable(Outcome),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<MapError> for ReceiveError {
    fn from(error: MapError) -> Self {
        match error {
            MapError::Failed(message) => Self::Map(message),
            MapError::Unavailable(message) => Self::Unavailable(message),
        }
    }
}

impl Intake {
    /// Whether requests must be genuine here. Unknown doors count as such: they refuse anyway.
    pub fn is_verified(&self, address: Address<'_>) -> bool {
        match address {
            Address::Generic => !self.shared.settings.generic_secrets.is_empty(),
            Address::Source(name) => self.index().source(name).is_none_or(
                |entry| !matches!(&entry.config, Ok(config) if config.preset == Preset::None),
            ),
            Address::Trigger(_) => true,
        }
    }

    /// Takes a place at a door, before the body is read.
    ///
    /// # Errors
    /// If there is no such door, or no place.
    pub fn open(&self, address: Address<'_>) -> Result<Opened, ReceiveError> {
        let index = self.index();
        let defaults = SourceConfig::default();
        let (flow, door, config) = match address {
            Address::Generic => (Flow::Generic, Door::Generic, &defaults),
            Address::Source(name) => {
                let entry = index.source(name).filter(|entry| entry.source.active);
                let entry = entry.ok_or(ReceiveError::Unknown)?;
                let config = entry.config.as_ref().unwrap_or(&defaults);
                let door = Door::Source(entry.source.id);
                (Flow::Source(Arc::clone(entry)), door, config)
            }
            Address::Trigger(id) => {
                let entry = index.trigger(id).ok_or(ReceiveError::Unknown)?;
                (
                    Flow::Trigger(Arc::clone(entry)),
                    Door::Trigger(id),
                    &defaults,
                )
            }
        };
        let gate = self.shared.gates.of(door);
        let concurrency = match address {
            // It waits for what it starts, for up to half a minute each.
            Address::Generic => config::CONCURRENCY_MAX,
            _ => config.concurrency(),
        };
        let reading = gate.read().map_err(full)?;
        Ok(Opened {
            body_bytes_max: config.body_bytes_max(),
            flow,
            gate,
            concurrency,
            rate: config.limits.rate_per_second,
            _reading: reading,
        })
    }

    /// Takes a request: verifies it, and starts what it starts.
    ///
    /// # Errors
    /// Says why it was not taken. What was genuine is kept also then, unless the store failed.
    pub async fn receive(&self, opened: &Opened, request: Request) -> Result<Reply, ReceiveError> {
        let _place = opened.gate.enter(opened.concurrency).map_err(full)?;
        match &opened.flow {
            Flow::Generic => {
                let settings = &self.shared.settings;
                let open = request.local && settings.generic_secrets.is_empty();
                let config = SourceConfig {
                    preset: if open { Preset::None } else { Preset::Generic },
                    ..SourceConfig::default()
                };
                let secrets: Vec<&[u8]> = settings
                    .generic_secrets
                    .iter()
                    .map(|secret| secret.as_bytes())
                    .collect();
                let workspace = settings.generic_workspace.unwrap_or(WorkspaceId::DEFAULT);
                let receipt = self.receipt(workspace, Door::Generic, &request, None);
                let door = (&config, secrets.as_slice());
                self.pass(opened, door, receipt, request).await
            }
            Flow::Source(entry) => {
                let source = &entry.source;
                let unset = SourceConfig::default();
                let config = entry.config.as_ref().unwrap_or(&unset);
                let secrets = entry.secrets(self.now());
                let key_header = config.header.as_deref();
                let door = Door::Source(source.id);
                let receipt = self.receipt(source.workspace, door, &request, key_header);
                self.pass(opened, (config, &secrets), receipt, request)
                    .await
            }
            Flow::Trigger(entry) => {
                let trigger = &entry.trigger;
                let config = SourceConfig {
                    canonical_fallback: true,
                    ..SourceConfig::default()
                };
                let key = entry.key.as_ref().map_or(&[][..], |key| key.as_slice());
                let door = Door::Trigger(trigger.id);
                let receipt = self.receipt(trigger.workspace, door, &request, None);
                self.pass(opened, (&config, &[key]), receipt, request).await
            }
        }
    }

    async fn pass(
        &self,
        opened: &Opened,
        (config, secrets): (&SourceConfig, &[&[u8]]),
        mut receipt: Receipt,
        request: Request,
    ) -> Result<Reply, ReceiveError> {
        let flow = &opened.flow;
        let now = self.now();
        let seen = intake::Request {
            method: &request.method,
            url: &request.url,
            query: &request.query,
            headers: &request.headers,
            body: &request.body,
        };
        match handshake::of_query(config, secrets, &seen) {
            Some(Ok(answer)) => {
                self.keep(receipt, Outcome::Challenge, None).await?;
                return Ok(Reply::Challenge(answer));
            }
            Some(Err(refusal)) => return Err(self.refuse(receipt, refusal).await),
            None if request.method != "POST" => return Err(ReceiveError::Method),
            None => {}
        }
        let verified = match intake::verify(config, secrets, &seen, now) {
            Ok(verified) => verified,
            Err(refusal) => return Err(self.refuse(receipt, refusal).await),
        };
        // Whoever is not genuine uses nothing of it up.
        opened.gate.pass(opened.rate, now).map_err(full)?;
        let Verified {
            event_id, payload, ..
        } = verified;
        receipt.event_id = event_id;
        let payload = match payload {
            Ok(payload) => payload,
            Err(message) => return Err(self.fail(receipt, ReceiveError::Body(message)).await),
        };
        if let Some(answer) = handshake::of_payload(config, secrets, &payload) {
            self.keep(receipt, Outcome::Challenge, None).await?;
            return Ok(Reply::Challenge(answer));
        }
        let wait = match flow {
            _ if request.respond_async => None,
            Flow::Generic => Some(GENERIC_WAIT),
            Flow::Source(_) => config.response.wait_ms.map(Duration::from_millis),
            Flow::Trigger(_) => None,
        };
        self.start(flow, receipt, payload, wait)
            .await
            .map(Reply::Accepted)
    }

    async fn refuse(&self, receipt: Receipt, refusal: Refusal) -> ReceiveError {
        self.keep_refused(receipt, &refusal.message, self.now())
            .await;
        ReceiveError::Refused(refusal)
    }

    /// Keeps a genuine request that came to nothing, for a replay.
    async fn fail(&self, receipt: Receipt, error: ReceiveError) -> ReceiveError {
        let reason = reason_of(&error);
        match self.keep(receipt, Outcome::Failed, Some(reason)).await {
            Ok(_) => error,
            Err(broken) => broken.into(),
        }
    }

    /// Starts what a genuine request starts, with its receipt.
    pub(crate) async fn start(
        &self,
        flow: &Flow,
        mut receipt: Receipt,
        payload: Value,
        wait: Option<Duration>,
    ) -> Result<Accepted, ReceiveError> {
        let made = match flow {
            Flow::Generic => called(&payload, receipt.id).map(|start| (vec![start], None)),
            Flow::Source(entry) => self.fire_all(entry.source.id, receipt.id, &payload).await,
            Flow::Trigger(entry) => self.fire_one(entry, receipt.id, &payload).await,
        };
        let (starts, reason) = match made {
            Ok(made) => made,
            Err(error) => return Err(self.fail(receipt, error).await),
        };
        let response = match flow {
            Flow::Source(entry) => entry
                .config
                .as_ref()
                .map_or_else(|_| ResponseConfig::default(), |it| it.response.clone()),
            Flow::Generic | Flow::Trigger(_) => ResponseConfig::default(),
        };
        let accepted = |receipt, duplicate, executions| Accepted {
            receipt,
            duplicate,
            executions,
            waited: wait.is_some(),
            response,
        };
        if starts.is_empty() {
            let id = receipt.id;
            let kept = self.keep(receipt, Outcome::Ignored, reason).await?;
            return Ok(match kept {
                Received::New { .. } => accepted(id, false, Vec::new()),
                Received::Duplicate { receipt, .. } => accepted(receipt, true, Vec::new()),
            });
        }
        receipt.reason = reason;
        let id = receipt.id;
        let starter = &self.shared.parts.starter;
        match starter.receive(receipt.clone(), starts, wait).await {
            Ok(StartOutcome::Started { executions }) => Ok(accepted(id, false, executions)),
            Ok(StartOutcome::Duplicate {
                receipt,
                executions,
            }) => Ok(accepted(receipt, true, executions)),
            Err(error @ (StartError::Store(_) | StartError::Overloaded(_))) => Err(error.into()),
            Err(error) => Err(self.fail(receipt, error.into()).await),
        }
    }

    /// What the triggers of a source start. One that fails does not hold up the others: it is
    /// told in the receipt's reason; only if none fires is the failure the request's.
    async fn fire_all(
        &self,
        source: SourceId,
        receipt: ReceiptId,
        payload: &Value,
    ) -> Result<(Vec<StartRequest>, Option<String>), ReceiveError> {
        let index = self.index();
        let mut starts = Vec::new();
        let mut failures = Vec::new();
        for entry in index.triggers_of(source) {
            match map::inputs(&*self.shared.parts.jq, entry, payload).await {
                Ok(None) => {}
                Ok(Some(inputs)) => starts.push(by_trigger(entry, receipt, inputs)),
                Err(MapError::Failed(message)) => {
                    failures.push(format!("{}: {message}", entry.trigger.id));
                }
                Err(error) => return Err(error.into()),
            }
        }
        let reason = (!failures.is_empty()).then(|| failures.join("; "));
        match reason {
            Some(reason) if starts.is_empty() => Err(ReceiveError::Map(reason)),
            reason => Ok((starts, reason)),
        }
    }

    async fn fire_one(
        &self,
        entry: &TriggerEntry,
        receipt: ReceiptId,
        payload: &Value,
    ) -> Result<(Vec<StartRequest>, Option<String>), ReceiveError> {
        let inputs = map::inputs(&*self.shared.parts.jq, entry, payload).await?;
        let start = inputs.map(|inputs| by_trigger(entry, receipt, inputs));
        Ok((start.into_iter().collect(), None))
    }

    /// S0's `POST /api/v1/webhooks/receive`: a request that credentials of the API vouch for
    /// starts the workflow that it names by id or name.
    ///
    /// # Errors
    /// Says why it was not taken.
    pub async fn receive_call(
        &self,
        workspace: WorkspaceId,
        request: &Request,
        workflow: &str,
        data: Value,
        event_id: Option<String>,
    ) -> Result<Accepted, ReceiveError> {
        let mut receipt = self.receipt(workspace, Door::Generic, request, None);
        receipt.event_id = event_id.map(intake::payload::bounded_id);
        let id = receipt.id;
        let start = StartRequest {
            workflow: named(workflow),
            inputs: Inputs::Payload(data),
            cause: Cause::Webhook {
                receipt: id,
                trigger: None,
                hops: 0,
            },
        };
        let starter = &self.shared.parts.starter;
        let (receipt, duplicate, executions) =
            match starter.receive(receipt.clone(), vec![start], None).await {
                Ok(StartOutcome::Started { executions }) => (id, false, executions),
                Ok(StartOutcome::Duplicate {
                    receipt,
                    executions,
                }) => (receipt, true, executions),
                Err(error @ (StartError::Store(_) | StartError::Overloaded(_))) => {
                    return Err(error.into());
                }
                Err(error) => return Err(self.fail(receipt, error.into()).await),
            };
        Ok(Accepted {
            receipt,
            duplicate,
            executions,
            waited: false,
            response: ResponseConfig::default(),
        })
    }
}

fn by_trigger(entry: &TriggerEntry, receipt: ReceiptId, inputs: Inputs) -> StartRequest {
    StartRequest {
        workflow: WorkflowRef::Id(entry.trigger.workflow),
        inputs,
        cause: Cause::Webhook {
            receipt,
            trigger: Some(entry.trigger.id),
            hops: 0,
        },
    }
}

fn named(text: &str) -> WorkflowRef {
    text.parse::<WorkflowId>()
        .map_or_else(|_| WorkflowRef::Name(text.to_owned()), WorkflowRef::Id)
}

/// Why a door takes no more, and when it does again.
fn full(full: Full) -> ReceiveError {
    ReceiveError::Full(match full {
        Full::AtOnce => BUSY_WAIT,
        Full::Rate(wait) => wait,
    })
}

/// What a request to the generic door calls: `{workflow_name, inputs}`.
fn called(payload: &Value, receipt: ReceiptId) -> Result<StartRequest, ReceiveError> {
    let mut faults = Vec::new();
    let mut fault = |path: &str, message: &str| {
        faults.push(InputFault {
            path: path.to_owned(),
            message: message.to_owned(),
        });
    };
    if !payload.is_object() {
        fault(
            "",
            "the body has to be a JSON object: {\"workflow_name\": …, \"inputs\": {…}}",
        );
    }
    let name = payload.get("workflow_name").and_then(Value::as_str);
    if payload.is_object() && name.is_none_or(str::is_empty) {
        fault(
            "workflow_name",
            "is required: the name of a registered workflow",
        );
    }
    let inputs = match payload.get("inputs") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(inputs)) => inputs.clone(),
        Some(_) => {
            fault("inputs", "has to be an object");
            Map::new()
        }
    };
    match name {
        Some(name) if faults.is_empty() => Ok(StartRequest {
            workflow: WorkflowRef::Name(name.to_owned()),
            inputs: Inputs::Given(inputs),
            cause: Cause::Webhook {
                receipt,
                trigger: None,
                hops: 0,
            },
        }),
        _ => Err(ReceiveError::Shape(faults)),
    }
}

/// Why a request came to nothing, for its receipt.
fn reason_of(error: &ReceiveError) -> String {
    let faults = match error {
        ReceiveError::Shape(faults) | ReceiveError::Start(StartError::Invalid(faults)) => faults,
        other => return other.to_string(),
    };
    let lines: Vec<String> = faults
        .iter()
        .map(|fault| format!("{}: {}", fault.path, fault.message))
        .collect();
    lines.join("; ")
}
