//! `message curl`: the request of an attempt, as it was or would have been made.
//!
//! Path and body come from the code that makes the calls ([`sendplane_wire::cloud_api`]); what they
//! are made of comes from the dispatch and from the attempt's intent, which says the endpoint.

use std::ops::ControlFlow;
use std::process::ExitCode;

use std::sync::Arc;

use sendplane_domain::id::MessageId;
use sendplane_domain::opaque::{HashKey, OpaqueData};
use sendplane_domain::shard::{ShardKey, partition_of};
use sendplane_service::config::Secret;
use sendplane_stage_runtime::tools::{TailQuery, TailRecord};
use sendplane_wire::cloud_api::{
    CONTENT_TYPE, ProductPolicy, Route, USER_AGENT, path, redacted_body, template_body,
};
use sendplane_wire::codec::{Decoder, SchemaSource};
use sendplane_wire::record::{Attempt, AttemptEvent, Dispatch};
use sendplane_wire::topic;
use serde_json::json;

use crate::args::{CurlArgs, Format};
use crate::output;
use crate::session::{Fault, Session};

const TOPICS: [&str; 3] = [topic::DISPATCH_TRANSACTIONAL, topic::DISPATCH_BULK, topic::ATTEMPTS];

/// What is known of a message's calls, in the order in which it was read.
#[derive(Debug, Default)]
struct Found {
    dispatches: Vec<Dispatch>,
    /// Intents, and nothing else.
    intents: Vec<Attempt>,
}

/// A request in parts.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    url: String,
    headers: [(&'static str, &'static str); 3],
    body: String,
}

/// How the request is to be shown.
struct View<'v> {
    provider_url: &'v str,
    api_version: &'v str,
    hash_key: Option<HashKey>,
    redact: bool,
}

pub fn run(session: &Session, args: &CurlArgs) -> Result<ExitCode, Fault> {
    let id: MessageId = super::parse_id(&args.id)?.parse().map_err(anyhow::Error::new)?;
    let view = View {
        provider_url: base_url(&args.provider_url)?,
        api_version: &args.api_version,
        hash_key: args.hash_key_file.as_deref().map(hash_key).transpose()?,
        redact: args.redact,
    };
    let found = find(session, id, args.tenant.as_deref())?;
    let (intent, dispatch) = choose(id, &found, args.attempt)?;
    let request = request(intent, dispatch, &view)?;
    match session.output {
        Format::Json => output::json(&as_json(&request))?,
        Format::Table => output::line(&as_curl(&request))?,
    }
    for warning in warnings(&view) {
        eprintln!("sendplane: {warning}");
    }
    Ok(ExitCode::SUCCESS)
}

