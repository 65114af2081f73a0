//! What came of a case: the numbers of a table's line.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use crate::invariant::{Kind, RELOADS_HARMLESS};
use crate::log::TOO_MANY;
use crate::measure::{Facts, Measure};
use crate::scenario::Metric;
use crate::verdict::Verdict;

use super::{Case, Stage};

/// What a service does in a case, over all its seeds.
#[derive(Clone, Debug, Default)]
pub struct Outlook {
    /// Requests that were not answered below 500, per request, from the trouble's beginning on.
    pub error_ratio: f64,
    /// Requests that a limit of the proxy answered 429, per request, from the trouble's beginning on.
    pub limited: f64,
    /// The median of the latencies of good answers, in milliseconds, from the trouble's beginning on.
    pub p50: f64,
    /// What one in a hundred takes longer than.
    pub p99: f64,
    /// What one in a thousand takes longer than.
    pub p999: f64,
    /// Requests to backends for each of a client, while there is trouble.
    pub amplification: f64,
    /// How long the faulty got more than a quarter of their share, at worst; `None`: to the end.
    pub detect: Option<Duration>,
    /// How long after the trouble's end it was until all was as before, at worst; `None`: never was.
    pub recover: Option<Duration>,
    /// Whether the faulty are asked so seldom that nobody can tell when they are left alone and taken back.
    pub is_thin: bool,
    /// The largest share of a sound backend against what it has in calm times.
    pub hottest: f64,
    /// The smallest share of a backend against what is its own, in the end.
    pub starved: f64,
    /// Promises of the proxy that were broken, in words: a defect of lb, whatever the configuration.
    pub broken: Vec<Broken>,
    /// Runs in which something was wrong that nobody noticed.
    pub unnoticed: u32,
    /// Whether a breaker was open when all was not as before for the last time, and that was late.
    pub(super) is_shut: bool,
    /// Whether a breaker was open while there was trouble.
    pub(super) opens: bool,
    /// How many requests were rejected, by reason.
    pub(super) rejected: BTreeMap<&'static str, u64>,
    seeds: u32,
}

/// A promise of the proxy that was broken: under which seed, and how.
#[derive(Clone, Debug)]
pub struct Broken {
    /// The seed.
    pub seed: u64,
    /// In words.
    pub what: String,
}

/// The finest that is looked at.
const WINDOW: Duration = Duration::from_millis(500);
/// Good answers against those in calm times, from which on all is as before.
pub(super) const AS_BEFORE: f64 = 0.99;
/// Longer than anybody wants to wait for the trouble to be over.
pub(super) const LONG: Duration = Duration::from_secs(10);
/// Below this part of its share a backend counts as left alone, or above the other as taken back.
const LEFT_ALONE: f64 = 0.25;
const TAKEN_BACK: f64 = 0.5;
/// Requests that the faulty usually get in a stretch of time, by which can be told that they get less than
/// such a part of them: by chance alone they do once in 10⁵ times or less (Poisson).
const TELLS_LEFT: f64 = 30.0;
const TELLS_BACK: f64 = 60.0;

impl Outlook {
    /// Nothing yet.
    pub fn none() -> Self {
        let zero = Some(Duration::ZERO);
        Self { detect: zero, recover: zero, starved: f64::INFINITY, ..Self::default() }
    }

