//! Following executions live: what a terminal, a dashboard or an SSE stream shows as it happens.
//! Only a hint at what is on disk: a follower who lags loses the oldest.

use std::sync::Arc;

use domain::{
    ExecutionId, WorkspaceId,
    execution::{ExecutionState, Step, StepKey},
};
use tokio::sync::broadcast;

use crate::Engine;

/// Something that happened in an execution of this process.
#[derive(Clone, Debug)]
pub struct Notice {
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// Which execution.
    pub execution: ExecutionId,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum What {
    /// An attempt at a node has begun.
    Started {
        /// Which run of which node.
        key: StepKey,
        /// Which attempt.
        attempt: u32,
    },
    /// A step is on disk.
    Recorded(Box<Step>),
    /// A piece of a model's answer.
    Text {
        /// Which run of which node.
        key: StepKey,
        /// The piece.
        text: String,
    },
    /// A model calls a tool.
    Tool {
        /// Which run of which node.
        key: StepKey,
        /// The tool.
        tool: String,
    },
    /// The execution stands elsewhere.
    State(ExecutionState),
}

impl Engine {
    /// Everything of every execution in this process from now on.
    pub fn follow(&self) -> broadcast::Receiver<Arc<Notice>> {
        self.shared.notices.subscribe()
    }
}
