//! When silence is evidence: a doubted call may be made once more only if a webhook of it would
//! have been heard (I5).
//!
//! A call granted at `from` was not accepted, as far as anyone can prove, if all of this holds:
//!
//! | condition | else |
//! |---|---|
//! | no webhook spoke of the message until `to`, the end of the doubt window or later | it is settled by it |
//! | a webhook of the same account that arrived well after `to` was processed, so everything that arrived before was | [`NoProof::Arrivals`] |
//! | every webhook of the account since `from` was used by ingest | [`NoProof::Unused`] |
//! | webhooks came of three or more messages of the same number called after `from`, known in the first half of the time from `from` to `to` or at the first look | [`NoProof::Witnesses`] |
//! | one gateway at least served from `from` to `to`, and the account of each that may have served is complete up to `to` | [`NoProof::Gateways`] |
//! | no gateway had a gap between `from` and `to` | [`NoProof::Gap`] |
//!
//! A number with little traffic has its proof late: the next arrival, or the third witness, comes
//! after the first look. So a doubt is looked at again, each time twice as long after its window,
//! until the message's end or until gateways forget the time ([`GAPS_KEPT`]); a gap or an unused
//! webhook ends it at once. Time makes the conditions no weaker. What arrives later only completes
//! what is known of the same window. Witnesses that come later show that the path is whole now, not
//! that it was: of a fault in front of the gateways, which no account shows, the webhook that is
//! waited for may still be under way, repeated at growing distances. So `to` moves on until as much
//! time has passed after the witnesses as before them, and all conditions are asked of the longer
//! window.
//!
//! | table | one row for |
//! |---|---|
//! | `webhook_paths` | every account of a tenant of which a webhook came |
//! | `witnesses` | every number of which one came |

use std::time::Duration;

use sendplane_domain::id::{MessageId, TenantId};
use sendplane_domain::limits::{CLOCK_SKEW_MAX, WEBHOOK_APPEND_MAX};
use sendplane_domain::path_health::GAPS_KEPT;
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::{Table, TableValue};
use sendplane_wire::record::{Dispatch, Feedback, GatewayStatus};
use serde::{Deserialize, Serialize};

use super::state::{Doubt, Message, NumberKey};
use super::{Ctx, SendStage};

/// How long after the end of the doubt window it is judged first: arrivals after the window and the
/// next account of every gateway must have had time to come. At most as long as the window itself, so
/// that a short one, as tests set it, stays short; then there is no time for a proof either.
pub(super) const SLACK: Duration = Duration::from_secs(60);

/// Messages of which a webhook must have come.
const WITNESSES_NEEDED: usize = 3;

/// An account that some webhook of shows in another account's body: not even its later bodies need
/// be in order with the one that is waited for.
const ASTRAY_FOR: Duration = Duration::from_secs(24 * 3600);

const PATHS: Table<(TenantId, String), Path> = Table::new(0x0120, "webhook_paths");

/// What is known of the number's newest calls that were heard of.
pub const WITNESSES: Table<NumberKey, Witnesses> = Table::new(0x0121, "witnesses");

/// How far the webhooks of an account were processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Path {
    /// The latest arrival that was processed.
    arrived_at: Timestamp,
    /// Since when all of them were used.
    whole_since: Timestamp,
}

impl TableValue for Path {}

/// The newest calls of a number of which a webhook came, newest first, a message once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witnesses(pub Vec<(Timestamp, MessageId)>);

impl TableValue for Witnesses {}

impl Witnesses {
    /// Adds a call; false if it changes nothing.
    fn hear(&mut self, granted_at: Timestamp, message_id: MessageId) -> bool {
        let known = self.0.iter().position(|(_, known)| *known == message_id);
        match known {
            Some(index) if self.0[index].0 >= granted_at => return false,
            Some(index) => drop(self.0.remove(index)),
            None => {}
        }
        let place = self.0.partition_point(|(known, _)| *known >= granted_at);
        self.0.insert(place, (granted_at, message_id));
        self.0.truncate(WITNESSES_NEEDED);
        place < WITNESSES_NEEDED
    }

    fn after(&self, from: Timestamp) -> usize {
        self.0.iter().filter(|(granted_at, _)| *granted_at > from).count()
    }
}

