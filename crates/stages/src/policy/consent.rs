//! Who may be written to.
//!
//! Two scopes, each with its own latest decision of the person:
//!
//! - a withdrawal of `MARKETING` blocks marketing only;
//! - a withdrawal of `ALL` blocks every category, authentication included.
//!
//! The scopes do not overwrite each other. A grant of `ALL` does not lift a withdrawal of
//! `MARKETING`, nor the reverse: whoever said "no marketing" has to take exactly that back.
//!
//! The later decision of a scope wins, whatever order the changes arrive in; of two at one time the
//! withdrawal. So the flags do not depend on the order of arrival, and a repetition changes nothing.

use std::time::Duration;

use sendplane_domain::e164::E164;
use sendplane_domain::id::TenantId;
use sendplane_domain::shard::ShardKey;
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::{Context, RecordMeta, Table, TableKey, TableValue};
use sendplane_wire::record::{ConsentChange, ConsentScope, ConsentState, Suppression};
use serde::{Deserialize, Serialize};

use super::{Output, Policy};

/// Consent by contact. Owner: policy. Retention: none, a withdrawal has no end.
pub const CONSENT: Table<ContactKey, Consent> = Table::new(0x0100, "consent");

/// Dead-letter code of a change that cannot be used.
pub(super) const CONSENT_INVALID: &str = "consent_invalid";

/// How far ahead of us the clock of a system that collects consent may be.
const FUTURE_MAX: Duration = Duration::from_secs(300);

const CHANGES: &str = "sendplane_consent_changes_total";

/// A person, as one tenant knows them. The number stands in the store in clear and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContactKey {
    tenant: TenantId,
    recipient: E164,
}

impl ContactKey {
    /// The contact of `tenant` with this number.
    pub fn new(tenant: TenantId, recipient: E164) -> Self {
        Self { tenant, recipient }
    }
}

impl TableKey for ContactKey {
    fn encode(&self, out: &mut Vec<u8>) {
        self.tenant.encode(out);
        self.recipient.as_str().to_owned().encode(out);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let tenant = TenantId::decode(bytes)?;
        let recipient = E164::parse(&String::decode(bytes)?).ok()?;
        Some(Self { tenant, recipient })
    }
}

/// What a contact agreed to. The default is a contact nobody told us anything about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// Rises by one whenever a scope is withdrawn or given back. Every dispatch carries it.
    pub consent_seq: u64,
    /// Marketing only.
    pub marketing: ScopeConsent,
    /// Every message.
    pub all: ScopeConsent,
}

impl TableValue for Consent {}

/// The latest decision about one scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScopeConsent {
    /// When the person decided; `None` if nobody told us.
    pub changed_at: Option<Timestamp>,
    /// Whether that decision was a withdrawal.
    pub is_withdrawn: bool,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The scope is withdrawn or given back.
    Effective,
    /// Newer than what was known, and the same decision; or a repetition.
    Unchanged,
    /// Older than what is known.
    OutOfOrder,
}

/// The scopes of this release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Marketing only.
    Marketing,
    /// Every message.
    All,
}

impl Consent {
    /// Takes a decision of the person in.
    pub fn change(&mut self, scope: Scope, is_withdrawn: bool, changed_at: Timestamp) -> Applied {
        let slot = match scope {
            Scope::Marketing => &mut self.marketing,
            Scope::All => &mut self.all,
        };
        let known = (slot.changed_at, slot.is_withdrawn);
        let new = (Some(changed_at), is_withdrawn);
        if new < known {
            return Applied::OutOfOrder;
        }
        let is_effective = slot.is_withdrawn != is_withdrawn;
        *slot = ScopeConsent { changed_at: Some(changed_at), is_withdrawn };
        self.consent_seq += u64::from(is_effective);
        if is_effective { Applied::Effective } else { Applied::Unchanged }
    }
}

/// A field of a change that cannot be used, and how to mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fault {
    field: &'static str,
    fix: &'static str,
}

