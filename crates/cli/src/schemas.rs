//! `schemas`: registration and checks.

use std::process::ExitCode;

use sendplane_service::registry::deploy::{self, Registered};
use sendplane_wire::registry::SUBJECTS;
use serde_json::json;

use crate::args::{Format, Schemas};
use crate::output;
use crate::session::{Fault, Session};

/// One line of the result.
struct Row {
    subject: String,
    level: &'static str,
    result: String,
    is_fine: bool,
}

pub fn run(session: &Session, command: &Schemas) -> Result<ExitCode, Fault> {
    match command {
        Schemas::Register => register(session),
        Schemas::Check { offline } => check(session, *offline),
    }
}

fn register(session: &Session) -> Result<ExitCode, Fault> {
    let client = session.registry_client()?;
    let rows = SUBJECTS.iter().map(|subject| {
        let registered = session.wait(deploy::register(&client, subject));
        Row {
            subject: subject.name(),
            level: subject.compatibility.as_str(),
            is_fine: registered.is_ok(),
            result: match registered {
                Ok(Registered::New(id)) => format!("registered, id {id}"),
                Ok(Registered::Unchanged(id)) => format!("unchanged, id {id}"),
                Err(fault) => fault.to_string(),
            },
        }
    });
    show(session, rows.collect())
}

fn check(session: &Session, offline: bool) -> Result<ExitCode, Fault> {
    let faults = deploy::lint();
    for fault in &faults {
        eprintln!("sendplane: {fault}");
    }
    if offline {
        if faults.is_empty() {
            output::line(&format!("{} subjects, no fault", SUBJECTS.len()))?;
            return Ok(ExitCode::SUCCESS);
        }
        return Ok(ExitCode::FAILURE);
    }
    let client = session.registry_client()?;
    let rows = SUBJECTS.iter().map(|subject| {
        let standing = session.wait(deploy::check(&client, subject));
        Row {
            subject: subject.name(),
            level: subject.compatibility.as_str(),
            is_fine: standing.as_ref().is_ok_and(|standing| standing.is_acceptable()),
            result: standing
                .map_or_else(|fault| fault.to_string(), |standing| standing.to_string()),
        }
    });
    let code = show(session, rows.collect())?;
    Ok(if faults.is_empty() { code } else { ExitCode::FAILURE })
}

fn show(session: &Session, rows: Vec<Row>) -> Result<ExitCode, Fault> {
    let fine = rows.iter().all(|row| row.is_fine);
    match session.output {
        Format::Table => {
            let lines = rows.into_iter().map(|row| {
                let mark = if row.is_fine { "ok" } else { "FAULT" };
                vec![row.subject, row.level.to_owned(), mark.to_owned(), row.result]
            });
            output::table(&["SUBJECT", "COMPATIBILITY", "", "RESULT"], lines)?;
        }
        Format::Json => {
            let lines = rows.into_iter().map(|row| {
                json!({
                    "subject": row.subject, "compatibility": row.level,
                    "ok": row.is_fine, "result": row.result,
                })
            });
            output::json(&lines.collect())?;
        }
    }
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
