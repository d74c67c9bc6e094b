//! librdkafka's properties: passed through, but for secrets and for what the runtime owns.

use std::collections::BTreeMap;

use super::{Origin, Secret, Section};

/// Properties whose values are secrets. They come from `<property>_file` or the environment.
const SECRETS: &[&str] =
    &["sasl.password", "ssl.key.password", "ssl.key.pem", "ssl.keystore.password"];

/// Set by the runtime because exactly-once depends on them; a value here would be ignored.
const OWNED: &[&str] = &[
    "acks",
    "auto.offset.reset",
    "client.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "heartbeat.interval.ms",
    "isolation.level",
    "max.poll.interval.ms",
    "partition.assignment.strategy",
    "session.timeout.ms",
    "transaction.timeout.ms",
    "transactional.id",
];

/// Reads `[kafka.properties]`.
pub fn properties(kafka: &mut Section<'_>) -> BTreeMap<String, String> {
    kafka.section("properties", |section| {
        let mut properties = BTreeMap::new();
        for (key, (value, origin)) in section.rest(|key| SECRETS.contains(&key)) {
            if let Some(property) = key.strip_suffix("_file") {
                if SECRETS.contains(&property) {
                    let secret: Secret = section.read_secret(&key, &value);
                    properties.insert(property.to_owned(), secret.expose().to_owned());
                } else {
                    let known = SECRETS.join(", ");
                    section.problem(&key, "is no secret", format!("secrets are {known}"));
                }
                continue;
            }
            if SECRETS.contains(&key.as_str()) && origin == Origin::File {
                let fix = format!("name a file in \"{key}_file\", or set it in the environment");
                section.problem(&key, "is a secret in clear", fix);
            }
            if OWNED.contains(&key.as_str()) {
                section.problem(&key, "is set by sendplane itself", "take it away");
            }
            properties.insert(key, value);
        }
        if properties.get("bootstrap.servers").is_none_or(String::is_empty) {
            let fix = "give the brokers as host:port,host:port";
            section.problem("bootstrap.servers", "is missing", fix);
        }
        properties
    })
}
