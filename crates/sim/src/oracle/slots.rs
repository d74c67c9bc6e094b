//! No more calls run in a process than it has slots.

use std::collections::BTreeMap;

use super::Verdict;
use crate::env::Env;
use crate::evidence::Owned;

/// The name under which it is reported: slots have no promise with a number.
const SLOTS: &str = "slots";

/// Checks it. Calls of an ownership that was lost go on beside those of the next one, so each
/// ownership is counted for itself.
pub fn check(env: &mut Env, verdict: &mut Verdict) {
    let slots = env.shape.slots;
    let mut running: BTreeMap<Owned, usize> = BTreeMap::new();
    let mut full = 0;
    for change in &env.seen.running {
        let count = running.entry(change.owned).or_default();
        if !change.begins {
            *count -= 1;
            continue;
        }
        *count += 1;
        full += u64::from(*count == slots);
        if *count == slots.saturating_add(1) {
            let detail = format!("{count} calls run, there are {slots} slots ({:?})", change.owned);
            verdict.message(SLOTS, change.message_id, detail);
        }
    }
    env.counts.add("times all slots were taken", full);
}
