//! The send stage as a process.

mod config;

use std::process::ExitCode;
use std::sync::Arc;

use sendplane_send::credentials;
use sendplane_send::runner::ProviderRunner;
use sendplane_service::run::{self, About, Process};
use sendplane_stage_runtime::{Effects, StageHost};
use sendplane_stages::send::{SendCodec, SendStage};

const ABOUT: About = About { name: "send", about: "Sends dispatched messages to Meta." };

fn main() -> ExitCode {
    run::main(ABOUT, config::read, |process| {
        let effects = effects(process)?;
        process.run_stage(|schemas| {
            Ok(StageHost {
                stage: SendStage::new(process.config.own.settings.clone()),
                codec: Arc::new(SendCodec::new(schemas)),
                effects,
            })
        })
    })
}

fn effects(process: &Process<config::Send>) -> anyhow::Result<Effects<SendStage>> {
    let config = &process.config.own;
    let api = config.api.clone().ok_or_else(|| anyhow::anyhow!("send.provider-url is no API"))?;
    let tokens = credentials::watch(config.credentials.clone(), &process.handle);
    Ok(Arc::new(ProviderRunner::new(process.handle.clone(), api, tokens, config.calls_max)))
}
