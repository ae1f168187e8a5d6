//! Executions beside deliveries: the engine's parts, put together from what the operator set.
//!
//! Models, sandboxes and the engine are built here and nowhere else.

use std::sync::Arc;

use delivery::Pipeline;
use models::Models;
use sandbox::Sandbox;
use store::NodeRole;
use tokio::task::JoinHandle;
use url::Url;
use workflow::{Callbacks, Engine, Parts, Settings};

use crate::{
    callbacks::CallbackUrls, config::ServerConfig, outbox::PipelineOutbox, state::SharedApp,
};

/// What runs executions, and what their nodes wait for from outside.
pub struct Executions {
    /// Starts, runs, signals.
    pub engine: Engine,
    /// Where outside systems answer.
    pub callbacks: Arc<CallbackUrls>,
}

/// Puts the engine together beside a pipeline, with its store, its clock and its way out. Nothing
/// runs until it is spawned. `address` is where the server listens: what callbacks name where no
/// public URL is set. In `local_mode` nodes may run code.
pub fn build(
    config: &ServerConfig,
    pipeline: &Pipeline,
    address: &str,
    local_mode: bool,
) -> Executions {
    let base = public_url(config, address);
    let callbacks = Arc::new(CallbackUrls::new(base, pipeline.sealing()));
    let egress = pipeline.egress().clone();
    let models = models::Settings {
        offline: config.offline || config.models.offline,
        ..config.models.clone()
    };
    let sandbox = sandbox::Settings {
        program: config.program.clone(),
        // Whoever is alone on this machine may do all of this anyway.
        python: config.allow_code || local_mode,
    };
    let settings = Settings {
        // An execution whose models are the stand-in says so everywhere.
        offline: config.offline || config.models.offline,
        runs: config.node.role != NodeRole::Api,
        retention: config.retention,
        ..Settings::default()
    };
    let engine = Engine::new(Parts {
        store: Arc::clone(pipeline.store()),
        edge: pipeline.edge().clone(),
        outbox: Arc::new(PipelineOutbox(pipeline.clone())),
        callbacks: Arc::clone(&callbacks) as Arc<dyn Callbacks>,
        models: Models::new(models, egress.clone()),
        egress,
        sandbox: Sandbox::new(sandbox),
        settings,
    });
    Executions { engine, callbacks }
}

fn public_url(config: &ServerConfig, address: &str) -> Url {
    let told = config.public_url.clone();
    told.or_else(|| Url::parse(&format!("http://{address}")).ok())
        .unwrap_or_else(|| Url::parse("http://localhost").expect("a constant URL can be parsed"))
}

/// Keeps what is remembered of workflows, triggers and sources fresh: other nodes change them as
/// well.
pub(crate) fn watch(app: &SharedApp) -> JoinHandle<()> {
    let mut changes = app.pipeline.on_workflow_change();
    let app = Arc::clone(app);
    tokio::spawn(async move {
        // An error means that the pipeline is gone.
        while changes.changed().await.is_ok() {
            app.engine.programs().forget_names();
            app.engine.schedules_changed();
            app.reload_intake().await;
        }
    })
}
