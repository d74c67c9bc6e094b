use super::CodeClass::*;
use super::*;

/// Every code of Meta's list, written out by hand, with the class its row must have.
const LISTED: &[(CodeClass, &[i64])] = &[
    (Ambiguous, &[1, 131000, 131016, 135000]),
    (ProviderWide, &[2, 131057, 133004]),
    (ThrottleNumber, &[130429, 131208]),
    (ThrottlePair, &[131056]),
    (ThrottleApp, &[4]),
    (ThrottleAccount, &[80007]),
    (ThrottleSpam, &[131048]),
    (ThrottleTemplate, &[132069]),
    (WindowClosed, &[131047]),
    (
        PermanentRequest,
        &[
            100, 131008, 131009, 131021, 131030, 131051, 131055, 131062, 132000, 132005, 132008,
            132012, 132018, 132021, 134100,
        ],
    ),
    (
        PermanentRecipient,
        &[
            130403, 131020, 131026, 131041, 131059, 131201, 131202, 131204, 131209, 131210, 131211,
            131212, 131213, 131214, 131215,
        ],
    ),
    (RecipientOptedOut, &[131050]),
    (RecipientMarketingCap, &[131049]),
    (RecipientMarketingExcluded, &[130472]),
    (RecipientCountryBlocked, &[130497]),
    (RecipientIdentityChanged, &[137000]),
    (SuspendTemplate, &[132001, 132007, 132015, 132016, 132068]),
    (SuspendNumber, &[33, 131037, 131045, 131207, 133010]),
    (
        SuspendTenant,
        &[0, 3, 10, 104, 190, 200, 201, 250, 299, 368, 131005, 131031, 131042, 131044, 134011],
    ),
    (SuspendTenantTemplates, &[131064]),
    (SuspendDirectSend, &[139200]),
    (Expired, &[131043]),
    (RetryMedia, &[131014, 131053]),
    (RetryTemplateSync, &[134101]),
    (RouteMarketing, &[131063]),
    (RouteMessages, &[134102]),
    (
        NotSendPath,
        &[
            130501, 131052, 131060, 133000, 133005, 133006, 133008, 133009, 133015, 133016, 138000,
            138009, 138018, 139000, 139001, 139002, 139003, 139004, 139100, 139101, 139102, 139103,
            147001, 147002, 147003, 147004, 147005, 1752041, 2388019, 2388039, 2388040, 2388047,
            2388072, 2388073, 2388293, 2388299, 2388318, 2388330,
        ],
    ),
];

#[test]
fn has_every_listed_code_in_its_class() {
    for (class, codes) in LISTED {
        for code in *codes {
            let classified = classify(*code, None, None);
            assert_eq!((classified.class, classified.known), (*class, true), "code {code}");
            assert!(!classified.meaning.is_empty(), "code {code}");
        }
    }
}

#[test]
fn has_no_row_beyond_the_listed_codes() {
    let listed: Vec<i64> = LISTED.iter().flat_map(|(_, codes)| codes.iter().copied()).collect();
    for row in TABLE {
        assert!(listed.contains(&row.first) && listed.contains(&row.last), "row {}", row.first);
    }
}

#[test]
fn rows_ascend_and_do_not_overlap() {
    for pair in TABLE.windows(2) {
        assert!(pair[0].last < pair[1].first, "{} and {}", pair[0].first, pair[1].first);
    }
    assert!(TABLE.iter().all(|row| row.first <= row.last));
}

#[test]
fn a_range_ends_where_it_says() {
    for (code, known) in [
        (199, false),
        (200, true),
        (299, true),
        (300, false),
        (131208, true),
        (131216, false),
        (133007, false),
        (138019, false),
        (139005, false),
        (139099, false),
        (147000, false),
        (147006, false),
    ] {
        assert_eq!(classify(code, None, None).known, known, "code {code}");
    }
}

