//! What runs in an execution at this moment. It is on no disk: it follows from the steps that are.

use domain::{
    execution::{Execution, ExecutionState, Step, StepKey},
    workflow::decide::Command,
};

use crate::{Engine, claim, programs::PrepareError};

/// An attempt that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Which run of which node.
    pub key: StepKey,
    /// Which attempt.
    pub attempt: u32,
}

impl Engine {
    /// What runs in an execution that stands as these steps say, on whichever node.
    ///
    /// # Errors
    /// If its version cannot be read.
    pub async fn running(
        &self,
        execution: &Execution,
        steps: &[Step],
    ) -> Result<Vec<Running>, PrepareError> {
        if execution.state != ExecutionState::Running {
            return Ok(Vec::new());
        }
        let shared = &self.shared;
        let (workspace, workflow) = (execution.workspace, execution.workflow);
        let prepared = shared
            .programs
            .get(&shared.store, workspace, workflow, execution.version)
            .await?;
        let mut run = claim::begin(&prepared, &execution.input);
        for step in steps {
            run.apply(step);
        }
        if run.end().is_some() {
            return Ok(Vec::new());
        }
        let (commands, _) = run.next(shared.now());
        let running = commands.into_iter().filter_map(|command| match command {
            Command::Run { key, attempt } => Some(Running { key, attempt }),
            Command::Note(_) => None,
        });
        Ok(running.collect())
    }
}
