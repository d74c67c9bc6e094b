//! Webhooks on their way: posted by the provider, taken by the gateway, and only then in the log.

use sendplane_domain::path_health::Verdict;
use sendplane_domain::shard::partition_of;
use sendplane_provider_model::sign;
use sendplane_wire::codec::Encoder;
use sendplane_wire::record::{WebhookBody, WebhookSecret};
use sendplane_wire::topic;
use sendplane_wire::webhook::entry0_id;
use sha2::{Digest, Sha256};

use super::account;
use crate::env::{Env, Event};
use crate::evidence::PostSeen;
use crate::log::partition::Entry;
use crate::mutation::Mutation;
use crate::process::hosted::SCHEMAS;
use crate::time::{Micros, START_MS, ms, seconds, true_wall};
use crate::workload::account::APP_SECRET;

/// Longest usual wait between two posts of a webhook.
const REPEAT_MAX: Micros = seconds(60);
/// One that outlasts a doubt: Meta posts less and less often.
const LONG_REPEAT: Micros = seconds(240);
/// Posts of one webhook at most; Meta goes on for days.
const POSTS_MAX: u32 = 12;

/// A webhook under way.
pub struct Post {
    body: Vec<u8>,
    signature: String,
    times: u32,
}

/// Lets the provider post when its next webhook is due.
pub fn schedule_webhooks(env: &mut Env) {
    let Some(due_ms) = env.provider.model.next_due() else { return };
    let at = ms(due_ms - START_MS).max(env.now);
    let scheduled = env.provider.webhooks_at;
    if scheduled.is_none_or(|scheduled| at < scheduled || scheduled < env.now) {
        env.provider.webhooks_at = Some(at);
        env.at(at, Event::WebhooksDue);
    }
}

/// The provider posts what is due.
pub fn post_due(env: &mut Env) {
    env.provider.webhooks_at = None;
    let due = env.provider.model.due_webhooks(START_MS + env.now / 1_000);
    for webhook in due {
        let signature = sign(&webhook.body, APP_SECRET);
        post(env, webhook.body.clone(), signature);
        if env.provider.rng.chance(25) {
            // Somebody else tries the same body without the secret.
            env.counts.one("bodies forged");
            let forged = sign(&webhook.body, "not-the-secret");
            post(env, [webhook.body, vec![b' ']].concat(), forged);
        }
    }
    schedule_webhooks(env);
}

fn post(env: &mut Env, body: Vec<u8>, signature: String) {
    let is_forged = sign(&body, APP_SECRET) != signature;
    env.seen.posts.push(PostSeen {
        body: body.clone(),
        is_forged,
        answered_at: None,
        turned_away: Vec::new(),
    });
    let number = env.provider.posts.len();
    env.provider.posts.push(Post { body, signature, times: 0 });
    let wait = env.provider.rng.between(ms(1), ms(40));
    env.after(wait, Event::Post(number));
}

/// A post arrives at the gateway.
pub fn receive(env: &mut Env, number: usize) {
    let Post { body, signature, times } = &mut env.provider.posts[number];
    *times += 1;
    let times = *times;
    let body = body.clone();
    // The gateway's own rule; its function lives in a crate with an HTTP server.
    let is_forged = sign(&body, APP_SECRET) != *signature;
    if is_forged {
        env.counts.one("gateway refusals");
        account::took(env, Verdict::WrongSignature("sim"));
        return;
    }
    let answers_first = env.has(Mutation::AnswerBeforeAppend);
    let is_taken = env.has_broker() && env.provider.account.serves();
    let now = env.now;
    if is_taken || answers_first {
        env.seen.posts[number].answered_at.get_or_insert(now);
    }
    if is_taken {
        append(env, body);
        account::took(env, Verdict::Taken("sim"));
    } else {
        env.counts.one(if env.has_broker() { "gateway away" } else { "gateway without a broker" });
        env.seen.posts[number].turned_away.push(now);
        account::took(env, Verdict::TurnedAway);
    }
    let is_heard = !env.provider.rng.chance(40);
    if (is_taken || answers_first) && is_heard {
        return;
    }
    if is_taken {
        env.counts.one("gateway answers lost");
    }
    if times < POSTS_MAX {
        let is_long = !is_taken && env.provider.rng.chance(400);
        let wait = if is_long { LONG_REPEAT } else { (seconds(1) << times.min(6)).min(REPEAT_MAX) };
        env.after(wait, Event::Post(number));
    }
}

fn append(env: &mut Env, body: Vec<u8>) {
    let key = entry0_id(&body).unwrap_or_else(|| hex::encode(Sha256::digest(&body)));
    let received_at = true_wall(env.now);
    let record = WebhookBody {
        app: "sim".to_owned(),
        received_at,
        body,
        secret: WebhookSecret::Current,
        gateway: account::INSTANCE.to_owned(),
    };
    let encoder: Encoder<WebhookBody> = SCHEMAS.encoder(topic::WEBHOOKS);
    let value = encoder.encode(&record).expect("a webhook can be encoded");
    let partition = partition_of(key.as_bytes(), env.shape.partitions);
    let entry = Entry {
        key: Some(key.into_bytes()),
        value: Some(value),
        headers: Vec::new(),
        timestamp: received_at,
    };
    env.counts.one("webhooks appended");
    env.log.append(topic::WEBHOOKS, partition, entry, env.now);
}
