//! The client itself.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Body, Client, Request, Response, Url, redirect, retry};
use secrecy::{ExposeSecret, SecretString};
use sendplane_domain::id::PhoneNumberId;
use sendplane_wire::cloud_api::{
    Answer, CONTENT_TYPE as JSON, Route, USER_AGENT, parse_answer, path, template_body,
};
use sendplane_wire::record::Dispatch;
use tokio::time::{Instant, sleep_until};

use crate::config::{Config, InvalidConfig};
use crate::gate::Gate;

/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Longest description of a fault, in characters.
const REASON_LEN_MAX: usize = 300;

/// One call: a template message.
pub struct Call<'c> {
    /// Endpoint.
    pub route: Route,
    /// Number to send from.
    pub phone_number_id: &'c PhoneNumberId,
    /// Access token of the number's owner.
    pub token: &'c SecretString,
    /// What to send.
    pub dispatch: &'c Dispatch,
    /// `biz_opaque_callback_data`.
    pub opaque_data: &'c str,
    /// The call starts before this time or not at all.
    pub start_by: Instant,
}

/// A call that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Completed {
    /// How.
    pub outcome: Outcome,
    /// From the moment the request was handed to a connection; `None` if it never was.
    pub latency: Option<Duration>,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Proven: the body of the request never left this process.
    Unsent {
        /// What kept it.
        cause: Unsent,
        /// For people.
        reason: String,
    },
    /// A whole answer was read.
    Answered {
        /// HTTP status.
        http_status: u16,
        /// What the body says.
        answer: Answer,
    },
    /// The request was on a connection, and there is no whole answer.
    Lost {
        /// For people.
        reason: String,
    },
}

/// What kept a call from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// `start_by` had passed.
    TooLate,
    /// No connection: name resolution, TCP, TLS, or the total timeout while waiting for one.
    NoConnection,
    /// The token cannot stand in a header.
    BadToken,
    /// The phone number id cannot stand in a path.
    BadNumber,
}

/// The Cloud API. Cheap to clone; clones share their connections.
///
/// HTTP/1.1 only. One call per connection at a time means that a connection which breaks puts one
/// message in doubt; with HTTP/2 it would be every call multiplexed on it. The client libraries'
/// own retries are off where they can be switched off, and where they cannot (a request taken back
/// from a pooled connection that was already closed) the gate in the body keeps a request from being
/// written twice or late.
#[derive(Clone)]
pub struct CloudApi {
    client: Client,
    base: Url,
    version: String,
}

impl std::fmt::Debug for CloudApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CloudApi({}{})", self.base, self.version)
    }
}

impl CloudApi {
    /// Builds the client; opens no connection.
    pub fn new(config: &Config) -> Result<Self, InvalidConfig> {
        let base = config.base()?;
        let client = Client::builder()
            .http1_only()
            .retry(retry::never())
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .user_agent(USER_AGENT)
            .connect_timeout(config.connect_timeout)
            .timeout(config.total_timeout)
            .pool_idle_timeout(config.pool_idle_timeout)
            .build()
            .map_err(InvalidConfig::Client)?;
        Ok(Self { client, base, version: config.version.clone() })
    }

    /// Sends a template message once.
    ///
    /// The residual of I3: between the check at the gate and the first byte on the wire lie the
    /// client's own write and the kernel; a process that freezes exactly there sends late.
    pub async fn send_template(&self, call: Call<'_>) -> Completed {
        let body = Bytes::from(template_body(call.route, call.dispatch, call.opaque_data));
        let (gate, gated) = Gate::new(body, call.start_by);
        let request = match self.request(&call, Body::wrap(gated)) {
            Ok(request) => request,
            Err((cause, reason)) => return unsent(cause, reason),
        };
        let response = self.client.execute(request);
        tokio::pin!(response);
        let response = tokio::select! {
            biased;
            response = &mut response => response,
            // Waiting for a connection is over. If the request has got one, its answer counts.
            () = sleep_until(call.start_by) => match gate.opened_or_close() {
                Some(_) => response.await,
                None => return unsent(Unsent::TooLate, "no connection in time to start"),
            },
        };
        let outcome = match response {
            Ok(response) => read(response).await,
            Err(error) => Outcome::Lost { reason: describe(error) },
        };
        match (gate.opened_or_close(), outcome) {
            (Some(opened_at), outcome) => Completed { outcome, latency: Some(opened_at.elapsed()) },
            (None, Outcome::Lost { reason }) if Instant::now() >= call.start_by => {
                unsent(Unsent::TooLate, reason)
            }
            (None, Outcome::Lost { reason }) => unsent(Unsent::NoConnection, reason),
            // An answer to a request whose body it did not wait for.
            (None, outcome) => Completed { outcome, latency: None },
        }
    }

    fn request(&self, call: &Call<'_>, body: Body) -> Result<Request, (Unsent, String)> {
        let path = path(&self.version, call.phone_number_id, call.route)
            .map_err(|unsafe_number| (Unsent::BadNumber, unsafe_number.to_string()))?;
        let token = format!("Bearer {}", call.token.expose_secret());
        let mut token = HeaderValue::from_str(&token).map_err(|_| {
            (Unsent::BadToken, "the access token has characters no header can hold".to_owned())
        })?;
        token.set_sensitive(true);
        let mut url = self.base.clone();
        url.set_path(&path);
        self.client
            .post(url)
            .header(AUTHORIZATION, token)
            .header(CONTENT_TYPE, JSON)
            .body(body)
            .build()
            .map_err(|error| (Unsent::BadNumber, describe(error)))
    }
}

fn unsent(cause: Unsent, reason: impl Into<String>) -> Completed {
    Completed { outcome: Outcome::Unsent { cause, reason: reason.into() }, latency: None }
}

/// Reads the whole answer. Part of one is no answer: the rest might have held a message id.
async fn read(mut response: Response) -> Outcome {
    let http_status = response.status().as_u16();
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > ANSWER_BYTES_MAX => {
                let reason =
                    format!("answer with status {http_status} is over {ANSWER_BYTES_MAX} bytes");
                return Outcome::Lost { reason };
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(error) => {
                let fault = describe(error);
                let reason = format!("answer with status {http_status} broke off: {fault}");
                return Outcome::Lost { reason };
            }
        }
    }
    Outcome::Answered { http_status, answer: parse_answer(http_status, &body) }
}

/// The error and its causes; never the address, which names the number.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text.chars().take(REASON_LEN_MAX).collect()
}

#[cfg(test)]
mod tests;
