//! One gateway as a process, and what is needed to look at it from outside.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use rdkafka::consumer::{BaseConsumer, Consumer};
use sendplane_tests::http::{self, Answer, Connection};
use sendplane_tests::plane::binary;
use sendplane_tests::process::Process;
use sendplane_tests::{kafka, stack, wait};
use sha2::Sha256;

/// Longest wait for anything that must happen.
pub const LIMIT: Duration = Duration::from_secs(60);
/// The topic of raw bodies.
pub const WEBHOOKS: &str = "sendplane.webhooks.v1";
/// Partitions of every topic.
pub const PARTITIONS: u32 = 4;
/// App secret of the app `demo`.
pub const SECRET: &str = "an app secret";
/// The one before.
pub const PREVIOUS: &str = "an app secret of last year";
/// Verify token of every app.
pub const TOKEN: &str = "a verify token";

/// A running gateway, with the apps `demo` (two secrets) and `other` (one, its own).
pub struct Gateway {
    dir: tempfile::TempDir,
    settings: Vec<(&'static str, String)>,
    process: Option<Process>,
    starts: usize,
    /// Port of the gateway.
    pub port: u16,
    /// Admin port.
    pub admin: u16,
}

/// A record of [`WEBHOOKS`], decoded by hand so that it shares no code with its writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// Record key.
    pub key: String,
    /// App of the path.
    pub app: String,
    /// The body.
    pub body: Vec<u8>,
    /// 1: the current secret, 2: the previous one.
    pub secret: i64,
}

impl Gateway {
    /// Starts one and waits until it is ready. `settings` are keys of `[ingest.gateway]`.
    pub fn start(settings: &[(&'static str, &str)]) -> Self {
        let mut gateway = Self::prepare(settings);
        gateway.launch(&[]);
        gateway.await_ready();
        gateway
    }

    /// Topics, schemas and files, but no process yet.
    pub fn prepare(settings: &[(&'static str, &str)]) -> Self {
        prepare_stack();
        let dir = tempfile::tempdir().expect("temp dir");
        let settings = settings.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        let gateway = Self { dir, settings, process: None, starts: 0, port: 0, admin: 0 };
        gateway.write("secret", SECRET);
        gateway.write("previous-secret", PREVIOUS);
        gateway.write("other-secret", "the secret of another app");
        gateway.write("token", TOKEN);
        gateway.write("hash-key", "a hash key for tests, 32 bytes.!");
        gateway
    }

    /// Writes a file into its directory, at once as whoever rotates secrets does.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        let temporary = path.with_extension("tmp");
        std::fs::write(&temporary, text).expect("a temp file");
        std::fs::rename(&temporary, &path).expect("a temp file");
    }

    /// The path of a file in its directory.
    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Starts the process and waits until it listens. `environment` wins over everything.
    pub fn launch(&mut self, environment: &[(&str, &str)]) {
        self.starts += 1;
        self.write("ingest.toml", &self.config());
        let log = std::fs::File::create(self.log()).expect("a log file");
        let mut command = Command::new(binary("ingest"));
        command
            .args(["--config", &self.path("ingest.toml")])
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log);
        self.process = Some(Process::start("ingest", &mut command));
        self.admin = self.logged_port("started", "admin");
        self.port = self.logged_port("webhook gateway listens", "address");
    }

    fn config(&self) -> String {
        let stack = stack::shared();
        let gateway: String =
            self.settings.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        format!(
            "[instance]\nid = \"gateway\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[kafka.properties]\n\
             \"bootstrap.servers\" = \"{}\"\n[registry]\nurl = \"{}\"\ncache-dir = \"{dir}/cache\"\n\
             [state]\ndir = \"{dir}/state\"\n[log]\nformat = \"json\"\n[ingest]\nrole = \
             \"gateway\"\nhash-key-file = \"{dir}/hash-key\"\n[ingest.gateway]\nlisten = \
             \"127.0.0.1:0\"\n{gateway}[[ingest.apps]]\nname = \"demo\"\nsecret-file = \
             \"{dir}/secret\"\nprevious-secret-file = \"{dir}/previous-secret\"\n\
             verify-token-file = \"{dir}/token\"\n[[ingest.apps]]\nname = \"other\"\nsecret-file = \
             \"{dir}/other-secret\"\nverify-token-file = \"{dir}/token\"\n",
            stack.bootstrap,
            stack.registry,
            dir = self.dir.path().display(),
        )
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join(format!("ingest-{}.log", self.starts))
    }

    /// The log of the process that was started last.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(self.log()).expect("a log file")
    }

    fn logged_port(&mut self, message: &str, field: &str) -> u16 {
        wait::until(&format!("the log says {message:?}"), LIMIT, || {
            let text = self.log_text();
            let running = self.process.as_mut().expect("started").is_running();
            assert!(running, "ingest ended:\n{text}");
            let line =
                text.lines().find(|line| line.contains(&format!("\"message\":\"{message}\"")))?;
            let after = line.split(&format!("\"{field}\":\"127.0.0.1:")).nth(1)?;
            after.split('"').next()?.parse().ok()
        })
    }

    /// Waits until `/readyz` answers 200.
    pub fn await_ready(&self) {
        let mut last = String::new();
        wait::until("the gateway is ready", LIMIT, || {
            let (status, body) = self.get("/readyz");
            if body != last {
                last = body;
            }
            (status == 200).then_some(())
        });
    }

    /// `GET` at the admin port.
    pub fn get(&self, path: &str) -> (u16, String) {
        http::request(self.admin, "GET", path, &[], "")
    }

    /// The sum of a metric over its labels that contain `label`.
    pub fn metric(&self, name: &str, label: &str) -> u64 {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200);
        let of = |line: &&str| line.split(['{', ' ']).next() == Some(name) && line.contains(label);
        let values = text.lines().filter(of).filter_map(|line| line.rsplit_once(' '));
        values.map(|(_, value)| value.parse::<f64>().expect("a number")).sum::<f64>() as u64
    }

