//! Workflows as they are registered: a file comes in, is read, and becomes a new workflow or the
//! next version of one, with the triggers that it brings along and the event that says so, all in
//! one transaction.
//!
//! What is unchanged makes no version. Versions never change; an execution is pinned to one. The
//! webhooks that a file brings along are made by the server, which knows how: they stand in
//! [`Registered::definition`]. What runs versions is [`crate::programs`].

use std::sync::Arc;

use bytes::Bytes;
use domain::{
    TriggerId, WorkflowId, WorkspaceId,
    edge::Edge,
    event::EventType,
    intake::Trigger,
    workflow::{
        definition::{Definition, TriggerSpec},
        file::{self, Diagnostic, Loaded},
    },
};
use serde_json::{Value, json};
use store::{PutWorkflow, SharedStore, StoreError, Workflow, WorkflowVersion};

use crate::{
    Engine,
    events::canonical,
    outbox::{Occurrence, Outbox},
    schedule::next_after,
};

#[cfg(test)]
mod tests;

/// How often a change is tried again that somebody else was quicker than.
const TRIES_MAX: usize = 4;

/// What is to be registered.
#[derive(Clone, Debug)]
pub enum Source {
    /// A workflow file. Its name is in it.
    File(Bytes),
    /// A workflow file, under a name of its own.
    NamedFile {
        /// The name, whatever the file says.
        name: String,
        /// The file.
        text: Bytes,
    },
    /// A definition that came as JSON, under a name.
    Json {
        /// The name.
        name: String,
        /// The definition, in the form of a file.
        config: Value,
    },
}

/// What is to become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A new workflow; its name must be free.
    New,
    /// The workflow of its name, or a new one.
    ByName,
    /// The next version of this workflow, which takes its name.
    Existing(WorkflowId),
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A new workflow.
    Created,
    /// A new version of one.
    Updated,
    /// Nothing: the newest version is the same.
    Unchanged,
}

/// A workflow that was registered.
#[derive(Clone, Debug)]
pub struct Registered {
    /// Its record as it stands now.
    pub workflow: Workflow,
    /// What became of it.
    pub outcome: Outcome,
    /// What it says.
    pub definition: Arc<Definition>,
    /// What in it does not do what it seems to.
    pub warnings: Vec<Diagnostic>,
}

/// Why a workflow was not registered, or not removed. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The definition has errors.
    #[error("the workflow's definition has errors")]
    Invalid(Vec<Diagnostic>),
    /// Another workflow has its name.
    #[error("another workflow is called `{0}`")]
    NameTaken(String),
    /// There is no such workflow.
    #[error("there is no such workflow")]
    Unknown,
    /// Others changed it again and again at the same time.
    #[error("the workflow is being changed by others; try again")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Registers workflows over a store. Cheap to make.
#[derive(Clone, Copy)]
pub struct Registry<'a> {
    store: &'a SharedStore,
    edge: &'a Edge,
    outbox: &'a dyn Outbox,
}

impl Engine {
    /// Registers a workflow or its next version; what runs sees it at once.
    ///
    /// # Errors
    /// See [`RegisterError`].
    pub async fn register(
        &self,
        workspace: WorkspaceId,
        target: Target,
        source: Source,
    ) -> Result<Registered, RegisterError> {
        let registered = self.registry().register(workspace, target, source).await?;
        if registered.outcome != Outcome::Unchanged {
            self.programs().forget_names();
            self.schedules_changed();
        }
        Ok(registered)
    }

    /// Removes a workflow and its triggers; executions that run go on. Answers what it was.
    ///
    /// # Errors
    /// See [`RegisterError`].
    pub async fn unregister(
        &self,
        workspace: WorkspaceId,
        id: WorkflowId,
    ) -> Result<Workflow, RegisterError> {
        let removed = self.registry().remove(workspace, id).await?;
        self.programs().forget_names();
        self.schedules_changed();
        Ok(removed)
    }

    fn registry(&self) -> Registry<'_> {
        let shared = &self.shared;
        Registry::new(&shared.store, &shared.edge, shared.outbox.as_ref())
    }
}

/// A definition that was read, and what is kept of it.
struct Read {
    definition: Definition,
    warnings: Vec<Diagnostic>,
    source: Bytes,
    stored: Bytes,
    /// Whether its author calls this version something.
    is_labelled: bool,
}

