//! `[send]`.

use std::collections::BTreeMap;

use sendplane_domain::opaque::HashKey;
use sendplane_provider::{CloudApi, Config as ApiConfig};
use sendplane_service::config::{Secret, Section};
use sendplane_stages::send::SendSettings;
use sendplane_wire::cloud_api::{BASE_URL, VERSION};

const DAY_MS: u64 = 24 * 3_600_000;

/// Shorter keys can be guessed.
const HASH_KEY_LEN_MIN: usize = 16;

/// What the send stage is told.
#[derive(Clone, Debug)]
pub struct Send {
    /// Settings of the stage.
    pub settings: SendSettings,
    /// Where Meta is; `None` only beside a problem.
    pub api: Option<CloudApi>,
    /// Calls at a time.
    pub calls_max: usize,
    /// Access tokens by the name that tenants' records use.
    pub credentials: BTreeMap<String, Secret>,
}

/// Reads `[send]`.
pub fn read(root: &mut Section<'_>) -> Send {
    root.section("send", |section| {
        let fix = "name the file with the deployment's hash key; ingest has the same one";
        let key = section.secret_file("hash-key-file", fix);
        if !key.expose().is_empty() && key.expose().len() < HASH_KEY_LEN_MIN {
            let fix = "make it 16 bytes or longer, for example with `openssl rand -hex 32`";
            section.problem("hash-key-file", "names a key that is too short", fix);
        }
        let calls_max = section.whole("max-concurrent-calls", 512, 1..=4_096) as usize;
        let defaults = SendSettings::new(HashKey::new(key.expose()));
        let settings = SendSettings {
            doubt_window: section.millis("doubt-window-ms", defaults.doubt_window, 1_000..=DAY_MS),
            safety_percent: section.whole(
                "safety-percent",
                u64::from(defaults.safety_percent),
                0..=90,
            ) as u32,
            reserved_calls: calls_max / 8,
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

fn credentials(section: &mut Section<'_>) -> BTreeMap<String, Secret> {
    let fix = "name the file with the access token";
    let credentials =
        section.named_sections("credentials", |entry| entry.secret_file("token-file", fix));
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
    fn tokens_are_read_and_never_printed() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = dir.path().join(name);
            std::fs::write(&file, text).unwrap();
            file.display().to_string()
        };
        let (key, token) = (write("key", "0123456789abcdef\n"), write("token", "EAAB\n"));
        let own = format!(
            "[send]\nhash-key-file = '{key}'\nprovider-url = 'http://127.0.0.1:1'\n\
             credentials.default.token-file = '{token}'"
        );
        let config = load(dir.path(), &own).unwrap();
        assert_eq!(config.own.credentials["default"].expose(), "EAAB");
        assert!(!config.print().contains("EAAB") && !format!("{config:?}").contains("EAAB"));
        std::fs::write(&token, "EAAC").unwrap();
        assert_eq!(config.own.credentials["default"].reread().unwrap().expose(), "EAAC");
    }

    #[test]
    fn problems_name_the_field() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("short"), "x").unwrap();
        let own = format!(
            "[send]\nhash-key-file = '{}'\nprovider-url = 'nowhere'\nsafety-percent = 91",
            dir.path().join("short").display()
        );
        let text = load(dir.path(), &own).unwrap_err();
        for part in [
            "send.hash-key-file names a key that is too short",
            "send.provider-url with api-version is no API",
            "send.safety-percent is 91",
            "send.credentials is empty",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
    }
}
