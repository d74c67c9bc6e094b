//! Against a small registry of our own that can be down, empty or ahead.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use sendplane_wire::topic;
use serde_json::{Value, json};

use super::deploy::{self, Registered, Standing};
use super::*;

#[derive(Default)]
struct Inner {
    schemas: Vec<String>,
    subjects: BTreeMap<String, Vec<u32>>,
    levels: BTreeMap<String, String>,
}

#[derive(Clone, Default)]
struct Fake {
    inner: Arc<Mutex<Inner>>,
    down: Arc<AtomicBool>,
    refuses: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl Fake {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.inner.lock().unwrap()
    }

    fn put(&self, subject: &str, schema: &str) -> u32 {
        let mut inner = self.lock();
        let position = inner.schemas.iter().position(|known| known == schema);
        let position = position.unwrap_or_else(|| {
            inner.schemas.push(schema.to_owned());
            inner.schemas.len() - 1
        });
        let id = position as u32 + 1;
        inner.subjects.entry(subject.to_owned()).or_default().push(id);
        id
    }

    fn put_all(&self) {
        for subject in SUBJECTS {
            self.put(&subject.name(), subject.schema_json);
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::Relaxed);
    }
}

fn not_found(code: u32) -> Response {
    let body = json!({ "error_code": code, "message": "no such thing" });
    (StatusCode::NOT_FOUND, Json(body)).into_response()
}

async fn schema(State(fake): State<Fake>, UrlPath(id): UrlPath<usize>) -> Response {
    match fake.lock().schemas.get(id.wrapping_sub(1)) {
        Some(schema) => Json(json!({ "schema": schema })).into_response(),
        None => not_found(40_403),
    }
}

async fn versions(State(fake): State<Fake>, UrlPath(subject): UrlPath<String>) -> Response {
    match fake.lock().subjects.get(&subject) {
        Some(ids) => Json((1..=ids.len()).collect::<Vec<_>>()).into_response(),
        None => not_found(40_401),
    }
}

async fn version(
    State(fake): State<Fake>,
    UrlPath((subject, version)): UrlPath<(String, String)>,
) -> Response {
    let inner = fake.lock();
    let Some(ids) = inner.subjects.get(&subject) else {
        return not_found(40_401);
    };
    let number: usize = version.parse().unwrap_or(ids.len());
    let Some(id) = ids.get(number - 1) else {
        return not_found(40_402);
    };
    let schema = &inner.schemas[*id as usize - 1];
    let body = json!({ "subject": subject, "id": id, "version": number, "schema": schema });
    Json(body).into_response()
}

async fn register(
    State(fake): State<Fake>,
    UrlPath(subject): UrlPath<String>,
    body: String,
) -> Response {
    let body: Value = serde_json::from_str(&body).unwrap();
    let id = fake.put(&subject, body["schema"].as_str().unwrap());
    Json(json!({ "id": id })).into_response()
}

async fn level(State(fake): State<Fake>, UrlPath(subject): UrlPath<String>) -> Response {
    match fake.lock().levels.get(&subject) {
        Some(level) => Json(json!({ "compatibilityLevel": level })).into_response(),
        None => not_found(40_408),
    }
}

async fn set_level(
    State(fake): State<Fake>,
    UrlPath(subject): UrlPath<String>,
    Json(body): Json<Value>,
) -> Response {
    let level = body["compatibility"].as_str().unwrap().to_owned();
    let mut inner = fake.lock();
    if !inner.subjects.contains_key(&subject) {
        return not_found(40_401);
    }
    inner.levels.insert(subject, level);
    Json(body).into_response()
}

