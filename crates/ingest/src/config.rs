//! `[ingest]`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use sendplane_domain::opaque::HashKey;
use sendplane_ingest::gateway::{AppSecrets, GatewaySettings};
use sendplane_service::config::Section;
use sendplane_stages::ingest::IngestSettings;

/// Shorter keys can be guessed.
const HASH_KEY_LEN_MIN: usize = 16;

/// What the process does.
#[derive(Clone, Debug)]
pub struct Ingest {
    /// The stage, if it runs here.
    pub stage: Option<IngestSettings>,
    /// The webhook gateway, if it runs here.
    pub gateway: Option<Gateway>,
}

/// `[ingest.gateway]` and `[[ingest.apps]]`.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Address for Meta's requests.
    pub listen: SocketAddr,
    /// How it behaves; the instance is filled in later.
    pub settings: GatewaySettings,
    /// Secrets by the name in `/webhooks/{app}`.
    pub apps: BTreeMap<String, AppSecrets>,
}

/// Reads `[ingest]`.
pub fn read(root: &mut Section<'_>) -> Ingest {
    root.section("ingest", |section| {
        let role = section.one_of("role", &["both", "gateway", "stage"]);
        let key = hash_key(section, role != "gateway");
        let (listen, settings) = section.section("gateway", gateway);
        let apps = apps(section, role != "stage");
        Ingest {
            stage: (role != "gateway").then_some(IngestSettings { hash_key: key }),
            gateway: (role != "stage").then_some(Gateway { listen, settings, apps }),
        }
    })
}

fn hash_key(section: &mut Section<'_>, required: bool) -> HashKey {
    let fix = "name the file with the deployment's hash key; send has the same one";
    let key = if required {
        section.secret_file("hash-key-file", fix)
    } else {
        section.secret_file_if_any("hash-key-file").unwrap_or_default()
    };
    if !key.expose().is_empty() && key.expose().len() < HASH_KEY_LEN_MIN {
        let fix = "make it 16 bytes or longer, for example with `openssl rand -hex 32`";
        section.problem("hash-key-file", "names a key that is too short", fix);
    }
    HashKey::new(key.expose())
}

fn gateway(section: &mut Section<'_>) -> (SocketAddr, GatewaySettings) {
    let defaults = GatewaySettings::new(String::new());
    let fix = "write address:port, such as 0.0.0.0:8443";
    let listen = section.parsed("listen", "127.0.0.1:8443", fix);
    let settings = GatewaySettings {
        body_read_timeout: section.millis(
            "body-read-timeout-ms",
            defaults.body_read_timeout,
            100..=60_000,
        ),
        publish_timeout: section.millis(
            "publish-timeout-ms",
            defaults.publish_timeout,
            100..=60_000,
        ),
        concurrency_max: section.whole(
            "max-concurrent-bodies",
            defaults.concurrency_max as u64,
            1..=10_000,
        ) as usize,
        ..defaults
    };
    (listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0))), settings)
}

fn apps(section: &mut Section<'_>, required: bool) -> BTreeMap<String, AppSecrets> {
    let given = section.sections("apps", |app| {
        let name = app.required_text("name", "name the app as in the path /webhooks/{app}");
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !name.chars().all(plain) {
            let fix = "use letters, digits, dots, dashes and underscores";
            app.problem("name", format!("is {name:?}"), fix);
        }
        let secrets = AppSecrets {
            current: app.secret_file("secret-file", "name the file with the app secret").into(),
            previous: app.secret_file_if_any("previous-secret-file").map(Into::into),
            verify_token: app
                .secret_file("verify-token-file", "name the file with the verify token")
                .into(),
        };
        (name, secrets)
    });
    if required && given.is_empty() {
        let fix = "add [[ingest.apps]] with name, secret-file and verify-token-file";
        section.problem("apps", "is empty", fix);
    }
    let mut apps = BTreeMap::new();
    for (name, secrets) in given {
        if apps.insert(name.clone(), secrets).is_some() {
            let fix = "give every app a name of its own";
            section.problem("apps", format!("has two apps called {name:?}"), fix);
        }
    }
    apps
}

#[cfg(test)]
mod tests {
    use sendplane_service::config::Config;

    use super::*;

    fn load(own: &str) -> Result<Ingest, String> {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).unwrap();
        };
        write("key", "0123456789abcdef\n");
        write("app", "app-secret\n");
        write("empty", "");
        write(
            "ingest.toml",
            &format!(
                "instance.id = 'i'\nregistry.url = 'http://r'\n\
                 kafka.properties.\"bootstrap.servers\" = 'b:1'\n{own}"
            )
            .replace("DIR", &dir.path().display().to_string()),
        );
        let file = dir.path().join("ingest.toml");
        let config = Config::load(Some(&file), &BTreeMap::new(), read);
        config.map(|config| config.own).map_err(|problems| problems.to_string())
    }

    const APP: &str = "[[ingest.apps]]\nname = 'main'\nsecret-file = 'DIR/app'\n\
                       verify-token-file = 'DIR/app'\n";

    #[test]
    fn each_role_needs_its_own_secrets() {
        let both = load(&format!("[ingest]\nhash-key-file = 'DIR/key'\n{APP}")).unwrap();
        assert!(both.stage.is_some() && both.gateway.is_some_and(|g| g.apps.contains_key("main")));
        let gateway = load(&format!("[ingest]\nrole = 'gateway'\n{APP}")).unwrap();
        assert!(gateway.stage.is_none() && gateway.gateway.is_some());
        let stage = load("[ingest]\nrole = 'stage'\nhash-key-file = 'DIR/key'").unwrap();
        assert!(stage.stage.is_some() && stage.gateway.is_none());
        let none = load("").unwrap_err();
        assert!(none.contains("ingest.hash-key-file is missing"), "{none}");
        assert!(none.contains("ingest.apps is empty"), "{none}");
    }

    #[test]
    fn an_app_is_there_once_and_its_secrets_are_not_empty() {
        let twice = load(&format!("[ingest]\nhash-key-file = 'DIR/key'\n{APP}{APP}")).unwrap_err();
        assert!(twice.contains("ingest.apps has two apps called \"main\""), "{twice}");
        let empty = APP.replace("secret-file = 'DIR/app'", "secret-file = 'DIR/empty'");
        let empty = load(&format!("[ingest]\nhash-key-file = 'DIR/key'\n{empty}")).unwrap_err();
        assert!(empty.contains("ingest.apps[0].secret-file names"), "{empty}");
        assert!(empty.contains("which is empty"), "{empty}");
    }
}
