//! The page of a map: a cell for each load and trouble, and up to where it is safe.

use maud::{Markup, html};

use super::words::several;
use super::{again, document};
use crate::rehearsal::map::{Fate, WATCHED};

/// A map, in words and cells.
#[derive(Clone, Debug)]
pub struct Sheet {
    /// The service.
    pub service: String,
    /// What goes wrong.
    pub trouble: &'static str,
    /// What holds in every cell.
    pub fixed: Vec<String>,
    /// What varies from left to right, and from top to bottom.
    pub scales: [Scale; 2],
    /// Row by row.
    pub fates: Vec<Fate>,
    /// Up to where it is safe.
    pub conclusion: String,
    /// Whether that is less than was asked for.
    pub is_missed: bool,
    /// Seeds that each cell was run under.
    pub seeds: u64,
}

/// What varies along an axis.
#[derive(Clone, Debug)]
pub struct Scale {
    /// Its name.
    pub word: &'static str,
    /// What was tried, with its unit.
    pub steps: Vec<String>,
}

impl Sheet {
    /// The rows: what each is of, and its cells.
    pub fn rows(&self) -> impl Iterator<Item = (&str, &[Fate])> {
        let [columns, rows] = &self.scales;
        rows.steps.iter().map(String::as_str).zip(self.fates.chunks(columns.steps.len()))
    }

    /// The page, which `command` makes again.
    pub fn page(&self, file: &str, command: &str) -> String {
        let verdict = match self.is_missed {
            false => html! { p.verdict.good { b { "✓ Pass" } " " (self.conclusion) } },
            true => html! { p.verdict.wrong { b { "✗ Fail" } " " (self.conclusion) } },
        };
        let seeds = usize::try_from(self.seeds).unwrap_or(usize::MAX);
        let body = html! {
            (verdict)
            h1 { (self.trouble) }
            p.facts {
                span { (file) } span { "service " (self.service) }
                @for fixed in &self.fixed { span { (fixed) } }
                span { (several(seeds, "seed")) " for each cell, of which the worst counts" }
            }
            (again(command))
            section {
                h2 { "Where it comes back by itself" }
                (self.table())
                (legend())
            }
        };
        document(&format!("{file} · {} · map", self.service), "a map", &body)
    }

    fn table(&self) -> Markup {
        let [columns, rows] = &self.scales;
        html! {
            div.scroll { table.map {
                thead {
                    tr { td {} th scope="colgroup" colspan=(columns.steps.len()) { (columns.word) } }
                    tr { th scope="col" { (rows.word) } @for step in &columns.steps { th scope="col" { (step) } } }
                }
                tbody { @for (row, cells) in self.rows() {
                    tr { th scope="row" { (row) } @for cell in cells { (one(*cell)) } }
                } }
            } }
        }
    }
}

fn one(fate: Fate) -> Markup {
    match fate {
        Fate::Recovered(after) if after.is_zero() => html! { td.now { "·" } },
        Fate::Recovered(after) => html! { td.late { (after.as_secs()) " s" } },
        Fate::Stuck => html! { td.stuck { "✗" } },
        Fate::Overloaded => html! { td.over { b { "#" } } },
    }
}

fn legend() -> Markup {
    let said = [
        (Fate::Recovered(std::time::Duration::ZERO), "all is as before at once".to_owned()),
        (Fate::Recovered(std::time::Duration::from_secs(3)), "after so long".to_owned()),
        (Fate::Stuck, format!("not within {} s after the trouble is over", WATCHED.as_secs())),
        (Fate::Overloaded, "too much, or turned away, without any trouble".to_owned()),
    ];
    html! {
        table.map { tbody { @for (fate, what) in said { tr { (one(fate)) td.text { (what) } } } } }
    }
}
