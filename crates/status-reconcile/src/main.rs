//! The status-reconcile stage as a process.

mod config;

use std::process::ExitCode;
use std::sync::Arc;

use sendplane_service::run::{self, About};
use sendplane_stage_runtime::{NoEffects, StageHost};
use sendplane_stages::status_reconcile::{StatusReconcile, StatusReconcileCodec};

const ABOUT: About = About {
    name: "status-reconcile",
    about: "Keeps the state of every message and writes the outcomes.",
};

fn main() -> ExitCode {
    run::main(ABOUT, config::read, |process| {
        process.run_stage(|schemas| {
            Ok(StageHost {
                stage: StatusReconcile::new(process.config.own),
                codec: Arc::new(StatusReconcileCodec::new(schemas)),
                effects: Arc::new(NoEffects),
            })
        })
    })
}
