//! The body of every binary: arguments, configuration, logs, admin port, signals, the stage.
//!
//! Exit codes: 0 after a drain, 64 for a bad argument or configuration, 70 when the stage stopped by
//! itself (the log's last line has the reason in `error`), 130 after a second signal.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches, Parser};
use sendplane_stage_api::Stage;
use sendplane_stage_runtime::{Health, Runtime, StageHost};
use sendplane_stages::schemas::Schemas;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::admin::{self, Readiness};
use crate::config::{self, Config, Section};
use crate::registry::Registry;
use crate::telemetry::{self, Build};

/// A bad argument or configuration (`EX_USAGE`).
pub const EXIT_USAGE: u8 = 64;
/// The stage stopped by itself (`EX_SOFTWARE`).
pub const EXIT_STAGE: u8 = 70;
/// A second signal came while the first was obeyed.
pub const EXIT_SIGNAL: u8 = 130;

const RETRY: Duration = Duration::from_secs(1);
const WATCH: Duration = Duration::from_millis(100);

/// Part of the readiness that belongs to the stage.
pub const STAGE: &str = "stage";

/// Part of the readiness that belongs to the process as a whole.
const PROCESS: &str = "process";

/// Obstacle of a part that has not come far enough to name its own.
pub const START: &str = "start";

/// What a binary is called and does.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Name of the binary.
    pub name: &'static str,
    /// One sentence for `--help`.
    pub about: &'static str,
}

#[derive(Debug, Parser)]
struct Arguments {
    /// Configuration file (TOML); variables SENDPLANE__SECTION__KEY win over it
    #[arg(long, value_name = "FILE", env = "SENDPLANE_CONFIG")]
    config: Option<PathBuf>,
    /// Print the configuration in force, secrets redacted, and exit
    #[arg(long)]
    print_config: bool,
    /// Check the configuration and exit
    #[arg(long)]
    check_config: bool,
}

/// A running process, as its body sees it.
pub struct Process<T> {
    /// The configuration.
    pub config: Config<T>,
    /// Readiness of the parts.
    pub readiness: Readiness,
    /// Runtime for effects and calls.
    pub handle: Handle,
    /// Whether to stop.
    pub shutdown: Shutdown,
    stop: Arc<watch::Sender<bool>>,
}

/// Becomes true once and for all at the first SIGTERM or SIGINT, or when a part ends.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Whether the process is asked to stop.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when the process is asked to stop.
    pub async fn requested(&mut self) {
        // The sender lives as long as the process.
        let _ = self.0.wait_for(|requested| *requested).await;
    }

    /// Waits up to `longest`, in steps, for a request to stop.
    pub fn wait(&self, longest: Duration) -> bool {
        let steps = (longest.as_millis() / WATCH.as_millis()).max(1);
        for _ in 0..steps {
            if self.is_requested() {
                return true;
            }
            std::thread::sleep(WATCH);
        }
        self.is_requested()
    }
}

/// The main function of a binary. `read` reads its own sections, `body` runs until it is done or
/// [`Process::shutdown`] asks it to stop.
pub fn main<T>(
    about: About,
    read: impl FnOnce(&mut Section<'_>) -> T,
    body: impl FnOnce(&Process<T>) -> anyhow::Result<()>,
) -> ExitCode {
    let arguments = match arguments(about, std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    let config = match Config::load(arguments.config.as_deref(), &config::environment(), read) {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("{}: {problems}", about.name);
            return ExitCode::from(EXIT_USAGE);
        }
    };
    if arguments.print_config {
        print!("{}", config.print());
        return ExitCode::SUCCESS;
    }
    if arguments.check_config {
        println!("configuration is valid");
        return ExitCode::SUCCESS;
    }
    telemetry::start_logs(&config.base.log);
    match run(Build::of(about.name), config, body) {
        Ok(()) => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "stopped by an error");
            ExitCode::from(EXIT_STAGE)
        }
    }
}

fn arguments(
    about: About,
    given: impl IntoIterator<Item = OsString>,
) -> Result<Arguments, ExitCode> {
    let build = Build::of(about.name);
    let version: &'static str = format!("{} ({})", build.version, build.commit).leak();
    let command: Command =
        Arguments::command().name(about.name).about(about.about).version(version);
    let matches: Result<ArgMatches, clap::Error> = command.try_get_matches_from(given);
    matches.and_then(|matches| Arguments::from_arg_matches(&matches)).map_err(|error| {
        // Nothing better can be done when even the terminal is gone.
        let _ = error.print();
        if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS }
    })
}

