//! The admin port: probes, metrics, version. It has a thread and a runtime of its own, so that no
//! load on the process can starve a probe.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use metrics_process::Collector;
use sendplane_stage_runtime::Health;
use serde::Serialize;

use crate::telemetry::Build;

/// Histograms grow until somebody drains them, also while nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// The readiness of a process: of each of its parts.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    parts: Arc<Mutex<BTreeMap<&'static str, Health>>>,
}

impl Readiness {
    /// The register of a part, made when first asked for.
    pub fn part(&self, name: &'static str) -> Health {
        self.lock().entry(name).or_default().clone()
    }

    /// Everything in the way, as `part/subject: reason`.
    fn obstacles(&self) -> BTreeMap<String, String> {
        let parts = self.lock().clone();
        let named = parts.iter().flat_map(|(part, health)| {
            let obstacles = health.obstacles().into_iter();
            obstacles.map(move |(subject, reason)| (format!("{part}/{subject}"), reason))
        });
        named.collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, Health>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the routes show.
#[derive(Clone)]
struct Shown {
    readiness: Readiness,
    metrics: PrometheusHandle,
    process: Arc<Collector>,
    build: Build,
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    obstacles: BTreeMap<String, String>,
}

/// Listens on `listen` and answers until the process ends. Returns the address in use.
pub fn start(
    listen: SocketAddr,
    readiness: Readiness,
    metrics: PrometheusHandle,
    build: Build,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let process = Arc::new(Collector::default());
    process.describe();
    let shown = Shown { readiness, metrics: metrics.clone(), process, build };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("admin".into()).spawn(move || {
        runtime.block_on(async move {
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(UPKEEP).await;
                    metrics.run_upkeep();
                }
            });
            let served = match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => axum::serve(listener, router(shown)).await,
                Err(error) => Err(error),
            };
            if let Err(error) = served {
                tracing::error!(%error, "admin port is closed");
            }
        });
    })?;
    Ok(address)
}

fn router(shown: Shown) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/healthz", get(ready))
        .route("/readyz/{part}", get(part_ready))
        .route("/metrics", get(render_metrics))
        .route("/version", get(|State(shown): State<Shown>| async move { Json(shown.build) }))
        .with_state(shown)
}

async fn ready(State(shown): State<Shown>) -> Response {
    readiness_answer(shown.readiness.obstacles())
}

async fn part_ready(State(shown): State<Shown>, Path(part): Path<String>) -> Response {
    let health = shown.readiness.lock().get(part.as_str()).cloned();
    match health {
        Some(health) => readiness_answer(health.obstacles()),
        None => (StatusCode::NOT_FOUND, format!("no part is called {part}\n")).into_response(),
    }
}

fn readiness_answer(obstacles: BTreeMap<String, String>) -> Response {
    let ready = obstacles.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { ready, obstacles })).into_response()
}

async fn render_metrics(State(shown): State<Shown>) -> Response {
    shown.process.collect();
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, shown.metrics.render()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry;

    /// Status and body of a GET.
    async fn get(address: SocketAddr, path: &str) -> (u16, String) {
        let answer = reqwest::get(format!("http://{address}{path}")).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    #[tokio::test]
    async fn answers_every_route() {
        let readiness = Readiness::default();
        let build = Build::of("test");
        let metrics = telemetry::start_metrics(&build).unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let address = start(any, readiness.clone(), metrics, build).unwrap();
        assert_eq!(get(address, "/livez").await.0, 200);
        assert_eq!(get(address, "/readyz").await.0, 200);
        readiness.part("stage").obstruct("topics", "not there");
        readiness.part("gateway");
        let (status, body) = get(address, "/readyz").await;
        assert_eq!(status, 503);
        assert_eq!(body, r#"{"ready":false,"obstacles":{"stage/topics":"not there"}}"#);
        assert_eq!(get(address, "/healthz").await.0, 503);
        assert_eq!(get(address, "/livez").await.0, 200, "alive is not ready");
        assert_eq!(get(address, "/readyz/gateway").await.0, 200);
        assert_eq!(get(address, "/readyz/stage").await.0, 503);
        assert_eq!(get(address, "/readyz/other").await.0, 404);
        readiness.part("stage").clear("topics");
        assert_eq!(get(address, "/readyz").await.0, 200);
        let (_, version) = get(address, "/version").await;
        assert!(version.contains(r#""name":"test""#), "{version}");
        metrics::histogram!("sendplane_try_seconds").record(0.02);
        let (_, text) = get(address, "/metrics").await;
        assert!(text.contains(r#"sendplane_try_seconds_bucket{le="0.025"} 1"#), "{text}");
        assert!(text.contains("sendplane_build_info{"), "{text}");
        assert!(text.contains("process_cpu_seconds_total"), "{text}");
    }
}
