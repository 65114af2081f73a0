//! What is to be shown of a scenario: the comment below its first line.
//!
//! ```text
//! # The sentence that it proves.
//! # paper: supermarket                                        the paper, by its key
//! # figure: mean, in service times | 2.6141 | mean@10s..60s / 100
//! #
//! # issue: envoyproxy/envoy#27317                             or an incident: where it is told of
//! # there: what happens there, in a sentence
//! # figure: errors | | error_ratio@faults
//! ```
//!
//! A figure says what is measured, what the paper says, and a metric of the language of expectations,
//! perhaps divided by a number. The comment ends with the first line that is none; a line without a key
//! is free text.

use lb_config::read::Mistake;

use crate::scenario::{Metric, Phase};

use super::Unit;

/// What is to be shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Notes {
    /// The paper, by its key.
    pub paper: Option<String>,
    /// The issue, or the gap, of an incident.
    pub issue: Option<String>,
    /// What happens there.
    pub there: Option<String>,
    /// What is measured.
    pub figures: Vec<Figure>,
}

/// Something that is measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What it is.
    pub what: String,
    /// What the paper says; nothing where nobody said anything.
    pub paper: String,
    /// How it is measured.
    pub formula: Formula,
}

/// A metric, perhaps divided by a number.
#[derive(Clone, Debug, PartialEq)]
pub struct Formula {
    /// The metric.
    pub metric: Metric,
    /// The part of the run.
    pub phase: Option<Phase>,
    /// The divisor.
    pub by: f64,
}

const KEYS: [&str; 4] = ["paper", "issue", "there", "figure"];

impl Notes {
    /// Reads the notes of a scenario's text.
    ///
    /// # Errors
    /// The first line that is wrong, by its number, and what can be written instead.
    pub fn read(text: &str) -> Result<Self, (usize, Mistake)> {
        let mut notes = Self::default();
        let lines = text.lines().zip(1..).skip(1);
        for (line, number) in lines.map_while(|(line, at)| Some((line.strip_prefix('#')?, at))) {
            let Some((key, said)) = line.split_once(": ") else { continue };
            let (key, said) = (key.trim(), said.trim());
            let wrong = |mistake| (number, mistake);
            match key {
                "paper" => notes.paper = Some(said.to_owned()),
                "issue" => notes.issue = Some(said.to_owned()),
                "there" => notes.there = Some(said.to_owned()),
                "figure" => notes.figures.push(Figure::parse(said).map_err(wrong)?),
                _ if KEYS.iter().any(|known| near(known, key)) => {
                    let remedy = format!("the keys are {}", KEYS.join(", "));
                    let what = format!("the comment has a key {key:?}, which is unknown");
                    return Err(wrong(Mistake::new(what, remedy)));
                }
                // Prose may have colons.
                _ => {}
            }
        }
        Ok(notes)
    }
}

/// Whether somebody who wrote `written` meant `key`: the same first three letters, and no prose.
fn near(key: &str, written: &str) -> bool {
    !written.contains(' ') && written.to_lowercase().starts_with(&key[..3])
}

impl Figure {
    fn parse(text: &str) -> Result<Self, Mistake> {
        let parts: Vec<&str> = text.split('|').map(str::trim).collect();
        let [what, paper, formula] = parts[..] else {
            let remedy = "write figure: what is measured | what the paper says | p99@faults";
            return Err(Mistake::new("a figure has three parts with | between them", remedy));
        };
        Ok(Self { what: what.into(), paper: paper.into(), formula: Formula::parse(formula)? })
    }

    /// How it is written: as the paper does, and else as the metric suggests.
    pub fn unit(&self) -> Unit {
        use Metric::{Answered, ErrorRatio, RetryRatio, Share, ShareMax, ShareMin, Wanderers};
        let is_share = matches!(
            self.formula.metric,
            ErrorRatio | RetryRatio | Answered(_) | Share(_) | ShareMax | ShareMin | Wanderers
        );
        let is_whole = self.formula.by.to_bits() == 1.0_f64.to_bits();
        match self.formula.metric.is_latency() {
            true if is_whole => Unit::Millis,
            false if is_share && is_whole => Unit::Percent,
            _ if self.paper.ends_with('%') => Unit::Percent,
            _ => Unit::Plain,
        }
    }
}

impl Formula {
    fn parse(text: &str) -> Result<Self, Mistake> {
        let (metric, by) = match text.split_once('/') {
            None => (text, 1.0),
            Some((metric, by)) => {
                let by = by.trim().parse::<f64>().ok().filter(|by| by.is_normal());
                let mistake = || Mistake::new("a figure divides by no number", "write mean / 100");
                (metric, by.ok_or_else(mistake)?)
            }
        };
        let (metric, phase) = Metric::parse(metric)?;
        Ok(Self { metric, phase, by })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        match Notes::read(text) {
            Ok(notes) => format!("{} figures", notes.figures.len()),
            Err((line, Mistake { what, remedy, .. })) => format!("{line}: {what}; {remedy}"),
        }
    }

    #[test]
    fn a_line_that_means_nothing_is_told_with_its_number() {
        assert_eq!(
            said("# claim\n# prose: with a colon\n# figure: a | 1 | mean / 10\n"),
            "1 figures"
        );
        let wrong = said("# claim\n# figures: a | 1 | mean\n");
        assert!(wrong.starts_with("2: the comment has a key \"figures\""), "{wrong}");
        let wrong = said("# claim\n#\n# figure: a | mean\n");
        assert!(wrong.starts_with("3: a figure has three parts"), "{wrong}");
        let wrong = said("# claim\n# figure: a | 1 | meen\n");
        assert!(wrong.starts_with("2: measures \"meen\", which is unknown"), "{wrong}");
        let wrong = said("# claim\n# figure: a | 1 | mean / 0\n");
        assert!(wrong.starts_with("2: a figure divides by no number"), "{wrong}");
    }

    #[test]
    fn the_comment_ends_where_the_scenario_begins() {
        assert_eq!(said("# claim\nschema = 1\n# figure: nonsense\n"), "0 figures");
    }
}
