//! Counters in this process, and in processes of their own that can be killed and frozen: the test
//! binary starts itself again with `SENDPLANE_TEST_WORKER` set.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use sendplane_stage_runtime::{Effects, Error, Health, Runtime, RuntimeConfig, StageHost};
use sendplane_tests::counter::{CountV1, Counter, Echo, Format};
use sendplane_tests::process::Process;

use crate::case::{Case, LIMIT};

pub const SESSION: Duration = Duration::from_secs(6);

/// The configuration of a counter instance.
pub fn config(instance: &str, state: &Path, bootstrap: &str) -> RuntimeConfig {
    RuntimeConfig {
        instance_id: instance.to_owned(),
        kafka: [("bootstrap.servers".to_owned(), bootstrap.to_owned())].into(),
        state_dir: state.to_owned(),
        session_timeout: SESSION,
        transaction_timeout: Duration::from_secs(5),
        ..RuntimeConfig::default()
    }
}

/// Starts a counter in this process.
pub fn start_here(name: &str, config: RuntimeConfig) -> (Runtime, Health) {
    start_as::<CountV1>(name, config, Arc::new(Echo))
}

/// As [`start_here`], with the state format of any release and any effects.
pub fn start_as<V: Format>(
    name: &str,
    config: RuntimeConfig,
    effects: Effects<Counter<V>>,
) -> (Runtime, Health) {
    try_start_as(name, config, effects).expect("starts")
}

/// As [`start_here`], where a refusal is expected.
pub fn try_start(name: &str, config: RuntimeConfig) -> Result<(Runtime, Health), Error> {
    try_start_as::<CountV1>(name, config, Arc::new(Echo))
}

fn try_start_as<V: Format>(
    name: &str,
    config: RuntimeConfig,
    effects: Effects<Counter<V>>,
) -> Result<(Runtime, Health), Error> {
    // The first test to come sets it up; captured unless a test fails.
    let _ = tracing_subscriber::fmt()
        .with_env_filter("info")
        .with_test_writer()
        .with_ansi(false)
        .try_init();
    let (stage, topics) = Counter::<V>::named(name);
    let codec = Counter::codec(&topics);
    let health = Health::new();
    let host = StageHost { stage, codec, effects };
    let runtime = Runtime::start(config, host, health.clone(), &|| false)?;
    Ok((runtime.expect("topics are there"), health))
}

/// Starts a counter in a process of its own.
pub fn spawn(case: &Case, instance: &str, state: &Path) -> Process {
    let executable = std::env::current_exe().expect("a test binary knows itself");
    let mut command = Command::new(executable);
    command
        .args(["--exact", "worker::process", "--nocapture", "--test-threads=1"])
        .env("SENDPLANE_TEST_WORKER", case.name)
        .env("SENDPLANE_TEST_INSTANCE", instance)
        .env("SENDPLANE_TEST_STATE", state)
        .env("SENDPLANE_TEST_BOOTSTRAP", &case.bootstrap)
        .stdout(std::process::Stdio::null());
    Process::start(&format!("{}-{instance}", case.name), &mut command)
}

/// Tells a counter in a process of its own to drain and waits for its clean end.
pub fn stop_worker(state: &Path, mut process: Process) {
    std::fs::write(state.join("stop"), "").expect("writes");
    assert!(process.wait(LIMIT).success(), "a told worker ends cleanly");
    std::fs::remove_file(state.join("stop")).expect("removes");
}

#[expect(clippy::disallowed_methods, reason = "how the test binary talks to itself")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The worker's main. Without the variable it is not a worker and there is nothing to test.
#[test]
fn process() {
    let Some(name) = setting("SENDPLANE_TEST_WORKER") else {
        return;
    };
    let value = |key: &str| setting(key).expect("set by the parent");
    tracing_subscriber::fmt()
        .with_env_filter("info")
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let state = value("SENDPLANE_TEST_STATE");
    let config = config(
        &value("SENDPLANE_TEST_INSTANCE"),
        Path::new(&state),
        &value("SENDPLANE_TEST_BOOTSTRAP"),
    );
    let (runtime, _health) = start_here(&name, config);
    let stop = Path::new(&state).join("stop");
    while runtime.is_running() && !stop.exists() {
        std::thread::sleep(Duration::from_millis(20));
    }
    runtime.stop().expect("stops cleanly");
}
