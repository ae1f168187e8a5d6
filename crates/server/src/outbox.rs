//! The delivery pipeline as the outbox of executions: what happens in them is told by events that
//! are stored in the same transaction, and delivered like any other.

use delivery::{
    Pipeline,
    accept::{Plan, Publish},
};
use domain::{WorkspaceId, event::EventType};
use store::{Accepted, NewEvent};
use workflow::outbox::{Occurrence, Outbox, Planned};

/// Plans events with the pipeline.
pub(crate) struct PipelineOutbox(pub Pipeline);

impl Outbox for PipelineOutbox {
    fn wants(&self, workspace: WorkspaceId, event_type: &EventType) -> bool {
        self.0.is_wanted(workspace, event_type)
    }

    fn plan(&self, workspace: WorkspaceId, occurrences: Vec<Occurrence>) -> Box<dyn Planned> {
        let batch = occurrences.into_iter().map(publish).collect();
        Box::new(PlannedEvents(self.0.plan(workspace, batch)))
    }
}

fn publish(occurrence: Occurrence) -> Publish {
    Publish {
        event_type: occurrence.event_type,
        data: occurrence.data,
        id: None,
        timestamp: None,
        hops: occurrence.hops,
        idempotency_key: None,
    }
}

struct PlannedEvents(Plan);

impl Planned for PlannedEvents {
    fn take_events(&mut self) -> Vec<NewEvent> {
        self.0.take_events()
    }

    fn stored(self: Box<Self>, accepted: Vec<Accepted>) {
        self.0.stored(accepted);
    }

    fn left_out(self: Box<Self>) {
        self.0.left_out();
    }
}
