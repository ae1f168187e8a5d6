//! What a publisher should know of an event that was taken all the same.

use domain::{WorkspaceId, event::EventType};

use crate::SharedApp;

/// Many receivers refuse bodies above this many bytes.
const BODY_BYTES: usize = 100 * 1024;

/// The warnings of one event, `data_bytes` of canonical data; usually none.
pub fn warnings(app: &SharedApp, workspace: WorkspaceId, event_type: &EventType, data_bytes: usize) -> Vec<String> {
    let mut warnings = Vec::new();
    if !app.pipeline.knows_type(workspace, event_type.as_str()) {
        warnings.push(unknown_type(app, workspace, event_type));
    }
    if data_bytes > BODY_BYTES {
        warnings.push(format!("the data has {data_bytes} bytes; many receivers refuse bodies above 100 KB"));
    }
    warnings
}

#[cold]
fn unknown_type(app: &SharedApp, workspace: WorkspaceId, event_type: &EventType) -> String {
    let nearest = app.pipeline.nearest_type(workspace, event_type.as_str());
    let hint = nearest.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    format!("`{event_type}` is not a known event type{hint}")
}
