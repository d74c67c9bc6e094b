//! Clients of a plane: the operator's command, the Python client, and what it reads as outcomes.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::{LIMIT, Plane, binary};
use crate::verify::Begin;
use crate::{stack, wait};

impl Plane {
    /// Runs `sendplane` and returns what it printed; panics when it fails.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let (success, stdout, stderr) = self.try_cli(arguments);
        assert!(success, "sendplane {arguments:?} failed:\n{stdout}\n{stderr}");
        stdout
    }

    /// Runs `sendplane`: (success, standard output, standard error).
    pub fn try_cli(&self, arguments: &[&str]) -> (bool, String, String) {
        let (code, stdout, stderr) = self.cli_exit(arguments);
        (code == Some(0), stdout, stderr)
    }

    /// Runs `sendplane`: (exit code, standard output, standard error).
    pub fn cli_exit(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let output = Command::new(binary("sendplane"))
            .args(arguments)
            .env("SENDPLANE_BROKERS", &self.stack().bootstrap)
            .env("SENDPLANE_REGISTRY", &self.stack().registry)
            .stdin(Stdio::null())
            .output()
            .expect("sendplane can be run");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    /// Produces with the Python client; each line is a request as `tests/python/client.py` says.
    pub fn produce(&self, lines: &[Value]) {
        self.produce_with(lines, &[]);
    }

    /// As [`Self::produce`], with more arguments for the client.
    pub fn produce_with(&self, lines: &[Value], arguments: &[&str]) {
        let mut python = self.python("produce");
        let mut child = python.args(arguments).stdin(Stdio::piped()).spawn().expect("python runs");
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
        let mut python = self.python("read");
        python.args(["--topic", topic]);
        rows_of(python, topic)
    }

    /// Reads topics with the Python client, from where they stood at `begin`; each row names its
    /// topic.
    pub fn read_from(&self, topics: &[&str], begin: &Begin) -> Vec<Value> {
        let mut python = self.python("read");
        python.args(["--begin", &begin.to_json()]);
        for topic in topics {
            python.args(["--topic", topic]);
        }
        rows_of(python, &topics.join(", "))
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

    /// `tests/python/client.py` with a command, its answer piped.
    pub(crate) fn python(&self, command: &str) -> Command {
        let mut python = Command::new(python());
        python
            .arg(stack::root().join("tests/python/client.py"))
            .arg(command)
            .args(["--bootstrap", &self.stack().bootstrap, "--registry", &self.stack().registry])
            .stdout(Stdio::piped());
        python
    }
}

fn rows_of(mut python: Command, what: &str) -> Vec<Value> {
    let output = python.output().expect("python runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the Python client could not read {what}: {error}");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON line"))
        .collect()
}

/// The Python with confluent-kafka and fastavro that `make` prepares.
#[expect(clippy::disallowed_methods, reason = "set by make")]
fn python() -> String {
    std::env::var("SENDPLANE_TEST_PYTHON")
        .expect("SENDPLANE_TEST_PYTHON is set by make: eval \"$(make -s env)\"")
}
