//! What a server did while it was recorded, so that it does the same again.
//!
//! Its time is cut into stretches of a second or more, in each of which enough was asked of it to say how
//! it was: which share of the requests it answered well, with which statuses it failed, how often it was
//! not there, and how long each of these took. [`Past::lot`] draws from the stretch that a moment is in.
//! After a stretch in which nobody asked, it is as it was seen last.

use std::time::Duration;

use lb_core::{Failure, Outcome};

/// Something that was asked of it.
#[derive(Clone, Copy, Debug)]
pub struct Tried {
    /// When, in microseconds since the record began.
    pub at: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// How long that took, in microseconds.
    pub took: u32,
}

/// What a server did.
#[derive(Clone, Debug, PartialEq)]
pub struct Past {
    /// How much faster than then it happens now.
    speed: f64,
    /// When its world began, in the time of the run.
    begins: Duration,
    /// In order of time.
    stretches: Vec<Stretch>,
    /// By stretch, and within it by outcome: what it took, in order.
    took: Vec<u32>,
    /// What good answers took at any time, in order.
    good: Vec<u32>,
}

/// A time in which it was one way.
#[derive(Clone, Debug, PartialEq)]
struct Stretch {
    /// In microseconds since the record began.
    from: u64,
    kinds: Vec<Kind>,
}

/// Something that it did in a stretch.
#[derive(Clone, Debug, PartialEq)]
struct Kind {
    outcome: Outcome,
    /// The share of what was asked that came to this or to a kind before it.
    up_to: f64,
    /// Where in [`Past::took`] its own begin and end.
    took: (u32, u32),
}

/// What it does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lot {
    /// What it comes to; a timeout is one of any length.
    pub outcome: Outcome,
    /// After how long.
    pub takes: Duration,
}

/// So much must have been asked in a stretch to say how it was,
const ENOUGH: usize = 20;
/// unless it lasts this long: then it is what it is. In microseconds.
const LONG: u64 = 10_000_000;
/// Stretches begin with a second of the record.
const SECOND: u64 = 1_000_000;

/// What is told of an outcome: all good answers are one, and what was no word of the server's is none.
fn kind(outcome: Outcome) -> Option<Outcome> {
    match outcome {
        Outcome::Answered(..500) => Some(Outcome::Answered(GOOD)),
        Outcome::Failed(
            Failure::Unsent
            | Failure::Exhausted
            | Failure::Crowded
            | Failure::NoTunnel
            | Failure::OutOfTime,
        ) => None,
        other => Some(other),
    }
}

/// What stands for every good answer.
const GOOD: u16 = 200;

impl Past {
    /// What a server did to whom `all` was asked, in any order; `None`: nothing is known. It begins at
    /// `begins` in the time of the run, and happens `speed` times as fast.
    pub fn new(mut all: Vec<Tried>, begins: Duration, speed: f64) -> Option<Self> {
        all.retain_mut(|tried| {
            let told = kind(tried.outcome);
            tried.outcome = told.unwrap_or(tried.outcome);
            told.is_some()
        });
        all.sort_by_key(|tried| tried.at);
        let is_good = |it: &&Tried| it.outcome == Outcome::Answered(GOOD);
        let mut good: Vec<u32> = all.iter().filter(is_good).map(|it| it.took).collect();
        good.sort_unstable();
        let mut past = Self {
            speed,
            begins,
            stretches: Vec::new(),
            took: Vec::with_capacity(all.len()),
            good,
        };
        let mut first = 0;
        while first < all.len() {
            let from = all[first].at - all[first].at % SECOND;
            let is_in = |at: usize| {
                let second = all[at].at - all[at].at % SECOND;
                let is_new = second > all[at - 1].at;
                !is_new || (at - first < ENOUGH && second - from < LONG)
            };
            let end = (first + 1..all.len()).find(|at| !is_in(*at)).unwrap_or(all.len());
            past.stretch(from, &mut all[first..end]);
            first = end;
        }
        (!past.stretches.is_empty()).then_some(past)
    }

    fn stretch(&mut self, from: u64, all: &mut [Tried]) {
        all.sort_unstable_by_key(|tried| (rank(tried.outcome), tried.took));
        let mut kinds = Vec::new();
        let mut seen = 0;
        for same in all.chunk_by(|one, other| one.outcome == other.outcome) {
            seen += same.len();
            let begins = place(self.took.len());
            self.took.extend(same.iter().map(|tried| tried.took));
            let took = (begins, place(self.took.len()));
            kinds.push(Kind { outcome: same[0].outcome, up_to: share(seen, all.len()), took });
        }
        self.stretches.push(Stretch { from, kinds });
    }

