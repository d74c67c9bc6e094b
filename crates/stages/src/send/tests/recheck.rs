//! At the grant: consent and template are looked at once more (I11).

use AttemptEvent::{Expired, NotSent, Submitting};
use Disposition::{None as Nothing, Replan as GivenBack};
use sendplane_stage_api::Stage;
use sendplane_wire::record::{Replan, Suppression};

use super::*;

/// The contact of message `n` has the consent counter `consent_seq`.
pub(super) fn suppression(n: u64, consent_seq: i64, now: Timestamp) -> Suppression {
    Suppression {
        tenant: TenantId::new(TENANT),
        contact_hash: contact(n),
        consent_seq,
        marketing_withdrawn: true,
        all_withdrawn: false,
        changed_at: now,
        published_at: now,
    }
}

impl Plane {
    pub(super) fn suppress(&mut self, row: Suppression) {
        let produced = self.driver.record(topic::SUPPRESSIONS, Record::Suppression(row));
        self.take(produced);
    }

    pub(super) fn replans(&self) -> Vec<&Replan> {
        let mut replans = Vec::new();
        for output in &self.others {
            if let Output::Replan(replan) = output {
                replans.push(&**replan);
            }
        }
        replans
    }

    /// Holds every message at the gate, so that something can change before the grant.
    pub(super) fn close(&mut self) {
        self.control(sample::set_tenant(tenant(0)));
    }

    pub(super) fn open(&mut self) {
        self.control(sample::set_tenant(tenant(80)));
        self.advance(secs(1));
    }
}

#[test]
fn a_newer_consent_sends_back_what_is_not_granted_and_nothing_else() {
    for (consent_seq, is_sent) in [(0, true), (1, true), (2, false), (9, false)] {
        for before in [true, false] {
            let mut plane = Plane::new();
            plane.close();
            if before {
                plane.suppress(suppression(1, consent_seq, START));
            }
            plane.send(1, Lane::Bulk);
            plane.send(2, Lane::Bulk);
            if !before {
                plane.suppress(suppression(1, consent_seq, START));
            }
            plane.driver.restart();
            plane.open();
            assert_eq!(plane.calls.len(), 1 + usize::from(is_sent), "{consent_seq}");
            let expected = if is_sent { (1, Submitting, Nothing) } else { (0, NotSent, GivenBack) };
            assert_eq!(plane.events(1), [expected]);
            assert_eq!(plane.events(2), [(1, Submitting, Nothing)], "another contact's");
            let reasons: Vec<_> = plane.replans().iter().map(|r| r.reason.as_str()).collect();
            assert_eq!(reasons, if is_sent { &[][..] } else { &["consent_changed"] });
        }
    }
}

#[test]
fn of_a_contact_s_rows_the_newest_holds_in_any_order_and_repetition() {
    for order in [[1, 2, 3], [3, 2, 1], [2, 3, 2], [3, 1, 3]] {
        let mut plane = Plane::new();
        order.into_iter().for_each(|seq| plane.suppress(suppression(1, seq, START)));
        for (n, consent_seq, is_sent) in [(1, 2, false), (2, 3, true)] {
            let message = dispatch(n, Lane::Bulk, START);
            plane.feed(Dispatch { consent_seq, contact_hash: contact(1), ..message });
            assert_eq!(!plane.calls.is_empty(), is_sent, "{order:?} {consent_seq}");
        }
    }
}

#[test]
fn a_suppression_is_of_one_tenant() {
    let mut plane = Plane::new();
    plane.suppress(Suppression { tenant: TenantId::new("bolt"), ..suppression(1, 9, START) });
    plane.send(1, Lane::Bulk);
    assert_eq!(plane.calls.len(), 1);
}

/// The intent is the line: a call that is out is not called back, and its retry is.
#[test]
fn an_intent_stands_and_its_retry_is_looked_at_again() {
    let mut plane = Plane::new();
    plane.send(1, Lane::Bulk);
    plane.suppress(suppression(1, 2, START));
    assert_eq!(plane.events(1), [(1, Submitting, Nothing)]);
    plane.answer_last(unparsed(404));
    plane.advance(secs(10));
    assert_eq!(plane.calls.len(), 1);
    assert_eq!(plane.events(1)[2..], [(2, NotSent, GivenBack)]);
}

