//! What a replay would do to each letter, before anything is done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sendplane_domain::shard::partition_of;
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::replay::LetterId;
use sendplane_wire::topic::{self, Kind};

use super::filter::Filter;
use super::index::{Entry, Index};

/// Letters that are nearly as old as what their topic keeps are not written there any more: they
/// could be deleted before a stage that is behind has read them.
const RETENTION_MARGIN: Duration = Duration::from_secs(3600);

/// What is to be done with a letter.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Write it there.
    Replay {
        /// Topic it came from.
        topic: &'static str,
        /// Partition it came from.
        partition: i32,
    },
    /// It was replayed before: when, by whom, why.
    Skip(String),
    /// It cannot be replayed, and why.
    Refuse(String),
}

/// Which letters, and how.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'c> {
    /// These, if there are any.
    pub ids: &'c [LetterId],
    /// Otherwise all that pass.
    pub filter: &'c Filter,
    /// Also those that were replayed before.
    pub again: bool,
    /// At most so many.
    pub limit: usize,
}

/// The steps for the letters meant, in the order of their partitions.
pub fn plan(
    index: &Index,
    choice: Choice<'_>,
    counts: &BTreeMap<String, u32>,
    now: Timestamp,
) -> Vec<(LetterId, Step)> {
    let meant: Vec<LetterId> = if choice.ids.is_empty() {
        let passing = index.entries.iter().filter(|(id, entry)| choice.filter.lets_pass(id, entry));
        passing
            .filter(|(_, entry)| choice.again || entry.replays.is_empty())
            .map(|(id, _)| id.clone())
            .take(choice.limit)
            .collect()
    } else {
        let named: BTreeSet<&LetterId> = choice.ids.iter().collect();
        named.into_iter().take(choice.limit).cloned().collect()
    };
    let step = |id: &LetterId| match index.entries.get(id) {
        None => Step::Refuse("is no dead letter, or is deleted by now".into()),
        Some(entry) => match entry.replays.last() {
            Some(before) if !choice.again => Step::Skip(before.told()),
            Some(_) | None => step(entry, counts, now),
        },
    };
    meant.into_iter().map(|id| (id.clone(), step(&id))).collect()
}

fn step(entry: &Entry, counts: &BTreeMap<String, u32>, now: Timestamp) -> Step {
    let name = &entry.letter.topic;
    let Some(spec) = topic::spec(name).filter(|spec| spec.kind == Kind::Work) else {
        return Step::Refuse(format!("came from {name:?}, which is no topic of sendplane's work"));
    };
    let Some(count) = counts.get(spec.name).copied() else {
        return Step::Refuse(format!("{name} does not exist; run `sendplane topics apply`"));
    };
    let partition = match (entry.letter.place, &entry.letter.tenant) {
        (Some((partition, _)), _) => partition,
        // What a stage wrote from its state stands where its tenant is at home.
        (None, Some(tenant)) => partition_of(tenant.as_bytes(), count),
        (None, None) => return Step::Refuse("names neither a partition nor a tenant".into()),
    };
    if !(0..count as i32).contains(&partition) {
        return Step::Refuse(format!("came from partition {partition}, {name} has {count}"));
    }
    let kept = spec.retention.unwrap_or(Duration::MAX).saturating_sub(RETENTION_MARGIN);
    if now.since(entry.timestamp) >= kept {
        let days = spec.retention.unwrap_or_default().as_secs() / (24 * 3600);
        return Step::Refuse(format!(
            "is older than the {days} days that {name} keeps: it could be deleted there before it \
             is read; have it produced again"
        ));
    }
    Step::Replay { topic: spec.name, partition }
}

#[cfg(test)]
mod tests {
    use super::super::index::sample::{id, index, letter, marker, record};
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const TOPIC: &str = "sendplane.requests.transactional.v1";

    fn counts() -> BTreeMap<String, u32> {
        BTreeMap::from([(TOPIC.to_owned(), 4), (topic::DISPATCH_BULK.to_owned(), 4)])
    }

    fn sample() -> Index {
        let recent = NOW.as_millis() - 1_000;
        index([
            ("ingest/0/1", letter("undecodable", "acme", recent)),
            ("ingest/0/2", letter("undecodable", "acme", recent)),
            ("ingest/1/1", letter("unknown_tenant", "globex", recent)),
            ("ingest/1/2", marker("ingest/0/1", recent)),
        ])
    }

