//! Typed reading of the tree. A reader never stops at a problem: it notes it and goes on with a
//! value that fits, so that one start names everything that is wrong.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::tree::{Node, Origin, Table};
use super::{Effective, Problem, Secret};

/// What readers share.
#[derive(Default)]
pub(super) struct Findings {
    pub problems: Vec<Problem>,
    pub effective: Vec<Effective>,
}

/// One table of the configuration. Every field a reader asks for is taken out; what is left at the
/// end is unknown and a problem.
pub struct Section<'f> {
    path: String,
    table: Table,
    asked: Vec<String>,
    findings: &'f RefCell<Findings>,
}

impl<'f> Section<'f> {
    pub(super) fn root(table: Table, findings: &'f RefCell<Findings>) -> Self {
        Self { path: String::new(), table, asked: Vec::new(), findings }
    }

    /// A table inside this one; absent is the same as empty.
    pub fn section<T>(&mut self, key: &str, read: impl FnOnce(&mut Section<'_>) -> T) -> T {
        let table = match self.take(key) {
            None => Table::new(),
            Some(Node::Table(table)) => table,
            Some(other) => {
                self.problem(key, format!("is {}", other.kind()), "make it a table");
                Table::new()
            }
        };
        self.read_inner(self.at(key), table, read)
    }

    /// Whether a table or field is given at all.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// An array of tables.
    pub fn sections<T>(
        &mut self,
        key: &str,
        mut read: impl FnMut(&mut Section<'_>) -> T,
    ) -> Vec<T> {
        let tables = match self.take(key) {
            None => Vec::new(),
            Some(Node::Tables(tables)) => tables,
            Some(other) => {
                let fix = format!("write [[{}]] for each", self.at(key));
                self.problem(key, format!("is {}", other.kind()), fix);
                Vec::new()
            }
        };
        let path = self.at(key);
        let numbered = tables.into_iter().enumerate();
        numbered
            .map(|(n, table)| self.read_inner(format!("{path}[{n}]"), table, &mut read))
            .collect()
    }

    /// A table whose keys are names that the operator chooses and whose values are tables.
    pub fn named_sections<T>(
        &mut self,
        key: &str,
        mut read: impl FnMut(&mut Section<'_>) -> T,
    ) -> BTreeMap<String, T> {
        self.section(key, |inner| {
            let names: Vec<String> = inner.table.keys().cloned().collect();
            names.into_iter().map(|name| (name.clone(), inner.section(&name, &mut read))).collect()
        })
    }

    /// A text, or `default`.
    pub fn text(&mut self, key: &str, default: &str) -> String {
        let found = self.leaf(key, as_text);
        self.settle(key, found, || default.to_owned())
    }

    /// A text that must be there and not empty; `fix` says what to give.
    pub fn required_text(&mut self, key: &str, fix: &str) -> String {
        match self.leaf(key, as_text) {
            Some((text, origin)) if !text.is_empty() => {
                self.settle(key, Some((text, origin)), String::new)
            }
            Some(_) => self.missing(key, "is empty", fix),
            // A value of another type was a problem already.
            None if self.is_noted(key) => String::new(),
            None => self.missing(key, "is missing", fix),
        }
    }

    /// A text that `parse` understands, or `default`.
    pub fn parsed<T>(&mut self, key: &str, default: &str, fix: &str) -> Option<T>
    where
        T: FromStr<Err: Display>,
    {
        let text = self.text(key, default);
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(key, format!("is {text:?}: {error}"), fix);
                None
            }
        }
    }

    /// One of `options`, the first of which is the default.
    pub fn one_of(&mut self, key: &str, options: &[&'static str]) -> &'static str {
        let text = self.text(key, options[0]);
        options.iter().find(|option| **option == text).copied().unwrap_or_else(|| {
            self.problem(key, format!("is {text:?}"), format!("use {}", options.join(" or ")));
            options[0]
        })
    }

    /// A whole number within `range`, or `default`.
    pub fn whole(&mut self, key: &str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let found = self.leaf(key, as_whole);
        self.within(key, found, default, range)
    }

    /// A whole number of either sign within `range`, or `default`.
    pub fn signed(&mut self, key: &str, default: i64, range: RangeInclusive<i64>) -> i64 {
        let found = self.leaf(key, as_signed);
        self.within(key, found, default, range)
    }

    /// A number from 0 to 1, or `default`.
    pub fn fraction(&mut self, key: &str, default: f64) -> f64 {
        let found = self.leaf(key, as_number);
        let value = self.settle(key, found, || default);
        if (0.0..=1.0).contains(&value) {
            return value;
        }
        self.problem(key, format!("is {value}"), "give a number from 0 to 1");
        default
    }

    /// Milliseconds within `range`, or `default`; the key ends in `-ms`.
    pub fn millis(&mut self, key: &str, default: Duration, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.whole(key, default.as_millis() as u64, range))
    }

    /// A path, or `default`.
    pub fn path(&mut self, key: &str, default: &str) -> PathBuf {
        PathBuf::from(self.text(key, default))
    }

    /// An array of texts, or none; one text with commas in the environment.
    pub fn texts(&mut self, key: &str) -> Vec<String> {
        let found = self.leaf(key, as_texts);
        self.settle(key, found, Vec::new)
    }

    /// The content of the file that `key` names, without the line end. The file is read now, so
    /// that a start fails early; an empty one is a problem.
    pub fn secret_file(&mut self, key: &str, fix: &str) -> Secret {
        let path = self.required_text(key, fix);
        if path.is_empty() { Secret::default() } else { self.read_secret(key, &path) }
    }

    /// As [`Self::secret_file`], but may be absent.
    pub fn secret_file_if_any(&mut self, key: &str) -> Option<Secret> {
        let path = self.text(key, "");
        (!path.is_empty()).then(|| self.read_secret(key, &path))
    }

    /// Every remaining field as text, by key. `redact` says which values are not to be shown.
    pub(super) fn rest(
        &mut self,
        redact: impl Fn(&str) -> bool,
    ) -> BTreeMap<String, (String, Origin)> {
        let keys: Vec<String> = self.table.keys().cloned().collect();
        let mut rest = BTreeMap::new();
        for key in keys {
            let Some((text, origin)) = self.leaf(&key, as_plain) else {
                continue;
            };
            let shown = if redact(&key) { Secret::REDACTED.to_owned() } else { text.clone() };
            self.note(&key, toml::Value::String(shown), &origin);
            rest.insert(key, (text, origin));
        }
        rest
    }

    /// Notes that the value of `key` cannot be used and what to do about it.
    pub fn problem(&self, key: &str, what: impl Into<String>, fix: impl Into<String>) {
        self.findings.borrow_mut().problems.push(Problem::new(self.at(key), what, fix));
    }

    pub(super) fn read_secret(&self, key: &str, path: &str) -> Secret {
        match Secret::read(path) {
            Ok(secret) => secret,
            Err(what) => {
                self.problem(key, what, "name a readable file that holds the secret");
                Secret::default()
            }
        }
    }

    fn read_inner<T>(
        &self,
        path: String,
        table: Table,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        let mut inner = Section { path, table, asked: Vec::new(), findings: self.findings };
        let value = read(&mut inner);
        inner.finish();
        value
    }

    pub(super) fn finish(self) {
        for (key, node) in &self.table {
            let fix = match closest(key, &self.asked) {
                Some(known) => format!("did you mean {known}?"),
                None => format!("known here: {}", self.asked.join(", ")),
            };
            let origin = match node {
                Node::Leaf(_, Origin::Env(name)) => format!(" (from {name})"),
                _ => String::new(),
            };
            self.problem(key, format!("is not known{origin}"), fix);
        }
    }

    fn take(&mut self, key: &str) -> Option<Node> {
        self.asked.push(key.to_owned());
        self.table.remove(key)
    }

    /// The value of `key` in its type; notes a problem and gives `None` when it is of another.
    fn leaf<T>(
        &mut self,
        key: &str,
        read: impl Fn(&toml::Value, &Origin) -> Result<T, &'static str>,
    ) -> Option<(T, Origin)> {
        let node = self.take(key)?;
        let expected = match &node {
            Node::Leaf(value, origin) => match read(value, origin) {
                Ok(value) => return Some((value, origin.clone())),
                Err(expected) => expected,
            },
            Node::Table(_) | Node::Tables(_) => "a single value",
        };
        self.problem(key, format!("is {}", node.kind()), format!("make it {expected}"));
        None
    }

    fn settle<T: Shown>(
        &mut self,
        key: &str,
        found: Option<(T, Origin)>,
        default: impl FnOnce() -> T,
    ) -> T {
        let (value, origin) = found.unwrap_or_else(|| (default(), Origin::Default));
        self.note(key, value.shown(), &origin);
        value
    }

    /// What was found, if it is within `range`, or `default`.
    fn within<T: Shown + Copy + Display + PartialOrd>(
        &mut self,
        key: &str,
        found: Option<(T, Origin)>,
        default: T,
        range: RangeInclusive<T>,
    ) -> T {
        let value = self.settle(key, found, || default);
        if range.contains(&value) {
            return value;
        }
        let fix = format!("give a whole number from {} to {}", range.start(), range.end());
        self.problem(key, format!("is {value}"), fix);
        default
    }

    fn note(&self, key: &str, shown: toml::Value, origin: &Origin) {
        let entry = Effective {
            section: self.path.clone(),
            key: key.to_owned(),
            value: shown,
            origin: origin.clone(),
        };
        self.findings.borrow_mut().effective.push(entry);
    }

    fn missing(&self, key: &str, what: &str, fix: &str) -> String {
        self.problem(key, what, fix);
        String::new()
    }

    fn is_noted(&self, key: &str) -> bool {
        let path = self.at(key);
        self.findings.borrow().problems.iter().any(|problem| problem.path == path)
    }

    fn at(&self, key: &str) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let key = if key.chars().all(plain) { key.to_owned() } else { format!("{key:?}") };
        if self.path.is_empty() { key } else { format!("{}.{key}", self.path) }
    }
}

/// How a value is printed.
trait Shown {
    fn shown(&self) -> toml::Value;
}

impl Shown for String {
    fn shown(&self) -> toml::Value {
        toml::Value::String(self.clone())
    }
}

impl Shown for u64 {
    fn shown(&self) -> toml::Value {
        toml::Value::Integer(i64::try_from(*self).unwrap_or(i64::MAX))
    }
}

impl Shown for i64 {
    fn shown(&self) -> toml::Value {
        toml::Value::Integer(*self)
    }
}

impl Shown for f64 {
    fn shown(&self) -> toml::Value {
        toml::Value::Float(*self)
    }
}

impl Shown for Vec<String> {
    fn shown(&self) -> toml::Value {
        toml::Value::Array(self.iter().cloned().map(toml::Value::String).collect())
    }
}

fn as_text(value: &toml::Value, _origin: &Origin) -> Result<String, &'static str> {
    value.as_str().map(str::to_owned).ok_or("a string")
}

