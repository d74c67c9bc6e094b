use std::path::PathBuf;
use std::time::Duration;

use super::*;

#[derive(Clone, Debug, PartialEq)]
struct Own {
    role: &'static str,
    app_secrets: Vec<(String, String)>,
}

fn read_own(root: &mut Section<'_>) -> Own {
    root.section("ingest", |section| Own {
        role: section.one_of("role", &["both", "gateway", "stage"]),
        app_secrets: section.sections("apps", |app| {
            let name = app.required_text("name", "name the app as in /webhooks/{app}");
            let secret = app.secret_file("secret-file", "name the file of the app secret");
            (name, secret.expose().to_owned())
        }),
    })
}

fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config<Own>, Problems> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ingest.toml");
    std::fs::write(&file, text).unwrap();
    Config::load(Some(&file), &variables(environment), read_own)
}

fn variables(environment: &[(&str, &str)]) -> BTreeMap<String, String> {
    environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

const MINIMAL: &str = r#"
    [instance]
    id = "ingest-0"
    [kafka.properties]
    "bootstrap.servers" = "127.0.0.1:9092"
    [registry]
    url = "http://127.0.0.1:8080/apis/ccompat/v7/"
"#;

#[test]
fn what_is_not_given_has_the_default() {
    let config = load(MINIMAL, &[]).unwrap();
    assert_eq!(config.base.runtime.instance_id, "ingest-0");
    assert_eq!(config.base.kafka()["bootstrap.servers"], "127.0.0.1:9092");
    assert_eq!(config.base.registry.url, "http://127.0.0.1:8080/apis/ccompat/v7");
    assert_eq!(config.base.registry.cache_dir, PathBuf::from("registry-cache"));
    assert_eq!(config.base.runtime.threads, 1);
    assert_eq!(config.base.runtime.session_timeout, Duration::from_secs(15));
    assert_eq!(config.base.log.format, LogFormat::Json);
    assert_eq!(config.own, Own { role: "both", app_secrets: vec![] });
}

#[test]
fn the_environment_wins_over_the_file() {
    let environment = [
        ("SENDPLANE__INSTANCE__ID", "ingest-7"),
        ("SENDPLANE__KAFKA__PROPERTIES__BOOTSTRAP_SERVERS", "b:1"),
        ("SENDPLANE__KAFKA__PROPERTIES__SASL_PASSWORD", "hunter2"),
        ("SENDPLANE__STATE__BLOCK_CACHE_BYTES", "2097152"),
        ("SENDPLANE__RUNTIME__QUARANTINE", "a.b/3/14, c/0/1"),
        ("SENDPLANE__RUNTIME__CLOCK_OFFSET_MS", "-2000"),
        ("SENDPLANE__INGEST__ROLE", "gateway"),
        ("UNRELATED__THING__X", "1"),
    ];
    let config = load(MINIMAL, &environment).unwrap();
    assert_eq!(config.base.runtime.instance_id, "ingest-7");
    assert_eq!(config.base.kafka()["bootstrap.servers"], "b:1");
    assert_eq!(config.base.kafka()["sasl.password"], "hunter2");
    assert_eq!(config.base.runtime.block_cache_bytes, 2 << 20);
    assert_eq!(config.base.runtime.quarantine, ["a.b/3/14", "c/0/1"]);
    assert_eq!(config.base.runtime.clock_offset.millis(), -2_000);
    assert_eq!(config.own.role, "gateway");
}

#[test]
fn the_breaker_is_set_in_a_section_of_its_own() {
    let limits = |text: &str, environment: &[(&str, &str)]| {
        let config = load(&format!("{MINIMAL}{text}"), environment);
        config.map(|config| config.base.runtime.dead_letter_breaker)
    };
    let default = limits("", &[]).unwrap();
    assert_eq!((default.share, default.window, default.minimum), (0.5, 500, 200));
    let share = [("SENDPLANE__RUNTIME__DEAD_LETTER_BREAKER__SHARE", "1")];
    let section = "[runtime.dead-letter-breaker]\nshare = 0.25\nwindow = 100\nminimum = 50\n";
    let given = limits(section, &[]).unwrap();
    assert_eq!((given.share, given.window, given.minimum), (0.25, 100, 50));
    assert_eq!(limits(section, &share).unwrap().share, 1.0);
    let wrong = "[runtime.dead-letter-breaker]\nshare = 1.5\nwindow = 10\nminimum = 11\n";
    let text = limits(wrong, &[]).unwrap_err().to_string();
    for line in [
        "runtime.dead-letter-breaker.share is 1.5; give a number from 0 to 1",
        "runtime.dead-letter-breaker.minimum is 11, window is 10; judge after at most",
    ] {
        assert!(text.contains(line), "{line:?} is not in:\n{text}");
    }
    let printed = load(MINIMAL, &share).unwrap().print();
    assert!(printed.contains("[runtime.dead-letter-breaker]\n"), "{printed}");
    assert!(printed.contains("share = 1.0 # SENDPLANE__RUNTIME__DEAD"), "{printed}");
}

#[test]
fn the_environment_alone_is_enough() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "s3cret\n").unwrap();
    let environment = [
        ("SENDPLANE__INSTANCE__ID", "i"),
        ("SENDPLANE__KAFKA__PROPERTIES__BOOTSTRAP_SERVERS", "b:1"),
        ("SENDPLANE__REGISTRY__URL", "http://r"),
        ("SENDPLANE__INGEST__APPS__0__NAME", "main"),
        ("SENDPLANE__INGEST__APPS__0__SECRET_FILE", secret.path().to_str().unwrap()),
    ];
    let config = Config::load(None, &variables(&environment), read_own).unwrap();
    assert_eq!(config.own.app_secrets, [("main".to_owned(), "s3cret".to_owned())]);
}

