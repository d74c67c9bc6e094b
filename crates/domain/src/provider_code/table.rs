//! Every code Meta lists, one row each.
//!
//! Source: Meta's error page of 11 September 2026, its copy of 12 December 2025, and what
//! integrators observed. A row's class says what happens; [`CodeClass`] says how.

use super::CodeClass::{self, *};

/// Where a code was seen or is documented. Any code may come on either path: this is knowledge, not
/// a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// In the HTTP answer.
    Sync,
    /// In a webhook.
    Async,
    /// On both paths.
    Both,
}

use Seen::{Async, Both, Sync};

/// One code or one range of codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// First code of the range.
    pub first: i64,
    /// Last code of the range; equal to `first` for a single code.
    pub last: i64,
    /// What to do when it answers a send.
    pub class: CodeClass,
    /// Where it appears.
    pub seen: Seen,
    /// What it says, in our words.
    pub meaning: &'static str,
}

impl Row {
    /// What happens, in a few words for operators.
    pub const fn effect(&self) -> &'static str {
        self.class.effect()
    }
}

const fn one(code: i64, class: CodeClass, seen: Seen, meaning: &'static str) -> Row {
    Row { first: code, last: code, class, seen, meaning }
}

const fn range(first: i64, last: i64, class: CodeClass, seen: Seen, meaning: &'static str) -> Row {
    Row { first, last, class, seen, meaning }
}

