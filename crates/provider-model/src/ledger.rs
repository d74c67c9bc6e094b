//! The ground truth: what the provider received and what it really accepted.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::report::{Gate, LimitKind};

/// One message that exists at the provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Accepted {
    /// Position in the ledger, from 0.
    pub index: u64,
    /// Id of the message.
    pub wamid: String,
    /// Sender.
    pub phone_number_id: String,
    /// Digits of the recipient, or its business-scoped user id.
    pub to: String,
    /// `template`, or the type of a session message.
    pub kind: &'static str,
    /// Name of the template.
    pub template: Option<String>,
    /// Language of the template.
    pub language: Option<String>,
    /// Price category: a template's category, or `service`.
    pub category: &'static str,
    /// `biz_opaque_callback_data`.
    pub opaque: Option<String>,
    /// When it was accepted, Unix milliseconds.
    pub accepted_at_ms: i64,
    /// The caller was not told the id: connection closed, or an answer without it.
    pub answer_lost: bool,
}

/// More than one message of one opaque group: a customer was messaged twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Duplicate {
    /// The common first fields of the opaque data.
    pub group: String,
    /// Ledger positions, ascending.
    pub accepted: Vec<u64>,
}

/// Requests with one opaque text more than once: the caller sent one attempt twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Repeated {
    /// `biz_opaque_callback_data`.
    pub opaque: String,
    /// Requests seen with it, accepted or not.
    pub calls: u64,
}

/// Counters of one business number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NumberSummary {
    /// Send requests, whatever became of them.
    pub calls: u64,
    /// Messages accepted.
    pub accepted: u64,
    /// Messages received from customers.
    pub inbound: u64,
    /// Requests refused because the throughput limit was really exceeded.
    pub throughput_violations: u64,
    /// Most send requests in any sliding second.
    pub calls_per_second_max: usize,
    /// Most accepted and inbound messages in any sliding second.
    pub messages_per_second_max: usize,
    /// Most send requests in any second with both its ends.
    pub calls_per_second_max_closed: usize,
    /// Most accepted and inbound messages in any second with both its ends.
    pub messages_per_second_max_closed: usize,
}

/// Counters of everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Send requests, whatever became of them.
    pub calls: u64,
    /// Messages accepted.
    pub accepted: u64,
    /// Of these, the caller was not told the id.
    pub answers_lost: u64,
    /// Requests that were answered with an error, by code.
    pub refused_by_code: BTreeMap<i64, u64>,
    /// Requests without effect and without a code: reset, provider down, odd answers.
    pub untouched: u64,
    /// Requests refused because a pair limit was really exceeded.
    pub pair_violations: u64,
    /// Calls above a limit since the last reset of [`crate::Violations`].
    pub violations_by_kind: BTreeMap<LimitKind, u64>,
    /// Calls to something closed since the same reset; see [`crate::Violations::after_refusal`].
    pub calls_after_refusal: BTreeMap<Gate, u64>,
    /// Messages that wait for the verdict about their template now.
    pub messages_held: u64,
    /// Webhook updates emitted, by status or kind; repeated ones count again.
    pub updates_by_kind: BTreeMap<String, u64>,
    /// Webhook updates that were dropped by a fault knob.
    pub updates_dropped: u64,
    /// By business number.
    pub numbers: BTreeMap<String, NumberSummary>,
}

#[derive(Clone, Debug, Default)]
struct OpaqueEntry {
    calls: u64,
    accepted: Vec<u64>,
}

/// Everything accepted, with indexes; grows with the number of distinct messages.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    accepted: Vec<Accepted>,
    by_wamid: BTreeMap<String, u64>,
    by_opaque: BTreeMap<String, OpaqueEntry>,
    by_recipient: BTreeMap<String, Vec<u64>>,
    pub(crate) summary: Summary,
}

impl Ledger {
    /// Every accepted message in order of acceptance.
    pub fn accepted(&self) -> &[Accepted] {
        &self.accepted
    }

    /// At most `limit` messages from position `since`.
    pub fn page(&self, since: u64, limit: usize) -> &[Accepted] {
        let start = usize::try_from(since).unwrap_or(usize::MAX).min(self.accepted.len());
        &self.accepted[start..start.saturating_add(limit).min(self.accepted.len())]
    }

    /// The message of an id.
    pub fn by_wamid(&self, wamid: &str) -> Option<&Accepted> {
        self.by_wamid.get(wamid).map(|index| self.get(*index))
    }

    /// Messages whose opaque data starts with `prefix`, ordered by opaque data.
    pub fn by_opaque_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Accepted> {
        self.by_opaque
            .range(prefix.to_owned()..)
            .take_while(move |(opaque, _)| opaque.starts_with(prefix))
            .flat_map(|(_, entry)| entry.accepted.iter().map(|index| self.get(*index)))
    }

    /// Messages to one recipient (digits or user id), in order of acceptance.
    pub fn by_recipient(&self, to: &str) -> impl Iterator<Item = &Accepted> {
        self.by_recipient.get(to).into_iter().flatten().map(|index| self.get(*index))
    }

    /// Requests seen with exactly this opaque data, accepted or not. Requests that were reset
    /// before they were read count too: the ledger sees what the provider could not.
    pub fn calls_with_opaque(&self, opaque: &str) -> u64 {
        self.by_opaque.get(opaque).map_or(0, |entry| entry.calls)
    }

    /// Opaque data that came with more than one request, in order of the text.
    pub fn repeated(&self) -> Vec<Repeated> {
        let several = self.by_opaque.iter().filter(|(_, entry)| entry.calls > 1);
        several
            .map(|(opaque, entry)| Repeated { opaque: opaque.clone(), calls: entry.calls })
            .collect()
    }

