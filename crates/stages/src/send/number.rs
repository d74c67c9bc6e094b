//! What a number may do at a moment: all limits above the single message, taken together.

use sendplane_domain::breaker::Admission;
use sendplane_domain::id::TenantId;
use sendplane_domain::lane::Lane;
use sendplane_domain::rate::Limit;
use sendplane_domain::time::Timestamp;

use super::state::{
    NUMBERS, Noticed, Number, NumberKey, PROVIDER, Provider, TENANTS, TenantState, Work,
};
use super::{Ctx, SendStage, budget, portfolio, template};

/// [`sendplane_domain::rate::Gcra::earliest`] of a closed limit.
const NEVER: Timestamp = Timestamp::from_millis(i64::MAX);

/// What the directory says about a number.
pub(super) enum Owner {
    /// Calls may be made, at this pace at most, with this credential.
    Active { pace: Limit, credential: String },
    /// The tenant is switched off: its messages wait.
    Inactive,
    /// The tenant has no such number (any more).
    Unknown,
}

/// What a number may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum May {
    Call,
    /// Look again at this time.
    Wait(Timestamp),
    /// Only an input can change anything.
    Never,
}

/// A number as a cycle sees it; written back at the cycle's end.
pub(super) struct Standing {
    pub owner: Owner,
    pub row: Number,
    pub before: Option<Number>,
}

/// What numbers share: read once in a cycle, written back at its end.
pub(super) struct Common {
    provider: Provider,
    provider_before: Provider,
}

impl Standing {
    pub fn read(stage: &SendStage, ctx: &mut Ctx<'_, '_>, number: &NumberKey) -> Self {
        let before = ctx.get(&NUMBERS, number);
        let row = before.clone().unwrap_or_default();
        let owner = owner(stage, ctx, number, row.throughput);
        Self { owner, row, before }
    }

    /// The pace after what refusals took away from it.
    pub fn pace(&self, common: &Common, now: Timestamp) -> Limit {
        match &self.owner {
            Owner::Active { pace, .. } => {
                let own = self.row.throttle.share_permille(now);
                let shared = common.provider.throttle.share_permille(now);
                pace.at_share(own.min(shared))
            }
            Owner::Inactive | Owner::Unknown => Limit::CLOSED,
        }
    }

    /// Until when the number may send no bulk, if `lane` is that.
    pub fn bulk_held_until(&self, lane: Lane, now: Timestamp) -> Option<Timestamp> {
        match self.row.bulk.admission(now) {
            Admission::NotBefore(at) if lane == Lane::Bulk => Some(at),
            Admission::NotBefore(_) | Admission::Probe | Admission::Calls => None,
        }
    }

    /// Whether a call may be granted now.
    pub fn may_call(&self, common: &Common, tenant: &TenantState, now: Timestamp) -> May {
        let token = self.row.bucket.earliest(self.pace(common, now), now);
        if token == NEVER {
            return May::Never;
        }
        let mut at = token.max(self.row.held_until);
        let breakers =
            [self.row.breaker, common.provider.breaker, tenant.account, tenant.templates];
        for breaker in breakers {
            if let Admission::NotBefore(time) = breaker.admission(now) {
                at = at.max(time);
            }
        }
        if at <= now { May::Call } else { May::Wait(at) }
    }
}

impl Common {
    pub fn read(ctx: &mut Ctx<'_, '_>) -> Self {
        let provider = ctx.get(&PROVIDER, &()).unwrap_or_default();
        Self { provider_before: provider.clone(), provider }
    }

    /// A call is granted: the number's token and the tenant's budget are used, and half-open
    /// breakers had their probe.
    pub fn debit(&mut self, ctx: &mut Ctx<'_, '_>, standing: &mut Standing, work: &Work) {
        let tenant = &work.dispatch.tenant;
        let now = ctx.now();
        let pace = standing.pace(self, now);
        standing.row.bucket.debit(pace, now);
        standing.row.breaker.granted(now);
        if work.lane == Lane::Bulk {
            standing.row.bulk.granted(now);
        }
        self.provider.breaker.granted(now);
        let mut state = tenant_state(ctx, tenant);
        state.account.granted(now);
        state.templates.granted(now);
        template::granted(ctx, work);
        portfolio::debit(ctx, &mut state, work);
        budget::debit(ctx, &mut state, work);
        ctx.put(&TENANTS, tenant, &state);
    }

    pub fn write(self, ctx: &mut Ctx<'_, '_>) {
        if self.provider != self.provider_before {
            ctx.put(&PROVIDER, &(), &self.provider);
        }
    }
}

pub(super) fn tenant_state(ctx: &mut Ctx<'_, '_>, tenant: &TenantId) -> TenantState {
    ctx.get(&TENANTS, tenant).unwrap_or_default()
}

fn owner(
    stage: &SendStage,
    ctx: &Ctx<'_, '_>,
    (tenant, id): &NumberKey,
    noticed: Option<Noticed>,
) -> Owner {
    let directory = ctx.globals();
    let (Some(row), Some(number)) = (directory.tenant(tenant), directory.number(tenant, id)) else {
        return Owner::Unknown;
    };
    if !row.active {
        return Owner::Inactive;
    }
    let ceiling = Noticed::newest(noticed, number.messages_per_second, row.updated_at);
    Owner::Active {
        pace: stage.settings.pace(ceiling, number.safety_percent),
        credential: row.credential.clone(),
    }
}
