//! Definitions, ready to run: each version is read from the store and prepared once.

use std::sync::Arc;

use domain::{
    WorkflowId, WorkspaceId,
    jq::{Expression, JqError},
    workflow::{
        definition::{Definition, NodeKind},
        program::{Program, ProgramError},
    },
};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use store::{Limit, SharedStore, StoreError, Workflow};

/// How many versions are kept prepared.
const KEPT_MAX: usize = 1_000;
/// How many names are remembered.
const NAMES_MAX: usize = 10_000;

/// A version of a workflow, prepared.
#[derive(Debug)]
pub struct Prepared {
    /// The workflow.
    pub workflow: WorkflowId,
    /// The version's number.
    pub version: u32,
    /// Its graph.
    pub program: Arc<Program>,
    /// The jq expression of each node that has one.
    expressions: Vec<Option<Expression>>,
}

impl Prepared {
    /// Prepares a definition.
    ///
    /// # Errors
    /// If it cannot be run: it did not come from the reader then.
    pub fn new(
        workflow: WorkflowId,
        version: u32,
        definition: Definition,
    ) -> Result<Self, PrepareError> {
        let expressions = definition
            .nodes
            .iter()
            .map(|node| match &node.kind {
                NodeKind::Transform { jq } => Expression::parse(jq).map(Some),
                _ => Ok(None),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            workflow,
            version,
            program: Arc::new(Program::new(definition)?),
            expressions,
        })
    }

    /// What it was made of.
    pub fn definition(&self) -> &Definition {
        self.program.definition()
    }

    /// The jq expression of a node.
    pub fn expression(&self, node: usize) -> Option<&Expression> {
        self.expressions.get(node)?.as_ref()
    }

    /// Its concurrency, as the store wants it.
    pub fn limit(&self) -> Option<Limit> {
        let definition = self.definition();
        definition.concurrency.map(|max| Limit {
            max,
            on_conflict: definition.on_conflict,
        })
    }
}

/// Why a version cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such version.
    #[error("there is no such version of the workflow")]
    Unknown,
    /// What is stored is no definition that this program can run.
    #[error("the stored definition cannot be run: {0}")]
    Definition(String),
}

impl From<ProgramError> for PrepareError {
    fn from(error: ProgramError) -> Self {
        Self::Definition(error.to_string())
    }
}

impl From<JqError> for PrepareError {
    fn from(error: JqError) -> Self {
        Self::Definition(error.to_string())
    }
}

type Versions = FxHashMap<(WorkflowId, u32), Arc<Prepared>>;
type Names = FxHashMap<(WorkspaceId, String), Arc<Workflow>>;
type Ids = FxHashMap<(WorkspaceId, WorkflowId), Arc<Workflow>>;

/// Versions that were prepared, and workflows by name.
#[derive(Default)]
pub struct Programs {
    versions: Mutex<Versions>,
    names: Mutex<Names>,
    ids: Mutex<Ids>,
}

impl Programs {
    /// A version, prepared.
    ///
    /// # Errors
    /// See [`PrepareError`].
    pub async fn get(
        &self,
        store: &SharedStore,
        workspace: WorkspaceId,
        workflow: WorkflowId,
        version: u32,
    ) -> Result<Arc<Prepared>, PrepareError> {
        let key = (workflow, version);
        if let Some(found) = self.versions.lock().get(&key) {
            return Ok(Arc::clone(found));
        }
        let stored = store
            .workflow_version(workspace, workflow, version)
            .await?
            .ok_or(PrepareError::Unknown)?;
        let definition: Definition = serde_json::from_slice(&stored.definition)
            .map_err(|error| PrepareError::Definition(error.to_string()))?;
        let prepared = Arc::new(Prepared::new(workflow, version, definition)?);
        let mut versions = self.versions.lock();
        if versions.len() >= KEPT_MAX {
            versions.clear();
        }
        versions.insert(key, Arc::clone(&prepared));
        Ok(prepared)
    }

    /// The workflow of this name, as it was last read.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn by_name(
        &self,
        store: &SharedStore,
        workspace: WorkspaceId,
        name: &str,
    ) -> Result<Option<Arc<Workflow>>, StoreError> {
        let key = (workspace, name.to_owned());
        if let Some(found) = self.names.lock().get(&key) {
            return Ok(Some(Arc::clone(found)));
        }
        let Some(workflow) = store.workflow_by_name(workspace, name).await? else {
            return Ok(None);
        };
        let workflow = Arc::new(workflow);
        let mut names = self.names.lock();
        if names.len() >= NAMES_MAX {
            names.clear();
        }
        names.insert(key, Arc::clone(&workflow));
        Ok(Some(workflow))
    }

    /// The workflow of this id, as it was last read.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn by_id(
        &self,
        store: &SharedStore,
        workspace: WorkspaceId,
        id: WorkflowId,
    ) -> Result<Option<Arc<Workflow>>, StoreError> {
        if let Some(found) = self.ids.lock().get(&(workspace, id)) {
            return Ok(Some(Arc::clone(found)));
        }
        let Some(workflow) = store.workflow(workspace, id).await? else {
            return Ok(None);
        };
        let workflow = Arc::new(workflow);
        let mut ids = self.ids.lock();
        if ids.len() >= NAMES_MAX {
            ids.clear();
        }
        ids.insert((workspace, id), Arc::clone(&workflow));
        Ok(Some(workflow))
    }

    /// Forgets which version is each workflow's newest: something was changed.
    pub fn forget_names(&self) {
        self.names.lock().clear();
        self.ids.lock().clear();
    }
}
