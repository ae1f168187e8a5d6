//! Triggers by the clock: each turn starts one execution, and moves the trigger to its next, in one
//! transaction; whoever comes second finds it moved.
//!
//! Turns that were missed while nothing ran are made up for once, not one by one.

use std::{str::FromStr as _, sync::Arc, time::Duration};

use croner::Cron;
use domain::{Timestamp, execution::Cause, intake::Trigger, workflow::definition::TriggerSpec};
use jiff::tz::TimeZone;
use serde_json::Map;
use store::StoreError;

use crate::{
    Shared,
    start::{Request, WorkflowRef},
};

/// The most triggers that are fired at once.
const FIRED_MAX: usize = 100;
/// The pause after a failure of the store.
const PAUSE: Duration = Duration::from_secs(1);

/// The first time after `after` at which a cron expression fires, if it ever does.
///
/// # Errors
/// If the expression or the time zone is none.
pub fn next_after(
    cron: &str,
    timezone: &str,
    after: Timestamp,
) -> Result<Option<Timestamp>, String> {
    let cron = Cron::from_str(cron).map_err(|error| error.to_string())?;
    let zone = if timezone.is_empty() || timezone == "UTC" {
        TimeZone::UTC
    } else {
        TimeZone::get(timezone).map_err(|error| error.to_string())?
    };
    let after = jiff::Timestamp::from_millisecond(after.ms()).map_err(|error| error.to_string())?;
    let next = cron.find_next_occurrence(&after.to_zoned(zone), false);
    Ok(next
        .ok()
        .map(|next| Timestamp::from_ms(next.timestamp().as_millisecond())))
}

/// Fires triggers until the engine stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        let bell = shared.schedule_bell.notified();
        match step(&shared).await {
            Ok(FIRED_MAX..) => continue,
            Ok(_) => {}
            Err(StoreError::Closed) => return std::future::pending().await,
            Err(error) => {
                tracing::warn!(%error, "failed to fire triggers; trying again");
                tokio::time::sleep(PAUSE).await;
            }
        }
        let wait = match shared.store.next_trigger_due().await {
            Ok(Some(at)) => at.since(shared.now()).min(shared.settings.poll_every),
            _ => shared.settings.poll_every,
        };
        let _ = tokio::time::timeout(wait.max(Duration::from_millis(5)), bell).await;
    }
}

/// Fires what is due; answers how many triggers that was.
pub(crate) async fn step(shared: &Arc<Shared>) -> Result<usize, StoreError> {
    let now = shared.now();
    let due = shared.store.due_triggers(now, FIRED_MAX).await?;
    let fired = due.len();
    for trigger in due {
        fire(shared, trigger, now).await?;
    }
    Ok(fired)
}

async fn fire(shared: &Arc<Shared>, trigger: Trigger, now: Timestamp) -> Result<(), StoreError> {
    let Some(at) = trigger.next_at else {
        return Ok(());
    };
    let next = match serde_json::from_value(trigger.config.clone()) {
        Ok(TriggerSpec::Schedule { cron, timezone }) => {
            next_after(&cron, &timezone, now).unwrap_or_default()
        }
        _ => None,
    };
    let request = Request {
        workspace: trigger.workspace,
        workflow: WorkflowRef::Id(trigger.workflow),
        version: None,
        input: Map::new(),
        cause: Cause::Schedule {
            trigger: trigger.id,
            at,
        },
        offline: false,
    };
    match shared.ask(request).await {
        Ok(mut asked) => {
            // Its events are told by the execution's first step: a turn that somebody else took
            // must leave nothing behind.
            let lease = shared.store.lease();
            asked.tell_later();
            let start = asked.start();
            let fired = shared
                .store
                .fire_trigger(trigger.workspace, trigger.id, at, next, start)
                .await;
            match fired {
                Ok(Some(started)) => drop(shared.begun(asked, started, lease)),
                Ok(None) => shared.not_begun(&asked),
                Err(error) => {
                    shared.not_begun(&asked);
                    return Err(error);
                }
            }
        }
        Err(error) => {
            tracing::error!(trigger = %trigger.id, %error, "a schedule could not start its workflow");
            skip(shared, &trigger, at, next, now).await?;
        }
    }
    Ok(())
}

/// Moves a trigger whose workflow cannot be started to its next turn.
async fn skip(
    shared: &Shared,
    trigger: &Trigger,
    at: Timestamp,
    next: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let moved = Trigger {
        next_at: next,
        updated_at: now,
        ..trigger.clone()
    };
    let expected = trigger.updated_at;
    if !shared.store.update_trigger(moved, expected).await? {
        tracing::debug!(trigger = %trigger.id, at = %at, "somebody else has moved it");
    }
    Ok(())
}
