//! Which dead letters are meant.

use sendplane_domain::time::Timestamp;
use sendplane_stage_api::replay::LetterId;

use super::index::Entry;
use super::{TOPICS, stage_names, topic_of};
use crate::args::DlqFilter;
use crate::output;
use crate::session::Fault;

/// Filters as read; what is not given lets everything pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    stage: Option<String>,
    tenant: Option<String>,
    code: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Filter {
    pub fn read(args: &DlqFilter, code: Option<&str>, now: Timestamp) -> Result<Self, Fault> {
        if let Some(stage) = args.stage.as_deref().filter(|stage| topic_of(stage).is_none()) {
            return Err(Fault::input(format!("--stage {stage}: use {}", stage_names())));
        }
        let time = |name: &str, text: &Option<String>| {
            let read = text.as_deref().map(|text| {
                output::parse_past(text, now).ok_or_else(|| {
                    Fault::input(format!(
                        "{name} {text}: write RFC 3339, such as 2030-01-02T03:04:05Z, or a span \
                         back from now such as 2h"
                    ))
                })
            });
            read.transpose()
        };
        Ok(Self {
            stage: args.stage.clone(),
            tenant: args.tenant.clone(),
            code: code.map(str::to_owned),
            since: time("--since", &args.since)?,
            until: time("--until", &args.until)?,
        })
    }

    /// Whether it lets everything pass.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The stages whose topics have to be read.
    pub fn stages(&self) -> Vec<&'static str> {
        let is_meant = |stage: &&str| self.stage.as_deref().is_none_or(|meant| meant == *stage);
        TOPICS.iter().map(|(stage, _)| *stage).filter(is_meant).collect()
    }

    pub fn lets_pass(&self, id: &LetterId, entry: &Entry) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.is_none() || wanted.as_deref() == found
        };
        is(&self.stage, Some(&id.stage))
            && is(&self.tenant, entry.letter.tenant.as_deref())
            && is(&self.code, Some(&entry.letter.code))
            && self.since.is_none_or(|since| since <= entry.at)
            && self.until.is_none_or(|until| entry.at < until)
    }
}

#[cfg(test)]
mod tests {
    use super::super::index::sample::{id, index, letter};
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(10_000_000);

    fn passing(args: DlqFilter, code: Option<&str>) -> Vec<String> {
        let filter = Filter::read(&args, code, NOW).expect("valid");
        let index = index([
            ("ingest/0/1", letter("undecodable", "acme", 2_000_000)),
            ("ingest/1/1", letter("unknown_tenant", "globex", 6_400_000)),
            ("send/0/1", letter("undecodable", "acme", 9_000_000)),
        ]);
        let passing = index.entries.iter().filter(|(id, entry)| filter.lets_pass(id, entry));
        passing.map(|(id, _)| id.to_string()).collect()
    }

    fn args(change: impl FnOnce(&mut DlqFilter)) -> DlqFilter {
        let mut args = DlqFilter::default();
        change(&mut args);
        args
    }

    #[test]
    fn every_filter_that_is_given_must_let_it_pass() {
        let all = ["ingest/0/1", "ingest/1/1", "send/0/1"];
        assert_eq!(passing(args(|_| {}), None), all);
        assert_eq!(passing(args(|args| args.stage = Some("send".into())), None), all[2..]);
        assert_eq!(passing(args(|args| args.tenant = Some("globex".into())), None), all[1..2]);
        assert_eq!(passing(args(|_| {}), Some("undecodable")), [all[0], all[2]]);
        // An hour ago was 6,400,000.
        assert_eq!(passing(args(|args| args.since = Some("1h".into())), None), all[1..]);
        assert_eq!(passing(args(|args| args.until = Some("1h".into())), None), all[..1]);
        let both = args(|args| {
            args.stage = Some("ingest".into());
            args.tenant = Some("acme".into());
        });
        assert_eq!(passing(both, None), all[..1]);
        assert_eq!(id(all[0]).to_string(), all[0]);
    }

    #[test]
    fn bad_input_names_the_argument_and_the_fix() {
        let cases = [
            (args(|args| args.stage = Some("sent".into())), "--stage sent: use ingest, policy"),
            (args(|args| args.since = Some("soon".into())), "--since soon: write RFC 3339"),
            (args(|args| args.until = Some("-1h".into())), "--until -1h: write RFC 3339"),
        ];
        for (args, expected) in cases {
            match Filter::read(&args, None, NOW) {
                Err(Fault::Input(text)) => assert!(text.starts_with(expected), "{text}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn only_the_topics_that_matter_are_read() {
        let stages = |args: DlqFilter| Filter::read(&args, None, NOW).expect("valid").stages();
        assert_eq!(stages(args(|args| args.stage = Some("policy".into()))), ["policy"]);
        assert_eq!(stages(args(|_| {})).len(), 4);
        assert!(Filter::read(&args(|_| {}), None, NOW).expect("valid").is_empty());
        assert!(!Filter::read(&args(|_| {}), Some("c"), NOW).expect("valid").is_empty());
    }
}
