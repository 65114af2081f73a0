//! One value: what it is read as, and what is said when it is something else.
//!
//! Every complaint has one shape, `key value what; remedy`, as in
//! `weight 0 is out of range; use 1..=1000`.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeInteger, DeValue};

use crate::diagnostic::{At, Report};
use crate::quantity;
use crate::read::Table;
use crate::read::shape::Kind;
use crate::read::suggest::closest;
use crate::read::table::{Many, join};

/// What is wrong with a value, said after its key and itself: `connect "30"` + `has no unit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// A predicate: "has no unit".
    pub what: String,
    /// What to do about it: `write "30s"`.
    pub remedy: String,
}

impl Mistake {
    /// A mistake in these words.
    pub fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

/// One value of a document, with the key that it is under.
///
/// Each reader returns `None` after reporting why the value cannot be read as asked.
#[derive(Clone, Debug)]
pub struct Value<'d> {
    report: &'d Report<'d>,
    owner: std::rc::Rc<str>,
    key: &'d str,
    value: &'d Spanned<DeValue<'d>>,
    /// Whether it is an item of what is under the key.
    is_item: bool,
    /// Whether the key is a name that the user chose.
    is_named: bool,
}

impl<'d> Value<'d> {
    pub(super) fn new(
        report: &'d Report<'d>,
        owner: &std::rc::Rc<str>,
        key: &'d str,
        value: &'d Spanned<DeValue<'d>>,
    ) -> Self {
        let owner = std::rc::Rc::clone(owner);
        Self { report, owner, key, value, is_item: false, is_named: false }
    }

    /// The same under a name that the user chose.
    pub(super) fn named(self) -> Self {
        Self { is_named: true, ..self }
    }

    /// Notes what would do.
    fn note(&self, kind: impl FnOnce() -> Kind) {
        self.report.ask(self.is_item, || {
            let key = if self.is_named { "*" } else { self.key };
            (join(&self.owner, key), Some(kind()))
        });
    }

    /// Where it is.
    pub fn at(&self) -> At {
        At(self.value.span().start)
    }

    /// Whether it is a text, for values that may be a text or something else.
    pub fn is_text(&self) -> bool {
        self.value.get_ref().is_str()
    }

    /// Whether it is a table, likewise.
    pub fn is_table(&self) -> bool {
        self.value.get_ref().is_table()
    }

    /// The whole number that it is, for values of which one means something else. Reports nothing.
    pub fn as_integer(&self) -> Option<i128> {
        self.value.get_ref().as_integer().and_then(whole)
    }

    /// Reports that the value has `mistake`.
    pub fn wrong(&self, mistake: &Mistake) {
        let (key, value) = (shorten(self.key), self.show());
        self.report.error(self.at(), format!("{key}{value} {}", mistake.what), &mistake.remedy);
    }

