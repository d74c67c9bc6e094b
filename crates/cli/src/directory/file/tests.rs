use sendplane_wire::record::{TenantPrice, TenantRetries};

use super::*;

const NOW: Timestamp = Timestamp::from_millis(7);

#[test]
fn a_tenant_needs_little() {
    let text = r#"
tenants:
  - tenant: acme
    name: Acme
    phone-numbers:
      - phone-number-id: "106540352242922"
        waba-id: "102290129340398"
        display-number: "+15550783881"
"#;
    let expected = Tenant {
        weight: 1,
        messages_per_day: None,
        spend_per_day_micros: None,
        prices: Vec::new(),
        users_per_day: None,
        marketing_route: false,
        product_policy: None,
        retries: Vec::new(),
        tenant: TenantId::new("acme"),
        name: "Acme".into(),
        active: true,
        credential: "default".into(),
        default_phone_number_id: PhoneNumberId::new("106540352242922"),
        phone_numbers: vec![TenantPhoneNumber {
            safety_percent: None,
            phone_number_id: PhoneNumberId::new("106540352242922"),
            waba_id: "102290129340398".into(),
            display_number: "+15550783881".into(),
            messages_per_second: 80,
        }],
        updated_at: NOW,
    };
    assert_eq!(tenants(text, NOW), Ok(vec![expected]));
}

#[test]
fn all_faults_of_tenants_are_named_with_field_and_fix() {
    let text = r#"
tenants:
  - tenant: ""
    name: Acme
    default-phone-number-id: "3"
    phone-numbers:
      - {phone-number-id: "+155", waba-id: "1", display-number: x, messages-per-second: 0}
  - {tenant: b, name: B, credential: "", phone-numbers: []}
  - {tenant: b, name: B, phone-numbers: [
      {phone-number-id: "2", waba-id: "1", display-number: x},
      {phone-number-id: "2", waba-id: "1", display-number: x}]}
"#;
    let expected = [
        "tenants[0].tenant is no id; give a short name such as acme",
        "tenants[0].default-phone-number-id \"3\" is none of phone-numbers; add it there or name \
         another",
        "tenants[0].phone-numbers[0].phone-number-id \"+155\" is no id of Meta; give its digits, \
         not the phone number",
        "tenants[0].phone-numbers[0].messages-per-second \"0\" is out of range; give what Meta \
         grants, from 1 to 1000",
        "tenants[1].credential is empty; name an entry of [send.credentials]",
        "tenants[1].phone-numbers is empty; give at least one number",
        "tenants[2].tenant \"b\" is there twice; keep one",
        "tenants[2].phone-numbers[1].phone-number-id \"2\" is there twice; a number belongs to one \
         tenant, once",
    ];
    assert_eq!(tenants(text, NOW).unwrap_err(), expected);
}

#[test]
fn templates_count_or_name_their_variables() {
    let text = "
templates:
  - {tenant: acme, name: order_shipped, language: en_US, category: utility, variables: 2}
  - {tenant: acme, name: hello, language: en, category: marketing, version: 3,
     variables: [first_name]}
";
    let rows = templates(text, NOW).unwrap();
    assert_eq!(rows[0].parameter_format, ParameterFormat::Positional);
    assert_eq!(rows[0].body_variables, ["1", "2"]);
    assert_eq!((rows[0].version, rows[0].status.as_str()), (1, "APPROVED"));
    assert_eq!(rows[1].parameter_format, ParameterFormat::Named);
    assert_eq!(rows[1].body_variables, ["first_name"]);
}

#[test]
fn all_faults_of_templates_are_named() {
    let text = "
templates:
  - {tenant: a, name: Hello, language: en-US, category: promo, status: approved, version: 0}
  - {tenant: a, name: x, language: en, category: utility}
  - {tenant: a, name: x, language: en, category: utility}
";
    let faults = templates(text, NOW).unwrap_err();
    let starts = [
        "templates[0].name \"Hello\" is no template name",
        "templates[0].language \"en-US\" is no language code",
        "templates[0].category \"promo\" is no category; use authentication, utility or marketing",
        "templates[0].status \"approved\" is no status",
        "templates[0].version \"0\" is too low",
        "templates[2].name \"x\" is there twice in this language",
    ];
    assert_eq!(faults.len(), starts.len(), "{faults:?}");
    for (fault, start) in faults.iter().zip(starts) {
        assert!(fault.starts_with(start), "{fault}");
    }
}

