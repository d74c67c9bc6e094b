//! The ingest stage and the webhook gateway as a process.

mod config;
mod secrets;
mod serve;
mod status;

use std::process::ExitCode;
use std::sync::Arc;

use sendplane_service::run::{self, About, Process};
use sendplane_stage_runtime::{NoEffects, StageHost};
use sendplane_stages::ingest::{Ingest, IngestCodec, IngestSettings};

const ABOUT: About =
    About { name: "ingest", about: "Admits requests; receives and parses Meta's webhooks." };

fn main() -> ExitCode {
    run::main(ABOUT, config::read, |process| {
        let own = &process.config.own;
        match (&own.stage, &own.gateway) {
            (Some(settings), Some(gateway)) => both(process, settings, gateway),
            (Some(settings), None) => stage(process, settings),
            (None, Some(gateway)) => serve::run(process, gateway),
            (None, None) => Ok(()),
        }
    })
}

/// Runs both; when one ends, so does the other.
fn both(
    process: &Process<config::Ingest>,
    settings: &IngestSettings,
    gateway: &config::Gateway,
) -> anyhow::Result<()> {
    std::thread::scope(|scope| {
        let gateway = scope.spawn(|| {
            let ended = serve::run(process, gateway);
            process.stop();
            ended
        });
        let stage = stage(process, settings);
        process.stop();
        let gateway =
            gateway.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the gateway panicked")));
        stage.and(gateway)
    })
}

fn stage(process: &Process<config::Ingest>, settings: &IngestSettings) -> anyhow::Result<()> {
    process.run_stage(|schemas| {
        Ok(StageHost {
            stage: Ingest::new(settings.clone()),
            codec: Arc::new(IngestCodec::new(schemas)),
            effects: Arc::new(NoEffects),
        })
    })
}
