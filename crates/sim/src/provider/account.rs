//! What the gateway says of itself, in the topic of gateways. What counts as a gap is production's
//! own [`PathHealth`]; when it is asked and told are the rules of the gateway's process, repeated
//! here.

use sendplane_domain::path_health::{PathAccount, PathHealth, Verdict};
use sendplane_wire::codec::Encoder;
use sendplane_wire::record::{GatewayGap, GatewayStatus};
use sendplane_wire::topic;

use crate::env::{Env, Event};
use crate::fault::Away;
use crate::log::partition::Entry;
use crate::mutation::Mutation;
use crate::process::hosted::SCHEMAS;
use crate::time::{Micros, seconds, true_wall};

/// Name of the only gateway.
pub const INSTANCE: &str = "gateway-0";

/// How often it reports.
const EVERY: Micros = seconds(8);

/// How long a start waits when there is no broker.
const RETRY: Micros = seconds(1);

/// No doubt is judged so long after the last request.
const REPORTS_AFTER_TRAFFIC: Micros = seconds(15 * 60);

/// The account of the gateway.
pub struct Account {
    phase: Phase,
    health: PathHealth,
    /// The newest record in the log.
    last: Option<PathAccount>,
    /// Of this start.
    token: u64,
    /// It serves, and has no room.
    is_full: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Away,
    /// It answers, but takes nothing yet.
    Starting,
    Serving,
}

impl Account {
    /// Of a gateway that was never started.
    pub(super) fn new() -> Self {
        let health = PathHealth::start(None, true_wall(0));
        Self { phase: Phase::Away, health, last: None, token: 0, is_full: false }
    }

    /// Whether it takes webhooks.
    pub(super) fn serves(&self) -> bool {
        self.phase == Phase::Serving && !self.is_full
    }
}

/// The gateway starts.
pub fn start(env: &mut Env) {
    let now = env.now;
    let account = &mut env.provider.account;
    if account.phase != Phase::Away {
        return;
    }
    account.phase = Phase::Starting;
    account.token += 1;
    account.health = PathHealth::start(None, true_wall(now));
    let token = account.token;
    env.after(0, Event::GatewayReports(token));
}

/// Whatever kept it away is over.
pub fn come_back(env: &mut Env) {
    env.provider.account.is_full = false;
    start(env);
}

/// The gateway takes nothing any more, for one of the reasons.
pub fn leave(env: &mut Env, away: Away) {
    let is_killed = away == Away::Killed;
    if away == Away::Overloaded {
        env.counts.one("gateway overloads");
        env.provider.account.is_full = true;
        return;
    }
    let was_serving = env.provider.account.phase == Phase::Serving;
    env.provider.account.phase = Phase::Away;
    env.provider.account.token += 1;
    env.counts.one(if is_killed { "gateway deaths" } else { "gateway stops" });
    if was_serving && !is_killed && env.has_broker() {
        let now = env.now;
        let stopped = env.provider.account.health.stop(true_wall(now));
        write(env, stopped);
    }
}

/// It is time to report, or to begin to serve.
pub fn report(env: &mut Env, token: u64) {
    if env.provider.account.token != token {
        return;
    }
    let now = true_wall(env.now);
    let has_broker = env.has_broker();
    let account = &mut env.provider.account;
    if account.phase == Phase::Starting && has_broker {
        account.health.resume(account.last.as_ref(), now);
        account.phase = Phase::Serving;
    }
    let is_serving = account.phase == Phase::Serving;
    if has_broker {
        let status = account.health.account(now);
        write(env, status);
    }
    if env.now < env.shape.traffic + REPORTS_AFTER_TRAFFIC {
        let wait = if is_serving { env.shape.every(EVERY) } else { RETRY };
        env.after(wait, Event::GatewayReports(token));
    }
}

/// What became of a post. The modelled gateway answers at once.
pub(super) fn took(env: &mut Env, verdict: Verdict<'_>) {
    let now = true_wall(env.now);
    let account = &mut env.provider.account;
    if account.phase == Phase::Away {
        return;
    }
    let ticket = account.health.begin(now);
    account.health.end(ticket, verdict, now);
}

fn write(env: &mut Env, mut account: PathAccount) {
    if env.has(Mutation::GapsForgotten) {
        account.gaps.clear();
    }
    env.provider.account.last = Some(account.clone());
    let gaps = account.gaps.iter().map(|gap| GatewayGap { since: gap.since, until: gap.until });
    let row = GatewayStatus {
        instance: INSTANCE.to_owned(),
        started_at: account.started_at,
        alive_at: account.alive_at,
        is_stopped: account.is_stopped,
        gaps: gaps.collect(),
    };
    let encoder: Encoder<GatewayStatus> = SCHEMAS.encoder(topic::GATEWAYS);
    let entry = Entry {
        key: Some(INSTANCE.as_bytes().to_vec()),
        value: Some(encoder.encode(&row).expect("a status can be encoded")),
        headers: Vec::new(),
        timestamp: true_wall(env.now),
    };
    env.counts.one("gateway reports");
    env.log.append(topic::GATEWAYS, 0, entry, env.now);
}