/// As long as a message from before the change can live, and no longer.
#[test]
fn a_suppression_outlives_every_message_from_before_it() {
    use sendplane_domain::limits::{CLOCK_SKEW_MAX, DEADLINE_MAX};
    let mut plane = Plane::new();
    let rows = plane.driver.state().len();
    plane.suppress(suppression(1, 2, START));
    plane.driver.restart();
    let last = DEADLINE_MAX + CLOCK_SKEW_MAX;
    plane.advance(last - secs(1));
    plane.feed(Dispatch { valid_until: START + last, ..dispatch(1, Lane::Bulk, START) });
    assert_eq!((plane.calls.len(), plane.replans().len()), (0, 1));
    plane.advance(10 * DEADLINE_MAX);
    assert_eq!(plane.driver.next_timer(), None);
    let forgotten = plane.driver.state().len();
    plane.suppress(suppression(1, 2, START));
    assert_eq!(plane.driver.state().len(), forgotten, "one from long ago concerns nothing");
    // The inbox, the number, the commit record's time.
    assert!(forgotten <= rows + 2, "{forgotten} rows of {rows}");
}

fn row(version: i32, category: &str, status: &str) -> Template {
    Template { version, status: status.into(), ..template(category) }
}

#[test]
fn a_template_that_changed_sends_back_with_what_is_seen() {
    let cases = [
        (Some(row(2, "utility", "APPROVED")), "template_changed", Some(2)),
        (Some(row(0, "utility", "APPROVED")), "template_changed", Some(0)),
        (Some(row(1, "marketing", "APPROVED")), "template_changed", Some(1)),
        (Some(row(2, "utility", "PAUSED")), "template_changed", Some(2)),
        (Some(row(1, "utility", "REJECTED")), "template_not_approved", Some(1)),
        (Some(row(1, "utility", "DISABLED")), "template_not_approved", Some(1)),
        (Some(row(1, "utility", "DELETED")), "template_not_approved", Some(1)),
        (Some(row(1, "utility", "SOMETHING_NEW")), "template_not_approved", Some(1)),
        (None, "template_not_approved", None),
    ];
    for (row, reason, seen) in cases {
        let mut plane = Plane::new();
        plane.close();
        plane.send(1, Lane::Transactional);
        let key = TemplateKey::of(&template("utility"));
        plane.control(Change::Template(key, row.clone()));
        let record = Record::Dispatch(Box::new(dispatch(2, Lane::Bulk, START)));
        assert!(plane.driver.stage().misses_global(&record, &plane.directory), "{row:?}");
        plane.open();
        assert_eq!(plane.calls.len(), 0, "{row:?}");
        let [replan] = plane.replans()[..] else { panic!("one replan: {row:?}") };
        assert_eq!((replan.reason.as_str(), replan.template_version), (reason, seen));
    }
}

#[test]
fn a_template_that_is_paused_holds_its_messages_until_its_row_changes() {
    for status in ["PAUSED", "PENDING", "IN_APPEAL", "LIMIT_EXCEEDED"] {
        let mut plane = Plane::new();
        plane.set_template(row(1, "utility", status));
        let other = Template { name: TemplateName::new("other"), ..template("utility") };
        plane.set_template(other);
        for n in 0..600 {
            plane.send(n, Lane::Bulk);
        }
        let name = TemplateName::new("other");
        plane.feed(Dispatch { template_name: name, ..dispatch(600, Lane::Bulk, START) });
        assert_eq!(plane.calls.len(), 1, "nobody waits behind them");
        plane.driver.restart();
        plane.advance(secs(60));
        plane.set_template(row(1, "utility", "PAUSED"));
        plane.advance(secs(1));
        assert_eq!((plane.calls.len(), plane.replans().len()), (1, 0), "{status}");
        plane.set_template(row(1, "utility", "APPROVED"));
        plane.advance(secs(30));
        assert_eq!((plane.calls.len(), plane.replans().len()), (601, 0), "{status}");
    }
}

#[test]
fn what_a_paused_template_held_goes_back_when_it_is_ended_or_changed() {
    for (row, reason) in [
        (Some(row(1, "utility", "DISABLED")), "template_not_approved"),
        (Some(row(2, "utility", "APPROVED")), "template_changed"),
        (None, "template_not_approved"),
    ] {
        let mut plane = Plane::new();
        plane.set_template(Template { status: "PAUSED".into(), ..template("utility") });
        plane.send(1, Lane::Bulk);
        plane.control(Change::Template(TemplateKey::of(&template("utility")), row));
        let [replan] = plane.replans()[..] else { panic!("one replan") };
        assert_eq!(replan.reason, reason);
    }
}

#[test]
fn a_message_expires_while_its_template_is_paused() {
    let mut plane = Plane::new();
    plane.set_template(row(1, "utility", "PAUSED"));
    plane.feed(Dispatch { valid_until: START + secs(5), ..dispatch(1, Lane::Bulk, START) });
    plane.feed(Dispatch { valid_until: START + secs(9), ..dispatch(2, Lane::Bulk, START) });
    plane.advance(secs(5));
    assert_eq!(plane.events(1), [(0, Expired, Nothing)]);
    plane.advance(secs(4));
    assert_eq!(plane.events(2), [(0, Expired, Nothing)]);
    plane.set_template(template("utility"));
    plane.advance(HOUR);
    assert_eq!(plane.calls.len(), 0);
}
