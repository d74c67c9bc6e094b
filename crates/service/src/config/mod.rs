//! Configuration: defaults, then `--config FILE.toml`, then `SENDPLANE__SECTION__KEY`.
//!
//! Every problem is found in one go and named with its path and what to do; unknown keys are
//! problems. Sections that all binaries share are in [`base`], a binary reads its own from the same
//! tree through [`Section`].

mod base;
mod hash_key;
mod kafka;
mod secret;
mod section;
mod tree;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

pub use base::{Admin, Base, Log, LogFormat, Registry};
pub use kafka::properties;
pub use secret::Secret;
pub use section::Section;
pub use tree::{ENV_PREFIX, Origin};

/// Something that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The field, for example `kafka.properties."bootstrap.servers"`, or the variable.
    pub path: String,
    /// What is wrong with it.
    pub what: String,
    /// What to do.
    pub fix: String,
}

impl Problem {
    fn new(path: impl Into<String>, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { path: path.into(), what: what.into(), fix: fix.into() }
    }
}

/// All problems of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "configuration has {count} problem{}:", if count == 1 { "" } else { "s" })?;
        for Problem { path, what, fix } in &self.0 {
            write!(f, "\n  {path} {what}; {fix}")?;
        }
        Ok(())
    }
}

/// One value in force.
#[derive(Clone, Debug)]
pub(crate) struct Effective {
    section: String,
    key: String,
    value: toml::Value,
    origin: Origin,
}

/// A valid configuration: the shared sections, the binary's own, and how to print them.
#[derive(Clone, Debug)]
pub struct Config<T> {
    /// Shared by all binaries.
    pub base: Base,
    /// The binary's own sections.
    pub own: T,
    effective: Vec<Effective>,
}

impl<T> Config<T> {
    /// Loads and validates. `environment` is all of it; other variables are ignored.
    pub fn load(
        file: Option<&Path>,
        environment: &BTreeMap<String, String>,
        own: impl FnOnce(&mut Section<'_>) -> T,
    ) -> Result<Self, Problems> {
        let findings = RefCell::new(section::Findings::default());
        let mut table = match file.map(read_file).transpose() {
            Ok(table) => table.unwrap_or_default(),
            Err(problem) => {
                // What the environment alone lacks would only hide the real fault.
                return Err(Problems(vec![problem]));
            }
        };
        tree::overlay(&mut table, environment, &mut findings.borrow_mut().problems);
        let mut root = Section::root(table, &findings);
        let base = Base::read(&mut root);
        let own = own(&mut root);
        root.finish();
        let section::Findings { problems, effective } = findings.into_inner();
        if problems.is_empty() {
            Ok(Self { base, own, effective })
        } else {
            Err(Problems(problems))
        }
    }

    /// The values in force as TOML, secrets redacted, each with where it comes from.
    pub fn print(&self) -> String {
        let mut sections: Vec<(&str, String)> = Vec::new();
        for Effective { section, key, value, origin } in &self.effective {
            let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
            let key = if plain { key.clone() } else { format!("{key:?}") };
            let line = format!("{key} = {value} # {origin}\n");
            match sections.iter_mut().find(|(known, _)| known == section) {
                Some((_, lines)) => lines.push_str(&line),
                None => sections.push((section, line)),
            }
        }
        let texts = sections.iter().map(|(section, lines)| match section.rsplit_once('[') {
            Some((array, _index)) => format!("[[{array}]]\n{lines}"),
            None => format!("[{section}]\n{lines}"),
        });
        texts.collect::<Vec<_>>().join("\n")
    }
}

fn read_file(path: &Path) -> Result<tree::Table, Problem> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let what = format!("{} cannot be read: {error}", path.display());
        Problem::new("--config", what, "name a readable TOML file")
    })?;
    tree::parse(&text)
}

/// The whole environment: the only place that reads it. Variables that are not UTF-8 are not ours.
pub fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests;