    /// What becomes of a request at `at` of the run, by two numbers in `0.0..1.0`: of the first all that is
    /// likely to be quick is small, of the second all that fails is large.
    pub fn lot(&self, at: Duration, takes: f64, fails: f64) -> Lot {
        let since = at.saturating_sub(self.begins).mul_f64(self.speed).as_micros();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        let after = self.stretches.partition_point(|stretch| stretch.from <= since);
        let kinds = &self.stretches[after.saturating_sub(1)].kinds;
        let kind = kinds.iter().find(|kind| fails < kind.up_to);
        let kind = kind.or(kinds.last()).expect("a stretch has something that was asked in it");
        let (from, to) = (kind.took.0 as usize, kind.took.1 as usize);
        let is_good = kind.outcome == Outcome::Answered(GOOD);
        // A few good answers say little of how long they take.
        let all = if is_good && to - from < ENOUGH { &self.good } else { &self.took[from..to] };
        let takes = Duration::from_micros(all[part(all.len(), takes)].into());
        Lot { outcome: kind.outcome, takes }
    }
}

/// Good answers come first, so that a number says the same of two servers that fail differently.
fn rank(outcome: Outcome) -> (u8, u16) {
    match outcome {
        Outcome::Answered(GOOD) => (0, GOOD),
        Outcome::Answered(status) => (1, status),
        Outcome::Failed(failure) => {
            let place = Failure::ALL.iter().position(|known| *known == failure);
            (2, place.and_then(|at| u16::try_from(at).ok()).unwrap_or(u16::MAX))
        }
    }
}

fn place(at: usize) -> u32 {
    u32::try_from(at).expect("a record has fewer than 2³² attempts")
}

#[expect(clippy::cast_precision_loss, reason = "counts of a record are far below 2⁵²")]
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of a number far below 2⁵²"
)]
fn part(count: usize, share: f64) -> usize {
    ((count as f64 * share) as usize).min(count - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: Outcome = Outcome::Failed(Failure::ConnectRefused);

    /// A hundred a second: good ones of 1 to 100 ms, but in the third second half are 503 at once, and in
    /// the fourth nobody listens.
    fn past(speed: f64) -> Past {
        let all = (0..400_u32).map(|nth| {
            let outcome = match nth / 100 {
                2 if nth % 2 == 0 => Outcome::Answered(503),
                3 => REFUSED,
                _ => Outcome::Answered(204),
            };
            let took = if outcome == Outcome::Answered(204) { (nth % 100 + 1) * 1_000 } else { 50 };
            Tried { at: u64::from(nth) * 10_000, outcome, took }
        });
        Past::new(all.collect(), Duration::from_millis(100), speed).expect("something was asked")
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(100 + ms)
    }

    #[test]
    fn what_was_good_is_as_quick_as_it_was_by_the_share_that_was_quicker() {
        let past = past(1.0);
        let good = |ms| Lot { outcome: Outcome::Answered(200), takes: Duration::from_millis(ms) };
        assert_eq!(past.lot(at(0), 0.0, 0.99), good(1));
        assert_eq!(past.lot(at(500), 0.5, 0.0), good(51));
        assert_eq!(past.lot(at(1_999), 0.999, 0.5), good(100));
    }

    #[test]
    fn what_failed_fails_in_the_same_share_at_the_same_time() {
        let past = past(1.0);
        let status = |ms, fails| past.lot(at(ms), 0.5, fails).outcome;
        assert_eq!(status(2_500, 0.49), Outcome::Answered(200));
        assert_eq!(status(2_500, 0.51), Outcome::Answered(503));
        assert_eq!(status(3_500, 0.0), REFUSED);
        assert_eq!(status(9_000, 0.0), REFUSED, "nobody has seen it since");
        assert_eq!(past.lot(at(2_500), 0.5, 0.9).takes, Duration::from_micros(50));
    }

    #[test]
    fn at_twice_the_speed_everything_happens_after_half_the_time() {
        let fast = past(2.0);
        assert_eq!(fast.lot(at(1_600), 0.5, 0.5).outcome, REFUSED);
        assert_eq!(fast.lot(at(900), 0.5, 0.5).outcome, Outcome::Answered(200));
    }

    #[test]
    fn few_requests_share_a_stretch_and_what_we_lacked_ourselves_says_nothing() {
        let rare = (0..30).map(|nth| Tried {
            at: nth * 5_000_000,
            outcome: if nth == 3 { REFUSED } else { Outcome::Answered(200) },
            took: 1_000,
        });
        let past = Past::new(rare.collect(), Duration::ZERO, 1.0).expect("something was asked");
        assert_eq!(past.stretches.len(), 15, "of ten seconds each");
        let crowded = Tried { at: 0, outcome: Outcome::Failed(Failure::Crowded), took: 1 };
        assert_eq!(Past::new(vec![crowded], Duration::ZERO, 1.0), None);
    }
}
