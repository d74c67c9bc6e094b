//! Tenants, numbers and templates, as our global topics and as the provider know them.

use sendplane_domain::id::{PhoneNumberId, TemplateName, TenantId};
use sendplane_domain::time::Timestamp;
use sendplane_provider_model as model;
use sendplane_provider_model::{
    Category, Config, Delays, Limits, MarketingAccount, MsRange, PairLimit, Variables,
};
use sendplane_wire::record::{ParameterFormat, Template, Tenant, TenantPhoneNumber};
use sendplane_wire::topic;

use super::{Upstream, scarce};
use crate::process::hosted::SCHEMAS;
use crate::provider::{TOKEN, trouble};
use crate::rng::Rng;
use crate::shape::Shape;
use crate::time::{START_MS, ms, seconds, true_wall};

/// Signs webhooks.
pub const APP_SECRET: &str = "sim-app-secret";

/// Name, category and variables of every template.
pub const TEMPLATES: [(&str, &str, usize); 3] =
    [("order", "utility", 1), ("code", "authentication", 1), ("sale", "marketing", 2)];

/// A template that is not approved here.
pub const PAUSED: &str = "paused";

/// The tenant's name.
pub fn tenant_name(number: usize) -> String {
    format!("tenant-{number}")
}

/// A tenant that appears only when requests of it are already under way.
pub const LATE_TENANT: &str = "late-tenant";

/// Graph id of a number.
pub fn number_id(tenant: &str) -> PhoneNumberId {
    PhoneNumberId::new(format!("{tenant}-number"))
}

/// Graph id of the other number, where a tenant has two.
pub fn second_number_id(tenant: &str) -> PhoneNumberId {
    PhoneNumberId::new(format!("{tenant}-second"))
}

/// Whether tenants have two numbers.
pub fn has_second_number(shape: &Shape) -> bool {
    shape.scarcity.users || shape.scarcity.notices
}

/// Calls a second that a tenant's number may make: small, so that it matters.
fn ceiling(shape: &Shape, tenant: &str) -> i32 {
    if shape.contended {
        return 1_000;
    }
    let sum: u32 = tenant.bytes().map(u32::from).sum();
    [2, 5, 20, 80][(sum as usize + shape.seed as usize) % 4]
}

/// How a tenant's marketing goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marketing {
    /// Like everything else.
    Ordinary,
    /// By the marketing endpoint, which Meta closed to the template: it goes on over the ordinary
    /// one.
    Unavailable,
    /// By the marketing endpoint and no other.
    Strict,
}

fn marketing(shape: &Shape, tenant: &str) -> Marketing {
    if shape.contended {
        return Marketing::Ordinary;
    }
    let sum: u32 = tenant.bytes().map(u32::from).sum();
    match (sum as usize + shape.seed as usize / 4) % 4 {
        0 => Marketing::Unavailable,
        1 => Marketing::Strict,
        _ => Marketing::Ordinary,
    }
}

/// All tenants.
pub(super) fn tenants(shape: &Shape) -> Vec<String> {
    let mut names: Vec<String> = (0..shape.tenants).map(tenant_name).collect();
    names.push(LATE_TENANT.to_owned());
    names
}

/// A tenant's row, with the limits of this version of it.
fn row(shape: &Shape, tenant: &str, active: bool, version: u64) -> Tenant {
    let phone_number_id = number_id(tenant);
    let marketing = marketing(shape, tenant);
    let sum: i32 = tenant.bytes().map(i32::from).sum();
    let mut row = Tenant {
        weight: if shape.contended { 1 + sum % 3 } else { 1 },
        messages_per_day: None,
        spend_per_day_micros: None,
        prices: Vec::new(),
        users_per_day: None,
        marketing_route: marketing != Marketing::Ordinary,
        product_policy: (marketing == Marketing::Strict).then(|| "STRICT".to_owned()),
        retries: Vec::new(),
        tenant: TenantId::new(tenant),
        name: tenant.to_owned(),
        active,
        credential: "default".into(),
        default_phone_number_id: phone_number_id.clone(),
        phone_numbers: vec![TenantPhoneNumber {
            safety_percent: None,
            phone_number_id,
            waba_id: format!("{tenant}-waba"),
            display_number: "+15550001111".into(),
            messages_per_second: ceiling(shape, tenant),
        }],
        updated_at: Timestamp::from_millis(START_MS),
    };
    scarce::limit(shape, &mut row, version);
    row
}

fn template(tenant: &str, name: &str, category: &str, variables: usize) -> Template {
    Template {
        ttl_seconds: None,
        tenant: TenantId::new(tenant),
        name: TemplateName::new(name),
        language: "en".into(),
        version: 1,
        category: category.into(),
        status: if name == PAUSED { "PAUSED" } else { "APPROVED" }.into(),
        parameter_format: ParameterFormat::Positional,
        body_variables: (1..=variables).map(|number| number.to_string()).collect(),
        updated_at: Timestamp::from_millis(START_MS),
    }
}

fn global(at: i64, topic: &'static str, key: String, value: Vec<u8>) -> Upstream {
    let key = Some(key.into_bytes());
    Upstream { at, topic, partition: 0, key, value: Some(value), headers: Vec::new() }
}

