//! The command line: files in, address out, a clean end.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::{DEADLINE, order};
use crate::receiver::Receiver;

/// Ends the process when a test fails half-way.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const CONFIG: &str = r#"
    access_tokens = ["from-file"]
    phone_numbers = [{ id = "42", display_number = "15550100042", waba_id = "7" }]
    [[templates]]
    name = "order_confirmed"
    language = "en_US"
    category = "utility"
    body = { positional = 2 }
    [faults]
    latency_ms = [0, 1]
    errors = [{ code = 131016, probability = 1.0 }]
"#;

/// Starts the binary with its files in `dir` and waits for its first log line.
fn start(dir: &Path, webhook_url: &str) -> (Guard, Value) {
    std::fs::write(dir.join("metasim.toml"), CONFIG).expect("written");
    std::fs::write(dir.join("secret"), "s3cret\n").expect("written");
    let child = Command::new(env!("CARGO_BIN_EXE_metasim"))
        .current_dir(dir)
        .args(["--port-file", "port", "--config", "metasim.toml"])
        .args(["--app-secret-file", "secret", "--seed", "7"])
        .args(["--webhook-url", webhook_url])
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut guard = Guard(child);
    let stdout = guard.0.stdout.take().expect("piped");
    let line = BufReader::new(stdout).lines().next().expect("a line").expect("text");
    (guard, serde_json::from_str(&line).expect("JSON"))
}

#[tokio::test]
async fn the_binary_serves_its_configuration_and_ends_on_sigterm() {
    let dir = tempfile::tempdir().expect("a directory");
    let receiver = Receiver::start("s3cret").await;
    let (mut guard, line) = start(dir.path(), &receiver.url());
    let fields = &line["fields"];
    assert_eq!((&fields["message"], &fields["seed"]), (&json!("listening"), &json!(7)));
    let port = std::fs::read_to_string(dir.path().join("port")).expect("written before the line");
    let addr = format!("127.0.0.1:{}", port.trim());
    assert_eq!(fields["addr"], addr.as_str());

    let client = reqwest::Client::builder().no_proxy().build().expect("client");
    let request = client
        .post(format!("http://{addr}/v25.0/42/messages"))
        .bearer_auth("from-file")
        .json(&order("+4915112345678", "o"));
    let answer: Value = request.send().await.expect("answer").json().await.expect("JSON");
    assert_eq!(answer["error"]["code"], 131_016);
    let status = json!({"kind": "status", "phone_number_id": "42", "status": {"status": "sent"}});
    let inject = client.post(format!("http://{addr}/metasim/inbound")).json(&status);
    assert_eq!(inject.send().await.expect("answer").status(), 200);
    assert_eq!(receiver.wait_for_statuses(1).await[0]["status"], "sent");
    assert_eq!(receiver.forged(), 0, "signed with the secret of the file");
    // Without a second address the first must stay open.
    let refuse =
        client.post(format!("http://{addr}/metasim/faults")).json(&json!({"down": "refuse"}));
    assert_eq!(refuse.send().await.expect("answer").status(), 409);

    let pid = guard.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
    let deadline = tokio::time::Instant::now() + DEADLINE;
    let status = loop {
        if let Some(status) = guard.0.try_wait().expect("waitable") {
            break status;
        }
        assert!(tokio::time::Instant::now() < deadline, "does not end");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    assert!(status.success(), "{status}");
}

#[test]
fn a_wrong_configuration_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("metasim.toml");
    for (text, reason) in [("sed = 1", "sed"), ("read_ratio = 2.0", "read_ratio")] {
        std::fs::write(&path, text).expect("written");
        let output = Command::new(env!("CARGO_BIN_EXE_metasim"))
            .arg("--config")
            .arg(&path)
            .output()
            .expect("started");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains(reason), "{stderr}");
    }
}
