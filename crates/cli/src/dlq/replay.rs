//! `dlq replay`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use sendplane_service::clock;
use sendplane_stage_api::replay::LetterId;
use sendplane_stage_runtime::dead_letter::{Found, Marker};
use sendplane_stage_runtime::tools::{Placed, TailRecord, Tools, Writer};
use serde_json::json;

use super::filter::Filter;
use super::index::{Index, scan};
use super::plan::{Choice, Step, plan};
use super::{format_of, show, topic_of};
use crate::args::{DlqReplay, Format};
use crate::output;
use crate::session::{self, Fault, Session};

pub fn run(session: &Session, args: &DlqReplay) -> Result<ExitCode, Fault> {
    let now = clock::now();
    let filter = Filter::read(&args.filter, args.code.as_deref(), now)?;
    let ids: Vec<LetterId> =
        args.ids.iter().map(|text| show::parse_id(text)).collect::<Result<_, _>>()?;
    check(args, &ids, &filter)?;
    let stages: Vec<&str> = if ids.is_empty() {
        filter.stages()
    } else {
        ids.iter().map(|id| id.stage.as_str()).collect::<BTreeSet<_>>().into_iter().collect()
    };
    let tools = session.tools()?;
    let index = Index::read(&tools, &stages)?;
    let choice = Choice {
        ids: &ids,
        filter: &filter,
        again: args.again,
        limit: args.filter.limit.unwrap_or(usize::MAX),
    };
    let steps = plan(&index, choice, &tools.topics()?, now);
    let mut report = Report::new(format_of(session, args.filter.json), args.dry_run);
    let mut to_do = BTreeMap::new();
    for (id, step) in steps {
        match step {
            Step::Replay { topic, partition } if args.dry_run => {
                report.replayed(&id, &format!("{topic}/{partition}"))?;
            }
            Step::Replay { topic, partition } => drop(to_do.insert(id, (topic, partition))),
            Step::Skip(before) => report.skipped(&id, &before)?,
            Step::Refuse(why) => report.refused(&id, &why)?,
        }
    }
    if !to_do.is_empty() {
        let reason = args.reason.trim().to_owned();
        let by = session::by(args.by.as_deref());
        let replayer = Replayer { writer: tools.writer()?, reason, by };
        replayer.replay_all(&tools, to_do, args.rate, &mut report)?;
    }
    report.end()
}

fn check(args: &DlqReplay, ids: &[LetterId], filter: &Filter) -> Result<(), Fault> {
    session::reason(&args.reason, "these letters are replayed")?;
    match (ids.is_empty(), filter.is_empty()) {
        (true, true) => Err(Fault::input(
            "name the letters by ID, or choose them: --stage, --code, --tenant, --since, --until",
        )),
        (false, false) => Err(Fault::input(
            "ID and filters exclude each other: name the letters, or choose them by filters",
        )),
        (true, false) | (false, true) => Ok(()),
    }
}

struct Replayer {
    writer: Writer,
    reason: String,
    by: String,
}

