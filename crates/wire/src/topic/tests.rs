use std::collections::HashSet;

use super::*;

#[test]
fn names_are_unique_and_legal() {
    let names: HashSet<&str> = TOPICS.iter().map(|topic| topic.name).collect();
    assert_eq!(names.len(), TOPICS.len());
    for name in names {
        // Kafka counts dots and underscores as one character in metric names.
        assert!(
            name.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b)),
            "{name}"
        );
        assert!(name.starts_with("sendplane.") || name.starts_with("dlq.sendplane."), "{name}");
    }
}

#[test]
fn settings_follow_the_kind() {
    for topic in TOPICS {
        let configs = topic.configs();
        let get = |key| configs.iter().find(|(name, _)| *name == key).map(|(_, v)| v.as_str());
        let compacted = matches!(topic.kind, Kind::Global | Kind::Changelog);
        assert_eq!(get("cleanup.policy"), Some(if compacted { "compact" } else { "delete" }));
        assert_eq!(get("retention.ms").is_some(), !compacted, "{}", topic.name);
        assert_eq!(topic.partition_count(16), if topic.kind == Kind::Global { 1 } else { 16 });
        if topic.kind == Kind::Changelog {
            assert_eq!(get("message.timestamp.type"), Some("LogAppendTime"));
            assert_eq!(get("min.compaction.lag.ms"), Some("3600000"));
        }
    }
}

#[test]
fn numbers_that_readers_rely_on() {
    let get = |name: &str, key: &str| {
        let configs = spec(name).expect("known topic").configs();
        configs.into_iter().find(|(k, _)| *k == key).map(|(_, value)| value)
    };
    assert_eq!(get(REQUESTS_BULK, "retention.ms").as_deref(), Some("1209600000"));
    assert_eq!(get(OUTCOMES, "retention.ms").as_deref(), Some("2592000000"));
    assert_eq!(get(DEAD_LETTERS_SEND, "retention.ms").as_deref(), Some("2592000000"));
    assert_eq!(get(WEBHOOKS, "max.message.bytes").as_deref(), Some("4194304"));
    assert_eq!(get(DEAD_LETTERS_INGEST, "max.message.bytes").as_deref(), Some("16777216"));
    assert_eq!(get(RECEIPTS, "max.message.bytes"), None);
    assert_eq!(spec("sendplane.nothing.v1"), None);
}

/// A record the broker took must find room in the dead letters, or its stage could never go on.
#[test]
fn dead_letters_have_room_for_any_record_with_its_headers() {
    const BROKER_DEFAULT: u32 = 1_048_588;
    let room = |topic: &TopicSpec| topic.message_bytes_max.unwrap_or(BROKER_DEFAULT);
    let is_input = |topic: &&TopicSpec| topic.kind == Kind::Work;
    let largest = TOPICS.iter().filter(is_input).map(room).max().expect("there are inputs");
    for topic in TOPICS.iter().filter(|topic| topic.kind == Kind::DeadLetter) {
        assert!(room(topic) >= 2 * largest, "{}", topic.name);
    }
}

#[test]
fn a_lane_selects_its_topic() {
    for lane in [Lane::Transactional, Lane::Bulk] {
        for name in [requests(lane), admitted(lane), dispatch(lane)] {
            assert!(name.contains(&format!(".{}.", lane.as_str())), "{name}");
            assert!(spec(name).is_some(), "{name}");
        }
    }
}
