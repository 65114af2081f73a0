//! The timeline: everything that a run has to say over time, on one axis, a row each.
//!
//! What is done to the world lies behind all rows as a shade; what goes wrong stands in front of them as a
//! line. Both are drawn once, so that fifty backends cost fifty rows and no more.

use std::ops::Range;
use std::time::Duration;

use maud::{Markup, html};

use super::chart::{HIGH, area, line, plot, round_up};
use super::heatmap::latencies;
use super::scene::{Scene, float};
use super::strips::{in_flight, shares};
use super::words::{percent, rate, seconds, several};
use crate::report::kind_of;
use crate::scenario::ActionKind;

/// Something that a page points out at a time.
pub(crate) struct Alarm {
    pub(crate) at: Duration,
    pub(crate) what: String,
}

/// How high a row is.
#[derive(Clone, Copy)]
pub(crate) enum Size {
    /// Nothing to see but that there is nothing.
    Flat,
    Small,
    Medium,
    Large,
}

impl Size {
    const fn class(self) -> &'static str {
        match self {
            Self::Flat => "plot flat",
            Self::Small => "plot small",
            Self::Medium => "plot medium",
            Self::Large => "plot large",
        }
    }
}

/// The whole of it.
pub(crate) fn timeline(scene: &Scene<'_>, alarms: &[Alarm]) -> Markup {
    html! {
        div.time {
            (behind(scene, alarms))
            (ticks(scene))
            (events(scene, alarms))
            (requests(scene))
            (errors(scene))
            (retries(scene))
            (budgets(scene))
            (latencies(scene))
            (shares(scene))
            (in_flight(scene))
        }
    }
}

/// A row: its name, what is drawn, and where its scale ends.
pub(crate) fn row(name: &str, note: &Markup, size: Size, drawn: &Markup, scale: &Markup) -> Markup {
    html! {
        div.row {
            div.name { span { (name) } small { (note) } }
            div class=(size.class()) { (drawn) }
            div.scale { (scale) }
        }
    }
}

/// A row that says that there was nothing.
pub(crate) fn nothing(name: &str, what: &str) -> Markup {
    row(name, &html! {}, Size::Flat, &html! { span.none { (what) } }, &html! {})
}

/// From nothing at the bottom to the end of a scale at the top.
fn scale(top: &str) -> Markup {
    html! { span.top { (top) } span.bottom { "0" } }
}

/// What lies behind all rows: ticks, shades of what is done to the world, lines where something is wrong.
fn behind(scene: &Scene<'_>, alarms: &[Alarm]) -> Markup {
    let axis = scene.axis;
    html! {
        div.behind aria-hidden="true" {
            @for tick in axis.ticks() { i.tick style=(axis.left(tick)) {} }
            @for span in troubles(scene) { i.shade style=(axis.place(&span)) {} }
            @for action in &scene.scenario.actions { i.act style=(axis.left(action.at)) {} }
            @for alarm in alarms { i.alarm style=(axis.left(alarm.at)) {} }
        }
    }
}

/// When something is done to the world; what overlaps is one.
fn troubles(scene: &Scene<'_>) -> Vec<Range<Duration>> {
    let mut spans: Vec<Range<Duration>> = bars(scene).into_iter().map(|bar| bar.span).collect();
    spans.sort_by_key(|span| span.start);
    let mut joined: Vec<Range<Duration>> = Vec::new();
    for span in spans {
        match joined.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => joined.push(span),
        }
    }
    joined
}

fn ticks(scene: &Scene<'_>) -> Markup {
    let axis = scene.axis;
    html! {
        div.row.ticks aria-hidden="true" {
            div.name { small { "one bin is " (seconds(axis.step)) } }
            div.plot {
                @for tick in axis.ticks() { span style=(axis.left(tick)) { (seconds(tick)) } }
            }
            div.scale {}
        }
    }
}

/// Something that is done to the world for a while.
struct Bar {
    span: Range<Duration>,
    what: String,
    at: Vec<String>,
}

/// Origins that a bar names; the others are counted.
const NAMED_MAX: usize = 1;

