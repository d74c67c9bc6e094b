//! The way of a notice: to each tenant that it concerns, in a record of its own.
//!
//! A number says whose it is. What is about an account or a template concerns every tenant with a
//! number of that account; a notice that names a number by its digits only the tenant of it.

use sendplane_domain::id::{PhoneNumberId, TenantId};
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::Context;
use sendplane_wire::record::{Notice as Record, NoticeKind};
use sendplane_wire::webhook::{News, Notice, digits};

use super::{Ingest, Output};
use crate::directory::Directory;

/// Longest value passed on, in bytes; the topic of webhooks keeps the whole.
const VALUE_BYTES_MAX: usize = 4 * 1024;

/// A tenant, and its number if the notice is about one.
type Concerned = (TenantId, Option<PhoneNumberId>);

/// Passes a notice on; false if it concerns nobody.
pub(super) fn take(
    notice: &Notice,
    received_at: Timestamp,
    ctx: &mut Context<'_, '_, Ingest>,
) -> bool {
    let mut is_anybodys = false;
    for news in notice.news() {
        for (tenant, phone_number_id) in concerned(ctx.globals(), notice, &news) {
            is_anybodys = true;
            let record = record(notice, &news, tenant, phone_number_id, received_at);
            ctx.count("sendplane_ingest_notices_total", label(news.kind));
            ctx.emit(Output::Notice(Box::new(record)));
        }
    }
    is_anybodys
}

fn concerned(directory: &Directory, notice: &Notice, news: &News) -> Vec<Concerned> {
    if let Some(number) = &notice.phone_number_id
        && let Some(owner) = directory.owner_of(number)
    {
        return vec![(owner.clone(), Some(number.clone()))];
    }
    let of_account = || directory.numbers_of_account(&notice.waba_id);
    if let Some(wanted) = &news.display_number {
        let found = of_account().find(|(_, number)| digits(&number.display_number) == *wanted);
        if let Some((tenant, number)) = found {
            return vec![(tenant.clone(), Some(number.phone_number_id.clone()))];
        }
    }
    let mut tenants: Vec<Concerned> =
        of_account().map(|(tenant, _)| (tenant.clone(), None)).collect();
    tenants.dedup();
    tenants
}

fn record(
    notice: &Notice,
    news: &News,
    tenant: TenantId,
    phone_number_id: Option<PhoneNumberId>,
    received_at: Timestamp,
) -> Record {
    Record {
        tenant,
        waba_id: notice.waba_id.clone(),
        kind: news.kind,
        phone_number_id,
        messages_per_second: news.messages_per_second,
        users_per_day: news.users_per_day,
        template_name: news.template_name.clone(),
        template_language: news.template_language.clone(),
        status: news.status.clone(),
        category: news.category.clone(),
        value: cut(&notice.value).to_owned(),
        received_at,
        occurred_at: notice.occurred_at,
    }
}

fn cut(value: &str) -> &str {
    &value[..value.floor_char_boundary(VALUE_BYTES_MAX)]
}

fn label(kind: NoticeKind) -> &'static str {
    match kind {
        NoticeKind::Unknown => "unknown",
        NoticeKind::Throughput => "throughput",
        NoticeKind::UserLimit => "user_limit",
        NoticeKind::Quality => "quality",
        NoticeKind::TemplateStatus => "template_status",
        NoticeKind::TemplateCategory => "template_category",
        NoticeKind::Account => "account",
    }
}
