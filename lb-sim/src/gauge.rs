//! What a scenario expects, measured while the run goes on: a gauge for each part of it that is looked at.
//!
//! A second is looked at when all of its requests have ended, and forgotten then. So there are as many
//! gauges at a time as a request may take seconds, however long the run is.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use lb_core::{BreakerState, Event};

use crate::invariant::Kind;
use crate::log::{End, Entry, Topics, What};
use crate::measure::{Measure, Places, span};
use crate::scenario::{Expectation, Metric, Scenario};
use crate::verdict::{Expected, LookedAt};

/// Everything that is looked at.
pub(crate) struct Gauges<'s> {
    always: Ruler<'s>,
    eventually: Ruler<'s>,
    at_end: Vec<(Gauge, Vec<Ask<'s>>)>,
    drains: bool,
    /// Whether anybody expects anything, and of each second.
    is_idle: bool,
    has_rulers: bool,
}

/// An expectation, and what came of it so far.
struct Ask<'s> {
    expectation: &'s Expectation,
    checks: u64,
    broken: Option<(Duration, f64)>,
}

/// A part of a run, and what was measured of it so far.
struct Gauge {
    span: Range<Duration>,
    sent: u64,
    ended: u64,
    notes: Notes,
    measure: Measure,
}

/// What is dear to note, and noted only where somebody asks for it.
#[derive(Clone, Copy, Default)]
struct Notes {
    latencies: bool,
    homes: bool,
}

/// The seconds of a part of a run.
struct Ruler<'s> {
    scenario: &'s Scenario,
    start: Duration,
    /// How many whole seconds there are.
    count: u64,
    notes: Notes,
    asks: Vec<Ask<'s>>,
    /// Those that were begun and not yet looked at, of which the first has this number.
    first: u64,
    open: VecDeque<Gauge>,
}

/// What gauges are told.
enum News {
    Sent,
    Ended(Option<End>, Duration),
    Tried(usize, u8),
    Opened,
    Visited(u32, usize),
}

impl<'s> Gauges<'s> {
    pub(crate) fn new(scenario: &'s Scenario) -> Self {
        let expect = &scenario.expect;
        let whole = span(scenario, None);
        let recovered = scenario.recovered()..scenario.duration;
        Self {
            is_idle: [&expect.always, &expect.eventually, &expect.at_end]
                .iter()
                .all(|them| them.is_empty()),
            has_rulers: !(expect.always.is_empty() && expect.eventually.is_empty()),
            always: Ruler::new(scenario, whole, &expect.always),
            eventually: Ruler::new(scenario, recovered, &expect.eventually),
            at_end: by_span(scenario, &expect.at_end),
            drains: false,
        }
    }

    /// What it has to be told of.
    pub(crate) fn hears(&self) -> Topics {
        let mut notes = [self.always.notes, self.eventually.notes].into_iter();
        let homes = notes.any(|it| it.homes) || self.at_end.iter().any(|(it, _)| it.notes.homes);
        let of_requests = Topics::SENT.and(Topics::ENDED).and(Topics::DRAINS);
        let all = of_requests.and(Topics::ATTEMPTED).and(Topics::BACKEND);
        match () {
            () if self.is_idle => Topics::NONE,
            () if homes => all.and(Topics::REACHED),
            () => all,
        }
    }

    /// Another entry.
    #[inline]
    pub(crate) fn add(&mut self, places: &Places, entry: &Entry) {
        if self.is_idle {
            return;
        }
        let at = entry.at;
        match &entry.what {
            What::Sent { .. } => self.tell(at, at, &News::Sent),
            What::Ended { end, exchange, sent, took, .. } => {
                let turned_away = self.drains && *end == End::Failed && exchange.is_none();
                self.tell(*sent, at, &News::Ended((!turned_away).then_some(*end), *took));
            }
            What::Core(Event::Attempted { backend, attempt, .. }) => {
                self.tell(at, at, &News::Tried(places.of(*backend), *attempt));
            }
            What::Core(Event::BreakerMoved { to: BreakerState::Open, .. }) => {
                self.tell(at, at, &News::Opened);
            }
            What::Reached { origin, user: Some(user), .. } => {
                self.tell(at, at, &News::Visited(*user, *origin));
            }
            What::DrainBegan => self.drains = true,
            _ => {}
        }
    }

    /// Something that belongs to `at` is known `now`.
    #[inline]
    fn tell(&mut self, at: Duration, now: Duration, news: &News) {
        for (gauge, _) in &mut self.at_end {
            if gauge.span.contains(&at) {
                gauge.hear(news);
            }
        }
        if self.has_rulers {
            for ruler in [&mut self.always, &mut self.eventually] {
                if !ruler.asks.is_empty() {
                    ruler.tell(at, now, news);
                }
            }
        }
    }