impl Bar {
    fn text(&self) -> String {
        let named = self.at.iter().take(NAMED_MAX).map(String::as_str);
        let named = named.collect::<Vec<_>>().join(", ");
        match self.at.len().saturating_sub(NAMED_MAX) {
            0 if named.is_empty() => self.what.clone(),
            0 => format!("{} at {named}", self.what),
            more => format!("{} at {named} and {more} more", self.what),
        }
    }
}

/// All that is done; the same at the same time to several is one.
fn bars(scene: &Scene<'_>) -> Vec<Bar> {
    let scenario = scene.scenario;
    let mut bars: Vec<Bar> = Vec::new();
    for fault in &scenario.faults {
        let (span, what) = (fault.at..fault.end(), kind_of(fault));
        let name = scenario.name_of(fault.origin);
        match bars.iter_mut().find(|bar| bar.span == span && bar.what == what) {
            Some(bar) => bar.at.push(name),
            None => bars.push(Bar { span, what, at: vec![name] }),
        }
    }
    let surges = scenario.workload.surges.iter().map(|surge| Bar {
        span: surge.at..surge.at + surge.lasts,
        what: format!("{} times the requests", surge.times),
        at: Vec::new(),
    });
    let attacks = scenario.attacks.iter().map(|attack| Bar {
        span: attack.at..attack.end(),
        what: format!("rapid reset, {}", rate(attack.rate)),
        at: Vec::new(),
    });
    let drains = scenario.actions.iter().filter(|it| it.kind == ActionKind::Drain);
    let drains = drains.map(|drain| Bar {
        span: drain.at..scenario.duration,
        what: "drain".to_owned(),
        at: Vec::new(),
    });
    let others: Vec<Bar> = surges.chain(attacks).chain(drains).collect();
    bars.extend(others);
    bars.sort_by_key(|bar| bar.span.start);
    bars
}

/// Lanes for things that happen at the same time; what finds none lies over the last.
const LANES_MAX: usize = 12;

/// Things in lanes in which nothing overlaps.
fn lanes(bars: Vec<Bar>) -> Vec<Vec<Bar>> {
    let mut lanes: Vec<Vec<Bar>> = Vec::new();
    for bar in bars {
        let free = |lane: &&mut Vec<Bar>| lane.iter().all(|it| it.span.end <= bar.span.start);
        let full = lanes.len() == LANES_MAX;
        match lanes.iter_mut().find(free) {
            Some(lane) => lane.push(bar),
            None if full => lanes.last_mut().expect("there are so many").push(bar),
            None => lanes.push(vec![bar]),
        }
    }
    lanes
}

fn events(scene: &Scene<'_>, alarms: &[Alarm]) -> Markup {
    let axis = scene.axis;
    let lanes = lanes(bars(scene));
    let reloads = scene.scenario.actions.iter().filter(|it| it.kind != ActionKind::Drain);
    let reloads: Vec<Duration> = reloads.map(|it| it.at).collect();
    if lanes.is_empty() && reloads.is_empty() && alarms.is_empty() {
        return nothing("Events", "nothing is done to this world");
    }
    let title = |bar: &Bar| {
        format!("{}, {} to {}", bar.text(), seconds(bar.span.start), seconds(bar.span.end))
    };
    html! {
        div.row {
            div.name { span { "Events" } small { "faults, load, actions" } }
            div.events {
                @for lane in &lanes {
                    div.lane {
                        @for bar in lane {
                            span.bar style=(axis.place(&bar.span)) title=(title(bar)) { (bar.text()) }
                        }
                    }
                }
                @if !reloads.is_empty() {
                    div.lane {
                        @for at in &reloads {
                            span.flag style=(axis.left(*at)) title=(format!("reload at {}", seconds(*at))) { "reload" }
                        }
                    }
                }
                @if !alarms.is_empty() {
                    div.lane {
                        @for (number, alarm) in (1..).zip(alarms) {
                            span.flag.wrong style=(axis.left(alarm.at)) title=(alarm.what) { "✗ " (number) }
                        }
                    }
                }
            }
            div.scale {}
        }
    }
}

