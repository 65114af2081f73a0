//! The page of one run: what it came to, then what happened, then what was looked at.

use std::time::Duration;

use maud::{Markup, html};

use super::numbers::{Phases, backends, numbers, phases};
use super::scene::{Scene, float};
use super::timeline::{Alarm, timeline};
use super::words::{count, millis, percent, seconds, several};
use super::{again, document};
use crate::engine::{Engine, Run};
use crate::invariant::{Finding, Kind};
use crate::measure::span;
use crate::report::described;
use crate::scenario::{Phase, Scenario};
use crate::verdict::{Expected, Verdict};

/// Bins of a run's pictures.
const BINS_MAX: usize = 120;

/// A run, and what it came to.
#[derive(Clone, Copy, Debug)]
pub struct Played<'a> {
    /// What was rehearsed.
    pub scenario: &'a Scenario,
    /// What happened.
    pub run: &'a Run,
    /// What it comes to.
    pub verdict: &'a Verdict,
    /// In what it ran.
    pub engine: Engine,
}

impl Played<'_> {
    /// The page.
    pub fn page(&self) -> String {
        let Self { scenario, verdict, .. } = *self;
        let scene = Scene::of(scenario, &self.run.log, BINS_MAX);
        let alarms = alarms(verdict);
        let parts = parts(scenario);
        let body = html! {
            (self.head(&scene))
            (wrong(scenario, verdict, &alarms))
            section {
                h2 { "What happened" }
                (timeline(&scene, &alarms))
                div.pair { (phases(&scene, &parts)) (backends(&scene, &parts)) }
                (numbers(&scene))
            }
            section {
                h2 { "What was looked at" }
                div.side {
                    (invariants(verdict))
                    div {
                        (expectations(verdict))
                        (noticed(scenario, verdict))
                        (marks(scenario, verdict))
                    }
                }
            }
        };
        document(&format!("{} · seed {}", scenario.file, verdict.seed), "one run", &body)
    }

    fn head(&self, scene: &Scene<'_>) -> Markup {
        let Self { scenario, verdict, run, engine, .. } = *self;
        let all = scene.measure(&span(scenario, None));
        let verdict_is = match verdict.class() {
            None => {
                html! { p.verdict.good { b { "✓ Pass" } " everything that was promised held" } }
            }
            Some(class) => html! { p.verdict.wrong { b { "✗ Fail" } " " (class.as_str()) } },
        };
        let quantile = |quantile| all.latency_ms(quantile).map_or("–".to_owned(), millis);
        let figures = [
            ("requests", count(all.requests)),
            ("errors", percent(float(all.errors) / float(all.requests.max(1)))),
            ("retries", percent(float(all.retries) / float(all.requests.max(1)))),
            ("p50", quantile(0.5)),
            ("p99", quantile(0.99)),
            ("p99.9", quantile(0.999)),
        ];
        html! {
            (verdict_is)
            h1 { (claim(scenario)) }
            p.facts {
                span { (scenario.file) } span { "seed " (verdict.seed) } span { "engine " (engine.as_str()) }
                span { (seconds(run.simulated)) " simulated" }
                span { (several(scenario.origins.len(), "backend")) }
                @if let Some(hash) = verdict.trace_hash { span { "trace " (format!("{hash:016x}")) } }
            }
            (again(&engine.again(&scenario.file, verdict.seed)))
            dl.headline {
                @for (name, figure) in figures { div { dt { (name) } dd { (figure) } } }
            }
        }
    }
}

/// The sentence that a scenario proves.
fn claim(scenario: &Scenario) -> &str {
    if scenario.claim.is_empty() { &scenario.file } else { &scenario.claim }
}

/// The parts of a run; there is one if nothing goes wrong in it.
fn parts(scenario: &Scenario) -> Phases {
    let part = |name, phase| (name, span(scenario, phase));
    if scenario.faults.is_empty() {
        return vec![part("all", None)];
    }
    vec![
        part("all", None),
        part("calm", Some(Phase::Calm)),
        part("faults", Some(Phase::Faults)),
        part("healed", Some(Phase::Healed)),
    ]
}

/// What went wrong at a time that is known.
fn alarms(verdict: &Verdict) -> Vec<Alarm> {
    let violations = verdict.findings.iter().flat_map(|finding| {
        let alarm = |it: &crate::invariant::Violation| Alarm {
            at: it.at,
            what: format!("{}: {}", finding.name, it.what),
        };
        finding.violations.iter().map(alarm)
    });
    let broken = verdict.expected.iter().filter_map(|it| {
        let (at, found) = it.broken?;
        Some(Alarm { at, what: format!("{}: it is {}", it.text, measured(it, found)) })
    });
    let mut alarms: Vec<Alarm> = violations.chain(broken).collect();
    alarms.sort_by_key(|alarm| alarm.at);
    alarms
}

fn measured(expected: &Expected, found: f64) -> String {
    if expected.is_latency { millis(found) } else { format!("{found:.4}") }
}

