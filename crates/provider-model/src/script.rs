//! Which updates an accepted message gets, and when.

use crate::config::{Delays, MsRange};
use crate::magic::Script;
use crate::rng::Rng;

/// What a webhook reports.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Update {
    /// A status of an accepted message.
    Status { message: u64, status: &'static str, code: Option<i64>, priced: bool },
    /// A text from a customer. `counted`: limits and service window know of it already.
    Text { from: String, id: Option<String>, name: Option<String>, text: String, counted: bool },
    /// A marketing preference of a customer.
    Preference { from: String, stop: bool, counted: bool },
    /// A status given by hand.
    RawStatus { status: serde_json::Value },
    /// A change of any other field, or of a whole account.
    RawChange { waba_id: String, field: String, value: serde_json::Value },
}

/// An update with its time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Planned {
    /// When the webhook is due, Unix milliseconds.
    pub(crate) due_ms: i64,
    /// When the event happened: the timestamp inside.
    pub(crate) at_ms: i64,
    pub(crate) update: Update,
}

/// How far apart repeated copies, and updates in a wrong order, are.
const STEP_MS: i64 = 300;

/// When the events of one message happen.
struct Moments {
    accepted: i64,
    sent: i64,
    delivered: i64,
    read: i64,
    /// Failure as the only status, after sent, after delivered.
    failed: [i64; 3],
    /// How long a held message waits.
    held: i64,
    /// Whether `sent`, and what follows it, carry a price.
    priced: [bool; 2],
}

impl Moments {
    fn draw(delays: &Delays, rng: &mut Rng, accepted: i64) -> Self {
        let mut after = |at: i64, range: MsRange| at + range.draw(rng) as i64;
        let sent = after(accepted, delays.sent_ms);
        let delivered = after(sent, delays.delivered_ms);
        let read = after(delivered, delays.read_ms);
        let failed = [accepted, sent, delivered].map(|at| after(at, delays.failed_ms));
        let held = after(0, delays.held_ms);
        // Meta prices on `sent` or on delivered/read, not both reliably; here never on neither.
        let priced = [[true, false], [false, true], [true, true]][rng.between(0, 2) as usize];
        Self { accepted, sent, delivered, read, failed, held, priced }
    }
}

/// A status with the time of its webhook and the time inside it.
type Step = (i64, i64, &'static str);

/// The updates of the message `message` (ledger position) to `to`, accepted at `now_ms`.
pub(crate) fn plan(
    script: Script,
    delays: &Delays,
    rng: &mut Rng,
    now_ms: i64,
    message: u64,
    to: &str,
) -> Vec<Planned> {
    let moments = Moments::draw(delays, rng, now_ms);
    let mut planned: Vec<Planned> = steps(script, &moments)
        .into_iter()
        .map(|(due_ms, at_ms, status)| {
            let priced = moments.priced[usize::from(status != "sent")];
            let update = Update::Status { message, status, code: None, priced };
            Planned { due_ms, at_ms, update }
        })
        .collect();
    if let Some((at_ms, code)) = failure(script, &moments) {
        let update = Update::Status { message, status: "failed", code, priced: false };
        planned.push(Planned { due_ms: at_ms, at_ms, update });
    }
    if let Some(update) = reaction(script, to) {
        let at_ms = moments.read + 1_000;
        planned.push(Planned { due_ms: at_ms, at_ms, update });
    }
    planned
}

fn steps(script: Script, m: &Moments) -> Vec<Step> {
    let ordinary = [(m.sent, "sent"), (m.delivered, "delivered"), (m.read, "read")];
    let shifted = |by: i64| ordinary.map(|(at, status)| (at + by, at, status)).to_vec();
    let held = |ms: Option<u64>| {
        let by = ms.map_or(m.held, |ms| ms as i64);
        ordinary.map(|(at, status)| (at + by, at + by, status)).to_vec()
    };
    match script {
        Script::Read | Script::ThenStopMessage | Script::ThenStopPreference => shifted(0),
        Script::Delivered | Script::DeliveredThenFailed(_) => shifted(0)[..2].to_vec(),
        Script::Sent | Script::SentThenFailed(_) => shifted(0)[..1].to_vec(),
        Script::Silent
        | Script::Failed(_)
        | Script::FailedWithoutErrors
        | Script::HeldThenDropped(_) => Vec::new(),
        Script::DeliveredBeforeSent => vec![
            (m.delivered, m.delivered, "delivered"),
            (m.delivered + STEP_MS, m.sent, "sent"),
            (m.read + 2 * STEP_MS, m.read, "read"),
        ],
        Script::Reversed => vec![
            (m.read, m.read, "read"),
            (m.read + STEP_MS, m.delivered, "delivered"),
            (m.read + 2 * STEP_MS, m.sent, "sent"),
        ],
        Script::ReadWithoutDelivered => vec![(m.sent, m.sent, "sent"), (m.read, m.read, "read")],
        Script::Repeated(times) => {
            (0..i64::from(times)).flat_map(|copy| shifted(copy * STEP_MS)).collect()
        }
        Script::Late(by_ms) => shifted(by_ms as i64),
        Script::BeforeAnswer => vec![
            (m.accepted, m.accepted, "sent"),
            (m.delivered, m.delivered, "delivered"),
            (m.read, m.read, "read"),
        ],
        Script::Offline(ms) => {
            let back = m.accepted + ms as i64;
            let read = m.read - m.delivered;
            vec![
                (m.sent, m.sent, "sent"),
                (back, back, "delivered"),
                (back + read, back + read, "read"),
            ]
        }
        Script::HeldThenSent(ms) => held(ms),
    }
}

fn failure(script: Script, m: &Moments) -> Option<(i64, Option<i64>)> {
    match script {
        Script::Failed(code) => Some((m.failed[0], Some(code))),
        Script::FailedWithoutErrors => Some((m.failed[0], None)),
        Script::SentThenFailed(code) => Some((m.failed[1], Some(code))),
        Script::DeliveredThenFailed(code) => Some((m.failed[2], Some(code))),
        Script::HeldThenDropped(ms) => {
            Some((m.accepted + ms.map_or(m.held, |ms| ms as i64), Some(132_015)))
        }
        Script::Read
        | Script::Delivered
        | Script::Sent
        | Script::Silent
        | Script::DeliveredBeforeSent
        | Script::Reversed
        | Script::ReadWithoutDelivered
        | Script::Repeated(_)
        | Script::Late(_)
        | Script::BeforeAnswer
        | Script::Offline(_)
        | Script::HeldThenSent(_)
        | Script::ThenStopMessage
        | Script::ThenStopPreference => None,
    }
}

fn reaction(script: Script, to: &str) -> Option<Update> {
    let from = to.to_owned();
    if script == Script::ThenStopPreference {
        return Some(Update::Preference { from, stop: true, counted: false });
    }
    let stop = Update::Text { from, id: None, name: None, text: "STOP".to_owned(), counted: false };
    (script == Script::ThenStopMessage).then_some(stop)
}
