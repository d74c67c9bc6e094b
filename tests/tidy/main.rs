//! Architecture as a test: what may depend on what, and what the tree must not contain.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use cargo_metadata::{DependencyKind, MetadataCommand};
use sendplane_tests::stack::root;

/// Crates that decide: no I/O, no async, no clients.
const PURE: [&str; 6] = [
    "sendplane-domain",
    "sendplane-wire",
    "sendplane-stage-api",
    "sendplane-stages",
    "sendplane-sim",
    "sendplane-provider-model",
];

/// What a pure crate must not reach, directly or through others.
const IMPURE: [&str; 10] = [
    "tokio",
    "rdkafka",
    "rocksdb",
    "reqwest",
    "hyper",
    "axum",
    "rand",
    "getrandom",
    "fastrand",
    "socket2",
];

/// Edges that do not count. apache-avro draws random sync markers for container files; `wire` writes
/// single records only, which have none.
const HARMLESS: [(&str, &str); 1] = [("apache-avro", "rand")];

/// Direct dependencies of every workspace package, and of everything below it.
fn graph() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        // Packages of other platforms need not be here.
        .other_options(["--locked", "--offline", "--filter-platform", &host()].map(str::to_owned))
        .exec()
        .expect("cargo metadata runs");
    let resolve = metadata.resolve.as_ref().expect("a resolved graph");
    resolve
        .nodes
        .iter()
        .map(|node| {
            let dependencies = node
                .deps
                .iter()
                .filter(|dep| dep.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal))
                .map(|dep| metadata[&dep.pkg].name.to_string())
                .collect();
            (metadata[&node.id].name.to_string(), dependencies)
        })
        .collect()
}

/// The platform's name as Cargo writes it, such as `x86_64-unknown-linux-gnu`.
fn host() -> String {
    let output = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("rustc names its host").to_owned()
}

fn reachable(graph: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(name) = open.pop() {
        for dependency in graph.get(&name).into_iter().flatten() {
            if HARMLESS.contains(&(name.as_str(), dependency.as_str())) {
                continue;
            }
            if seen.insert(dependency.clone()) {
                open.push(dependency.clone());
            }
        }
    }
    seen
}

#[test]
fn pure_crates_reach_nothing_impure() {
    let graph = graph();
    for name in PURE {
        assert!(graph.contains_key(name), "{name} is in the workspace");
        let found: Vec<String> = reachable(&graph, name)
            .into_iter()
            .filter(|dependency| IMPURE.contains(&dependency.as_str()))
            .collect();
        assert_eq!(found, Vec::<String>::new(), "{name} must stay pure");
    }
}

#[test]
fn one_crate_owns_kafka_and_rocksdb() {
    let graph = graph();
    let owners = |of: &str| -> Vec<String> {
        let direct = graph.iter().filter(|(_, deps)| deps.contains(of));
        direct.map(|(name, _)| name.clone()).filter(|name| name.starts_with("sendplane-")).collect()
    };
    assert_eq!(owners("rocksdb"), ["sendplane-stage-runtime"]);
    assert_eq!(owners("rdkafka"), ["sendplane-stage-runtime", "sendplane-tests"]);
    assert!(!owners("axum").contains(&"sendplane-stage-runtime".to_owned()));
}

/// The clock and the environment have few owners; clippy bans them elsewhere, this finds `use`s
/// that clippy's method list does not see.
#[test]
fn stages_do_not_use_each_other() {
    let stages = root().join("crates/stages/src");
    let modules = ["ingest", "policy", "send", "status_reconcile"];
    for module in modules {
        for (path, text) in sources(&stages.join(module)) {
            for other in modules.iter().filter(|other| **other != module) {
                assert!(
                    !text.contains(&format!("crate::{other}")),
                    "{path}: stage {module} uses stage {other}"
                );
            }
        }
    }
}

#[test]
fn the_tree_holds_nothing_unfinished() {
    let words = ["todo!", "unimplemented!", "#[ignore", "should_panic", "FIXME"];
    // What takes longer than a minute is run by its own target.
    let long = "#[ignore = \"long: make chaos\"]";
    for dir in ["crates", "tests"] {
        for (path, text) in sources(&root().join(dir)) {
            if path.ends_with("tidy/main.rs") {
                continue;
            }
            let finished = text.replace(long, "");
            for word in words {
                assert!(!finished.contains(word), "{path} contains {word}");
            }
            let lines = text.lines().count();
            assert!(lines <= 700, "{path} has {lines} lines; split it");
        }
    }
}

fn sources(dir: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("UTF-8 source");
                found.push((path.display().to_string(), text));
            }
        }
    }
    assert!(!found.is_empty(), "{} holds sources", dir.display());
    found
}