fn find(session: &Session, id: MessageId, tenant: Option<&str>) -> Result<Found, Fault> {
    let tools = session.tools()?;
    let partition = match tenant {
        Some(tenant) => {
            let count = tools.partition_count(topic::ATTEMPTS)?;
            Some(partition_of(tenant.as_bytes(), count))
        }
        None => None,
    };
    let source: Arc<dyn SchemaSource> = Arc::new(session.registry()?);
    let dispatches = Decoder::<Dispatch>::new(TOPICS[0], None, source.clone());
    let attempts = Decoder::<Attempt>::new(topic::ATTEMPTS, None, source);
    let mut found = Found::default();
    let query = TailQuery { topics: &TOPICS, partition, from_beginning: true, until_end: true };
    tools.tail(&query, &mut |record: TailRecord| {
        let value = record.value.as_deref();
        if record.topic == topic::ATTEMPTS {
            let intent = attempts.decode(value).ok().filter(|attempt| {
                attempt.message_id == id && attempt.event == AttemptEvent::Submitting
            });
            found.intents.extend(intent);
        } else {
            let dispatch = dispatches.decode(value).ok();
            found.dispatches.extend(dispatch.filter(|dispatch| dispatch.message_id == id));
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// The intent that was asked for, and the dispatch it was made under.
fn choose(
    id: MessageId,
    found: &Found,
    wanted: Option<u32>,
) -> Result<(&Attempt, &Dispatch), anyhow::Error> {
    let number = |intent: &&Attempt| intent.attempt;
    let newest = found.intents.iter().max_by_key(number);
    let intent = match (wanted, newest) {
        (None, newest) => newest,
        (Some(wanted), Some(newest)) => {
            let fits = |intent: &&Attempt| i64::from(intent.attempt) == i64::from(wanted);
            let intent = found.intents.iter().find(fits);
            Some(intent.ok_or_else(|| {
                anyhow::anyhow!(
                    "--attempt {wanted}: message {id} had attempts 1 to {}; give one of them",
                    newest.attempt
                )
            })?)
        }
        (Some(_), None) => None,
    };
    let Some(intent) = intent else {
        anyhow::bail!(match found.dispatches.is_empty() {
            true => format!(
                "message {id} was not dispatched: check the id and --tenant; `message show {id}` \
                 says whether it waits, was blocked or is unknown, and topics keep 14 days"
            ),
            false => format!(
                "message {id} is dispatched and was not called yet: `message show {id}` says what \
                 became of it; try again after its first attempt"
            ),
        });
    };
    // A replay of a dead letter writes the dispatch again as it was: any of them will do.
    let dispatch =
        found.dispatches.iter().rfind(|dispatch| dispatch.decision_seq == intent.decision_seq);
    let dispatch = dispatch.ok_or_else(|| {
        anyhow::anyhow!(
            "the dispatch of message {id} (decision {}) is no longer in its topic, which keeps 14 \
             days: its request cannot be printed any more",
            intent.decision_seq
        )
    })?;
    Ok((intent, dispatch))
}

fn request(intent: &Attempt, dispatch: &Dispatch, view: &View<'_>) -> anyhow::Result<Request> {
    let route = route(intent)?;
    let data = OpaqueData {
        shard: ShardKey::of(dispatch.tenant.clone()),
        message_id: dispatch.message_id,
        attempt: u32::try_from(intent.attempt).unwrap_or(0),
    };
    let opaque = match &view.hash_key {
        Some(key) => data.encode(key),
        None => format!("{}.[mac]", data.unauthenticated()),
    };
    let body = match view.redact {
        true => redacted_body(route, dispatch, &opaque),
        false => template_body(route, dispatch, &opaque),
    };
    let path = path(view.api_version, &dispatch.phone_number_id, route)?;
    Ok(Request {
        url: format!("{}{path}", view.provider_url),
        headers: [
            ("Authorization", "Bearer $TOKEN"),
            ("Content-Type", CONTENT_TYPE),
            ("User-Agent", USER_AGENT),
        ],
        body: String::from_utf8(body)?,
    })
}

fn route(intent: &Attempt) -> anyhow::Result<Route> {
    match intent.product_policy.as_deref() {
        None => Ok(Route::Messages),
        Some(text) => match ProductPolicy::parse(text) {
            Some(product_policy) => Ok(Route::Marketing { product_policy }),
            None => {
                anyhow::bail!("product policy {text:?} is of a newer release: upgrade this tool")
            }
        },
    }
}

/// A command for a POSIX shell. Only the token is left to the shell.
fn as_curl(request: &Request) -> String {
    let mut lines = vec![format!("curl --http1.1 --request POST {}", quoted(&request.url))];
    for (name, value) in request.headers {
        let header = format!("{name}: {value}");
        // Double quotes let the shell put the token in.
        let header =
            if value.contains("$TOKEN") { format!("\"{header}\"") } else { quoted(&header) };
        lines.push(format!("--header {header}"));
    }
    lines.push(format!("--data-raw {}", quoted(&request.body)));
    lines.join(" \\\n  ")
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn as_json(request: &Request) -> serde_json::Value {
    let headers = request.headers.map(|(name, value)| json!({"name": name, "value": value}));
    json!({"method": "POST", "url": request.url, "headers": headers, "body": request.body})
}

fn warnings(view: &View<'_>) -> Vec<&'static str> {
    let mut warnings = Vec::new();
    if !view.redact {
        warnings.push(
            "recipient and parameters are printed in clear; --redact masks them. Whoever runs the \
             command sends the message once more",
        );
    }
    if view.hash_key.is_none() {
        warnings.push(
            "biz_opaque_callback_data ends in [mac]; --hash-key-file FILE, the file of send's \
             hash-key-file, prints it as it was sent",
        );
    }
    warnings
}

fn base_url(text: &str) -> Result<&str, Fault> {
    let has_host = |scheme| text.strip_prefix(scheme).is_some_and(|host: &str| !host.is_empty());
    if ["http://", "https://"].into_iter().any(has_host) {
        return Ok(text.trim_end_matches('/'));
    }
    Err(Fault::input(format!(
        "--provider-url {text}: give scheme and host, as https://graph.facebook.com"
    )))
}

fn hash_key(file: &std::path::Path) -> Result<HashKey, Fault> {
    let key = Secret::read(&file.display().to_string())
        .map_err(|fault| Fault::input(format!("--hash-key-file {fault}; name send's own file")))?;
    Ok(HashKey::new(key.expose()))
}

#[cfg(test)]
mod tests;
