//! Which country a recipient belongs to, as far as limits depend on it.

use crate::webhook::is_business_scoped;

/// Dialling codes without a per-user marketing limit: the EEA, the United Kingdom, Japan and South
/// Korea. Meta names the countries; the codes are ours.
pub(crate) const UNCAPPED_DIALLING_CODES: &[&str] = &[
    "30", "31", "32", "33", "34", "351", "352", "353", "354", "356", "357", "358", "359", "36",
    "370", "371", "372", "385", "386", "39", "40", "420", "421", "423", "43", "44", "45", "46",
    "47", "48", "49", "81", "82",
];

/// The same as ISO 3166 codes, for business-scoped user ids, which start with one.
pub(crate) const UNCAPPED_COUNTRIES: &[&str] = &[
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GB", "GR", "HR", "HU", "IE",
    "IS", "IT", "JP", "KR", "LI", "LT", "LU", "LV", "MT", "NL", "NO", "PL", "PT", "RO", "SE", "SI",
    "SK",
];

/// Area codes of country code 1 that are not in the United States: Canada and the Caribbean.
const NOT_US: &[&str] = &[
    "204", "226", "236", "242", "246", "249", "250", "257", "263", "264", "268", "284", "289",
    "306", "343", "345", "354", "365", "367", "368", "382", "387", "403", "416", "418", "428",
    "431", "437", "438", "441", "450", "460", "468", "473", "474", "506", "514", "519", "548",
    "579", "581", "584", "587", "604", "613", "639", "647", "649", "658", "664", "672", "683",
    "705", "709", "721", "742", "753", "758", "767", "778", "780", "782", "784", "807", "809",
    "819", "825", "829", "849", "867", "868", "869", "873", "876", "879", "902", "905", "942",
];

/// Whether a recipient (digits or user id) is in the United States.
pub(crate) fn is_us(to: &str) -> bool {
    if is_business_scoped(to) {
        return to.starts_with("US.");
    }
    let Some(rest) = to.strip_prefix('1').filter(|rest| rest.len() == 10) else { return false };
    !NOT_US.contains(&&rest[..3])
}

/// Whether a recipient is in one of the places, given as dialling codes and as ISO codes.
pub(crate) fn is_in(to: &str, dialling_codes: &[String], countries: &[String]) -> bool {
    match to.split_once('.') {
        Some((country, _)) => countries.iter().any(|known| known == country),
        None => dialling_codes.iter().any(|code| to.starts_with(code.as_str())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_united_states_are_not_all_of_country_code_one() {
        for (to, us) in [
            ("12125550100", true),
            ("14165550100", false),
            ("18765550100", false),
            ("1212555", false),
            ("4915112345678", false),
            ("US.13491208655302741918", true),
            ("CA.13491208655302741918", false),
        ] {
            assert_eq!(is_us(to), us, "{to}");
        }
        assert!(NOT_US.is_sorted());
    }

    #[test]
    fn places_are_found_by_number_and_by_user_id() {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let (codes, countries) = (owned(UNCAPPED_DIALLING_CODES), owned(UNCAPPED_COUNTRIES));
        for (to, uncapped) in [
            ("4915112345678", true),
            ("818012345678", true),
            ("919812345678", false),
            ("5511912345678", false),
            ("GB.1", true),
            ("IN.1", false),
        ] {
            assert_eq!(is_in(to, &codes, &countries), uncapped, "{to}");
        }
    }
}