    /// What each came to, when the run is over.
    pub(crate) fn expected(self) -> Vec<Expected> {
        let said = |word: &str, kind: Kind, looked_at: LookedAt, ask: &Ask<'_>| Expected {
            text: format!("{word} {}", ask.expectation.text),
            kind,
            checks: ask.checks,
            broken: ask.broken,
            is_latency: ask.expectation.is_latency(),
            looked_at,
        };
        let scenario = self.always.scenario;
        let always = self.always.asked().into_iter();
        let eventually = self.eventually.asked().into_iter();
        let at_end = self.at_end.into_iter().flat_map(|(gauge, mut asks)| {
            gauge.look(scenario, &mut asks);
            asks
        });
        let mut at_end: Vec<Ask<'_>> = at_end.collect();
        let written = |ask: &Ask<'_>| {
            let mut all = scenario.expect.at_end.iter();
            all.position(|it| std::ptr::eq(it, ask.expectation))
        };
        at_end.sort_by_key(written);
        let at_end =
            at_end.into_iter().map(|ask| said("at_end", Kind::Safety, LookedAt::AtEnd, &ask));
        let each = LookedAt::EachSecond;
        let always = always.map(|ask| said("always", Kind::Safety, each, &ask));
        let eventually = eventually.map(|ask| said("eventually", Kind::Liveness, each, &ask));
        always.chain(eventually).chain(at_end).collect()
    }
}

/// A gauge for each part of the run that is asked about, and who asks.
fn by_span<'s>(scenario: &Scenario, asked: &'s [Expectation]) -> Vec<(Gauge, Vec<Ask<'s>>)> {
    let mut spans: Vec<(Range<Duration>, Vec<&'s Expectation>)> = Vec::new();
    for expectation in asked {
        let span = span(scenario, expectation.phase);
        match spans.iter_mut().find(|(known, _)| *known == span) {
            Some((_, together)) => together.push(expectation),
            None => spans.push((span, vec![expectation])),
        }
    }
    let gauge = |(span, together): (Range<Duration>, Vec<&'s Expectation>)| {
        let gauge = Gauge::new(scenario, span, Notes::of(together.iter().copied()));
        (gauge, together.into_iter().map(Ask::new).collect())
    };
    spans.into_iter().map(gauge).collect()
}

impl<'s> Ask<'s> {
    fn new(expectation: &'s Expectation) -> Self {
        Self { expectation, checks: 0, broken: None }
    }
}

impl Notes {
    fn of<'e>(asked: impl IntoIterator<Item = &'e Expectation>) -> Self {
        let mut notes = Self::default();
        for expectation in asked {
            notes.latencies |= expectation.is_latency();
            notes.homes |= expectation.metric == Metric::Wanderers;
        }
        notes
    }
}

impl Gauge {
    fn new(scenario: &Scenario, span: Range<Duration>, notes: Notes) -> Self {
        let measure = Measure::nothing(scenario, &span, notes.latencies);
        Self { span, sent: 0, ended: 0, notes, measure }
    }

    #[inline]
    fn hear(&mut self, news: &News) {
        match *news {
            News::Sent => self.sent += 1,
            News::Ended(end, took) => {
                self.ended += 1;
                match end {
                    Some(end) => self.measure.ended(end, took),
                    None => self.measure.turned_away += 1,
                }
            }
            News::Tried(origin, number) => self.measure.tried(origin, number),
            News::Opened => self.measure.opened += 1,
            News::Visited(user, origin) if self.notes.homes => self.measure.visited(user, origin),
            News::Visited(..) => {}
        }
    }

    /// Holds what was measured against what was expected.
    fn look(mut self, scenario: &Scenario, asks: &mut [Ask<'_>]) {
        let measure = &mut self.measure;
        measure.requests = self.sent - measure.turned_away;
        // What never ended was not answered either.
        measure.errors += self.sent - self.ended;
        for ask in asks {
            let Some(measured) = measure.of(&ask.expectation.metric, scenario) else { continue };
            ask.checks += 1;
            if ask.broken.is_none() && !ask.expectation.holds(measured) {
                ask.broken = Some((self.span.start, measured));
            }
        }
    }
}

impl<'s> Ruler<'s> {
    fn new(scenario: &'s Scenario, over: Range<Duration>, asked: &'s [Expectation]) -> Self {
        Self {
            scenario,
            start: over.start,
            count: over.end.saturating_sub(over.start).as_secs(),
            notes: Notes::of(asked),
            asks: asked.iter().map(Ask::new).collect(),
            first: 0,
            open: VecDeque::new(),
        }
    }

    fn tell(&mut self, at: Duration, now: Duration, news: &News) {
        let Some(second) = at.checked_sub(self.start).map(|since| since.as_secs()) else { return };
        if second >= self.count {
            return self.look_at_past(now);
        }
        while self.first + self.open.len() as u64 <= second {
            self.look_at_past(now);
            let nth = self.first + self.open.len() as u64;
            let start = self.start + Duration::from_secs(nth);
            let span = start..start + Duration::from_secs(1);
            self.open.push_back(Gauge::new(self.scenario, span, self.notes));
        }
        let place = usize::try_from(second - self.first).expect("a run has few seconds");
        self.open[place].hear(news);
        if matches!(news, News::Ended(..)) {
            self.look_at_past(now);
        }
    }

    /// Looks at all that is past of which nothing is expected any more.
    fn look_at_past(&mut self, now: Duration) {
        let is_past = |it: &mut Gauge| it.sent == it.ended && it.span.end <= now;
        while let Some(gauge) = self.open.pop_front_if(is_past) {
            self.first += 1;
            gauge.look(self.scenario, &mut self.asks);
        }
    }

    fn asked(mut self) -> Vec<Ask<'s>> {
        for gauge in self.open {
            gauge.look(self.scenario, &mut self.asks);
        }
        self.asks
    }
}
