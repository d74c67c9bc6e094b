//! `topics`: creation and comparison. Nothing is altered or deleted.

use std::collections::BTreeMap;
use std::process::ExitCode;

use sendplane_stage_runtime::tools::{TopicPlan, TopicState};
use sendplane_wire::topic::{self, Partitions, TOPICS};
use serde_json::json;

use crate::args::{Format, Topics};
use crate::output;
use crate::session::{Fault, Session};

/// Partitions of a cluster without topics when nothing is said.
const PARTITIONS_DEFAULT: u32 = 16;

pub fn run(session: &Session, command: &Topics) -> Result<ExitCode, Fault> {
    let tools = session.tools()?;
    let present = tools.topics()?;
    match command {
        Topics::Apply { partitions, replication } => {
            let shared = partitions.unwrap_or_else(|| shared_partitions(&present));
            show(session, &tools.apply_topics(&plans(shared, *replication))?, shared)
        }
        Topics::List => {
            let shared = shared_partitions(&present);
            show(session, &tools.compare_topics(&plans(shared, 1))?, shared)
        }
    }
}

/// The one number of partitions that all partitioned topics share: what exists decides.
fn shared_partitions(present: &BTreeMap<String, u32>) -> u32 {
    TOPICS
        .iter()
        .filter(|spec| spec.partitions == Partitions::Shared)
        .find_map(|spec| present.get(spec.name).copied())
        .unwrap_or(PARTITIONS_DEFAULT)
}

fn plans(shared: u32, replication: u32) -> Vec<TopicPlan> {
    let plan = |spec: &topic::TopicSpec| TopicPlan {
        name: spec.name.to_owned(),
        partitions: spec.partition_count(shared),
        replication,
        configs: spec.configs().into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
    };
    TOPICS.iter().map(plan).collect()
}

/// Prints the states; a difference or a failure makes the command fail.
fn show(
    session: &Session,
    states: &[(String, TopicState)],
    shared: u32,
) -> Result<ExitCode, Fault> {
    let partitions = |name: &str| topic::spec(name).map_or(0, |spec| spec.partition_count(shared));
    match session.output {
        Format::Table => {
            let rows = states.iter().map(|(name, state)| {
                vec![name.clone(), partitions(name).to_string(), word(state).into(), detail(state)]
            });
            output::table(&["TOPIC", "PARTITIONS", "STATE", "DETAIL"], rows)?;
        }
        Format::Json => {
            let rows = states.iter().map(|(name, state)| {
                json!({
                    "topic": name, "partitions": partitions(name),
                    "state": word(state), "detail": detail(state),
                })
            });
            output::json(&rows.collect())?;
        }
    }
    let is_fine = |state: &TopicState| {
        matches!(state, TopicState::Created | TopicState::Unchanged | TopicState::Missing)
    };
    let fine = states.iter().all(|(_, state)| is_fine(state));
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn word(state: &TopicState) -> &'static str {
    match state {
        TopicState::Created => "created",
        TopicState::Unchanged => "unchanged",
        TopicState::Missing => "missing",
        TopicState::Differs(_) => "differs",
        TopicState::Failed(_) => "failed",
    }
}

fn detail(state: &TopicState) -> String {
    match state {
        TopicState::Differs(differences) => differences.join("; "),
        TopicState::Failed(error) => error.clone(),
        TopicState::Created | TopicState::Unchanged | TopicState::Missing => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn existing_topics_decide_the_shared_count() {
        assert_eq!(shared_partitions(&BTreeMap::new()), PARTITIONS_DEFAULT);
        let present = BTreeMap::from([
            (topic::TENANTS.to_owned(), 1),
            (topic::OUTCOMES.to_owned(), 4),
            ("foreign".to_owned(), 9),
        ]);
        assert_eq!(shared_partitions(&present), 4);
    }

    #[test]
    fn a_plan_has_the_settings_of_the_table() {
        let plans = plans(4, 3);
        assert_eq!(plans.len(), TOPICS.len());
        let tenants = plans.iter().find(|plan| plan.name == topic::TENANTS).unwrap();
        assert_eq!((tenants.partitions, tenants.replication), (1, 3));
        assert!(tenants.configs.contains(&("cleanup.policy".into(), "compact".into())));
    }
}
