//! JSON as the values that TOML has, with their places, so that one reader reads both.

use jsonc_parser::ast::{ObjectPropName, Value};
use jsonc_parser::common::{Range, Ranged};
use jsonc_parser::errors::ParseError;
use jsonc_parser::{CollectOptions, CommentCollectionStrategy, ParseOptions, parse_to_ast};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is wrong with the text, and where.
pub(super) struct Wrong {
    pub(super) at: usize,
    pub(super) what: String,
    pub(super) remedy: &'static str,
}

/// RFC 8259 and nothing beyond it.
const STRICT: ParseOptions = ParseOptions {
    allow_comments: false,
    allow_loose_object_property_names: false,
    allow_trailing_commas: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// The members of the object that `text` is. An array stands for an object with it under `only`.
pub(super) fn parse<'s>(text: &'s str, only: &'static str) -> Result<DeTable<'s>, Wrong> {
    let collect = CollectOptions { comments: CommentCollectionStrategy::Off, tokens: false };
    let parsed = parse_to_ast(text, &collect, &STRICT).map_err(|error| unreadable(&error))?;
    match parsed.value {
        Some(array @ Value::Array(_)) => {
            let at = array.range().start;
            let mut root = DeTable::new();
            root.insert(Spanned::new(at..at, only.into()), value(array)?);
            Ok(root)
        }
        Some(Value::Object(object)) => members(object),
        Some(other) => Err(Wrong {
            at: other.range().start,
            what: "the file is neither an array nor an object".to_owned(),
            remedy: "write { \"backends\": [..] }",
        }),
        None => Err(Wrong {
            at: 0,
            what: "the file is empty".to_owned(),
            remedy: "write { \"backends\": [..] }",
        }),
    }
}

fn members<'s>(object: jsonc_parser::ast::Object<'s>) -> Result<DeTable<'s>, Wrong> {
    let mut table = DeTable::new();
    for member in object.properties {
        let Range { start, end } = member.name.range();
        let name = match member.name {
            ObjectPropName::String(name) => name.value,
            ObjectPropName::Word(name) => name.value.into(),
        };
        let what = format!("{name:?} is set twice");
        if table.insert(Spanned::new(start..end, name), value(member.value)?).is_some() {
            return Err(Wrong { at: start, what, remedy: "keep one of the two" });
        }
    }
    Ok(table)
}

fn value<'s>(value: Value<'s>) -> Result<Spanned<DeValue<'s>>, Wrong> {
    let Range { start, end } = value.range();
    let read = match value {
        Value::StringLit(text) => DeValue::String(text.value),
        Value::BooleanLit(answer) => DeValue::Boolean(answer.value),
        Value::NumberLit(number) => number_of(number.value, start)?,
        Value::Array(array) => {
            let items = array.elements.into_iter().map(self::value);
            DeValue::Array(items.collect::<Result<Vec<_>, _>>()?.into_iter().collect())
        }
        Value::Object(object) => DeValue::Table(members(object)?),
        Value::NullKeyword(_) => {
            let what = "null is not a value here".to_owned();
            return Err(Wrong { at: start, what, remedy: "remove the key" });
        }
    };
    Ok(Spanned::new(start..end, read))
}

/// A number of JSON is one of TOML, but for an exponent after a whole number with a leading zero, which
/// JSON does not have either.
fn number_of(text: &str, at: usize) -> Result<DeValue<'_>, Wrong> {
    DeValue::parse(text).map(Spanned::into_inner).map_err(|_| Wrong {
        at,
        what: format!("{text} is not a number that can be read"),
        remedy: "write a whole number",
    })
}

fn unreadable(error: &ParseError) -> Wrong {
    let what = error.kind().to_string();
    let mut letters = what.chars();
    let first = letters.next().map(|first| first.to_ascii_lowercase());
    let what = first.into_iter().chain(letters).collect();
    Wrong { at: error.range().start, what, remedy: "correct the JSON here" }
}
