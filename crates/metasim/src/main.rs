//! `metasim`: a WhatsApp Cloud API to develop and test against.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use sendplane_metasim::{Delivery, Options, Server};
use sendplane_provider_model::Config;
use tokio::signal::unix::{SignalKind, signal};

/// A faithful, seeded WhatsApp Cloud API: limits, errors, lost answers, late webhooks, and a
/// ledger of what it really accepted.
#[derive(Debug, Parser)]
#[command(name = "metasim", version)]
struct Args {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Second address with the same endpoints; it stays open while the first refuses connections.
    #[arg(long)]
    admin_listen: Option<SocketAddr>,
    /// File to write the bound port to, once it is bound.
    #[arg(long)]
    port_file: Option<PathBuf>,
    /// Account to model (TOML); default: a demo account.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Seed of every random decision; overrides the file.
    #[arg(long)]
    seed: Option<u64>,
    /// Mixed into message ids; default: the time of the start.
    #[arg(long)]
    epoch: Option<u64>,
    /// File with the app secret; overrides the configuration.
    #[arg(long)]
    app_secret_file: Option<PathBuf>,
    /// Where webhooks are posted to; without it they are discarded.
    #[arg(long)]
    webhook_url: Option<String>,
    /// Webhook posts at a time.
    #[arg(long, default_value_t = 64)]
    webhook_concurrency: usize,
    /// Longest pause between two posts of one webhook, in milliseconds.
    #[arg(long, default_value_t = 30_000)]
    webhook_pause_max_ms: u64,
    /// How long a webhook is retried, in seconds (Meta: 7 days).
    #[arg(long, default_value_t = 604_800)]
    webhook_retry_for_s: u64,
}

impl Args {
    fn options(&self) -> anyhow::Result<Options> {
        let mut config = match &self.config {
            None => Config::default(),
            Some(path) => toml::from_str(&read(path)?)
                .with_context(|| format!("configuration {}", path.display()))?,
        };
        if let Some(seed) = self.seed {
            config.seed = seed;
        }
        if let Some(epoch) = self.epoch {
            config.epoch = epoch;
        }
        if let Some(path) = &self.app_secret_file {
            config.app_secret = read(path)?.trim_end().to_owned();
        }
        Ok(Options {
            listen: self.listen,
            admin_listen: self.admin_listen,
            config,
            delivery: Delivery {
                url: self.webhook_url.clone(),
                concurrency: self.webhook_concurrency,
                pause_max: Duration::from_millis(self.webhook_pause_max_ms),
                retry_for: Duration::from_secs(self.webhook_retry_for_s),
                ..Delivery::default()
            },
        })
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

/// Written beside its place and moved there: a waiting reader never sees half a number.
fn write_port(path: &Path, addr: SocketAddr) -> anyhow::Result<()> {
    let beside = path.with_extension("tmp");
    std::fs::write(&beside, format!("{}\n", addr.port()))
        .and_then(|()| std::fs::rename(&beside, path))
        .with_context(|| format!("write {}", path.display()))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().json().with_env_filter(filter).init();
    // Before the address is known to anyone, so that no early signal is missed.
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let options = args.options()?;
    let seed = options.config.seed;
    let server = Server::start(options).await?;
    if let Some(path) = &args.port_file {
        write_port(path, server.addr())?;
    }
    let admin_addr = server.admin_addr().map(|addr| addr.to_string());
    tracing::info!(addr = %server.addr(), admin_addr, seed, "listening");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    server.stop().await;
    Ok(())
}