fn run<T>(
    build: Build,
    config: Config<T>,
    body: impl FnOnce(&Process<T>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let metrics = telemetry::start_metrics(&build).context("metrics")?;
    let readiness = Readiness::default();
    // Nobody has looked yet whether anything is in the way.
    let process_health = readiness.part(PROCESS);
    process_health.obstruct(START, "starting");
    let listen = config.base.admin.listen;
    let address = admin::start(listen, readiness.clone(), metrics, build)
        .with_context(|| format!("admin.listen {listen}: choose a free address"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("io")
        .enable_all()
        .build()
        .context("runtime")?;
    let (stop, requested) = watch::channel(false);
    let stop = Arc::new(stop);
    runtime.block_on(async { watch_signals(stop.clone(), process_health) })?;
    tracing::info!(
        binary = build.name,
        version = build.version,
        commit = build.commit,
        instance = config.base.runtime.instance_id,
        admin = %address,
        "started"
    );
    let process = Process {
        config,
        readiness,
        handle: runtime.handle().clone(),
        shutdown: Shutdown(requested),
        stop,
    };
    let result = body(&process);
    // Calls that are still open belong to effects whose tasks are gone.
    runtime.shutdown_background();
    result
}

/// The first signal asks to stop and takes readiness away, the second ends the process.
fn watch_signals(stop: Arc<watch::Sender<bool>>, health: Health) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    tokio::spawn(async move {
        let name = either(&mut terminate, &mut interrupt).await;
        tracing::info!(signal = name, "stopping; a second signal ends the process at once");
        health.obstruct("shutdown", "the process is stopping");
        stop.send_replace(true);
        let name = either(&mut terminate, &mut interrupt).await;
        tracing::warn!(signal = name, "ended by a second signal");
        std::process::exit(i32::from(EXIT_SIGNAL));
    });
    Ok(())
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

impl<T> Process<T> {
    /// A part of the readiness, not ready until its owner clears [`START`] there.
    pub fn starting_part(&self, name: &'static str) -> Health {
        let health = self.readiness.part(name);
        health.obstruct(START, "starting");
        self.readiness.part(PROCESS).clear(START);
        health
    }

    /// Asks every part to stop, as a signal does: for a part that cannot go on.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// The schema ids, as soon as the registry or the cache gives them; `None` when asked to stop
    /// before. `health` names what is missing.
    pub fn schemas(&self, health: &Health) -> anyhow::Result<Option<Schemas>> {
        let settings = &self.config.base.registry;
        let registry =
            Registry::new(&settings.url, Some(&settings.cache_dir), self.handle.clone())?;
        let registry = Arc::new(registry);
        loop {
            match registry.lookup_ids() {
                Ok(ids) => {
                    health.clear("schemas");
                    return Ok(Some(Schemas::new(ids, registry)));
                }
                Err(fault) => {
                    tracing::warn!(error = %fault, "schemas cannot be used yet");
                    health.obstruct("schemas", fault.to_string());
                }
            }
            if self.shutdown.wait(RETRY) {
                return Ok(None);
            }
        }
    }

    /// Runs a stage until it is asked to stop, drains it, and returns its error if it had one.
    pub fn run_stage<S: Stage>(
        &self,
        host: impl FnOnce(&Schemas) -> anyhow::Result<StageHost<S>>,
    ) -> anyhow::Result<()> {
        let health = self.starting_part(STAGE);
        let Some(schemas) = self.schemas(&health)? else {
            return Ok(());
        };
        let host = host(&schemas)?;
        let give_up = || self.shutdown.is_requested();
        let config = self.config.base.runtime.clone();
        let Some(runtime) = Runtime::start(config, host, health.clone(), &give_up)? else {
            return Ok(());
        };
        // From here on the runtime names its own obstacles.
        health.clear(START);
        while runtime.is_running() && !self.shutdown.wait(WATCH) {}
        Ok(runtime.stop()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABOUT: About = About { name: "policy", about: "Decides." };

    fn parse(given: &[&str]) -> Result<Arguments, String> {
        arguments(ABOUT, given.iter().map(OsString::from)).map_err(|code| format!("{code:?}"))
    }

    #[test]
    fn arguments_are_understood_or_end_with_64() {
        let found = parse(&["policy", "--config", "a.toml", "--print-config"]).unwrap();
        assert_eq!(found.config, Some(PathBuf::from("a.toml")));
        assert!(found.print_config && !found.check_config);
        let usage = format!("{:?}", ExitCode::from(EXIT_USAGE));
        assert_eq!(parse(&["policy", "--confg"]).unwrap_err(), usage);
        let fine = format!("{:?}", ExitCode::SUCCESS);
        assert_eq!(parse(&["policy", "--version"]).unwrap_err(), fine);
    }

    #[test]
    fn a_wait_ends_early_only_when_a_stop_is_requested() {
        let (requested, receiver) = watch::channel(false);
        let shutdown = Shutdown(receiver);
        assert!(!shutdown.wait(Duration::from_millis(1)));
        requested.send_replace(true);
        assert!(shutdown.wait(Duration::from_secs(3600)));
    }
}