    fn planned(choice: Choice<'_>) -> Vec<String> {
        let steps = plan(&sample(), choice, &counts(), NOW).into_iter();
        let told = steps.map(|(id, step)| match step {
            Step::Replay { topic, partition } => format!("{id} > {topic}/{partition}"),
            Step::Skip(before) => format!("{id} skip {before}"),
            Step::Refuse(why) => format!("{id} refuse {why}"),
        });
        told.collect()
    }

    fn choice<'c>(ids: &'c [LetterId], filter: &'c Filter) -> Choice<'c> {
        Choice { ids, filter, again: false, limit: usize::MAX }
    }

    #[test]
    fn filters_choose_what_was_not_replayed() {
        let all = Filter::default();
        let first = format!("ingest/0/1 > {TOPIC}/2");
        let others = [format!("ingest/0/2 > {TOPIC}/2"), format!("ingest/1/1 > {TOPIC}/2")];
        assert_eq!(planned(choice(&[], &all)), others);
        assert_eq!(planned(Choice { limit: 1, ..choice(&[], &all) }), others[..1]);
        let again = planned(Choice { again: true, ..choice(&[], &all) });
        assert_eq!(again, [first, others[0].clone(), others[1].clone()]);
    }

    #[test]
    fn a_letter_that_is_named_is_answered_whatever_it_is() {
        let ids = [id("ingest/9/9"), id("ingest/0/1"), id("ingest/0/2"), id("ingest/0/2")];
        let filter = Filter::default();
        let found = planned(choice(&ids, &filter));
        assert_eq!(found.len(), 3, "each once: {found:?}");
        assert!(found[0].starts_with("ingest/0/1 skip 2023-11-14"), "{found:?}");
        assert!(found[0].ends_with("by ada@host: healed"), "{found:?}");
        assert!(found[1].starts_with("ingest/0/2 >"), "{found:?}");
        assert!(found[2].starts_with("ingest/9/9 refuse is no dead letter"), "{found:?}");
    }

    #[test]
    fn what_cannot_be_replayed_is_refused_with_the_reason() {
        let old = NOW.as_millis() - 14 * 24 * 3_600_000;
        let with = |name: &str, value: &str| {
            let mut letter = letter("c", "acme", NOW.as_millis());
            letter.headers.iter_mut().filter(|(key, _)| key == name).for_each(|(_, found)| {
                *found = Some(value.as_bytes().to_vec());
            });
            letter
        };
        let nowhere = record(
            NOW.as_millis(),
            vec![("__dlq.errors.topic".to_owned(), Some(topic::DISPATCH_BULK.as_bytes().to_vec()))],
        );
        let cases = [
            (letter("c", "acme", old), "is older than the 14 days"),
            (with("__dlq.errors.topic", "somewhere"), "came from \"somewhere\""),
            (with("__dlq.errors.topic", topic::TENANTS), "came from \"sendplane.tenants.v1\""),
            (with("__dlq.errors.topic", topic::CONSENT), "sendplane.consent.v1 does not exist"),
            (with("__dlq.errors.partition", "4"), "came from partition 4"),
            (nowhere, "names neither"),
        ];
        let filter = Filter::default();
        for (letter, expected) in cases {
            let index = index([("ingest/0/1", letter)]);
            let steps = plan(&index, choice(&[], &filter), &counts(), NOW);
            match &steps[..] {
                [(_, Step::Refuse(why))] => assert!(why.starts_with(expected), "{why}"),
                other => panic!("{expected}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_a_stage_wrote_itself_goes_to_its_tenants_partition() {
        let headers = [("__dlq.errors.topic", topic::DISPATCH_BULK), ("sendplane.tenant", "acme")];
        let headers = headers.map(|(name, value)| (name.to_owned(), Some(value.into())));
        let index = index([("send/0/1", record(NOW.as_millis(), headers.to_vec()))]);
        let filter = Filter::default();
        let steps = plan(&index, choice(&[], &filter), &counts(), NOW);
        let partition = partition_of(b"acme", 4);
        assert_eq!(steps[0].1, Step::Replay { topic: topic::DISPATCH_BULK, partition });
    }
}
