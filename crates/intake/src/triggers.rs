//! Triggers as people manage them: what a source's requests start, and URLs of their own (S4).

use domain::{TriggerId, WorkflowId, WorkspaceId, intake::Trigger, jq::Expression};
use serde_json::{Map, Value};
use store::{Page, StoreError};
use zeroize::Zeroizing;

use crate::{
    Intake,
    index::key_context,
    sources::{FieldFault, ManageError, later},
};

/// What a person sets of a trigger; `None` leaves it as it is, `Some(None)` removes it.
#[derive(Clone, Debug, Default)]
pub struct TriggerInput {
    /// The source that fires it, by name or id; without one it gets a URL and a key of its own.
    /// Only on creation.
    pub source: Option<String>,
    /// Which payloads start the workflow: a jq condition.
    pub filter: Option<Option<String>>,
    /// What makes the inputs of the payload: a jq expression.
    pub map: Option<Option<String>>,
    /// Whether it fires.
    pub active: Option<bool>,
}

/// A trigger whose key was made: the only time that it is told.
pub struct WithKey {
    /// The record.
    pub trigger: Trigger,
    /// The key, if it has a URL of its own.
    pub key: Option<Zeroizing<String>>,
}

impl Intake {
    /// Makes a trigger of a workflow.
    ///
    /// # Errors
    /// If there is no such workflow, or a field is refused.
    pub async fn create_trigger(
        &self,
        workspace: WorkspaceId,
        workflow: WorkflowId,
        input: TriggerInput,
    ) -> Result<WithKey, ManageError> {
        let parts = &self.shared.parts;
        if parts
            .workflows
            .workflow(workspace, workflow)
            .await?
            .is_none()
        {
            return Err(ManageError::NotFound("workflow"));
        }
        let now = self.now();
        let mut faults = Vec::new();
        let mut config = Map::new();
        let mut source = None;
        if let Some(asked) = &input.source {
            config.insert("on".to_owned(), "webhook".into());
            let index = self.index();
            let found = match asked.parse() {
                Ok(id) => index.source_by_id(id),
                Err(_) => index.source(asked),
            };
            match found.filter(|entry| entry.source.workspace == workspace) {
                Some(entry) => {
                    source = Some(entry.source.id);
                    config.insert("source".to_owned(), entry.source.name.clone().into());
                }
                None => faults.push(FieldFault::new(
                    "source",
                    "is the name or id of a source: there is none like it",
                )),
            }
        } else {
            config.insert("on".to_owned(), "request".into());
        }
        let mut trigger = Trigger {
            workspace,
            id: TriggerId::new(parts.edge.ids.next_id()),
            workflow,
            source,
            next_at: None,
            config: Value::Object(config),
            key: None,
            of_definition: false,
            active: true,
            created_at: now,
            updated_at: now,
        };
        apply(&mut trigger, &input, &mut faults);
        if !faults.is_empty() {
            return Err(ManageError::Invalid(faults));
        }
        let key = source.is_none().then(|| self.give_key(&mut trigger));
        parts.workflows.create_trigger(trigger.clone()).await?;
        self.reload().await?;
        Ok(WithKey { trigger, key })
    }

    /// Changes what `input` names of a trigger. One that came with a workflow's file can only be
    /// switched on and off.
    ///
    /// # Errors
    /// If there is none, a field is refused, or it was changed meanwhile.
    pub async fn update_trigger(
        &self,
        workspace: WorkspaceId,
        id: TriggerId,
        input: TriggerInput,
    ) -> Result<Trigger, ManageError> {
        let mut trigger = self.find_trigger(workspace, id).await?;
        let mut faults = Vec::new();
        if input.source.is_some() {
            let message = "cannot be changed: make a new trigger for another source";
            faults.push(FieldFault::new("source", message));
        }
        if trigger.of_definition && (input.filter.is_some() || input.map.is_some()) {
            let message = "is set in the workflow's file: change it there";
            let path = if input.filter.is_some() {
                "filter"
            } else {
                "map"
            };
            faults.push(FieldFault::new(path, message));
        }
        apply(&mut trigger, &input, &mut faults);
        if !faults.is_empty() {
            return Err(ManageError::Invalid(faults));
        }
        self.replace_trigger(trigger).await
    }

