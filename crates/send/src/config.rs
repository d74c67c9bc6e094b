//! `[send]`.

use std::collections::BTreeMap;

use sendplane_provider::{CloudApi, Config as ApiConfig};
use sendplane_send::credentials::{Credential, parse_moment};
use sendplane_service::config::Section;
use sendplane_stages::send::SendSettings;
use sendplane_wire::cloud_api::{BASE_URL, VERSION};

const DAY_MS: u64 = 24 * 3_600_000;

/// What the send stage is told.
#[derive(Clone, Debug)]
pub struct Send {
    /// Settings of the stage.
    pub settings: SendSettings,
    /// Where Meta is; `None` only beside a problem.
    pub api: Option<CloudApi>,
    /// Calls at a time.
    pub calls_max: usize,
    /// Where access tokens are, by the name that tenants' records use.
    pub credentials: BTreeMap<String, Credential>,
}

/// Reads `[send]`.
pub fn read(root: &mut Section<'_>) -> Send {
    root.section("send", |section| {
        let calls_max = section.whole("max-concurrent-calls", 512, 1..=4_096) as usize;
        let defaults = SendSettings::new(section.hash_key());
        let settings = SendSettings {
            doubt_window: section.millis("doubt-window-ms", defaults.doubt_window, 1_000..=DAY_MS),
            resend_after_silence: section.one_of("resend-after-silence", &["utility", "never"])
                == "utility",
            safety_percent: section.whole(
                "safety-percent",
                u64::from(defaults.safety_percent),
                0..=90,
            ) as u32,
            inbox_bytes_max: section.whole(
                "inbox-bytes",
                defaults.inbox_bytes_max,
                1 << 20..=1 << 40,
            ),
            ..defaults
        };
        Send { settings, api: api(section), calls_max, credentials: credentials(section) }
    })
}

fn api(section: &mut Section<'_>) -> Option<CloudApi> {
    let url = section.text("provider-url", BASE_URL);
    let version = section.text("api-version", VERSION);
    match CloudApi::new(&ApiConfig::new(url, version)) {
        Ok(api) => Some(api),
        Err(error) => {
            let fix = "give scheme and host, such as https://graph.facebook.com, and a version \
                       such as v25.0";
            section.problem("provider-url", format!("with api-version is no API: {error}"), fix);
            None
        }
    }
}

/// The files are not read here: a token that is missing stops its tenants, not the process.
fn credentials(section: &mut Section<'_>) -> BTreeMap<String, Credential> {
    let credentials = section.named_sections("credentials", |entry| {
        let fix = "name the file with the access token";
        let token_file = entry.required_text("token-file", fix).into();
        let expires_at = entry.text("expires-at", "");
        let moment = parse_moment(&expires_at);
        if moment.is_none() && !expires_at.is_empty() {
            let what = format!("{expires_at:?} is no time");
            entry.problem("expires-at", what, "write it as 2027-01-31T00:00:00Z");
        }
        Credential { token_file, expires_at: moment }
    });
    if credentials.is_empty() {
        let fix = "add default = { token-file = \"…\" } under [send.credentials]";
        section.problem("credentials", "is empty", fix);
    }
    credentials
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sendplane_service::config::Config;

    use super::*;

    fn load(dir: &Path, own: &str) -> Result<Config<Send>, String> {
        let text = format!(
            "instance.id = 'i'\nregistry.url = 'http://r'\n\
             kafka.properties.\"bootstrap.servers\" = 'b:1'\n{own}"
        );
        let file = dir.join("send.toml");
        std::fs::write(&file, text).unwrap();
        Config::load(Some(&file), &BTreeMap::new(), read).map_err(|problems| problems.to_string())
    }

    #[test]
    fn a_credential_is_a_file_and_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = dir.path().join(name);
            std::fs::write(&file, text).unwrap();
            file.display().to_string()
        };
        let (key, token) = (write("key", "0123456789abcdef\n"), write("token", "EAAB\n"));
        let own = format!(
            "[send]\nhash-key-file = '{key}'\nprovider-url = 'http://127.0.0.1:1'\n\
             credentials.default.token-file = '{token}'\n\
             credentials.ends = {{ token-file = '/none', expires-at = '1970-01-01T00:00:01Z' }}"
        );
        let config = load(dir.path(), &own).unwrap();
        assert!(!config.print().contains("EAAB") && !format!("{config:?}").contains("EAAB"));
        let credentials = config.own.credentials;
        let default = Credential { token_file: token.into(), expires_at: None };
        assert_eq!(credentials["default"], default);
        let ends = Credential {
            token_file: "/none".into(),
            expires_at: parse_moment("1970-01-01T00:00:01Z"),
        };
        assert_eq!(credentials["ends"], ends, "a missing file stops its tenants only");
    }

    #[test]
    fn problems_name_the_field() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("short"), "x").unwrap();
        let own = format!(
            "[send]\nhash-key-file = '{}'\nprovider-url = 'nowhere'\nsafety-percent = 91\n\
             credentials.a = {{ token-file = '', expires-at = 'soon' }}",
            dir.path().join("short").display()
        );
        let text = load(dir.path(), &own).unwrap_err();
        for part in [
            "send.hash-key-file names a key that is too short",
            "send.provider-url with api-version is no API",
            "send.safety-percent is 91",
            "send.credentials.a.token-file is empty",
            "send.credentials.a.expires-at \"soon\" is no time",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
    }

    #[test]
    fn without_a_credential_nothing_can_be_sent() {
        let dir = tempfile::tempdir().unwrap();
        let text = load(dir.path(), "").unwrap_err();
        assert!(text.contains("send.credentials is empty"), "{text}");
    }
}
