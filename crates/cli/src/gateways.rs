//! `gateways`: how well each webhook gateway has served, as they say themselves.
//!
//! A gateway that died and never came back stands in the way of every proof by silence: nobody can
//! tell it from one that turns webhooks away. Only a person knows that it is gone.

use std::process::ExitCode;
use std::time::Duration;

use sendplane_domain::time::Timestamp;
use sendplane_service::clock;
use sendplane_wire::record::GatewayStatus;
use sendplane_wire::topic;
use serde_json::{Value, json};

use crate::args::{Format, Gateways};
use crate::output::{self, moment};
use crate::session::{Fault, Session};
use crate::tables::Tables;

/// A record is written at least every 10 s: one this old is of a gateway that does not run.
const SILENT: Duration = Duration::from_secs(60);

pub fn run(session: &Session, command: &Gateways) -> Result<ExitCode, Fault> {
    let tables = Tables::read(session)?;
    let now = clock::now();
    match command {
        Gateways::List => list(session, &tables, now)?,
        Gateways::Forget { instance, force } => {
            may_be_forgotten(&tables, instance, *force, now)?;
            let key = instance.as_bytes();
            session.tools()?.produce(topic::GATEWAYS, key, None, &Vec::new(), None)?;
            output::line(&format!("{instance} is forgotten"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(session: &Session, tables: &Tables, now: Timestamp) -> Result<(), Fault> {
    match session.output {
        Format::Table => {
            let rows = tables.gateways.values().map(|row| line_of(row, now));
            output::table(&["INSTANCE", "", "SINCE", "COMPLETE UNTIL", "GAPS", "LAST GAP"], rows)?;
        }
        Format::Json => {
            output::json(&tables.gateways.values().map(|row| as_json(row, now)).collect())?;
        }
    }
    Ok(())
}

/// An instance that runs would write its record again, without what it said before.
fn may_be_forgotten(
    tables: &Tables,
    instance: &str,
    force: bool,
    now: Timestamp,
) -> Result<(), Fault> {
    let Some(row) = tables.gateways.get(instance) else {
        let known: Vec<&str> = tables.gateways.keys().map(String::as_str).collect();
        return Err(Fault::input(format!(
            "INSTANCE {instance}: no gateway has this id; known are: {}",
            known.join(", ")
        )));
    };
    if state(row, now) == "serving" && !force {
        return Err(Fault::input(format!(
            "INSTANCE {instance}: it wrote its record at {} and seems to run; stop it first, or \
             say --force",
            moment(row.alive_at)
        )));
    }
    Ok(())
}

fn state(row: &GatewayStatus, now: Timestamp) -> &'static str {
    if row.is_stopped {
        "stopped"
    } else if now.since(row.alive_at) < SILENT {
        "serving"
    } else {
        "silent"
    }
}

fn line_of(row: &GatewayStatus, now: Timestamp) -> Vec<String> {
    let last = row
        .gaps
        .last()
        .map_or("-".to_owned(), |gap| format!("{} to {}", moment(gap.since), moment(gap.until)));
    vec![
        row.instance.clone(),
        state(row, now).to_owned(),
        moment(row.started_at),
        moment(row.alive_at),
        row.gaps.len().to_string(),
        last,
    ]
}

fn as_json(row: &GatewayStatus, now: Timestamp) -> Value {
    let gaps =
        row.gaps.iter().map(|gap| json!({"since": moment(gap.since), "until": moment(gap.until)}));
    json!({
        "instance": row.instance, "state": state(row, now), "started_at": moment(row.started_at),
        "complete_until": moment(row.alive_at), "gaps": gaps.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use sendplane_stages::directory::Change;
    use sendplane_wire::record::GatewayGap;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn tables() -> Tables {
        let mut tables = Tables::default();
        for (instance, ago, is_stopped) in
            [("runs", 5, false), ("gone", 60, false), ("left", 5, true)]
        {
            let at = NOW.minus(Duration::from_secs(ago));
            let gaps = vec![GatewayGap { since: NOW.minus(Duration::from_secs(90)), until: at }];
            let row = GatewayStatus {
                instance: instance.into(),
                started_at: at,
                alive_at: at,
                is_stopped,
                gaps,
            };
            tables.apply(Change::Gateway(instance.into(), Some(row)));
        }
        tables
    }

    #[test]
    fn one_that_runs_is_forgotten_only_by_force() {
        let tables = tables();
        let verdict = |instance, force| match may_be_forgotten(&tables, instance, force, NOW) {
            Ok(()) => "may".to_owned(),
            Err(Fault::Input(text)) => text,
            Err(Fault::Failed(error)) => panic!("{error}"),
        };
        assert_eq!((verdict("gone", false), verdict("left", false)), ("may".into(), "may".into()));
        assert_eq!(verdict("runs", true), "may");
        let text = verdict("runs", false);
        assert!(text.contains("seems to run; stop it first, or say --force"), "{text}");
        let text = verdict("never", true);
        assert_eq!(text, "INSTANCE never: no gateway has this id; known are: gone, left, runs");
    }

    #[test]
    fn a_list_says_how_each_stands() {
        let tables = tables();
        let rows: Vec<_> = tables.gateways.values().map(|row| line_of(row, NOW)).collect();
        let states: Vec<&str> = rows.iter().map(|row| row[1].as_str()).collect();
        assert_eq!(states, ["silent", "stopped", "serving"]);
        assert_eq!(rows[0][3..5], ["2023-11-14T22:12:20.000Z", "1"]);
        let value = as_json(&tables.gateways["gone"], NOW);
        assert_eq!(value["gaps"][0]["until"], "2023-11-14T22:12:20.000Z");
    }
}