    /// Gives a trigger with a URL of its own a new key; the old one is void at once.
    ///
    /// # Errors
    /// If there is none, or it has no key.
    pub async fn rotate_trigger_key(
        &self,
        workspace: WorkspaceId,
        id: TriggerId,
    ) -> Result<WithKey, ManageError> {
        let mut trigger = self.find_trigger(workspace, id).await?;
        if trigger.key.is_none() {
            let message = "this trigger has no key: its source's secret signs; rotate that";
            return Err(ManageError::Invalid(vec![FieldFault::new("", message)]));
        }
        let key = self.give_key(&mut trigger);
        let trigger = self.replace_trigger(trigger).await?;
        Ok(WithKey {
            trigger,
            key: Some(key),
        })
    }

    /// Removes a trigger.
    ///
    /// # Errors
    /// If there is none, or it came with a workflow's file.
    pub async fn delete_trigger(
        &self,
        workspace: WorkspaceId,
        id: TriggerId,
    ) -> Result<(), ManageError> {
        let trigger = self.find_trigger(workspace, id).await?;
        if trigger.of_definition {
            let message =
                "this trigger is in the workflow's file: take it out there, or switch it off";
            return Err(ManageError::Invalid(vec![FieldFault::new("", message)]));
        }
        if !self
            .shared
            .parts
            .workflows
            .delete_trigger(workspace, id)
            .await?
        {
            return Err(ManageError::NotFound("trigger"));
        }
        Ok(self.reload().await?)
    }

    /// One trigger.
    ///
    /// # Errors
    /// If there is none.
    pub async fn find_trigger(
        &self,
        workspace: WorkspaceId,
        id: TriggerId,
    ) -> Result<Trigger, ManageError> {
        // The store lists from after an id, so this reads the one record from just before it.
        let before = id.uuid().as_u128().checked_sub(1);
        let page = Page {
            after: before.map(|number| TriggerId::new(uuid::Uuid::from_u128(number))),
            limit: 1,
        };
        let found = self.triggers(workspace, None, page).await?;
        found
            .into_iter()
            .find(|trigger| trigger.id == id)
            .ok_or(ManageError::NotFound("trigger"))
    }

    /// A workspace's triggers, of one workflow or of all, oldest first.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn triggers(
        &self,
        workspace: WorkspaceId,
        workflow: Option<WorkflowId>,
        page: Page<TriggerId>,
    ) -> Result<Vec<Trigger>, StoreError> {
        let workflows = &self.shared.parts.workflows;
        workflows.triggers(workspace, workflow, page).await
    }

    async fn replace_trigger(&self, mut trigger: Trigger) -> Result<Trigger, ManageError> {
        let expected = trigger.updated_at;
        trigger.updated_at = later(self.now(), expected);
        let workflows = &self.shared.parts.workflows;
        if !workflows.update_trigger(trigger.clone(), expected).await? {
            return Err(ManageError::Changed);
        }
        self.reload().await?;
        Ok(trigger)
    }

    fn give_key(&self, trigger: &mut Trigger) -> Zeroizing<String> {
        let key = self.random_hex();
        trigger.key = Some(self.seal(key.as_bytes(), &key_context(trigger)));
        key
    }
}

fn apply(trigger: &mut Trigger, input: &TriggerInput, faults: &mut Vec<FieldFault>) {
    for (name, value) in [("filter", &input.filter), ("map", &input.map)] {
        let Some(value) = value else {
            continue;
        };
        let Some(config) = trigger.config.as_object_mut() else {
            continue;
        };
        match value {
            None => {
                config.remove(name);
            }
            Some(text) => {
                if let Err(error) = Expression::parse(text) {
                    let message = format!("is no jq expression: {error}");
                    faults.push(FieldFault::new(name, &message));
                }
                config.insert(name.to_owned(), text.clone().into());
            }
        }
    }
    if let Some(active) = input.active {
        trigger.active = active;
    }
}
