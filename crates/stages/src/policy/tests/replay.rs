//! Dead letters that come back: one decision, whatever changed since.

use sendplane_domain::limits::MESSAGE_RETENTION;
use sendplane_stage_api::Replay;

use super::*;

fn replay(driver: &mut Driver<Policy>) -> Produced<Policy> {
    let message = message();
    let replay = Replay { letter: "policy/0/3".parse().expect("an id"), source: None };
    let topic = topic::admitted(message.lane);
    driver.record_replayed(topic, Record::Admitted(Box::new(message)), NOW, replay)
}

#[test]
fn a_letter_replayed_twice_has_one_decision() {
    let mut driver = driver(Some(sample::tenant("acme")), Some(template()));
    consent(&mut driver, change(ConsentScope::All, ConsentState::Withdrawn, 0));
    let (dispatch, decision) = outcome(replay(&mut driver));
    assert_eq!((dispatch, decision.verdict), (None, Verdict::Suppress));
    // Whoever asks again after the person has changed their mind gets no second opinion.
    consent(&mut driver, change(ConsentScope::All, ConsentState::Granted, 1));
    for restart in [false, true] {
        if restart {
            driver.restart();
        }
        let produced = replay(&mut driver);
        assert!(produced.outputs.is_empty() && produced.dead_letters.is_empty(), "{produced:?}");
    }
}

#[test]
fn nothing_is_remembered_for_ever_nor_without_a_replay() {
    let mut driver = driver(Some(sample::tenant("acme")), Some(template()));
    let rows = driver.state().len();
    admit(&mut driver, message());
    assert_eq!(driver.state().len(), rows);
    replay(&mut driver);
    assert!(driver.state().len() > rows);
    driver.advance_to(NOW + MESSAGE_RETENTION);
    assert_eq!((driver.state().len(), driver.next_timer()), (rows, None));
}
