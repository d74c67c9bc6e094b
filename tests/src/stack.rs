//! The local stack: real Kafka and a real schema registry, once per test binary.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// A running stack. A watcher takes it down when this process ends, however it ends.
#[derive(Debug)]
pub struct Stack {
    /// `bootstrap.servers`.
    pub bootstrap: String,
    /// Base URL of the registry's Confluent API.
    pub registry: String,
    /// Working directory of the stack.
    pub dir: PathBuf,
}

/// The repository's root.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the root exists")
}

/// The stack of this test binary; the first call starts it.
pub fn shared() -> &'static Stack {
    static STACK: OnceLock<Stack> = OnceLock::new();
    STACK.get_or_init(start)
}

fn start() -> Stack {
    let dir = std::env::temp_dir().join(format!("sendplane-test-{}", std::process::id()));
    let output = Command::new(root().join("deploy/stack/stack"))
        .args(["up", "--owner", &std::process::id().to_string(), "--dir"])
        .arg(&dir)
        .output()
        .expect("deploy/stack/stack can be run");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "the stack did not start:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let values: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.trim_start_matches("export ").split_once('='))
        .map(|(key, value)| (key, value.trim_matches(['"', '\''])))
        .collect();
    let value = |key: &str| {
        values.get(key).unwrap_or_else(|| panic!("{key} is missing in {text}")).to_string()
    };
    Stack {
        bootstrap: value("SENDPLANE_STACK_BOOTSTRAP"),
        registry: value("SENDPLANE_STACK_REGISTRY"),
        dir,
    }
}