/// As a proxy answers for a registry that is not there.
async fn perhaps_down(
    State(fake): State<Fake>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Response {
    if fake.down.load(Ordering::Relaxed) {
        return (StatusCode::BAD_GATEWAY, "no upstream").into_response();
    }
    next.run(request).await
}

/// The fake, its URL and the runtime it lives on.
fn start() -> (Fake, String, tokio::runtime::Runtime) {
    let fake = Fake::default();
    let router = Router::new()
        .route("/schemas/ids/{id}", get(schema))
        .route("/subjects/{subject}/versions", get(versions).post(register))
        .route("/subjects/{subject}/versions/{version}", get(version))
        .route(
            "/compatibility/subjects/{subject}/versions",
            axum::routing::post(|State(fake): State<Fake>| async move {
                Json(json!({ "is_compatible": !fake.refuses.load(Ordering::Relaxed) }))
            }),
        )
        .route("/config/{subject}", get(level).put(set_level))
        .layer(axum::middleware::from_fn_with_state(fake.clone(), perhaps_down))
        .with_state(fake.clone());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    runtime.spawn(async move { axum::serve(listener, router).await });
    (fake, url, runtime)
}

fn open(url: &str, dir: &Path, runtime: &tokio::runtime::Runtime) -> Registry {
    Registry::new(url, Some(dir), runtime.handle().clone()).unwrap()
}

const FOREIGN: &str = r#"{"type":"record","name":"Foreign","fields":[]}"#;

#[test]
fn ids_are_those_of_the_version_that_equals_ours() {
    let (fake, url, runtime) = start();
    let dir = tempfile::tempdir().unwrap();
    fake.put("other", FOREIGN);
    fake.put_all();
    let tenants = format!("{}-value", topic::TENANTS);
    // A newer release has registered its schema; ours is the version before.
    fake.put(&tenants, FOREIGN);
    // The same schema written differently is the same schema.
    let outcomes = format!("{}-value", topic::OUTCOMES);
    let compact: Value = serde_json::from_str(
        SUBJECTS.iter().find(|subject| subject.topic == topic::OUTCOMES).unwrap().schema_json,
    )
    .unwrap();
    let rewritten = fake.put(&outcomes, &compact.to_string());
    let ids = open(&url, dir.path(), &runtime).lookup_ids().unwrap();
    assert_eq!(ids.len(), SUBJECTS.len());
    assert_eq!(ids[topic::OUTCOMES], rewritten);
    assert_ne!(ids[topic::TENANTS], 1);
    assert_eq!(ids[topic::REQUESTS_BULK], ids[topic::REQUESTS_TRANSACTIONAL]);
}

#[test]
fn a_subject_without_our_schema_is_named_with_the_command() {
    let (fake, url, runtime) = start();
    let dir = tempfile::tempdir().unwrap();
    for subject in SUBJECTS {
        match subject.topic {
            topic::TENANTS => {}
            topic::ATTEMPTS => drop(fake.put(&subject.name(), FOREIGN)),
            _ => drop(fake.put(&subject.name(), subject.schema_json)),
        }
    }
    let fault = open(&url, dir.path(), &runtime).lookup_ids().unwrap_err();
    let expected = "the registry does not hold this release's schema of \
                    sendplane.attempts.v1-value, sendplane.tenants.v1-value: run \
                    `sendplane schemas register`";
    assert_eq!(fault.to_string(), expected);
}

#[test]
fn a_registry_that_is_down_matters_at_the_first_start_only() {
    let (fake, url, runtime) = start();
    let dir = tempfile::tempdir().unwrap();
    fake.put_all();
    fake.set_down(true);
    let first = open(&url, dir.path(), &runtime).lookup_ids();
    assert!(matches!(first, Err(LookupFault::Unavailable(_))), "{first:?}");
    fake.set_down(false);
    let seen = open(&url, dir.path(), &runtime).lookup_ids().unwrap();
    fake.set_down(true);
    assert_eq!(open(&url, dir.path(), &runtime).lookup_ids(), Ok(seen.clone()));
    // Nobody listens at all.
    assert_eq!(open("http://127.0.0.1:9", dir.path(), &runtime).lookup_ids(), Ok(seen.clone()));
    // An id whose cached schema is not ours, as after an upgrade, must not be used.
    let id = seen[topic::TENANTS];
    std::fs::write(dir.path().join(format!("schemas/{id}.avsc")), FOREIGN).unwrap();
    let stale = open(&url, dir.path(), &runtime).lookup_ids();
    assert!(matches!(stale, Err(LookupFault::Unavailable(_))), "{stale:?}");
}

#[test]
fn schemas_of_other_writers_are_fetched_once_and_outlive_the_registry() {
    let (fake, url, runtime) = start();
    let dir = tempfile::tempdir().unwrap();
    let id = fake.put("other", FOREIGN);
    let registry = open(&url, dir.path(), &runtime);
    let schema = registry.writer_schema(id).unwrap();
    assert_eq!(*schema, Schema::parse_str(FOREIGN).unwrap());
    let asked = fake.asked();
    registry.writer_schema(id).unwrap();
    assert_eq!(fake.asked(), asked, "a known schema is not asked for");
    fake.set_down(true);
    assert!(registry.writer_schema(id).is_ok());
    assert!(open(&url, dir.path(), &runtime).writer_schema(id).is_ok());
    let unknown = registry.writer_schema(99);
    assert!(matches!(unknown, Err(SchemaFault::Unavailable(_))), "{unknown:?}");
}

#[test]
fn an_unknown_id_is_told_from_a_missing_registry_and_not_asked_for_each_record() {
    let (fake, url, runtime) = start();
    let dir = tempfile::tempdir().unwrap();
    let registry = open(&url, dir.path(), &runtime);
    assert_eq!(registry.writer_schema(99).unwrap_err(), SchemaFault::UnknownId(99));
    let asked = fake.asked();
    assert_eq!(registry.writer_schema(99).unwrap_err(), SchemaFault::UnknownId(99));
    assert_eq!(fake.asked(), asked);
    // A wrong base path answers 404 too, without the registry's code.
    let elsewhere = open(&format!("{url}/elsewhere"), dir.path(), &runtime);
    let fault = elsewhere.writer_schema(98).unwrap_err();
    assert!(matches!(fault, SchemaFault::Unavailable(_)), "{fault:?}");
}

#[test]
fn a_broken_cache_file_is_replaced() {
    let (fake, url, runtime) = start();
    let dir = tempfile::tempdir().unwrap();
    let id = fake.put("other", FOREIGN);
    std::fs::create_dir_all(dir.path().join("schemas")).unwrap();
    let file = dir.path().join(format!("schemas/{id}.avsc"));
    std::fs::write(&file, "{\"type\":").unwrap();
    assert!(open(&url, dir.path(), &runtime).writer_schema(id).is_ok());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), FOREIGN);
}

