//! `dlq`: look at dead letters and replay them.
//!
//! Reading order: [`index`] (what stands in the topics), [`filter`], [`list`], [`show`] and
//! [`advice`], [`plan`] (what a replay would do), [`replay`] (doing it).
//!
//! A replay is remembered by a marker in the dead-letter topic itself, in the letter's partition:
//! it is kept as long as the letter's neighbours, needs no topic and no rights of its own, and is
//! written after the replay. If it is lost in between, the letter is replayed once more, which
//! changes nothing: stages know a replayed record by the position it had first.

mod advice;
mod filter;
mod index;
mod list;
mod plan;
mod replay;
mod show;

use std::process::ExitCode;

use sendplane_wire::topic;

use crate::args::{Dlq, Format};
use crate::session::{Fault, Session};

/// Stages and their dead-letter topics.
const TOPICS: [(&str, &str); 4] = [
    ("ingest", topic::DEAD_LETTERS_INGEST),
    ("policy", topic::DEAD_LETTERS_POLICY),
    ("send", topic::DEAD_LETTERS_SEND),
    ("status-reconcile", topic::DEAD_LETTERS_STATUS_RECONCILE),
];

pub fn run(session: &Session, command: &Dlq) -> Result<ExitCode, Fault> {
    match command {
        Dlq::List(args) => list::run(session, args),
        Dlq::Show { id, json } => show::run(session, id, *json),
        Dlq::Replay(args) => replay::run(session, args),
    }
}

/// The dead-letter topic of a stage.
fn topic_of(stage: &str) -> Option<&'static str> {
    TOPICS.iter().find(|(name, _)| *name == stage).map(|(_, topic)| *topic)
}

fn stage_names() -> String {
    TOPICS.map(|(stage, _)| stage).join(", ")
}

fn format_of(session: &Session, json: bool) -> Format {
    if json { Format::Json } else { session.output }
}
