//! The policy stage as a process.

mod config;

use std::process::ExitCode;
use std::sync::Arc;

use sendplane_service::run::{self, About};
use sendplane_stage_runtime::{NoEffects, StageHost};
use sendplane_stages::policy::{Policy, PolicyCodec};

const ABOUT: About = About { name: "policy", about: "Decides about every admitted message." };

fn main() -> ExitCode {
    run::main(ABOUT, config::read, |process| {
        process.run_stage(|schemas| {
            Ok(StageHost {
                stage: Policy::new(process.config.own.clone()),
                codec: Arc::new(PolicyCodec::new(schemas)),
                effects: Arc::new(NoEffects),
            })
        })
    })
}
