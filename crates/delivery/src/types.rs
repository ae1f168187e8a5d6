//! Event types: the catalogue's and each workspace's own.

use std::sync::Arc;

use domain::{
    WorkspaceId,
    catalogue::{self, CompiledSchema},
    event::EventType,
    nearest::nearest,
};
use store::{CustomEventType, StoreError};

use crate::{Pipeline, Shared};

/// A custom event type as it is checked on publish.
#[derive(Debug)]
pub struct KnownType {
    /// Its record.
    pub record: CustomEventType,
    /// Its compiled schema, where it has one that is enforced.
    pub enforced: Option<CompiledSchema>,
}

/// Why a custom event type was not stored.
#[derive(Debug, thiserror::Error)]
pub enum TypeError {
    /// The catalogue or the workspace has one of that name.
    #[error("there is an event type `{0}` already")]
    Taken(EventType),
    /// There is none of that name among the workspace's own.
    #[error("there is no custom event type `{0}`")]
    Unknown(String),
    /// Schema or example is wrong.
    #[error("{path}: {message}")]
    Invalid {
        /// The field.
        path: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Pipeline {
    /// Registers a workspace's own event type.
    ///
    /// # Errors
    /// If the name is taken, or schema or example is wrong.
    pub async fn create_event_type(&self, record: CustomEventType) -> Result<(), TypeError> {
        if catalogue::find(record.name.as_str()).is_some() {
            return Err(TypeError::Taken(record.name));
        }
        let known = known(record.clone())?;
        if !self.shared.store.create_event_type(record.clone()).await? {
            return Err(TypeError::Taken(record.name));
        }
        self.shared.subscriptions.put_type(Arc::new(known));
        Ok(())
    }

    /// Replaces a workspace's own event type.
    ///
    /// # Errors
    /// If there is none of that name, or schema or example is wrong.
    pub async fn update_event_type(&self, record: CustomEventType) -> Result<(), TypeError> {
        let known = known(record.clone())?;
        if !self.shared.store.update_event_type(record.clone()).await? {
            return Err(TypeError::Unknown(record.name.to_string()));
        }
        self.shared.subscriptions.put_type(Arc::new(known));
        Ok(())
    }

    /// Removes a workspace's own event type.
    ///
    /// # Errors
    /// If there is none of that name.
    pub async fn delete_event_type(
        &self,
        workspace: WorkspaceId,
        name: &str,
    ) -> Result<(), TypeError> {
        if !self.shared.store.delete_event_type(workspace, name).await? {
            return Err(TypeError::Unknown(name.to_owned()));
        }
        self.shared.subscriptions.remove_type(workspace, name);
        Ok(())
    }

    /// Whether `name` is in the catalogue or one of the workspace's own types.
    pub fn knows_type(&self, workspace: WorkspaceId, name: &str) -> bool {
        self.shared.knows_type(workspace, name)
    }

    /// The known event type nearest to `name`, if one is near.
    pub fn nearest_type(&self, workspace: WorkspaceId, name: &str) -> Option<String> {
        self.shared.nearest_type(workspace, name)
    }
}

impl Shared {
    pub fn knows_type(&self, workspace: WorkspaceId, name: &str) -> bool {
        catalogue::find(name).is_some() || self.subscriptions.known_type(workspace, name).is_some()
    }

    pub fn nearest_type(&self, workspace: WorkspaceId, name: &str) -> Option<String> {
        let own = self.subscriptions.type_names(workspace);
        let known = catalogue::names()
            .map(str::to_owned)
            .chain(own)
            .collect::<Vec<_>>();
        nearest(name, known.iter().map(String::as_str)).map(str::to_owned)
    }
}

/// Compiles a custom type's schema and checks its example.
pub(crate) fn known(record: CustomEventType) -> Result<KnownType, TypeError> {
    let schema = record
        .schema
        .as_deref()
        .map(catalogue::check_schema)
        .transpose()
        .map_err(|error| TypeError::Invalid {
            path: "schema",
            message: error.to_string(),
        })?;
    if record.enforce && schema.is_none() {
        return Err(TypeError::Invalid {
            path: "enforce",
            message: "needs a schema to enforce".to_owned(),
        });
    }
    if let (Some(schema), Some(example)) = (&schema, &record.example) {
        let value = serde_json::from_str(example).map_err(|error| TypeError::Invalid {
            path: "example",
            message: error.to_string(),
        })?;
        if let Some(violation) = schema.validate(&value).first() {
            return Err(TypeError::Invalid {
                path: "example",
                message: format!("does not fit the schema: {violation}"),
            });
        }
    }
    let enforced = schema.filter(|_| record.enforce);
    Ok(KnownType { record, enforced })
}
