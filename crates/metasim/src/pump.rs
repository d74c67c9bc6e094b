//! Posts webhooks as Meta does: signed, concurrently, again and again until the answer is 200.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use reqwest::{Client, Url};
use sendplane_provider_model::{Webhook, sign};
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::clock;
use crate::shared::Shared;

/// How webhooks are delivered.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Where to; none discards webhooks until one is set.
    pub url: Option<String>,
    /// Posts at a time.
    pub concurrency: usize,
    /// Time for one post.
    pub timeout: Duration,
    /// Longest pause between two posts of one body. The first retry comes at once, the second
    /// after 100 ms, then each pause doubles.
    pub pause_max: Duration,
    /// How long a body is tried (Meta: 7 days).
    pub retry_for: Duration,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            url: None,
            concurrency: 64,
            timeout: Duration::from_secs(10),
            pause_max: Duration::from_secs(30),
            retry_for: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// What became of the webhooks so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Bodies that were due.
    pub bodies: u64,
    /// Updates inside them.
    pub updates: u64,
    /// Bodies answered with 200.
    pub delivered: u64,
    /// Bodies that are still tried.
    pub in_flight: u64,
    /// Updates whose time has not come.
    pub updates_pending: u64,
    /// Posts after the first of a body.
    pub retries: u64,
    /// Bodies that were never answered with 200 within the time.
    pub given_up: u64,
    /// Bodies without an address to post to.
    pub discarded: u64,
    /// Posts by HTTP status, or `connect`, `timeout`, `other`.
    pub posts_by_result: BTreeMap<String, u64>,
}

/// Shortest time between two looks at the model: updates in between share bodies.
const TICK: Duration = Duration::from_millis(5);
const PAUSE_FIRST: Duration = Duration::from_millis(100);

/// Delivers webhooks; one per server.
pub(crate) struct Pump {
    client: Client,
    delivery: Delivery,
    url: Mutex<Option<Url>>,
    slots: Arc<Semaphore>,
    stats: Mutex<Stats>,
    app_secret: String,
}

impl Pump {
    pub(crate) fn new(delivery: Delivery, app_secret: String) -> anyhow::Result<Self> {
        // A proxy of the environment must not come between a simulated provider and its customer.
        let client = Client::builder()
            .no_proxy()
            .timeout(delivery.timeout)
            .user_agent("facebookexternalua")
            .build()
            .context("build the webhook client")?;
        let pump = Self {
            client,
            url: Mutex::new(None),
            slots: Arc::new(Semaphore::new(delivery.concurrency.max(1))),
            stats: Mutex::new(Stats::default()),
            app_secret,
            delivery,
        };
        pump.set_url(pump.delivery.url.as_deref())?;
        Ok(pump)
    }

    /// Changes the address; bodies that are being retried follow.
    pub(crate) fn set_url(&self, url: Option<&str>) -> anyhow::Result<()> {
        let url = url.map(Url::parse).transpose().context("webhook url")?;
        *self.url.lock().unwrap_or_else(PoisonError::into_inner) = url;
        Ok(())
    }

    fn url(&self) -> Option<Url> {
        self.url.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn stats_mut(&self) -> MutexGuard<'_, Stats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stats(&self, updates_pending: usize) -> Stats {
        Stats { updates_pending: updates_pending as u64, ..self.stats_mut().clone() }
    }

    /// Runs until its task is aborted.
    pub(crate) async fn run(self: Arc<Self>, shared: Arc<Shared>) {
        loop {
            let (webhooks, next_due) = {
                let mut model = shared.model();
                let webhooks = model.due_webhooks(clock::now_ms());
                (webhooks, model.next_due())
            };
            for webhook in webhooks {
                self.begin(webhook);
            }
            tokio::time::sleep(TICK).await;
            let until_due = next_due.map(|due_ms| {
                Duration::from_millis(
                    due_ms.saturating_sub(clock::now_ms()).try_into().unwrap_or(0),
                )
            });
            // A notice between the look and here is kept by `Notify`.
            match until_due {
                Some(wait) => {
                    let _ = tokio::time::timeout(wait, shared.earlier.notified()).await;
                }
                None => shared.earlier.notified().await,
            }
        }
    }

    fn begin(self: &Arc<Self>, webhook: Webhook) {
        let mut stats = self.stats_mut();
        stats.bodies += 1;
        stats.updates += webhook.updates as u64;
        if self.url().is_none() {
            stats.discarded += 1;
            return;
        }
        stats.in_flight += 1;
        drop(stats);
        tokio::spawn(Arc::clone(self).deliver(webhook));
    }

    async fn deliver(self: Arc<Self>, webhook: Webhook) {
        let signature = sign(&webhook.body, &self.app_secret);
        let body = axum::body::Bytes::from(webhook.body);
        let start = clock::monotonic();
        let mut pause = Duration::ZERO;
        let delivered = loop {
            let result = {
                let _slot = self.slots.acquire().await;
                self.post(&signature, body.clone()).await
            };
            let delivered = result == "200";
            *self.stats_mut().posts_by_result.entry(result).or_default() += 1;
            if delivered || start.elapsed() + pause > self.delivery.retry_for {
                break delivered;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).clamp(PAUSE_FIRST, self.delivery.pause_max.max(PAUSE_FIRST));
            self.stats_mut().retries += 1;
        };
        let mut stats = self.stats_mut();
        stats.in_flight -= 1;
        if delivered {
            stats.delivered += 1;
        } else {
            stats.given_up += 1;
        }
    }

    async fn post(&self, signature: &str, body: axum::body::Bytes) -> String {
        let Some(url) = self.url() else {
            return "connect".to_owned();
        };
        let request = self
            .client
            .post(url)
            .header("content-type", "application/json")
            .header("x-hub-signature-256", signature)
            .body(body);
        match request.send().await {
            Ok(response) => response.status().as_u16().to_string(),
            Err(err) if err.is_connect() => "connect".to_owned(),
            Err(err) if err.is_timeout() => "timeout".to_owned(),
            Err(_) => "other".to_owned(),
        }
    }

    /// Meta's handshake when an address is registered: it must return the challenge.
    pub(crate) async fn verify(&self, verify_token: &str) -> anyhow::Result<()> {
        let mut url = self.url().context("no webhook url is set")?;
        let challenge = clock::now_ms().to_string();
        url.query_pairs_mut()
            .append_pair("hub.mode", "subscribe")
            .append_pair("hub.challenge", &challenge)
            .append_pair("hub.verify_token", verify_token);
        let response = self.client.get(url).send().await.context("verification request")?;
        let status = response.status();
        let body = response.text().await.context("verification answer")?;
        ensure!(status.as_u16() == 200, "verification answered with HTTP {status}");
        ensure!(body == challenge, "verification did not return the challenge");
        Ok(())
    }
}
