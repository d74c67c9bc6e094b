//! Retries: where a tenant wants fewer calls that end with a class of errors, no further one is
//! promised.

use std::collections::BTreeMap;

use sendplane_wire::record::Disposition;

use super::Verdict;
use super::grants::Cycles;
use super::reading::Facts;
use crate::env::Env;

/// The name under which it is reported: retries have no promise with a number.
const RETRIES: &str = "retries";

/// Checks every promise of another call.
pub fn check(env: &mut Env, facts: &Facts, cycles: &Cycles<'_>, verdict: &mut Verdict) {
    for (message, attempts) in &facts.attempts {
        // A later decision begins anew.
        let mut failures: BTreeMap<(i32, &str), i32> = BTreeMap::new();
        for at in attempts {
            let one = &at.record;
            let Some(class) = one.error_class.as_deref() else { continue };
            let failures = failures.entry((one.decision_seq, class)).or_default();
            *failures += 1;
            let row = cycles.of_record(at).and_then(|cycle| cycle.tenant(facts, &one.tenant));
            let Some(own) =
                row.into_iter().flat_map(|row| &row.retries).find(|own| own.error_class == class)
            else {
                continue;
            };
            let is_last = *failures >= own.attempts_max;
            // What would come too late is reported as a retry that expires.
            let dispatch = facts.dispatch_of(message, one.decision_seq);
            let expires = dispatch.is_some_and(|at| one.retry_at == Some(at.record.valid_until));
            if is_last && one.disposition == Disposition::Retry && !expires {
                let most = own.attempts_max;
                let detail = format!("failure {failures} of {class}, and the tenant wants {most}");
                verdict.message(RETRIES, *message, detail);
            }
            if is_last && one.disposition == Disposition::DeadLetter {
                env.counts.one("given up early for the tenant");
            }
        }
    }
}
