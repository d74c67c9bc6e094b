//! The classes: what a code asks of the send stage.

use serde::{Deserialize, Serialize};

/// What an error asks of us. Each variant says what send does with the message, and with what lies
/// around it. Stored with the facts of a message: append only, never reorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CodeClass {
    /// The message may have been accepted. Send keeps it in doubt until evidence or silence speaks;
    /// only policy may allow one re-send, and never for marketing or authentication.
    Ambiguous,
    /// A fault of this one message that may pass. Send retries after 5 s, 15 s and 45 s, then dead
    /// letters it.
    RetryMessage,
    /// The provider is unwell. Send holds the number and tries in steps of at most 45 s until the
    /// deadline; no message is blamed.
    ProviderWide,
    /// The phone number's throughput is exceeded. Send cuts the number's rate and queues the
    /// message again.
    ThrottleNumber,
    /// Too much to one recipient from one number. Send parks that pair's sub-queue for 4^n s; other
    /// recipients go on.
    ThrottlePair,
    /// The app's call rate is exceeded, all numbers together. Send slows every number of the app,
    /// by the header `X-App-Usage`.
    ThrottleApp,
    /// The WhatsApp business account's rate is exceeded. Send slows its numbers, by the header
    /// `X-Business-Use-Case-Usage`.
    ThrottleAccount,
    /// The number is restricted for spam. Send stops bulk of the number for hours, alarms, and
    /// tries the message again much later.
    ThrottleSpam,
    /// A template (its flow) is limited to so many messages an hour. Send holds that template.
    ThrottleTemplate,
    /// No free-form message outside the customer window. Send returns the message to policy, which
    /// may choose a template.
    WindowClosed,
    /// The request is wrong and stays wrong. Send rejects the message.
    PermanentRequest,
    /// The recipient cannot be reached. Send rejects the message; policy suppresses the contact for
    /// weeks, not for ever.
    PermanentRecipient,
    /// The user stopped marketing of this business. Send rejects the message and reports the
    /// opt-out.
    RecipientOptedOut,
    /// Meta's cap of marketing per user. Send returns the message to policy, which waits at least
    /// 24 h and longer each time, or suppresses it.
    RecipientMarketingCap,
    /// The user is in Meta's experiment without marketing; a retry gives the same. Send rejects the
    /// message; utility and open windows are not concerned.
    RecipientMarketingExcluded,
    /// The account may not message this country. Send rejects the message; policy blocks the
    /// country for the tenant.
    RecipientCountryBlocked,
    /// The recipient's identity key changed. Send rejects the message; the contact is on hold until
    /// the change is acknowledged.
    RecipientIdentityChanged,
    /// The template (or that language of it) cannot be sent. Send suspends it and returns the
    /// message to policy; what is refused while it is suspended waits for its release.
    SuspendTemplate,
    /// The phone number cannot send. Send suspends it, alarms, keeps its messages and tries with
    /// single calls until their deadlines.
    SuspendNumber,
    /// Credentials, permissions, billing or a ban: nothing of the tenant can go. Send suspends the
    /// tenant, alarms, keeps its messages and tries with single calls until their deadlines.
    SuspendTenant,
    /// The tenant may send no templates for now; it lifts by itself, looked at every 24 h. Send
    /// returns the message to policy.
    SuspendTenantTemplates,
    /// Direct Send is closed to the tenant; ordinary templates go on. Send returns the message to
    /// policy.
    SuspendDirectSend,
    /// The message outlived its time at the provider. Send ends it as expired.
    Expired,
    /// The provider could not fetch or take the media. Send retries after 5 s and 15 s, then
    /// rejects.
    RetryMedia,
    /// A marketing template is still being synchronised, up to 10 min. Send retries once after
    /// that.
    RetryTemplateSync,
    /// Marketing must go through `/marketing_messages`. Send calls that once if the tenant has it,
    /// else rejects.
    RouteMarketing,
    /// The marketing route is not open to this template or account. Send counts it and calls
    /// `/messages` once, or rejects under `product_policy` `STRICT`.
    RouteMessages,
    /// Not an answer to a send: inbound, registration, calling, template and account tooling. On
    /// the send path it is a surprise: send dead letters the message for a person.
    NotSendPath,
}

impl CodeClass {
    /// Every class, in stored order.
    pub const ALL: [CodeClass; 28] = [
        CodeClass::Ambiguous,
        CodeClass::RetryMessage,
        CodeClass::ProviderWide,
        CodeClass::ThrottleNumber,
        CodeClass::ThrottlePair,
        CodeClass::ThrottleApp,
        CodeClass::ThrottleAccount,
        CodeClass::ThrottleSpam,
        CodeClass::ThrottleTemplate,
        CodeClass::WindowClosed,
        CodeClass::PermanentRequest,
        CodeClass::PermanentRecipient,
        CodeClass::RecipientOptedOut,
        CodeClass::RecipientMarketingCap,
        CodeClass::RecipientMarketingExcluded,
        CodeClass::RecipientCountryBlocked,
        CodeClass::RecipientIdentityChanged,
        CodeClass::SuspendTemplate,
        CodeClass::SuspendNumber,
        CodeClass::SuspendTenant,
        CodeClass::SuspendTenantTemplates,
        CodeClass::SuspendDirectSend,
        CodeClass::Expired,
        CodeClass::RetryMedia,
        CodeClass::RetryTemplateSync,
        CodeClass::RouteMarketing,
        CodeClass::RouteMessages,
        CodeClass::NotSendPath,
    ];

