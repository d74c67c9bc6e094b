//! The provider says that a person stopped marketing.

use sendplane_wire::record::{ConsentChange, ConsentScope, ConsentState};

use super::*;

const OPTED_OUT: i64 = 131050;

impl Plane {
    fn opt_outs(&self) -> Vec<&ConsentChange> {
        let mut changes = Vec::new();
        for output in &self.others {
            if let Output::OptOut(change) = output {
                changes.push(&**change);
            }
        }
        changes
    }

    fn failed(&mut self, wamid: &str, code: Option<i32>, occurred_at: Timestamp) {
        let of = feedback(1, 1, wamid, ReceiptStatus::Failed, self.now());
        let record = Feedback { error_code: code, occurred_at, ..of };
        let produced = self.driver.record(topic::FEEDBACK, Record::Feedback(record));
        self.take(produced);
    }
}

fn marketing() -> Plane {
    let mut plane = Plane::new();
    plane.set_template(template("marketing"));
    plane.feed(Dispatch { category: "marketing".into(), ..dispatch(1, Lane::Bulk, START) });
    plane
}

fn expected(changed_at: Timestamp) -> ConsentChange {
    ConsentChange {
        tenant: TenantId::new(TENANT),
        recipient: "+4915112345678".into(),
        scope: ConsentScope::Marketing,
        state: ConsentState::Withdrawn,
        changed_at,
        source: "provider-131050".into(),
    }
}

#[test]
fn a_refusal_is_published_once() {
    let mut plane = marketing();
    plane.answer_last(error(OPTED_OUT));
    assert_eq!(plane.opt_outs(), [&expected(START)]);
    assert_eq!(plane.last().disposition, Disposition::Reject);
    plane.replay(Dispatch { category: "marketing".into(), ..dispatch(1, Lane::Bulk, START) }, None);
    plane.answer_last(error(OPTED_OUT));
    assert_eq!((plane.calls.len(), plane.opt_outs().len()), (2, 1));
}

/// Long after the answer, and as often as Meta repeats it.
#[test]
fn a_webhook_is_published_once_with_its_own_time() {
    let mut plane = marketing();
    plane.answer_last(accepted("w"));
    plane.driver.restart();
    plane.advance(24 * HOUR);
    let said_at = START + HOUR;
    plane.failed("w", Some(OPTED_OUT as i32), said_at);
    plane.driver.restart();
    plane.failed("w", Some(OPTED_OUT as i32), said_at);
    plane.feedback(1, 1, "w", ReceiptStatus::Failed);
    assert_eq!(plane.opt_outs(), [&expected(said_at)]);
    assert_eq!(plane.events(1).len(), 2, "nothing new of the attempt");
}

#[test]
fn a_webhook_before_the_answer_is_published_as_well() {
    let mut plane = marketing();
    plane.failed("w", Some(OPTED_OUT as i32), START);
    plane.answer_last(accepted("w"));
    plane.failed("w", Some(OPTED_OUT as i32), START);
    assert_eq!(plane.opt_outs(), [&expected(START)]);
}

#[test]
fn nothing_else_is_an_opt_out() {
    let mut plane = marketing();
    plane.answer_last(accepted("w"));
    plane.failed("w", Some(131026), START);
    plane.failed("w", None, START);
    let sent = Feedback {
        error_code: Some(OPTED_OUT as i32),
        ..feedback(1, 1, "w", ReceiptStatus::Sent, START)
    };
    let produced = plane.driver.record(topic::FEEDBACK, Record::Feedback(sent));
    plane.take(produced);
    assert_eq!(plane.opt_outs().len(), 0);

    let mut plane = Plane::new();
    plane.send(1, Lane::Transactional);
    plane.answer_last(error(OPTED_OUT));
    assert_eq!(plane.opt_outs().len(), 0, "not a marketing message");
}
