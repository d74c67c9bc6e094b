//! The two files. Types that YAML would guess, such as an id of digits only, must be quoted; every
//! other fault is collected, so that one run names them all.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use sendplane_domain::id::{PhoneNumberId, TemplateName, TenantId};
use sendplane_domain::time::Timestamp;
use sendplane_wire::record::{ParameterFormat, Template, Tenant, TenantPhoneNumber};
use serde::Deserialize;
use serde::de::DeserializeOwned;

mod limits;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct TenantsFile {
    tenants: Vec<TenantRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct TenantRow {
    tenant: String,
    name: String,
    #[serde(default = "yes")]
    active: bool,
    #[serde(default = "default_credential")]
    credential: String,
    /// The first number when absent.
    default_phone_number_id: Option<String>,
    phone_numbers: Vec<NumberRow>,
    /// Share among tenants, from 1 to 100.
    #[serde(default = "one")]
    weight: i32,
    /// Calls in a UTC day; bulk leaves a tenth of them to transactional messages.
    messages_per_day: Option<i64>,
    /// Millionths of the tenant's currency in a UTC day; the same tenth is left.
    spend_per_day_micros: Option<i64>,
    /// By category, in millionths.
    #[serde(default)]
    prices: BTreeMap<String, i64>,
    /// Users in any 24 h; no limit when absent.
    users_per_day: Option<i32>,
    #[serde(default)]
    marketing_route: bool,
    product_policy: Option<String>,
    /// Calls at most, by class of error.
    #[serde(default)]
    retries: BTreeMap<String, i32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct NumberRow {
    phone_number_id: String,
    waba_id: String,
    display_number: String,
    #[serde(default = "default_rate")]
    messages_per_second: i32,
    /// The deployment's margin when absent.
    safety_percent: Option<i32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct TemplatesFile {
    templates: Vec<TemplateRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct TemplateRow {
    tenant: String,
    name: String,
    language: String,
    #[serde(default = "first_version")]
    version: i32,
    category: String,
    #[serde(default = "approved")]
    status: String,
    #[serde(default)]
    variables: Variables,
    /// What the template says at Meta, if it says anything.
    ttl_seconds: Option<i32>,
}

/// A number of positional variables, or the names of named ones.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "variables is a number (positional) or a list of names")]
enum Variables {
    Positional(u32),
    Named(Vec<String>),
}

impl Default for Variables {
    fn default() -> Self {
        Self::Positional(0)
    }
}

fn one() -> i32 {
    1
}

fn yes() -> bool {
    true
}

fn default_credential() -> String {
    "default".into()
}

/// What Meta grants a number at first.
fn default_rate() -> i32 {
    80
}

fn first_version() -> i32 {
    1
}

fn approved() -> String {
    "APPROVED".into()
}

/// The rows of a tenants file, or every fault in it.
pub fn tenants(text: &str, now: Timestamp) -> Result<Vec<Tenant>, Vec<String>> {
    let file: TenantsFile = parse(text)?;
    let mut faults = Faults::default();
    let mut names = BTreeSet::new();
    let mut owned = BTreeSet::new();
    for (n, row) in file.tenants.iter().enumerate() {
        let at = format!("tenants[{n}]");
        faults.id(&at, "tenant", &row.tenant);
        if !names.insert(&row.tenant) {
            faults.add(&at, "tenant", &row.tenant, "is there twice; keep one");
        }
        if row.credential.is_empty() {
            let fix = "name an entry of [send.credentials]";
            faults.add(&at, "credential", "", &format!("is empty; {fix}"));
        }
        if row.phone_numbers.is_empty() {
            faults.add(&at, "phone-numbers", "", "is empty; give at least one number");
        }
        if let Some(default) = &row.default_phone_number_id
            && !row.phone_numbers.iter().any(|number| number.phone_number_id == *default)
        {
            let fix = "is none of phone-numbers; add it there or name another";
            faults.add(&at, "default-phone-number-id", default, fix);
        }
        for (m, number) in row.phone_numbers.iter().enumerate() {
            let at = format!("{at}.phone-numbers[{m}]");
            faults.digits(&at, "phone-number-id", &number.phone_number_id);
            faults.digits(&at, "waba-id", &number.waba_id);
            if !owned.insert(&number.phone_number_id) {
                let fix = "is there twice; a number belongs to one tenant, once";
                faults.add(&at, "phone-number-id", &number.phone_number_id, fix);
            }
            if !(1..=1_000).contains(&number.messages_per_second) {
                let given = number.messages_per_second.to_string();
                let fix = "is out of range; give what Meta grants, from 1 to 1000";
                faults.add(&at, "messages-per-second", &given, fix);
            }
            let fix = "is out of range; give the percent to stay below the ceiling, from 0 to 90";
            faults.within(&at, "safety-percent", number.safety_percent, 0..=90, fix);
        }
        limits::check(&mut faults, &at, row);
    }
    faults.none()?;
    Ok(file.tenants.into_iter().map(|row| tenant(row, now)).collect())
}

fn tenant(row: TenantRow, now: Timestamp) -> Tenant {
    let first = row.phone_numbers.first().map(|number| number.phone_number_id.clone());
    let default = row.default_phone_number_id.or(first).unwrap_or_default();
    let numbers = row.phone_numbers.into_iter().map(|number| TenantPhoneNumber {
        safety_percent: number.safety_percent,
        phone_number_id: PhoneNumberId::new(number.phone_number_id),
        waba_id: number.waba_id,
        display_number: number.display_number,
        messages_per_second: number.messages_per_second,
    });
    Tenant {
        weight: row.weight,
        messages_per_day: row.messages_per_day,
        spend_per_day_micros: row.spend_per_day_micros,
        prices: limits::prices(row.prices),
        users_per_day: row.users_per_day,
        marketing_route: row.marketing_route,
        product_policy: row.product_policy,
        retries: limits::retries(row.retries),
        tenant: TenantId::new(row.tenant),
        name: row.name,
        active: row.active,
        credential: row.credential,
        default_phone_number_id: PhoneNumberId::new(default),
        phone_numbers: numbers.collect(),
        updated_at: now,
    }
}

/// Categories of a template.
const CATEGORIES: [&str; 3] = ["authentication", "utility", "marketing"];

/// The rows of a templates file, or every fault in it.
pub fn templates(text: &str, now: Timestamp) -> Result<Vec<Template>, Vec<String>> {
    let file: TemplatesFile = parse(text)?;
    let mut faults = Faults::default();
    let mut keys = BTreeSet::new();
    for (n, row) in file.templates.iter().enumerate() {
        let at = format!("templates[{n}]");
        faults.id(&at, "tenant", &row.tenant);
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if row.name.is_empty() || row.name.len() > 512 || !row.name.chars().all(plain) {
            let fix = "is no template name; use up to 512 of a-z, 0-9 and _";
            faults.add(&at, "name", &row.name, fix);
        }
        if !row.language.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            || row.language.is_empty()
        {
            let fix = "is no language code; write it as Meta does, such as en_US";
            faults.add(&at, "language", &row.language, fix);
        }
        if !CATEGORIES.contains(&row.category.as_str()) {
            let fix = "is no category; use authentication, utility or marketing";
            faults.add(&at, "category", &row.category, fix);
        }
        if row.status.is_empty() || row.status.chars().any(|c| c.is_ascii_lowercase()) {
            let fix = "is no status; write Meta's, such as APPROVED";
            faults.add(&at, "status", &row.status, fix);
        }
        // Meta: from 30 s to 30 days, by category; -1 is 30 days.
        if row.ttl_seconds != Some(-1) {
            let fix = "is out of range; give what the template says, from 30 to 2592000, or -1";
            faults.within(&at, "ttl-seconds", row.ttl_seconds, 30..=2_592_000, fix);
        }
        if row.version < 1 {
            faults.add(&at, "version", &row.version.to_string(), "is too low; count from 1");
        }
        if !keys.insert((&row.tenant, &row.name, &row.language)) {
            let fix = "is there twice in this language; keep one";
            faults.add(&at, "name", &row.name, fix);
        }
    }
    faults.none()?;
    Ok(file.templates.into_iter().map(|row| template(row, now)).collect())
}

fn template(row: TemplateRow, now: Timestamp) -> Template {
    let (parameter_format, body_variables) = match row.variables {
        Variables::Positional(count) => {
            (ParameterFormat::Positional, (1..=count).map(|n| n.to_string()).collect())
        }
        Variables::Named(names) => (ParameterFormat::Named, names),
    };
    Template {
        ttl_seconds: row.ttl_seconds,
        tenant: TenantId::new(row.tenant),
        name: TemplateName::new(row.name),
        language: row.language,
        version: row.version,
        category: row.category,
        status: row.status,
        parameter_format,
        body_variables,
        updated_at: now,
    }
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Vec<String>> {
    serde_saphyr::from_str(text).map_err(|error| vec![error.to_string()])
}

/// Collects faults.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn add(&mut self, at: &str, field: &str, value: &str, what: &str) {
        let shown = if value.is_empty() { String::new() } else { format!(" {value:?}") };
        self.0.push(format!("{at}.{field}{shown} {what}"));
    }

    fn id(&mut self, at: &str, field: &str, value: &str) {
        if value.is_empty() || value.len() > 200 || value.chars().any(char::is_control) {
            self.add(at, field, value, "is no id; give a short name such as acme");
        }
    }

    /// A number that is absent or within `range`.
    fn within<N: PartialOrd + ToString>(
        &mut self,
        at: &str,
        field: &str,
        value: Option<N>,
        range: RangeInclusive<N>,
        what: &str,
    ) {
        if let Some(value) = value.filter(|value| !range.contains(value)) {
            self.add(at, field, &value.to_string(), what);
        }
    }

    /// Ids of Meta. Anything else is most likely the phone number in their place.
    fn digits(&mut self, at: &str, field: &str, value: &str) {
        if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
            let fix = "is no id of Meta; give its digits, not the phone number";
            self.add(at, field, value, fix);
        }
    }

    fn none(self) -> Result<(), Vec<String>> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0) }
    }
}

#[cfg(test)]
mod tests;