#[test]
fn an_unknown_or_missing_field_is_named_with_its_line() {
    let unknown = "tenants:\n  - tenant: a\n    nmae: b\n    phone-numbers: []\n";
    let faults = tenants(unknown, NOW).unwrap_err().concat();
    assert!(faults.contains("nmae") && faults.contains('3'), "{faults}");
    let missing = tenants("tenants:\n  - tenant: a\n", NOW).unwrap_err().concat();
    assert!(missing.contains("name"), "{missing}");
    // YAML reads an unquoted id as a number, which loses leading zeros.
    let number =
        "templates:\n  - {tenant: a, name: x, language: en, category: utility, variables: -1}\n";
    let faults = templates(number, NOW).unwrap_err().concat();
    assert!(faults.contains("variables"), "{faults}");
}

#[test]
fn a_tenant_may_say_what_it_may_use() {
    let text = r#"
tenants:
  - tenant: acme
    name: Acme
    weight: 3
    messages-per-day: 1000
    spend-per-day-micros: 5000000
    prices: {marketing: 110000, utility: 50000}
    users-per-day: 2000
    marketing-route: true
    product-policy: STRICT
    retries: {retry_message: 2}
    phone-numbers:
      - {phone-number-id: "1", waba-id: "1", display-number: x, safety-percent: 10}
"#;
    let row = tenants(text, NOW).unwrap().remove(0);
    assert_eq!((row.weight, row.messages_per_day), (3, Some(1_000)));
    assert_eq!((row.spend_per_day_micros, row.users_per_day), (Some(5_000_000), Some(2_000)));
    let price = |category: &str, micros| TenantPrice { category: category.into(), micros };
    assert_eq!(row.prices, [price("marketing", 110_000), price("utility", 50_000)]);
    assert_eq!((row.marketing_route, row.product_policy.as_deref()), (true, Some("STRICT")));
    let retries = TenantRetries { error_class: "retry_message".into(), attempts_max: 2 };
    assert_eq!(row.retries, [retries]);
    assert_eq!(row.phone_numbers[0].safety_percent, Some(10));
    let text = "templates:\n  - {tenant: a, name: x, language: en, category: utility, \
                ttl-seconds: 600}\n";
    assert_eq!(templates(text, NOW).unwrap()[0].ttl_seconds, Some(600));
}

#[test]
fn faults_of_what_a_tenant_may_use_are_named() {
    let text = r#"
tenants:
  - tenant: acme
    name: Acme
    weight: 0
    messages-per-day: -1
    spend-per-day-micros: -2
    prices: {promo: -3}
    users-per-day: -4
    product-policy: LOOSE
    retries: {sometimes: 0}
    phone-numbers:
      - {phone-number-id: "1", waba-id: "1", display-number: x, safety-percent: 95}
  - tenant: globex
    name: Globex
    spend-per-day-micros: 1
    phone-numbers:
      - {phone-number-id: "2", waba-id: "1", display-number: x}
"#;
    let faults = tenants(text, NOW).unwrap_err();
    let starts = [
        "tenants[0].phone-numbers[0].safety-percent \"95\" is out of range",
        "tenants[0].weight \"0\" is out of range",
        "tenants[0].messages-per-day \"-1\" is negative",
        "tenants[0].spend-per-day-micros \"-2\" is negative",
        "tenants[0].users-per-day \"-4\" is negative",
        "tenants[0].prices.promo is no category",
        "tenants[0].prices.promo \"-3\" is negative",
        "tenants[0].product-policy \"LOOSE\" is none of Meta's",
        "tenants[0].product-policy \"LOOSE\" has no effect",
        "tenants[0].retries.sometimes is no class of errors",
        "tenants[0].retries.sometimes \"0\" is out of range",
        "tenants[1].prices is missing",
    ];
    assert_eq!(faults.len(), starts.len(), "{faults:#?}");
    for (fault, start) in faults.iter().zip(starts) {
        assert!(fault.starts_with(start), "{fault}");
    }
    let text = "templates:\n  - {tenant: a, name: x, language: en, category: utility, \
                ttl-seconds: 5}\n";
    assert!(templates(text, NOW).unwrap_err()[0].starts_with("templates[0].ttl-seconds \"5\""));
}