impl<'a> Registry<'a> {
    /// A registry over these.
    pub fn new(store: &'a SharedStore, edge: &'a Edge, outbox: &'a dyn Outbox) -> Self {
        Self {
            store,
            edge,
            outbox,
        }
    }

    /// Registers a workflow or its next version.
    ///
    /// # Errors
    /// See [`RegisterError`].
    pub async fn register(
        &self,
        workspace: WorkspaceId,
        target: Target,
        source: Source,
    ) -> Result<Registered, RegisterError> {
        let read = read(source)?;
        let triggers = self.triggers(&read.definition)?;
        for _ in 0..TRIES_MAX {
            let name = &read.definition.name;
            let of_name = self.store.workflow_by_name(workspace, name).await?;
            let before = match target {
                Target::Existing(id) => {
                    let own = self.store.workflow(workspace, id).await?;
                    let own = own.ok_or(RegisterError::Unknown)?;
                    if of_name.is_some_and(|other| other.id != id) {
                        return Err(RegisterError::NameTaken(name.clone()));
                    }
                    Some(own)
                }
                Target::New if of_name.is_some() => {
                    return Err(RegisterError::NameTaken(name.clone()));
                }
                Target::New => None,
                Target::ByName => of_name,
            };
            if let Some(before) = &before
                && self.is_same(before, &read).await?
            {
                return Ok(registered(before.clone(), Outcome::Unchanged, read));
            }
            let outcome = match before {
                Some(_) => Outcome::Updated,
                None => Outcome::Created,
            };
            let put = self.put(workspace, before, &read, &triggers);
            if let Some(workflow) = self.store_put(put, outcome).await? {
                return Ok(registered(workflow, outcome, read));
            }
        }
        Err(RegisterError::Busy)
    }

    /// Removes a workflow. Answers what it was.
    ///
    /// # Errors
    /// See [`RegisterError`].
    pub async fn remove(
        &self,
        workspace: WorkspaceId,
        id: WorkflowId,
    ) -> Result<Workflow, RegisterError> {
        let workflow = self.store.workflow(workspace, id).await?;
        let workflow = workflow.ok_or(RegisterError::Unknown)?;
        let mut planned = self.outbox.plan(
            workspace,
            vec![told("workflow.definition.deleted", &workflow)],
        );
        let events = planned.take_events();
        match self.store.delete_workflow(workspace, id, events).await {
            Ok(Some(accepted)) => {
                planned.stored(accepted);
                Ok(workflow)
            }
            Ok(None) => {
                planned.left_out();
                Err(RegisterError::Unknown)
            }
            Err(error) => {
                planned.left_out();
                Err(error.into())
            }
        }
    }

    /// Whether a workflow's newest version came of the same source.
    async fn is_same(&self, before: &Workflow, read: &Read) -> Result<bool, StoreError> {
        let newest = self
            .store
            .workflow_version(before.workspace, before.id, before.version)
            .await?;
        Ok(newest.is_some_and(|newest| {
            newest.source == read.source && before.name == read.definition.name
        }))
    }

    fn put(
        &self,
        workspace: WorkspaceId,
        before: Option<Workflow>,
        read: &Read,
        triggers: &[(TriggerSpec, Option<domain::Timestamp>)],
    ) -> PutWorkflow {
        let now = self.edge.clock.now();
        let definition = &read.definition;
        let expected = before.as_ref().map(|before| before.version);
        let label = match &before {
            Some(before) if !read.is_labelled => next_label(&before.label),
            _ => definition.version.clone(),
        };
        let id = before.as_ref().map_or_else(
            || WorkflowId::new(self.edge.ids.next_id()),
            |before| before.id,
        );
        let number = expected.unwrap_or(0) + 1;
        let workflow = Workflow {
            workspace,
            id,
            name: definition.name.clone(),
            description: definition.description.clone(),
            version: number,
            label: label.clone(),
            created_at: before.map_or(now, |before| before.created_at),
            updated_at: now,
        };
        let version = WorkflowVersion {
            workspace,
            workflow: id,
            number,
            label,
            source: read.source.clone(),
            definition: read.stored.clone(),
            created_at: now,
        };
        let triggers = triggers.iter().map(|(spec, next_at)| Trigger {
            workspace,
            id: TriggerId::new(self.edge.ids.next_id()),
            workflow: id,
            // Sources are found by their names, so that a file may come before them.
            source: None,
            next_at: *next_at,
            config: json!(spec),
            key: None,
            of_definition: true,
            active: true,
            created_at: now,
            updated_at: now,
        });
        PutWorkflow {
            triggers: triggers.collect(),
            workflow,
            expected,
            version,
            events: Vec::new(),
        }
    }

