//! Which of Meta's endpoints a call goes to, and what follows when Meta says that it was the wrong
//! one.
//!
//! | class | called | then |
//! |---|---|---|
//! | `route_messages` (134102) | marketing, `CLOUD_API_FALLBACK` | once more over `/messages` |
//! | `route_messages` | marketing, `STRICT` | rejected: the tenant wants no other way |
//! | `route_marketing` (131063) | `/messages`, the tenant has the marketing route | once more over it |
//! | `route_marketing` | anything else | rejected: there is no other way |
//!
//! Both codes prove that nothing was sent, so the second call is a plain retry (I4).

use sendplane_domain::lane::Category;
use sendplane_domain::provider_code::CodeClass;
use sendplane_wire::cloud_api::{ProductPolicy, Route};
use sendplane_wire::record::Tenant;

use super::Ctx;
use super::state::Work;

/// The endpoint of the next call: by the tenant's record, unless an earlier call was sent over to
/// the other one.
pub(super) fn next(ctx: &Ctx<'_, '_>, work: &Work) -> Route {
    let marketing = ctx.globals().tenant(&work.dispatch.tenant).and_then(marketing_route);
    match (work.rerouted, work.route) {
        (true, Route::Messages) => Route::Messages,
        // By what the tenant says now; it may have closed the route meanwhile.
        (true, Route::Marketing { .. }) => marketing.unwrap_or_default(),
        (false, _) => marketing.filter(|_| is_marketing(work)).unwrap_or_default(),
    }
}

/// Sends the message over to the other endpoint if a refusal of `class` asks for it and there is
/// one. False if not: then the class decides like any other.
pub(super) fn switch(ctx: &mut Ctx<'_, '_>, work: &mut Work, class: CodeClass) -> bool {
    let other = match (class, work.route) {
        (
            CodeClass::RouteMessages,
            Route::Marketing { product_policy: ProductPolicy::CloudApiFallback },
        ) => Some(Route::Messages),
        (CodeClass::RouteMarketing, Route::Messages) => {
            ctx.globals().tenant(&work.dispatch.tenant).and_then(marketing_route)
        }
        _ => None,
    };
    let Some(other) = other.filter(|_| !work.rerouted) else {
        return false;
    };
    work.route = other;
    work.rerouted = true;
    ctx.count("sendplane_reroutes_total", other.path());
    true
}

/// The marketing route, where the tenant has it. An unknown policy reads as Meta's default; the
/// tool that writes tenants refuses it.
fn marketing_route(tenant: &Tenant) -> Option<Route> {
    let policy = tenant.product_policy.as_deref().and_then(ProductPolicy::parse);
    let route = Route::Marketing { product_policy: policy.unwrap_or_default() };
    tenant.marketing_route.then_some(route)
}

fn is_marketing(work: &Work) -> bool {
    Category::of_template(&work.dispatch.category) == Some(Category::Marketing)
}
