//! `numbers show`: what limits a number, from the directory and send's own changelog.

use std::ops::ControlFlow;
use std::process::ExitCode;

use sendplane_domain::id::PhoneNumberId;
use sendplane_domain::opaque::HashKey;
use sendplane_domain::shard::ShardKey;
use sendplane_domain::time::Timestamp;
use sendplane_service::clock;
use sendplane_stage_api::table::ValueFault;
use sendplane_stage_runtime::tools::TailQuery;
use sendplane_stages::directory::Switches;
use sendplane_stages::send::SendSettings;
use sendplane_stages::send::view::{LaneView, LimitView, NumberView, Rows, Surroundings};
use sendplane_wire::record::{Tenant, TenantPhoneNumber};
use sendplane_wire::topic;
use serde_json::{Value, json};

use crate::args::{Format, Numbers};
use crate::output::{self, moment};
use crate::session::{Fault, Session};
use crate::tables::Tables;

pub fn run(session: &Session, command: &Numbers) -> Result<ExitCode, Fault> {
    let Numbers::Show { number, safety_percent } = command;
    let tables = Tables::read(session)?;
    let wanted = PhoneNumberId::new(number);
    let (tenant, found) = owner(&tables, &wanted)?;
    let rows = rows(session, tenant, &wanted)?;
    // Nothing that is shown depends on the key.
    let mut settings = SendSettings::new(HashKey::new("none"));
    settings.safety_percent = safety_percent.unwrap_or(settings.safety_percent);
    let mut switches = Switches::default();
    for (id, switch) in &tables.switches {
        switches.set(id, Some(switch.clone()));
    }
    let now = clock::now();
    let around =
        Surroundings { settings: &settings, tenant, number: found, switches: &switches, now };
    let view = rows.view(&around);
    match session.output {
        Format::Table => {
            output::line(&headline(tenant, found, &view))?;
            output::table(
                &["LANE", "QUEUED", "PARKED", "BOUND BY"],
                view.lanes.iter().map(lane_row),
            )?;
            let limits = view.limits.iter().map(|limit| limit_row(limit, now));
            output::table(&["LIMIT", "LEVEL", "HOLDS UNTIL"], limits)?;
        }
        Format::Json => output::json(&as_json(tenant, number, &view, now))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Whose number it is.
fn owner<'t>(
    tables: &'t Tables,
    number: &PhoneNumberId,
) -> Result<(&'t Tenant, &'t TenantPhoneNumber), Fault> {
    let owned = |tenant: &'t Tenant| {
        let found = tenant.phone_numbers.iter().find(|one| one.phone_number_id == *number);
        found.map(|found| (tenant, found))
    };
    tables.tenants.values().find_map(owned).ok_or_else(|| {
        let known: Vec<&str> = tables
            .tenants
            .values()
            .flat_map(|tenant| &tenant.phone_numbers)
            .map(|one| one.phone_number_id.as_str())
            .take(20)
            .collect();
        Fault::input(format!(
            "PHONE_NUMBER_ID {number}: no tenant has it; tenants have {}",
            known.join(", ")
        ))
    })
}

/// The number's rows, out of the changelog partition of its tenant.
fn rows(session: &Session, tenant: &Tenant, number: &PhoneNumberId) -> Result<Rows, Fault> {
    let tools = session.tools()?;
    let partitions = tools.partition_count(topic::CHANGELOG_SEND)?;
    let query = TailQuery {
        topics: &[topic::CHANGELOG_SEND],
        partition: Some(ShardKey::of(tenant.tenant.clone()).partition(partitions)),
        from_beginning: true,
        until_end: true,
    };
    let mut rows = Rows::of(tenant.tenant.clone(), number.clone());
    let mut fault = None;
    tools.tail(&query, &mut |record| {
        let Some(key) = record.key else { return ControlFlow::Continue(()) };
        match rows.take(&key, record.value.as_deref()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(found) => {
                fault = Some(found);
                ControlFlow::Break(())
            }
        }
    })?;
    match fault {
        None => Ok(rows),
        Some(ValueFault::VersionAhead { found, known }) => Err(anyhow::anyhow!(
            "send has written rows of format {found}, this command knows {known}: use the command \
             of the release that send runs"
        )
        .into()),
        Some(ValueFault::Corrupt(detail)) => {
            Err(anyhow::anyhow!("a row of send's changelog cannot be read: {detail}").into())
        }
    }
}

fn headline(tenant: &Tenant, number: &TenantPhoneNumber, view: &NumberView) -> String {
    let source = if view.ceiling_from == "notice" { "by notice" } else { "by the tenant's record" };
    format!(
        "{} of tenant {}: {:.1}/s now; ceiling {}/s ({source}), {} % below it",
        number.phone_number_id, tenant.tenant, view.pace, view.ceiling, view.margin_percent
    )
}