#[test]
fn registering_twice_changes_nothing_and_levels_are_asserted() {
    let (fake, url, runtime) = start();
    let client = Client::new(&url).unwrap();
    runtime.block_on(async {
        for subject in SUBJECTS {
            assert_eq!(deploy::check(&client, subject).await, Ok(Standing::Absent));
            let first = deploy::register(&client, subject).await.unwrap();
            let Registered::New(id) = first else { panic!("{first:?}") };
            let again = deploy::register(&client, subject).await.unwrap();
            assert_eq!(again, Registered::Unchanged(id));
            assert_eq!(deploy::check(&client, subject).await, Ok(Standing::Registered));
        }
    });
    let inner = fake.lock();
    for subject in SUBJECTS {
        assert_eq!(inner.levels[&subject.name()], subject.compatibility.as_str());
        assert_eq!(inner.subjects[&subject.name()].len(), 1);
    }
}

#[test]
fn a_check_sees_other_levels_and_other_schemas() {
    let (fake, url, runtime) = start();
    let client = Client::new(&url).unwrap();
    let subject = &SUBJECTS[0];
    fake.put(&subject.name(), FOREIGN);
    let level = |level: &str| {
        fake.lock().levels.insert(subject.name(), level.to_owned());
    };
    level("NONE");
    let check = |subject| runtime.block_on(deploy::check(&client, subject)).unwrap();
    assert_eq!(check(subject), Standing::OtherLevel("NONE".into()));
    level(subject.compatibility.as_str());
    assert_eq!(check(subject), Standing::Compatible);
    fake.refuses.store(true, Ordering::Relaxed);
    assert_eq!(check(subject), Standing::Incompatible);
    assert!(!Standing::Incompatible.is_acceptable() && Standing::Compatible.is_acceptable());
}
