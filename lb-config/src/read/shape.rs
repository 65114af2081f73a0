//! What a reader asks of documents, written down as a JSON Schema for editors.
//!
//! A schema that is kept beside a reader is soon another truth. So none is kept: while documents are read,
//! every question is noted (which key, what kind of value, which range, which words), and what was asked is
//! the schema. A key of a table that no document has is not asked for, so the documents have to say
//! everything once; ours do (`tests/schema.rs`).

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

/// All that was asked so far.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// By path: `service.retry.attempts_max`; names that users choose are `*`.
    asked: BTreeMap<String, Asked>,
}

/// What was asked of one key.
#[derive(Clone, Debug, Default)]
struct Asked {
    /// Any of these would do; none: anything.
    kinds: Vec<Kind>,
    /// Of the items, if it may be a list.
    items: Vec<Kind>,
}

/// What a value may be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Text,
    Boolean,
    /// A whole number, with its bounds as they are written.
    Integer(String, String),
    Number(f64, f64),
    /// A text with a number and a unit.
    Duration,
    Size,
    Word(Vec<String>),
    List,
    Table,
    Tables,
}

impl Kind {
    pub(crate) fn integer<T: Display>(range: &RangeInclusive<T>) -> Self {
        Self::Integer(range.start().to_string(), range.end().to_string())
    }

    pub(crate) fn words<T>(words: &[(&str, T)]) -> Self {
        Self::Word(words.iter().map(|(word, _)| (*word).to_owned()).collect())
    }
}

impl Shape {
    /// Nothing was asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what was asked of another document.
    pub fn merge(&mut self, other: Self) {
        for (path, asked) in other.asked {
            let known = self.asked.entry(path).or_default();
            asked.kinds.into_iter().for_each(|kind| add(&mut known.kinds, kind));
            asked.items.into_iter().for_each(|kind| add(&mut known.items, kind));
        }
    }

    /// What was asked of the table at `path`, as if it were a document of its own.
    pub fn below(&self, path: &str) -> Self {
        let inside = self.asked.iter().filter_map(|(whole, asked)| {
            let rest = whole.strip_prefix(path)?.strip_prefix('.')?;
            Some((rest.to_owned(), asked.clone()))
        });
        Self { asked: inside.collect() }
    }

    pub(crate) fn ask(&mut self, path: String, of_item: bool, kind: Option<Kind>) {
        let known = self.asked.entry(path).or_default();
        let kinds = if of_item { &mut known.items } else { &mut known.kinds };
        kind.into_iter().for_each(|kind| add(kinds, kind));
    }

    /// The schema (draft 2020-12) of documents with that `title`. Tables at the paths of `elsewhere`
    /// have schemas of their own, by their addresses.
    pub fn schema(&self, title: &str, elsewhere: &[(&str, &str)]) -> Value {
        let mut schema = self.table("", elsewhere);
        schema.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
        schema.insert("title".into(), json!(title));
        Value::Object(schema)
    }

    fn table(&self, path: &str, elsewhere: &[(&str, &str)]) -> Map<String, Value> {
        if let Some((_, address)) = elsewhere.iter().find(|(known, _)| *known == path) {
            return Map::from_iter([("$ref".to_owned(), json!(address))]);
        }
        let mut properties = Map::new();
        let mut others = json!(false);
        for (key, asked) in self.keys(path) {
            let of_key = self.value(&super::table::join(path, key), asked, elsewhere);
            match key {
                "*" => others = of_key,
                _ => drop(properties.insert(key.to_owned(), of_key)),
            }
        }
        Map::from_iter([
            ("type".to_owned(), json!("object")),
            ("properties".to_owned(), Value::Object(properties)),
            ("additionalProperties".to_owned(), others),
        ])
    }

    /// The keys of the table at `path`.
    fn keys<'s>(&'s self, path: &'s str) -> impl Iterator<Item = (&'s str, &'s Asked)> {
        self.asked.iter().filter_map(move |(whole, asked)| {
            let (owner, key) = whole.rsplit_once('.').unwrap_or(("", whole));
            (owner == path).then_some((key, asked))
        })
    }

    fn value(&self, path: &str, asked: &Asked, elsewhere: &[(&str, &str)]) -> Value {
        let one = |kind: &Kind| match kind {
            Kind::Text => json!({ "type": "string" }),
            Kind::Boolean => json!({ "type": "boolean" }),
            Kind::Integer(least, most) => {
                let mut bounds = json!({ "type": "integer" });
                for (name, bound) in [("minimum", least), ("maximum", most)] {
                    let bound: Option<u64> = bound.parse().ok();
                    bound.into_iter().for_each(|bound| bounds[name] = json!(bound));
                }
                bounds
            }
            Kind::Number(least, most) => {
                json!({ "type": "number", "minimum": least, "maximum": most })
            }
            Kind::Duration => {
                let pattern = r"^([0-9]+(\.[0-9]+)?(us|ms|s|m|h|d))+$";
                json!({ "type": "string", "pattern": pattern, "examples": ["250ms", "30s"] })
            }
            Kind::Size => {
                let pattern = r"^[0-9]+(\.[0-9]+)?(B|kB|MB|GB|KiB|MiB|GiB)$";
                json!({ "type": "string", "pattern": pattern, "examples": ["64KiB"] })
            }
            Kind::Word(words) => json!({ "enum": words }),
            Kind::Table => Value::Object(self.table(path, elsewhere)),
            Kind::Tables => {
                json!({ "type": "array", "items": self.table(path, elsewhere) })
            }
            Kind::List => {
                json!({ "type": "array", "items": self.any(path, &asked.items, elsewhere) })
            }
        };
        let mut all: Vec<Value> = asked.kinds.iter().map(one).collect();
        match all.len() {
            0 => json!(true),
            1 => all.remove(0),
            _ => json!({ "anyOf": all }),
        }
    }

    fn any(&self, path: &str, kinds: &[Kind], elsewhere: &[(&str, &str)]) -> Value {
        let asked = Asked { kinds: kinds.to_vec(), items: Vec::new() };
        self.value(path, &asked, elsewhere)
    }
}

/// Adds a kind. Words that may be used are all those of all times that it was asked for; bounds that
/// depend on other values are as wide as they ever were.
fn add(kinds: &mut Vec<Kind>, kind: Kind) {
    if kinds.contains(&kind) {
        return;
    }
    for known in kinds.iter_mut() {
        match (&mut *known, &kind) {
            (Kind::Word(known), Kind::Word(words)) => {
                let new = words.iter().filter(|word| !known.contains(word)).cloned();
                let new: Vec<String> = new.collect();
                return known.extend(new);
            }
            (Kind::Integer(least, most), Kind::Integer(other_least, other_most)) => {
                let number = |text: &String| text.parse::<i128>().unwrap_or_default();
                if number(other_least) < number(least) {
                    least.clone_from(other_least);
                }
                if number(other_most) > number(most) {
                    most.clone_from(other_most);
                }
                return;
            }
            _ => {}
        }
    }
    kinds.push(kind);
}
