//! Who is called next, decided once in a cycle over everything that is ready.
//!
//! Transactional before bulk; in a lane the tenants take turns; of a tenant number by number, and in
//! the queue of a number by time. A number whose transactional head is due but lacks a token is not
//! asked for bulk: the next token is for the transactional message. A message that lacks something
//! of its own is parked and holds up nobody. A pause of a whole lane costs a look at the number; one
//! of a campaign, a category or a template parks its messages as they come to the head.
//!
//! A look at a number ends with a time to look again (its timer), or with nothing (only an input can
//! change anything), or because the cycle has granted enough: then it stays ready.

use std::collections::BTreeMap;
use std::ops::Bound;

use sendplane_domain::id::{MessageId, TenantId};
use sendplane_domain::lane::Lane;
use sendplane_domain::time::Timestamp;
use sendplane_domain::trace::TraceContext;
use sendplane_stage_api::portion::Portion;
use sendplane_stage_api::slots::Wants;

use super::number::{Common, May, Owner, Standing, tenant_state};
use super::state::{
    MESSAGES, Marker, Message, NUMBERS, NumberKey, QUEUE, QueueKey, READY, ROUNDS, Resource, State,
    Timer, Work, lane_rank, number_timer,
};
use super::{Ctx, SendStage, budget, ending, inbox, intent, pair, portfolio, recheck, template};
use crate::directory::Subject;

/// Grants of a cycle. A commit of this size takes a few milliseconds; whoever comes meanwhile waits
/// for it.
const GRANTS_MAX: usize = 500;

/// Messages looked at in a cycle: bounds those that end or are parked without a call.
const EXAMINED_MAX: usize = 2_000;

/// The same for bulk in a small portion: transactional messages flow, and the next of them is not to
/// wait for marketing's commit (I9).
const BULK_GRANTS_SMALL_MAX: usize = 80;
const BULK_EXAMINED_SMALL_MAX: usize = 200;

/// What a tenant of weight 1 may take in one turn. A turn of a tenant is its weight times as long.
///
/// **The bound** (I9). A tenant that starts to want something waits for one turn of each other one
/// that wants something in the same lane at most: for the sum of their weights times this many
/// grants. Over any span in which two tenants always want something, what they took divided by
/// their weights differs by this much at most.
const QUANTUM: u32 = 8;

/// Bounds of a tenant's weight: a record that says otherwise is taken for the nearest.
const WEIGHT_MIN: i32 = 1;
const WEIGHT_MAX: i32 = 100;

const LANES: [Lane; 2] = [Lane::Transactional, Lane::Bulk];

/// How a look at a number stands.
struct Look {
    standing: Standing,
    /// Look again then.
    wake: Option<Timestamp>,
    /// Nothing of the lane can be granted in this cycle, by [`lane_rank`].
    done: [bool; 2],
}

/// What came of looking at the first entry of a queue.
enum Step {
    Granted,
    /// The entry is gone without a call.
    Gone,
    /// Nothing more of this lane.
    LaneDone(Option<Timestamp>),
    /// Nothing more of this number.
    NumberDone(Option<Timestamp>),
}

/// What the cycle may still do.
struct Allowed {
    grants: usize,
    examined: usize,
}

/// Grants what may be granted now, and sets timers for the rest.
pub(super) fn grant(stage: &SendStage, ctx: &mut Ctx<'_, '_>) {
    let ready: Vec<NumberKey> =
        ctx.scan(&READY, &(), usize::MAX).into_iter().map(|(number, Marker)| number).collect();
    if ready.is_empty() {
        return;
    }
    let mut looks: BTreeMap<NumberKey, Look> = ready
        .into_iter()
        .map(|number| {
            let look = Look::begin(stage, ctx, &number);
            (number, look)
        })
        .collect();
    let mut common = Common::read(ctx);
    let mut allowed =
        Allowed { grants: ctx.effects_left().min(GRANTS_MAX), examined: EXAMINED_MAX };
    for lane in LANES {
        if lane == Lane::Bulk {
            allowed.grants = allowed.grants.min(ctx.share_left());
            if ctx.portion() != Portion::Full {
                allowed.grants = allowed.grants.min(BULK_GRANTS_SMALL_MAX);
                allowed.examined = allowed.examined.min(BULK_EXAMINED_SMALL_MAX);
            }
        }
        serve_lane(stage, ctx, &mut looks, &mut common, lane, &mut allowed);
    }
    let wants = wants(ctx, &mut looks, &mut common);
    ctx.want_more(wants);
    common.write(ctx);
    ctx.set_trace(TraceContext::default());
    for (number, look) in looks {
        close(ctx, &number, look);
    }
}