    /// Groups of opaque data with more than one message. A group is the first `fields` fields,
    /// separated by dots; messages without opaque data belong to none.
    pub fn duplicates(&self, fields: usize) -> Vec<Duplicate> {
        let mut groups: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for (opaque, entry) in &self.by_opaque {
            groups.entry(first_fields(opaque, fields)).or_default().extend(&entry.accepted);
        }
        let several = groups.into_iter().filter(|(_, accepted)| accepted.len() > 1);
        several
            .map(|(group, mut accepted)| {
                accepted.sort_unstable();
                Duplicate { group: group.to_owned(), accepted }
            })
            .collect()
    }

    pub(crate) fn get(&self, index: u64) -> &Accepted {
        &self.accepted[index as usize]
    }

    pub(crate) fn count_call(&mut self, opaque: Option<&str>) {
        self.summary.calls += 1;
        if let Some(opaque) = opaque {
            match self.by_opaque.get_mut(opaque) {
                Some(entry) => entry.calls += 1,
                None => {
                    let entry = OpaqueEntry { calls: 1, ..OpaqueEntry::default() };
                    self.by_opaque.insert(opaque.to_owned(), entry);
                }
            }
        }
    }

    pub(crate) fn count_refusal(&mut self, code: i64) {
        *self.summary.refused_by_code.entry(code).or_default() += 1;
    }

    pub(crate) fn count_update(&mut self, kind: &str) {
        match self.summary.updates_by_kind.get_mut(kind) {
            Some(count) => *count += 1,
            None => {
                self.summary.updates_by_kind.insert(kind.to_owned(), 1);
            }
        }
    }

    /// Adds a message; its index is set here.
    pub(crate) fn accept(&mut self, mut accepted: Accepted) -> u64 {
        let index = self.accepted.len() as u64;
        accepted.index = index;
        self.summary.accepted += 1;
        self.summary.answers_lost += u64::from(accepted.answer_lost);
        let earlier = self.by_wamid.insert(accepted.wamid.clone(), index);
        assert!(earlier.is_none(), "a wamid names one message");
        if let Some(opaque) = &accepted.opaque {
            self.by_opaque.entry(opaque.clone()).or_default().accepted.push(index);
        }
        self.by_recipient.entry(accepted.to.clone()).or_default().push(index);
        self.accepted.push(accepted);
        index
    }
}

fn first_fields(opaque: &str, fields: usize) -> &str {
    match fields.checked_sub(1).and_then(|last| opaque.match_indices('.').nth(last)) {
        Some((end, _)) => &opaque[..end],
        None => opaque,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(wamid: &str, opaque: &str) -> Accepted {
        Accepted {
            index: 0,
            wamid: wamid.to_owned(),
            phone_number_id: "1".to_owned(),
            to: "4915112345678".to_owned(),
            kind: "text",
            template: None,
            language: None,
            category: "service",
            opaque: Some(opaque.to_owned()),
            accepted_at_ms: 0,
            answer_lost: wamid == "b",
        }
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        for (wamid, opaque) in [("a", "x.1.m1.1"), ("b", "x.1.m2.1"), ("c", "x.1.m1.2")] {
            ledger.count_call(Some(opaque));
            ledger.accept(message(wamid, opaque));
        }
        ledger.count_call(Some("x.1.m1.2"));
        ledger.count_call(None);
        ledger
    }

    #[test]
    fn groups_with_two_messages_are_duplicates() {
        let ledger = ledger();
        let expected = vec![Duplicate { group: "x.1.m1".to_owned(), accepted: vec![0, 2] }];
        assert_eq!(ledger.duplicates(3), expected);
        assert_eq!(ledger.duplicates(4), vec![]);
        assert_eq!(ledger.duplicates(1)[0].accepted, vec![0, 1, 2]);
        assert_eq!(ledger.duplicates(0), vec![], "no fields: the whole text is the group");
    }

    #[test]
    fn one_opaque_text_in_two_requests_is_repeated() {
        let expected = vec![Repeated { opaque: "x.1.m1.2".to_owned(), calls: 2 }];
        assert_eq!(ledger().repeated(), expected);
    }

    #[test]
    fn queries_use_their_index() {
        let ledger = ledger();
        let wamids = |prefix| {
            let found = ledger.by_opaque_prefix(prefix).map(|accepted| accepted.wamid.as_str());
            found.collect::<Vec<_>>()
        };
        assert_eq!(wamids("x.1.m1."), ["a", "c"]);
        assert_eq!(wamids("y"), [] as [&str; 0]);
        assert_eq!(ledger.by_wamid("b").map(|accepted| accepted.index), Some(1));
        assert_eq!(ledger.by_wamid("z"), None);
        assert_eq!(ledger.by_recipient("4915112345678").count(), 3);
        assert_eq!(ledger.calls_with_opaque("x.1.m1.2"), 2);
        assert_eq!(ledger.calls_with_opaque("x"), 0);
        assert_eq!(ledger.summary.calls, 5);
        assert_eq!(ledger.summary.answers_lost, 1);
    }

    #[test]
    fn pages_never_leave_the_ledger() {
        let ledger = ledger();
        assert_eq!(ledger.page(1, 1)[0].wamid, "b");
        assert_eq!(ledger.page(2, usize::MAX).len(), 1);
        assert!(ledger.page(3, 10).is_empty() && ledger.page(u64::MAX, 10).is_empty());
    }
}