impl Replayer {
    /// Replays in the order of the partitions, at most `rate` in a second. Stops at the first that
    /// cannot be written: what is left was not touched.
    fn replay_all(
        &self,
        tools: &Tools,
        mut to_do: BTreeMap<LetterId, (&'static str, i32)>,
        rate: u32,
        report: &mut Report,
    ) -> Result<(), Fault> {
        let stages: BTreeSet<String> = to_do.keys().map(|id| id.stage.clone()).collect();
        let stages: Vec<&str> = stages.iter().map(String::as_str).collect();
        let mut pace = Pace::new(rate, clock::monotonic());
        let mut result = Ok(());
        scan(tools, &stages, None, &mut |id, record| {
            let Some(to) = to_do.remove(&id) else {
                return ControlFlow::Continue(());
            };
            std::thread::sleep(pace.next_wait(clock::monotonic()));
            result = self.replay(&id, &record, to, report);
            if result.is_err() || to_do.is_empty() {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        if let Err(fault) = result {
            report.total()?;
            return Err(fault);
        }
        for id in to_do.into_keys() {
            report.refused(&id, "was deleted in the meantime")?;
        }
        Ok(())
    }

    fn replay(
        &self,
        id: &LetterId,
        record: &TailRecord,
        (topic, partition): (&str, i32),
        report: &mut Report,
    ) -> Result<(), Fault> {
        let Found::Letter(letter) = Found::read(&record.headers) else {
            return Ok(report.refused(id, "is no dead letter")?);
        };
        let mut headers = record.headers[..letter.own_headers].to_vec();
        headers.extend(letter.replay_headers(id, &self.reason, &self.by));
        let offset = self.writer.write(&Placed {
            topic,
            partition,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            timestamp: Some(record.timestamp),
            headers: &headers,
        })?;
        let to = format!("{topic}/{partition}/{offset}");
        let marker = Marker {
            letter: id.clone(),
            reason: self.reason.clone(),
            by: self.by.clone(),
            to: to.clone(),
        };
        // Lost in between, the letter is replayed again: the stage knows it by its first position.
        self.writer.write(&Placed {
            topic: topic_of(&id.stage).unwrap_or(&record.topic),
            partition: id.partition,
            key: record.key.as_deref(),
            value: None,
            timestamp: None,
            headers: &marker.headers(),
        })?;
        Ok(report.replayed(id, &to)?)
    }
}

/// Evenly spaced: no second holds more than the rate.
struct Pace {
    gap: Duration,
    next: Instant,
}

impl Pace {
    fn new(rate: u32, now: Instant) -> Self {
        Self { gap: Duration::from_secs(1) / rate.max(1), next: now }
    }

    /// How long to wait for the next one; time that was lost is not made up for.
    fn next_wait(&mut self, now: Instant) -> Duration {
        let at = self.next.max(now);
        self.next = at + self.gap;
        at - now
    }
}

/// Prints what becomes of each letter, and counts.
struct Report {
    format: Format,
    dry_run: bool,
    replayed: usize,
    skipped: usize,
    refused: usize,
}

impl Report {
    fn new(format: Format, dry_run: bool) -> Self {
        Self { format, dry_run, replayed: 0, skipped: 0, refused: 0 }
    }

    fn replayed(&mut self, id: &LetterId, to: &str) -> std::io::Result<()> {
        self.replayed += 1;
        self.line(id, if self.dry_run { "would be replayed" } else { "replayed" }, "to", to)
    }

    fn skipped(&mut self, id: &LetterId, before: &str) -> std::io::Result<()> {
        self.skipped += 1;
        self.line(id, "skipped", "replayed before", before)
    }

    fn refused(&mut self, id: &LetterId, why: &str) -> std::io::Result<()> {
        self.refused += 1;
        self.line(id, "not replayed", "because it", why)
    }

    fn line(&self, id: &LetterId, what: &str, label: &str, text: &str) -> std::io::Result<()> {
        match self.format {
            Format::Table => output::line(&format!("{id}  {what}, {label} {text}")),
            Format::Json => {
                let row = json!({ "id": id.to_string(), "result": what, "detail": text });
                output::line(&row.to_string())
            }
        }
    }

    fn total(&self) -> std::io::Result<()> {
        let Self { replayed, skipped, refused, dry_run, .. } = self;
        match self.format {
            Format::Table => {
                let would = if *dry_run { "would be replayed" } else { "replayed" };
                output::line(&format!(
                    "{replayed} {would}, {skipped} skipped (--again replays them), {refused} not \
                     replayed"
                ))
            }
            Format::Json => output::line(
                &json!({ "replayed": replayed, "skipped": skipped, "refused": refused,
                    "dry_run": dry_run })
                .to_string(),
            ),
        }
    }

    fn end(&self) -> Result<ExitCode, Fault> {
        self.total()?;
        Ok(if self.refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_holds_more_than_the_rate() {
        let start = clock::monotonic();
        let mut now = start;
        let mut pace = Pace::new(4, start);
        let mut times = Vec::new();
        for round in 0..20_u64 {
            // Writing takes its time, once much of it.
            now += pace.next_wait(now);
            times.push((now - start).as_millis());
            now += Duration::from_millis(if round == 5 { 3_000 } else { 10 });
        }
        assert_eq!(times[..4], [0, 250, 500, 750]);
        for (n, at) in times.iter().enumerate() {
            let within = times[n..].iter().take_while(|later| **later < at + 1_000).count();
            assert!(within <= 4, "{times:?}");
        }
    }

    #[test]
    fn a_replay_needs_a_reason_and_a_choice() {
        let args = |ids: &[&str], stage: Option<&str>, reason: &str| DlqReplay {
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            filter: crate::args::DlqFilter {
                stage: stage.map(str::to_owned),
                ..Default::default()
            },
            code: None,
            reason: reason.into(),
            by: None,
            dry_run: false,
            rate: 1,
            again: false,
        };
        let checked = |args: DlqReplay| {
            let ids: Vec<LetterId> = args.ids.iter().map(|id| id.parse().unwrap()).collect();
            let filter = Filter::read(&args.filter, None, clock::now()).unwrap();
            match check(&args, &ids, &filter) {
                Ok(()) => String::new(),
                Err(Fault::Input(text)) => text,
                Err(other) => panic!("{other:?}"),
            }
        };
        assert_eq!(checked(args(&["send/0/1"], None, "healed")), "");
        assert_eq!(checked(args(&[], Some("send"), "healed")), "");
        assert!(checked(args(&[], None, "healed")).starts_with("name the letters by ID"));
        assert!(checked(args(&["send/0/1"], Some("send"), "x")).starts_with("ID and filters"));
        assert!(checked(args(&["send/0/1"], None, " ")).starts_with("--reason: say"));
        assert!(checked(args(&["send/0/1"], None, &"x".repeat(501))).starts_with("--reason"));
    }
}
