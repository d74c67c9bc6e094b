//! Serves the webhook gateway on threads of its own, so that neither the stage nor a probe waits for
//! a storm of webhooks, nor the other way round.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sendplane_ingest::gateway::{self, SinkError, SinkRecord, WebhookSink};
use sendplane_service::clock;
use sendplane_service::run::{Process, START};
use sendplane_stage_runtime::Health;
use sendplane_stage_runtime::tools::AckProducer;
use sendplane_wire::topic;

use crate::config::{Gateway, Ingest};

/// Part of the readiness that belongs to the gateway.
const PART: &str = "gateway";

const RETRY: Duration = Duration::from_secs(1);

/// Longest wait for requests that are open when the process is asked to stop.
const DRAIN_MAX: Duration = Duration::from_secs(12);

/// Runs the gateway until the process is asked to stop.
pub fn run(process: &Process<Ingest>, config: &Gateway) -> anyhow::Result<()> {
    let health = process.starting_part(PART);
    let Some(schemas) = process.schemas(&health)? else { return Ok(()) };
    let Some(producer) = connect(process, config, &health) else { return Ok(()) };
    let producer = Arc::new(producer);
    let instance = process.config.base.runtime.instance_id.clone();
    let gateway = gateway::Gateway::new(
        gateway::GatewaySettings { instance, ..config.settings.clone() },
        config.apps.clone(),
        Acknowledged(producer.clone()),
        schemas.encoder(topic::WEBHOOKS),
        Arc::new(clock::now),
    )?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("gateway")
        .enable_all()
        .build()
        .context("runtime of the gateway")?;
    runtime.block_on(serve(process, config, gateway::router(Arc::new(gateway)), &health))?;
    producer.flush(config.settings.publish_timeout)?;
    runtime.shutdown_background();
    Ok(())
}

async fn serve(
    process: &Process<Ingest>,
    config: &Gateway,
    router: axum::Router,
    health: &Health,
) -> anyhow::Result<()> {
    let listen = config.listen;
    let listener = tokio::net::TcpListener::bind(listen)
        .await
        .with_context(|| format!("ingest.gateway.listen {listen}: choose a free address"))?;
    tracing::info!(address = %listener.local_addr()?, "webhook gateway listens");
    health.clear(START);
    let mut stopping = process.shutdown.clone();
    let mut drained = process.shutdown.clone();
    let served = axum::serve(listener, router)
        .with_graceful_shutdown(async move { stopping.requested().await });
    tokio::select! {
        served = served.into_future() => served.context("webhook gateway"),
        () = async { drained.requested().await; tokio::time::sleep(DRAIN_MAX).await } => {
            tracing::warn!("requests are cut off: Meta sends them again");
            Ok(())
        }
    }
}

/// A producer, as soon as the brokers and the topic are there; `None` when asked to stop before.
fn connect(process: &Process<Ingest>, config: &Gateway, health: &Health) -> Option<AckProducer> {
    let base = &process.config.base;
    let client_id = format!("{}-gateway", base.runtime.instance_id);
    loop {
        let topics = [topic::WEBHOOKS];
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

/// The broker's acknowledgement as the gateway wants it.
struct Acknowledged(Arc<AckProducer>);

impl WebhookSink for Acknowledged {
    async fn publish(&self, record: SinkRecord) -> Result<(), SinkError> {
        let SinkRecord { topic, key, value, headers } = record;
        self.0.publish(topic, key.as_bytes(), &value, &headers).await.map_err(SinkError)
    }
}
