//! `[status-reconcile]`.

use std::time::Duration;

use sendplane_service::config::Section;
use sendplane_stages::status_reconcile::Settings;

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;

/// Reads the stage's settings.
pub fn read(root: &mut Section<'_>) -> Settings {
    let defaults = Settings::default();
    root.section("status-reconcile", |section| {
        let mut span = |key: &str, default: Duration, longest: u64| {
            section.millis(key, default, 1_000..=longest)
        };
        Settings {
            status_deadline: span("status-deadline-ms", defaults.status_deadline, 7 * DAY_MS),
            delivery_deadline: span(
                "delivery-deadline-ms",
                defaults.delivery_deadline,
                45 * DAY_MS,
            ),
            doubt_window: span("doubt-window-ms", defaults.doubt_window, DAY_MS),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use sendplane_service::config::Config;

    use super::*;

    fn load(extra: &[(&str, &str)]) -> Result<Settings, String> {
        let shared = [
            ("SENDPLANE__INSTANCE__ID", "i"),
            ("SENDPLANE__KAFKA__PROPERTIES__BOOTSTRAP_SERVERS", "b:1"),
            ("SENDPLANE__REGISTRY__URL", "http://r"),
        ];
        let variables: BTreeMap<String, String> = shared
            .iter()
            .chain(extra)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let config = Config::load(None, &variables, read);
        config.map(|config| config.own).map_err(|problems| problems.to_string())
    }

    #[test]
    fn spans_are_milliseconds_within_bounds() {
        assert_eq!(load(&[]), Ok(Settings::default()));
        let set = load(&[("SENDPLANE__STATUS_RECONCILE__STATUS_DEADLINE_MS", "5000")]).unwrap();
        assert_eq!(set.status_deadline, Duration::from_secs(5));
        let fault = load(&[("SENDPLANE__STATUS_RECONCILE__STATUS_DEADLINE_MS", "0")]).unwrap_err();
        assert!(fault.contains("status-reconcile.status-deadline-ms is 0"), "{fault}");
    }
}
