//! The dead letters that stand in the topics, and which of them were replayed.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use sendplane_domain::time::Timestamp;
use sendplane_stage_api::replay::LetterId;
use sendplane_stage_runtime::dead_letter::{Found, Letter, Marker};
use sendplane_stage_runtime::tools::{TailQuery, TailRecord, Tools};

use super::TOPICS;
use crate::output::moment;
use crate::session::Fault;

/// A dead letter without its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// When it was dead-lettered.
    pub at: Timestamp,
    /// The record's own time.
    pub timestamp: Timestamp,
    /// What its headers say. Its detail is left out, an index may hold very many.
    pub letter: Letter,
    /// Length of its value.
    pub bytes: usize,
    /// Its replays, oldest first.
    pub replays: Vec<Replayed>,
}

/// A replay that was done.
#[derive(Clone, Debug, PartialEq)]
pub struct Replayed {
    /// When.
    pub at: Timestamp,
    /// By whom, why and where to.
    pub marker: Marker,
}

impl Replayed {
    /// When, by whom and why.
    pub fn told(&self) -> String {
        format!("{} by {}: {}", moment(self.at), self.marker.by, self.marker.reason)
    }
}

/// Dead letters by id.
#[derive(Debug, Default)]
pub struct Index {
    pub entries: BTreeMap<LetterId, Entry>,
    /// Records that are neither dead letters nor markers.
    pub foreign: usize,
    markers: Vec<(Timestamp, Marker)>,
}

impl Index {
    /// Reads the topics of `stages` to their ends.
    pub fn read(tools: &Tools, stages: &[&str]) -> Result<Self, Fault> {
        let mut index = Self::default();
        scan(tools, stages, None, &mut |id, record| {
            index.add(id, &record);
            ControlFlow::Continue(())
        })?;
        index.join_markers();
        Ok(index)
    }

    pub fn add(&mut self, id: LetterId, record: &TailRecord) {
        match Found::read(&record.headers) {
            Found::Letter(letter) => {
                let entry = Entry {
                    at: letter.dead_at.unwrap_or(record.timestamp),
                    timestamp: record.timestamp,
                    letter: Letter { detail: String::new(), ..letter },
                    bytes: record.value.as_ref().map_or(0, Vec::len),
                    replays: Vec::new(),
                };
                self.entries.insert(id, entry);
            }
            Found::Marker(marker) => self.markers.push((record.timestamp, marker)),
            Found::Foreign => self.foreign += 1,
        }
    }

    /// A marker of a letter that is gone speaks of nothing.
    pub fn join_markers(&mut self) {
        for (at, marker) in std::mem::take(&mut self.markers) {
            if let Some(entry) = self.entries.get_mut(&marker.letter) {
                entry.replays.push(Replayed { at, marker });
            }
        }
    }
}

/// Visits the records of the dead-letter topics of `stages`, of one partition or all, each
/// partition in order and up to its end.
pub fn scan(
    tools: &Tools,
    stages: &[&str],
    partition: Option<i32>,
    visit: &mut dyn FnMut(LetterId, TailRecord) -> ControlFlow<()>,
) -> Result<(), Fault> {
    let wanted = || TOPICS.iter().filter(|(stage, _)| stages.contains(stage));
    let topics: Vec<&str> = wanted().map(|(_, topic)| *topic).collect();
    let query = TailQuery { topics: &topics, partition, from_beginning: true, until_end: true };
    tools.tail(&query, &mut |record| {
        let Some((stage, _)) = wanted().find(|(_, topic)| *topic == record.topic) else {
            return ControlFlow::Continue(());
        };
        let (partition, offset) = (record.partition, record.offset);
        visit(LetterId { stage: (*stage).to_owned(), partition, offset }, record)
    })?;
    Ok(())
}

#[cfg(test)]
pub mod sample {
    //! Records of dead-letter topics.

    use sendplane_stage_api::Header;

    use super::*;

    pub fn id(text: &str) -> LetterId {
        text.parse().expect("an id")
    }

    fn headers(pairs: &[(&str, String)]) -> Vec<Header> {
        let header =
            |(name, value): &(&str, String)| ((*name).to_owned(), Some(value.clone().into_bytes()));
        pairs.iter().map(header).collect()
    }

    pub fn record(at: i64, headers: Vec<Header>) -> TailRecord {
        TailRecord {
            topic: "dlq.sendplane.ingest".into(),
            partition: 0,
            offset: 0,
            timestamp: Timestamp::from_millis(at),
            key: Some(b"acme".to_vec()),
            value: Some(vec![7; 12]),
            headers,
        }
    }

    /// A letter of `code` and `tenant`, dead-lettered at `at`, from offset 40 of partition 2.
    pub fn letter(code: &str, tenant: &str, at: i64) -> TailRecord {
        let pairs = [
            ("__dlq.errors.topic", "sendplane.requests.transactional.v1".to_owned()),
            ("__dlq.errors.partition", "2".to_owned()),
            ("__dlq.errors.offset", "40".to_owned()),
            ("__dlq.errors.message", "mend it".to_owned()),
            ("sendplane.error.code", code.to_owned()),
            ("sendplane.tenant", tenant.to_owned()),
            ("sendplane.dead.at", at.to_string()),
        ];
        record(at - 5, headers(&pairs))
    }

    pub fn marker(of: &str, at: i64) -> TailRecord {
        let marker = Marker {
            letter: id(of),
            reason: "healed".into(),
            by: "ada@host".into(),
            to: "t/2/50".into(),
        };
        record(at, marker.headers())
    }

    pub fn index(records: impl IntoIterator<Item = (&'static str, TailRecord)>) -> Index {
        let mut index = Index::default();
        records.into_iter().for_each(|(at, record)| index.add(id(at), &record));
        index.join_markers();
        index
    }
}

#[cfg(test)]
mod tests {
    use super::sample::{id, index, letter, marker, record};

    #[test]
    fn a_marker_is_no_letter_and_tells_of_its_own() {
        let index = index([
            ("ingest/0/1", letter("undecodable", "acme", 100)),
            ("ingest/0/2", letter("undecodable", "acme", 200)),
            ("ingest/0/3", marker("ingest/0/1", 300)),
            ("ingest/0/4", marker("ingest/0/0", 400)),
            ("ingest/0/5", marker("ingest/0/1", 500)),
            ("ingest/0/6", record(600, Vec::new())),
        ]);
        assert_eq!((index.entries.len(), index.foreign), (2, 1));
        let first = &index.entries[&id("ingest/0/1")];
        assert_eq!(
            first.replays.iter().map(|one| one.at.as_millis()).collect::<Vec<_>>(),
            [300, 500]
        );
        assert_eq!(first.replays[0].told(), "1970-01-01T00:00:00.300Z by ada@host: healed");
        assert_eq!((first.at.as_millis(), first.timestamp.as_millis()), (100, 95));
        assert!(index.entries[&id("ingest/0/2")].replays.is_empty());
    }
}