#[test]
fn a_known_code_is_never_judged_by_its_http_status() {
    for row in TABLE {
        for status in [None, Some(200), Some(400), Some(403), Some(429), Some(500), Some(503)] {
            for is_transient in [None, Some(false), Some(true)] {
                let classified = classify(row.first, is_transient, status);
                assert_eq!(classified.class, row.class, "code {} with {status:?}", row.first);
            }
        }
    }
}

#[test]
fn throttling_documented_as_http_400_is_throttling() {
    for code in [4, 80007, 130429, 131048, 131056] {
        let class = classify(code, None, Some(400)).class;
        assert!(class.is_throttle(), "code {code} is {class:?}");
        assert!(proven_unsent(class), "code {code}");
    }
    assert_eq!(CodeClass::ALL.iter().filter(|class| class.is_throttle()).count(), 6);
}

#[test]
fn an_unknown_code_is_doubted_where_the_message_may_have_been_accepted() {
    let unknown = 999_999;
    for (is_transient, status, expected) in [
        (None, Some(500), Ambiguous),
        (Some(true), Some(503), Ambiguous),
        (Some(false), Some(599), Ambiguous),
        (None, Some(200), Ambiguous),
        (Some(true), Some(200), Ambiguous),
        (Some(true), Some(400), RetryMessage),
        (Some(true), Some(429), RetryMessage),
        (Some(true), Some(401), SuspendTenant),
        (None, Some(401), SuspendTenant),
        (Some(true), None, RetryMessage),
        (Some(false), Some(400), PermanentRequest),
        (None, Some(404), PermanentRequest),
        (None, None, PermanentRequest),
    ] {
        let classified = classify(unknown, is_transient, status);
        assert_eq!(classified.class, expected, "{is_transient:?} {status:?}");
        assert!(!classified.known);
    }
}

#[test]
fn only_the_generic_answers_leave_doubt() {
    for code in [1, 131000, 131016, 135000] {
        assert!(!proven_unsent(classify(code, Some(true), Some(400)).class), "code {code}");
        assert_eq!(classify_status(code).class, RetryMessage, "code {code} in a webhook");
    }
    for row in TABLE.iter().filter(|row| row.class != Ambiguous) {
        assert!(proven_unsent(row.class), "code {}", row.first);
        assert_eq!(classify_status(row.first).class, row.class, "code {}", row.first);
    }
}

#[test]
fn an_answer_without_an_error_object_is_doubted_unless_an_edge_refused_it() {
    for status in [None, Some(200), Some(302), Some(500), Some(502), Some(504)] {
        assert_eq!(classify_unparsed(status), Ambiguous, "{status:?}");
    }
    for status in [Some(400), Some(413), Some(429), Some(499)] {
        assert_eq!(classify_unparsed(status), RetryMessage, "{status:?}");
    }
    assert_eq!(classify_unparsed(Some(401)), SuspendTenant, "the token is refused");
    assert!(proven_unsent(RetryMessage) && proven_unsent(SuspendTenant));
}

#[test]
fn a_vanished_number_is_not_a_fault_of_the_request() {
    let class_of = |subcode| classify(effective_code(100, subcode), None, Some(400)).class;
    assert_eq!(class_of(Some(33)), SuspendNumber);
    assert_eq!(class_of(None), PermanentRequest);
    assert_eq!(class_of(Some(2_494_055)), PermanentRequest);
    assert_eq!(effective_code(190, Some(33)), 190);
}

#[test]
fn class_names_and_effects_are_distinct() {
    let names: std::collections::BTreeSet<_> =
        CodeClass::ALL.iter().map(|class| class.as_str()).collect();
    let effects: std::collections::BTreeSet<_> =
        CodeClass::ALL.iter().map(|class| class.effect()).collect();
    assert_eq!((names.len(), effects.len()), (CodeClass::ALL.len(), CodeClass::ALL.len()));
    for (position, class) in CodeClass::ALL.iter().enumerate() {
        assert_eq!(*class as usize, position, "ALL is in stored order");
    }
}