/// What is left undone; numbers that were not looked at for want of grants are looked at here.
/// Tenants share the slots by their weights, so that is what their task asks for.
fn wants(
    ctx: &mut Ctx<'_, '_>,
    looks: &mut BTreeMap<NumberKey, Look>,
    common: &mut Common,
) -> Wants {
    let mut wants = Wants::default();
    let mut counted: Option<&TenantId> = None;
    for (number, look) in looks {
        for lane in LANES {
            if look.done[usize::from(lane_rank(lane))] {
                continue;
            }
            match due(ctx, number, &mut look.standing, common, lane) {
                Err(step) => look.close(lane, step),
                Ok(_) if lane == Lane::Transactional => wants.urgent = true,
                Ok(_) if counted == Some(&number.0) => {}
                Ok(_) => {
                    wants.weight += weight(ctx, &number.0);
                    counted = Some(&number.0);
                }
            }
        }
    }
    wants
}

/// Tenants take turns until nobody wants any more or the cycle has done enough.
fn serve_lane(
    stage: &SendStage,
    ctx: &mut Ctx<'_, '_>,
    looks: &mut BTreeMap<NumberKey, Look>,
    common: &mut Common,
    lane: Lane,
    allowed: &mut Allowed,
) {
    let rank = lane_rank(lane);
    let mut turns = ctx.get(&ROUNDS, &rank).unwrap_or_default();
    let before = allowed.grants;
    while allowed.examined > 0 {
        let next =
            turns.0.turn(|from| next_tenant(looks, rank, from), |tenant| quantum(ctx, tenant));
        let Some((tenant, turn)) = next else { break };
        let turn_allowed = (turn as usize).min(allowed.grants);
        let mut granted = 0;
        let numbers: Vec<NumberKey> = open_numbers(looks, rank, &tenant).cloned().collect();
        for number in numbers {
            let look = looks.get_mut(&number).expect("a key of the map");
            while allowed.examined > 0 {
                let can_grant = granted < turn_allowed;
                match step(stage, ctx, &number, &mut look.standing, common, lane, can_grant) {
                    None => break,
                    Some(Step::Granted) => granted += 1,
                    Some(step) => look.close(lane, step),
                }
                allowed.examined -= 1;
                if look.done[usize::from(rank)] {
                    break;
                }
            }
        }
        allowed.grants -= granted;
        turns.0.took(granted as u32);
        if open_numbers(looks, rank, &tenant).next().is_none() {
            turns.0.pass();
        } else if allowed.grants == 0 {
            break;
        }
    }
    // A turn in which nothing was granted need not be remembered.
    if allowed.grants < before {
        ctx.put(&ROUNDS, &rank, &turns);
    }
}

/// What `tenant` may take in one turn.
fn quantum(ctx: &Ctx<'_, '_>, tenant: &TenantId) -> u32 {
    QUANTUM * weight(ctx, tenant)
}

fn weight(ctx: &Ctx<'_, '_>, tenant: &TenantId) -> u32 {
    let weight = ctx.globals().tenant(tenant).map_or(1, |row| row.weight);
    weight.clamp(WEIGHT_MIN, WEIGHT_MAX).unsigned_abs()
}

fn next_tenant(
    looks: &BTreeMap<NumberKey, Look>,
    rank: u8,
    from: Bound<&TenantId>,
) -> Option<TenantId> {
    let is_after = |tenant: &TenantId| match from {
        Bound::Included(bound) => tenant >= bound,
        Bound::Excluded(bound) => tenant > bound,
        Bound::Unbounded => true,
    };
    let mut open = looks.iter().filter(|(_, look)| !look.done[usize::from(rank)]);
    open.find(|(number, _)| is_after(&number.0)).map(|(number, _)| number.0.clone())
}