fn requests(scene: &Scene<'_>) -> Markup {
    let requests = scene.rates(|it| it.requests);
    let attempts = scene.rates(|it| it.attempts.iter().sum());
    let top = round_up(requests.iter().chain(&attempts).copied().fold(0.0, f64::max));
    let all = scene.measure(&(Duration::ZERO..scene.scenario.duration));
    let asked = all.attempts.iter().sum::<u64>();
    let label = format!(
        "requests of clients and attempts at backends over time: {}, {}",
        several(usize::try_from(all.requests).unwrap_or(usize::MAX), "request"),
        several(usize::try_from(asked).unwrap_or(usize::MAX), "attempt"),
    );
    let attempts: Vec<Option<f64>> = attempts.into_iter().map(Some).collect();
    let drawn = html! { (area(&requests, top, "flow")) (line(&attempts, top, "attempts")) };
    let note = html! { span { i.key.flow {} "requests" } span { i.key.line {} "attempts" } };
    let drawn = plot(scene.axis.count, HIGH, &label, &drawn);
    row("Requests", &note, Size::Medium, &drawn, &scale(&rate(top)))
}

fn errors(scene: &Scene<'_>) -> Markup {
    let rates = scene.rates(|it| it.errors);
    let all = scene.measure(&(Duration::ZERO..scene.scenario.duration));
    if all.errors == 0 {
        return nothing("Errors", "every request was answered below 500, whole and in time");
    }
    let top = round_up(rates.iter().copied().fold(0.0, f64::max));
    let ratio = percent(float(all.errors) / float(all.requests.max(1)));
    let label = format!("errors over time: {} in all, {ratio} of the requests", all.errors);
    let drawn = plot(scene.axis.count, HIGH, &label, &area(&rates, top, "bad"));
    let note = html! { span { i.key.bad {} (ratio) " of all" } };
    row("Errors", &note, Size::Small, &drawn, &scale(&rate(top)))
}

fn retries(scene: &Scene<'_>) -> Markup {
    let retries = scene.rates(|it| it.retries);
    let seconds = scene.axis.bins().map(|span| (span.end - span.start).as_secs_f64());
    let withheld = scene.history.withheld.iter().zip(seconds);
    let withheld: Vec<f64> = withheld.map(|(count, seconds)| f64::from(*count) / seconds).collect();
    let top = retries.iter().chain(&withheld).copied().fold(0.0, f64::max);
    if top == 0.0 {
        return nothing("Retries", "nobody had to be asked twice");
    }
    let top = round_up(top);
    let all = scene.measure(&(Duration::ZERO..scene.scenario.duration));
    let none = scene.history.withheld.iter().sum::<u32>();
    let label = format!("retries over time: {} made, {none} withheld", all.retries);
    let withheld: Vec<Option<f64>> = withheld.into_iter().map(Some).collect();
    let drawn = html! {
        (area(&retries, top, "retry"))
        @if none > 0 { (line(&withheld, top, "withheld")) }
    };
    let drawn = plot(scene.axis.count, HIGH, &label, &drawn);
    let note = html! {
        span { i.key.retry {} "made" }
        @if none > 0 { span { i.key.dash {} "withheld" } }
    };
    row("Retries", &note, Size::Small, &drawn, &scale(&rate(top)))
}

fn budgets(scene: &Scene<'_>) -> Markup {
    html! {
        @for (service, left) in &scene.history.budgets {
            @let least = left.iter().copied().fold(1.0, f64::min);
            @let name = if scene.history.budgets.len() > 1 { format!("Budget of {}", scene.service(*service)) } else { "Retry budget".to_owned() };
            @if least < 1.0 {
                @let label = format!("what is left of the retry budget over time: at least {}", percent(least));
                @let drawn = plot(scene.axis.count, HIGH, &label, &area(left, 1.0, "budget"));
                (row(&name, &html! { span { i.key.budget {} "left, " (percent(least)) " at least" } }, Size::Small, &drawn, &scale("100 %")))
            } @else {
                (nothing(&name, "untouched"))
            }
        }
    }
}
