//! How many calls per second this machine's metasim sustains, and how exact its latency stays.
//!
//! `cargo run -p sendplane-metasim --example load -- [calls per second] [seconds]`
//!
//! The server and the callers share the process; so does a receiver of the webhooks. Calls start
//! on a fixed schedule whether or not earlier ones have been answered, as a paced sender's do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sendplane_metasim::{Delivery, Options, Server};
use sendplane_provider_model::{Call, Config, Endpoint, Faults, Model, MsRange};
use serde_json::{Value, json};
use tokio::time::Instant;

const NUMBER: &str = "100000000000001";
/// The fixed answer time, as in the send engine's benchmark.
const LATENCY_MS: u64 = 80;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>());
    let per_second = args.next().transpose()?.unwrap_or(1_000).max(1);
    let seconds = args.next().transpose()?.unwrap_or(10).max(1);
    model_alone()?;
    let received = Arc::new(AtomicU64::new(0));
    let hook = receiver(Arc::clone(&received)).await?;
    let mut config = Config {
        faults: Faults { latency_ms: MsRange::new(LATENCY_MS, LATENCY_MS), ..Faults::default() },
        ..Config::default()
    };
    config.phone_numbers[0].throughput_per_second = u32::MAX;
    let local: SocketAddr = "127.0.0.1:0".parse()?;
    let delivery = Delivery { url: Some(format!("http://{hook}/")), ..Delivery::default() };
    let options = Options { listen: local, admin_listen: None, config, delivery };
    let server = Server::start(options).await?;
    let base = format!("http://{}", server.addr());

    let client = reqwest::Client::builder().no_proxy().build()?;
    let url = format!("{base}/v25.0/{NUMBER}/messages");
    let (start, total) = (Instant::now(), per_second * seconds);
    let mut calls = tokio::task::JoinSet::new();
    for serial in 0..total {
        let due = start + Duration::from_nanos(serial * 1_000_000_000 / per_second);
        tokio::time::sleep_until(due).await;
        let request = client.post(&url).bearer_auth("metasim-token").json(&order(serial));
        calls.spawn(async move {
            let sent = Instant::now();
            let status = request.send().await.map(|answer| answer.status().as_u16());
            (status.unwrap_or(0), sent.elapsed())
        });
    }
    let offered = start.elapsed();
    let answers = calls.join_all().await;
    let mut times: Vec<Duration> = answers.iter().map(|(_, time)| *time).collect();
    times.sort_unstable();
    let ok = answers.iter().filter(|(status, _)| *status == 200).count();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "offered  {:.0}/s, answered 200: {ok} of {total}",
        total as f64 / offered.as_secs_f64()
    );
    println!(
        "answer   p1 {:.1} ms, p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms, max {:.1} ms ({LATENCY_MS} set)",
        at(0.01),
        at(0.5),
        at(0.95),
        at(0.99),
        at(1.0)
    );
    let stats: Value = client.get(format!("{base}/metasim/webhooks")).send().await?.json().await?;
    println!("webhooks {} received, stats {stats}", received.load(Ordering::Relaxed));
    let rates: Value =
        client.get(format!("{base}/metasim/rates?number={NUMBER}")).send().await?.json().await?;
    let per_second = rates["seconds"].as_array().into_iter().flatten();
    let accepted: Vec<u64> = per_second.filter_map(|second| second["accepted"].as_u64()).collect();
    println!("accepted by second {accepted:?}");
    server.stop().await;
    Ok(())
}

/// What the model alone costs per message, its three webhooks included.
fn model_alone() -> anyhow::Result<()> {
    const MESSAGES: u64 = 20_000;
    let mut config = Config::default();
    config.phone_numbers[0].throughput_per_second = u32::MAX;
    let mut model = Model::new(config)?;
    let bodies: Vec<String> = (0..MESSAGES).map(|serial| order(serial).to_string()).collect();
    let (start, mut updates) = (Instant::now(), 0);
    for (now_ms, body) in (0..).zip(&bodies) {
        let call = Call {
            endpoint: Endpoint::Messages,
            phone_number_id: NUMBER,
            bearer_token: Some("metasim-token"),
            body: body.as_bytes(),
        };
        model.handle_send(now_ms, &call);
        updates += model.due_webhooks(now_ms).iter().map(|webhook| webhook.updates).sum::<usize>();
    }
    let each = start.elapsed().as_secs_f64() * 1e6 / MESSAGES as f64;
    println!("model    {each:.0} µs per message, {updates} updates rendered");
    Ok(())
}

async fn receiver(received: Arc<AtomicU64>) -> anyhow::Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    let app = axum::Router::new().fallback(move |_: axum::body::Bytes| {
        received.fetch_add(1, Ordering::Relaxed);
        async {}
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(addr)
}

fn order(serial: u64) -> Value {
    json!({
        "messaging_product": "whatsapp", "to": format!("+9198{serial:08}"), "type": "template",
        "biz_opaque_callback_data": format!("load.{serial}"),
        "template": {"name": "order_confirmed", "language": {"code": "en_US"}, "components": [
            {"type": "body", "parameters": [
                {"type": "text", "text": "Ada"}, {"type": "text", "text": "17"}]}]},
    })
}
