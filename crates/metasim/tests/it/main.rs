//! Goal: the shell carries out over real sockets what the model decides. Method: a server on a
//! free port, an ordinary HTTP client, and a webhook receiver that checks every signature.
//! Everything is awaited by polling up to a deadline.

mod binary;
mod limits;
mod receiver;
mod shell;

use std::net::SocketAddr;
use std::time::Duration;

use sendplane_metasim::{Delivery, Options, Server};
use sendplane_provider_model::{Config, Faults, MsRange, PairLimit};
use serde_json::{Value, json};

use crate::receiver::Receiver;

const NUMBER: &str = "100000000000001";
const SECRET: &str = "it-app-secret";
const DEADLINE: Duration = Duration::from_secs(30);

/// A server with its receiver.
struct Bench {
    server: Server,
    receiver: Receiver,
    client: reqwest::Client,
}

fn config() -> Config {
    let mut config = Config {
        app_secret: SECRET.to_owned(),
        pair_limit: PairLimit { burst: 0, refill_ms: 1 },
        faults: Faults { latency_ms: MsRange::new(0, 5), ..Faults::default() },
        ..Config::default()
    };
    config.delays.sent_ms = MsRange::new(1, 10);
    config.delays.delivered_ms = MsRange::new(1, 10);
    config.delays.read_ms = MsRange::new(1, 10);
    config.delays.failed_ms = MsRange::new(1, 10);
    config.phone_numbers[0].throughput_per_second = 100_000;
    config
}

impl Bench {
    async fn start() -> Self {
        let receiver = Receiver::start(SECRET).await;
        let local: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let options = Options {
            listen: local,
            admin_listen: Some(local),
            config: config(),
            delivery: Delivery {
                url: Some(receiver.url()),
                pause_max: Duration::from_millis(200),
                ..Delivery::default()
            },
        };
        let server = Server::start(options).await.expect("server starts");
        let client = reqwest::Client::builder().no_proxy().timeout(DEADLINE / 3).build();
        Self { server, receiver, client: client.expect("client") }
    }

    async fn send(&self, to: &str, opaque: &str) -> Result<(u16, Value), reqwest::Error> {
        self.post("messages", &order(to, opaque)).await
    }

    async fn post(&self, endpoint: &str, body: &Value) -> Result<(u16, Value), reqwest::Error> {
        let url = format!("http://{}/v25.0/{NUMBER}/{endpoint}", self.server.addr());
        let request = self.client.post(url).bearer_auth("metasim-token").json(body);
        let response = request.send().await?;
        let status = response.status().as_u16();
        let text = response.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// An admin request; the answer's status and body.
    async fn admin(&self, method: reqwest::Method, path: &str, body: Value) -> (u16, Value) {
        let addr = self.server.admin_addr().expect("second listener");
        let request = self.client.request(method, format!("http://{addr}{path}"));
        let request = if body.is_null() { request } else { request.json(&body) };
        let response = request.send().await.expect("admin answers");
        let status = response.status().as_u16();
        let text = response.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn get(&self, path: &str) -> Value {
        self.admin(reqwest::Method::GET, path, Value::Null).await.1
    }

    async fn set_faults(&self, faults: Value) {
        let (status, body) = self.admin(reqwest::Method::POST, "/metasim/faults", faults).await;
        assert_eq!(status, 200, "{body}");
    }

    /// Waits until `path` answers something that `is` holds for.
    async fn wait_for(&self, path: &str, is: impl Fn(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            let value = self.get(path).await;
            if is(&value) {
                return value;
            }
            assert!(tokio::time::Instant::now() < deadline, "{path} stays at {value}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn order(to: &str, opaque: &str) -> Value {
    json!({
        "messaging_product": "whatsapp", "to": to, "type": "template",
        "biz_opaque_callback_data": opaque,
        "template": {"name": "order_confirmed", "language": {"code": "en_US"}, "components": [
            {"type": "body", "parameters": [
                {"type": "text", "text": "Ada"}, {"type": "text", "text": "17"}]}]},
    })
}
