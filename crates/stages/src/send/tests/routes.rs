//! Which endpoint a call goes to, and what follows a refusal by it.

use AttemptEvent::{Accepted, Expired, Refused, Submitting};
use Disposition::{None as Nothing, Reject, Retry};
use sendplane_wire::cloud_api::{ProductPolicy, Route};

use super::*;

const FALLBACK: Route = Route::Marketing { product_policy: ProductPolicy::CloudApiFallback };
const STRICT: Route = Route::Marketing { product_policy: ProductPolicy::Strict };

/// Meta: marketing is switched off on the ordinary endpoint.
const USE_MARKETING: i64 = 131063;
/// Meta: the marketing endpoint does not take this template or account.
const USE_MESSAGES: i64 = 134102;

fn with_route(policy: Option<&str>) -> Tenant {
    Tenant { marketing_route: true, product_policy: policy.map(str::to_owned), ..tenant(80) }
}

fn plane(row: Tenant) -> Plane {
    let mut plane = Plane::new();
    plane.set_tenant(row);
    plane
}

fn sale(n: u64, now: Timestamp) -> Dispatch {
    of_category("marketing", dispatch(n, Lane::Bulk, now))
}

fn routes(plane: &Plane) -> Vec<Route> {
    plane.calls.iter().map(|call| call.route).collect()
}

/// `product_policy` of every intent.
fn policies(plane: &Plane) -> Vec<Option<&str>> {
    let intents = plane.attempts.iter().filter(|record| record.event == Submitting);
    intents.map(|record| record.product_policy.as_deref()).collect()
}

#[test]
fn marketing_takes_the_tenants_route_and_nothing_else_does() {
    let cases = [
        (tenant(80), "marketing", Route::Messages, None),
        (with_route(None), "marketing", FALLBACK, Some("CLOUD_API_FALLBACK")),
        (with_route(Some("CLOUD_API_FALLBACK")), "marketing", FALLBACK, Some("CLOUD_API_FALLBACK")),
        (with_route(Some("STRICT")), "marketing", STRICT, Some("STRICT")),
        (with_route(Some("what")), "marketing", FALLBACK, Some("CLOUD_API_FALLBACK")),
        (with_route(Some("STRICT")), "utility", Route::Messages, None),
        (with_route(Some("STRICT")), "authentication", Route::Messages, None),
    ];
    for (row, category, route, policy) in cases {
        let mut plane = plane(row);
        plane.feed(of_category(category, sale(1, START)));
        assert_eq!((routes(&plane), policies(&plane)), (vec![route], vec![policy]), "{category}");
    }
}

#[test]
fn the_route_is_that_of_the_grant() {
    let mut plane = plane(with_route(Some("STRICT")));
    plane.feed(sale(1, START));
    plane.set_tenant(with_route(None));
    plane.answer_last(unparsed(404));
    plane.advance(secs(6));
    plane.set_tenant(tenant(80));
    plane.answer_last(unparsed(404));
    plane.advance(secs(16));
    assert_eq!(routes(&plane), [STRICT, FALLBACK, Route::Messages]);
}

#[test]
fn a_refused_route_is_left_for_the_other_one_once() {
    let mut fallback = plane(with_route(None));
    fallback.feed(sale(1, START));
    let call = fallback.calls[0].clone();
    let input = Input::Effect(result_of(&call, error(USE_MESSAGES)));
    let counts = fallback.counts(input);
    assert_eq!(counts[&("sendplane_reroutes_total", "messages")], 1);
    fallback.answer_last(error(USE_MESSAGES));
    assert_eq!(fallback.events(1)[1..], [(1, Refused, Retry), (2, Submitting, Nothing)]);
    assert_eq!(fallback.calls.len(), 2, "at once");
    // Also over another failure and a restart of the process, and whatever the tenant has now.
    fallback.answer_last(unparsed(404));
    fallback.driver.restart();
    fallback.set_tenant(with_route(Some("STRICT")));
    fallback.advance(secs(6));
    assert_eq!(routes(&fallback), [FALLBACK, Route::Messages, Route::Messages]);
    fallback.answer_last(accepted("w"));
    assert_eq!(fallback.events(1).last(), Some(&(3, Accepted, Nothing)));

    // The other way round: Meta counts the template as marketing, our record does not yet.
    let mut utility = plane(with_route(Some("STRICT")));
    utility.send(1, Lane::Transactional);
    utility.answer_last(error(USE_MARKETING));
    assert_eq!(routes(&utility), [Route::Messages, STRICT]);
    assert_eq!(policies(&utility), [None, Some("STRICT")]);
}

