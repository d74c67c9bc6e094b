//! The global tables: who the tenants are, which numbers they own, which templates they may send,
//! and what operators have paused.

mod switches;

use std::collections::BTreeMap;
use std::sync::Arc;

use sendplane_domain::id::{PhoneNumberId, TemplateName, TenantId};
use sendplane_stage_api::{DeadLetter, Globals, RawRecord, TableKey, Undecoded};
use sendplane_wire::codec::{AvroRecord, Decoder};
use sendplane_wire::record::{
    Dispatch, GatewayStatus, Switch, Template, Tenant, TenantPhoneNumber,
};
use sendplane_wire::topic;
use serde::{Deserialize, Serialize};

use crate::schemas::{Schemas, undecoded, unexpected_topic};

pub use switches::{Subject, Switches};

/// Names a template.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TemplateKey {
    /// Owner.
    pub tenant: TenantId,
    /// Name.
    pub name: TemplateName,
    /// Language code as Meta writes it.
    pub language: String,
}

impl TemplateKey {
    /// Names this row.
    pub fn of(row: &Template) -> Self {
        Self::new(&row.tenant, &row.name, &row.language)
    }

    /// The template called `name` in `language` of `tenant`.
    pub fn new(tenant: &TenantId, name: &TemplateName, language: &str) -> Self {
        Self { tenant: tenant.clone(), name: name.clone(), language: language.to_owned() }
    }

    /// The template of a dispatch.
    pub fn of_dispatch(row: &Dispatch) -> Self {
        Self::new(&row.tenant, &row.template_name, &row.template_language)
    }

    /// The record key: `<tenant>/<name>/<language>`.
    pub fn record_key(&self) -> String {
        format!("{}/{}/{}", self.tenant, self.name, self.language)
    }

    /// Reads [`Self::record_key`]. A tenant may contain slashes, names and languages may not.
    pub fn parse(text: &str) -> Option<Self> {
        let (rest, language) = text.rsplit_once('/')?;
        let (tenant, name) = rest.rsplit_once('/')?;
        Some(Self {
            tenant: TenantId::new(tenant),
            name: TemplateName::new(name),
            language: language.to_owned(),
        })
    }
}

impl TableKey for TemplateKey {
    fn encode(&self, out: &mut Vec<u8>) {
        self.tenant.encode(out);
        self.name.encode(out);
        self.language.encode(out);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        Some(Self {
            tenant: TenantId::decode(bytes)?,
            name: TemplateName::decode(bytes)?,
            language: String::decode(bytes)?,
        })
    }
}

/// Tenants, their numbers and templates, and pause switches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Directory {
    tenants: BTreeMap<TenantId, Arc<Tenant>>,
    owners: BTreeMap<PhoneNumberId, TenantId>,
    templates: BTreeMap<TemplateKey, Arc<Template>>,
    switches: Switches,
    gateways: BTreeMap<String, Arc<GatewayStatus>>,
}

/// A change of one row; `None` removes it.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A tenant.
    Tenant(TenantId, Option<Tenant>),
    /// A template.
    Template(TemplateKey, Option<Template>),
    /// A pause switch, by its id.
    Switch(String, Option<Switch>),
    /// How well a webhook gateway served, by its instance.
    Gateway(String, Option<GatewayStatus>),
}

impl Directory {
    /// The tenant, if there is one.
    pub fn tenant(&self, tenant: &TenantId) -> Option<&Tenant> {
        self.tenants.get(tenant).map(Arc::as_ref)
    }

    /// The owner of a phone number.
    pub fn owner_of(&self, number: &PhoneNumberId) -> Option<&TenantId> {
        self.owners.get(number)
    }

    /// A phone number of `tenant`.
    pub fn number(&self, tenant: &TenantId, number: &PhoneNumberId) -> Option<&TenantPhoneNumber> {
        let tenant = self.tenants.get(tenant)?;
        tenant.phone_numbers.iter().find(|found| found.phone_number_id == *number)
    }

    /// The numbers of a WhatsApp business account, with their tenants; those of one tenant follow
    /// one another.
    pub fn numbers_of_account<'d>(
        &'d self,
        waba_id: &'d str,
    ) -> impl Iterator<Item = (&'d TenantId, &'d TenantPhoneNumber)> {
        self.tenants.iter().flat_map(move |(tenant, row)| {
            let numbers = row.phone_numbers.iter();
            numbers.filter(move |number| number.waba_id == waba_id).map(move |one| (tenant, one))
        })
    }

    /// A template, whatever its status.
    pub fn template(&self, key: &TemplateKey) -> Option<&Template> {
        self.templates.get(key).map(Arc::as_ref)
    }

    /// What operators have paused.
    pub fn switches(&self) -> &Switches {
        &self.switches
    }

    /// How well each webhook gateway served.
    pub fn gateways(&self) -> impl Iterator<Item = &GatewayStatus> {
        self.gateways.values().map(Arc::as_ref)
    }
}

