//! What happened, for people: kept only when a failing seed is repeated.

use sendplane_domain::id::MessageId;

use crate::time::{Micros, seconds};

/// One line.
#[derive(Clone, Debug)]
pub struct Note {
    /// True time.
    pub at: Micros,
    /// Who: a process, the provider, the gateway, upstream.
    pub who: String,
    /// Stage and partition concerned.
    pub task: Option<(&'static str, i32)>,
    /// Message concerned.
    pub message: Option<MessageId>,
    /// What.
    pub text: String,
}

/// The lines of a run.
#[derive(Debug, Default)]
pub struct Trace {
    is_on: bool,
    notes: Vec<Note>,
}

impl Trace {
    /// Keeps lines, or forgets them.
    pub fn new(is_on: bool) -> Self {
        Self { is_on, notes: Vec::new() }
    }

    /// Whether anybody wants lines.
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Keeps the line that `note` makes, if anybody wants it.
    pub fn note(&mut self, note: impl FnOnce() -> Note) {
        if self.is_on {
            self.notes.push(note());
        }
    }

    /// Ends the run.
    pub fn into_notes(self) -> Vec<Note> {
        self.notes
    }
}

/// How long before and after the lines that matter everything general is shown.
const AROUND: Micros = seconds(2);

/// Lines at most: the last ones tell what broke.
const LINES_MAX: usize = 150;

/// The lines that concern one of the messages or tasks, and what happened to processes meanwhile.
pub fn about(notes: &[Note], messages: &[MessageId], tasks: &[(&'static str, i32)]) -> Vec<String> {
    let concerns = |note: &Note| {
        note.message.is_some_and(|message| messages.contains(&message))
            || note.task.is_some_and(|task| tasks.contains(&task))
    };
    let times = || notes.iter().filter(|note| concerns(note)).map(|note| note.at);
    let from = times().min().unwrap_or(0) - AROUND;
    let to = times().max().unwrap_or(Micros::MAX - AROUND) + AROUND;
    let is_general = |note: &Note| {
        note.message.is_none() && note.task.is_none() && (from..=to).contains(&note.at)
    };
    let mut found: Vec<&Note> =
        notes.iter().filter(|note| concerns(note) || is_general(note)).collect();
    found.sort_by_key(|note| note.at);
    found
        .iter()
        .skip(found.len().saturating_sub(LINES_MAX))
        .map(|note| {
            let task = note.task.map_or(String::new(), |(stage, p)| format!(" {stage}/{p}"));
            format!("{:>11.3} s  {}{task}: {}", note.at as f64 / 1e6, note.who, note.text)
        })
        .collect()
}