    async fn store_put(
        &self,
        mut put: PutWorkflow,
        outcome: Outcome,
    ) -> Result<Option<Workflow>, StoreError> {
        let workflow = put.workflow.clone();
        let name = match outcome {
            Outcome::Created => "workflow.definition.created",
            _ => "workflow.definition.updated",
        };
        let mut planned = self
            .outbox
            .plan(workflow.workspace, vec![told(name, &workflow)]);
        put.events = planned.take_events();
        match self.store.put_workflow(put).await {
            Ok(Some(accepted)) => {
                planned.stored(accepted);
                Ok(Some(workflow))
            }
            Ok(None) => {
                planned.left_out();
                Ok(None)
            }
            Err(error) => {
                planned.left_out();
                Err(error)
            }
        }
    }

    /// The triggers that a definition brings along, and when those by the clock fire first.
    fn triggers(
        &self,
        definition: &Definition,
    ) -> Result<Vec<(TriggerSpec, Option<domain::Timestamp>)>, RegisterError> {
        let now = self.edge.clock.now();
        let mut triggers = Vec::new();
        let mut wrong = Vec::new();
        for (index, spec) in definition.triggers.iter().enumerate() {
            let mut next_at = None;
            if let TriggerSpec::Schedule { cron, timezone } = spec {
                let refused = match next_after(cron, timezone, now) {
                    Ok(Some(at)) => {
                        next_at = Some(at);
                        None
                    }
                    Ok(None) => Some(format!("the schedule `{cron}` never fires")),
                    Err(error) => Some(format!(
                        "the schedule `{cron}` in `{timezone}` cannot be followed: {error}"
                    )),
                };
                wrong.extend(refused.map(|message| {
                    let path = format!("triggers[{index}].schedule");
                    Diagnostic::error("value.schedule", message).at(path, file::Span::default())
                }));
            }
            triggers.push((spec.clone(), next_at));
        }
        if wrong.is_empty() {
            Ok(triggers)
        } else {
            Err(RegisterError::Invalid(wrong))
        }
    }
}

fn read(source: Source) -> Result<Read, RegisterError> {
    let (loaded, source) = match source {
        Source::File(text) => (file::read(&text), text),
        Source::NamedFile { name, text } => (file::read_as(&name, &text), text),
        Source::Json { name, config } => {
            let loaded = file::read_json(&name, &config);
            (loaded, Bytes::from(config.to_string()))
        }
    };
    let Loaded {
        definition,
        warnings,
        is_labelled,
    } = loaded.map_err(RegisterError::Invalid)?;
    let stored = serde_json::to_vec(&definition).expect("a definition has text keys only");
    Ok(Read {
        definition,
        warnings,
        source,
        stored: stored.into(),
        is_labelled,
    })
}

fn registered(workflow: Workflow, outcome: Outcome, read: Read) -> Registered {
    Registered {
        workflow,
        outcome,
        definition: Arc::new(read.definition),
        warnings: read.warnings,
    }
}

/// What is called `1.0.0` and then gets a new version without a name of its own is `1.0.1`.
fn next_label(label: &str) -> String {
    let next = label.rsplit_once('.').and_then(|(head, last)| {
        let last: u32 = last.parse().ok()?;
        Some(format!("{head}.{}", last.checked_add(1)?))
    });
    next.unwrap_or_else(|| label.to_owned())
}

fn told(name: &'static str, workflow: &Workflow) -> Occurrence {
    let data = json!({
        "id": workflow.id,
        "name": workflow.name,
        "version": workflow.label,
    });
    Occurrence {
        event_type: EventType::parse(name).expect("a name of the catalogue"),
        data: canonical(&data),
        hops: 0,
    }
}
