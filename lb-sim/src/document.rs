//! Scenarios as documents: trees of keys and values that can be changed and written down again.
//!
//! A swarm draws such trees and a shrinker prunes them. What either of them makes is text, and goes through
//! [`scenario::load`](crate::scenario::load) like what a person wrote. Comments do not survive: what they
//! said of a scenario need not be true of what is left of it.

use std::fmt::Write;

use toml::{Table, Value};

/// Where something is in a document.
pub(crate) type Path = Vec<Step>;

/// One step further into a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Nth(usize),
}

/// Keys in the order in which a person would write them; others follow in the order of the alphabet.
const ORDER: [&str; 22] = [
    "schema",
    "seed",
    "duration",
    "recover_within",
    "name",
    "at",
    "for",
    "kind",
    "origin",
    "rate",
    "bind",
    "hosts",
    "network",
    "enabled",
    "policy",
    "workload",
    "fault",
    "action",
    "config",
    "listener",
    "service",
    "pool",
];
/// Tables that are written within a line.
const IN_LINE: [&str; 8] =
    ["backends", "network", "latency", "budget", "backoff", "hedge", "adaptive", "backend"];

/// The document that a text is.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn parsed(text: &str) -> Result<Table, String> {
    text.parse::<Table>().map_err(|error| error.to_string().trim_end().to_owned())
}

/// The text of a document, behind lines of comment.
pub(crate) fn written(comments: &[&str], root: &Table) -> String {
    let mut out: String = comments.iter().map(|line| format!("# {line}\n")).collect();
    write_table(root, "", &mut out);
    out
}

fn write_table(table: &Table, path: &str, out: &mut String) {
    let mut entries: Vec<(&String, &Value)> = table.iter().collect();
    let rank = |key: &str| ORDER.iter().position(|it| *it == key).unwrap_or(ORDER.len());
    entries.sort_by_key(|(key, _)| rank(key));
    let is_below = |key: &str, value: &Value| match value {
        Value::Table(_) => !IN_LINE.contains(&key),
        Value::Array(list) => {
            !IN_LINE.contains(&key) && !list.is_empty() && list.iter().all(Value::is_table)
        }
        _ => false,
    };
    for (key, value) in entries.iter().filter(|(key, value)| !is_below(key, value)) {
        put(out, format_args!("{key} = {value}\n"));
    }
    for (key, value) in entries.into_iter().filter(|(key, value)| is_below(key, value)) {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match value {
            Value::Table(inner) => {
                let only_tables =
                    !inner.is_empty() && inner.iter().all(|(key, it)| is_below(key, it));
                if !only_tables {
                    put(out, format_args!("\n[{path}]\n"));
                }
                write_table(inner, &path, out);
            }
            Value::Array(list) => {
                for inner in list.iter().filter_map(Value::as_table) {
                    put(out, format_args!("\n[[{path}]]\n"));
                    write_table(inner, &path, out);
                }
            }
            _ => unreachable!("only tables and lists of them are written below"),
        }
    }
}

fn put(out: &mut String, what: std::fmt::Arguments<'_>) {
    out.write_fmt(what).expect("writing to a string cannot fail");
}

/// What is at `path`.
pub(crate) fn at<'v>(root: &'v Table, path: &[Step]) -> Option<&'v Value> {
    let (Step::Key(first), rest) = path.split_first()? else { return None };
    rest.iter().try_fold(root.get(first)?, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Nth(nth) => value.get(*nth),
    })
}

/// What is at `path`, to be changed.
pub(crate) fn at_mut<'v>(root: &'v mut Table, path: &[Step]) -> Option<&'v mut Value> {
    let (Step::Key(first), rest) = path.split_first()? else { return None };
    rest.iter().try_fold(root.get_mut(first)?, |value, step| match step {
        Step::Key(key) => value.get_mut(key),
        Step::Nth(nth) => value.get_mut(*nth),
    })
}

/// The table at `path`; an empty path is the document itself.
pub(crate) fn table_mut<'v>(root: &'v mut Table, path: &[Step]) -> Option<&'v mut Table> {
    if path.is_empty() { Some(root) } else { at_mut(root, path)?.as_table_mut() }
}

/// The paths of all values, whoever contains another first.
pub(crate) fn paths(root: &Table) -> Vec<Path> {
    let mut found = Vec::new();
    for (key, value) in root {
        walk(value, &[Step::Key(key.clone())], &mut found);
    }
    found
}

fn walk(value: &Value, path: &[Step], found: &mut Vec<Path>) {
    found.push(path.to_vec());
    let below = |step: Step| [path, &[step]].concat();
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                walk(value, &below(Step::Key(key.clone())), found);
            }
        }
        Value::Array(list) => {
            for (nth, value) in list.iter().enumerate() {
                walk(value, &below(Step::Nth(nth)), found);
            }
        }
        _ => {}
    }
}

/// The tables of a list by this name; none if there is no such list.
pub(crate) fn tables<'v>(table: &'v Table, key: &str) -> impl Iterator<Item = &'v Table> {
    table.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_table)
}

/// The same, to be changed.
pub(crate) fn tables_mut<'v>(
    table: &'v mut Table,
    key: &str,
) -> impl Iterator<Item = &'v mut Table> {
    let list = table.get_mut(key).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_table_mut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_the_same_document() {
        let text = "\
            schema = 1\nnetwork = { min = \"1ms\", max = \"2ms\" }\n[workload]\nrate = 2.5\n[workload.again]\n\
            tries = 1\n[[fault]]\nkind = \"crash\"\nat = \"1s\"\n[[fault]]\nkind = \"slow\"\n\
            [[config.service]]\nname = \"web\"\n[config.service.retry]\nbudget = { percent = 5 }\n\
            [[config.service.pool]]\nbackends = [{ url = \"http://b1\", weight = 2 }]\n";
        let root = parsed(text).expect("it is TOML");
        let out = written(&["A claim."], &root);
        assert_eq!(parsed(&out).expect("it is TOML"), root, "{out}");
        assert!(out.starts_with("# A claim.\nschema = 1\n"), "{out}");
        assert!(out.contains("\n[[fault]]\nat = \"1s\"\nkind = \"crash\"\n"), "{out}");
        assert!(out.contains("backends = [{ url = \"http://b1\", weight = 2 }]\n"), "{out}");
    }

    #[test]
    fn every_value_has_a_path_that_leads_to_it() {
        let root = parsed("a = 1\n[[b]]\nc = [2, 3]\n").expect("it is TOML");
        let all = paths(&root);
        assert_eq!(all.len(), 6);
        assert!(all.iter().all(|path| at(&root, path).is_some()));
        let last = all.last().expect("there are six");
        assert_eq!(at(&root, last), Some(&Value::Integer(3)));
    }
}
