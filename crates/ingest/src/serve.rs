//! Serves the webhook gateway on threads of its own, so that neither the stage nor a probe waits for
//! a storm of webhooks, nor the other way round.
//!
//! The port is open from the start. Until schemas and brokers have been reached, and whenever a
//! body cannot be made durable in time, the answer is 503: Meta sends again.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use sendplane_ingest::gateway::{
    self, Apps, Gateway, GatewaySettings, Late, Path, SinkError, SinkRecord, WebhookSink, server,
};
use sendplane_service::clock;
use sendplane_service::run::{Process, START};
use sendplane_stage_runtime::Health;
use sendplane_stage_runtime::tools::{AckProducer, Tools};
use sendplane_stages::schemas::Schemas;
use sendplane_wire::topic;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::{self, Ingest};
use crate::secrets;
use crate::status::{self, Reporter};

/// Part of the readiness that belongs to the gateway.
const PART: &str = "gateway";

const RETRY: Duration = Duration::from_secs(1);

/// How often the brokers are asked, and how long they may take to answer.
const PROBE_EVERY: Duration = Duration::from_secs(1);
const PROBE_MAX: Duration = Duration::from_secs(2);

/// Longest wait for requests that are open when the process is asked to stop.
const DRAIN_MAX: Duration = Duration::from_secs(12);

/// File descriptors kept for everything that is no connection of the gateway: brokers, stores, and
/// the admin port, which must answer when all connections are taken.
const DESCRIPTORS_KEPT: u64 = 1024;

/// Runs the gateway until the process is asked to stop.
pub fn run(process: &Process<Ingest>, config: &config::Gateway) -> anyhow::Result<()> {
    let health = process.starting_part(PART);
    let apps = Apps::new(secrets::of_all(&config.apps))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("gateway")
        .enable_all()
        .build()
        .context("runtime of the gateway")?;
    let late: Late<Acknowledged> = Arc::default();
    let path = Arc::new(Path::new(Arc::new(clock::now)));
    let (stop, stopping) = watch::channel(false);
    let listener = runtime.block_on(listen(config.listen))?;
    let limits = within_descriptors(config.limits.clone());
    let router = gateway::router(late.clone(), path.clone());
    let mut server = runtime.spawn(server::serve(listener, router, limits, path.clone(), stopping));
    let (files, every) = (config.apps.clone(), config.reread_secrets_every);
    let rereading = secrets::watch(files, apps.clone(), path.clone(), every, &process.handle);
    let opened = open(process, config, apps, (&late, path), (&health, &runtime))?;
    let reporting = opened.as_ref().map(|(_, reporter)| reporter.keep_reporting(&runtime));
    if let Some((producer, _)) = &opened {
        watch_brokers(process, producer, &health, &server);
    }
    rereading.abort();
    stop.send_replace(true);
    let served = runtime.block_on(drained(&mut server));
    if let Some(reporting) = reporting {
        reporting.abort();
    }
    if let Some((producer, reporter)) = opened {
        // The last word, after the last answer.
        if let Err(error) = runtime.block_on(reporter.report_stop()) {
            tracing::warn!(
                error = format!("{error:#}"),
                "the stop is not on record: it counts as a gap"
            );
        }
        producer.kafka.flush(config.settings.publish_timeout)?;
    }
    runtime.shutdown_background();
    served
}

async fn listen(address: SocketAddr) -> anyhow::Result<tokio::net::TcpListener> {
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("ingest.gateway.listen {address}: choose a free address"))?;
    tracing::info!(address = %listener.local_addr()?, "webhook gateway listens");
    Ok(listener)
}

/// Fewer connections where the system does not allow as many open files.
fn within_descriptors(limits: server::Limits) -> server::Limits {
    let needed = limits.connections_max as u64 + DESCRIPTORS_KEPT;
    match rlimit::increase_nofile_limit(needed) {
        Ok(allowed) if allowed < needed => {
            let fitting = allowed.saturating_sub(DESCRIPTORS_KEPT).max(allowed / 2) as usize;
            tracing::warn!(
                allowed,
                needed,
                connections_max = fitting,
                "the hard limit of open files is too low for ingest.gateway.max-connections: fewer \
                 are taken; raise the limit (ulimit -Hn, LimitNOFILE) or lower the setting"
            );
            server::Limits { connections_max: fitting, ..limits }
        }
        Ok(_) => limits,
        Err(error) => {
            tracing::warn!(%error, needed, "the limit of open files cannot be raised");
            limits
        }
    }
}

