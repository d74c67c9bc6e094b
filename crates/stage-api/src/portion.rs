//! How much of what can wait a cycle takes.
//!
//! An urgent record waits for the cycle under way and then for its own. While urgent records flow,
//! what can wait therefore has a turn only every [`TURN_EVERY`], in small portions; the cycles in
//! between hold nothing but feedback and urgent records. Fewer cycles with what can wait also cost
//! less than one for each result that comes.

use std::time::Duration;

use crate::InputClass;

/// After an urgent record, more of them are expected for this long.
pub const URGENT_FOR: Duration = Duration::from_secs(1);

/// While urgent records flow, what can wait has a turn this often, or as often as cycles allow.
pub const TURN_EVERY: Duration = Duration::from_millis(25);

/// What a cycle takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Portion {
    /// Feedback and urgent records. Bulk, timers, results and effects that are not urgent wait for
    /// their turn.
    Urgent,
    /// Everything, but little of what can wait: urgent records will have to wait for this cycle.
    Small,
    /// Everything.
    Full,
}

impl Portion {
    /// True if records of this class are taken.
    pub fn takes(self, class: InputClass) -> bool {
        self.serves_all() || class != InputClass::Bulk
    }

    /// True if timers and the results of effects are served.
    pub fn serves_all(self) -> bool {
        self != Portion::Urgent
    }

    /// How many of `slots` are for urgent effects alone, if `kept` are in a cycle that serves all.
    pub fn reserved(self, slots: usize, kept: usize) -> usize {
        if self.serves_all() { kept } else { slots }
    }
}

/// Says what each cycle of a host's thread takes. Times are those of a clock that cannot jump, since
/// any moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Portions {
    urgent_at: Option<Duration>,
    turn_at: Duration,
    /// Urgent records went before a turn that was due. The next cycle is the turn.
    put_off: bool,
}

impl Portions {
    /// An urgent record was fetched.
    pub fn fetched_urgent(&mut self, now: Duration) {
        self.urgent_at = Some(now);
    }

    /// What a cycle that begins at `now` takes. `urgent_waits`: urgent records stand in the queues.
    pub fn next(&mut self, now: Duration, urgent_waits: bool) -> Portion {
        let flows = self.urgent_at.is_some_and(|at| now.saturating_sub(at) < URGENT_FOR);
        let portion = if !flows && !urgent_waits {
            Portion::Full
        } else if now < self.turn_at + TURN_EVERY {
            return Portion::Urgent;
        } else if urgent_waits && !self.put_off {
            self.put_off = true;
            return Portion::Urgent;
        } else {
            Portion::Small
        };
        (self.turn_at, self.put_off) = (now, false);
        portion
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn a_cycle_for_urgent_records_leaves_what_can_wait() {
        for class in InputClass::ALL {
            assert_eq!(Portion::Urgent.takes(class), class != InputClass::Bulk);
            assert!(Portion::Small.takes(class) && Portion::Full.takes(class));
        }
        let reserved = |portion: Portion| portion.reserved(16, 2);
        assert_eq!([Portion::Urgent, Portion::Small, Portion::Full].map(reserved), [16, 2, 2]);
        assert!(!Portion::Urgent.serves_all());
    }

    #[test]
    fn without_urgent_records_every_cycle_takes_everything() {
        let mut portions = Portions::default();
        assert!((0..50).all(|ms| portions.next(MS(ms), false) == Portion::Full));
    }

    #[test]
    fn urgent_records_go_first_and_once() {
        let mut portions = Portions::default();
        assert_eq!(portions.next(MS(100), false), Portion::Full);
        portions.fetched_urgent(MS(105));
        assert_eq!(portions.next(MS(105), true), Portion::Urgent);
        assert_eq!(portions.next(MS(113), false), Portion::Urgent, "its turn is to come");
        assert_eq!(portions.next(MS(125), false), Portion::Small);
        assert_eq!(portions.next(MS(151), true), Portion::Urgent, "put off");
        assert_eq!(portions.next(MS(159), true), Portion::Small, "but not twice");
        assert_eq!(portions.next(MS(160), true), Portion::Urgent);
    }

    #[test]
    fn a_second_after_the_last_urgent_record_all_is_as_before() {
        let mut portions = Portions::default();
        portions.fetched_urgent(MS(5_000));
        assert_eq!(portions.next(MS(5_999), false), Portion::Small);
        assert_eq!(portions.next(MS(6_000), false), Portion::Full);
        assert_eq!(portions.next(MS(6_001), true), Portion::Urgent, "a record taken up again");
    }

    proptest! {
        /// Whatever comes: from one turn of what can wait to the next it is TURN_EVERY, the cycle
        /// under way then, and one more.
        #[test]
        fn what_can_wait_has_its_turn(
            cycles in prop::collection::vec((1_u64..40, any::<bool>(), any::<bool>()), 1..200),
        ) {
            let mut portions = Portions::default();
            let (mut now, mut turn, mut late) = (MS(1_000), MS(1_000), 0);
            for (took, fetched, waits) in cycles {
                if fetched {
                    portions.fetched_urgent(now);
                }
                if portions.next(now, waits) == Portion::Urgent {
                    late += usize::from(now >= turn + TURN_EVERY);
                    prop_assert!(late <= 1);
                } else {
                    (turn, late) = (now, 0);
                }
                now += MS(took);
            }
        }
    }
}