/// Properties of librdkafka are often numbers or switches.
fn as_plain(value: &toml::Value, _origin: &Origin) -> Result<String, &'static str> {
    match value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Boolean(switch) => Ok(switch.to_string()),
        _ => Err("a string"),
    }
}

fn as_whole(value: &toml::Value, origin: &Origin) -> Result<u64, &'static str> {
    let found = match (value, origin) {
        (toml::Value::String(text), Origin::Env(_)) => text.trim().parse().ok(),
        (value, _) => value.as_integer().and_then(|number| u64::try_from(number).ok()),
    };
    found.ok_or("a whole number from 0")
}

fn as_signed(value: &toml::Value, origin: &Origin) -> Result<i64, &'static str> {
    let found = match (value, origin) {
        (toml::Value::String(text), Origin::Env(_)) => text.trim().parse().ok(),
        (value, _) => value.as_integer(),
    };
    found.ok_or("a whole number")
}

fn as_number(value: &toml::Value, origin: &Origin) -> Result<f64, &'static str> {
    let found = match (value, origin) {
        (toml::Value::String(text), Origin::Env(_)) => text.trim().parse().ok(),
        (toml::Value::Integer(number), _) => Some(*number as f64),
        (value, _) => value.as_float(),
    };
    found.ok_or("a number")
}

fn as_texts(value: &toml::Value, origin: &Origin) -> Result<Vec<String>, &'static str> {
    const EXPECTED: &str = "an array of strings";
    match (value, origin) {
        (toml::Value::String(text), Origin::Env(_)) => Ok(text
            .split(',')
            .map(|part| part.trim().to_owned())
            .filter(|part| !part.is_empty())
            .collect()),
        (toml::Value::Array(items), _) => {
            items.iter().map(|item| item.as_str().map(str::to_owned).ok_or(EXPECTED)).collect()
        }
        _ => Err(EXPECTED),
    }
}

/// The known key that `key` is most likely a misspelling of.
fn closest<'k>(key: &str, known: &'k [String]) -> Option<&'k String> {
    known
        .iter()
        .map(|candidate| (distance(key, candidate), candidate))
        .filter(|(distance, _)| *distance <= 2)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
