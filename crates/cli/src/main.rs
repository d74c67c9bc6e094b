//! `sendplane`: the operator's command.
//!
//! Exit codes: 0, 1 for an operation that failed or found a fault, 64 for bad input; `cancel` has
//! some of its own.

mod args;
mod cancel;
mod consent;
mod directory;
mod dlq;
mod gateways;
mod message;
mod numbers;
mod outcomes;
mod output;
mod pauses;
mod render;
mod request;
mod schemas;
mod session;
mod state;
mod tables;
mod tail;
mod topics;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use sendplane_service::config::{Log, LogFormat};
use sendplane_service::run::EXIT_USAGE;
use sendplane_service::telemetry;

use crate::args::{Cli, Command};
use crate::session::{Fault, Session};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing better can be done when even the terminal is gone.
            let _ = error.print();
            return if error.use_stderr() { EXIT_USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    telemetry::start_logs_on_stderr(&Log {
        filter: cli.globals.log.clone(),
        format: if std::io::stderr().is_terminal() { LogFormat::Text } else { LogFormat::Json },
    });
    match run(&cli) {
        Ok(code) => code,
        Err(Fault::Input(text)) => {
            eprintln!("sendplane: {text}");
            EXIT_USAGE.into()
        }
        // Whoever reads the output, such as `head`, has seen enough.
        Err(Fault::Failed(error)) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(Fault::Failed(error)) => {
            match error.downcast_ref::<sendplane_stage_runtime::Error>() {
                // Its text has its cause already.
                Some(error) => eprintln!("sendplane: {error} (brokers: --brokers, -X)"),
                None => eprintln!("sendplane: {error:#}"),
            }
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn run(cli: &Cli) -> Result<ExitCode, Fault> {
    let session = Session::new(&cli.globals)?;
    match &cli.command {
        Command::Topics(command) => topics::run(&session, command),
        Command::Schemas(command) => schemas::run(&session, command),
        Command::Tenants(command) => directory::apply_tenants(&session, command),
        Command::Templates(command) => directory::apply_templates(&session, command),
        Command::Consent(command) => consent::run(&session, command),
        Command::Request(command) => request::run(&session, command),
        Command::Tail(command) => tail::run(&session, command),
        Command::Message(command) => message::run(&session, command),
        Command::Outcomes(command) => outcomes::run(&session, command),
        Command::Cancel(command) => cancel::run(&session, command),
        Command::Pause(command) => pauses::pause(&session, command),
        Command::Resume(command) => pauses::resume(&session, command),
        Command::Pauses => pauses::list(&session),
        Command::Gateways(command) => gateways::run(&session, command),
        Command::Numbers(command) => numbers::run(&session, command),
        Command::Dlq(command) => dlq::run(&session, command),
        Command::State(command) => state::run(&session, command),
    }
}
