//! The layers of a configuration as one tree: a file, then the environment over it.

use std::collections::BTreeMap;
use std::fmt;

use super::Problem;

/// Every variable that starts so is configuration.
pub const ENV_PREFIX: &str = "SENDPLANE__";

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File,
    /// This environment variable.
    Env(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File => f.write_str("file"),
            Origin::Env(name) => f.write_str(name),
        }
    }
}

/// A table of the tree.
pub(super) type Table = BTreeMap<String, Node>;

/// A value on its way into a typed field. From the environment everything is a string.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Table(Table),
    /// An array of tables.
    Tables(Vec<Table>),
    Leaf(toml::Value, Origin),
}

impl Node {
    /// What it is, for people.
    pub fn kind(&self) -> &'static str {
        match self {
            Node::Table(_) => "a table",
            Node::Tables(_) => "an array of tables",
            Node::Leaf(toml::Value::String(_), _) => "a string",
            Node::Leaf(toml::Value::Integer(_), _) => "a whole number",
            Node::Leaf(toml::Value::Float(_), _) => "a number",
            Node::Leaf(toml::Value::Boolean(_), _) => "true or false",
            Node::Leaf(toml::Value::Array(_), _) => "an array",
            Node::Leaf(..) => "a date",
        }
    }
}

/// Parses the file's text.
pub(super) fn parse(text: &str) -> Result<Table, Problem> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        Problem::new("file", format!("is not TOML: {}", error.to_string().trim_end()), "mend it")
    })?;
    Ok(table_of(table))
}

fn table_of(table: toml::Table) -> Table {
    table.into_iter().map(|(key, value)| (key, node_of(value))).collect()
}

fn node_of(value: toml::Value) -> Node {
    match value {
        toml::Value::Table(table) => Node::Table(table_of(table)),
        toml::Value::Array(items)
            if !items.is_empty() && items.iter().all(toml::Value::is_table) =>
        {
            let tables = items.into_iter().filter_map(|item| match item {
                toml::Value::Table(table) => Some(table_of(table)),
                _ => None,
            });
            Node::Tables(tables.collect())
        }
        leaf => Node::Leaf(leaf, Origin::File),
    }
}

/// Lays the variables of `environment` that start with [`ENV_PREFIX`] over `table`:
/// `SENDPLANE__STATE__BLOCK_CACHE_BYTES` is `state.block-cache-bytes`, and a number counts the
/// tables of an array from 0.
pub(super) fn overlay(
    table: &mut Table,
    environment: &BTreeMap<String, String>,
    problems: &mut Vec<Problem>,
) {
    for (name, value) in environment {
        let Some(rest) = name.strip_prefix(ENV_PREFIX) else {
            continue;
        };
        let path: Vec<&str> = rest.split("__").collect();
        if path.len() < 2 || path.iter().any(|part| part.is_empty()) {
            problems.push(Problem::new(
                name,
                "names no field",
                "write SENDPLANE__SECTION__KEY with two underscores between the parts",
            ));
            continue;
        }
        let leaf = Node::Leaf(toml::Value::String(value.clone()), Origin::Env(name.clone()));
        if let Err(what) = put(table, &path, "", leaf) {
            problems.push(Problem::new(name, what, "take the variable away or name a field"));
        }
    }
}

fn put(table: &mut Table, path: &[&str], parent: &str, leaf: Node) -> Result<(), String> {
    let [first, rest @ ..] = path else {
        return Ok(());
    };
    let key = key_of(first, parent);
    if rest.is_empty() {
        return match table.insert(key, leaf) {
            Some(Node::Table(_) | Node::Tables(_)) => Err("names a section, not a field".into()),
            Some(Node::Leaf(..)) | None => Ok(()),
        };
    }
    match table.entry(key.clone()).or_insert_with(|| empty_for(rest)) {
        Node::Table(inner) => put(inner, rest, &key, leaf),
        Node::Tables(tables) => {
            let [index, rest @ ..] = rest else {
                return Ok(());
            };
            let index: usize =
                index.parse().map_err(|_| format!("{key} is an array, {index} is no index"))?;
            if index > tables.len() || rest.is_empty() {
                return Err(format!("{key} has {} tables, name a field of one", tables.len()));
            }
            if index == tables.len() {
                tables.push(Table::new());
            }
            put(&mut tables[index], rest, &key, leaf)
        }
        Node::Leaf(..) => Err(format!("{key} is a field, not a section")),
    }
}

fn empty_for(rest: &[&str]) -> Node {
    if rest[0].parse::<usize>().is_ok() {
        Node::Tables(Vec::new())
    } else {
        Node::Table(Table::new())
    }
}

/// Keys are kebab-case; librdkafka's properties have dots, and `_file` marks a secret's file.
fn key_of(part: &str, parent: &str) -> String {
    let lower = part.to_ascii_lowercase();
    if parent != "properties" {
        return lower.replace('_', "-");
    }
    match lower.strip_suffix("_file") {
        Some(property) => format!("{}_file", property.replace('_', ".")),
        None => lower.replace('_', "."),
    }
}
