//! The whole plane as processes: metasim and the four stages, on a stack.
//!
//! Reading order: this file (what runs, and what can be done to it), `setup` (how a plane differs
//! from the usual one), `files` (configurations), `clients` (the operator's command, the Python
//! client, outcomes), `metrics` (what the processes say about themselves).

mod clients;
mod files;
mod metrics;
mod setup;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use serde_json::Value;

pub use metrics::{Metrics, Tally};
pub use setup::{Setup, turn};

use crate::process::Process;
use crate::stack::Stack;
use crate::{http, wait};

/// Partitions of every topic in these tests.
pub const PARTITIONS: u32 = 4;
/// Long enough for a machine that does other things as well.
pub const LIMIT: Duration = Duration::from_secs(120);
/// How long a doubt waits for evidence in a plane of the usual [`Setup`].
pub const DOUBT_WINDOW: Duration = Duration::from_secs(15);
/// Group session timeout of the stages in a plane of the usual [`Setup`].
pub const SESSION: Duration = Duration::from_secs(6);
/// The stages, in the order of a message's way.
pub const STAGES: [&str; 4] = ["ingest", "policy", "send", "status-reconcile"];

/// Tenants of the tests, one for each partition: (tenant, phone number id at metasim, messages per
/// second).
pub const TENANTS: [(&str, &str, u32); 4] = [
    ("acme", "100000000000001", 80),
    ("globex", "100000000000002", 1000),
    ("initech", "100000000000003", 1000),
    ("hooli", "100000000000004", 1000),
];

/// A running plane.
pub struct Plane {
    dir: tempfile::TempDir,
    setup: Setup,
    metasim: Option<Process>,
    metasim_port: u16,
    metasim_admin_port: u16,
    gateway_port: u16,
    stages: BTreeMap<String, Stage>,
    /// What instances that are gone had counted.
    gone: Tally,
}

struct Stage {
    process: Process,
    admin_port: u16,
    frozen: bool,
}

/// A binary of this workspace; `make test` builds them before the tests.
pub fn binary(name: &str) -> PathBuf {
    let tests = std::env::current_exe().expect("a test binary knows itself");
    let dir = tests.parent().and_then(Path::parent).expect("target/<profile>/deps");
    let path = dir.join(name);
    assert!(path.exists(), "{} is missing: cargo build --workspace --bins", path.display());
    path
}

/// A port that is free now, below those given to outgoing connections: nobody takes it by chance
/// before it is bound, or while the process that had it is down.
fn free_port() -> u16 {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 5_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test binaries run side by side: each starts elsewhere.
    let start = (std::process::id() % 97) as u16 * 50;
    let mut candidates = (0..COUNT).map(|_| {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        FIRST + (start.wrapping_add(step)) % COUNT
    });
    candidates
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port from 10000 to 14999")
}

impl Plane {
    /// Sets topics, schemas, tenants and templates up and starts everything once: instance `a` of
    /// every stage.
    pub fn start() -> Self {
        Self::start_with(Setup::default())
    }

    /// As [`Self::start`], but for what `setup` says.
    pub fn start_with(setup: Setup) -> Self {
        let mut plane = Self::start_without_stages(setup);
        let names: Vec<(&str, String)> = STAGES
            .into_iter()
            .flat_map(|stage| {
                plane.setup.instances.iter().map(move |instance| (stage, instance.clone()))
            })
            .collect();
        for (stage, instance) in &names {
            plane.start_stage(stage, instance);
        }
        for (stage, instance) in &names {
            plane.await_ready(stage, instance);
        }
        plane
    }

    /// As [`Self::start_with`], but no stage runs yet.
    pub fn start_without_stages(setup: Setup) -> Self {
        let mut plane = Self {
            dir: tempfile::tempdir().expect("temp dir"),
            setup,
            metasim: None,
            metasim_port: 0,
            metasim_admin_port: free_port(),
            gateway_port: free_port(),
            stages: BTreeMap::new(),
            gone: Tally::default(),
        };
        plane.write_account();
        plane.prepare_stack();
        plane.start_metasim();
        plane.write_stage_configs();
        plane
    }