/// Why silence proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoProof {
    Arrivals,
    Unused,
    Witnesses,
    Gateways,
    Gap,
}

impl NoProof {
    /// Whether it can never be proven any more.
    pub fn is_final(self) -> bool {
        match self {
            NoProof::Unused | NoProof::Gap => true,
            NoProof::Arrivals | NoProof::Witnesses | NoProof::Gateways => false,
        }
    }

    /// Label of `sendplane_doubts_ended_total`.
    pub fn label(self) -> &'static str {
        match self {
            NoProof::Arrivals => "no_proof_arrivals",
            NoProof::Unused => "no_proof_unused",
            NoProof::Witnesses => "no_proof_witnesses",
            NoProof::Gateways => "no_proof_gateways",
            NoProof::Gap => "no_proof_gap",
        }
    }
}

/// The time over which silence is judged, by the clock of this stage, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    from: Timestamp,
    to: Timestamp,
}

/// A webhook came: how far its account is processed, and that its number is heard.
pub(super) fn witness(ctx: &mut Ctx<'_, '_>, feedback: &Feedback, message: Option<&Message>) {
    let (tenant, number) = (&feedback.tenant, &feedback.phone_number_id);
    if let Some(owned) = ctx.globals().number(tenant, number) {
        let key = (tenant.clone(), owned.waba_id.clone());
        let since = feedback.path_whole_since.filter(|_| owned.waba_id == feedback.waba_id);
        let known = ctx.get(&PATHS, &key);
        let path = joined(known, feedback.received_at, since);
        if known != Some(path) {
            ctx.put(&PATHS, &key, &path);
        }
    }
    // A webhook of an earlier attempt says nothing of when the newest was granted.
    let newest = message.filter(|message| {
        u32::try_from(feedback.attempt) == Ok(message.attempt)
            && message.phone_number_id == *number
            && message.tenant == *tenant
    });
    if let Some(message) = newest {
        let key = message.number();
        let mut witnesses = ctx.get(&WITNESSES, &key).unwrap_or_default();
        if witnesses.hear(message.granted_at, feedback.message_id) {
            ctx.put(&WITNESSES, &key, &witnesses);
        }
    }
}

/// The path after an arrival; `since` is `None` for one that lay among another account's.
fn joined(known: Option<Path>, received_at: Timestamp, since: Option<Timestamp>) -> Path {
    let whole_since = since.unwrap_or(received_at + ASTRAY_FOR);
    match known {
        None => Path { arrived_at: received_at, whole_since },
        Some(path) => Path {
            // What lay elsewhere says nothing about the order of this account's own bodies.
            arrived_at: match since {
                Some(_) => path.arrived_at.max(received_at),
                None => path.arrived_at,
            },
            whole_since: path.whole_since.max(whole_since),
        },
    }
}

/// Whether nobody can have heard of the call and kept silent. `slack` is how long after its window
/// the doubt is looked at first; what this look shows is added to `doubt`.
pub(super) fn proof(
    ctx: &mut Ctx<'_, '_>,
    message: &Message,
    doubt: &mut Doubt,
    slack: Duration,
) -> Result<(), NoProof> {
    let from = message.granted_at;
    let heard = ctx.get(&WITNESSES, &message.number()).unwrap_or_default();
    if doubt.heard_at.is_none() && heard.after(from) >= WITNESSES_NEEDED {
        doubt.heard_at = Some(ctx.now());
    }
    let to = match doubt.heard_at {
        // The first look may be a little late, the second one is this late.
        Some(at) if at >= doubt.window_end + slack * 2 => from + at.since(from) * 2,
        Some(_) | None => doubt.window_end,
    };
    let window = Window { from: from.minus(CLOCK_SKEW_MAX), to: to + CLOCK_SKEW_MAX };
    let waba_id = match ctx.globals().number(&message.tenant, &message.phone_number_id) {
        Some(owned) => owned.waba_id.clone(),
        None => return Err(NoProof::Arrivals),
    };
    let path = ctx.get(&PATHS, &(message.tenant.clone(), waba_id)).ok_or(NoProof::Arrivals)?;
    // A body is in the log this long after its arrival, or its gateway says that it had a gap.
    if path.arrived_at < window.to + WEBHOOK_APPEND_MAX {
        return Err(NoProof::Arrivals);
    }
    if path.whole_since > window.from {
        return Err(NoProof::Unused);
    }
    if doubt.heard_at.is_none() {
        return Err(NoProof::Witnesses);
    }
    gateways(ctx.globals().gateways(), window)
}

