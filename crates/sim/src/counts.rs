//! What really happened in a run: proof that it was not vacuous.

use std::collections::BTreeMap;

/// Counters by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<String, u64>);

impl Counts {
    /// One more of `name`.
    pub fn one(&mut self, name: &str) {
        self.add(name, 1);
    }

    /// `number` more of `name`.
    pub fn add(&mut self, name: &str, number: u64) {
        match self.0.get_mut(name) {
            Some(count) => *count += number,
            None => {
                self.0.insert(name.to_owned(), number);
            }
        }
    }

    /// How many of `name`.
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Adds another run's counts.
    pub fn merge(&mut self, other: &Counts) {
        for (name, number) in &other.0 {
            self.add(name, *number);
        }
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, number)| (name.as_str(), *number))
    }

    /// The kinds in `required` of which there was none.
    pub fn missing<'r>(&self, required: &[&'r str]) -> Vec<&'r str> {
        required.iter().copied().filter(|name| self.get(name) == 0).collect()
    }
}

/// What the fixed seeds together must have had. Zero of a kind fails the suite.
pub const REQUIRED: &[&str] = &[
    "admitted",
    "bodies forged",
    "budgets of messages used up",
    "budgets of money used up",
    "broker outages",
    "calls",
    "calls answered too late",
    "calls lost",
    "calls not started in time",
    "calls sent over to the other endpoint",
    "calls to the marketing endpoint",
    "calls while frozen before the write",
    "calls with all users taken",
    "calls without a connection",
    "cancels",
    "cancels before the dispatch",
    "cancels during a call",
    "cancels of an order",
    "cancels that named nothing",
    "cancels that won",
    "cancels too late",
    "changes of the account",
    "clock offsets",
    "clocks distrusted",
    "commits",
    "commits fenced",
    "crashes",
    "crashes with the disk wiped",
    "crashes, second in a row",
    "cycles for urgent records while others waited",
    "dead letters",
    "deadlines passed",
    "doubts",
    "dispatches repeated",
    "doubts of a transaction",
    "duplicates at the customer",
    "duplicates detected",
    "duplicate requests",
    "EndTxn answers lost, executed",
    "EndTxn answers lost, not executed",
    "EndTxn late",
    "EndTxn late, fenced",
    "freezes",
    "globals caught up",
    "gateway answers lost",
    "gateway away",
    "gateway deaths",
    "gateway overloads",
    "gateway refusals",
    "gateway reports",
    "gateway stops",
    "given up early for the tenant",
    "graceful stops",
    "given back for a refusal",
    "given back for a template",
    "given back for consent",
    "intents",
    "intents of a later decision",
    "keys reused",
    "limits of users lowered",
    "members expelled",
    "opt-outs",
    "opt-outs that blocked",
    "poison",
    "probes of a template",
    "producers recycled",
    "produce answers lost",
    "provider faults",
    "rebalances",
    "re-sends after silence",
    "recoveries",
    "rejected by the provider",
    "releases of a template",
    "rerouted",
    "restores",
    "restores from nothing",
    "results given again",
    "results of an older ownership dropped",
    "retries",
    "retries cancelled",
    "scale-downs",
    "scale-ups",
    "storms",
    "suspensions of a template",
    "suspensions of a tenant's templates",
    "suspensions of bulk of a number",
    "tenants that called on two days",
    "times all slots were taken",
    "transactions timed out",
    "unstable offsets",
    "webhooks appended",
    "webhooks before our own commit",
    "webhooks dropped",
    "webhooks repeated",
    "whole turns that another tenant waited for",
    "zombies woken",
];
