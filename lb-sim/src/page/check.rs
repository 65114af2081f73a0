//! The page of a check: what to change, then a line for each thing that may happen, then its timeline.

use std::time::Duration;

use maud::{Markup, PreEscaped, html};

use super::numbers::{Phases, backends, numbers, phases};
use super::scene::Scene;
use super::timeline::timeline;
use super::words::{millis, percent, seconds, several};
use super::{again, document};
use crate::engine::Run;
use crate::rehearsal::{Battery, Case, Finding, Outlook, Stage, advice};

/// Bins of a case's pictures: there are two dozen of them on a page.
const BINS_MAX: usize = 60;

/// The timeline of a case under one seed, drawn as soon as it has run: the log of a run is not kept.
#[derive(Clone, Debug)]
pub struct Picture(String);

impl Picture {
    /// Of a run of `case`.
    pub fn of(case: &Case, run: &Run) -> Self {
        let scene = Scene::of(&case.scenario, &run.log, BINS_MAX);
        let mut parts: Phases = vec![("all", Duration::ZERO..case.scenario.duration)];
        if let Some((begins, ends)) = case.trouble {
            let rest = [
                ("calm", Duration::ZERO..begins),
                ("trouble", begins..ends),
                ("after", ends..case.scenario.duration),
            ];
            parts.extend(rest.into_iter().filter(|(_, span)| span.start < span.end));
        }
        let drawn = html! { (timeline(&scene, &[])) div.pair { (phases(&scene, &parts)) (backends(&scene, &parts)) } (numbers(&scene)) };
        Self(drawn.into_string())
    }
}

/// What came of a case.
#[derive(Debug)]
pub struct Rehearsed<'a> {
    /// Over all seeds.
    pub outlook: &'a Outlook,
    /// Levels that it misses, in words.
    pub missed: Vec<String>,
    /// What it looks like, under the first seed.
    pub picture: Option<&'a Picture>,
}

/// A service that was put through everything.
#[derive(Debug)]
pub struct Checked<'a> {
    /// In its world.
    pub stage: &'a Stage,
    /// What it was put through.
    pub battery: &'a Battery,
    /// What came of each case of it, in the same order.
    pub rehearsed: Vec<Rehearsed<'a>>,
    /// What its world is like.
    pub facts: Vec<String>,
    /// How many seeds each case ran under.
    pub seeds: usize,
}

/// A service's part of a page.
#[derive(Clone, Debug)]
pub struct Section {
    drawn: String,
    is_good: bool,
}

/// The page of all services of a file. `again` is the command that makes it.
pub fn page(file: &str, sections: &[Section], command: &str) -> String {
    let verdict = match sections.iter().all(|section| section.is_good) {
        true => {
            html! { p.verdict.good { b { "✓ Pass" } " no level was missed and no promise broken" } }
        }
        false => {
            html! { p.verdict.wrong { b { "✗ Fail" } " a level was missed, or a promise of lb broken" } }
        }
    };
    let body = html! {
        (verdict)
        h1 { "What happens to " (file) }
        (again(command))
        @for section in sections { (PreEscaped(&section.drawn)) }
    };
    document(&format!("{file} · check"), "a check", &body)
}