    /// A signed body for the app `demo`: its answer on a connection of its own.
    pub fn post(&self, body: &[u8]) -> Answer {
        self.try_post(body).expect("an answer")
    }

    /// As [`Self::post`]; `None` when the connection ends without an answer.
    pub fn try_post(&self, body: &[u8]) -> Option<Answer> {
        let mut connection = Connection::open(self.port);
        connection.write(&signed(body, SECRET)).ok()?;
        connection.answer()
    }

    /// The answer to bytes on a connection of their own.
    pub fn send(&self, bytes: &[u8]) -> Option<Answer> {
        let mut connection = Connection::open(self.port);
        // A refused sender may be cut off while it still writes.
        let _ = connection.write(bytes);
        connection.answer()
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.process.take().expect("it runs").kill();
    }

    /// SIGTERM; panics unless it ends with 0.
    pub fn stop(&mut self) {
        let status = self.process.take().expect("it runs").terminate(LIMIT);
        assert!(status.success(), "{status}:\n{}", self.log_text());
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() && self.starts > 0 {
            let text = self.log_text();
            let tail: Vec<&str> = text.lines().rev().take(40).collect();
            eprintln!("the gateway's last lines, newest first:\n{}", tail.join("\n"));
        }
    }
}

/// Runs the operator's command on the stack.
pub fn cli(arguments: &[&str]) {
    let output = Command::new(binary("sendplane"))
        .args(arguments)
        .env("SENDPLANE_BROKERS", &stack::shared().bootstrap)
        .env("SENDPLANE_REGISTRY", &stack::shared().registry)
        .output()
        .expect("sendplane can be run");
    let [out, error] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    let status = output.status;
    assert!(status.success(), "sendplane {arguments:?}: {status}\n{out}\n{error}");
}

fn prepare_stack() {
    static PREPARED: OnceLock<()> = OnceLock::new();
    PREPARED.get_or_init(|| {
        let partitions = PARTITIONS.to_string();
        cli(&["topics", "apply", "--partitions", &partitions, "--replication", "1"]);
        cli(&["schemas", "register"]);
    });
}

/// The value of `X-Hub-Signature-256` for a body.
pub fn signature(body: &[u8], secret: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length");
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

/// A POST for the app `demo` with these headers besides `host` and `content-length`.
pub fn request(headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!(
        "POST /webhooks/demo HTTP/1.1\r\nhost: gateway\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    [head.as_bytes(), b"\r\n", body].concat()
}

/// A signed POST for the app `demo`.
pub fn signed(body: &[u8], secret: &str) -> Vec<u8> {
    request(&[("x-hub-signature-256", &signature(body, secret))], body)
}

/// A place in the topic of raw bodies.
pub struct Mark(Vec<i64>);

impl Mark {
    /// Its end now.
    pub fn now() -> Self {
        Self(ends())
    }

    /// What has come since.
    pub fn since(&self) -> Vec<Raw> {
        ends();
        let records = kafka::read_from(&stack::shared().bootstrap, WEBHOOKS, &self.0);
        records.into_iter().map(|record| decode(&record)).collect()
    }

    /// The bodies that have come since, and how often each.
    pub fn bodies(&self) -> BTreeMap<Vec<u8>, usize> {
        let mut bodies = BTreeMap::new();
        for raw in self.since() {
            *bodies.entry(raw.body).or_default() += 1;
        }
        bodies
    }
}

/// The end of every partition, as soon as the broker leads all of them: one that was away for
/// longer than its session does so only a while after its return.
fn ends() -> Vec<i64> {
    let consumer: BaseConsumer = kafka::config(&stack::shared().bootstrap)
        .set("group.id", "sendplane.tests")
        .create()
        .expect("a consumer");
    wait::until("the broker leads all partitions", LIMIT, || {
        let end = |partition| {
            let limit = Duration::from_secs(5);
            Some(consumer.fetch_watermarks(WEBHOOKS, partition, limit).ok()?.1)
        };
        (0..PARTITIONS as i32).map(end).collect()
    })
}

/// Confluent framing, then Avro: app, received_at, body, secret, gateway.
fn decode(record: &kafka::Read) -> Raw {
    let key = record.key.clone().expect("every webhook has a key");
    let value = record.value.as_deref().expect("no webhook is a tombstone");
    assert_eq!(value[0], 0, "the magic byte");
    let mut rest = &value[5..];
    let app = String::from_utf8(bytes(&mut rest)).expect("text");
    assert!(long(&mut rest) > 1_600_000_000_000, "received_at is in milliseconds");
    let body = bytes(&mut rest);
    let secret = long(&mut rest);
    assert_eq!(bytes(&mut rest), b"gateway");
    assert_eq!(rest, b"", "nothing follows");
    Raw { key: String::from_utf8(key).expect("text"), app, body, secret }
}

pub(crate) fn long(rest: &mut &[u8]) -> i64 {
    let (mut value, mut shift) = (0u64, 0);
    loop {
        let (byte, tail) = rest.split_first().expect("a complete datum");
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return (value >> 1) as i64 ^ -((value & 1) as i64);
        }
        shift += 7;
    }
}

pub(crate) fn bytes(rest: &mut &[u8]) -> Vec<u8> {
    let length = long(rest) as usize;
    let (found, tail) = rest.split_at(length);
    *rest = tail;
    found.to_vec()
}
