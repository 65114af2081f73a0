//! Results of papers, measured again, and incidents of other balancers, lived through again.
//!
//! What a paper says of queues is a scenario in `scenarios/papers/`; what it says of a table or a draw is
//! worked out here by asking `lb_core` directly ([`arithmetic`]). A scenario says in the comment below its
//! first line what is to be shown of it ([`Notes`]). The folders' pages, `docs/papers.md` and
//! `docs/incidents.md`, are written from nothing else ([`page`]), so a page that differs from a run is a
//! change of behaviour.
//!
//! ```
//! use lb_sim::papers::Notes;
//!
//! let text = "# Two choices beat one.\n# paper: supermarket\n# figure: mean, in service times | 2.61 | mean / 100\n";
//! let notes = Notes::read(text).expect("every line of it has a meaning");
//! assert_eq!(notes.paper.as_deref(), Some("supermarket"));
//! assert_eq!(notes.figures[0].paper, "2.61");
//! ```
//!
//! It claims nothing of how fast anything is on real machines.

mod notes;
mod balls;
mod jitter;
mod keys;
mod overflow;
mod list;
pub mod page;

use crate::engine::Engine;
use crate::measure::span;
use crate::model;
use crate::report;
use crate::scenario::{Scenario, load};

pub use list::{PAPERS, Paper};
pub use notes::{Figure, Formula, Notes};

/// A figure of a paper beside ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What is measured.
    pub what: String,
    /// What the paper says, as it is written there.
    pub paper: String,
    /// What we measure.
    pub ours: Number,
}

/// A number, and how people read it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number {
    /// The number: a share is 0 to 1.
    pub value: f64,
    /// How it is written.
    pub unit: Unit,
}

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// As it is.
    Plain,
    /// A share, in percent.
    Percent,
    /// Milliseconds.
    Millis,
}

/// A scenario of one of the folders, and what is shown of it.
#[derive(Clone, Debug)]
pub struct Study {
    /// The scenario.
    pub scenario: Scenario,
    /// What its comment says.
    pub notes: Notes,
}

/// What a study came to.
#[derive(Clone, Debug)]
pub struct Result {
    /// Its rows, in order.
    pub rows: Vec<Row>,
    /// What did not hold, if anything did not: the run's own report.
    pub failed: Option<String>,
}

impl Study {
    /// Reads a scenario with its notes.
    ///
    /// # Errors
    /// All that is wrong with it, each with its place.
    pub fn load(name: &str, text: &str) -> std::result::Result<Self, String> {
        let (scenario, diagnostics) = load(&lb_config::Source { name, text });
        let lines: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
        let scenario = scenario.ok_or_else(|| lines.join("\n"))?;
        Engine::Model.admits(&scenario)?;
        let notes = Notes::read(text)
            .map_err(|(line, said)| format!("{name}:{line}:1: {}; {}", said.what, said.remedy))?;
        Ok(Self { scenario, notes })
    }

    /// Runs it under its own seed.
    pub fn run(&self) -> Result {
        let scenario = &self.scenario;
        let (verdict, facts) = model::measured(scenario, scenario.seed);
        let failed = verdict.class().map(|_| report::verdict(scenario, &verdict, Engine::Model));
        let row = |figure: &Figure| {
            let formula = &figure.formula;
            let measure = facts.measure(scenario, &span(scenario, formula.phase));
            let value = measure.of(&formula.metric, scenario).unwrap_or(0.0) / formula.by;
            let ours = Number { value, unit: figure.unit() };
            Row { what: figure.what.clone(), paper: figure.paper.clone(), ours }
        };
        Result { rows: self.notes.figures.iter().map(row).collect(), failed }
    }
}

/// What needs no scenario: rows by the key of their paper, and what they were worked out with.
pub mod arithmetic {
    use super::{Row, balls, jitter, keys, overflow};

    /// Something to work out: the key of its paper, how, and the rows.
    pub struct Sum {
        /// The paper's key in [`PAPERS`](super::PAPERS).
        pub paper: &'static str,
        /// What is asked, in words.
        pub with: &'static str,
        /// The rows.
        pub rows: fn() -> Vec<Row>,
    }

    /// All of them.
    pub const SUMS: [Sum; 5] = [
        Sum { paper: "balls", with: "draws of `least-request`", rows: balls::rows },
        Sum { paper: "maglev", with: "keys asked of `maglev`", rows: keys::disruption },
        Sum { paper: "bounded", with: "keys asked of `ring`", rows: keys::bounded },
        Sum { paper: "jitter", with: "waits of `backoff`", rows: jitter::rows },
        Sum { paper: "panic", with: "pools with `overprovision_percent`", rows: overflow::rows },
    ];
}

impl Row {
    fn new(what: impl Into<String>, paper: impl Into<String>, value: f64, unit: Unit) -> Self {
        Self { what: what.into(), paper: paper.into(), ours: Number { value, unit } }
    }

    /// Ours as a multiple of the paper's, where that is one number.
    pub fn ratio(&self) -> Option<f64> {
        let digits = |letter: &char| letter.is_ascii_digit() || ".,".contains(*letter);
        let text = self.paper.trim_start_matches(['~', '≈', '<', '>', ' ']);
        let number: String = text.chars().take_while(digits).collect();
        let rest = text[number.len()..].trim();
        let said: f64 = number.replace(',', "").parse().ok()?;
        let (scale, is_one) = match rest {
            "" => (1.0, true),
            "%" => (0.01, true),
            "ms" => (1.0, true),
            _ => (1.0, false),
        };
        (is_one && said > 0.0).then(|| self.ours.value / (said * scale))
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (value, unit) = match self.unit {
            Unit::Plain => (self.value, ""),
            Unit::Percent => (self.value * 100.0, " %"),
            Unit::Millis => (self.value, " ms"),
        };
        // Three digits say all that a run of a minute can.
        let digits = match value.abs() {
            0.0 => 0,
            size if size >= 99.95 => 0,
            size if size >= 9.995 => 1,
            size if size >= 0.9995 => 2,
            _ => 3,
        };
        write!(out, "{value:.digits$}{unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_told_where_the_paper_has_one_number() {
        let row = |paper: &str, value| Row::new("", paper, value, Unit::Plain).ratio();
        assert_eq!(row("2.00", 3.0), Some(1.5));
        assert_eq!(row("~1,000 ms", 500.0), Some(0.5));
        assert_eq!(row("10 %", 0.2), Some(2.0));
        assert_eq!(row("6 to 9", 7.0), None);
        assert_eq!(row("collapses", 7.0), None);
        assert_eq!(row("0", 7.0), None);
    }

    #[test]
    fn numbers_have_three_digits() {
        let show = |value, unit| Number { value, unit }.to_string();
        assert_eq!(show(2.6894, Unit::Plain), "2.69");
        assert_eq!(show(0.0712, Unit::Percent), "7.12 %");
        assert_eq!(show(1799.6, Unit::Millis), "1800 ms");
        assert_eq!(show(0.0, Unit::Percent), "0 %");
    }
}
