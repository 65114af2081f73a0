//! What asking a table for a field gave: nothing, a mistake, or a value and its place.

use std::rc::Rc;

use crate::diagnostic::{At, Report};

/// A value and where it was written; for a default, where the table that lacks it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given<T> {
    /// The value.
    pub value: T,
    /// Where diagnostics about it point.
    pub at: At,
    /// Whether it was written, rather than a default.
    pub said: bool,
}

/// The answer to asking a table for a field. A mistake in it has been reported.
#[derive(Debug)]
#[must_use = "a field that is read must have an effect"]
pub struct Field<'d, T> {
    pub(super) report: &'d Report<'d>,
    pub(super) key: &'static str,
    /// What to call the table.
    pub(super) title: Rc<str>,
    pub(super) at: At,
    pub(super) found: Found<T>,
}

/// What was found under a key.
#[derive(Debug)]
pub(super) enum Found<T> {
    Nothing,
    Mistake,
    Value(T),
}

impl<T> Field<'_, T> {
    /// Whether nothing was written.
    pub fn is_absent(&self) -> bool {
        matches!(self.found, Found::Nothing)
    }

    /// The value, or `default` if there is none or a wrong one.
    pub fn or(self, default: T) -> T {
        self.or_given(default).value
    }

    /// Like [`or`](Self::or), with the place.
    pub fn or_given(self, default: T) -> Given<T> {
        match self.found {
            Found::Value(value) => Given { value, at: self.at, said: true },
            Found::Nothing | Found::Mistake => Given { value: default, at: self.at, said: false },
        }
    }

    /// The value with its place if there is a good one.
    pub fn given(self) -> Option<Given<T>> {
        match self.found {
            Found::Value(value) => Some(Given { value, at: self.at, said: true }),
            Found::Nothing | Found::Mistake => None,
        }
    }

    /// Like [`given`](Self::given), and reports it if there is none. `example` is what could be
    /// written, as in `name = "web"`.
    pub fn required(self, example: &str) -> Option<Given<T>> {
        if let Found::Nothing = self.found {
            let what = format!("{} is missing {}", self.key, self.title);
            self.report.error(self.at, what, format!("add {example}"));
        }
        self.given()
    }
}
