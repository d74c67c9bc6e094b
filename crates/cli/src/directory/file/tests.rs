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
fn the_marketing_route_has_a_policy_of_metas() {
    let text = |more: &str| {
        format!(
            "tenants:\n  - tenant: acme\n    name: Acme\n    phone-numbers:\n      - {{phone-number-id: \"1\", \
             waba-id: \"2\", display-number: x}}\n{more}"
        )
    };
    let row = |more: &str| tenants(&text(more), NOW).map(|rows| rows[0].clone());
    let strict = row("    marketing-route: true\n    product-policy: STRICT\n").expect("sound");
    assert_eq!((strict.marketing_route, strict.product_policy), (true, Some("STRICT".into())));
    let open = row("    marketing-route: true\n").expect("sound");
    assert_eq!((open.marketing_route, open.product_policy), (true, None));
    let refused = row("    marketing-route: true\n    product-policy: strict\n");
    let expected =
        "tenants[0].product-policy \"strict\" is no policy; use CLOUD_API_FALLBACK or STRICT";
    assert_eq!(refused, Err(vec![expected.to_owned()]));
    let idle = row("    product-policy: STRICT\n").unwrap_err();
    assert!(idle[0].contains("add marketing-route: true"), "{idle:?}");
}

#[test]
fn a_template_may_say_how_long_it_lives() {
    let row = |ttl: &str| {
        let text = format!(
            "templates:\n  - {{tenant: a, name: code, language: en, category: authentication{ttl}}}\n"
        );
        templates(&text, NOW).map(|rows| rows[0].ttl_seconds)
    };
    assert_eq!(row(""), Ok(None));
    assert_eq!(row(", ttl-seconds: 300"), Ok(Some(300)));
    assert_eq!(row(", ttl-seconds: -1"), Ok(Some(-1)));
    for wrong in ["0", "-2", "2592001"] {
        let faults = row(&format!(", ttl-seconds: {wrong}")).unwrap_err();
        assert!(faults[0].starts_with(&format!("templates[0].ttl-seconds \"{wrong}\" is no time")));
    }
}
