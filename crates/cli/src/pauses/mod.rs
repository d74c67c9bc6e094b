//! `pause`, `resume` and `pauses`: switches on the control topic.
//!
//! A pause is a row; the send stage of every instance reads it within a moment and grants no call
//! that fits. Lifting it is a tombstone.

mod scope;
#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::time::Duration;

use jiff::SignedDuration;
use sendplane_domain::time::Timestamp;
use sendplane_service::clock;
use sendplane_wire::record::Switch;
use sendplane_wire::topic;
use serde_json::{Value, json};

use self::scope::{Scope, told};
use crate::args::{Format, PauseArgs, ResumeArgs};
use crate::output::{self, moment};
use crate::session::{self, Fault, Session};
use crate::tables::Tables;

/// What waits longer passes the deadline of everything that waits.
const SPAN_MAX: Duration = sendplane_domain::limits::DEADLINE_MAX;

pub fn pause(session: &Session, args: &PauseArgs) -> Result<ExitCode, Fault> {
    let now = clock::now();
    let id = format!("p-{:x}-{:x}", now.as_millis(), std::process::id());
    let switch = switch(args, id, now)?;
    if !args.force {
        let scope = Scope::read(&args.scope)?;
        scope.check(&read(session)?).map_err(Fault::input)?;
    }
    let value = session.encoder(topic::CONTROL)?.encode(&switch)?;
    let key = switch.id.as_bytes();
    session.tools()?.produce(topic::CONTROL, key, Some(&value), &Vec::new(), None)?;
    match session.output {
        Format::Table => {
            let until = moment(switch.expires_at);
            output::line(&format!("{} holds {} until {until}", switch.id, told(&switch)))?;
            output::line(&format!("lift it with: sendplane resume {}", switch.id))?;
        }
        Format::Json => output::json(&as_json(&switch, now))?,
    }
    Ok(ExitCode::SUCCESS)
}

