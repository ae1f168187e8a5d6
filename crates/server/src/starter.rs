//! How intake starts executions: its port, over the engine.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{
    ExecutionId, WorkspaceId,
    event::HOPS_MAX,
    execution::{Cause, Execution},
    format::HOPS_HEADER,
    intake::Receipt,
};
use intake::start::{
    InputFault, Standing, StartError, StartOutcome, StartRequest, Starter, WorkflowRef,
};
use store::Started;
use tokio::time::Instant;
use workflow::{
    Engine,
    start::{Begun, Kept, Request, StartError as EngineError, WorkflowRef as Named},
};

/// The engine as intake sees it.
pub struct EngineStarter {
    /// The engine.
    pub engine: Engine,
}

#[async_trait]
impl Starter for EngineStarter {
    async fn receive(
        &self,
        receipt: Receipt,
        starts: Vec<StartRequest>,
        wait: Option<Duration>,
    ) -> Result<StartOutcome, StartError> {
        let workspace = receipt.workspace;
        let deadline = Instant::now() + wait.unwrap_or_default();
        let hops = hops(&receipt.headers)?;
        let mut requests = Vec::with_capacity(starts.len());
        let mut names = Vec::with_capacity(starts.len());
        for start in starts {
            let (mut request, name) = self.request(workspace, start).await?;
            if let Cause::Webhook { hops: own, .. } = &mut request.cause {
                *own = hops;
            }
            requests.push(request);
            names.push(name);
        }
        match self
            .engine
            .receive(receipt, requests)
            .await
            .map_err(error)?
        {
            Kept::New(begun) => {
                let mut executions = Vec::with_capacity(begun.len());
                for (begun, name) in begun.into_iter().zip(names) {
                    if begun.started != Started::Skipped {
                        executions.push(self.standing(begun, name, wait, deadline).await?);
                    }
                }
                Ok(StartOutcome::Started { executions })
            }
            Kept::Duplicate {
                receipt,
                executions,
            } => {
                let mut first = Vec::with_capacity(executions.len());
                for id in executions {
                    first.extend(self.earlier(workspace, id, deadline).await?);
                }
                Ok(StartOutcome::Duplicate {
                    receipt,
                    executions: first,
                })
            }
        }
    }
}

impl EngineStarter {
    async fn request(
        &self,
        workspace: WorkspaceId,
        start: StartRequest,
    ) -> Result<(Request, String), StartError> {
        let named = match start.workflow {
            WorkflowRef::Id(id) => Named::Id(id),
            WorkflowRef::Name(name) => Named::Name(name),
        };
        let (found, prepared) = self.engine.find(workspace, &named).await.map_err(error)?;
        let request = Request {
            workspace,
            workflow: named,
            version: Some(prepared.version),
            input: start.inputs.for_fields(&prepared.definition().state),
            cause: start.cause,
            offline: false,
        };
        Ok((request, found.name.clone()))
    }

    async fn standing(
        &self,
        begun: Begun,
        workflow: String,
        wait: Option<Duration>,
        deadline: Instant,
    ) -> Result<Standing, StartError> {
        let (id, queued) = (begun.id, begun.started == Started::Queued);
        let ended = match wait {
            Some(_) => {
                let left = deadline.saturating_duration_since(Instant::now());
                self.engine.wait(begun, left).await?
            }
            None => None,
        };
        Ok(match ended {
            Some(execution) => of(execution, workflow),
            None => Standing {
                id,
                workflow,
                state: if queued {
                    domain::execution::ExecutionState::Pending
                } else {
                    domain::execution::ExecutionState::Running
                },
                result: None,
                error: None,
            },
        })
    }

    /// An execution that an earlier request has started, waited for if it still runs.
    async fn earlier(
        &self,
        workspace: WorkspaceId,
        id: ExecutionId,
        deadline: Instant,
    ) -> Result<Option<Standing>, StartError> {
        let ended = self.engine.wait_until(workspace, id, deadline).await?;
        let found = match ended {
            Some(execution) => Some(execution),
            None => self.engine.store().execution(workspace, id).await?,
        };
        let Some(execution) = found else {
            return Ok(None);
        };
        let named = Named::Id(execution.workflow);
        let name = match self.engine.find(workspace, &named).await {
            Ok((workflow, _)) => workflow.name.clone(),
            // It was removed meanwhile.
            Err(_) => execution.workflow.to_string(),
        };
        Ok(Some(of(execution, name)))
    }
}

fn of(execution: Execution, workflow: String) -> Standing {
    Standing {
        id: execution.id,
        workflow,
        state: execution.state,
        result: execution.result,
        error: execution.error,
    }
}

fn error(error: EngineError) -> StartError {
    match error {
        EngineError::UnknownWorkflow { name, nearest } => StartError::UnknownWorkflow {
            asked: name,
            nearest,
        },
        EngineError::Inputs(wrong) => StartError::Invalid(
            wrong
                .into_iter()
                .map(|(path, message)| InputFault {
                    path: path.strip_prefix("inputs.").unwrap_or(&path).to_owned(),
                    message,
                })
                .collect(),
        ),
        EngineError::Definition(why) => StartError::Overloaded(why),
        EngineError::Store(error) => StartError::Store(error),
    }
}

/// How many Signposts a request has passed through, as its headers say (`[["name", "value"], …]`).
fn hops(headers: &str) -> Result<u8, StartError> {
    // Nearly no request has it.
    if !headers.contains(HOPS_HEADER) {
        return Ok(0);
    }
    let headers: Vec<(String, String)> = serde_json::from_str(headers).unwrap_or_default();
    let hops = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(HOPS_HEADER))
        .map_or(0, |(_, value)| value.trim().parse().unwrap_or(u8::MAX));
    if hops > HOPS_MAX {
        return Err(StartError::Invalid(vec![InputFault {
            path: HOPS_HEADER.to_owned(),
            message: format!(
                "the request has passed through {hops} Signposts, the most is {HOPS_MAX}: webhooks and workflows seem to form a loop"
            ),
        }]));
    }
    Ok(hops)
}

/// The starter, shared.
pub fn starter(engine: Engine) -> Arc<dyn Starter> {
    Arc::new(EngineStarter { engine })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_has_come_round_too_often_starts_nothing() {
        for (headers, expected) in [
            ("[]", Some(0)),
            (r#"[["x-signpost-hops", "3"]]"#, Some(3)),
            (r#"[["x-signpost-hops", "8"]]"#, Some(8)),
            (r#"[["x-signpost-hops", "9"]]"#, None),
            (r#"[["x-signpost-hops", "many"]]"#, None),
        ] {
            assert_eq!(hops(headers).ok(), expected, "{headers}");
        }
    }
}