impl Globals for Directory {
    type Change = Change;

    fn topics() -> &'static [&'static str] {
        &[topic::TENANTS, topic::TEMPLATES, topic::CONTROL, topic::GATEWAYS]
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Tenant(tenant, row) => {
                self.owners.retain(|_, owner| owner != tenant);
                match row {
                    Some(row) => {
                        for number in &row.phone_numbers {
                            self.owners.insert(number.phone_number_id.clone(), tenant.clone());
                        }
                        self.tenants.insert(tenant.clone(), Arc::new(row.clone()));
                    }
                    None => {
                        self.tenants.remove(tenant);
                    }
                }
            }
            Change::Template(key, Some(row)) => {
                self.templates.insert(key.clone(), Arc::new(row.clone()));
            }
            Change::Template(key, None) => {
                self.templates.remove(key);
            }
            Change::Switch(id, row) => self.switches.set(id, row.clone()),
            Change::Gateway(instance, Some(row)) => {
                self.gateways.insert(instance.clone(), Arc::new(row.clone()));
            }
            Change::Gateway(instance, None) => {
                self.gateways.remove(instance);
            }
        }
    }
}

/// Decodes the global topics.
pub struct DirectoryCodec {
    tenants: Decoder<Tenant>,
    templates: Decoder<Template>,
    switches: Decoder<Switch>,
    gateways: Decoder<GatewayStatus>,
}

impl DirectoryCodec {
    /// With the registry's schemas.
    pub fn new(schemas: &Schemas) -> Self {
        Self {
            tenants: schemas.decoder(topic::TENANTS),
            templates: schemas.decoder(topic::TEMPLATES),
            switches: schemas.decoder(topic::CONTROL),
            gateways: schemas.decoder(topic::GATEWAYS),
        }
    }

    /// One record of a global topic.
    pub fn decode(&self, raw: &RawRecord<'_>) -> Result<Change, Undecoded> {
        let key = raw.key.and_then(|key| std::str::from_utf8(key).ok()).ok_or_else(|| {
            Undecoded::Reject(DeadLetter {
                code: "no_key",
                detail: "a record of a compacted topic needs a UTF-8 key".into(),
            })
        })?;
        match raw.topic {
            topic::TENANTS => {
                let row = row(&self.tenants, raw)?;
                let tenant = TenantId::new(key);
                if row.as_ref().is_some_and(|row| row.tenant != tenant) {
                    return Err(key_mismatch(key));
                }
                Ok(Change::Tenant(tenant, row))
            }
            topic::TEMPLATES => {
                let row = row(&self.templates, raw)?;
                let named = TemplateKey::parse(key).ok_or_else(|| {
                    Undecoded::Reject(DeadLetter {
                        code: "bad_key",
                        detail: format!("{key:?} is not <tenant>/<name>/<language>"),
                    })
                })?;
                if row.as_ref().is_some_and(|row| TemplateKey::of(row) != named) {
                    return Err(key_mismatch(key));
                }
                Ok(Change::Template(named, row))
            }
            topic::CONTROL => {
                let row = row(&self.switches, raw)?;
                Ok(Change::Switch(key.to_owned(), row))
            }
            topic::GATEWAYS => {
                let row = row(&self.gateways, raw)?;
                Ok(Change::Gateway(key.to_owned(), row))
            }
            other => Err(unexpected_topic(other)),
        }
    }
}

/// A row, or none for a tombstone.
fn row<R: AvroRecord>(decoder: &Decoder<R>, raw: &RawRecord<'_>) -> Result<Option<R>, Undecoded> {
    raw.value.map(|value| decoder.decode(Some(value))).transpose().map_err(undecoded)
}

/// A row under another one's key would live beside its own, and take its numbers away.
fn key_mismatch(key: &str) -> Undecoded {
    Undecoded::Reject(DeadLetter {
        code: "key_mismatch",
        detail: format!("{key:?} is not the key of the row it stands on; apply the row again"),
    })
}

/// Rows for tests of the stages, the simulator and the driver.
pub mod sample {
    use sendplane_domain::time::Timestamp;
    use sendplane_wire::record::ParameterFormat;

    use super::*;

