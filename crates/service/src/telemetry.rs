//! Logs and metrics of a process.

use std::io;
use std::sync::OnceLock;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{Log, LogFormat};

/// Bounds of every histogram of seconds: from a cached lookup to a stuck call.
const SECONDS_BUCKETS: &[f64] = &[
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    300.0,
];

/// Starts logging to standard output. A panic is logged as an error, so that it reaches whoever
/// reads the logs. Only the first call of a process counts.
pub fn start_logs(log: &Log) {
    start_logs_to(log, io::stdout);
}

/// Starts logging to standard error, for commands whose output is their result.
pub fn start_logs_on_stderr(log: &Log) {
    start_logs_to(log, io::stderr);
}

fn start_logs_to<W>(log: &Log, writer: W)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&log.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    let started = match log.format {
        LogFormat::Json => builder.json().flatten_event(true).with_span_list(false).try_init(),
        LogFormat::Text => builder.try_init(),
    };
    if started.is_err() {
        return;
    }
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(error = message, at, "panic");
    }));
}

/// Installs the recorder of the process and describes the build. Call it before anything records.
pub fn start_metrics(build: &Build) -> Result<PrometheusHandle, BuildError> {
    static INSTALLED: OnceLock<PrometheusHandle> = OnceLock::new();
    if let Some(handle) = INSTALLED.get() {
        return Ok(handle.clone());
    }
    let handle = PrometheusBuilder::new()
        .with_recommended_naming(true)
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS_BUCKETS)?
        .install_recorder()?;
    metrics::describe_gauge!("sendplane_build_info", "Always 1; the labels name the build.");
    metrics::gauge!(
        "sendplane_build_info",
        "binary" => build.name,
        "version" => build.version,
        "commit" => build.commit
    )
    .set(1.0);
    Ok(INSTALLED.get_or_init(|| handle).clone())
}

/// Which program this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Build {
    /// Name of the binary.
    pub name: &'static str,
    /// Version of the release.
    pub version: &'static str,
    /// Commit it was built from, `unknown` outside a release build.
    pub commit: &'static str,
}

impl Build {
    /// The binary `name` of this release.
    pub const fn of(name: &'static str) -> Self {
        let commit = match option_env!("SENDPLANE_COMMIT") {
            Some(commit) => commit,
            None => "unknown",
        };
        Self { name, version: env!("CARGO_PKG_VERSION"), commit }
    }
}