impl Checked<'_> {
    fn both(&self) -> impl Iterator<Item = (&Case, &Rehearsed<'_>)> {
        self.battery.cases.iter().zip(&self.rehearsed)
    }

    /// Its part of the page.
    pub fn section(&self) -> Section {
        let is_good = |it: &Rehearsed<'_>| it.missed.is_empty() && it.outlook.broken.is_empty();
        let drawn = html! {
            section {
                h2 { "Service " (self.stage.name()) }
                p.facts {
                    @for fact in &self.facts { span { (fact) } }
                    span { (several(self.seeds, "seed")) }
                }
                @for note in self.stage.notes.iter().chain(&self.battery.thin) { p.aside { (note) } }
                (self.complaints())
                (self.findings())
                (self.table())
                (self.skipped())
                h3 { "Each case over time" }
                p.aside { "Each under its first seed; the table tells of all of them." }
                @for (case, done) in self.both() {
                    @if let Some(Picture(drawn)) = done.picture {
                        details.case {
                            summary { b { (case.name) } " " (case.asks) }
                            (PreEscaped(drawn))
                        }
                    }
                }
            }
        };
        Section { drawn: drawn.into_string(), is_good: self.rehearsed.iter().all(is_good) }
    }

    /// Levels that were missed, and promises of lb that were broken.
    fn complaints(&self) -> Markup {
        let said = self.both().flat_map(|(case, done)| {
            let outlook = done.outlook;
            let broken = outlook
                .broken
                .iter()
                .map(|it| ("broken", format!("{}, seed {}: {}", case.name, it.seed, it.what)));
            let missed = done.missed.iter().map(|what| ("missed", what.clone()));
            let unseen = (outlook.unnoticed > 0).then(|| {
                let runs = several(outlook.unnoticed as usize, "run");
                ("unseen", format!("{}, {runs}: what went wrong was noticed by nobody", case.name))
            });
            broken.chain(missed).chain(unseen).collect::<Vec<_>>()
        });
        let said: Vec<_> = said.collect();
        html! {
            @if !said.is_empty() {
                div.complaints {
                    @for (kind, what) in said { p { b { "✗ " (kind) } " " (what) } }
                }
            }
        }
    }

    /// Whether a limit answered anybody.
    fn is_limited(&self) -> bool {
        self.rehearsed.iter().any(|it| it.outlook.limited > 0.0)
    }

    fn findings(&self) -> Markup {
        let said = &self.stage.scenario.config.services[self.stage.service].core;
        let cases: Vec<(Case, Outlook)> =
            self.both().map(|(case, done)| (case.clone(), done.outlook.clone())).collect();
        let findings = advice(said, &cases);
        html! {
            h3 { "What to change" }
            @if findings.is_empty() { p.aside { "Nothing to change was found." } }
            ul.findings {
                @for Finding { case, what, remedy } in &findings {
                    li { b { (remedy) } span { (case) ": " (what) } }
                }
            }
        }
    }

    fn skipped(&self) -> Markup {
        html! {
            @if !self.battery.skipped.is_empty() {
                p.aside {
                    "Not rehearsed: "
                    @for (nth, it) in self.battery.skipped.iter().enumerate() {
                        @if nth > 0 { "; " } (it.name) ", as " (it.why)
                    }
                    "."
                }
            }
        }
    }

    fn table(&self) -> Markup {
        let worst = self.rehearsed.iter().map(|it| it.outlook.error_ratio).fold(0.0, f64::max);
        let scale = Latencies::of(self.rehearsed.iter().map(|it| it.outlook));
        html! {
            h3 { "What happens" }
            div.scroll { table.cases {
                thead { tr {
                    td {}
                    th scope="col" { "case" }
                    th scope="col" colspan="2" { "errors" }
                    @if self.is_limited() { th scope="col" { "429" small { "of a limit" } } }
                    th scope="col" { "latency " small { "○ p50 ● p99 ┃ p99.9" } (scale.ticks()) }
                    th scope="col" { "p50" } th scope="col" { "p99" } th scope="col" { "p99.9" }
                    th scope="col" { "asked" small { "per request" } }
                    th scope="col" { "left alone" small { "after" } }
                    th scope="col" { "as before" small { "after" } }
                    th scope="col" { "hottest" small { "of usual" } }
                    th scope="col" { "least" small { "of usual" } }
                } }
                tbody { @for (case, done) in self.both() { (row(case, done, worst, (&scale, self.is_limited()))) } }
            } }
            p.aside {
                "From the trouble's beginning on: errors and latencies of clients. Meanwhile: requests to backends for \
                 each of a client; how long until a faulty backend was left alone, and after the trouble until all was \
                 as before, at worst; the share of a sound backend meanwhile, and of the least asked in the end, \
                 against what it has in calm times."
            }
        }
    }
}

