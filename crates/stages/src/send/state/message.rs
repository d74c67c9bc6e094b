//! The row of a message.

use std::collections::BTreeMap;

use sendplane_domain::e164::E164;
use sendplane_domain::id::{KeyedHash, PhoneNumberId, TemplateName, TenantId};
use sendplane_domain::lane::Lane;
use sendplane_domain::provider_code::CodeClass;
use sendplane_domain::time::Timestamp;
use sendplane_domain::trace::TraceContext;
use sendplane_stage_api::TableValue;
use sendplane_wire::cloud_api::Route;
use sendplane_wire::record::Dispatch;
use serde::{Deserialize, Serialize};

use super::{NumberKey, Resource};
use crate::directory::TemplateKey;

/// What a row and its entries take beside the texts of the message, roughly.
const OVERHEAD_BYTES: usize = 600;

/// A message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::send) struct Message {
    pub tenant: TenantId,
    pub phone_number_id: PhoneNumberId,
    pub trace: TraceContext,
    /// Number of the newest attempt; 0 before the first.
    pub attempt: u32,
    /// Hashes of all wamids heard of, by answer or webhook. A second one is a duplicate send.
    pub wamids: Vec<KeyedHash>,
    pub state: State,
    /// The decision under which it is here; a dispatch of a higher one replaces it.
    pub decision_seq: u32,
    /// When the newest call was granted; zero before the first.
    pub granted_at: Timestamp,
    /// Calls made once more after a doubt that silence ended.
    pub resends: u32,
    /// Whom a marketing message is for: the provider may say, also long after the content is
    /// forgotten, that this person stopped marketing. Taken when that is published.
    pub opt_out_of: Option<E164>,
    /// The template it is or was sent with: webhooks speak of it after the content is forgotten. So
    /// of the lane.
    pub template_name: TemplateName,
    pub template_language: String,
    pub lane: Lane,
}

/// The stored form of a message contains the dispatch record as it is: a change of that record is a
/// change of this format too, and a test with stored bytes says so.
impl TableValue for Message {
    /// 2 knows [`State::Parked`]. 3 knows decisions after the first, re-sends, a dispatch that can
    /// be given back, and whom an opt-out would be of. 4 knows the template and the lane.
    const VERSION: u16 = 4;
}

/// Where a message stands. Append-only: stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::send) enum State {
    /// In the queue. Its timer stands at `valid_until`.
    Waiting { work: Work, not_before: Timestamp },
    /// The intent of [`Message::attempt`] is committed. Its timer ends the wait for the answer.
    Submitting { work: Work, granted_at: Timestamp },
    /// Nobody knows whether [`Message::attempt`] was accepted. Its timer ends the doubt.
    InDoubt { work: Work, until: Timestamp, doubt: Doubt },
    /// Nothing more is done, and the content is forgotten. Its timer deletes the row.
    Settled {
        end: End,
        /// A webhook was faster than the answer of the newest attempt.
        awaits_answer: bool,
    },
    /// Out of the queue until `resource` is there again; then it goes back to its place. Its timer
    /// stands at `valid_until`.
    Parked { work: Work, not_before: Timestamp, resource: Resource },
}

/// What is known of a doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::send) struct Doubt {
    /// When the doubt window ends. It may be looked at later too.
    pub window_end: Timestamp,
    /// When enough later messages had been heard of, as far as anybody has looked.
    pub heard_at: Option<Timestamp>,
}

/// What a message needs as long as a call may follow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::send) struct Work {
    pub dispatch: Box<Dispatch>,
    pub lane: Lane,
    /// Failures by class: only those of a class move its schedule on.
    pub failures: BTreeMap<CodeClass, u32>,
    /// The endpoint of the newest call; of the next one too, once [`Self::rerouted`].
    pub route: Route,
    /// Meta refused the message at one endpoint and it goes to the other: that happens once.
    pub rerouted: bool,
}

/// How a message ended here. Append-only: stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::send) enum End {
    Accepted,
    Rejected,
    DeadLettered,
    Expired,
    /// The doubt window ended without evidence.
    Unknown,
    /// Withdrawn before a call.
    Cancelled,
    /// Given back to policy; a dispatch of the next decision opens it again.
    GivenBack,
}

impl Message {
    /// A message nobody has called yet. It stands nowhere before it is put into the queue.
    pub fn new(work: &Work, trace: &TraceContext) -> Self {
        Self {
            tenant: work.dispatch.tenant.clone(),
            phone_number_id: work.dispatch.phone_number_id.clone(),
            trace: trace.clone(),
            attempt: 0,
            wamids: Vec::new(),
            decision_seq: work.decision_seq(),
            granted_at: Timestamp::default(),
            resends: 0,
            opt_out_of: work.opt_out_of(),
            template_name: work.dispatch.template_name.clone(),
            template_language: work.dispatch.template_language.clone(),
            lane: work.lane,
            state: State::Settled { end: End::Expired, awaits_answer: false },
        }
    }

    /// Goes on under the decision that released `work`.
    pub fn adopt(&mut self, work: &Work) {
        self.phone_number_id = work.dispatch.phone_number_id.clone();
        self.decision_seq = work.decision_seq();
        self.opt_out_of = work.opt_out_of();
        self.template_name = work.dispatch.template_name.clone();
        self.template_language = work.dispatch.template_language.clone();
        self.lane = work.lane;
    }

    pub fn number(&self) -> NumberKey {
        (self.tenant.clone(), self.phone_number_id.clone())
    }

    pub fn template(&self) -> TemplateKey {
        TemplateKey::new(&self.tenant, &self.template_name, &self.template_language)
    }

    /// Remembers a wamid; false if it was known.
    pub fn hear_of(&mut self, wamid_hash: &KeyedHash) -> bool {
        let is_new = !self.wamids.contains(wamid_hash);
        if is_new {
            self.wamids.push(wamid_hash.clone());
        }
        is_new
    }
}

impl Work {
    /// A message that has not failed yet, or is given new retries.
    pub fn of(dispatch: Box<Dispatch>, lane: Lane) -> Self {
        Self { dispatch, lane, failures: BTreeMap::new(), route: Route::default(), rerouted: false }
    }

    pub fn template(&self) -> TemplateKey {
        TemplateKey::of_dispatch(&self.dispatch)
    }

    /// The decision that released it.
    pub fn decision_seq(&self) -> u32 {
        u32::try_from(self.dispatch.decision_seq).unwrap_or(1).max(1)
    }

    fn opt_out_of(&self) -> Option<E164> {
        (self.dispatch.category == "marketing").then(|| self.dispatch.recipient.clone())
    }

    /// About how much of the disk budget it takes. The same whenever it is asked.
    pub fn bytes(&self) -> u64 {
        let texts: usize = self.dispatch.parameters.iter().map(|one| one.value.len() + 16).sum();
        (OVERHEAD_BYTES + texts) as u64
    }
}
