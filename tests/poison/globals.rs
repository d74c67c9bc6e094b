//! Poison in the global tables. They have no owner who could dead-letter a record: each reader
//! counts it, says what is wrong with it, and the row keeps what it was before.

use std::time::Duration;

use sendplane_domain::id::{PhoneNumberId, TemplateName, TenantId};
use sendplane_domain::time::Timestamp;
use sendplane_tests::plane::Plane;
use sendplane_tests::wait;
use sendplane_wire::record::{ParameterFormat, Template, Tenant, TenantPhoneNumber};
use sendplane_wire::topic;

use crate::log::Writer;
use crate::records::{OWNERS, Records};
use crate::table::{Case, Expect, Raw};
use crate::verdict::Verdicts;

/// The stages that hold the tables.
const HOLDERS: [&str; 3] = ["ingest", "policy", "send"];

const TEMPLATE: &str = "after_poison";

/// Produces unusable rows over the rows of a tenant and its template, then a good one, and a request
/// that needs all three.
pub fn check(plane: &Plane, records: &mut Records, writer: &Writer, verdicts: &mut Verdicts) {
    let rows = rows(records);
    let (keyless, keyed): (Vec<Raw>, Vec<Raw>) =
        rows.into_iter().partition(|row| row.key.is_none());
    for refused in writer.write(&keyless) {
        refused.expect_err("a compacted topic takes no record without a key");
    }
    for landed in writer.write(&keyed) {
        landed.expect("the broker takes it");
    }
    let counted = |stage: &str| {
        let metrics = plane.metrics(stage, "a").unwrap_or_default();
        metrics.sum("sendplane_global_records_rejected_total") as usize
    };
    for stage in HOLDERS {
        let what = format!("{stage} counts {} rows it cannot use", keyed.len());
        wait::until(&what, Duration::from_secs(30), || {
            (counted(stage) == keyed.len()).then_some(())
        });
    }
    let owner = OWNERS[0];
    let good = Template {
        ttl_seconds: None,
        tenant: TenantId::new(owner.tenant),
        name: TemplateName::new(TEMPLATE),
        language: "en_US".into(),
        version: 1,
        category: "utility".into(),
        status: "APPROVED".into(),
        parameter_format: ParameterFormat::Positional,
        body_variables: vec!["1".into(), "2".into()],
        updated_at: Timestamp::from_millis(0),
    };
    let key = format!("{}/{TEMPLATE}/en_US", owner.tenant);
    let row = global(topic::TEMPLATES, key, Some(records.encode(topic::TEMPLATES, &good)));
    writer.write(&[row]).remove(0).expect("the broker takes it");
    let mut requests = Vec::new();
    // The provider does not know the new one, so send waits with it. Had the row not been applied,
    // policy would block it.
    let ends = [("order_confirmed", "READ"), (TEMPLATE, "DISPATCHED")];
    for (template, state) in ends {
        let message = records.message(owner);
        let mut request = message.request();
        request.template_name = TemplateName::new(template);
        let value = records.encode(topic::REQUESTS_TRANSACTIONAL, &request);
        requests.push(Case {
            name: format!("a request of {template} after poison in the tables"),
            raw: Raw::of(owner, topic::REQUESTS_TRANSACTIONAL, value),
            expect: Expect::Ends(message.key, state, None),
        });
    }
    verdicts.produce(writer, requests);
}

fn global(topic: &'static str, key: impl Into<Vec<u8>>, value: Option<Vec<u8>>) -> Raw {
    Raw { topic, partition: 0, key: Some(key.into()), value, header: None, compressed: false }
}

/// Rows nobody can use, most of them over rows that are needed.
fn rows(records: &Records) -> Vec<Raw> {
    let tenant = OWNERS[0].tenant;
    let template_key = format!("{tenant}/order_confirmed/en_US");
    let hijacker = Tenant {
        weight: 1,
        messages_per_day: None,
        spend_per_day_micros: None,
        prices: Vec::new(),
        users_per_day: None,
        marketing_route: false,
        product_policy: None,
        retries: Vec::new(),
        tenant: TenantId::new("hijacker"),
        name: "\u{202e}\0".into(),
        active: false,
        credential: String::new(),
        default_phone_number_id: PhoneNumberId::new(OWNERS[0].number),
        phone_numbers: vec![TenantPhoneNumber {
            safety_percent: None,
            phone_number_id: PhoneNumberId::new(OWNERS[0].number),
            waba_id: String::new(),
            display_number: String::new(),
            messages_per_second: i32::MIN,
        }],
        updated_at: Timestamp::from_millis(i64::MIN),
    };
    let other = Template {
        ttl_seconds: None,
        tenant: TenantId::new("hijacker"),
        name: TemplateName::new("order_confirmed"),
        language: "en_US".into(),
        version: i32::MIN,
        category: String::new(),
        status: String::new(),
        parameter_format: ParameterFormat::Unknown,
        body_variables: Vec::new(),
        updated_at: Timestamp::from_millis(i64::MAX),
    };
    let hijacker = records.encode(topic::TENANTS, &hijacker);
    let other = records.encode(topic::TEMPLATES, &other);
    let mut rows = Vec::new();
    for (topic, key, good) in
        [(topic::TENANTS, tenant, &hijacker), (topic::TEMPLATES, template_key.as_str(), &other)]
    {
        let broken = [
            Vec::new(),
            vec![0],
            b"{\"tenant\":\"acme\"}".to_vec(),
            [&[1], &good[1..]].concat(),
            good[..good.len() - 1].to_vec(),
            [&good[..], &[0]].concat(),
            [&good[..5], &[0xff; 40]].concat(),
            [&[0, 0x7f, 0xff, 0xff, 0xfe], &good[5..]].concat(),
            [&[0], &records.id(topic::CONSENT).to_be_bytes()[..], &good[5..]].concat(),
            // Whole, but another one's row under this key.
            good.clone(),
        ];
        rows.extend(broken.into_iter().map(|value| global(topic, key, Some(value))));
        rows.push(global(topic, [0xff, 0xfe], Some(good.clone())));
        rows.push(global(topic, [0xff, 0xfe], None));
        rows.push(Raw { key: None, ..global(topic, key, Some(good.clone())) });
    }
    rows.push(global(topic::TEMPLATES, "no-slashes", Some(other)));
    rows
}
