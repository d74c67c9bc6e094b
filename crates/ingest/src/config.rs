//! `[ingest]`.
//!
//! | key | default | what |
//! |---|---|---|
//! | `role` | `both` | `gateway`, `stage` or `both` |
//! | `hash-key-file` | | the deployment's hash key; the stage needs it |
//! | `apps[].name` | | the app in `/webhooks/{app}` |
//! | `apps[].secret-file` | | app secret |
//! | `apps[].previous-secret-file` | | app secret before the last rotation, accepted as well |
//! | `apps[].verify-token-file` | | what Meta sends when the address is registered |
//! | `gateway.listen` | `127.0.0.1:8443` | address for Meta's requests; plain HTTP, behind TLS |
//! | `gateway.max-connections` | 10000 | one more is answered with 503 and closed |
//! | `gateway.header-read-timeout-ms` | 10000 | for the head of a request, from its first byte |
//! | `gateway.idle-timeout-ms` | 75000 | for a connection without a request; longer than the load balancer's |
//! | `gateway.write-timeout-ms` | 10000 | for a client to take an answer |
//! | `gateway.max-header-bytes` | 16384 | request line and headers; more is answered with 431 |
//! | `gateway.max-headers` | 64 | headers of a request; more are answered with 431 |
//! | `gateway.body-read-timeout-ms` | 5000 | for a body, whatever its size; slower ones are answered with 408 |
//! | `gateway.max-buffered-bytes` | 134217728 | all bodies in work together; beyond it 503 |
//! | `gateway.publish-timeout-ms` | 5000 | for the broker's acknowledgement; without it 503 |
//! | `gateway.reread-secrets-ms` | 5000 | how often the files of the apps are read again |
//!
//! To rotate an app secret without a restart: write the old one to `previous-secret-file`, then the
//! new one to `secret-file`; when Meta signs with the new one only, write it to both. The previous
//! file must exist from the start; until the first rotation it holds the current secret. A file that
//! cannot be read or is empty leaves the former values in force and sets
//! `sendplane_webhook_secrets_stale`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use sendplane_ingest::gateway::server::Limits;
use sendplane_ingest::gateway::{BODY_BYTES_MAX, GatewaySettings};
use sendplane_service::config::Section;
use sendplane_stages::ingest::IngestSettings;

use crate::secrets::AppFiles;

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
    /// Limits of its connections.
    pub limits: Limits,
    /// How often the files of `apps` are read again.
    pub reread_secrets_every: Duration,
    /// Secrets by the name in `/webhooks/{app}`.
    pub apps: BTreeMap<String, AppFiles>,
}

/// Reads `[ingest]`.
pub fn read(root: &mut Section<'_>) -> Ingest {
    root.section("ingest", |section| {
        let role = section.one_of("role", &["both", "gateway", "stage"]);
        let is_needed = role != "gateway";
        let key = if is_needed { section.hash_key() } else { section.hash_key_if_any() };
        let gateway = section.section("gateway", gateway);
        let apps = apps(section, role != "stage");
        Ingest {
            stage: (role != "gateway").then_some(IngestSettings { hash_key: key }),
            gateway: (role != "stage").then_some(Gateway { apps, ..gateway }),
        }
    })
}

/// Everything but the apps, which are listed outside `[ingest.gateway]`.
fn gateway(section: &mut Section<'_>) -> Gateway {
    let fix = "write address:port, such as 0.0.0.0:8443";
    let listen = section.parsed("listen", "127.0.0.1:8443", fix);
    let every = section.millis("reread-secrets-ms", Duration::from_secs(5), 100..=3_600_000);
    Gateway {
        listen: listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0))),
        settings: settings(section),
        limits: limits(section),
        reread_secrets_every: every,
        apps: BTreeMap::new(),
    }
}

fn settings(section: &mut Section<'_>) -> GatewaySettings {
    let defaults = GatewaySettings::new(String::new());
    let body_read_timeout =
        section.millis("body-read-timeout-ms", defaults.body_read_timeout, 100..=60_000);
    let publish_timeout =
        section.millis("publish-timeout-ms", defaults.publish_timeout, 100..=60_000);
    // One body of the largest size must find room.
    let bytes = BODY_BYTES_MAX as u64..=(1 << 36);
    let buffered_bytes_max =
        section.whole("max-buffered-bytes", defaults.buffered_bytes_max as u64, bytes) as usize;
    GatewaySettings { body_read_timeout, publish_timeout, buffered_bytes_max, ..defaults }
}

fn limits(section: &mut Section<'_>) -> Limits {
    let defaults = Limits::default();
    let header_read_timeout =
        section.millis("header-read-timeout-ms", defaults.header_read_timeout, 100..=60_000);
    let idle_timeout = section.millis("idle-timeout-ms", defaults.idle_timeout, 100..=3_600_000);
    let write_timeout = section.millis("write-timeout-ms", defaults.write_timeout, 100..=60_000);
    let mut whole = |key, default: usize, range| section.whole(key, default as u64, range) as usize;
    Limits {
        connections_max: whole("max-connections", defaults.connections_max, 1..=1_000_000),
        header_read_timeout,
        idle_timeout,
        write_timeout,
        header_bytes_max: whole("max-header-bytes", defaults.header_bytes_max, 8_192..=1_048_576),
        headers_max: whole("max-headers", defaults.headers_max, 8..=1_000),
    }
}

fn apps(section: &mut Section<'_>, required: bool) -> BTreeMap<String, AppFiles> {
    let given = section.sections("apps", |app| {
        let name = app.required_text("name", "name the app as in the path /webhooks/{app}");
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !name.chars().all(plain) {
            let fix = "use letters, digits, dots, dashes and underscores";
            app.problem("name", format!("is {name:?}"), fix);
        }
        let secrets = AppFiles {
            current: app.secret_file("secret-file", "name the file with the app secret"),
            previous: app.secret_file_if_any("previous-secret-file"),
            verify_token: app
                .secret_file("verify-token-file", "name the file with the verify token"),
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
    fn the_limits_of_the_gateway_are_checked() {
        let gateway = |own: &str| {
            let own = format!("[ingest]\nrole = 'gateway'\n[ingest.gateway]\n{own}\n{APP}");
            load(&own).map(|ingest| ingest.gateway.unwrap())
        };
        let given = gateway("max-connections = 7\nidle-timeout-ms = 200\nmax-headers = 9").unwrap();
        let limits = Limits { connections_max: 7, headers_max: 9, ..Limits::default() };
        assert_eq!(given.limits, Limits { idle_timeout: Duration::from_millis(200), ..limits });
        assert_eq!(gateway("").unwrap().limits, Limits::default());
        for (key, value, fix) in [
            ("max-connections", 0, "from 1 to 1000000"),
            ("header-read-timeout-ms", 99, "from 100 to 60000"),
            ("idle-timeout-ms", 0, "from 100 to 3600000"),
            ("write-timeout-ms", 60_001, "from 100 to 60000"),
            ("max-header-bytes", 8_191, "from 8192 to 1048576"),
            ("max-headers", 7, "from 8 to 1000"),
            ("max-buffered-bytes", BODY_BYTES_MAX - 1, "from 3145728 to 68719476736"),
            ("reread-secrets-ms", 0, "from 100 to 3600000"),
        ] {
            let problem = gateway(&format!("{key} = {value}")).unwrap_err();
            let place = format!("ingest.gateway.{key} is {value}");
            assert!(problem.contains(&place) && problem.contains(fix), "{problem}");
        }
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