/// All rows, in ascending order, without overlap.
#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    one(0, SuspendTenant, Sync, "app user is not authenticated"),
    one(1, Ambiguous, Sync, "invalid request or server error"),
    one(2, ProviderWide, Sync, "temporary outage or overload; upgrades take up to 5 min"),
    one(3, SuspendTenant, Sync, "capability or permission is missing"),
    one(4, ThrottleApp, Sync, "call rate of the app reached"),
    one(10, SuspendTenant, Sync, "permission denied, or not eligible"),
    one(33, SuspendNumber, Sync, "phone number id is deleted or not visible"),
    one(100, PermanentRequest, Sync, "parameter is invalid, unsupported or misspelled"),
    one(104, SuspendTenant, Sync, "access token is missing"),
    one(190, SuspendTenant, Sync, "access token is expired or invalid"),
    range(200, 299, SuspendTenant, Sync, "permission is missing"),
    one(368, SuspendTenant, Sync, "account is restricted or disabled for a policy violation"),
    one(80007, ThrottleAccount, Sync, "rate limit of the business account reached"),
    one(130403, PermanentRecipient, Both, "the business has blocked this user"),
    one(130429, ThrottleNumber, Both, "throughput of the phone number exceeded"),
    one(130472, RecipientMarketingExcluded, Async, "user is in an experiment without marketing"),
    one(130497, RecipientCountryBlocked, Both, "account may not message this country"),
    one(130501, NotSendPath, Async, "unsupported inbound type in a group"),
    one(131000, Ambiguous, Both, "unknown error, to be tried again"),
    one(131005, SuspendTenant, Sync, "access denied"),
    one(131008, PermanentRequest, Sync, "required parameter is missing"),
    one(131009, PermanentRequest, Sync, "parameter value is invalid"),
    one(131014, RetryMedia, Async, "media address could not be fetched"),
    one(131016, Ambiguous, Both, "service is unavailable"),
    one(131020, PermanentRecipient, Sync, "group is invalid or unknown"),
    one(131021, PermanentRequest, Sync, "recipient is the sender"),
    one(131026, PermanentRecipient, Both, "undeliverable: not on WhatsApp, old client, block"),
    one(131030, PermanentRequest, Sync, "recipient is not on the test number's list"),
    one(131031, SuspendTenant, Both, "account is locked"),
    one(131037, SuspendNumber, Sync, "display name of the number is not approved"),
    one(131041, PermanentRecipient, Sync, "group cannot receive"),
    one(131042, SuspendTenant, Both, "payment or billing problem"),
    one(131043, Expired, Async, "message expired; in older lists only"),
    one(131044, SuspendTenant, Sync, "billing problem, calling variant"),
    one(131045, SuspendNumber, Sync, "registration or certificate of the number is wrong"),
    one(131047, WindowClosed, Both, "more than 24 h since the user's last message"),
    one(131048, ThrottleSpam, Both, "number is restricted after blocks or reports by users"),
    one(131049, RecipientMarketingCap, Async, "not delivered to keep the ecosystem healthy"),
    one(131050, RecipientOptedOut, Async, "user stopped marketing from this business"),
    one(131051, PermanentRequest, Both, "message type is not supported"),
    one(131052, NotSendPath, Async, "inbound media could not be downloaded"),
    one(131053, RetryMedia, Async, "media could not be uploaded or fetched"),
    one(131055, PermanentRequest, Sync, "the marketing route takes marketing templates only"),
    one(131056, ThrottlePair, Sync, "too many messages to this user from this number"),
    one(131057, ProviderWide, Sync, "account is in maintenance, up to 1 min"),
    one(131059, PermanentRecipient, Sync, "group is suspended"),
    one(131060, NotSendPath, Async, "inbound failure of a coexistence number"),
    one(131062, PermanentRequest, Sync, "this message needs a phone number as recipient"),
    one(131063, RouteMarketing, Sync, "marketing is switched off on the ordinary route"),
    one(131064, SuspendTenantTemplates, Sync, "limited after misclassified templates"),
    one(131201, PermanentRecipient, Sync, "group request done in part"),
    one(131202, PermanentRecipient, Sync, "group is not available"),
    one(131204, PermanentRecipient, Sync, "group is not available to this number"),
    one(131207, SuspendNumber, Sync, "number may not use groups"),
    one(131208, ThrottleNumber, Sync, "rate limit of groups reached"),
    range(131209, 131215, PermanentRecipient, Sync, "group is invalid, full or closed"),
    one(132000, PermanentRequest, Sync, "number of template parameters does not match"),
    one(132001, SuspendTemplate, Sync, "template or language is missing or not approved"),
    one(132005, PermanentRequest, Sync, "text is too long once filled in"),
    one(132007, SuspendTemplate, Sync, "template content violates a policy"),
    one(132008, PermanentRequest, Sync, "template parameter value is invalid"),
    one(132012, PermanentRequest, Sync, "format of a template parameter does not match"),
    one(132015, SuspendTemplate, Both, "template is paused for low quality"),
    one(132016, SuspendTemplate, Sync, "template is disabled for good"),
    one(132018, PermanentRequest, Both, "newline, tab or spaces in a value, or wrong template"),
    one(132021, PermanentRequest, Async, "name clash of a Direct Send template"),
    one(132068, SuspendTemplate, Sync, "flow is blocked"),
    one(132069, ThrottleTemplate, Sync, "flow is limited to 10 messages an hour"),
    one(133000, NotSendPath, Sync, "registration: previous deletion failed"),
    one(133004, ProviderWide, Sync, "server is temporarily unavailable"),
    range(133005, 133006, NotSendPath, Sync, "registration: PIN or verification"),
    range(133008, 133009, NotSendPath, Sync, "registration: PIN guessed too often or too fast"),
    one(133010, SuspendNumber, Sync, "number is not registered"),
    range(133015, 133016, NotSendPath, Sync, "registration: too soon or too often"),
    one(134011, SuspendTenant, Sync, "terms of payments are not accepted"),
    one(134100, PermanentRequest, Sync, "the marketing route takes marketing templates only"),
    one(134101, RetryTemplateSync, Sync, "marketing template is still being synchronised"),
    one(134102, RouteMessages, Sync, "template or account is not open to the marketing route"),
    one(135000, Ambiguous, Sync, "generic error with the parameters"),
    one(137000, RecipientIdentityChanged, Sync, "identity key of the recipient does not match"),
    range(138000, 138018, NotSendPath, Sync, "calling"),
    range(139000, 139004, NotSendPath, Sync, "administration of flows"),
    range(139100, 139103, NotSendPath, Sync, "block list of users"),
    one(139200, SuspendDirectSend, Sync, "Direct Send is closed to the account"),
    range(147001, 147005, NotSendPath, Sync, "usernames"),
    one(1752041, NotSendPath, Sync, "marketing onboarding was asked for twice"),
    one(2388019, NotSendPath, Sync, "template tooling: too many templates"),
    range(2388039, 2388040, NotSendPath, Sync, "template tooling: field or length"),
    one(2388047, NotSendPath, Sync, "template tooling: header format"),
    range(2388072, 2388073, NotSendPath, Sync, "template tooling: body or footer format"),
    one(2388293, NotSendPath, Sync, "template tooling: too many variables for the text"),
    one(2388299, NotSendPath, Sync, "template tooling: variable at the edge of the text"),
    one(2388318, NotSendPath, Sync, "template tooling"),
    one(2388330, NotSendPath, Sync, "template tooling"),
];