fn lane_row(lane: &LaneView) -> Vec<String> {
    vec![
        lane.lane.as_str().to_owned(),
        lane.queued.to_string(),
        lane.parked.to_string(),
        lane.bound_by.unwrap_or("-").to_owned(),
    ]
}

fn limit_row(limit: &LimitView, now: Timestamp) -> Vec<String> {
    let scope = if limit.bulk_only { " (bulk)" } else { "" };
    let until = limit.until.filter(|at| *at > now).map_or("-".to_owned(), until_text);
    vec![limit.name.to_owned(), limit.level.clone(), format!("{until}{scope}")]
}

/// A limit that ends with a change only has no time.
fn until_text(at: Timestamp) -> String {
    if at.as_millis() == i64::MAX { "changed".to_owned() } else { moment(at) }
}

fn as_json(tenant: &Tenant, number: &str, view: &NumberView, now: Timestamp) -> Value {
    let lanes = view.lanes.iter().map(|lane| {
        json!({
            "lane": lane.lane.as_str(), "queued": lane.queued, "parked": lane.parked,
            "bound_by": lane.bound_by,
        })
    });
    let limits = view.limits.iter().map(|limit| {
        json!({
            "name": limit.name, "level": limit.level, "bulk_only": limit.bulk_only,
            "holds_until": limit.until.filter(|at| *at > now).map(until_text),
        })
    });
    json!({
        "phone_number_id": number, "tenant": tenant.tenant, "ceiling": view.ceiling,
        "ceiling_from": view.ceiling_from, "margin_percent": view.margin_percent,
        "pace_per_second": (view.pace * 10.0).round() / 10.0,
        "lanes": lanes.collect::<Vec<_>>(), "limits": limits.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use sendplane_stages::directory::{Change, sample};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn tables() -> Tables {
        let mut tables = Tables::default();
        let row = sample::tenant("acme");
        tables.apply(Change::Tenant(row.tenant.clone(), Some(row)));
        tables
    }

    fn shown() -> (Tables, NumberView) {
        let tables = tables();
        let number = PhoneNumberId::new("acme-number");
        let Ok((tenant, found)) = owner(&tables, &number) else { panic!("it is known") };
        let rows = Rows::of(tenant.tenant.clone(), number);
        let settings = SendSettings::new(HashKey::new("none"));
        let mut switches = Switches::default();
        let mut pause = sample::switch("p1", Timestamp::from_millis(1_700_000_060_000));
        pause.lane = Some("bulk".into());
        switches.set("p1", Some(pause));
        let around = Surroundings {
            settings: &settings,
            tenant,
            number: found,
            switches: &switches,
            now: NOW,
        };
        let view = rows.view(&around);
        (tables, view)
    }

    #[test]
    fn a_number_nobody_has_is_named_with_those_that_somebody_has() {
        match owner(&tables(), &PhoneNumberId::new("5")) {
            Err(Fault::Input(text)) => {
                assert_eq!(text, "PHONE_NUMBER_ID 5: no tenant has it; tenants have acme-number");
            }
            other => panic!("{:?}", other.map(|(tenant, _)| tenant.tenant.clone()).is_ok()),
        }
    }

    #[test]
    fn people_see_what_binds_each_lane() {
        let (tables, view) = shown();
        let tenant = tables.tenants.values().next().expect("one");
        assert_eq!(
            headline(tenant, &tenant.phone_numbers[0], &view),
            "acme-number of tenant acme: 76.0/s now; ceiling 80/s (by the tenant's record), 5 % \
             below it"
        );
        let lanes: Vec<_> = view.lanes.iter().map(lane_row).collect();
        assert_eq!(lanes, [["transactional", "0", "0", "-"], ["bulk", "0", "0", "pause"]]);
        let rows: Vec<_> = view.limits.iter().map(|limit| limit_row(limit, NOW)).collect();
        assert_eq!(rows[0], ["pace", "whole", "-"]);
        let pause = rows.iter().find(|row| row[0] == "pause").expect("listed");
        assert_eq!(pause[1..], ["p1 by tester: a test", "2023-11-14T22:14:20.000Z (bulk)"]);
    }

    #[test]
    fn programs_see_the_same() {
        let (tables, view) = shown();
        let tenant = tables.tenants.values().next().expect("one");
        let value = as_json(tenant, "acme-number", &view, NOW);
        assert_eq!((&value["ceiling"], &value["pace_per_second"]), (&json!(80), &json!(76.0)));
        assert_eq!(value["lanes"][1]["bound_by"], "pause");
        assert_eq!(value["lanes"][0]["bound_by"], Value::Null);
        let limits = value["limits"].as_array().expect("a list");
        let pause = limits.iter().find(|limit| limit["name"] == "pause").expect("listed");
        assert_eq!(
            (&pause["bulk_only"], &pause["holds_until"]),
            (&json!(true), &json!("2023-11-14T22:14:20.000Z"))
        );
    }
}
