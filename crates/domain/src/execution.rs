//! An execution: one run of one version of a workflow, and its steps, as they are stored.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{ExecutionId, ReceiptId, Timestamp, TriggerId, WorkflowId, WorkspaceId};

/// An execution's record.
#[derive(Clone, Debug, PartialEq)]
pub struct Execution {
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// Its id.
    pub id: ExecutionId,
    /// What it runs.
    pub workflow: WorkflowId,
    /// Which version of it: 1 for the first.
    pub version: u32,
    /// Where it stands.
    pub state: ExecutionState,
    /// What it was started with: a JSON object.
    pub input: Bytes,
    /// What started it.
    pub cause: Cause,
    /// Whether its models are the offline stand-in.
    pub offline: bool,
    /// What it came to, as JSON: once it has completed.
    pub result: Option<Bytes>,
    /// Why it failed.
    pub error: Option<ExecutionError>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it began to run; not set while it waits for its turn.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// When it is to be looked at next, if nobody holds it; none: when a signal comes.
    pub due_at: Option<Timestamp>,
    /// How many steps were recorded.
    pub steps: u32,
    /// What its model calls used.
    pub usage: Usage,
}

/// Where an execution stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExecutionState {
    /// Waits for its turn: its workflow's concurrency is used up.
    Pending,
    /// Runs, or will as soon as a process takes it up.
    Running,
    /// Waits for a time, an approval, a callback, a resource, another execution.
    Waiting,
    /// Ended well.
    Completed,
    /// Ended with a failure.
    Failed,
    /// Was stopped.
    Stopped,
}

impl ExecutionState {
    /// Whether nothing follows any more.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Stopped)
    }

    /// As S0 and the API write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// What started an execution. Stored as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "camelCase")]
pub enum Cause {
    /// A person or a program, through the API or the command line.
    Api,
    /// An inbound request.
    Webhook {
        /// The request as it was kept.
        receipt: ReceiptId,
        /// The trigger, where it was not named in the request.
        #[serde(default)]
        trigger: Option<TriggerId>,
        /// How many Signposts what caused the request has passed through.
        #[serde(default)]
        hops: u8,
    },
    /// The clock.
    Schedule {
        /// The trigger.
        trigger: TriggerId,
        /// The time that it was for.
        at: Timestamp,
    },
    /// An event.
    Event {
        /// The trigger.
        trigger: TriggerId,
        /// The event's id.
        event: String,
    },
    /// A node of another execution.
    Execution {
        /// That execution.
        parent: ExecutionId,
        /// Its node.
        node: String,
        /// Which of the node's runs: see [`StepKey::iteration`].
        iteration: u32,
        /// Which item of a map.
        #[serde(default)]
        item: Option<u32>,
        /// Whether it waits for the end.
        waits: bool,
        /// How many executions have started each other before this one.
        depth: u32,
        /// How many Signposts what caused the first of them has passed through.
        #[serde(default)]
        hops: u8,
    },
}

impl Cause {
    /// How many Signposts what caused it has passed through: what its events go on with.
    pub const fn hops(&self) -> u8 {
        match self {
            Self::Webhook { hops, .. } | Self::Execution { hops, .. } => *hops,
            Self::Api | Self::Schedule { .. } | Self::Event { .. } => 0,
        }
    }
}

/// Why an execution or a step failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionError {
    /// A stable type, such as `model_key_missing`.
    pub kind: String,
    /// What happened, for a person; never a secret.
    pub message: String,
    /// The node that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// What model calls used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Tokens sent.
    pub tokens_in: u64,
    /// Tokens received.
    pub tokens_out: u64,
    /// Cost in billionths of a US dollar.
    pub cost_nanos: u64,
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.tokens_in = self.tokens_in.saturating_add(other.tokens_in);
        self.tokens_out = self.tokens_out.saturating_add(other.tokens_out);
        self.cost_nanos = self.cost_nanos.saturating_add(other.cost_nanos);
    }
}

/// Which run of which node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepKey {
    /// The node.
    pub node: String,
    /// How often the node had begun before in this execution (loops): 0 for the first.
    pub iteration: u32,
    /// Which item, where it runs once for each of a list.
    pub item: Option<u32>,
}

/// A step: one attempt at one run of a node that has ended or waits, or a mark. The steps of an
/// execution are a log: each has the next number, none changes what it says, but that `ended_at`
/// is set on a wait that is over. What runs has no step: after a crash it is decided anew.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its number in the execution, 1 for the first; the order in which steps count.
    pub number: u32,
    /// Which run of which node.
    pub key: StepKey,
    /// Which attempt, 1 for the first.
    pub attempt: u32,
    /// Where it stands.
    pub state: StepState,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; none while it waits.
    pub ended_at: Option<Timestamp>,
    /// Until when it waits, or when it is tried again.
    pub until: Option<Timestamp>,
    /// What it came to, as JSON.
    pub output: Option<Bytes>,
    /// Why it failed.
    pub error: Option<ExecutionError>,
    /// What its model calls used.
    pub usage: Usage,
    /// What else is worth knowing (model, tool calls, status, the message of an approval), a JSON
    /// object; never a secret.
    pub detail: Option<Bytes>,
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    /// Waits: for a time, an approval, a callback, another execution.
    Waiting,
    /// Waits for units of a pool.
    Blocked,
    /// Ended well.
    Completed,
    /// Failed; another attempt follows at `until`, if that is set.
    Failed,
    /// Was cut off: the execution was stopped, or another branch failed.
    Cancelled,
    /// Its condition did not hold.
    Skipped,
    /// A mark, not a run: what it waited for (its turn to be tried again, units of a pool) has
    /// come.
    Resumed,
    /// A mark, not a run: a person had the execution go on after this node's failure.
    Retried,
}

impl StepState {
    /// As the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Blocked => "blocked",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
            Self::Resumed => "resumed",
            Self::Retried => "retried",
        }
    }
}

/// Something from outside that an execution has to hear of. Kept until it has been taken up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "signal", rename_all = "camelCase")]
pub enum Signal {
    /// Somebody wants it stopped.
    Stop {
        /// Who, for people.
        by: String,
    },
    /// Somebody wants a failed or stopped one to go on where it failed.
    Retry {
        /// Who, for people.
        by: String,
    },
    /// Somebody has answered an approval.
    Approval {
        /// The number of the step that waits.
        step: u32,
        /// The answer.
        approved: bool,
        /// Who, for people.
        by: String,
        /// What they added.
        #[serde(default)]
        comment: Option<String>,
    },
    /// A callback came.
    Callback {
        /// The number of the step that waits.
        step: u32,
        /// What was posted, as JSON.
        body: serde_json::Value,
    },
    /// An execution that this one waits for has ended.
    Ended {
        /// Which.
        execution: ExecutionId,
        /// The node that waits.
        node: String,
        /// Which of its runs.
        iteration: u32,
        /// Which item of a map.
        #[serde(default)]
        item: Option<u32>,
        /// How.
        state: ExecutionState,
        /// What it came to.
        #[serde(default)]
        result: Option<serde_json::Value>,
        /// Why it failed.
        #[serde(default)]
        error: Option<ExecutionError>,
    },
}
