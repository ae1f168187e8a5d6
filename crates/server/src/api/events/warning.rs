//! What a publisher should know of an event that was taken all the same.

use std::sync::Arc;

use domain::{WorkspaceId, event::EventType};
use parking_lot::RwLock;
use rustc_hash::FxHashMap;

use crate::SharedApp;

/// Many receivers refuse bodies above this many bytes.
const BODY_BYTES: usize = 100 * 1024;
/// The most unknown types that are remembered.
const REMEMBERED_MAX: usize = 1_000;

/// Makes the warnings of events. It remembers those of unknown types: looking for the nearest
/// known one takes longer than all else of a publish. (So a type that was registered since is not
/// suggested until the memory is full and begins anew; one that has become known is never warned
/// of.)
#[derive(Clone, Default)]
pub struct Warner(Arc<RwLock<Unknown>>);

/// The warnings of types that are not known.
type Unknown = FxHashMap<(WorkspaceId, EventType), Arc<str>>;

impl Warner {
    /// The warnings of one event with `data_bytes` of canonical data; usually none.
    pub fn warnings(
        &self,
        app: &SharedApp,
        workspace: WorkspaceId,
        event_type: &EventType,
        data_bytes: usize,
    ) -> Vec<Arc<str>> {
        let mut warnings = Vec::new();
        if !app.pipeline.knows_type(workspace, event_type.as_str()) {
            warnings.push(self.unknown_type(app, workspace, event_type));
        }
        if data_bytes > BODY_BYTES {
            let text = format!(
                "the data has {data_bytes} bytes; many receivers refuse bodies above 100 KB"
            );
            warnings.push(text.into());
        }
        warnings
    }

    #[cold]
    fn unknown_type(
        &self,
        app: &SharedApp,
        workspace: WorkspaceId,
        event_type: &EventType,
    ) -> Arc<str> {
        let key = (workspace, event_type.clone());
        if let Some(known) = self.0.read().get(&key) {
            return Arc::clone(known);
        }
        let nearest = app.pipeline.nearest_type(workspace, event_type.as_str());
        let hint = nearest
            .map(|near| format!("; did you mean `{near}`?"))
            .unwrap_or_default();
        let warning: Arc<str> = format!("`{event_type}` is not a known event type{hint}").into();
        let mut remembered = self.0.write();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(key, Arc::clone(&warning));
        warning
    }
}