pub fn resume(session: &Session, args: &ResumeArgs) -> Result<ExitCode, Fault> {
    let tables = read(session)?;
    let lifted = chosen(args, &tables)?;
    let none = Vec::new();
    let tombstones = lifted.iter().map(|switch| (switch.id.as_bytes(), None, &none));
    session.tools()?.produce_all(topic::CONTROL, None, tombstones)?;
    let now = clock::now();
    match session.output {
        Format::Table => {
            for switch in &lifted {
                output::line(&format!("{} lifted: {}", switch.id, told(switch)))?;
            }
            let left = tables.switches.values().filter(|switch| switch.expires_at > now).count()
                - lifted.iter().filter(|switch| switch.expires_at > now).count();
            if left > 0 {
                output::line(&format!("{left} more in force, see: sendplane pauses"))?;
            }
        }
        Format::Json => {
            output::json(&lifted.iter().map(|switch| as_json(switch, now)).collect())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub fn list(session: &Session) -> Result<ExitCode, Fault> {
    let tables = read(session)?;
    let now = clock::now();
    match session.output {
        Format::Table => {
            let rows = tables.switches.values().map(|switch| row(switch, now));
            output::table(&["ID", "HOLDS", "", "SINCE", "EXPIRES", "BY", "REASON"], rows)?;
        }
        Format::Json => {
            output::json(&tables.switches.values().map(|row| as_json(row, now)).collect())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn read(session: &Session) -> Result<Tables, Fault> {
    let tables = Tables::read(session)?;
    if tables.unreadable > 0 {
        eprintln!(
            "sendplane: {} rows of tenants, templates and pauses cannot be read and hold nothing, \
             see `tail`",
            tables.unreadable
        );
    }
    Ok(tables)
}

/// The row that the arguments describe.
fn switch(args: &PauseArgs, id: String, now: Timestamp) -> Result<Switch, Fault> {
    let scope = Scope::read(&args.scope)?;
    match (scope.is_everything(), args.all) {
        (true, false) => {
            return Err(Fault::input(
                "say what to hold: --tenant, --lane, --category, --campaign, --template, --number, \
                 or --all for everything",
            ));
        }
        (false, true) => {
            return Err(Fault::input(
                "--all holds everything and excludes other flags of the scope; leave one out",
            ));
        }
        (true, true) | (false, false) => {}
    }
    Ok(Switch {
        id,
        tenant: scope.tenant,
        lane: scope.lane.map(|lane| lane.as_str().to_owned()),
        category: scope.category.map(str::to_owned),
        campaign: scope.campaign,
        template_name: scope.template,
        template_language: scope.language,
        phone_number_id: scope.number,
        reason: session::reason(&args.reason, "these messages are held")?,
        created_by: session::by(args.by.as_deref()),
        created_at: now,
        expires_at: now + span(&args.span)?,
    })
}

fn span(text: &str) -> Result<Duration, Fault> {
    let wrong = |what: &str| Fault::input(format!("--for {text}: {what}"));
    let span: SignedDuration =
        text.parse().map_err(|_| wrong("write a span such as 30m, 2h or 1h30m"))?;
    let span = Duration::try_from(span).map_err(|_| wrong("is negative; give a span from now"))?;
    if span < Duration::from_secs(1) {
        return Err(wrong("is over at once; give at least 1s"));
    }
    if span > SPAN_MAX {
        return Err(wrong("is longer than any message may wait; give at most 168h"));
    }
    Ok(span)
}

/// The pauses to lift; all that is named must be there, or nothing is done.
fn chosen<'t>(args: &ResumeArgs, tables: &'t Tables) -> Result<Vec<&'t Switch>, Fault> {
    let scope = Scope::read(&args.scope)?;
    let ways = [!args.ids.is_empty(), !scope.is_everything(), args.all];
    if ways.into_iter().filter(|given| *given).count() != 1 {
        return Err(Fault::input(
            "say what to lift in one way: ID…, the flags of its scope, or --all for every pause",
        ));
    }
    let is_listed = "`sendplane pauses` lists what is there";
    if !args.ids.is_empty() {
        let given = args.ids.iter().map(String::as_str);
        let unknown: Vec<&str> = given.filter(|id| !tables.switches.contains_key(*id)).collect();
        if !unknown.is_empty() {
            let ids = unknown.join(", ");
            return Err(Fault::input(format!("ID {ids}: no such pause; {is_listed}")));
        }
    }
    let is_chosen = |switch: &&Switch| {
        args.all || args.ids.contains(&switch.id) || args.ids.is_empty() && scope.is_of(switch)
    };
    let found: Vec<&Switch> = tables.switches.values().filter(is_chosen).collect();
    if found.is_empty() && !args.all {
        return Err(Fault::input(format!("no pause has exactly this scope; {is_listed}")));
    }
    Ok(found)
}

fn state(switch: &Switch, now: Timestamp) -> &'static str {
    if switch.expires_at > now { "in force" } else { "expired" }
}

fn row(switch: &Switch, now: Timestamp) -> Vec<String> {
    vec![
        switch.id.clone(),
        told(switch),
        state(switch, now).to_owned(),
        moment(switch.created_at),
        moment(switch.expires_at),
        switch.created_by.clone(),
        switch.reason.clone(),
    ]
}

fn as_json(switch: &Switch, now: Timestamp) -> Value {
    json!({
        "id": switch.id,
        "expired": switch.expires_at <= now,
        "tenant": switch.tenant.as_ref().map(|tenant| tenant.as_str()),
        "lane": switch.lane,
        "category": switch.category,
        "campaign": switch.campaign,
        "template": switch.template_name.as_ref().map(|name| name.as_str()),
        "language": switch.template_language,
        "number": switch.phone_number_id.as_ref().map(|number| number.as_str()),
        "reason": switch.reason,
        "by": switch.created_by,
        "since": moment(switch.created_at),
        "expires": moment(switch.expires_at),
    })
}
