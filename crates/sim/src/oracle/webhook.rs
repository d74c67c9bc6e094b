//! I12: what the gateway answered and what the log holds.

use std::collections::{BTreeMap, BTreeSet};

use super::Verdict;
use super::reading::Facts;
use crate::env::Env;
use crate::time::Micros;

/// Checks I12.
pub fn check(env: &mut Env, facts: &Facts, verdict: &mut Verdict) {
    let mut first: BTreeMap<&[u8], Micros> = BTreeMap::new();
    let mut repeated = 0;
    for at in &facts.webhooks {
        let seen = first.entry(&at.record.body).or_insert(at.visible_at);
        repeated += u64::from(*seen != at.visible_at);
        *seen = (*seen).min(at.visible_at);
    }
    for post in &env.seen.posts {
        let appended = first.get(&post.body[..]);
        match (post.answered_at, appended) {
            (Some(answered), None) => {
                verdict.plain("I12", format!("answered 200 at {answered} us, never appended"));
            }
            (Some(answered), Some(appended)) if answered < *appended => {
                let detail = format!("answered 200 at {answered} us, appended at {appended} us");
                verdict.plain("I12", detail);
            }
            _ => {}
        }
    }
    let genuine: BTreeSet<&[u8]> =
        env.seen.posts.iter().filter(|post| !post.is_forged).map(|post| &post.body[..]).collect();
    for body in first.keys() {
        if !genuine.contains(body) {
            verdict.plain("I12", "a body that the provider never posted is in the log".to_owned());
        }
    }
    env.counts.add("webhooks repeated", repeated);
}