/// Whether every webhook that reached a gateway in the window was taken.
fn gateways<'g>(
    rows: impl Iterator<Item = &'g GatewayStatus>,
    window: Window,
) -> Result<(), NoProof> {
    let mut has_served_throughout = false;
    for row in rows {
        let was_gone = row.is_stopped && row.alive_at < window.from;
        let is_complete = row.is_stopped || row.alive_at >= window.to;
        // Gaps before that are forgotten.
        let remembers = row.alive_at.minus(GAPS_KEPT) <= window.from;
        let is_known = was_gone || is_complete && remembers;
        if !is_known {
            return Err(NoProof::Gateways);
        }
        if row.gaps.iter().any(|gap| gap.since <= window.to && gap.until >= window.from) {
            return Err(NoProof::Gap);
        }
        has_served_throughout |= row.started_at <= window.from && row.alive_at >= window.to;
    }
    if has_served_throughout { Ok(()) } else { Err(NoProof::Gateways) }
}

/// Whether doubts are looked at more than once. A window too short for a proof, as tests set it,
/// stays as short as it is.
pub(super) fn is_looked_at_again(stage: &SendStage) -> bool {
    stage.settings.doubt_window >= SLACK
}

/// When a doubt is looked at again, if `missing` may still come; each time twice as long after its
/// window.
pub(super) fn next_look(
    message: &Message,
    dispatch: &Dispatch,
    doubt: Doubt,
    missing: NoProof,
    now: Timestamp,
) -> Option<Timestamp> {
    let at = now + now.since(doubt.window_end).max(SLACK);
    (!missing.is_final() && at < end(message, dispatch)).then_some(at)
}

/// When nothing can be proven any more or a re-send would come too late.
pub(super) fn end(message: &Message, dispatch: &Dispatch) -> Timestamp {
    dispatch.valid_until.min(message.granted_at + GAPS_KEPT)
}

/// Whether policy lets the message be sent once more, should silence be proven: utility only, once,
/// in time, and only if no attempt of it was accepted.
pub(super) fn may_resend(message: &Message, dispatch: &Dispatch, now: Timestamp) -> bool {
    dispatch.category == "utility"
        && message.resends == 0
        && message.wamids.is_empty()
        && now < dispatch.valid_until
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn id(n: u8) -> MessageId {
        MessageId::from_bytes([n; 16])
    }

    #[test]
    fn witnesses_are_the_newest_calls_of_distinct_messages() {
        let mut heard = Witnesses::default();
        assert!(heard.hear(at(5), id(1)) && heard.hear(at(3), id(2)));
        assert!(!heard.hear(at(5), id(1)), "known");
        assert!(!heard.hear(at(4), id(1)), "older");
        assert_eq!(heard.after(at(2)), 2, "a message counts once");
        assert!(heard.hear(at(9), id(1)) && heard.hear(at(7), id(3)));
        assert!(!heard.hear(at(1), id(4)) && heard.hear(at(8), id(4)));
        assert_eq!(heard.0, [(at(9), id(1)), (at(8), id(4)), (at(7), id(3))]);
        assert_eq!((heard.after(at(7)), heard.after(at(6))), (2, 3));
    }

    #[test]
    fn arrivals_move_on_and_wholeness_only_gets_later() {
        let one = joined(None, at(10), Some(at(3)));
        assert_eq!(one, Path { arrived_at: at(10), whole_since: at(3) });
        let two = joined(Some(one), at(8), Some(at(6)));
        assert_eq!(two, Path { arrived_at: at(10), whole_since: at(6) });
        let astray = joined(Some(two), at(20), None);
        assert_eq!(astray, Path { arrived_at: at(10), whole_since: at(20) + ASTRAY_FOR });
        assert_eq!(joined(Some(astray), at(30), Some(at(6))).whole_since, at(20) + ASTRAY_FOR);
    }
}