/// What went wrong, in words, with the numbers that it has on the axis.
fn wrong(scenario: &Scenario, verdict: &Verdict, alarms: &[Alarm]) -> Markup {
    let unproven = unproven(scenario, verdict);
    html! {
        @if !alarms.is_empty() || !unproven.is_empty() || verdict.panic.is_some() {
            section.complaints aria-label="what went wrong" {
                @if let Some(panic) = &verdict.panic { p { b { "✗ panic " } (panic) } }
                ol {
                    @for alarm in alarms { li { b { (seconds(alarm.at)) } " " (alarm.what) } }
                }
                @for what in unproven { p { b { "✗ proves nothing: " } (what) } }
            }
        }
    }
}

/// What was rehearsed in vain.
fn unproven(scenario: &Scenario, verdict: &Verdict) -> Vec<String> {
    let faults = scenario.faults.iter().zip(&verdict.bit).filter(|(_, bit)| !**bit);
    let faults = faults.map(|(it, _)| format!("{} was noticed by nobody", described(scenario, it)));
    let actions = scenario.actions.iter().zip(&verdict.met).filter(|(_, met)| !**met);
    let actions =
        actions.map(|(it, _)| format!("the {} at {} met nobody", it.kind.as_str(), seconds(it.at)));
    let attacks = scenario.attacks.iter().zip(&verdict.repelled).filter(|(_, cut)| !**cut);
    let attacks = attacks.map(|(it, _)| format!("the attack at {} was let be", seconds(it.at)));
    let idle = verdict.expected.iter().filter(|it| it.checks == 0);
    let idle = idle.map(|it| format!("{}: there was nothing to look at", it.text));
    let nobody = (verdict.attempts == 0).then(|| "no request reached a backend".to_owned());
    faults.chain(actions).chain(attacks).chain(idle).chain(nobody).collect()
}

/// A mark before what held, did not, or had nothing to say.
fn sign(checks: u64, violations: usize) -> Markup {
    match (violations, checks) {
        (0, 0) => html! { span.idle title="had nothing to check" { "·" } },
        (0, _) => html! { span.good title="held" { "✓" } },
        _ => html! { span.wrong title="did not hold" { "✗" } },
    }
}

fn invariants(verdict: &Verdict) -> Markup {
    let kind = |kind| if kind == Kind::Safety { "safety" } else { "liveness" };
    html! {
        table.looked {
            caption { "Invariants" }
            thead { tr { td {} th scope="col" { "promise" } th scope="col" { "kind" } th.number scope="col" { "checks" } th.number scope="col" { "violations" } } }
            tbody {
                @for Finding { name, kind: of, checks, violations } in &verdict.findings {
                    tr.(if *checks == 0 { "idle" } else { "" }) {
                        td { (sign(*checks, violations.len())) }
                        th scope="row" { (name) }
                        td.text { (kind(*of)) } td { (count(*checks)) } td { (violations.len()) }
                    }
                }
            }
        }
    }
}

fn expectations(verdict: &Verdict) -> Markup {
    html! {
        @if !verdict.expected.is_empty() {
            table.looked {
                caption { "Expectations" }
                thead { tr { td {} th scope="col" { "expectation" } th.number scope="col" { "checks" } th scope="col" { "found" } } }
                tbody {
                    @for it in &verdict.expected {
                        @let failed = usize::from(it.broken.is_some() || it.checks == 0);
                        tr {
                            td { (sign(it.checks, failed)) }
                            th scope="row" { code { (it.text) } }
                            td { (count(it.checks)) }
                            td.text {
                                @match it.broken {
                                    Some((at, found)) => { (measured(it, found)) " from " (seconds(at)) " on" }
                                    None if it.checks == 0 => "nothing to look at",
                                    None => "held",
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Whether somebody noticed what was done.
fn noticed(scenario: &Scenario, verdict: &Verdict) -> Markup {
    let line = |is: bool, what: String, when: Duration, yes: &str, no: &str| {
        html! { tr {
            td { (sign(1, usize::from(!is))) } th scope="row" { (what) } td { (seconds(when)) }
            td.text { (if is { yes } else { no }) }
        } }
    };
    let is_empty =
        scenario.faults.is_empty() && scenario.actions.is_empty() && scenario.attacks.is_empty();
    html! {
        @if !is_empty {
            table.looked {
                caption { "Faults, actions and attacks" }
                thead { tr { td {} th scope="col" { "what" } th.number scope="col" { "at" } th scope="col" { "noticed" } } }
                tbody {
                    @for (fault, bit) in scenario.faults.iter().zip(&verdict.bit) {
                        (line(*bit, described(scenario, fault), fault.at, "it bit", "by nobody"))
                    }
                    @for (action, met) in scenario.actions.iter().zip(&verdict.met) {
                        (line(*met, action.kind.as_str().to_owned(), action.at, "met requests", "met nobody"))
                    }
                    @for (attack, cut) in scenario.attacks.iter().zip(&verdict.repelled) {
                        (line(*cut, "rapid reset".to_owned(), attack.at, "cut off", "was let be"))
                    }
                }
            }
        }
    }
}

/// Marks that were reached, and those that a sweep has still to reach.
fn marks(scenario: &Scenario, verdict: &Verdict) -> Markup {
    let missing = verdict.missing(scenario);
    html! {
        div.marks {
            h3 { "Marks" }
            @if !missing.is_empty() {
                p { "not reached this time, and to be reached by a sweep:" @for mark in &missing { " " span.mark.missing { "○ " (mark) } } }
            }
            p { "reached:" @for mark in &verdict.marks { " " span.mark { "● " (mark.0) } } }
        }
    }
}
