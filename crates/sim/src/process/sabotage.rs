//! The mutations that need to know what a stage stores; [`limits`]: what it stores of limits.

pub(super) mod limits;

use std::collections::VecDeque;

use sendplane_domain::id::MessageId;
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::Cycle;
use sendplane_stage_api::overlay::Writes;
use sendplane_stage_api::table::{decode_value, encode_value};
use sendplane_stages::directory::Change;
use sendplane_stages::send::silence::{WITNESSES, Witnesses};
use sendplane_stages::send::{self, SendStage};
use sendplane_stages::status_reconcile::row::{MESSAGES, MessageRow};
use sendplane_stages::status_reconcile::{Record, StatusReconcile};
use serde_json::Value;

use super::Runner;
use super::commit::{Committing, Outgoing, group_offsets};
use super::hosted::Hosted;
use crate::env::Env;
use crate::log::Refused;
use crate::mutation::Mutation;

/// Drops rows that a mutated stage does not store.
pub(super) fn lose_rows(mutation: Option<Mutation>, stage: &str, writes: &mut Writes) {
    let tag: [u8; 2] = match (mutation, stage) {
        (Some(Mutation::DedupRowLost), "ingest") => [0x01, 0x00],
        (Some(Mutation::DebitNotStored), "send") => [0x01, 0x02],
        (Some(Mutation::WithdrawalNotStored), "send") => [0x01, 0x40],
        (Some(Mutation::SuspensionNotStored), "send") => [0x01, 0x30],
        (Some(Mutation::TurnsNotStored), "send") => [0x01, 0x04],
        (Some(mutation), "send") => return limits::lose(mutation, writes),
        _ => return,
    };
    writes.retain(|key, _| !key.starts_with(&tag));
}

/// Makes send take a repeated dispatch for that of a later decision.
pub(super) fn take_for_later(record: &mut send::Record) {
    if let send::Record::Dispatch(dispatch) = record {
        dispatch.decision_seq += 1;
    }
}

/// Makes status-reconcile forget every status but the one that comes next.
pub(super) fn forget_statuses(record: &Record, cycle: &mut Cycle<'_, StatusReconcile>) {
    let Record::Receipt(receipt) = record else { return };
    let Some(id) = receipt.message_id else { return };
    let key = MESSAGES.store_key(&id);
    let Some(bytes) = cycle.read(&key) else { return };
    let mut row: MessageRow = decode_value(&bytes).expect("written by this build");
    let mut facts = serde_json::to_value(&row.facts).expect("facts are plain data");
    let messages = facts["provider_messages"].as_object_mut().into_iter().flatten();
    for (_, message) in messages {
        for field in ["sent_at", "delivered_at", "read_at", "played_at", "failed"] {
            message[field] = Value::Null;
        }
    }
    row.facts = serde_json::from_value(facts).expect("the same shape");
    cycle.set_system(key, Some(encode_value(&row)));
}

/// Makes send believe what is not so.
pub(super) fn deceive(
    mutation: Mutation,
    record: &mut send::Record,
    cycle: &mut Cycle<'_, SendStage>,
) {
    match (mutation, record) {
        (Mutation::MarketingResent, send::Record::Dispatch(dispatch)) => {
            dispatch.category = "utility".to_owned();
        }
        (Mutation::WitnessesInvented, send::Record::Feedback(feedback)) => {
            let heard = [1, 2, 3].map(|number| {
                (Timestamp::from_millis(i64::MAX), MessageId::from_bytes([number; 16]))
            });
            let number = (feedback.tenant.clone(), feedback.phone_number_id.clone());
            let row = encode_value(&Witnesses(heard.to_vec()));
            cycle.set_system(WITNESSES.store_key(&number), Some(row));
        }
        (Mutation::ArrivalsInvented, send::Record::Feedback(feedback)) => {
            feedback.received_at = Timestamp::from_millis(i64::MAX);
            feedback.path_whole_since = Some(Timestamp::default());
        }
        _ => {}
    }
}

/// The same of the global tables. A category is only believed where both say so.
pub(super) fn deceive_globally(mutation: Mutation, change: &mut Change) {
    match (mutation, change) {
        (Mutation::MarketingResent, Change::Template(_, Some(row))) => {
            row.category = "utility".to_owned();
        }
        (Mutation::PricesIgnored, Change::Tenant(_, Some(row))) => row.prices.clear(),
        (Mutation::RetriesIgnored, Change::Tenant(_, Some(row))) => row.retries.clear(),
        _ => {}
    }
}

impl<S: Hosted> Runner<S> {
    /// For a mutation: state and offsets in a transaction of their own, outputs in the next.
    pub(super) fn commit_state_alone(
        &mut self,
        env: &mut Env,
        one: &mut Committing<S>,
    ) -> Result<(), Option<Refused>> {
        let session = self.core.session.clone().ok_or(None)?;
        let changelog = self.core.changelog.clone();
        let (state, outputs): (VecDeque<_>, VecDeque<_>) =
            one.records.drain(..).partition(|record| record.topic == changelog);
        for Outgoing { topic, partition, entry, commit_of } in state {
            let offset = env.log.produce(&session, &topic, partition, entry, env.now)?;
            if let Some(number) = commit_of {
                one.positions[number] = offset;
            }
        }
        let (group, member) = (self.core.group.clone(), self.core.member);
        let offsets = group_offsets(env.mutation, one);
        env.log.send_offsets(&session, &group, member, offsets, env.now)?;
        env.log.end(&session, env.now)?;
        one.rest_at = [outputs.len() / 2, 0];
        one.records = outputs;
        Ok(())
    }
}
