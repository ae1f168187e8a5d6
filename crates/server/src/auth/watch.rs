//! Sees to it that what other nodes change of people, roles and keys counts here: what is
//! remembered of them is forgotten, and local mode ends with the first user.
//!
//! The pipeline tells of changes, and may miss some; so local mode, which lets everybody in, also
//! asks the store itself, every second.

use std::time::Duration;

use store::StoreError;
use tokio::{
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use crate::SharedApp;

/// How often local mode asks whether there is a user by now.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long to wait before the task is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// People, roles or keys were changed, perhaps by another node: nothing that is remembered of
/// them counts any more, and if there is a user now, local mode ends.
///
/// # Errors
/// If the store fails; what is remembered is forgotten all the same.
pub async fn access_changed(app: &SharedApp) -> Result<(), StoreError> {
    let gate = &app.gatekeeper;
    gate.forget_all();
    if gate.is_local() && app.store().user_count().await? > 0 {
        gate.end_local_mode();
        tracing::info!("there is a user now: local mode has ended");
    }
    Ok(())
}

/// Watches in the background until the task is aborted. Where nobody else can change anything,
/// there is nothing to watch.
pub fn spawn(app: &SharedApp) -> JoinHandle<()> {
    let app = app.clone();
    tokio::spawn(async move {
        while app.store().is_shared() {
            // Ends its task when this one is aborted.
            let mut watching = JoinSet::new();
            watching.spawn(watch(app.clone()));
            let ended = watching.join_next().await;
            tracing::error!(
                error = ?ended.and_then(Result::err),
                "watching for changes of access ended; starting it again"
            );
            sleep(RESTART_PAUSE).await;
        }
    })
}

async fn watch(app: SharedApp) {
    let mut news = app.pipeline.on_access_change();
    loop {
        tokio::select! {
            changed = news.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = sleep(LOOK_EVERY), if app.gatekeeper.is_local() => {}
        }
        if let Err(error) = access_changed(&app).await {
            tracing::debug!(%error, "failed to look for users");
        }
    }
}
