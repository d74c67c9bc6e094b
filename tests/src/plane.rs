//! The whole plane as processes: metasim and the four stages, on the shared stack.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::process::Process;
use crate::stack::{self, Stack};
use crate::{http, wait};

/// Partitions of every topic in these tests.
pub const PARTITIONS: u32 = 4;
/// Long enough for a machine that does other things as well.
pub const LIMIT: Duration = Duration::from_secs(120);
/// How long a doubt waits for evidence here.
pub const DOUBT_WINDOW: Duration = Duration::from_secs(15);
/// Group session timeout of the stages here.
pub const SESSION: Duration = Duration::from_secs(6);

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
    stack: &'static Stack,
    metasim: Option<Process>,
    metasim_port: u16,
    gateway_port: u16,
    stages: BTreeMap<String, Stage>,
}

struct Stage {
    process: Process,
    admin_port: u16,
}

/// A binary of this workspace; `make test` builds them before the tests.
pub fn binary(name: &str) -> PathBuf {
    let tests = std::env::current_exe().expect("a test binary knows itself");
    let dir = tests.parent().and_then(Path::parent).expect("target/<profile>/deps");
    let path = dir.join(name);
    assert!(path.exists(), "{} is missing: cargo build --workspace --bins", path.display());
    path
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

impl Plane {
    /// Sets topics, schemas, tenants and templates up and starts everything once.
    pub fn start() -> Self {
        let mut plane = Self {
            dir: tempfile::tempdir().expect("temp dir"),
            stack: stack::shared(),
            metasim: None,
            metasim_port: 0,
            gateway_port: free_port(),
            stages: BTreeMap::new(),
        };
        plane.write_files();
        let partitions = PARTITIONS.to_string();
        plane.cli(&["topics", "apply", "--partitions", &partitions, "--replication", "1"]);
        plane.cli(&["schemas", "register"]);
        let file = |name: &str| plane.dir.path().join(name).display().to_string();
        let (tenants, templates) = (file("tenants.yaml"), file("templates.yaml"));
        plane.cli(&["tenants", "apply", &tenants]);
        plane.cli(&["templates", "apply", &templates]);
        plane.start_metasim();
        for stage in ["ingest", "policy", "send", "status-reconcile"] {
            plane.start_stage(stage, "a");
        }
        for stage in ["ingest", "policy", "send", "status-reconcile"] {
            plane.await_ready(stage, "a");
        }
        plane
    }

    /// The stack below.
    pub fn stack(&self) -> &Stack {
        self.stack
    }

    /// The working directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// State directory of one instance, `<dir>/<stage>` below it.
    pub fn state_dir(&self, stage: &str, instance: &str) -> PathBuf {
        self.dir.path().join(format!("state-{stage}-{instance}"))
    }

    /// Base URL of the webhook gateway.
    pub fn gateway(&self) -> String {
        format!("http://127.0.0.1:{}", self.gateway_port)
    }

    /// Runs `sendplane` and returns what it printed; panics when it fails.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let (success, stdout, stderr) = self.try_cli(arguments);
        assert!(success, "sendplane {arguments:?} failed:\n{stdout}\n{stderr}");
        stdout
    }

    /// Runs `sendplane`: (success, standard output, standard error).
    pub fn try_cli(&self, arguments: &[&str]) -> (bool, String, String) {
        let output = Command::new(binary("sendplane"))
            .args(arguments)
            .env("SENDPLANE_BROKERS", &self.stack.bootstrap)
            .env("SENDPLANE_REGISTRY", &self.stack.registry)
            .stdin(Stdio::null())
            .output()
            .expect("sendplane can be run");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    }

    /// Produces with the Python client; each line is a request as `tests/python/client.py` says.
    pub fn produce(&self, lines: &[Value]) {
        let mut child = self.python("produce").stdin(Stdio::piped()).spawn().expect("python runs");
        let mut input = child.stdin.take().expect("piped");
        for line in lines {
            writeln!(input, "{line}").expect("python reads");
        }
        drop(input);
        let status = child.wait().expect("python ends");
        assert!(status.success(), "the Python client could not produce");
    }

    /// Reads a whole topic with the Python client.
    pub fn read(&self, topic: &str) -> Vec<Value> {
        let output = self.python("read").args(["--topic", topic]).output().expect("python runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the Python client could not read {topic}: {error}");
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| serde_json::from_str(line).expect("a JSON line"))
            .collect()
    }

    /// The newest outcome row of every message of `tenant`, by idempotency key and message id.
    /// Panics if a message's sequence has a gap or a repetition.
    pub fn outcomes(&self, tenant: &str) -> BTreeMap<(String, String), Value> {
        let mut newest: BTreeMap<(String, String), Value> = BTreeMap::new();
        for row in self.read("sendplane.outcomes.v1") {
            let value = &row["value"];
            if value["tenant"] != tenant {
                continue;
            }
            let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
            let key = (text("idempotency_key"), text("message_id"));
            let before = newest.get(&key).map_or(0, |row| row["sequence"].as_i64().unwrap_or(0));
            let sequence = value["sequence"].as_i64().expect("a sequence");
            assert_eq!(sequence, before + 1, "rows of {key:?} come without gap or repetition");
            newest.insert(key, value.clone());
        }
        newest
    }

    /// The newest rows of `tenant` once `count` messages are final.
    pub fn await_final(&self, tenant: &str, count: usize) -> BTreeMap<(String, String), Value> {
        self.await_rows(tenant, |rows| {
            let open: Vec<String> = rows
                .values()
                .filter(|row| row["is_final"] != true)
                .take(10)
                .map(|row| format!("{} {}", row["message_id"], row["state"]))
                .collect();
            if rows.len() >= count && open.is_empty() {
                Ok(())
            } else {
                Err(format!("{} of {count} messages, still open: {open:?}", rows.len()))
            }
        })
    }

    /// The newest rows of `tenant` once `check` is content; it says what is missing.
    pub fn await_rows(
        &self,
        tenant: &str,
        check: impl Fn(&BTreeMap<(String, String), Value>) -> Result<(), String>,
    ) -> BTreeMap<(String, String), Value> {
        let deadline = wait::now() + LIMIT * 2;
        loop {
            let rows = self.outcomes(tenant);
            match check(&rows) {
                Ok(()) => return rows,
                Err(missing) => assert!(wait::now() < deadline, "{tenant}: {missing}"),
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// What metasim says at `path`.
    pub fn metasim(&self, path: &str) -> Value {
        http::get_json(self.metasim_port, path)
    }

    /// Changes metasim's faults.
    pub fn faults(&self, faults: &Value) {
        let (status, body) =
            http::request(self.metasim_port, "POST", "/metasim/faults", &[], &faults.to_string());
        assert_eq!(status, 200, "{body}");
    }

    /// `GET path` at the admin port of a stage: status and body, `None` while it does not listen.
    pub fn admin(&self, stage: &str, instance: &str, path: &str) -> Option<(u16, String)> {
        let port = self.stages[&format!("{stage}-{instance}")].admin_port;
        http::try_request(port, "GET", path, &[], "")
    }

    /// Waits until `/readyz` answers 200.
    pub fn await_ready(&self, stage: &str, instance: &str) {
        let log = self.dir.path().join(format!("{stage}-{instance}.log"));
        let what = format!("{stage}-{instance} is ready (log: {})", log.display());
        wait::until(&what, LIMIT, || {
            self.admin(stage, instance, "/readyz").filter(|(status, _)| *status == 200)
        });
    }

    /// Starts an instance of a stage. Instance `a` of ingest also runs the gateway.
    pub fn start_stage(&mut self, stage: &str, instance: &str) {
        let admin_port = free_port();
        let log = self.dir.path().join(format!("{stage}-{instance}.log"));
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(log).expect("a log file");
        let mut command = Command::new(binary(stage));
        command
            .arg("--config")
            .arg(self.dir.path().join(format!("{stage}.toml")))
            .env("SENDPLANE__INSTANCE__ID", instance)
            .env("SENDPLANE__STATE__DIR", self.state_dir(stage, instance))
            .env("SENDPLANE__ADMIN__LISTEN", format!("127.0.0.1:{admin_port}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log);
        if stage == "ingest" && instance != "a" {
            command.env("SENDPLANE__INGEST__ROLE", "stage");
        }
        let name = format!("{stage}-{instance}");
        let process = Process::start(&name, &mut command);
        self.stages.insert(name, Stage { process, admin_port });
    }

    /// kill -9.
    pub fn kill(&mut self, stage: &str, instance: &str) {
        self.take(stage, instance).process.kill();
    }

    /// SIGTERM; panics unless it ends with 0 within the limit.
    pub fn stop_stage(&mut self, stage: &str, instance: &str) {
        let status = self.take(stage, instance).process.terminate(LIMIT);
        assert!(status.success(), "{stage}-{instance} drains and ends with 0, not {status}");
    }

    /// SIGSTOP.
    pub fn freeze(&self, stage: &str, instance: &str) {
        self.stages[&format!("{stage}-{instance}")].process.freeze();
    }

    /// SIGCONT.
    pub fn wake(&self, stage: &str, instance: &str) {
        self.stages[&format!("{stage}-{instance}")].process.wake();
    }

    fn take(&mut self, stage: &str, instance: &str) -> Stage {
        let name = format!("{stage}-{instance}");
        self.stages.remove(&name).unwrap_or_else(|| panic!("{name} runs"))
    }

    fn python(&self, command: &str) -> Command {
        let mut python = Command::new(python());
        python
            .arg(stack::root().join("tests/python/client.py"))
            .arg(command)
            .args(["--bootstrap", &self.stack.bootstrap, "--registry", &self.stack.registry])
            .stdout(Stdio::piped());
        python
    }

    fn start_metasim(&mut self) {
        let port_file = self.dir.path().join("metasim.port");
        let log = std::fs::File::create(self.dir.path().join("metasim.log")).expect("a log file");
        let mut command = Command::new(binary("metasim"));
        command
            .args(["--listen", "127.0.0.1:0", "--seed", "7", "--webhook-pause-max-ms", "1000"])
            .arg("--config")
            .arg(self.dir.path().join("metasim.toml"))
            .arg("--port-file")
            .arg(&port_file)
            .arg("--app-secret-file")
            .arg(self.dir.path().join("app-secret"))
            .args(["--webhook-url", &format!("{}/webhooks/demo", self.gateway())])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log);
        self.metasim = Some(Process::start("metasim", &mut command));
        let port = wait::until("metasim listens", LIMIT, || {
            std::fs::read_to_string(&port_file).ok()?.trim().parse().ok()
        });
        self.metasim_port = port;
        self.write_stage_configs();
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).expect("a temp file");
    }

    fn write_files(&self) {
        self.write("app-secret", "metasim-app-secret");
        self.write("verify-token", "metasim-verify-token");
        self.write("access-token", "metasim-token");
        self.write("hash-key", "a hash key for tests, 32 bytes.!");
        let mut tenants = String::from("tenants:\n");
        let mut templates = String::from("templates:\n");
        let mut numbers = String::new();
        for (tenant, number, rate) in TENANTS {
            numbers.push_str(&format!(
                "[[phone_numbers]]\nid = \"{number}\"\ndisplay_number = \"15550001111\"\nwaba_id = \
                 \"200000000000001\"\nthroughput_per_second = {rate}\n"
            ));
            tenants.push_str(&format!(
                "  - tenant: {tenant}\n    name: {tenant}\n    credential: default\n    \
                 default-phone-number-id: \"{number}\"\n    phone-numbers:\n      - \
                 phone-number-id: \"{number}\"\n        waba-id: \"200000000000001\"\n        \
                 display-number: \"+15550001111\"\n        messages-per-second: {rate}\n"
            ));
            for (name, category, variables) in [
                ("order_confirmed", "utility", "2"),
                ("order_shipped", "utility", "[order_id, carrier]"),
                ("season_sale", "marketing", "1"),
            ] {
                templates.push_str(&format!(
                    "  - {{tenant: {tenant}, name: {name}, language: en_US, category: {category}, \
                     variables: {variables}}}\n"
                ));
            }
        }
        self.write("tenants.yaml", &tenants);
        self.write("templates.yaml", &templates);
        self.write("metasim.toml", &numbers);
    }

    fn write_stage_configs(&self) {
        let dir = self.dir.path().display();
        let common = format!(
            "[kafka.properties]\n\"bootstrap.servers\" = \"{}\"\n[registry]\nurl = \"{}\"\n\
             cache-dir = \"{dir}/registry-cache\"\n[runtime]\nsession-timeout-ms = {}\n\
             transaction-timeout-ms = 5000\n[log]\nformat = \"json\"\n",
            self.stack.bootstrap,
            self.stack.registry,
            SESSION.as_millis(),
        );
        let ingest = format!(
            "[ingest]\nrole = \"both\"\nhash-key-file = \"{dir}/hash-key\"\n[ingest.gateway]\n\
             listen = \"127.0.0.1:{}\"\n[[ingest.apps]]\nname = \"demo\"\n\
             secret-file = \"{dir}/app-secret\"\nverify-token-file = \"{dir}/verify-token\"\n",
            self.gateway_port
        );
        let send = format!(
            "[send]\nhash-key-file = \"{dir}/hash-key\"\nprovider-url = \"http://127.0.0.1:{}\"\n\
             api-version = \"v23.0\"\ndoubt-window-ms = {}\n[send.credentials.default]\n\
             token-file = \"{dir}/access-token\"\n",
            self.metasim_port,
            DOUBT_WINDOW.as_millis()
        );
        self.write("ingest.toml", &format!("{common}{ingest}"));
        self.write("policy.toml", &common);
        self.write("send.toml", &format!("{common}{send}"));
        let reconcile =
            format!("[status-reconcile]\ndoubt-window-ms = {}\n", DOUBT_WINDOW.as_millis());
        self.write("status-reconcile.toml", &format!("{common}{reconcile}"));
    }
}

/// The Python with confluent-kafka and fastavro that `make` prepares.
#[expect(clippy::disallowed_methods, reason = "set by make")]
fn python() -> String {
    std::env::var("SENDPLANE_TEST_PYTHON")
        .expect("SENDPLANE_TEST_PYTHON is set by make: eval \"$(make -s env)\"")
}

impl Drop for Plane {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The logs say why; keep them.
            let kept =
                std::env::temp_dir().join(format!("sendplane-failed-{}", std::process::id()));
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