const SCOPE_UNKNOWN: Fault = Fault {
    field: "scope",
    fix: "not a scope this release knows; a withdrawal was applied as ALL, a grant not at all: \
          upgrade policy, then replay",
};
const STATE_UNKNOWN: Fault = Fault {
    field: "state",
    fix: "not a state this release knows, applied as WITHDRAWN: upgrade policy, then replay",
};
const GRANT_IN_FUTURE: Fault = Fault {
    field: "changed_at",
    fix: "more than 5 minutes in the future; it would outrank every later withdrawal: correct the \
          producer's clock or unit (milliseconds) and produce the change again",
};

/// Takes a change in. An effective one is told to send, for what is released already (I11).
pub(super) fn apply(
    stage: &Policy,
    change: &ConsentChange,
    meta: &RecordMeta,
    ctx: &mut Context<'_, '_, Policy>,
) {
    let owner = ShardKey::of(change.tenant.clone()).partition(ctx.partitions());
    if owner != ctx.partition() {
        let (at, of) = (meta.partition, ctx.partitions());
        let fix = format!(
            "key: the tenant belongs to partition {owner} of {of}, the record is in {at}; produce \
             with the tenant as key and the murmur2 partitioner"
        );
        return ctx.dead_letter(CONSENT_INVALID, fix);
    }
    let recipient = match E164::parse(&change.recipient) {
        Ok(recipient) => recipient,
        Err(fault) => {
            return ctx.dead_letter(CONSENT_INVALID, format!("recipient: {fault}; correct it"));
        }
    };
    let (decided, fault) = read(change, ctx.now());
    if let Some((scope, is_withdrawn)) = decided {
        let contact = ContactKey::new(change.tenant.clone(), recipient);
        let mut consent = ctx.get(&CONSENT, &contact).unwrap_or_default();
        let before = consent.clone();
        // A time ahead of ours would outrank what the person decides next.
        let changed_at = change.changed_at.min(ctx.now());
        let applied = consent.change(scope, is_withdrawn, changed_at);
        if consent != before {
            ctx.put(&CONSENT, &contact, &consent);
        }
        let label = match applied {
            Applied::Effective => {
                let row = suppression(stage, &contact, &consent, changed_at, ctx.now());
                ctx.emit(Output::Suppression(Box::new(row)));
                "effective"
            }
            Applied::Unchanged => "unchanged",
            Applied::OutOfOrder => "out_of_order",
        };
        ctx.count(CHANGES, label);
    }
    if let Some(Fault { field, fix }) = fault {
        ctx.dead_letter(CONSENT_INVALID, format!("{field}: {fix}"));
    }
}

/// The contact's consent as send is told of it.
fn suppression(
    stage: &Policy,
    contact: &ContactKey,
    consent: &Consent,
    changed_at: Timestamp,
    now: Timestamp,
) -> Suppression {
    Suppression {
        tenant: contact.tenant.clone(),
        contact_hash: stage.settings.hash_key.contact(&contact.recipient),
        consent_seq: i64::try_from(consent.consent_seq).unwrap_or(i64::MAX),
        marketing_withdrawn: consent.marketing.is_withdrawn,
        all_withdrawn: consent.all.is_withdrawn,
        changed_at,
        published_at: now,
    }
}

/// What the person decided, as far as it can be told, and what is wrong with the record. What
/// cannot be read is read against sending, as the schema promises, and shown to somebody.
fn read(change: &ConsentChange, now: Timestamp) -> (Option<(Scope, bool)>, Option<Fault>) {
    let scope = match change.scope {
        ConsentScope::Unknown => None,
        ConsentScope::Marketing => Some(Scope::Marketing),
        ConsentScope::All => Some(Scope::All),
    };
    let scope_fault = scope.is_none().then_some(SCOPE_UNKNOWN);
    match change.state {
        ConsentState::Withdrawn => (Some((scope.unwrap_or(Scope::All), true)), scope_fault),
        ConsentState::Unknown => (Some((scope.unwrap_or(Scope::All), true)), Some(STATE_UNKNOWN)),
        ConsentState::Granted if change.changed_at > now + FUTURE_MAX => {
            (None, Some(GRANT_IN_FUTURE))
        }
        ConsentState::Granted => (scope.map(|scope| (scope, false)), scope_fault),
    }
}
