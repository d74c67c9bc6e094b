//! The local stack: real Kafka and a real schema registry, once per test binary.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::proxy::{Proxy, Route};

/// A running stack. A watcher takes it down when this process ends, however it ends.
#[derive(Debug)]
pub struct Stack {
    /// `bootstrap.servers`.
    pub bootstrap: String,
    /// Base URL of the registry's Confluent API.
    pub registry: String,
    /// Working directory of the stack.
    pub dir: PathBuf,
    routes: Vec<Route>,
}

/// The repository's root.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the root exists")
}

impl Stack {
    /// Runs a command of `deploy/stack/stack` on this stack: `["restart-kafka", "--kill"]`.
    pub fn command(&self, arguments: &[&str]) {
        let output = Command::new(root().join("deploy/stack/stack"))
            .args(arguments)
            .arg("--dir")
            .arg(&self.dir)
            .output()
            .expect("deploy/stack/stack can be run");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "stack {arguments:?} failed:\n{error}");
    }
}

/// The stack of this test binary; the first call starts it.
pub fn shared() -> &'static Stack {
    static STACK: OnceLock<Stack> = OnceLock::new();
    STACK.get_or_init(|| start("", &["--proxied"]))
}

/// The proxy in front of the shared stack's broker and the `bootstrap.servers` that lead through
/// it; the first call starts it.
pub fn proxy() -> (&'static Proxy, String) {
    static PROXY: OnceLock<Proxy> = OnceLock::new();
    let routes = &shared().routes;
    let listening: Vec<&str> = routes.iter().map(|route| route.listen.as_str()).collect();
    (PROXY.get_or_init(|| Proxy::start(routes)), listening.join(","))
}

/// Starts a stack of its own, beside the shared one; `options` as `stack up` takes them.
pub fn start(name: &str, options: &[&str]) -> Stack {
    let own = std::process::id().to_string();
    let dir = std::env::temp_dir().join(format!("sendplane-test-{own}{name}"));
    let output = Command::new(root().join("deploy/stack/stack"))
        .args(["up", "--owner", &own, "--dir"])
        .arg(&dir)
        .args(options)
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
    let routes = values.get("SENDPLANE_STACK_PROXY_ROUTES").into_iter().flat_map(|routes| {
        routes.split(',').map(|route| {
            let (listen, broker) = route.split_once('>').expect("listen>broker");
            Route { listen: listen.to_owned(), broker: broker.to_owned() }
        })
    });
    Stack {
        bootstrap: value("SENDPLANE_STACK_BOOTSTRAP"),
        registry: value("SENDPLANE_STACK_REGISTRY"),
        routes: routes.collect(),
        dir,
    }
}
