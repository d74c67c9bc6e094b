//! What a request must fulfil, one pure rule after the other. The first that fails decides.

use sendplane_domain::e164::E164;
use sendplane_domain::id::{MessageId, PhoneNumberId};
use sendplane_domain::limits::{CLOCK_SKEW_MAX, DEADLINE_MAX, DEDUP_HORIZON};
use sendplane_domain::time::Timestamp;
use sendplane_wire::record::{RuleResult, SendRequest, Tenant, Verdict};

use super::idempotency::{Taken, content_hash};

/// Stable codes of refusals: `Decision.reason` and a label of metrics.
pub mod reason {
    /// No idempotency key.
    pub const IDEMPOTENCY_KEY_EMPTY: &str = "idempotency_key_empty";
    /// Idempotency key over its bound.
    pub const IDEMPOTENCY_KEY_TOO_LONG: &str = "idempotency_key_too_long";
    /// Created before the deduplication horizon.
    pub const STALE: &str = "stale";
    /// Created later than now.
    pub const CREATED_AT_IN_FUTURE: &str = "created_at_in_future";
    /// The key's holder asks for the same.
    pub const DUPLICATE: &str = "duplicate";
    /// The key's holder asks for something else.
    pub const IDEMPOTENCY_KEY_REUSED: &str = "idempotency_key_reused";
    /// The tenant is switched off.
    pub const TENANT_INACTIVE: &str = "tenant_inactive";
    /// The number is not one of the tenant's.
    pub const PHONE_NUMBER_NOT_OWNED: &str = "phone_number_not_owned";
    /// The recipient is not in E.164 form.
    pub const RECIPIENT_NOT_E164: &str = "recipient_not_e164";
    /// Not a name Meta gives to templates.
    pub const TEMPLATE_NAME_INVALID: &str = "template_name_invalid";
    /// Not a language code.
    pub const TEMPLATE_LANGUAGE_INVALID: &str = "template_language_invalid";
    /// More variables than any template has.
    pub const VARIABLES_TOO_MANY: &str = "variables_too_many";
    /// A variable, or all together, over their bound.
    pub const VARIABLES_TOO_LARGE: &str = "variables_too_large";
    /// A variable without a name.
    pub const VARIABLE_NAME_EMPTY: &str = "variable_name_empty";
    /// Campaign over its bound.
    pub const CAMPAIGN_TOO_LONG: &str = "campaign_too_long";
    /// Order id empty or over its bound.
    pub const ORDER_ID_INVALID: &str = "order_id_invalid";
    /// The deadline is over.
    pub const DEADLINE_PASSED: &str = "deadline_passed";
    /// The deadline is further away than anything may wait.
    pub const DEADLINE_TOO_FAR: &str = "deadline_too_far";
}

/// In characters.
pub(super) const KEY_LEN_MAX: usize = 256;
/// In characters.
pub(super) const CAMPAIGN_LEN_MAX: usize = 256;
/// In characters.
pub(super) const ORDER_ID_LEN_MAX: usize = 256;
/// Meta's bound, in characters.
pub(super) const TEMPLATE_NAME_LEN_MAX: usize = 512;
/// The longest code Meta knows has 5 characters; room for scripts and regions to come.
pub(super) const LANGUAGE_LEN_MAX: usize = 16;
/// Bodies of 1,024 characters hold fewer.
pub(super) const VARIABLES_MAX: usize = 100;
/// In bytes.
pub(super) const VARIABLE_NAME_BYTES_MAX: usize = 128;
/// In bytes; room for a link of 2,000 characters.
pub(super) const VARIABLE_VALUE_BYTES_MAX: usize = 4096;
/// Names and values together, in bytes.
pub(super) const VARIABLES_BYTES_MAX: usize = 64 * 1024;

/// What the rules look at.
pub(super) struct Facts<'f> {
    pub request: &'f SendRequest,
    pub tenant: &'f Tenant,
    pub holder: Option<&'f Taken>,
    pub now: Timestamp,
}

/// Why a request is not admitted.
#[derive(Debug)]
pub(super) struct Refusal {
    pub verdict: Verdict,
    pub reason: &'static str,
    pub detail: String,
    pub duplicate_of: Option<MessageId>,
}

impl Refusal {
    fn new(reason: &'static str, detail: impl Into<String>) -> Self {
        Self { verdict: Verdict::Refuse, reason, detail: detail.into(), duplicate_of: None }
    }
}

/// What a request that passed every rule gets.
#[derive(Debug)]
pub(super) struct Accepted {
    pub recipient: E164,
    pub phone_number_id: PhoneNumberId,
    pub deadline: Timestamp,
}