    /// The stack below.
    pub fn stack(&self) -> &'static Stack {
        self.setup.stack
    }

    /// How this plane was set up.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// The working directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// State directory of one instance, `<dir>/<stage>` below it.
    pub fn state_dir(&self, stage: &str, instance: &str) -> PathBuf {
        self.dir.path().join(format!("state-{stage}-{instance}"))
    }

    /// Where one instance keeps what the registry said.
    pub fn registry_cache(&self, stage: &str, instance: &str) -> PathBuf {
        self.dir.path().join(format!("registry-cache-{stage}-{instance}"))
    }

    /// Log of one instance, all its processes one after the other.
    pub fn log(&self, stage: &str, instance: &str) -> PathBuf {
        self.dir.path().join(format!("{stage}-{instance}.log"))
    }

    /// Base URL of the webhook gateway.
    pub fn gateway(&self) -> String {
        format!("http://127.0.0.1:{}", self.gateway_port)
    }

    /// What metasim says at `path`.
    pub fn metasim(&self, path: &str) -> Value {
        http::get_json(self.metasim_admin_port, path)
    }

    /// Changes metasim's faults.
    pub fn faults(&self, faults: &Value) {
        let port = self.metasim_admin_port;
        let (status, body) =
            http::request(port, "POST", "/metasim/faults", &[], &faults.to_string());
        assert_eq!(status, 200, "{body}");
    }

    /// The operating system's id of one instance's process.
    pub fn pid(&self, stage: &str, instance: &str) -> u32 {
        self.stages[&format!("{stage}-{instance}")].process.pid()
    }

    /// `GET path` at the admin port of a stage: status and body, `None` while it does not listen.
    pub fn admin(&self, stage: &str, instance: &str, path: &str) -> Option<(u16, String)> {
        let port = self.stages[&format!("{stage}-{instance}")].admin_port;
        http::try_request(port, "GET", path, &[], "")
    }

    /// Instances that run, frozen ones as well: (stage, instance).
    pub fn running(&self) -> Vec<(String, String)> {
        let split = |name: &String| {
            let (stage, instance) = name.rsplit_once('-').expect("<stage>-<instance>");
            (stage.to_owned(), instance.to_owned())
        };
        self.stages.keys().map(split).collect()
    }

    /// SIGTERM to all that run, ingest first, as an operator would; panics unless each ends with 0.
    pub fn stop_all(&mut self) {
        for stage in STAGES {
            let of_stage: Vec<String> = self
                .running()
                .into_iter()
                .filter_map(|(name, instance)| (name == stage).then_some(instance))
                .collect();
            for instance in &of_stage {
                self.entry(stage, instance).process.ask_to_end();
            }
            for instance in &of_stage {
                let (mut entry, _) = self.take(stage, instance);
                let status = entry.process.wait(LIMIT);
                assert!(status.success(), "{stage}-{instance} ends with 0, not {status}");
            }
        }
    }

    /// Waits until `/readyz` answers 200; panics at once when the process has ended.
    pub fn await_ready(&mut self, stage: &str, instance: &str) {
        let name = format!("{stage}-{instance}");
        let log = self.log(stage, instance);
        let what = format!("{name} is ready (log: {})", log.display());
        let entry = self.stages.get_mut(&name).unwrap_or_else(|| panic!("{name} was started"));
        wait::until(&what, LIMIT, || {
            if let Some(status) = entry.process.ended() {
                panic!("{name} ended with {status} (log: {})", log.display());
            }
            http::try_request(entry.admin_port, "GET", "/readyz", &[], "")
                .filter(|(status, _)| *status == 200)
        });
    }

    /// Starts an instance of a stage. Instance `a` of ingest also runs the gateway.
    pub fn start_stage(&mut self, stage: &str, instance: &str) {
        self.start_stage_with(stage, instance, &[]);
    }

    /// As [`Self::start_stage`], with more variables in its environment, which win over the file:
    /// `("SENDPLANE__RUNTIME__THREADS", "2")`.
    pub fn start_stage_with(&mut self, stage: &str, instance: &str, settings: &[(&str, &str)]) {
        let name = format!("{stage}-{instance}");
        assert!(!self.stages.contains_key(&name), "{name} runs already");
        let admin_port = free_port();
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log(stage, instance))
            .expect("a log file");
        let mut command = Command::new(binary(stage));
        command
            .arg("--config")
            .arg(self.dir.path().join(format!("{stage}.toml")))
            .env("SENDPLANE__INSTANCE__ID", instance)
            .env("SENDPLANE__STATE__DIR", self.state_dir(stage, instance))
            .env("SENDPLANE__REGISTRY__CACHE_DIR", self.registry_cache(stage, instance))
            .env("SENDPLANE__ADMIN__LISTEN", format!("127.0.0.1:{admin_port}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log);
        if stage == "ingest" && instance != "a" {
            command.env("SENDPLANE__INGEST__ROLE", "stage");
        }
        for (name, value) in &self.setup.settings {
            command.env(name, value);
        }
        command.envs(settings.iter().copied());
        let process = Process::start(&name, &mut command);
        self.stages.insert(name, Stage { process, admin_port, frozen: false });
    }

    /// kill -9. Returns what the process said of itself right before.
    pub fn kill(&mut self, stage: &str, instance: &str) -> Metrics {
        let (entry, metrics) = self.take(stage, instance);
        entry.process.kill();
        metrics
    }

    /// SIGTERM; panics unless it ends with 0 within the limit.
    pub fn stop_stage(&mut self, stage: &str, instance: &str) {
        let (entry, _) = self.take(stage, instance);
        let status = entry.process.terminate(LIMIT);
        assert!(status.success(), "{stage}-{instance} drains and ends with 0, not {status}");
    }

    /// SIGSTOP.
    pub fn freeze(&mut self, stage: &str, instance: &str) {
        let entry = self.entry(stage, instance);
        entry.process.freeze();
        entry.frozen = true;
    }

    /// SIGCONT.
    pub fn wake(&mut self, stage: &str, instance: &str) {
        let entry = self.entry(stage, instance);
        entry.process.wake();
        entry.frozen = false;
    }

    fn entry(&mut self, stage: &str, instance: &str) -> &mut Stage {
        let name = format!("{stage}-{instance}");
        self.stages.get_mut(&name).unwrap_or_else(|| panic!("{name} runs"))
    }

    fn take(&mut self, stage: &str, instance: &str) -> (Stage, Metrics) {
        let name = format!("{stage}-{instance}");
        let metrics = self.metrics(stage, instance).unwrap_or_default();
        self.gone.add(&metrics);
        let entry = self.stages.remove(&name).unwrap_or_else(|| panic!("{name} runs"));
        (entry, metrics)
    }

    fn start_metasim(&mut self) {
        let port_file = self.dir.path().join("metasim.port");
        let log = std::fs::File::create(self.dir.path().join("metasim.log")).expect("a log file");
        let mut command = Command::new(binary("metasim"));
        command
            .args(["--listen", "127.0.0.1:0", "--seed", "7", "--webhook-pause-max-ms", "1000"])
            .args(["--admin-listen", &format!("127.0.0.1:{}", self.metasim_admin_port)])
            .arg("--config")
            .arg(self.dir.path().join("metasim.toml"))
            .arg("--port-file")
            .arg(&port_file)
            .arg("--app-secret-file")
            .arg(self.dir.path().join("app-secret"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log);
        if self.setup.webhooks {
            command.args(["--webhook-url", &format!("{}/webhooks/demo", self.gateway())]);
        }
        self.metasim = Some(Process::start("metasim", &mut command));
        self.metasim_port = wait::until("metasim listens", LIMIT, || {
            std::fs::read_to_string(&port_file).ok()?.trim().parse().ok()
        });
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The logs say why; keep them.
            let kept = format!("sendplane-failed-{}-{}", std::process::id(), self.gateway_port);
            let kept = std::env::temp_dir().join(kept);
            let _ = std::fs::create_dir_all(&kept);
            for entry in std::fs::read_dir(self.dir.path()).into_iter().flatten().flatten() {
                if entry.path().extension().is_some_and(|extension| extension == "log") {
                    let _ = std::fs::copy(entry.path(), kept.join(entry.file_name()));
                }
            }
            eprintln!("logs are kept in {}", kept.display());
        }
    }
}
