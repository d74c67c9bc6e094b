//! The Cloud API as a server: a thin HTTP shell around the deterministic provider model.
//!
//! Reading order: [`Options`], [`Server`]; then `api` (Graph endpoints), `admin` (endpoints for
//! testers), `pump` (webhook delivery), `listener` (real transport faults).
//!
//! | endpoint | for |
//! |---|---|
//! | `POST /{version}/{number}/messages`, `/marketing_messages` | sends |
//! | `GET /{version}/{number or account}?fields=…`, `/{version}/debug_token?input_token=…` | questions |
//! | `GET /metasim/ledger?since=&limit=&summary=&opaque_prefix=&to=&duplicates=&repeated=` | what was accepted |
//! | `GET`, `POST /metasim/faults`; `GET`, `POST /metasim/limits` | knobs; a post changes what it names |
//! | `GET`, `DELETE /metasim/violations` | calls above a limit since the last `DELETE` |
//! | `GET /metasim/rates?number=&since=` | calls, accepted and inbound by second |
//! | `POST /metasim/inbound` | an injection, e.g. `{"kind": "throughput_upgrade", "phone_number_id": "1"}` |
//! | `GET /metasim/recipients` | recipients with a fixed result |
//! | `GET /metasim/webhooks`, `PUT /metasim/webhooks/url`, `POST /metasim/webhooks/verify` | delivery |
//!
//! `examples/load.rs` measures the rate and the exactness of answer times on a machine.
//!
//! **Architecture invariant:** the shell decides nothing. It gives the model bytes and wall time,
//! and carries out what the model answers: delays, closed connections, webhooks.

mod admin;
mod api;
mod clock;
mod listener;
mod pump;
mod shared;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use sendplane_provider_model::{Config, Model};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use pump::{Delivery, Stats};

use crate::admin::Admin;
use crate::listener::{FaultListener, Link};
use crate::pump::Pump;
use crate::shared::Shared;

/// How to run a server.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address of everything; port 0 takes a free one.
    pub listen: SocketAddr,
    /// A second address with the same endpoints. It stays open while the provider is down with
    /// `refuse`, which is not available without it.
    pub admin_listen: Option<SocketAddr>,
    /// The account. An epoch of 0 is replaced by the time of the start, so that a restarted
    /// server does not give out its earlier message ids again.
    pub config: Config,
    /// Delivery of webhooks.
    pub delivery: Delivery,
}

/// A running server. Dropping it without [`Server::stop`] leaves its tasks to the runtime.
pub struct Server {
    addr: SocketAddr,
    admin_addr: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    servers: Vec<JoinHandle<std::io::Result<()>>>,
    pump: JoinHandle<()>,
}

/// How long requests may take after the server is told to stop.
const STOP_TIME: Duration = Duration::from_secs(5);

impl Server {
    /// Binds the addresses and starts serving.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let Options { listen, admin_listen, mut config, delivery } = options;
        if config.epoch == 0 {
            config.epoch = clock::now_ms().unsigned_abs();
        }
        let pump = Arc::new(Pump::new(delivery, config.app_secret.clone())?);
        let (shared, refuse) = Shared::new(Model::new(config).context("configuration")?);
        let shared = Arc::new(shared);
        let admin = Admin {
            shared: Arc::clone(&shared),
            pump: Arc::clone(&pump),
            may_refuse: admin_listen.is_some(),
        };
        let app = api::router().with_state(Arc::clone(&shared)).merge(admin::router(admin));
        let app = app.into_make_service_with_connect_info::<Link>();
        let (stop, stopping) = watch::channel(false);
        let mut servers = Vec::new();
        let listener = FaultListener::bind(listen, refuse).await.context("bind --listen")?;
        let addr = listener.addr();
        let server = axum::serve(listener, app.clone());
        servers.push(spawn(server.with_graceful_shutdown(stopped(stopping.clone()))));
        let mut admin_addr = None;
        if let Some(listen) = admin_listen {
            // This one never refuses: its channel has no sender.
            let (_, never) = watch::channel(false);
            let listener =
                FaultListener::bind(listen, never).await.context("bind --admin-listen")?;
            admin_addr = Some(listener.addr());
            let server = axum::serve(listener, app);
            servers.push(spawn(server.with_graceful_shutdown(stopped(stopping))));
        }
        let pump = tokio::spawn(pump.run(shared));
        Ok(Self { addr, admin_addr, stop, servers, pump })
    }

    /// The bound address.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The bound second address.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin_addr
    }

    /// Stops delivering webhooks, lets running requests end for a few seconds, and closes.
    pub async fn stop(self) {
        self.pump.abort();
        self.stop.send_replace(true);
        let deadline = clock::monotonic() + STOP_TIME;
        for mut server in self.servers {
            if tokio::time::timeout_at(deadline, &mut server).await.is_err() {
                server.abort();
            }
        }
    }
}

fn spawn(
    server: impl IntoFuture<IntoFuture: Future<Output = std::io::Result<()>> + Send + 'static>,
) -> JoinHandle<std::io::Result<()>> {
    tokio::spawn(server.into_future())
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // An error means that the sender is gone: stop as well.
    let _ = stopping.wait_for(|stop| *stop).await;
}
