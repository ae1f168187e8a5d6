//! `GET /api/v1/executions/{id}/events`: an execution as it goes, as Server-Sent Events.
//!
//! What is on disk is told from there, in order and without gaps; what only memory knows (that an
//! attempt has begun, a model's text as it comes) is told where the execution runs on this node.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::State,
    response::{Response, sse::Event},
};
use domain::{
    ExecutionId, WorkspaceId,
    access::Scope,
    execution::{Execution, ExecutionState, Step, StepKey},
};
use futures_util::{Stream, stream};
use http::HeaderMap;
use serde::Serialize;
use store::StoreError;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Instant, sleep_until},
};
use utoipa::ToSchema;
use workflow::follow::{Notice, What};

use super::{
    find,
    view::{ExecutionDetail, RunningView, StepView},
};
use crate::{
    SharedApp,
    api::sse::{self, Place, Places},
    auth::Access,
    extract::Id,
    problem::Problem,
};

/// How often the disk is asked for what no notice told of: it may run on another node.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where it stands now (event `state`).
#[derive(Serialize, ToSchema)]
struct StateEvent {
    /// The state.
    #[schema(value_type = String)]
    state: ExecutionState,
}

/// A piece of a model's answer (event `text`), or a tool that it calls (event `tool`).
#[derive(Serialize, ToSchema)]
struct PieceEvent {
    /// The node.
    node: String,
    /// How often the node had begun before (loops).
    iteration: u32,
    /// Which item, where it runs once for each of a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<u32>,
    /// The piece.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// The tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<String>,
}

/// Follow an execution
///
/// A stream of Server-Sent Events: `step` for each step so far and from now on (the event's id is
/// the step's number; one that waited comes again when the wait is over), `started` when an attempt
/// begins, `text` and `tool` while a model answers, `state` when it stands elsewhere; at its end
/// `end` with the whole execution, and the stream ends. `Last-Event-ID` leaves out the steps up to
/// that number.
#[utoipa::path(
    get, path = "/api/v1/executions/{id}/events", tag = "Executions", operation_id = "followExecution",
    params(
        ("id" = String, Path, description = "The execution's id", example = "exe_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b"),
        ("Last-Event-ID" = Option<u32>, Header, description = "The number of the last step that is known."),
    ),
    responses((status = 200, description = "The stream", body = inline(StepView), content_type = "text/event-stream")),
)]
pub(super) async fn stream(
    State(app): State<SharedApp>,
    Extension(places): Extension<Places>,
    access: Access,
    headers: HeaderMap,
    Id(id): Id<ExecutionId>,
) -> Result<Response, Problem> {
    let workspace = access.require(Scope::Read)?;
    // Before the look at the disk: between the two, nothing is missed.
    let notices = app.engine.follow();
    find(&app, workspace, id).await?;
    let place = places.take()?;
    let known = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or_default();
    let follower = Follower {
        app: Arc::clone(&app),
        workspace,
        id,
        notices,
        known,
        state: None,
        waiting: VecDeque::new(),
        look_at: Instant::now(),
        over: false,
        writes: access.require(Scope::Write).is_ok(),
        _place: place,
    };
    let listener = sse::Listener { headers, workspace };
    Ok(sse::respond(&app, listener, events(follower)))
}

fn events(follower: Follower) -> impl Stream<Item = Result<Event, Infallible>> + Send {
    stream::unfold(follower, async |mut follower| {
        let event = follower.next().await?;
        Some((Ok(event), follower))
    })
}

struct Follower {
    app: SharedApp,
    workspace: WorkspaceId,
    id: ExecutionId,
    notices: Receiver<Arc<Notice>>,
    /// The number of the last step that was told.
    known: u32,
    /// The state that was told last.
    state: Option<ExecutionState>,
    /// What is to be told next.
    waiting: VecDeque<Event>,
    /// Whether whoever follows may change things.
    writes: bool,
    /// When the disk is asked again.
    look_at: Instant,
    /// Whether nothing follows what waits.
    over: bool,
    _place: Place,
}

impl Follower {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if self.over {
                return None;
            }
            tokio::select! {
                biased;
                notice = self.notices.recv() => match notice {
                    Ok(notice) if notice.execution == self.id => self.hear(&notice.what),
                    Ok(_) => {}
                    // What is on disk is looked up; the rest is gone.
                    Err(RecvError::Lagged(_)) => self.look_at = Instant::now(),
                    Err(RecvError::Closed) => return None,
                },
                () = sleep_until(self.look_at) => {
                    self.look_at = Instant::now() + LOOK_EVERY;
                    match self.look().await {
                        Ok(()) => {}
                        Err(StoreError::Closed) => return None,
                        Err(error) => tracing::warn!(%error, "failed to look at an execution that is followed"),
                    }
                }
            }
        }
    }

    fn hear(&mut self, what: &What) {
        let event = match what {
            What::Started { key, attempt } => {
                let StepKey {
                    node,
                    iteration,
                    item,
                } = key.clone();
                let running = RunningView {
                    node,
                    iteration,
                    item,
                    attempt: *attempt,
                };
                sse::event("started", &running)
            }
            What::Text { key, text } => sse::event("text", &piece(key, Some(text), None)),
            What::Tool { key, tool } => sse::event("tool", &piece(key, None, Some(tool))),
            // One that was told before says that its wait is over.
            What::Recorded(step) if step.number <= self.known && step.ended_at.is_some() => {
                self.look_again(step.number);
                return;
            }
            What::Recorded(_) | What::State(_) => {
                self.look_at = Instant::now();
                return;
            }
        };
        self.waiting.push_back(event);
    }

    /// Has the steps from this one on told again.
    fn look_again(&mut self, number: u32) {
        self.known = self.known.min(number.saturating_sub(1));
        self.look_at = Instant::now();
    }

    /// Tells what is on disk and was not told yet.
    async fn look(&mut self) -> Result<(), StoreError> {
        let store = self.app.store();
        let Some(execution) = store.execution(self.workspace, self.id).await? else {
            // It was removed.
            self.over = true;
            return Ok(());
        };
        let ended = execution.state.is_final();
        let steps = if ended || execution.steps != self.known {
            store.steps(self.workspace, self.id).await?
        } else {
            Vec::new()
        };
        for step in steps.iter().filter(|step| step.number > self.known) {
            let event = self.step(&execution, step.clone());
            self.waiting.push_back(event);
        }
        self.known = steps.last().map_or(self.known, |step| step.number);
        if self.state != Some(execution.state) {
            self.state = Some(execution.state);
            let state = execution.state;
            self.waiting
                .push_back(sse::event("state", &StateEvent { state }));
        }
        if ended {
            let detail = ExecutionDetail::new(&self.app, execution, steps, Vec::new(), self.writes);
            self.waiting.push_back(sse::event("end", &detail));
            self.over = true;
        }
        Ok(())
    }

    fn step(&self, execution: &Execution, step: Step) -> Event {
        let number = step.number.to_string();
        sse::event(
            "step",
            &StepView::new(&self.app, execution, step, self.writes),
        )
        .id(number)
    }
}

fn piece(key: &StepKey, text: Option<&String>, tool: Option<&String>) -> PieceEvent {
    PieceEvent {
        node: key.node.clone(),
        iteration: key.iteration,
        item: key.item,
        text: text.cloned(),
        tool: tool.cloned(),
    }
}