#[test]
fn every_problem_is_reported_at_once_with_its_path_and_a_fix() {
    let text = r#"
        [instance]
        id = "a b"
        [kafka]
        properties = { "sasl.password" = "x", "acks" = "1" }
        [state]
        dirr = "x"
        block-cache-bytes = "many"
        [runtime]
        threads = 0
        quarantine = ["topic"]
        [admin]
        listen = "9100"
        [log]
        format = "xml"
        [ingest]
        role = "none"
        [[ingest.apps]]
        secret-file = "/does/not/exist"
        [surprise]
        x = 1
    "#;
    let problems = load(text, &[("SENDPLANE__RUNTIME__COLOUR", "red"), ("SENDPLANE__X", "1")]);
    let text = problems.unwrap_err().to_string();
    let expected = [
        "SENDPLANE__X names no field; write SENDPLANE__SECTION__KEY with two underscores",
        "instance.id is \"a b\"; use up to 100 letters",
        "kafka.properties.acks is set by sendplane itself; take it away",
        "kafka.properties.\"sasl.password\" is a secret in clear; name a file in \"sasl.password_file\"",
        "kafka.properties.\"bootstrap.servers\" is missing; give the brokers",
        "state.block-cache-bytes is a string; make it a whole number from 0",
        "state.dirr is not known; did you mean dir?",
        "runtime.threads is 0; give a whole number from 1 to 256",
        "runtime.quarantine holds \"topic\"; write topic/partition/offset",
        "runtime.colour is not known (from SENDPLANE__RUNTIME__COLOUR); known here: threads",
        "registry.url is missing; give the base of its Confluent API",
        "admin.listen is \"9100\"",
        "log.format is \"xml\"; use json or text",
        "ingest.role is \"none\"; use both or gateway or stage",
        "ingest.apps[0].name is missing; name the app",
        "ingest.apps[0].secret-file names /does/not/exist, which cannot be read",
        "surprise is not known; known here: instance, kafka, state, runtime, registry, admin, log",
    ];
    for line in expected {
        assert!(text.contains(line), "{line:?} is not in:\n{text}");
    }
    let first = format!("configuration has {} problems:", expected.len());
    assert!(text.starts_with(&first), "{text}");
}

#[test]
fn what_is_not_toml_is_reported_with_its_line() {
    let problems = load("[instance\nid = 1", &[]).unwrap_err();
    assert_eq!(problems.0.len(), 1);
    assert!(problems.0[0].what.contains("line 1"), "{problems}");
    let none = Config::load(Some(Path::new("/none.toml")), &BTreeMap::new(), read_own);
    assert_eq!(none.unwrap_err().0[0].path, "--config");
}

#[test]
fn the_printed_configuration_is_complete_valid_and_without_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "s3cret\n").unwrap();
    let path = secret.to_str().unwrap();
    let property = format!("\"ssl.key.password_file\" = '{path}'\n[registry]");
    let app = format!("\n[[ingest.apps]]\nname = 'main'\nsecret-file = '{path}'\n");
    let text = MINIMAL.replace("[registry]", &property) + &app;
    let config =
        load(&text, &[("SENDPLANE__KAFKA__PROPERTIES__SASL_PASSWORD", "hunter2")]).unwrap();
    assert_eq!(config.base.kafka()["ssl.key.password"], "s3cret");
    let printed = config.print();
    for hidden in ["s3cret", "hunter2"] {
        assert!(!printed.contains(hidden), "{printed}");
        assert!(!format!("{:?}", Secret::new(hidden)).contains(hidden));
    }
    for shown in [
        "\"sasl.password\" = \"[redacted]\" # SENDPLANE__KAFKA__PROPERTIES__SASL_PASSWORD",
        "\"bootstrap.servers\" = \"127.0.0.1:9092\" # file",
        "session-timeout-ms = 15000 # default",
        "[ingest]\nrole = \"both\" # default",
    ] {
        assert!(printed.contains(shown), "{shown:?} is not in:\n{printed}");
    }
    assert!(printed.contains("[[ingest.apps]]"), "{printed}");
    let again: toml::Table = printed.parse().expect(&printed);
    assert_eq!(again["state"]["dir"].as_str(), Some("state"));
}