fn open_numbers<'l>(
    looks: &'l BTreeMap<NumberKey, Look>,
    rank: u8,
    tenant: &'l TenantId,
) -> impl Iterator<Item = &'l NumberKey> {
    looks
        .iter()
        .filter(move |(number, look)| number.0 == *tenant && !look.done[usize::from(rank)])
        .map(|(number, _)| number)
}

/// Looks at the first entry of a queue. `None`: it could be granted, but not in this turn.
fn step(
    stage: &SendStage,
    ctx: &mut Ctx<'_, '_>,
    number: &NumberKey,
    standing: &mut Standing,
    common: &mut Common,
    lane: Lane,
    can_grant: bool,
) -> Option<Step> {
    let now = ctx.now();
    let entry = match due(ctx, number, standing, common, lane) {
        Ok(entry) => entry,
        Err(step) => return Some(step),
    };
    let message_id = entry.3;
    let Some((message, work)) = waiting(ctx, message_id) else {
        // Every way out of `Waiting` takes the entry with it, so this never happens; and if it
        // did, it must not happen for ever.
        ctx.delete(&QUEUE, &entry);
        return Some(Step::Gone);
    };
    ctx.set_trace(message.trace.clone());
    if work.dispatch.valid_until <= now {
        ending::expire(ctx, message_id, message);
        return Some(Step::Gone);
    }
    let Owner::Active { credential, .. } = &standing.owner else {
        ending::refuse_number(ctx, message_id, message);
        return Some(Step::Gone);
    };
    let credential = credential.clone();
    let Some((message, work)) = lacks_nothing(ctx, number, entry, message, work) else {
        return Some(Step::Gone);
    };
    if let Some(at) = budget::stands_until(ctx, &work) {
        return Some(Step::LaneDone(Some(at)));
    }
    if !can_grant {
        return None;
    }
    let pace = standing.pace(common, now);
    common.debit(ctx, standing, &work);
    pair::debit(ctx, number, &work.dispatch.contact_hash);
    intent::commit(stage, ctx, message_id, message, credential, pace);
    Some(Step::Granted)
}

/// The first entry of a queue if it is due and its number may call; otherwise what that means.
fn due(
    ctx: &mut Ctx<'_, '_>,
    number: &NumberKey,
    standing: &mut Standing,
    common: &mut Common,
    lane: Lane,
) -> Result<QueueKey, Step> {
    let now = ctx.now();
    // The control change that switches the tenant on looks at the queue again; meanwhile each
    // message's own timer ends it at `valid_until`.
    if matches!(standing.owner, Owner::Inactive) {
        return Err(Step::NumberDone(None));
    }
    let rank = usize::from(lane_rank(lane));
    let Some(entry) = inbox::head(ctx, number, lane, standing.row.heads[rank]) else {
        standing.row.heads[rank] = now;
        return Err(Step::LaneDone(None));
    };
    standing.row.heads[rank] = entry.2;
    if entry.2 > now {
        return Err(Step::LaneDone(Some(entry.2)));
    }
    // Asked before the message is read: a busy number has no token at most looks. Who may not be
    // called at all is found out below.
    if let Owner::Active { .. } = standing.owner {
        match standing.may_call(common, &tenant_state(ctx, &number.0), now) {
            May::Wait(at) => return Err(Step::NumberDone(Some(at))),
            May::Never => return Err(Step::NumberDone(None)),
            May::Call => {}
        }
    }
    if let Some(at) = standing.bulk_held_until(lane, now) {
        return Err(Step::LaneDone(Some(at)));
    }
    Ok(entry)
}

