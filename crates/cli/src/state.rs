//! `state verify`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use sendplane_stage_runtime::RuntimeConfig;
use sendplane_stage_runtime::verify::{self, Report};
use serde_json::{Value, json};

use crate::args::{Format, State};
use crate::output;
use crate::session::{Fault, Session};

const STAGES: [&str; 4] = ["ingest", "policy", "send", "status-reconcile"];

pub fn run(session: &Session, command: &State) -> Result<ExitCode, Fault> {
    let State::Verify { dir, stage } = command;
    let config = RuntimeConfig {
        instance_id: "cli".into(),
        kafka: session.kafka()?,
        ..RuntimeConfig::default()
    };
    let mut reports = Vec::new();
    for (stage, dir) in stores(dir, stage.as_deref())? {
        let found = verify::verify(&config, stage, &dir)?;
        reports.extend(found.into_iter().map(|report| (stage, report)));
    }
    show(session, &reports)?;
    let holds = reports.iter().all(|(_, report)| report.holds());
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The stages with a directory: `dir` itself by its name or as told, else those below it.
fn stores(dir: &Path, stage: Option<&str>) -> Result<Vec<(&'static str, PathBuf)>, Fault> {
    let known = |name: &str| STAGES.iter().find(|stage| **stage == name).copied();
    if let Some(stage) = stage {
        let fix = || Fault::input(format!("--stage {stage}: use {}", STAGES.join(", ")));
        return Ok(vec![(known(stage).ok_or_else(fix)?, dir.to_owned())]);
    }
    if let Some(stage) = dir.file_name().and_then(|name| name.to_str()).and_then(known) {
        return Ok(vec![(stage, dir.to_owned())]);
    }
    let below: Vec<(&'static str, PathBuf)> = STAGES
        .iter()
        .map(|stage| (*stage, dir.join(stage)))
        .filter(|(_, dir)| dir.is_dir())
        .collect();
    if below.is_empty() {
        return Err(Fault::input(format!(
            "DIR {}: holds no directory of a stage; name the state directory of an instance",
            dir.display()
        )));
    }
    Ok(below)
}

fn show(session: &Session, reports: &[(&str, Report)]) -> Result<(), Fault> {
    match session.output {
        Format::Table => {
            let rows = reports.iter().map(|(stage, report)| {
                let result = if report.holds() { "holds".to_owned() } else { faults(report) };
                vec![
                    (*stage).to_owned(),
                    report.partition.to_string(),
                    report.txn_seq.to_string(),
                    report.next_offset.to_string(),
                    report.compared.to_string(),
                    report.superseded.to_string(),
                    result,
                ]
            });
            let header =
                ["STAGE", "PARTITION", "TXN", "OFFSET", "COMPARED", "SUPERSEDED", "RESULT"];
            Ok(output::table(&header, rows)?)
        }
        Format::Json => {
            let rows: Value = reports
                .iter()
                .map(|(stage, report)| {
                    json!({
                        "stage": stage, "partition": report.partition, "holds": report.holds(),
                        "txn_seq": report.txn_seq, "next_offset": report.next_offset,
                        "compared": report.compared, "superseded": report.superseded,
                        "only_in_store": report.only_in_store,
                        "only_in_changelog": report.only_in_changelog,
                        "different": report.different,
                    })
                })
                .collect();
            Ok(output::json(&rows)?)
        }
    }
}

fn faults(report: &Report) -> String {
    format!(
        "FAULT: {} only in the store, {} only in the changelog, {} different (keys: -o json)",
        report.only_in_store.len(),
        report.only_in_changelog.len(),
        report.different.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_stands_for_one_stage_or_for_all_below_it() {
        let root = tempfile::tempdir().unwrap();
        for stage in ["send", "policy", "other"] {
            std::fs::create_dir(root.path().join(stage)).unwrap();
        }
        let names = |found: Vec<(&'static str, PathBuf)>| -> Vec<&str> {
            found.into_iter().map(|(stage, _)| stage).collect()
        };
        assert_eq!(names(stores(root.path(), None).unwrap()), ["policy", "send"]);
        assert_eq!(names(stores(&root.path().join("send"), None).unwrap()), ["send"]);
        assert_eq!(names(stores(root.path(), Some("ingest")).unwrap()), ["ingest"]);
        assert!(matches!(stores(root.path(), Some("x")), Err(Fault::Input(_))));
        assert!(matches!(stores(&root.path().join("other"), None), Err(Fault::Input(_))));
    }
}
