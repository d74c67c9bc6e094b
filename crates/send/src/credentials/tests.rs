use std::path::Path;

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use secrecy::ExposeSecret;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fn all(dir: &Path, names: &[&str]) -> Credentials {
    let one = |name: &&str| {
        let credential = Credential { token_file: dir.join(name), expires_at: None };
        ((*name).to_owned(), credential)
    };
    Credentials::read(names.iter().map(one).collect(), NOW)
}

fn token(credentials: &Credentials, name: &str) -> String {
    credentials.token(name).expect("a token").expose_secret().to_owned()
}

#[test]
fn a_rotated_file_is_used_and_a_bad_one_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("acme");
    std::fs::write(&file, "first\n").unwrap();
    let credentials = all(dir.path(), &["acme"]);
    assert_eq!(token(&credentials, "acme"), "first");
    std::fs::write(&file, "second").unwrap();
    assert_eq!(token(&credentials, "acme"), "first", "not read yet");
    credentials.refresh(NOW);
    assert_eq!(token(&credentials, "acme"), "second");
    for broken in [None, Some("")] {
        match broken {
            Some(text) => std::fs::write(&file, text).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        credentials.refresh(NOW);
        assert_eq!(token(&credentials, "acme"), "second", "{broken:?}");
    }
    std::fs::write(&file, "third").unwrap();
    credentials.refresh(NOW);
    assert_eq!(token(&credentials, "acme"), "third");
}

#[test]
fn a_missing_token_names_its_file_and_the_fix_and_stops_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("empty"), "\n").unwrap();
    std::fs::write(dir.path().join("good"), "token").unwrap();
    let credentials = all(dir.path(), &["missing", "empty", "good"]);
    assert_eq!(token(&credentials, "good"), "token");
    for (name, what) in [("missing", "cannot be read"), ("empty", "is empty")] {
        let fault = credentials.token(name).unwrap_err();
        let file = dir.path().join(name).display().to_string();
        for part in [name, &file, what, "write the access token into it"] {
            assert!(fault.contains(part), "{part:?} is not in {fault}");
        }
    }
    let fault = credentials.token("other").unwrap_err();
    assert!(fault.contains("\"other\"") && fault.contains("[send.credentials]"), "{fault}");
    std::fs::write(dir.path().join("missing"), "late").unwrap();
    credentials.refresh(NOW);
    assert_eq!(token(&credentials, "missing"), "late");
}

#[test]
fn the_end_is_exported_and_the_file_beside_the_token_comes_first() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let gauge = || {
        let rows = snapshotter.snapshot().into_vec();
        let row = rows.into_iter().find(|(key, ..)| key.key().name() == EXPIRES_SECONDS)?;
        let label = row.0.key().labels().next().map(|label| label.value().to_owned());
        assert_eq!(label.as_deref(), Some("acme"));
        match row.3 {
            DebugValue::Gauge(value) => Some(value.into_inner()),
            other => panic!("{other:?}"),
        }
    };
    let dir = tempfile::tempdir().unwrap();
    let token_file = dir.path().join("acme");
    std::fs::write(&token_file, "token").unwrap();
    let hour = |hours: i64| Timestamp::from_millis(NOW.as_millis() + hours * 3_600_000);
    let credential = Credential { token_file: token_file.clone(), expires_at: Some(hour(1)) };
    let credentials = Credentials::read(BTreeMap::from([("acme".into(), credential)]), NOW);
    assert_eq!(gauge(), Some(3_600.0));
    let beside = dir.path().join("acme.expires-at");
    std::fs::write(&beside, "2126-01-01T00:00:00Z\n").unwrap();
    credentials.refresh(NOW);
    let far = gauge().expect("a gauge");
    assert!(far > 99.0 * 365.0 * 86_400.0, "{far}");
    std::fs::write(&beside, "soon").unwrap();
    credentials.refresh(hour(1));
    assert_eq!(gauge(), Some(far - 3_600.0), "what was read before stays in force");
    std::fs::remove_file(&beside).unwrap();
    credentials.refresh(hour(2));
    assert_eq!(gauge(), Some(-3_600.0), "ended");
    assert_eq!(token(&credentials, "acme"), "token", "Meta decides whether it still works");
}

#[test]
fn a_warning_is_given_once_for_each_end() {
    let dir = tempfile::tempdir().unwrap();
    let token_file = dir.path().join("acme");
    std::fs::write(&token_file, "token").unwrap();
    let ends_at = Timestamp::from_millis(NOW.as_millis() + 3_600_000);
    let credential = Credential { token_file, expires_at: Some(ends_at) };
    let credentials = Credentials::read(BTreeMap::from([("acme".into(), credential)]), NOW);
    let warned = || credentials.0.read().unwrap()["acme"].warned;
    assert_eq!(warned(), Some(Warned::Days1));
    std::fs::write(dir.path().join("acme.expires-at"), "2126-01-01T00:00:00Z").unwrap();
    credentials.refresh(NOW);
    assert_eq!(warned(), None, "a new token begins anew");
}
