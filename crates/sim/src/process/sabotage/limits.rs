//! Rows of send about limits, spoilt. The stage keeps their types to itself, so they stand here once
//! more; a change of theirs makes a mutation panic, and the test of mutations says so.

use std::time::Duration;

use sendplane_domain::breaker::Breaker;
use sendplane_domain::id::{KeyedHash, TenantId};
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::overlay::Writes;
use sendplane_stage_api::table::{TableValue, decode_value, encode_value};
use sendplane_stage_api::{Cycle, Table};
use sendplane_stages::send::SendStage;
use sendplane_stages::send::call::{CallOutcome, CallResult};
use sendplane_wire::cloud_api::Answer;
use serde::{Deserialize, Serialize};

use crate::mutation::Mutation;

const TENANTS: Table<TenantId, TenantRow> = Table::new(0x0108, "tenants");
const TEMPLATES: Table<(TenantId, String, String), TemplateRow> = Table::new(0x0130, "templates");
const USERS: Table<(TenantId, KeyedHash), UserRow> = Table::new(0x0131, "users");
const USER_ENDS: Table<(u64, (TenantId, KeyedHash)), UserRow> = Table::new(0x0132, "user_ends");

/// What is known about a tenant's account, and what it has used.
#[derive(Serialize, Deserialize)]
struct TenantRow {
    account: Breaker,
    templates: Breaker,
    user_limit: Option<(i32, Timestamp)>,
    users: u32,
    spent: Spent,
}

impl TableValue for TenantRow {}

#[derive(Default, Serialize, Deserialize)]
struct Spent {
    day: i64,
    messages: u64,
    micros: u64,
}

#[derive(Serialize, Deserialize)]
struct TemplateRow {
    breaker: BreakerRow,
    noticed_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct BreakerRow {
    state: BreakerState,
    closed_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
enum BreakerState {
    Closed,
    Failing { failures: u32 },
    Open { opening: Opening, until: Timestamp },
    HalfOpen { opening: Opening, probed_at: Timestamp, passed_at: Option<Timestamp> },
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Opening {
    times: u32,
    since: Timestamp,
    told_at: Option<Timestamp>,
}

impl TableValue for TemplateRow {}

#[derive(Serialize, Deserialize)]
struct UserRow {
    called_at: Timestamp,
    end_minute: u64,
}

impl TableValue for UserRow {}

const HALF_A_DAY: Duration = Duration::from_secs(12 * 3_600);

/// Spoils what is about to be stored.
pub(in crate::process) fn lose(mutation: Mutation, writes: &mut Writes) {
    match mutation {
        Mutation::SpentNotStored => change(writes, &TENANTS, |row| row.spent = Spent::default()),
        Mutation::UsersNotStored => change(writes, &TENANTS, |row| row.users = 0),
        Mutation::TemplatesStopNotStored => {
            change(writes, &TENANTS, |row| row.templates = Breaker::default());
        }
        Mutation::ProbeNotStored => change(writes, &TEMPLATES, |row| {
            if let BreakerState::HalfOpen { opening, probed_at, .. } = row.breaker.state {
                row.breaker.state = BreakerState::Open { opening, until: probed_at };
            }
        }),
        Mutation::UsersCountHalfADay => {
            change(writes, &USERS, |row| row.called_at = row.called_at.minus(HALF_A_DAY));
            end_earlier(writes);
        }
        _ => {}
    }
}

fn change<K, V>(writes: &mut Writes, table: &Table<K, V>, change: impl Fn(&mut V))
where
    K: sendplane_stage_api::TableKey,
    V: TableValue,
{
    let rows = writes.iter_mut().filter(|(key, _)| table.key_of(key).is_some());
    for value in rows.filter_map(|(_, value)| value.as_mut()) {
        let mut row: V = decode_value(value).expect("the stage's row");
        change(&mut row);
        *value = encode_value(&row);
    }
}

fn end_earlier(writes: &mut Writes) {
    let stored = writes.iter().filter(|(_, value)| value.is_some());
    let ends: Vec<_> = stored.filter_map(|(key, _)| USER_ENDS.key_of(key)).collect();
    for (minute, user) in ends {
        let value = writes.remove(&USER_ENDS.store_key(&(minute, user.clone()))).flatten();
        let earlier = minute - HALF_A_DAY.as_secs() / 60;
        writes.insert(USER_ENDS.store_key(&(earlier, user)), value);
    }
}

/// Takes a refused call off the tenant's account.
pub(in crate::process) fn pay_back(result: &CallResult, cycle: &mut Cycle<'_, SendStage>) {
    let CallOutcome::Answered { answer: Answer::Error(_), .. } = &result.outcome else { return };
    let number = result.phone_number_id.as_str();
    let tenant = number.trim_end_matches("-number").trim_end_matches("-second");
    let key = TENANTS.store_key(&TenantId::new(tenant));
    let Some(bytes) = cycle.read(&key) else { return };
    let mut row: TenantRow = decode_value(&bytes).expect("the stage's row");
    row.spent.messages = row.spent.messages.saturating_sub(1);
    cycle.set_system(key, Some(encode_value(&row)));
}
