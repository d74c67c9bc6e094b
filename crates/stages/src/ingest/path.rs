//! Since when every webhook that reached this task was used: what silence is judged by.
//!
//! | owner | key | value | kept |
//! |---|---|---|---|
//! | ingest | account, or `""` for all accounts of the task | [`Path`] | as long as there are tenants: one row an account |
//!
//! A body that could not be used may have said what the send stage waits for. So it moves the time
//! of its account; of all accounts of this task, where it does not say whose it is.
//!
//! | body, or part of it | whose time moves |
//! |---|---|
//! | cannot be read | everybody's |
//! | an item that cannot be used | its account's |
//! | a status with opaque data in our form that we cannot authenticate (another hash key), or of another tenant than its number's | its account's |
//! | a status without opaque data, for a number of ours: Meta may have left out ours | its account's |
//! | a status in the form of another system, or for somebody else's number | nobody's |
//!
//! A body lies in the partition of its first account. Of an account that is not the first one,
//! this task cannot say that it sees all bodies: such evidence names no time.

use sendplane_domain::opaque::{Foreign, OpaqueData};
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::{Context, Table, TableValue};
use sendplane_wire::webhook::{Item, Status};
use serde::{Deserialize, Serialize};

use super::{Ingest, IngestSettings};

const PATHS: Table<String, Path> = Table::new(0x0120, "webhook_paths");

const BROKEN_TOTAL: &str = "sendplane_ingest_webhook_path_broken_total";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Path {
    whole_since: Timestamp,
}

impl TableValue for Path {}

/// The time up to which a body, received at `received_at`, leaves everything of the task in doubt.
pub(super) fn broken_for_all(ctx: &mut Context<'_, '_, Ingest>, received_at: Timestamp) {
    ctx.count(BROKEN_TOTAL, "task");
    raise(ctx, "", received_at);
}

/// Moves the times of those whose items in the body cannot be used. To be asked before any item of
/// the body becomes evidence.
pub(super) fn judge(
    settings: &IngestSettings,
    items: &[Item],
    received_at: Timestamp,
    ctx: &mut Context<'_, '_, Ingest>,
) {
    for item in items {
        let account = match item {
            Item::Malformed(malformed) => &malformed.waba_id,
            Item::Status(status) if is_unheard(settings, status, ctx) => &status.waba_id,
            Item::Status(_) | Item::InboundMessage(_) | Item::Notice(_) => continue,
        };
        if account.is_empty() {
            broken_for_all(ctx, received_at);
        } else {
            ctx.count(BROKEN_TOTAL, "account");
            // An account without a row has vouched for nothing yet.
            if ctx.get(&PATHS, account).is_some() {
                raise(ctx, account, received_at);
            }
        }
    }
}

/// Since when all bodies of the status's account were used, this one included; `None` if this task
/// does not see them all. `key` is the record key of the body.
pub(super) fn whole_since(
    status: &Status,
    key: Option<&str>,
    ctx: &mut Context<'_, '_, Ingest>,
) -> Option<Timestamp> {
    let account = &status.waba_id;
    if account.is_empty() || key != Some(account.as_str()) {
        return None;
    }
    let own = match ctx.get(&PATHS, account) {
        Some(path) => path,
        None => {
            // Not from the body's own time: what was dead-lettered before may be a little younger.
            let path = Path { whole_since: ctx.now() };
            ctx.put(&PATHS, account, &path);
            path
        }
    };
    let all = ctx.get(&PATHS, &String::new());
    Some(all.map_or(own.whole_since, |all| all.whole_since.max(own.whole_since)))
}

/// Whether the status may be about a message of ours and will not be heard as such.
fn is_unheard(settings: &IngestSettings, status: &Status, ctx: &Context<'_, '_, Ingest>) -> bool {
    let owner = ctx.globals().owner_of(&status.phone_number_id);
    match status.opaque.as_deref() {
        None => owner.is_some(),
        Some(text) => match OpaqueData::decode(text, &settings.hash_key) {
            Ok(data) => owner != Some(&data.shard.tenant),
            Err(Foreign::Mac) => true,
            Err(Foreign::Form) => false,
        },
    }
}

fn raise(ctx: &mut Context<'_, '_, Ingest>, account: &str, at: Timestamp) {
    let account = account.to_owned();
    if ctx.get(&PATHS, &account).is_none_or(|path| path.whole_since < at) {
        ctx.put(&PATHS, &account, &Path { whole_since: at });
    }
}