    /// Takes another run of `case` into account.
    pub fn add(&mut self, stage: &Stage, case: &Case, verdict: &Verdict, facts: &Facts) {
        let scenario = &case.scenario;
        let (begins, ends) = case.trouble.unwrap_or_default();
        let measure = |span: Range<Duration>| facts.measure(scenario, &span);
        let after = measure(begins..scenario.duration);
        let calm =
            measure(Duration::ZERO..if begins.is_zero() { scenario.duration } else { begins });
        let during = measure(begins..ends.max(begins));
        let tail_from = scenario.duration - Duration::from_secs(10);
        let tail = measure(tail_from..scenario.duration);

        self.seeds += 1;
        let mean = |so_far: &mut f64, now: f64| *so_far += (now - *so_far) / f64::from(self.seeds);
        let requests = after.requests.max(1) as f64;
        mean(&mut self.error_ratio, after.errors as f64 / requests);
        let limited = after.of(&Metric::Answered(TOO_MANY), scenario);
        mean(&mut self.limited, limited.unwrap_or_default());
        let asked = if during.requests > 0 { &during } else { &after };
        let attempts = asked.attempts.iter().sum::<u64>() as f64;
        mean(&mut self.amplification, attempts / asked.requests.max(1) as f64);
        let latency = |quantile| after.latency_ms(quantile).unwrap_or_default();
        mean(&mut self.p50, latency(0.5));
        mean(&mut self.p99, latency(0.99));
        mean(&mut self.p999, latency(0.999));

        let share = |of: &Measure, origin: usize| of.share(Some(origin)).unwrap_or_default();
        let sound = stage.origins.iter().filter(|origin| !case.faulty.contains(origin));
        for origin in sound {
            let usual = share(&calm, *origin);
            if case.trouble.is_some() && usual > 0.0 {
                self.hottest = self.hottest.max(share(&during, *origin) / usual);
            }
        }
        if scenario.actions.is_empty() {
            let used = stage.origins.iter().filter(|origin| share(&calm, **origin) > 0.0);
            let least = used.map(|origin| share(&tail, *origin) / share(&calm, *origin));
            self.starved = least.fold(self.starved, f64::min);
        }
        if !case.faulty.is_empty() {
            self.time(stage, case, facts, &calm);
        }
        for (why, count) in facts.rejected() {
            *self.rejected.entry(why).or_default() += count;
        }
        // How long it takes to be as before is told above, and is the user's to judge.
        let safety = verdict.findings.iter().filter(|finding| finding.kind == Kind::Safety);
        // Here people get bad answers without a reload, from too much load or too little time.
        let safety = safety.filter(|finding| finding.name != RELOADS_HARMLESS);
        let broken = safety.filter(|finding| !finding.violations.is_empty());
        let first = broken.filter_map(|finding| Some((finding.name, finding.violations.first()?)));
        let first = first.map(|(name, violation)| format!("{name}: {}", violation.what));
        let all = first.chain(verdict.panic.clone());
        self.broken.extend(all.map(|what| Broken { seed: verdict.seed, what }));
        // A backend that answers sooner than before is noticed by nobody, and beside other trouble.
        self.unnoticed += u32::from(verdict.is_unnoticed());
    }

    /// How long it takes until the faulty are left alone, and until all is as it was in `calm` times.
    fn time(&mut self, stage: &Stage, case: &Case, facts: &Facts, calm: &Measure) {
        let scenario = &case.scenario;
        let (begins, ends) = case.trouble.unwrap_or_default();
        let measure = |span: Range<Duration>| facts.measure(scenario, &span);
        let share = |of: &Measure, origin: usize| of.share(Some(origin)).unwrap_or_default();
        // Clients that were moved stay where they are, and nobody new comes.
        let sticks = stage.service().affinity.is_some();
        let faulty = |of: &Measure| case.faulty.iter().map(|it| share(of, *it)).sum::<f64>();
        let usual = faulty(calm);
        let is_all = stage.origins.iter().all(|origin| case.faulty.contains(origin));
        let none = is_all || usual == 0.0;
        let asked: u64 = case.faulty.iter().map(|it| calm.attempts[*it]).sum();
        let spent = if begins.is_zero() { scenario.duration } else { begins };
        let within = |count: f64| spent.mul_f64(count / asked.max(1) as f64);
        let width = within(TELLS_LEFT).max(WINDOW);
        let is_thin = !none && width * 2 > ends - begins;
        self.is_thin |= is_thin;
        let left = windows(begins..ends, width)
            .find(|span| faulty(&measure(span.clone())) <= LEFT_ALONE * usual);
        let left = left.map(|span| span.start + WINDOW - begins);
        self.detect = if none || is_thin { self.detect } else { later(self.detect, left) };
        let well = |span: &Range<Duration>| {
            let seen = measure(span.clone());
            let is_back = sticks || is_thin || faulty(&seen) >= TAKEN_BACK * usual;
            is_back && served(&seen) >= AS_BEFORE * served(calm)
        };
        let most = scenario.duration.saturating_sub(ends);
        let width = if none || is_thin { Duration::ZERO } else { within(TELLS_BACK) };
        let width = width.max(2 * WINDOW).min(most);
        let wide = |from: Duration| {
            let to = (from + width).min(scenario.duration);
            to - width..to
        };
        let unwell =
            windows(ends..scenario.duration, WINDOW).filter(|it| !well(&wide(it.start))).last();
        let well_from = unwell.as_ref().map_or(ends, |last| last.end);
        let back = (well_from + 2 * WINDOW <= scenario.duration).then(|| well_from - ends);
        let is_late = back.is_none_or(|back| back > LONG);
        self.opens |= facts.was_open(&(begins..ends));
        self.is_shut |= is_late && unwell.is_some_and(|last| facts.was_open(&last));
        self.recover = later(self.recover, back);
    }
}

/// The share of the requests that got good answers; nobody who asked was let down where nobody asked.
fn served(measure: &Measure) -> f64 {
    1.0 - measure.errors as f64 / measure.requests.max(1) as f64
}

/// The later of two, where `None` is never.
fn later(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    Some(one?.max(other?))
}

/// Stretches of time of this width, each of which begins a little later.
fn windows(span: Range<Duration>, width: Duration) -> impl Iterator<Item = Range<Duration>> {
    let starts = (0..).map(move |nth| span.start + WINDOW * nth);
    starts.map(move |start| start..start + width).take_while(move |it| it.end <= span.end)
}
