//! When requests arrive, and who sends them.

use std::time::Duration;

use lb_core::Rng;

use crate::dice::{Chance, Dice};
use crate::scenario::{Arrivals, Bursts, Closed, Scenario, Surge, Workload};
use crate::zipf::Zipf;

/// When a request arrives, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Since the world began.
    pub(crate) at: Duration,
    /// Whether it is a POST.
    pub(crate) post: bool,
    /// Who sends it, if the workload has users.
    pub(crate) user: Option<u32>,
    /// Whether it reads nothing of the answer's body for a while.
    pub(crate) reads_late: bool,
    /// How often its client has asked in vain before.
    pub(crate) tries: u8,
    /// Which of the clients sends it that wait for their answers, if they do.
    pub(crate) client: Option<Turn>,
}

/// A client that asks when it has its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Which client.
    pub(crate) client: u32,
    /// Its how manieth request this is, counted from 0.
    pub(crate) count: u32,
}

/// When the first request may arrive: everybody listens by then.
pub(crate) const START: Duration = Duration::from_millis(100);

/// What requests are, whenever they come.
#[derive(Clone, Copy, Debug)]
struct Kinds {
    post: f64,
    users: u32,
    heavy: f64,
    slow_readers: f64,
    zipf: Option<Zipf>,
}

impl Kinds {
    fn new(workload: &Workload) -> Self {
        let Workload { post, users, heavy, slow_readers, zipf, .. } = *workload;
        let zipf = zipf.map(|exponent| Zipf::new(users, exponent));
        Self { post, users, heavy, slow_readers, zipf }
    }

    fn is_post(&self, dice: &mut impl Chance) -> bool {
        self.post > 0.0 && dice.unit() < self.post
    }

    fn user(&self, dice: &mut impl Chance) -> Option<u32> {
        let Self { users, heavy, .. } = *self;
        if users == 0 {
            return None;
        }
        let is_heavy = heavy > 0.0 && dice.unit() < heavy;
        Some(match &self.zipf {
            _ if is_heavy => 0,
            Some(zipf) => zipf.draw(dice),
            None => dice.below(users),
        })
    }

    fn reads_late(&self, dice: &mut impl Chance) -> bool {
        self.slow_readers > 0.0 && dice.unit() < self.slow_readers
    }
}

/// The gap before somebody who never comes: longer than any run, and short of what overflows.
const MAX_GAP: Duration = Duration::from_secs(1 << 20);

/// The arrivals of a run, one after the other: those that come whether or not others were answered.
pub(crate) struct Arriving<'s> {
    workload: &'s Workload,
    kinds: Kinds,
    ends: Duration,
    mean: Duration,
    at: Duration,
    weather: Option<Bursting>,
    gaps: Dice,
    methods: Dice,
    users: Dice,
    readers: Dice,
}

impl<'s> Arriving<'s> {
    pub(crate) fn new(scenario: &'s Scenario, seed: u64) -> Self {
        let workload = &scenario.workload;
        let dice = |user| Dice::new(seed, user, 0);
        let bursts = match workload.arrivals {
            Arrivals::Bursts(bursts) => Some(bursts),
            Arrivals::Poisson | Arrivals::Even => None,
        };
        // Clients that wait for their answers bring none that do not: nobody ever comes.
        let is_closed = workload.closed.is_some();
        let ends = if is_closed { Duration::ZERO } else { scenario.duration };
        let mean = if is_closed { MAX_GAP } else { Duration::from_secs_f64(1.0 / workload.rate) };
        Self {
            workload,
            kinds: Kinds::new(workload),
            ends,
            mean,
            at: START,
            weather: bursts.map(|bursts| Bursting::new(bursts, dice("bursts"))),
            gaps: dice("gaps"),
            methods: dice("methods"),
            users: dice("users"),
            readers: dice("readers"),
        }
    }

    /// How long it is until the next one.
    fn gap(&mut self) -> Duration {
        let workload = self.workload;
        let mean = match &workload.surges[..] {
            [] => self.mean,
            surges => {
                let is_on = |it: &&Surge| (it.at..it.at + it.lasts).contains(&self.at);
                let times: f64 = surges.iter().filter(is_on).map(|it| it.times).product();
                self.mean.div_f64(times)
            }
        };
        match &mut self.weather {
            Some(weather) => weather.gap(self.at, mean, &mut self.gaps),
            None if workload.arrivals == Arrivals::Even => mean,
            None => self.gaps.gap(mean),
        }
    }
}

impl Iterator for Arriving<'_> {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        if self.at >= self.ends {
            return None;
        }
        let gap = self.gap();
        self.at += gap;
        if self.at >= self.ends {
            return None;
        }
        let kinds = &self.kinds;
        let (post, user) = (kinds.is_post(&mut self.methods), kinds.user(&mut self.users));
        let reads_late = kinds.reads_late(&mut self.readers);
        Some(Arrival { at: self.at, post, user, reads_late, tries: 0, client: None })
    }
}

/// Arrivals whose rate goes up and down at random: a Poisson process that a two-state Markov chain modulates
/// (Fischer and Meier-Hellstern, "The Markov-modulated Poisson process (MMPP) cookbook", 1993).
struct Bursting {
    bursts: Bursts,
    is_on: bool,
    /// Until when it stays so.
    until: Duration,
    dice: Dice,
}

