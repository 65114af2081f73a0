//! The numbers under the pictures, as tables: whoever cannot see a picture, or does not believe it, reads
//! these.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use maud::{Markup, html};

use super::scene::{Scene, float};
use super::standing::{Band, Standing};
use super::strips::{lasted, part};
use super::words::{count, millis, percent, seconds};
use crate::measure::Measure;

/// Parts of a run that are told apart.
pub(crate) type Phases = Vec<(&'static str, Range<Duration>)>;

/// All numbers of a run that are not on its timeline, and those that are.
pub(crate) fn numbers(scene: &Scene<'_>) -> Markup {
    html! {
        @if scene.history.moves.1 > 0 {
            details {
                summary { "Moves of breakers and health" }
                (moves(scene))
            }
        }
        details {
            summary { "How requests and attempts ended" }
            div.side {
                (tally("Requests ended for their clients", &scene.history.ends))
                (tally("Attempts came to nothing", &scene.history.failures))
                (tally("Answered by the proxy itself", &scene.history.rejections))
                (tally("Retries withheld", &scene.history.reasons))
            }
        }
        details {
            summary { "The timeline in numbers" }
            (bins(scene))
        }
    }
}

/// What was measured in each part of the run.
pub(crate) fn phases(scene: &Scene<'_>, phases: &Phases) -> Markup {
    let measured: Vec<(&str, &Range<Duration>, Measure)> =
        phases.iter().map(|(name, span)| (*name, span, scene.measure(span))).collect();
    let line = |name: &str, cell: &dyn Fn(&Measure) -> String| {
        html! { tr { th scope="row" { (name) } @for (_, _, it) in &measured { td { (cell(it)) } } } }
    };
    let quantile = |it: &Measure, quantile| it.latency_ms(quantile).map_or("–".to_owned(), millis);
    let ratio = |part: u64, it: &Measure| percent(float(part) / float(it.requests.max(1)));
    html! {
        div.scroll { table.figures {
            caption { "Measured" }
            thead { tr {
                td {}
                @for (name, span, _) in &measured {
                    th scope="col" { (name) small { (seconds(span.start)) " – " (seconds(span.end)) } }
                }
            } }
            tbody {
                (line("requests", &|it| count(it.requests)))
                (line("errors", &|it| count(it.errors)))
                (line("error ratio", &|it| ratio(it.errors, it)))
                (line("retries per request", &|it| ratio(it.retries, it)))
                (line("most attempts", &|it| it.attempts_max.to_string()))
                (line("p50", &|it| quantile(it, 0.5)))
                (line("p90", &|it| quantile(it, 0.9)))
                (line("p99", &|it| quantile(it, 0.99)))
                (line("p99.9", &|it| quantile(it, 0.999)))
                (line("slowest", &|it| quantile(it, 1.0)))
            }
        } }
    }
}

/// What each backend got, and how it stood: beside the rest where there are few, and folded where many.
pub(crate) fn backends(scene: &Scene<'_>, phases: &Phases) -> Markup {
    let table = table_of_backends(scene, phases);
    html! {
        @if scene.origins.len() <= BACKENDS_SHOWN {
            (table)
        } @else {
            details { summary { "The " (scene.origins.len()) " backends in numbers" } (table) }
        }
    }
}

/// More are folded.
const BACKENDS_SHOWN: usize = 10;

fn table_of_backends(scene: &Scene<'_>, phases: &Phases) -> Markup {
    let measured: Vec<(&str, Measure)> =
        phases.iter().map(|(name, span)| (*name, scene.measure(span))).collect();
    let whole = scene.axis.end;
    html! {
        div.scroll { table {
            caption { "Backends" }
            thead { tr {
                th scope="col" { "backend" }
                @for (name, _) in &measured { th scope="col" { "share" small { (name) } } }
                th scope="col" { "attempts" }
                th scope="col" { "in flight" small { "at most" } }
                th scope="col" { "breaker" small { "opened" } }
                th scope="col" { "breaker" small { "not closed" } }
                th scope="col" { "out" small { "checks, outliers" } }
            } }
            tbody {
                @for origin in &scene.origins {
                    @let bands: Vec<&[Band]> = scene.bands(*origin).into_values().collect();
                    @let opened = bands.iter().copied().flatten().filter(|it| it.standing == Standing::Open).count();
                    tr {
                        th scope="row" { (scene.name(*origin)) }
                        @for (_, it) in &measured { td { (it.share(Some(*origin)).map_or("–".to_owned(), percent)) } }
                        td { (count(scene.bins.iter().map(|bin| bin.attempts[*origin]).sum())) }
                        td { (scene.history.in_flight[*origin].iter().max().copied().unwrap_or(0)) }
                        td { (opened) }
                        td { (part(lasted(&bands, Standing::is_breaker), whole)) }
                        td { (part(lasted(&bands, |it| !it.is_breaker()), whole)) }
                    }
                }
            }
        } }
    }
}

fn moves(scene: &Scene<'_>) -> Markup {
    let (moves, all) = &scene.history.moves;
    let name = |backend| {
        let (host, port) = scene.scenario.roster.address(backend);
        format!("{host}:{port}")
    };
    html! {
        div.scroll { table {
            thead { tr { th scope="col" { "at" } th scope="col" { "service" } th scope="col" { "backend" } th scope="col" { "is now" } } }
            tbody {
                @for it in moves {
                    tr {
                        td { (seconds(it.at)) }
                        td.text { (scene.service(it.backend.service)) }
                        td.text { (name(it.backend)) }
                        td.text { (it.to.replace('_', "-")) }
                    }
                }
            }
        } }
        @if *all > moves.len() { p.aside { "and " (count((all - moves.len()) as u64)) " more" } }
    }
}

fn tally(caption: &str, counts: &BTreeMap<impl AsRef<str> + Ord, u64>) -> Markup {
    html! {
        @if !counts.is_empty() {
            table {
                caption { (caption) }
                tbody { @for (what, many) in counts { tr { th scope="row" { (what.as_ref()) } td { (count(*many)) } } } }
            }
        }
    }
}

fn bins(scene: &Scene<'_>) -> Markup {
    let quantile = |it: &Measure, quantile| it.latency_ms(quantile).map_or("–".to_owned(), millis);
    let budgets = &scene.history.budgets;
    html! {
        div.scroll { table {
            thead { tr {
                th scope="col" { "from" } th scope="col" { "requests" } th scope="col" { "errors" }
                th scope="col" { "attempts" } th scope="col" { "retries" } th scope="col" { "withheld" }
                th scope="col" { "p50" } th scope="col" { "p99" }
                @for service in budgets.keys() { th scope="col" { "budget left, " (scene.service(*service)) } }
            } }
            tbody {
                @for (nth, (span, it)) in scene.axis.bins().zip(&scene.bins).enumerate() {
                    tr {
                        th scope="row" { (seconds(span.start)) }
                        td { (it.requests) } td { (it.errors) } td { (it.attempts.iter().sum::<u64>()) }
                        td { (it.retries) } td { (scene.history.withheld[nth]) }
                        td { (quantile(it, 0.5)) } td { (quantile(it, 0.99)) }
                        @for left in budgets.values() { td { (percent(left[nth])) } }
                    }
                }
            }
        } }
    }
}
