//! Those who wait for a batch, told at once.
//!
//! Waking a task from a thread that is none of its runtime's costs far more than waking it from
//! within. So the writer hands a batch's outcomes to one task of the runtime that asks, which
//! wakes all the others there; measured, that saves a tenth of what a busy store costs. The task
//! belongs to the runtime that asked first; who asks from another one, or from none, is told by
//! the writer itself.

use std::sync::OnceLock;

use tokio::{
    runtime::{Handle, Id},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

use super::writer::Transition;
use crate::StoreError;

/// Up to this many are told by the writer itself: that is as cheap, and one hop shorter.
const FEW: usize = 2;

struct Batch {
    transitions: Vec<Box<dyn Transition>>,
    commit: Result<(), StoreError>,
}

/// The way to the task that tells them.
#[derive(Default)]
pub(super) struct Waiters {
    home: OnceLock<(Id, UnboundedSender<Batch>)>,
}

impl Waiters {
    /// Whether whoever asks now can be told by that task; starts it the first time.
    pub(super) fn are_home(&self) -> bool {
        let Ok(runtime) = Handle::try_current() else {
            return false;
        };
        let (home, _) = self.home.get_or_init(|| {
            let (way, batches) = unbounded_channel();
            runtime.spawn(tell_all(batches));
            (runtime.id(), way)
        });
        *home == runtime.id()
    }

    /// Tells all of them how the commit went; leaves `transitions` empty.
    pub(super) fn tell(
        &self,
        transitions: &mut Vec<Box<dyn Transition>>,
        commit: &Result<(), StoreError>,
    ) {
        let mut rest = Vec::new();
        match self.home.get() {
            Some((_, way)) if transitions.len() > FEW => {
                let (there, elsewhere) = transitions
                    .drain(..)
                    .partition(|transition| transition.is_home());
                rest = elsewhere;
                if let Err(gone) = way.send(Batch {
                    transitions: there,
                    commit: commit.clone(),
                }) {
                    // The runtime has ended; so have its tasks, most likely.
                    rest.extend(gone.0.transitions);
                }
            }
            _ => rest.append(transitions),
        }
        for transition in rest {
            transition.answer(commit.clone());
        }
    }
}

async fn tell_all(mut batches: UnboundedReceiver<Batch>) {
    while let Some(batch) = batches.recv().await {
        for transition in batch.transitions {
            transition.answer(batch.commit.clone());
        }
    }
}
