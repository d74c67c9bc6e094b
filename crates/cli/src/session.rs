//! What the commands share: connections, faults, and the few values they all check.

use std::collections::BTreeMap;

use sendplane_domain::e164::E164;
use sendplane_service::registry::{Client, Registry};
use sendplane_stage_runtime::tools::Tools;
use sendplane_wire::codec::{AvroRecord, Encoder};
use sendplane_wire::registry::SUBJECTS;

use crate::args::{Format, Globals};

/// Why a command did not do its work.
#[derive(Debug)]
pub enum Fault {
    /// The input is wrong: the text names the argument and the fix.
    Input(String),
    /// The input was fine and the operation failed.
    Failed(anyhow::Error),
}

impl Fault {
    pub fn input(text: impl Into<String>) -> Self {
        Fault::Input(text.into())
    }
}

impl<E: Into<anyhow::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Fault::Failed(error.into())
    }
}

/// The arguments that are not a command's own. Connections are made when a command asks.
#[derive(Debug)]
pub struct Session {
    brokers: Option<String>,
    registry: Option<String>,
    properties: BTreeMap<String, String>,
    pub output: Format,
    runtime: tokio::runtime::Runtime,
}

impl Session {
    pub fn new(globals: &Globals) -> Result<Self, Fault> {
        let pairs = globals.properties.iter().map(|pair| property(pair));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Self {
            brokers: globals.brokers.clone(),
            registry: globals.registry.clone(),
            properties: pairs.collect::<Result<_, _>>()?,
            output: globals.output,
            runtime,
        })
    }

    /// Properties for any Kafka client.
    pub fn kafka(&self) -> Result<BTreeMap<String, String>, Fault> {
        let mut properties = self.properties.clone();
        if let Some(brokers) = &self.brokers {
            properties.insert("bootstrap.servers".into(), brokers.clone());
        }
        if !properties.contains_key("bootstrap.servers") {
            return Err(Fault::input(
                "no brokers: give --brokers host:port or set SENDPLANE_BROKERS",
            ));
        }
        Ok(properties)
    }

    pub fn tools(&self) -> Result<Tools, Fault> {
        Ok(Tools::new(self.kafka()?, "cli"))
    }

    pub fn registry(&self) -> Result<Registry, Fault> {
        Ok(Registry::new(self.registry_url()?, None, self.runtime.handle().clone())?)
    }

    pub fn registry_client(&self) -> Result<Client, Fault> {
        Ok(Client::new(self.registry_url()?)?)
    }

    fn registry_url(&self) -> Result<&str, Fault> {
        self.registry.as_deref().ok_or_else(|| {
            Fault::input("no registry: give --registry URL or set SENDPLANE_REGISTRY")
        })
    }

    /// Waits for a call to the registry.
    pub fn wait<F: Future>(&self, call: F) -> F::Output {
        self.runtime.block_on(call)
    }

    /// An encoder for `topic` with the id under which the registry knows our schema.
    pub fn encoder<R: AvroRecord>(&self, topic: &'static str) -> Result<Encoder<R>, Fault> {
        let subject = SUBJECTS
            .iter()
            .find(|subject| subject.topic == topic)
            .ok_or_else(|| anyhow::anyhow!("{topic} has no schema"))?;
        Ok(Encoder::new(topic, self.registry()?.lookup_online(subject)?))
    }
}

/// `NAME=VALUE`, or `NAME_file=PATH` for a secret.
fn property(pair: &str) -> Result<(String, String), Fault> {
    let (name, value) = name_and_value("-X", pair)?;
    match name.strip_suffix("_file") {
        None => Ok((name.to_owned(), value.to_owned())),
        Some(name) => match std::fs::read_to_string(value) {
            Ok(text) => Ok((name.to_owned(), text.trim_end_matches(['\r', '\n']).to_owned())),
            Err(error) => Err(Fault::input(format!("-X {pair}: {value} cannot be read: {error}"))),
        },
    }
}

/// Splits `NAME=VALUE`.
pub fn name_and_value<'p>(argument: &str, pair: &'p str) -> Result<(&'p str, &'p str), Fault> {
    match pair.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name, value)),
        _ => Err(Fault::input(format!("{argument} {pair}: write {argument} NAME=VALUE"))),
    }
}

/// A phone number given as `argument`.
pub fn phone(argument: &str, text: &str) -> Result<E164, Fault> {
    E164::parse(text).map_err(|invalid| {
        Fault::input(format!(
            "{argument} {text}: {invalid}; write it with country code, as +15551234567"
        ))
    })
}

/// A tenant given as `argument`.
pub fn tenant(argument: &str, text: &str) -> Result<sendplane_domain::id::TenantId, Fault> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(Fault::input(format!("{argument} {text:?}: name a tenant, such as acme")));
    }
    Ok(sendplane_domain::id::TenantId::new(text))
}

/// Longest reason, in characters: it is kept with what it explains.
const REASON_LEN_MAX: usize = 500;

/// The `--reason` of an operator's deed; `what` ends the sentence that asks for one.
pub fn reason(text: &str, what: &str) -> Result<String, Fault> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > REASON_LEN_MAX {
        return Err(Fault::input(format!(
            "--reason: say in 1 to {REASON_LEN_MAX} characters why {what}"
        )));
    }
    Ok(text.to_owned())
}

/// Who runs this: `user@host`, as far as both are known.
pub fn by(user: Option<&str>) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match (user.unwrap_or_default().trim(), host.trim()) {
        ("", "") => "unknown".to_owned(),
        (user, "") => user.to_owned(),
        ("", host) => host.to_owned(),
        (user, host) => format!("{user}@{host}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(fault: Fault) -> String {
        match fault {
            Fault::Input(text) => text,
            Fault::Failed(error) => panic!("{error:#}"),
        }
    }

    #[test]
    fn a_reason_is_given_and_bounded() {
        assert_eq!(reason(" fire ", "x").unwrap(), "fire");
        for text in ["", " ", &"x".repeat(501)] {
            let text = input(reason(text, "it is done").unwrap_err());
            assert!(text.ends_with("why it is done"), "{text}");
        }
    }

    #[test]
    fn who_is_named_as_far_as_it_is_known() {
        assert!(by(Some("ada")).starts_with("ada"));
        assert!(!by(None).is_empty() && !by(None).contains('@'));
    }

    #[test]
    fn properties_are_pairs_or_files() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "s3cret\n").unwrap();
        let given = format!("sasl.password_file={}", file.path().display());
        let expected = ("sasl.password".to_owned(), "s3cret".to_owned());
        assert_eq!(property(&given).unwrap(), expected);
        assert_eq!(property("a=b=c").unwrap(), ("a".to_owned(), "b=c".to_owned()));
        assert_eq!(input(property("a").unwrap_err()), "-X a: write -X NAME=VALUE");
        let missing = input(property("ssl.key.password_file=/none").unwrap_err());
        assert!(missing.contains("/none cannot be read"), "{missing}");
    }

    #[test]
    fn a_bad_number_names_the_argument_and_the_fix() {
        assert!(phone("--to", "+15551234567").is_ok());
        let text = input(phone("--to", "0155").unwrap_err());
        assert!(text.starts_with("--to 0155: "), "{text}");
        assert!(text.ends_with("as +15551234567"), "{text}");
    }
}