    /// A text, as it is.
    pub fn text(&self) -> Option<&'d str> {
        self.note(|| Kind::Text);
        match self.value.get_ref() {
            DeValue::String(text) => Some(text),
            _ => self.wrong_kind("write a text in quotes"),
        }
    }

    /// A text that `parse` understands.
    pub fn parsed<T>(&self, parse: impl FnOnce(&str) -> Result<T, Mistake>) -> Option<T> {
        self.good(parse(self.text()?))
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        self.note(|| Kind::words(words));
        let all =
            || words.iter().map(|(word, _)| format!("{word:?}")).collect::<Vec<_>>().join(", ");
        let DeValue::String(text) = self.value.get_ref() else {
            return self.wrong_kind(&format!("use one of {}", all()));
        };
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == &**text) {
            return Some(*meaning);
        }
        let remedy = match closest(text, words.iter().map(|(word, _)| *word)) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!("use one of {}", all()),
        };
        self.bad("is unknown", remedy)
    }

    /// The place of one of `names`, of which there are too many to list; `otherwise` says what else
    /// could be done than to correct a slip.
    pub fn name_among(&self, names: &[&str], otherwise: &str) -> Option<usize> {
        let text = self.text()?;
        if let Some(place) = names.iter().position(|name| *name == text) {
            return Some(place);
        }
        match closest(text, names.iter().copied()) {
            Some(meant) => self.bad("is unknown", format!("did you mean {meant:?}?")),
            None => self.bad("is unknown", otherwise),
        }
    }

    /// `true` or `false`.
    pub fn boolean(&self) -> Option<bool> {
        self.note(|| Kind::Boolean);
        match self.value.get_ref() {
            DeValue::Boolean(answer) => Some(*answer),
            _ => self.wrong_kind("write true or false, without quotes"),
        }
    }

    /// A whole number in `range`.
    pub fn integer<T>(&self, range: RangeInclusive<T>) -> Option<T>
    where
        T: Copy + PartialOrd + Display + TryFrom<i128>,
    {
        self.note(|| Kind::integer(&range));
        if !self.value.get_ref().is_integer() {
            return self.wrong_kind("write a whole number");
        }
        match self.as_integer().and_then(|number| T::try_from(number).ok()) {
            Some(number) if range.contains(&number) => Some(number),
            _ => self.bad("is out of range", format!("use {}..={}", range.start(), range.end())),
        }
    }

    /// A number in `range`, with or without a fraction.
    pub fn number(&self, range: RangeInclusive<f64>) -> Option<f64> {
        self.note(|| Kind::Number(*range.start(), *range.end()));
        let number: Option<f64> = match self.value.get_ref() {
            DeValue::Float(float) => float.as_str().parse().ok(),
            // Through text, because that rounds to the nearest where `as` would be a lossy cast.
            DeValue::Integer(integer) => whole(integer).and_then(|n| n.to_string().parse().ok()),
            _ => return self.wrong_kind("write a number"),
        };
        match number {
            Some(number) if range.contains(&number) => Some(number),
            _ => self.bad("is out of range", format!("use {}..={}", range.start(), range.end())),
        }
    }

    /// A duration in `range`, as text.
    pub fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        self.note(|| Kind::Duration);
        let text = match self.value.get_ref() {
            DeValue::String(text) => text,
            DeValue::Integer(number) => return self.without_unit(number.as_str()),
            DeValue::Float(number) => return self.without_unit(number.as_str()),
            _ => return self.wrong_kind("write a duration, such as \"30s\""),
        };
        let duration = self.good(quantity::duration(text))?;
        if range.contains(&duration) {
            return Some(duration);
        }
        let show = quantity::show_duration;
        self.bad(
            "is out of range",
            format!("use {}..={}", show(*range.start()), show(*range.end())),
        )
    }

    /// A number of bytes in `range`, as text.
    pub fn size(&self, range: RangeInclusive<usize>) -> Option<usize> {
        self.note(|| Kind::Size);
        let text = match self.value.get_ref() {
            DeValue::String(text) => text,
            DeValue::Integer(number) => {
                let size = whole(number).and_then(|number| usize::try_from(number).ok());
                let size = size.unwrap_or(*range.end());
                return self.bad("has no unit", format!("write {:?}", quantity::show_size(size)));
            }
            _ => return self.wrong_kind("write a size, such as \"64KiB\""),
        };
        let size = self.good(quantity::size(text))?;
        if range.contains(&size) {
            return Some(size);
        }
        let show = quantity::show_size;
        self.bad(
            "is out of range",
            format!("use {}..={}", show(*range.start()), show(*range.end())),
        )
    }

    /// An array, each item read by `read`. Items with a mistake are left out; when that leaves
    /// nothing, the array has a mistake itself, so that an empty one was really written empty.
    pub fn list<T>(&self, read: impl FnMut(Value<'d>) -> Option<T>) -> Option<Vec<T>> {
        self.note(|| Kind::List);
        self.items(read)
    }

    fn items<T>(&self, mut read: impl FnMut(Value<'d>) -> Option<T>) -> Option<Vec<T>> {
        let DeValue::Array(items) = self.value.get_ref() else {
            return self.wrong_kind(&format!("write an array, as in {} = [..]", self.key));
        };
        let good: Vec<T> = items
            .iter()
            .filter_map(|item| read(Self { value: item, is_item: true, ..self.clone() }))
            .collect();
        (items.is_empty() || !good.is_empty()).then_some(good)
    }

    /// A table, as the single one of its key.
    pub fn table(&self) -> Option<Table<'d>> {
        self.note(|| Kind::Table);
        match self.value.get_ref() {
            DeValue::Table(entries) => Some(Table::new(self, Some(entries), Many::One)),
            _ => self.wrong_kind(&format!("write a table, as in [{}]", self.path())),
        }
    }

    /// A table that is an item of an array.
    pub fn item_table(&self) -> Option<Table<'d>> {
        self.note(|| Kind::Table);
        match self.value.get_ref() {
            DeValue::Table(entries) => Some(Table::new(self, Some(entries), Many::Array)),
            _ => self.wrong_kind(&format!("write a table, as in [[{}]]", self.path())),
        }
    }

    /// An array of tables. A single table is a mistake, but read all the same to find others.
    pub fn tables(&self) -> Option<Vec<Table<'d>>> {
        self.note(|| Kind::Tables);
        match self.value.get_ref() {
            DeValue::Table(_) => {
                let remedy = format!("write [[{}]] for each, with two brackets", self.path());
                self.wrong(&Mistake::new("is a single table", remedy));
                self.item_table().map(|table| vec![table])
            }
            DeValue::Array(_) => self.items(|item| item.item_table()),
            _ => self.wrong_kind(&format!("write tables, as in [[{}]]", self.path())),
        }
    }

    /// Where mistakes are reported in other words than [`Value::wrong`] has, as for secrets.
    pub fn report(&self) -> &'d Report<'d> {
        self.report
    }

    /// `service.retry.statuses`.
    pub(super) fn path(&self) -> String {
        join(&self.owner, self.key)
    }

    fn wrong_kind<T>(&self, remedy: &str) -> Option<T> {
        let kind = match self.value.get_ref() {
            DeValue::String(_) => "is a text",
            DeValue::Integer(_) | DeValue::Float(_) => "is a number",
            DeValue::Boolean(_) => "is a boolean",
            DeValue::Datetime(_) => "is a date",
            DeValue::Array(_) => "is an array",
            DeValue::Table(_) => "is a table",
        };
        self.bad(kind, remedy)
    }

    /// A number where a duration should be: seconds are what most people mean.
    fn without_unit<T>(&self, number: &str) -> Option<T> {
        let seconds = format!("{number}s");
        let meant = if quantity::duration(&seconds).is_ok() { &seconds } else { "30s" };
        self.bad("has no unit", format!("write {meant:?}"))
    }

    fn good<T>(&self, parsed: Result<T, Mistake>) -> Option<T> {
        parsed.map_err(|mistake| self.wrong(&mistake)).ok()
    }

    fn bad<T>(&self, what: &str, remedy: impl Into<String>) -> Option<T> {
        self.wrong(&Mistake::new(what, remedy));
        None
    }

    /// The value with a space before it, if it is short enough to repeat.
    fn show(&self) -> String {
        match self.value.get_ref() {
            DeValue::String(text) => format!(" {:?}", shorten(&without_user(text))),
            DeValue::Integer(number) => format!(" {}", shorten(&number.to_string())),
            DeValue::Float(number) => format!(" {}", shorten(&number.to_string())),
            DeValue::Boolean(answer) => format!(" {answer}"),
            DeValue::Datetime(date) => format!(" {date}"),
            DeValue::Array(_) | DeValue::Table(_) => String::new(),
        }
    }
}

/// At most about a line of what the user wrote, and on one line: a value can be megabytes long.
pub(super) fn shorten(text: &str) -> String {
    const SHOWN_MAX: usize = 80;
    let one_line = |text: &str| text.replace(|c: char| c.is_control(), " ");
    match text.char_indices().nth(SHOWN_MAX) {
        None => one_line(text),
        Some((end, _)) => format!("{}...", one_line(&text[..end])),
    }
}

/// A url without its user name and password: diagnostics end up in logs.
fn without_user(text: &str) -> String {
    let Some((before, host)) = text.rsplit_once('@') else { return text.to_owned() };
    match before.split_once("://") {
        Some((scheme, _)) => format!("{scheme}://..@{host}"),
        None => format!("..@{host}"),
    }
}

fn whole(integer: &DeInteger<'_>) -> Option<i128> {
    i128::from_str_radix(integer.as_str(), integer.radix()).ok()
}