#[test]
fn there_is_no_way_back_and_no_way_round_strict() {
    for (row, answers, tried) in [
        (with_route(None), vec![USE_MESSAGES, USE_MARKETING], vec![FALLBACK, Route::Messages]),
        (with_route(None), vec![USE_MESSAGES, USE_MESSAGES], vec![FALLBACK, Route::Messages]),
        (with_route(None), vec![USE_MARKETING], vec![FALLBACK]),
        (with_route(Some("STRICT")), vec![USE_MESSAGES], vec![STRICT]),
        (with_route(Some("STRICT")), vec![USE_MARKETING], vec![STRICT]),
        (tenant(80), vec![USE_MARKETING], vec![Route::Messages]),
        (tenant(80), vec![USE_MESSAGES], vec![Route::Messages]),
    ] {
        let mut plane = plane(row);
        plane.feed(sale(1, START));
        for code in &answers {
            plane.answer_last(error(*code));
        }
        let (_, event, disposition) = *plane.events(1).last().expect("an end");
        assert_eq!((event, disposition), (Refused, Reject), "{answers:?}");
        plane.advance(2 * HOUR);
        assert_eq!(routes(&plane), tried, "{answers:?}");
    }
}

/// The tenant closed the marketing route between the refusal and the next grant.
#[test]
fn a_closed_route_is_not_taken_any_more() {
    let mut plane = plane(Tenant { active: true, ..with_route(None) });
    plane.send(1, Lane::Transactional);
    let mut held = with_route(None);
    held.active = false;
    plane.set_tenant(held);
    plane.answer_last(error(USE_MARKETING));
    assert_eq!(plane.calls.len(), 1, "the tenant is switched off");
    plane.set_tenant(tenant(80));
    plane.advance(secs(1));
    assert_eq!(routes(&plane), [Route::Messages, Route::Messages]);
}

#[test]
fn the_other_route_is_not_called_after_the_deadline() {
    let mut plane = plane(with_route(None));
    plane.feed(Dispatch { valid_until: START + secs(3), ..sale(1, START) });
    plane.advance(secs(3));
    plane.answer_last(error(USE_MESSAGES));
    assert_eq!(plane.events(1)[1..], [(1, Refused, Retry), (2, Expired, Nothing)]);
    assert_eq!(plane.calls.len(), 1);
}

#[test]
fn a_template_that_is_still_synchronised_is_tried_once_more_after_ten_minutes() {
    let mut plane = plane(with_route(Some("STRICT")));
    plane.feed(sale(1, START));
    plane.answer_last(error(134101));
    assert_eq!(plane.last().retry_at, Some(START + secs(600)));
    plane.advance(secs(600));
    assert_eq!(routes(&plane), [STRICT, STRICT]);
    plane.answer_last(error(134101));
    assert_eq!(plane.events(1).last(), Some(&(2, Refused, Reject)));
}

/// Told to status-reconcile, which waits as long; a time to live beyond the deadline is counted,
/// because no call can shorten it.
#[test]
fn an_intent_says_how_long_meta_tries() {
    let template = |category: &str, ttl_seconds| {
        let name = format!("{category}_template");
        let mut row = sample::template(TENANT, &name, category, 1);
        row.ttl_seconds = ttl_seconds;
        sample::set_template(row)
    };
    for (category, route, said, expected) in [
        ("utility", false, None, None),
        ("utility", false, Some(3_000), Some(3_000)),
        ("utility", false, Some(-1), None),
        ("authentication", false, None, Some(600)),
        ("authentication", false, Some(60), Some(60)),
        ("marketing", false, Some(43_200), None),
        ("marketing", true, Some(43_200), Some(43_200)),
    ] {
        let mut plane = plane(if route { with_route(None) } else { tenant(80) });
        plane.control(template(category, said));
        let message = of_category(category, sale(1, START));
        let input = record_input(Record::Dispatch(Box::new(message.clone())), topic::DISPATCH_BULK);
        let counts = plane.counts(input);
        let beyond = counts.get(&("sendplane_ttl_beyond_deadline_total", "call"));
        assert_eq!(beyond.is_some(), expected > Some(3_600), "{category} {said:?}");
        plane.feed(message);
        assert_eq!(plane.last().ttl_seconds, expected, "{category} {said:?} {route}");
    }
}
