//! The sections that all binaries share.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use sendplane_stage_runtime::RuntimeConfig;
use sendplane_stage_runtime::config::{BreakerLimits, ClockOffset};
use tracing_subscriber::EnvFilter;

use super::{Section, kafka};

const MINUTE_MS: u64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS as i64;

/// Settings every stage needs.
#[derive(Clone, Debug)]
pub struct Base {
    /// `[instance]`, `[kafka]`, `[state]` and `[runtime]`, as the runtime takes them.
    pub runtime: RuntimeConfig,
    /// `[registry]`.
    pub registry: Registry,
    /// `[admin]`.
    pub admin: Admin,
    /// `[log]`.
    pub log: Log,
}

/// The schema registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// Base of the Confluent API, for example `http://registry:8080/apis/ccompat/v7`.
    pub url: String,
    /// Where schemas and ids are kept for times without a registry.
    pub cache_dir: PathBuf,
}

/// The port for probes and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Address; port 0 takes a free one and logs it.
    pub listen: SocketAddr,
}

/// Logging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Directives as in `RUST_LOG`.
    pub filter: String,
    /// How lines look.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}

impl Base {
    pub(super) fn read(root: &mut Section<'_>) -> Self {
        let instance_id = root.section("instance", instance_id);
        let kafka = root.section("kafka", kafka::properties);
        let runtime = RuntimeConfig { instance_id, kafka, ..RuntimeConfig::default() };
        let runtime = root.section("state", |section| state(section, runtime));
        let runtime = root.section("runtime", |section| running(section, runtime));
        Self {
            runtime,
            registry: root.section("registry", Registry::read),
            admin: root.section("admin", Admin::read),
            log: root.section("log", Log::read),
        }
    }

    /// librdkafka properties.
    pub fn kafka(&self) -> &BTreeMap<String, String> {
        &self.runtime.kafka
    }
}

/// Part of transactional ids, so of the characters that ACL patterns and file names can hold.
fn instance_id(section: &mut Section<'_>) -> String {
    let fix = "give every instance of a stage its own stable id, such as the pod's name";
    let id = section.required_text("id", fix);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !id.chars().all(plain) || id.len() > 100 {
        let fix = "use up to 100 letters, digits, dots, dashes and underscores";
        section.problem("id", format!("is {id:?}"), fix);
    }
    id
}

fn state(section: &mut Section<'_>, base: RuntimeConfig) -> RuntimeConfig {
    const MIB: u64 = 1 << 20;
    let mut bytes =
        |key, default: usize| section.whole(key, default as u64, MIB..=(1 << 40)) as usize;
    let block_cache_bytes = bytes("block-cache-bytes", base.block_cache_bytes);
    let write_buffer_bytes = bytes("write-buffer-bytes", base.write_buffer_bytes);
    RuntimeConfig {
        state_dir: section.path("dir", "state"),
        block_cache_bytes,
        write_buffer_bytes,
        ..base
    }
}

fn running(section: &mut Section<'_>, base: RuntimeConfig) -> RuntimeConfig {
    let config = RuntimeConfig {
        threads: section.whole("threads", base.threads as u64, 1..=256) as usize,
        session_timeout: section.millis(
            "session-timeout-ms",
            base.session_timeout,
            500..=30 * MINUTE_MS,
        ),
        transaction_timeout: section.millis(
            "transaction-timeout-ms",
            base.transaction_timeout,
            1_000..=15 * MINUTE_MS,
        ),
        settle_max: section.millis("settle-ms", base.settle_max, 0..=MINUTE_MS),
        slow_commit: section.millis("slow-commit-ms", base.slow_commit, 1..=MINUTE_MS),
        quarantine: section.texts("quarantine"),
        // A test setting, left at 0 in service.
        clock_offset: ClockOffset::of_millis(section.signed(
            "clock-offset-ms",
            0,
            -DAY_MS..=DAY_MS,
        )),
        dead_letter_breaker: section
            .section("dead-letter-breaker", |section| breaker(section, base.dead_letter_breaker)),
        ..base
    };
    for place in &config.quarantine {
        if !is_place(place) {
            let fix = "write topic/partition/offset, as the error printed it";
            section.problem("quarantine", format!("holds {place:?}"), fix);
        }
    }
    config
}

/// When a topic is left alone instead of being dead-lettered.
fn breaker(section: &mut Section<'_>, base: BreakerLimits) -> BreakerLimits {
    const RECORDS_MAX: u64 = 100_000;
    let window = section.whole("window", base.window as u64, 1..=RECORDS_MAX);
    let minimum = section.whole("minimum", base.minimum as u64, 1..=RECORDS_MAX);
    if minimum > window {
        let fix = "judge after at most as many records as the window holds";
        section.problem("minimum", format!("is {minimum}, window is {window}"), fix);
    }
    BreakerLimits {
        share: section.fraction("share", base.share),
        window: window as usize,
        minimum: minimum as usize,
    }
}

fn is_place(text: &str) -> bool {
    let mut parts = text.rsplitn(3, '/');
    let offset = parts.next().is_some_and(|part| part.parse::<i64>().is_ok_and(|n| n >= 0));
    let partition = parts.next().is_some_and(|part| part.parse::<i32>().is_ok_and(|n| n >= 0));
    offset && partition && parts.next().is_some_and(|topic| !topic.is_empty())
}

impl Registry {
    fn read(section: &mut Section<'_>) -> Self {
        let fix = "give the base of its Confluent API, such as \
                   http://registry:8080/apis/ccompat/v7";
        let url = section.required_text("url", fix);
        if !url.is_empty() && !url.starts_with("http://") && !url.starts_with("https://") {
            section.problem("url", format!("is {url:?}"), fix);
        }
        Self {
            url: url.trim_end_matches('/').to_owned(),
            cache_dir: section.path("cache-dir", "registry-cache"),
        }
    }
}

impl Admin {
    fn read(section: &mut Section<'_>) -> Self {
        let default = "127.0.0.1:9100";
        let listen = section.parsed("listen", default, "write address:port, such as 0.0.0.0:9100");
        Self { listen: listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0))) }
    }
}

impl Log {
    fn read(section: &mut Section<'_>) -> Self {
        let filter = section.text("filter", "info");
        if let Err(error) = EnvFilter::try_new(&filter) {
            let fix = "write directives such as info,sendplane_stages=debug";
            section.problem("filter", format!("is {filter:?}: {error}"), fix);
        }
        let format = match section.one_of("format", &["json", "text"]) {
            "text" => LogFormat::Text,
            _ => LogFormat::Json,
        };
        Self { filter, format }
    }
}