impl Bursting {
    fn new(bursts: Bursts, mut dice: Dice) -> Self {
        // It begins between two bursts.
        let until = START + dice.gap(bursts.every - bursts.last);
        Self { bursts, is_on: false, until, dice }
    }

    /// The next gap after `at`, if gaps last `mean` on average over all.
    ///
    /// The chance of an arrival adds up over time, faster in a burst: an exponential number says how much of
    /// it there is to be.
    fn gap(&mut self, at: Duration, mean: Duration, gaps: &mut Dice) -> Duration {
        let second = Duration::from_secs(1);
        let mut left = gaps.gap(second).as_secs_f64();
        let mut now = at;
        loop {
            let mean = mean.div_f64(self.bursts.level(self.is_on));
            let stays = self.until.saturating_sub(now);
            let spent = stays.as_secs_f64() / mean.as_secs_f64();
            if left <= spent {
                return now + mean.mul_f64(left) - at;
            }
            left -= spent;
            now = now.max(self.until);
            self.is_on = !self.is_on;
            let Bursts { last, every, .. } = self.bursts;
            self.until = now + self.dice.gap(if self.is_on { last } else { every - last });
        }
    }
}

/// Clients that ask, wait for the answer, think, and ask again.
#[derive(Clone, Debug)]
pub(crate) struct Asking {
    closed: Option<Closed>,
    kinds: Kinds,
    seed: u64,
    ends: Duration,
}

impl Asking {
    pub(crate) fn new(scenario: &Scenario, seed: u64) -> Self {
        let Scenario { workload, duration, .. } = scenario;
        Self { closed: workload.closed.clone(), kinds: Kinds::new(workload), seed, ends: *duration }
    }

    /// The first request of each client.
    pub(crate) fn first(&self) -> impl Iterator<Item = Arrival> {
        let clients = 0..self.closed.as_ref().map_or(0, |closed| closed.clients);
        clients.filter_map(move |client| self.at(Turn { client, count: 0 }, START))
    }

    /// The request after that of `turn`, whose client has its answer at `now`; `None`: it would come too late.
    pub(crate) fn next(&self, turn: Turn, now: Duration) -> Option<Arrival> {
        self.at(Turn { count: turn.count.wrapping_add(1), ..turn }, now)
    }

    /// All chance of a request is its own, whatever happened before.
    fn at(&self, turn: Turn, now: Duration) -> Option<Arrival> {
        let number = (u64::from(turn.client) << 32) | u64::from(turn.count);
        let mut dice = Rng::stream(self.seed ^ THINKS, number);
        let at = now + self.closed.as_ref()?.think.draw(&mut dice);
        let (post, user) = (self.kinds.is_post(&mut dice), self.kinds.user(&mut dice));
        let reads_late = self.kinds.reads_late(&mut dice);
        let client = Some(turn);
        (at < self.ends).then_some(Arrival { at, post, user, reads_late, tries: 0, client })
    }
}

/// Tells the dice of clients that think from others.
const THINKS: u64 = 0x7468_696e_6b73;

#[cfg(test)]
mod tests {
    use super::*;

    fn bursts(times: f64) -> Bursts {
        let (last, every) = (Duration::from_secs(2), Duration::from_secs(10));
        Bursts { times, last, every }
    }

    /// Arrivals in each second of many, at 100 a second on average.
    fn per_second(times: f64, seconds: usize) -> Vec<f64> {
        let mut bursting = Bursting::new(bursts(times), Dice::new(1, "bursts", 0));
        let mut gaps = Dice::new(1, "gaps", 0);
        let (mut at, mut counts) = (START, vec![0.0; seconds]);
        loop {
            at += bursting.gap(at, Duration::from_millis(10), &mut gaps);
            match counts.get_mut(usize::try_from(at.as_secs()).unwrap()) {
                Some(count) => *count += 1.0,
                None => return counts,
            }
        }
    }

    #[test]
    fn bursts_leave_the_average_as_it_is_said_and_gather_the_requests() {
        let counts = per_second(9.0, 20_000);
        let mean = counts.iter().sum::<f64>() / counts.len() as f64;
        assert!((mean - 100.0).abs() < 5.0, "{mean}");
        // In a fifth of the time 9 times as many: 346 a second against 38.
        let busy = counts.iter().filter(|count| **count > 200.0).count() as f64;
        assert!((0.15..0.25).contains(&(busy / counts.len() as f64)), "{busy}");
        let quiet = counts.iter().filter(|count| (20.0..60.0).contains(*count)).count() as f64;
        assert!((0.65..0.8).contains(&(quiet / counts.len() as f64)), "{quiet}");
    }

    #[test]
    fn bursts_that_are_no_higher_than_the_rest_are_poisson() {
        let counts = per_second(1.0, 20_000);
        let mean = counts.iter().sum::<f64>() / counts.len() as f64;
        let spread = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>();
        // The variance of a Poisson number is its mean.
        let dispersion = spread / counts.len() as f64 / mean;
        assert!((0.95..1.05).contains(&dispersion), "{dispersion}");
    }
}