type Rule = fn(&Facts<'_>) -> Result<(), Refusal>;

/// In this order: who asks and whether it is a repetition comes before what is asked, so that the
/// repetition of an admitted request is a duplicate even when its deadline is over by now.
const RULES: &[(&str, Rule)] = &[
    ("idempotency_key", idempotency_key),
    ("freshness", freshness),
    ("first_of_its_key", first_of_its_key),
    ("tenant_active", tenant_active),
    ("phone_number", |facts| phone_number(facts).map(|_| ())),
    ("recipient", |facts| recipient(facts).map(|_| ())),
    ("template", template),
    ("variables", variables),
    ("campaign", campaign),
    ("order_id", order_id),
    ("deadline", |facts| deadline(facts).map(|_| ())),
];

/// Looks at the rules in order, up to the first that fails.
pub(super) fn judge(facts: &Facts<'_>) -> Result<Accepted, (Refusal, Vec<RuleResult>)> {
    let mut results = Vec::with_capacity(RULES.len());
    for (name, rule) in RULES {
        let outcome = rule(facts);
        results.push(RuleResult {
            rule: (*name).to_owned(),
            passed: outcome.is_ok(),
            detail: outcome.as_ref().err().map(|refusal| refusal.detail.clone()),
        });
        if let Err(refusal) = outcome {
            return Err((refusal, results));
        }
    }
    let accepted = || {
        Ok(Accepted {
            recipient: recipient(facts)?,
            phone_number_id: phone_number(facts)?,
            deadline: deadline(facts)?,
        })
    };
    accepted().map_err(|refusal| (refusal, results))
}

fn idempotency_key(facts: &Facts<'_>) -> Result<(), Refusal> {
    let length = facts.request.idempotency_key.as_str().chars().count();
    if length == 0 {
        let detail = "idempotency_key is empty; give each message a key of its own";
        return Err(Refusal::new(reason::IDEMPOTENCY_KEY_EMPTY, detail));
    }
    if length > KEY_LEN_MAX {
        let detail = format!(
            "idempotency_key has {length} characters, at most {KEY_LEN_MAX} are taken; hash it"
        );
        return Err(Refusal::new(reason::IDEMPOTENCY_KEY_TOO_LONG, detail));
    }
    Ok(())
}

fn freshness(facts: &Facts<'_>) -> Result<(), Refusal> {
    let created_at = facts.request.created_at;
    if created_at < facts.now.minus(DEDUP_HORIZON) {
        let detail = "created_at is more than 30 days ago, so that a repetition could not be told \
                      from a new message; decide again and send a new request";
        return Err(Refusal { verdict: Verdict::Stale, ..Refusal::new(reason::STALE, detail) });
    }
    if created_at > facts.now + CLOCK_SKEW_MAX {
        let detail = format!(
            "created_at is {} ms ahead of our clock; send milliseconds since 1970 in UTC and \
             synchronise the clock",
            created_at.since(facts.now).as_millis()
        );
        return Err(Refusal::new(reason::CREATED_AT_IN_FUTURE, detail));
    }
    Ok(())
}

fn first_of_its_key(facts: &Facts<'_>) -> Result<(), Refusal> {
    let Some(holder) = facts.holder else {
        return Ok(());
    };
    let id = holder.message_id;
    if holder.content_hash == content_hash(facts.request) {
        return Err(Refusal {
            verdict: Verdict::Duplicate,
            duplicate_of: Some(id),
            ..Refusal::new(reason::DUPLICATE, format!("message {id} has the same key and content"))
        });
    }
    let detail = format!(
        "message {id} has the same idempotency_key and other content; give other messages other \
         keys"
    );
    Err(Refusal::new(reason::IDEMPOTENCY_KEY_REUSED, detail))
}

fn tenant_active(facts: &Facts<'_>) -> Result<(), Refusal> {
    if facts.tenant.active {
        return Ok(());
    }
    let detail = "the tenant is not active; set active in its row of the tenants topic";
    Err(Refusal::new(reason::TENANT_INACTIVE, detail))
}

fn phone_number(facts: &Facts<'_>) -> Result<PhoneNumberId, Refusal> {
    let tenant = facts.tenant;
    let number = facts.request.phone_number_id.as_ref().unwrap_or(&tenant.default_phone_number_id);
    if tenant.phone_numbers.iter().any(|owned| owned.phone_number_id == *number) {
        return Ok(number.clone());
    }
    let detail = if facts.request.phone_number_id.is_some() {
        "phone_number_id is not one of the tenant's numbers; leave it out for the default one"
    } else {
        "the tenant's default_phone_number_id is not one of its numbers; mend its row of the \
         tenants topic"
    };
    Err(Refusal::new(reason::PHONE_NUMBER_NOT_OWNED, detail))
}

fn recipient(facts: &Facts<'_>) -> Result<E164, Refusal> {
    E164::parse(&facts.request.recipient)
        .map_err(|fault| Refusal::new(reason::RECIPIENT_NOT_E164, format!("recipient: {fault}")))
}

fn template(facts: &Facts<'_>) -> Result<(), Refusal> {
    let name = facts.request.template_name.as_str();
    let name_byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if name.is_empty() || name.len() > TEMPLATE_NAME_LEN_MAX || !name.bytes().all(name_byte) {
        let detail = format!(
            "template_name must be 1 to {TEMPLATE_NAME_LEN_MAX} of a-z, 0-9 and underscore, as \
             the template is called at Meta"
        );
        return Err(Refusal::new(reason::TEMPLATE_NAME_INVALID, detail));
    }
    let language = facts.request.template_language.as_str();
    let language_byte = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if language.is_empty()
        || language.len() > LANGUAGE_LEN_MAX
        || !language.bytes().all(language_byte)
    {
        let detail = "template_language must be a code as Meta writes it, for example en_US";
        return Err(Refusal::new(reason::TEMPLATE_LANGUAGE_INVALID, detail));
    }
    Ok(())
}

fn variables(facts: &Facts<'_>) -> Result<(), Refusal> {
    let variables = &facts.request.variables;
    if variables.len() > VARIABLES_MAX {
        let detail = format!(
            "variables has {} entries, at most {VARIABLES_MAX} are taken; send only what the \
             template uses",
            variables.len()
        );
        return Err(Refusal::new(reason::VARIABLES_TOO_MANY, detail));
    }
    if variables.contains_key("") {
        let detail = "variables has an entry without a name; positional ones are named 1, 2, …";
        return Err(Refusal::new(reason::VARIABLE_NAME_EMPTY, detail));
    }
    let mut bytes = 0;
    // Neither name nor value is quoted: both may hold personal data.
    for (position, (name, value)) in variables.iter().enumerate() {
        bytes += name.len() + value.len();
        if name.len() > VARIABLE_NAME_BYTES_MAX || value.len() > VARIABLE_VALUE_BYTES_MAX {
            let detail = format!(
                "entry {position} of variables has {} bytes of name and {} of value, at most \
                 {VARIABLE_NAME_BYTES_MAX} and {VARIABLE_VALUE_BYTES_MAX} are taken; shorten it",
                name.len(),
                value.len()
            );
            return Err(Refusal::new(reason::VARIABLES_TOO_LARGE, detail));
        }
    }
    if bytes > VARIABLES_BYTES_MAX {
        let detail = format!(
            "variables has {bytes} bytes, at most {VARIABLES_BYTES_MAX} are taken; shorten values"
        );
        return Err(Refusal::new(reason::VARIABLES_TOO_LARGE, detail));
    }
    Ok(())
}

fn campaign(facts: &Facts<'_>) -> Result<(), Refusal> {
    let length = facts.request.campaign.as_deref().map_or(0, |campaign| campaign.chars().count());
    if length > CAMPAIGN_LEN_MAX {
        let detail = format!(
            "campaign has {length} characters, at most {CAMPAIGN_LEN_MAX} are taken; shorten it"
        );
        return Err(Refusal::new(reason::CAMPAIGN_TOO_LONG, detail));
    }
    Ok(())
}

fn order_id(facts: &Facts<'_>) -> Result<(), Refusal> {
    let Some(order_id) = &facts.request.order_id else { return Ok(()) };
    let length = order_id.chars().count();
    if (1..=ORDER_ID_LEN_MAX).contains(&length) {
        return Ok(());
    }
    let detail = format!(
        "order_id has {length} characters, 1 to {ORDER_ID_LEN_MAX} are taken; shorten it or leave \
         it out"
    );
    Err(Refusal::new(reason::ORDER_ID_INVALID, detail))
}

fn deadline(facts: &Facts<'_>) -> Result<Timestamp, Refusal> {
    let last = facts.request.created_at + DEADLINE_MAX;
    let deadline = facts.request.deadline.unwrap_or(last);
    if deadline > last {
        let detail = "deadline is more than 7 days after created_at; choose an earlier one, or \
                      send the request later";
        return Err(Refusal::new(reason::DEADLINE_TOO_FAR, detail));
    }
    if deadline <= facts.now {
        let detail = if facts.request.deadline.is_some() {
            "deadline is over; nothing is sent after it"
        } else {
            "created_at is more than 7 days ago and there is no deadline, which makes it 7 days \
             after created_at; nothing is sent after it"
        };
        return Err(Refusal::new(reason::DEADLINE_PASSED, detail));
    }
    Ok(deadline)
}