/// The message, if nothing of its own stands against a call; otherwise it is out of the queue.
fn lacks_nothing(
    ctx: &mut Ctx<'_, '_>,
    number: &NumberKey,
    entry: QueueKey,
    message: Message,
    work: Work,
) -> Option<(Message, Work)> {
    if let Some(breach) = recheck::breach(ctx, &work) {
        recheck::keep_back(ctx, entry, message, work, breach);
        return None;
    }
    if let Some((id, until)) = paused(ctx, &work) {
        ctx.count("sendplane_parked_total", "switch");
        inbox::park(ctx, entry, message, Resource::Switch(id), until);
        return None;
    }
    if let Some((resource, until)) = template::suspended(ctx, &work) {
        ctx.count("sendplane_parked_total", "template");
        inbox::park(ctx, entry, message, resource, until);
        return None;
    }
    let pair_at = pair::earliest(ctx, number, &work.dispatch.contact_hash);
    if pair_at > ctx.now() {
        park_for_pair(ctx, entry, message, &work, pair_at);
        return None;
    }
    if let Some((resource, until)) = portfolio::lacks_room(ctx, &work) {
        ctx.count("sendplane_parked_total", "portfolio");
        inbox::park(ctx, entry, message, resource, until);
        return None;
    }
    Some((message, work))
}

fn waiting(ctx: &mut Ctx<'_, '_>, message_id: MessageId) -> Option<(Message, Work)> {
    let message = ctx.get(&MESSAGES, &message_id)?;
    let State::Waiting { work, .. } = &message.state else { return None };
    let work = work.clone();
    Some((message, work))
}

/// The switch that holds the message, and until when.
fn paused(ctx: &Ctx<'_, '_>, work: &Work) -> Option<(String, Timestamp)> {
    let subject = Subject { dispatch: &work.dispatch, lane: work.lane };
    let switch = ctx.globals().switches().holding(subject, ctx.now())?;
    Some((switch.id.clone(), switch.expires_at))
}

fn park_for_pair(
    ctx: &mut Ctx<'_, '_>,
    entry: QueueKey,
    message: Message,
    work: &Work,
    at: Timestamp,
) {
    let (number, contact) = (message.number(), &work.dispatch.contact_hash);
    pair::joined(ctx, &number, contact);
    let resource = Resource::Pair(number.0, number.1, contact.clone());
    ctx.count("sendplane_parked_total", "pair");
    inbox::park(ctx, entry, message, resource, at);
}

impl Look {
    /// A lane that an operator has paused as a whole is done before it begins: its messages stay
    /// where they are, and the number looks again when the pause is over.
    fn begin(stage: &SendStage, ctx: &mut Ctx<'_, '_>, number: &NumberKey) -> Self {
        let standing = Standing::read(stage, ctx, number);
        let mut look = Look { standing, wake: None, done: [false; 2] };
        for lane in LANES {
            let switches = ctx.globals().switches();
            if let Some(switch) = switches.holding_lane(&number.0, &number.1, lane, ctx.now()) {
                look.finish(&[lane], Some(switch.expires_at));
            }
        }
        look
    }

    /// Takes note of what came of looking at a lane.
    fn close(&mut self, lane: Lane, step: Step) {
        match step {
            Step::Granted | Step::Gone => {}
            Step::LaneDone(at) => self.finish(&[lane], at),
            Step::NumberDone(at) => self.finish(&LANES, at),
        }
    }

    fn finish(&mut self, lanes: &[Lane], at: Option<Timestamp>) {
        for lane in lanes {
            self.done[usize::from(lane_rank(*lane))] = true;
        }
        self.wake = match (self.wake, at) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
}

/// Writes what changed. A number that is not done stays ready.
fn close(ctx: &mut Ctx<'_, '_>, number: &NumberKey, look: Look) {
    let Look { standing, wake, done } = look;
    let Standing { mut row, before, .. } = standing;
    let is_done = done == [true; 2];
    row.wake = if is_done { wake } else { None };
    let wake_before = before.as_ref().and_then(|before| before.wake);
    // Stored even when nothing was used: a control change finds waiting numbers by their rows.
    if before.as_ref() != Some(&row) {
        ctx.put(&NUMBERS, number, &row);
    }
    if row.wake != wake_before {
        match row.wake {
            Some(at) => {
                let timer = Timer::Number(number.0.clone(), number.1.clone());
                ctx.schedule(number_timer(number), at, &timer);
            }
            None => ctx.cancel(&number_timer(number)),
        }
    }
    if is_done {
        ctx.delete(&READY, number);
    }
}
