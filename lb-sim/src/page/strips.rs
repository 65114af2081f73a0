//! A strip for each backend: its share of the attempts, and what it had in flight.
//!
//! A share and what speaks against a backend are drawn over each other, because they say the same thing
//! twice where all is well: a backend whose breaker is open has no share. Where the two disagree, one looks.

use std::time::Duration;

use lb_core::BackendId;
use maud::{Markup, html};

use super::chart::{HIGH, area, plot, round_up};
use super::scene::{Scene, float};
use super::standing::{Band, Standing};
use super::words::{percent, seconds};
use crate::report::kind_of;

/// Bands of one backend that are drawn as they are. Of more, only one in each bin is.
const BANDS_MAX: usize = 200;
/// A part of the width in which a word finds its place.
const WORD_MIN: f64 = 7.0;

/// How high strips are: the more there are, the lower.
const fn height(strips: usize) -> &'static str {
    match strips {
        0..=8 => "plot strip",
        9..=20 => "plot strip low",
        _ => "plot strip lowest",
    }
}

/// The share of the attempts, and how the backend stood.
pub(super) fn shares(scene: &Scene<'_>) -> Markup {
    let of = |origin: usize| -> Vec<f64> {
        scene.bins.iter().map(|bin| bin.share(Some(origin)).unwrap_or_default()).collect()
    };
    let all = scene.measure(&(Duration::ZERO..scene.scenario.duration));
    let strips: Vec<_> = scene.origins.iter().map(|origin| (*origin, of(*origin))).collect();
    let top = strips.iter().flat_map(|(_, shares)| shares.iter().copied()).fold(0.0, f64::max);
    let top = round_up(top).min(1.0);
    let whole = |origin: usize| percent(all.share(Some(origin)).unwrap_or_default());
    html! {
        (heading("Share of the attempts", &html! {
            "strips end at " (percent(top)) "; on the right: over the whole run"
            (legend(scene))
        }))
        @for (origin, shares) in &strips {
            div.row {
                div.name.host { span { (scene.name(*origin)) } }
                div class=(height(strips.len())) {
                    (standings(scene, *origin))
                    (faults(scene, *origin))
                    (plot(scene.axis.count, HIGH, &format!("share of {} over time", scene.name(*origin)), &area(shares, top, "share")))
                }
                div.scale { span.middle { (whole(*origin)) } }
            }
        }
    }
}

/// The most that was in flight in each bin.
pub(super) fn in_flight(scene: &Scene<'_>) -> Markup {
    let of = |origin: usize| -> Vec<f64> {
        scene.history.in_flight[origin].iter().map(|most| f64::from(*most)).collect()
    };
    let strips: Vec<_> = scene.origins.iter().map(|origin| (*origin, of(*origin))).collect();
    let most = strips.iter().flat_map(|(_, most)| most.iter().copied()).fold(0.0, f64::max);
    let top = round_up(most);
    html! {
        (heading("In flight", &html! { "the most in each bin; strips end at " (top) "; on the right: the most of all" }))
        @for (origin, values) in &strips {
            div.row {
                div.name.host { span { (scene.name(*origin)) } }
                div class=(height(strips.len())) {
                    (faults(scene, *origin))
                    (plot(scene.axis.count, HIGH, &format!("in flight at {} over time", scene.name(*origin)), &area(values, top, "held")))
                }
                div.scale { span.middle { (values.iter().copied().fold(0.0, f64::max)) } }
            }
        }
    }
}

fn heading(name: &str, note: &Markup) -> Markup {
    html! { div.row.group { h3 { (name) } p { (note) } } }
}

/// What the bands of this run mean; nothing where there are none.
fn legend(scene: &Scene<'_>) -> Markup {
    let is_there = |standing: Standing| {
        scene.history.bands.values().flatten().any(|band| band.standing == standing)
    };
    html! {
        span.legend {
            @for standing in Standing::ALL.into_iter().filter(|it| is_there(*it)) {
                span { i.key.(standing.class()) {} (standing.as_str()) }
            }
            @if !scene.scenario.faults.is_empty() { span { i.key.fault {} "a fault of its own" } }
        }
    }
}

/// What is wrong with an origin, as a line on top of its strip.
fn faults(scene: &Scene<'_>, origin: usize) -> Markup {
    html! {
        @for fault in scene.scenario.faults.iter().filter(|fault| fault.origin == origin) {
            i.fault style=(scene.axis.place(&(fault.at..fault.end()))) title=(kind_of(fault)) {}
        }
    }
}

fn standings(scene: &Scene<'_>, origin: usize) -> Markup {
    html! {
        @for (backend, bands) in scene.bands(origin) {
            @let bands = few(scene, bands);
            span.bands role="img" aria-label=(said(scene, backend, &bands)) {
                @for Band { span, standing } in &bands {
                    @let place = scene.axis.place(span);
                    @let width = scene.axis.percent(span.end) - scene.axis.percent(span.start);
                    @let title = format!("{}, {} to {}", standing.as_str(), seconds(span.start), seconds(span.end));
                    i.band.(standing.class()) style=(place) title=(title) {
                        @if width > WORD_MIN { (standing.class()) }
                    }
                }
            }
        }
    }
}

/// Bands as they are, or where there are very many the gravest of each bin and lane.
fn few(scene: &Scene<'_>, bands: &[Band]) -> Vec<Band> {
    if bands.len() <= BANDS_MAX {
        return bands.to_vec();
    }
    let mut few: Vec<Band> = Vec::new();
    for is_breaker in [true, false] {
        for bin in scene.axis.bins() {
            let here = |band: &&Band| {
                let overlaps = band.span.start < bin.end && bin.start < band.span.end;
                overlaps && band.standing.is_breaker() == is_breaker
            };
            let gravest = bands.iter().filter(here).map(|band| band.standing).min();
            let Some(standing) = gravest else { continue };
            match few.last_mut() {
                Some(last) if last.span.end == bin.start && last.standing == standing => {
                    last.span.end = bin.end;
                }
                _ => few.push(Band { span: bin, standing }),
            }
        }
    }
    few
}

/// Bands that are read out; a table has all of them.
const SAID_MAX: usize = 6;

fn said(scene: &Scene<'_>, backend: BackendId, bands: &[Band]) -> String {
    let one = |band: &Band| {
        let (from, to) = (seconds(band.span.start), seconds(band.span.end));
        format!("{} from {from} to {to}", band.standing.as_str())
    };
    let first = bands.iter().take(SAID_MAX).map(one).collect::<Vec<_>>().join(", ");
    let more = bands.len().saturating_sub(SAID_MAX);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!("in service {}: {first}{more}", scene.service(backend.service))
}

/// How long something was so of a backend, over all of its services.
pub(super) fn lasted(bands: &[&[Band]], is: impl Fn(Standing) -> bool) -> Duration {
    let spans = bands.iter().copied().flatten().filter(|band| is(band.standing));
    spans.map(|band| band.span.end - band.span.start).sum()
}

/// A part as percent of a whole.
pub(super) fn part(part: Duration, whole: Duration) -> String {
    let whole = u64::try_from(whole.as_millis()).unwrap_or(u64::MAX).max(1);
    let part = u64::try_from(part.as_millis()).unwrap_or(u64::MAX);
    percent(float(part) / float(whole))
}