    /// The name in records, labels and reasons.
    pub const fn as_str(self) -> &'static str {
        match self {
            CodeClass::Ambiguous => "ambiguous",
            CodeClass::RetryMessage => "retry_message",
            CodeClass::ProviderWide => "provider_wide",
            CodeClass::ThrottleNumber => "throttle_number",
            CodeClass::ThrottlePair => "throttle_pair",
            CodeClass::ThrottleApp => "throttle_app",
            CodeClass::ThrottleAccount => "throttle_account",
            CodeClass::ThrottleSpam => "throttle_spam",
            CodeClass::ThrottleTemplate => "throttle_template",
            CodeClass::WindowClosed => "window_closed",
            CodeClass::PermanentRequest => "permanent_request",
            CodeClass::PermanentRecipient => "permanent_recipient",
            CodeClass::RecipientOptedOut => "recipient_opted_out",
            CodeClass::RecipientMarketingCap => "recipient_marketing_cap",
            CodeClass::RecipientMarketingExcluded => "recipient_marketing_excluded",
            CodeClass::RecipientCountryBlocked => "recipient_country_blocked",
            CodeClass::RecipientIdentityChanged => "recipient_identity_changed",
            CodeClass::SuspendTemplate => "suspend_template",
            CodeClass::SuspendNumber => "suspend_number",
            CodeClass::SuspendTenant => "suspend_tenant",
            CodeClass::SuspendTenantTemplates => "suspend_tenant_templates",
            CodeClass::SuspendDirectSend => "suspend_direct_send",
            CodeClass::Expired => "expired",
            CodeClass::RetryMedia => "retry_media",
            CodeClass::RetryTemplateSync => "retry_template_sync",
            CodeClass::RouteMarketing => "route_marketing",
            CodeClass::RouteMessages => "route_messages",
            CodeClass::NotSendPath => "not_send_path",
        }
    }

    /// What happens, in a few words for operators. The variants' own documentation is the contract.
    pub const fn effect(self) -> &'static str {
        match self {
            CodeClass::Ambiguous => "keep in doubt until evidence or silence speaks",
            CodeClass::RetryMessage => "retry after 5 s, 15 s and 45 s, then dead letter",
            CodeClass::ProviderWide => {
                "hold the number in steps of at most 45 s until the deadline"
            }
            CodeClass::ThrottleNumber => "cut the rate of the number, queue the message again",
            CodeClass::ThrottlePair => "hold this recipient for 4^n s",
            CodeClass::ThrottleApp => "slow every number of the app",
            CodeClass::ThrottleAccount => "slow every number of the account",
            CodeClass::ThrottleSpam => "stop bulk of the number for hours, alarm",
            CodeClass::ThrottleTemplate => "hold the template",
            CodeClass::WindowClosed => "plan again: a template is needed",
            CodeClass::PermanentRequest => "reject, look at the request",
            CodeClass::PermanentRecipient => "reject, suppress the contact for weeks",
            CodeClass::RecipientOptedOut => "reject, record the opt-out of marketing",
            CodeClass::RecipientMarketingCap => "plan again after 24 h or more",
            CodeClass::RecipientMarketingExcluded => "reject, marketing only",
            CodeClass::RecipientCountryBlocked => "reject, block the country for the tenant",
            CodeClass::RecipientIdentityChanged => "reject, hold the contact until acknowledged",
            CodeClass::SuspendTemplate => "suspend the template, plan again",
            CodeClass::SuspendNumber => "suspend the number, alarm, try with single calls",
            CodeClass::SuspendTenant => "suspend the tenant, alarm, try with single calls",
            CodeClass::SuspendTenantTemplates => {
                "suspend templates of the tenant for 24 h, plan again"
            }
            CodeClass::SuspendDirectSend => "suspend Direct Send of the tenant, plan again",
            CodeClass::Expired => "end as expired",
            CodeClass::RetryMedia => "retry after 5 s and 15 s, then reject",
            CodeClass::RetryTemplateSync => "retry once after 10 min, then reject",
            CodeClass::RouteMarketing => {
                "call the marketing route once if the tenant has it, else reject"
            }
            CodeClass::RouteMessages => "call the ordinary route once, or reject if STRICT",
            CodeClass::NotSendPath => "dead letter, a person looks",
        }
    }

    /// Whether somebody sent too fast or too much, and no message is to blame.
    pub const fn is_throttle(self) -> bool {
        matches!(
            self,
            CodeClass::ThrottleNumber
                | CodeClass::ThrottlePair
                | CodeClass::ThrottleApp
                | CodeClass::ThrottleAccount
                | CodeClass::ThrottleSpam
                | CodeClass::ThrottleTemplate
        )
    }
}