/// The global topics: complete at the start but for one tenant, and one that is switched off and
/// on again.
pub(super) fn globals(shape: &Shape, rng: &mut Rng) -> Vec<Upstream> {
    let mut records = Vec::new();
    let encode = |row: &Tenant| {
        SCHEMAS.encoder(topic::TENANTS).encode(row).expect("a tenant can be encoded")
    };
    for tenant in tenants(shape) {
        let at = if tenant == LATE_TENANT { seconds(2) } else { 0 };
        let value = encode(&row(shape, &tenant, true, 0));
        records.push(global(at, topic::TENANTS, tenant.clone(), value));
        let paused = [(PAUSED, "utility", 1)];
        for (name, category, variables) in TEMPLATES.iter().chain(&paused) {
            let row = template(&tenant, name, category, *variables);
            let value = SCHEMAS.encoder(topic::TEMPLATES).encode(&row);
            let value = value.expect("a template can be encoded");
            let key = format!("{tenant}/{name}/en");
            records.push(global(at, topic::TEMPLATES, key, value));
        }
    }
    if rng.chance(400) && !shape.contended {
        let tenant = tenant_name(0);
        let off = rng.between(seconds(1), shape.traffic / 2);
        let on = off + rng.between(ms(500), seconds(20));
        for (at, active) in [(off, false), (on, true)] {
            let value = encode(&row(shape, &tenant, active, 0));
            records.push(global(at, topic::TENANTS, tenant.clone(), value));
        }
    }
    for (at, tenant, version) in scarce::rows(shape) {
        let row = row(shape, &tenant, true, version);
        let value = encode(&Tenant { updated_at: true_wall(at), ..row });
        records.push(global(at, topic::TENANTS, tenant, value));
    }
    records
}

/// What happens to templates while messages are on their way: a new version, a pause of marketing
/// that ends, an end for good.
pub(super) fn changes(shape: &Shape, rng: &mut Rng) -> Vec<Upstream> {
    let mut records = Vec::new();
    for tenant in tenants(shape) {
        let mut set = |at: i64, of: (&str, &str, usize), version: i32, status: &str| {
            let row = template(&tenant, of.0, of.1, of.2);
            let row = Template { version, status: status.to_owned(), ..row };
            let value = SCHEMAS.encoder(topic::TEMPLATES).encode(&row);
            let key = format!("{tenant}/{}/en", of.0);
            let value = value.expect("a template can be encoded");
            records.push(global(at, topic::TEMPLATES, key, value));
        };
        let [order, _, sale] = TEMPLATES;
        let mut times = [(); 3].map(|()| rng.between(seconds(3), shape.traffic));
        times.sort_unstable();
        for (at, version) in times.into_iter().zip(2..) {
            set(at, order, version, "APPROVED");
        }
        if rng.chance(500) {
            let from = rng.between(seconds(3), shape.traffic);
            set(from, sale, 1, "PAUSED");
            set(from + rng.between(ms(500), seconds(20)), sale, 1, "APPROVED");
        }
        if rng.chance(100) {
            set(shape.traffic - seconds(2), sale, 1, "DISABLED");
        }
    }
    records
}

/// The same account at the provider.
pub fn at_provider(shape: &Shape) -> Config {
    let ids = |tenant: String| {
        let second = has_second_number(shape).then(|| second_number_id(&tenant));
        [Some(number_id(&tenant)), second].into_iter().flatten().map(move |id| (id, tenant.clone()))
    };
    let numbers = tenants(shape).into_iter().flat_map(ids).map(|(id, tenant)| model::PhoneNumber {
        id: id.as_str().to_owned(),
        display_number: "15550001111".to_owned(),
        waba_id: format!("{tenant}-waba"),
        throughput_per_second: 1_000,
    });
    let templates = TEMPLATES.map(|(name, category, variables)| model::Template {
        waba_id: None,
        name: name.to_owned(),
        language: "en".to_owned(),
        status: model::TemplateStatus::Approved,
        category: match category {
            "utility" => Category::Utility,
            "authentication" => Category::Authentication,
            _ => Category::Marketing,
        },
        body: Variables::Positional(variables),
        header: model::Header::None,
        url_buttons: u32::from(category == "authentication"),
    });
    let marketing_accounts = tenants(shape).into_iter().map(|tenant| MarketingAccount {
        waba_id: format!("{tenant}-waba"),
        onboarded: marketing(shape, &tenant) != Marketing::Ordinary,
        cloud_api_disabled: false,
        template_sync_ms: 0,
        unavailable_templates: match marketing(shape, &tenant) {
            Marketing::Unavailable => vec!["sale".to_owned()],
            Marketing::Ordinary | Marketing::Strict => Vec::new(),
        },
        not_marketing_code: 131_055,
    });
    Config {
        seed: shape.seed,
        app_secret: APP_SECRET.to_owned(),
        access_tokens: vec![TOKEN.to_owned()],
        phone_numbers: numbers.collect(),
        templates: templates.to_vec(),
        delays: Delays {
            sent_ms: MsRange::new(1, 400),
            delivered_ms: MsRange::new(1, 3_000),
            read_ms: MsRange::new(1, 8_000),
            failed_ms: MsRange::new(1, 1_000),
            held_ms: MsRange::new(2_000, 20_000),
        },
        pair_limit: PairLimit { burst: 0, refill_ms: 1 },
        limits: Limits { marketing_accounts: marketing_accounts.collect(), ..Limits::default() },
        updates_per_webhook_max: 5,
        read_ratio: 0.7,
        faults: trouble::usual(shape),
        ..Config::default()
    }
}
