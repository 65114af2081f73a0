//! The page of a comparison: what changes for clients, and how surely. Each difference is drawn as its
//! interval around zero: what does not touch the line is no accident.

use maud::{Markup, html};

use super::chart::round_up;
use super::words::several;
use super::{again, document};

/// A number under both configurations.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Its name, as in tables.
    pub name: &'static str,
    /// Its mean before and after.
    pub means: (f64, f64),
    /// The 95 % interval of the paired difference.
    pub interval: (f64, f64),
    /// Digits behind the point, and the unit.
    pub digits: usize,
    /// What it is counted in.
    pub unit: &'static str,
    /// Whether it is surely there, and large enough to matter.
    pub matters: bool,
}

impl Difference {
    /// Whether it is a share already: nothing is said of a share of a share.
    fn is_ratio(&self) -> bool {
        self.unit.contains('%')
    }

    /// What its bar is measured by: itself, or the larger of both, as a second more of a minute is
    /// nothing and of a second is a lot.
    fn yardstick(&self) -> f64 {
        let (before, after) = self.means;
        let larger = before.abs().max(after.abs());
        if self.is_ratio() || larger == 0.0 { 1.0 } else { larger }
    }
}

/// A case under both.
#[derive(Clone, Debug)]
pub struct Compared {
    /// Its name.
    pub case: &'static str,
    /// What happens in it.
    pub asks: &'static str,
    /// All of its numbers.
    pub differences: Vec<Difference>,
    /// Levels that it misses under the new one, and promises that were broken, in words.
    pub complaints: Vec<String>,
}

/// A service under both.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Why it was not compared, or what there is to know of it.
    pub note: Option<String>,
    /// What is wrong with it beside what its cases came to, in words.
    pub complaints: Vec<String>,
    /// What it was put through.
    pub compared: Vec<Compared>,
}

/// The page. `files` are the old and the new one.
pub fn page(files: (&str, &str), seeds: usize, services: &[Service], command: &str) -> String {
    let (old, new) = files;
    let of_cases = services.iter().flat_map(|it| &it.compared).map(|it| &it.complaints);
    let complaints = services.iter().map(|it| &it.complaints).chain(of_cases);
    let complaints: Vec<_> = complaints.filter(|them| !them.is_empty()).collect();
    let sure = services.iter().flat_map(|it| &it.compared).flat_map(|it| &it.differences);
    let sure = sure.filter(|it| it.matters).count();
    let body = html! {
        @if !complaints.is_empty() {
            p.verdict.wrong { b { "✗ Fail" } " after the change a level is missed, or a promise of lb broken" }
        } @else {
            p.verdict.good { b { "✓ Pass" } " no level is missed after the change" }
        }
        h1 { "From " (old) " to " (new) }
        p.facts {
            span { (several(seeds, "seed")) ", the same arrivals and the same luck for both" }
            span { "95 % intervals of the paired difference" }
            span { (several(sure, "number")) " surely changed" }
        }
        (again(command))
        @for them in complaints {
            div.complaints { @for what in them { p { b { "✗ " } (what) } } }
        }
        @for service in services {
            section {
                h2 { "Service " (service.name) }
                @if let Some(note) = &service.note { p.aside { (note) } }
                @if !service.compared.is_empty() {
                    p.aside {
                        "A filled bar lies surely on one side of zero and matters: to the left it got less, to the right more, and \
                         less is better for all of them. A hollow one may be chance or too little to care about, and may reach \
                         beyond the ends."
                     }
                    (table(&service.compared))
                }
            }
        }
    };
    document(&format!("{old} → {new} · diff"), "a comparison", &body)
}

fn table(all: &[Compared]) -> Markup {
    let first = all.first().map_or(&[][..], |it| &it.differences);
    html! { @for (nth, number) in first.iter().enumerate() { (one_number(all, nth, number)) } }
}

/// One number in all cases. Those in which it is the same to the last digit are named, and no more.
fn one_number(all: &[Compared], nth: usize, number: &Difference) -> Markup {
    let rows = all.iter().filter_map(|case| Some((case, case.differences.get(nth)?)));
    let (same, rows): (Vec<_>, Vec<_>) = rows.partition(|(_, it)| it.interval == (0.0, 0.0));
    let sure = rows.iter().filter(|(_, it)| it.matters).count();
    // What may be chance does not squeeze what is not: its bars may reach beyond the ends.
    let reach = |it: &Difference| match it.matters {
        true => it.interval.0.abs().max(it.interval.1.abs()),
        false => (it.means.1 - it.means.0).abs(),
    };
    let most = rows.iter().map(|(_, it)| reach(it) / it.yardstick()).fold(0.0, f64::max);
    let most = round_up(most).min(if number.is_ratio() { f64::INFINITY } else { 1.0 });
    let end = match number.is_ratio() {
        true => signed(most, 0, number.unit),
        false => format!("{:+.0} % of the larger", most * 100.0),
    };
    html! {
        details.number open[sure > 0] {
            summary {
                b { (number.name) } " "
                @if sure == 0 { "nothing differs beyond chance" } @else { (several(sure, "case")) " surely changed" }
            }
            div.scroll { table.cases.paired {
                thead { tr {
                    th scope="col" { "case" } th scope="col" { "before" } th scope="col" { "after" }
                    th scope="col" { "difference" }
                    th scope="col" { span.range.ticks.ends aria-hidden="true" {
                        span style="left:0" { (end.replacen('+', "−", 1)) } span style="left:50%" { "0" } span style="right:0" { (end) }
                    } }
                } }
                tbody { @for (case, it) in &rows { (row(case, it, most)) } }
            } }
            @if !same.is_empty() {
                p.aside { "The same in " (several(same.len(), "case")) ": " @for (nth, (case, _)) in same.iter().enumerate() { @if nth > 0 { ", " } (case.case) } "." }
            }
        }
    }
}

fn row(compared: &Compared, it: &Difference, most: f64) -> Markup {
    let Difference { means: (before, after), interval: (low, high), digits, unit, matters, .. } =
        *it;
    let at = |value: f64| match most > 0.0 {
        true => (50.0 + value / it.yardstick() / most * 50.0).clamp(0.0, 100.0),
        false => 50.0,
    };
    let (class, word) = match (matters, low + high > 0.0) {
        (false, _) => ("rod hollow", ""),
        (true, true) => ("rod worse", "more"),
        (true, false) => ("rod better", "less"),
    };
    let shown = |value: f64| format!("{value:.digits$}{unit}");
    html! {
        tr.(if matters { "sure" } else { "idle" }) {
            th scope="row" { (compared.case) small { (compared.asks) } }
            td { (shown(before)) } td { (shown(after)) }
            td { @if !word.is_empty() { b { (word) ": " } } (signed(low, digits, "")) " to " (signed(high, digits, unit)) }
            td.ranges { span.range aria-hidden="true" {
                i.tick.zero style="left:50%" {}
                i class=(class) style=(format!("left:{:.1}%;width:{:.1}%", at(low), at(high) - at(low))) {}
            } }
        }
    }
}

fn signed(value: f64, digits: usize, unit: &str) -> String {
    format!("{value:+.digits$}{unit}")
}
