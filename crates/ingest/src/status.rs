//! The gateway's record in the topic of gateways: read at the start, written while it serves.
//!
//! ```text
//! read own last record ─▶ open the account ─▶ first record durable ─▶ serve ─▶ every 8 s
//!                                                          answered all ─▶ last record
//! ```
//!
//! The first record is durable before the first webhook is taken: a record that says "stopped in
//! good order" must not stand for a gateway that serves.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sendplane_ingest::gateway::Path;
use sendplane_stage_runtime::tools::{AckProducer, TailQuery, Tools};
use sendplane_stages::schemas::Schemas;
use sendplane_wire::codec::Encoder;
use sendplane_wire::record::GatewayStatus;
use sendplane_wire::topic;
use tokio::task::JoinHandle;

/// How often the record is written.
const EVERY: Duration = Duration::from_secs(8);

/// Writes the records of one gateway.
#[derive(Clone)]
pub struct Reporter {
    instance: String,
    path: Arc<Path>,
    kafka: Arc<AckProducer>,
    encoder: Arc<Encoder<GatewayStatus>>,
}

impl Reporter {
    /// For the gateway called `instance`.
    pub fn new(
        instance: &str,
        path: Arc<Path>,
        kafka: Arc<AckProducer>,
        schemas: &Schemas,
    ) -> Self {
        let encoder = Arc::new(schemas.encoder(topic::GATEWAYS));
        Self { instance: instance.to_owned(), path, kafka, encoder }
    }

    /// Writes how things stand; returns when the record is durable.
    pub async fn report(&self) -> anyhow::Result<()> {
        self.write(&self.path.status(&self.instance)).await
    }

    /// Writes the last record.
    pub async fn report_stop(&self) -> anyhow::Result<()> {
        self.write(&self.path.stop(&self.instance)).await
    }

    /// Goes on reporting. A record that cannot be written is as good as none: the next one tells
    /// more, and until then nobody believes that the path was whole.
    pub fn keep_reporting(&self, runtime: &tokio::runtime::Runtime) -> JoinHandle<()> {
        let reporter = self.clone();
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(EVERY).await;
                if let Err(error) = reporter.report().await {
                    tracing::warn!(error = format!("{error:#}"), "gateway status is not written");
                }
            }
        })
    }

    async fn write(&self, status: &GatewayStatus) -> anyhow::Result<()> {
        let value = self.encoder.encode(status).context("gateway status")?;
        let key = self.instance.as_bytes();
        let sent = self.kafka.publish(topic::GATEWAYS, key, &value, &Vec::new()).await;
        sent.map_err(anyhow::Error::msg).context("gateway status")
    }
}

/// The newest record under the name `instance`; `None` if there is none. Reads the whole topic,
/// which is compacted to a record a gateway.
pub fn last(
    tools: &Tools,
    schemas: &Schemas,
    instance: &str,
) -> anyhow::Result<Option<GatewayStatus>> {
    let decoder = schemas.decoder::<GatewayStatus>(topic::GATEWAYS);
    let query = TailQuery {
        topics: &[topic::GATEWAYS],
        partition: None,
        from_beginning: true,
        until_end: true,
    };
    let mut found = Ok(None);
    tools.tail(&query, &mut |record| {
        if record.key.as_deref() == Some(instance.as_bytes()) {
            found = match record.value {
                None => Ok(None),
                Some(value) => decoder.decode(Some(&value)).map(Some),
            };
        }
        ControlFlow::Continue(())
    })?;
    found.with_context(|| {
        format!(
            "the record of {instance} in {} cannot be read: write a tombstone under that key, and \
             silence of the time before proves nothing",
            topic::GATEWAYS
        )
    })
}