/// Puts the gateway behind its routes as soon as schemas and brokers are there; `None` when asked
/// to stop before.
fn open(
    process: &Process<Ingest>,
    config: &config::Gateway,
    apps: Apps,
    (late, path): (&OnceLock<Gateway<Acknowledged>>, Arc<Path>),
    (health, runtime): (&Health, &tokio::runtime::Runtime),
) -> anyhow::Result<Option<(Acknowledged, Reporter)>> {
    let Some(schemas) = process.schemas(health)? else { return Ok(None) };
    let Some(kafka) = connect(process, config, health) else { return Ok(None) };
    let producer = Acknowledged { kafka: Arc::new(kafka), counts: Arc::default() };
    let instance = process.config.base.runtime.instance_id.clone();
    let reporter = Reporter::new(&instance, path.clone(), producer.kafka.clone(), &schemas);
    if !introduce(process, &schemas, (&path, &reporter), (health, runtime)) {
        return Ok(None);
    }
    let gateway = Gateway::new(
        GatewaySettings { instance, ..config.settings.clone() },
        apps,
        producer.clone(),
        schemas.encoder(topic::WEBHOOKS),
        Arc::new(clock::now),
    );
    if late.set(gateway).is_err() {
        anyhow::bail!("the gateway was opened twice");
    }
    health.clear(START);
    Ok(Some((producer, reporter)))
}

/// Puts on record that this gateway serves from now on, and what is known of the time before;
/// false when asked to stop before that is durable.
fn introduce(
    process: &Process<Ingest>,
    schemas: &Schemas,
    (path, reporter): (&Path, &Reporter),
    (health, runtime): (&Health, &tokio::runtime::Runtime),
) -> bool {
    let base = &process.config.base;
    let instance = &base.runtime.instance_id;
    let tools = Tools::new(base.kafka().clone(), format!("{instance}-gateway-status"));
    loop {
        let introduced = status::last(&tools, schemas, instance).and_then(|last| {
            path.open(last.as_ref());
            runtime.block_on(reporter.report())
        });
        match introduced {
            Ok(()) => {
                health.clear("status");
                return true;
            }
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "the gateway cannot introduce itself");
                health.obstruct("status", format!("{error:#}"));
            }
        }
        if process.shutdown.wait(RETRY) {
            return false;
        }
    }
}

/// A producer, as soon as the brokers and the topic are there; `None` when asked to stop before.
fn connect(
    process: &Process<Ingest>,
    config: &config::Gateway,
    health: &Health,
) -> Option<AckProducer> {
    let base = &process.config.base;
    let client_id = format!("{}-gateway", base.runtime.instance_id);
    loop {
        let topics = [topic::WEBHOOKS, topic::GATEWAYS];
        let longest = config.settings.publish_timeout;
        match AckProducer::connect(base.kafka(), &client_id, &topics, longest) {
            Ok(producer) => {
                health.clear("producer");
                return Some(producer);
            }
            Err(error) => {
                tracing::warn!(%error, "webhooks cannot be produced yet");
                health.obstruct("producer", error.to_string());
            }
        }
        if process.shutdown.wait(RETRY) {
            return None;
        }
    }
}

/// Keeps the readiness true to what the brokers do, until the process is asked to stop or the
/// server has ended.
///
/// The obstacle `broker` is what a probe says; `acknowledgement` is that records of the last second
/// failed and none succeeded, which a probe cannot see (too few replicas in sync, for example).
fn watch_brokers(
    process: &Process<Ingest>,
    producer: &Acknowledged,
    health: &Health,
    server: &JoinHandle<()>,
) {
    while !process.shutdown.wait(PROBE_EVERY) && !server.is_finished() {
        match producer.kafka.probe(PROBE_MAX) {
            Ok(()) => health.clear("broker"),
            Err(error) => health.obstruct("broker", error.to_string()),
        }
        let succeeded = producer.counts.succeeded.swap(0, Ordering::Relaxed);
        let failed = producer.counts.failed.swap(0, Ordering::Relaxed);
        match (succeeded, failed) {
            (0, 1..) => health.obstruct(
                "acknowledgement",
                format!("none of the last {failed} webhooks was acknowledged"),
            ),
            _ => health.clear("acknowledgement"),
        }
    }
}

/// Returns when the server's open requests are answered, or cut off.
async fn drained(server: &mut JoinHandle<()>) -> anyhow::Result<()> {
    match tokio::time::timeout(DRAIN_MAX, &mut *server).await {
        Ok(ended) => ended.context("webhook gateway"),
        Err(_) => {
            tracing::warn!("requests are cut off: Meta sends them again");
            server.abort();
            Ok(())
        }
    }
}

/// The broker's acknowledgement as the gateway wants it.
#[derive(Clone)]
struct Acknowledged {
    kafka: Arc<AckProducer>,
    counts: Arc<Counts>,
}

/// Records since the last look.
#[derive(Debug, Default)]
struct Counts {
    succeeded: AtomicU64,
    failed: AtomicU64,
}

/// Counts as failed whatever does not end well, a wait that was given up included.
struct Waiting<'c>(&'c Counts, bool);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Self(counts, succeeded) = self;
        let count = if *succeeded { &counts.succeeded } else { &counts.failed };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl WebhookSink for Acknowledged {
    async fn publish(&self, record: SinkRecord) -> Result<(), SinkError> {
        let mut waiting = Waiting(&self.counts, false);
        let SinkRecord { topic, key, value, headers } = record;
        let done = self.kafka.publish(topic, key.as_bytes(), &value, &headers).await;
        waiting.1 = done.is_ok();
        done.map_err(SinkError)
    }
}