fn row(
    case: &Case,
    done: &Rehearsed<'_>,
    worst: f64,
    (scale, is_limited): (&Latencies, bool),
) -> Markup {
    let it = done.outlook;
    let is_good = done.missed.is_empty() && it.broken.is_empty();
    let span = |span: Option<Duration>| match span {
        _ if case.faulty.is_empty() => "–".to_owned(),
        Some(span) => seconds(span),
        None => "never".to_owned(),
    };
    let factor = |factor: f64, is_known: bool| match is_known && factor.is_finite() {
        true => format!("× {factor:.2}"),
        false => "–".to_owned(),
    };
    let never = |span: Option<Duration>| {
        if span.is_none() && !case.faulty.is_empty() { "never" } else { "" }
    };
    html! {
        tr {
            td { @if is_good { span.good title="held" { "✓" } } @else { span.wrong title="missed or broken" { "✗" } } }
            th scope="row" { (case.name) small { (case.asks) } }
            td { (percent(it.error_ratio)) }
            td.meter aria-hidden="true" { @if it.error_ratio > 0.0 { i.bad style=(width(it.error_ratio, worst)) {} } }
            @if is_limited { td { (percent(it.limited)) } }
            td.ranges { (scale.range(it)) }
            td { (millis(it.p50)) } td { (millis(it.p99)) } td { (millis(it.p999)) }
            td { (format!("× {:.2}", it.amplification)) }
            @if it.is_thin { td { "–" } } @else { td.(never(it.detect)) { (span(it.detect)) } }
            td.(never(it.recover)) { (span(it.recover)) }
            td { (factor(it.hottest, it.hottest > 0.0)) } td { (factor(it.starved, true)) }
        }
    }
}

fn width(value: f64, most: f64) -> String {
    format!("width:{:.1}%", if most > 0.0 { value / most * 100.0 } else { 0.0 })
}

/// A logarithmic scale on which all cases stand.
struct Latencies {
    low: f64,
    high: f64,
}

/// Shorter is not told apart, in milliseconds.
const SHORTEST: f64 = 0.1;

impl Latencies {
    fn of<'o>(all: impl Iterator<Item = &'o Outlook>) -> Self {
        let ends = |(low, high): (f64, f64), it: &Outlook| {
            let low = if it.p50 > 0.0 { low.min(it.p50) } else { low };
            (low, high.max(it.p999))
        };
        let (low, high) = all.fold((f64::INFINITY, SHORTEST), ends);
        let low = if low.is_finite() { low.max(SHORTEST) } else { SHORTEST };
        // A little room at both ends, so that no mark is cut.
        let (low, high) = (libm::log10(low) - 0.1, libm::log10(high.max(low * 2.0)) + 0.1);
        Self { low, high }
    }

    fn percent(&self, ms: f64) -> f64 {
        let at = libm::log10(ms.max(SHORTEST)).clamp(self.low, self.high);
        (at - self.low) / (self.high - self.low) * 100.0
    }

    fn decades(&self) -> impl Iterator<Item = (f64, String)> {
        let decades = [0.1, 1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0];
        let within = |ms: &f64| (self.low..=self.high).contains(&libm::log10(*ms));
        let label =
            |ms: f64| if ms < 1_000.0 { format!("{ms} ms") } else { format!("{} s", ms / 1_000.0) };
        decades.into_iter().filter(within).map(move |ms| (self.percent(ms), label(ms)))
    }

    fn ticks(&self) -> Markup {
        html! {
            span.range.ticks aria-hidden="true" {
                @for (at, label) in self.decades() { span style=(format!("left:{at:.1}%")) { (label) } }
            }
        }
    }

    fn range(&self, it: &Outlook) -> Markup {
        if it.p999 <= 0.0 {
            return html! { "no good answer" };
        }
        let [p50, p99, p999] = [it.p50, it.p99, it.p999].map(|ms| self.percent(ms));
        let left = |at: f64| format!("left:{at:.1}%");
        html! {
            span.range aria-hidden="true" {
                @for (at, _) in self.decades() { i.tick style=(left(at)) {} }
                i.rod style=(format!("left:{p50:.1}%;width:{:.1}%", p999 - p50)) {}
                i.p50 style=(left(p50)) {} i.p99 style=(left(p99)) {} i.p999 style=(left(p999)) {}
            }
        }
    }
}