    /// An active tenant with one number, `<tenant>-number`, of 80 messages per second.
    pub fn tenant(tenant: &str) -> Tenant {
        let number = PhoneNumberId::new(format!("{tenant}-number"));
        Tenant {
            tenant: TenantId::new(tenant),
            name: tenant.to_owned(),
            active: true,
            credential: "default".into(),
            default_phone_number_id: number.clone(),
            phone_numbers: vec![TenantPhoneNumber {
                phone_number_id: number,
                waba_id: format!("{tenant}-waba"),
                display_number: "+15550001111".into(),
                messages_per_second: 80,
                safety_percent: None,
            }],
            updated_at: Timestamp::from_millis(0),
            weight: 1,
            messages_per_day: None,
            spend_per_day_micros: None,
            prices: Vec::new(),
            users_per_day: None,
            marketing_route: false,
            product_policy: None,
            retries: Vec::new(),
        }
    }

    /// An approved template `name` in `en` of `category` with positional variables 1 to `variables`.
    pub fn template(tenant: &str, name: &str, category: &str, variables: usize) -> Template {
        Template {
            tenant: TenantId::new(tenant),
            name: TemplateName::new(name),
            language: "en".into(),
            version: 1,
            category: category.into(),
            status: "APPROVED".into(),
            parameter_format: ParameterFormat::Positional,
            body_variables: (1..=variables).map(|n| n.to_string()).collect(),
            updated_at: Timestamp::from_millis(0),
            ttl_seconds: None,
        }
    }

    /// A switch that pauses everything until `expires_at`.
    pub fn switch(id: &str, expires_at: Timestamp) -> Switch {
        Switch {
            id: id.to_owned(),
            tenant: None,
            lane: None,
            category: None,
            campaign: None,
            template_name: None,
            template_language: None,
            phone_number_id: None,
            reason: "a test".into(),
            created_by: "tester".into(),
            created_at: Timestamp::from_millis(0),
            expires_at,
        }
    }

    /// The change that sets a switch.
    pub fn set_switch(row: Switch) -> Change {
        Change::Switch(row.id.clone(), Some(row))
    }

    /// The change that sets a tenant.
    pub fn set_tenant(row: Tenant) -> Change {
        Change::Tenant(row.tenant.clone(), Some(row))
    }

    /// The change that sets a template.
    pub fn set_template(row: Template) -> Change {
        Change::Template(TemplateKey::of(&row), Some(row))
    }
}

#[cfg(test)]
mod tests {
    use sendplane_domain::time::Timestamp;

    use super::*;

    #[test]
    fn numbers_follow_their_tenant() {
        let mut directory = Directory::default();
        directory.apply(&sample::set_tenant(sample::tenant("acme")));
        let number = PhoneNumberId::new("acme-number");
        assert_eq!(directory.owner_of(&number), Some(&TenantId::new("acme")));
        let mut moved = sample::tenant("acme");
        moved.phone_numbers[0].phone_number_id = PhoneNumberId::new("other");
        directory.apply(&sample::set_tenant(moved));
        assert_eq!(directory.owner_of(&number), None);
        directory.apply(&Change::Tenant(TenantId::new("acme"), None));
        assert_eq!(directory, Directory::default());
    }

    #[test]
    fn a_row_stands_under_its_own_key() {
        let schemas = Schemas::fixed();
        let codec = DirectoryCodec::new(&schemas);
        let tenant = schemas.encoder(topic::TENANTS).encode(&sample::tenant("acme"));
        let template = sample::template("acme", "hello", "utility", 0);
        let template = schemas.encoder(topic::TEMPLATES).encode(&template);
        let code = |topic, key: &str, value: &[u8]| {
            let raw = RawRecord {
                topic,
                partition: 0,
                offset: 0,
                timestamp: Timestamp::default(),
                key: Some(key.as_bytes()),
                value: Some(value),
                headers: &[],
            };
            match codec.decode(&raw) {
                Ok(_) => "good",
                Err(Undecoded::Reject(fault)) => fault.code,
                Err(Undecoded::Later(_)) => "later",
            }
        };
        let (tenant, template) = (tenant.expect("encodes"), template.expect("encodes"));
        for (key, expected) in [("acme", "good"), ("globex", "key_mismatch"), ("", "key_mismatch")]
        {
            assert_eq!(code(topic::TENANTS, key, &tenant), expected, "{key:?}");
        }
        let cases = [
            ("acme/hello/en", "good"),
            ("acme/hello/de", "key_mismatch"),
            ("globex/hello/en", "key_mismatch"),
            ("hello", "bad_key"),
        ];
        for (key, expected) in cases {
            assert_eq!(code(topic::TEMPLATES, key, &template), expected, "{key:?}");
        }
    }

    #[test]
    fn template_keys_round_trip() {
        let key = TemplateKey::new(&TenantId::new("a/b"), &TemplateName::new("hello"), "en_US");
        let mut stored = Vec::new();
        key.encode(&mut stored);
        assert_eq!(TemplateKey::decode(&mut stored.as_slice()), Some(key.clone()));
        assert_eq!(TemplateKey::parse(&key.record_key()), Some(key));
        assert_eq!(TemplateKey::parse("nonsense"), None);
    }
}
