//! `tail`.

use std::ops::ControlFlow;
use std::process::ExitCode;

use sendplane_stage_runtime::tools::TailQuery;
use sendplane_wire::topic::TOPICS;

use crate::args::Tail;
use crate::output;
use crate::render;
use crate::session::{Fault, Session};

pub fn run(session: &Session, command: &Tail) -> Result<ExitCode, Fault> {
    let topic = full_name(&command.topic)?;
    let registry = session.registry()?;
    let query = TailQuery {
        topics: &[&topic],
        partition: None,
        from_beginning: command.from_beginning,
        until_end: command.until_end,
    };
    let mut left = command.limit.unwrap_or(u64::MAX);
    let mut written = Ok(());
    if left > 0 {
        session.tools()?.tail(&query, &mut |record| {
            if !is_of(record.key.as_deref(), command.tenant.as_deref()) {
                return ControlFlow::Continue(());
            }
            written = output::line(&render::line_of(&registry, &record).to_string());
            left -= 1;
            if written.is_err() || left == 0 {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
    }
    Ok(written.map(|()| ExitCode::SUCCESS)?)
}

/// The topic meant: its name, or `outcomes`, `requests.bulk`, `ingest.changelog`.
fn full_name(given: &str) -> Result<String, Fault> {
    let shortened = |name: &str| {
        let name = name.strip_prefix("sendplane.").unwrap_or(name);
        name.strip_suffix(".v1").unwrap_or(name) == given
    };
    let known = TOPICS.iter().find(|spec| spec.name == given || shortened(spec.name));
    known.map(|spec| spec.name.to_owned()).ok_or_else(|| {
        let names: Vec<&str> = TOPICS.iter().map(|spec| spec.name).collect();
        Fault::input(format!("TOPIC {given}: use one of\n  {}", names.join("\n  ")))
    })
}

/// Whether a key is the tenant's: the tenant itself or, in the templates, `<tenant>/…`.
fn is_of(key: Option<&[u8]>, tenant: Option<&str>) -> bool {
    let Some(tenant) = tenant else { return true };
    let rest = key.and_then(|key| key.strip_prefix(tenant.as_bytes()));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_have_short_names() {
        let full = |given: &str| full_name(given).ok();
        assert_eq!(full("outcomes").as_deref(), Some("sendplane.outcomes.v1"));
        assert_eq!(full("requests.bulk").as_deref(), Some("sendplane.requests.bulk.v1"));
        assert_eq!(full("send.changelog").as_deref(), Some("sendplane.send.changelog"));
        assert_eq!(full("dlq.sendplane.send").as_deref(), Some("dlq.sendplane.send"));
        assert_eq!(full("nothing"), None);
    }

    #[test]
    fn a_tenant_filter_matches_whole_names() {
        assert!(is_of(Some(b"acme"), Some("acme")));
        assert!(is_of(Some(b"acme/hello/en"), Some("acme")));
        assert!(!is_of(Some(b"acme2"), Some("acme")));
        assert!(!is_of(None, Some("acme")));
        assert!(is_of(None, None));
    }
}
