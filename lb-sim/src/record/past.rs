//! What a server did while it was recorded, so that it does the same again.
//!
//! Its time is cut into stretches of a second or more, in each of which enough was asked of it to say how
//! it was: which share of the requests it answered well, with which statuses it failed, how often it was
//! not there, and how long each of these took. [`Past::lot`] draws from the stretch that a moment is in.
//! After a stretch in which nobody asked, it is as it was seen last.
//!
//! Of what a client gave up is known that it would have taken longer. To leave that out would make a server
//! that hangs a quick one, since only who is quick is seen to the end. So it becomes one of those that did
//! take longer, in the same stretch or else at any time ("redistribution to the right": Efron 1967, the same
//! as the estimate of Kaplan and Meier); where none did, one that was never answered.

use std::time::Duration;

use lb_core::config::StatusSet;
use lb_core::{Failure, Outcome, Verdict};

/// Something that was asked of it.
#[derive(Clone, Copy, Debug)]
pub struct Tried {
    /// When, in microseconds since the record began.
    pub at: u64,
    /// What became of it; `None`: whoever asked gave it up.
    pub outcome: Option<Outcome>,
    /// How long that took, or how long it was waited for, in microseconds; `None`: nobody knows.
    pub took: Option<u32>,
}

/// Something that it was seen to do.
#[derive(Clone, Copy, Debug)]
struct Done {
    outcome: Outcome,
    took: Option<u32>,
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
    /// Where in [`Past::took`] its own begin and end, as far as they are known.
    took: (u32, u32),
}

/// What it does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lot {
    /// What it comes to; a timeout is one of any length.
    pub outcome: Outcome,
    /// After how long; `None`: nobody knows how long anything took.
    pub takes: Option<Duration>,
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
        other if other.verdict(StatusSet::NONE) == Verdict::Abandoned => None,
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
            // What was given up nobody knows when says nothing.
            let Some(outcome) = tried.outcome else { return tried.took.is_some() };
            tried.outcome = kind(outcome);
            tried.outcome.is_some()
        });
        all.sort_by_key(|tried| tried.at);
        let mut longer = Longer::new(&all);
        let mut past = Self {
            speed,
            begins,
            stretches: Vec::new(),
            took: Vec::with_capacity(all.len()),
            good: Vec::new(),
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
            past.stretch(from, longer.settled(&all[first..end]));
            first = end;
        }
        past.good.sort_unstable();
        (!past.stretches.is_empty()).then_some(past)
    }

    fn stretch(&mut self, from: u64, mut all: Vec<Done>) {
        all.sort_unstable_by_key(|done| (rank(done.outcome), done.took));
        let mut kinds = Vec::new();
        let mut seen = 0;
        for same in all.chunk_by(|one, other| one.outcome == other.outcome) {
            seen += same.len();
            let begins = place(self.took.len());
            self.took.extend(same.iter().filter_map(|done| done.took));
            if same[0].outcome == Outcome::Answered(GOOD) {
                self.good.extend(&self.took[begins as usize..]);
            }
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
        let takes = (!all.is_empty()).then(|| all[part(all.len(), takes)]);
        let takes = takes.map(|micros| Duration::from_micros(micros.into()));
        Lot { outcome: kind.outcome, takes }
    }

    /// Whether it is known of everything how long it takes.
    pub fn is_timed(&self) -> bool {
        let is_good = |kind: &Kind| kind.outcome == Outcome::Answered(GOOD);
        let is_known =
            |kind: &Kind| kind.took.0 < kind.took.1 || is_good(kind) && !self.good.is_empty();
        self.stretches.iter().flat_map(|stretch| &stretch.kinds).all(is_known)
    }
}

/// What became of what was given up, as far as the others tell.
struct Longer {
    /// All that was seen to its end, the quickest first; nothing where all was.
    ever: Vec<Done>,
    /// How much was settled, which spreads what is taken evenly.
    count: f64,
}

impl Longer {
    fn new(all: &[Tried]) -> Self {
        let is_needed = all.iter().any(|tried| tried.outcome.is_none());
        Self { ever: if is_needed { seen(all) } else { Vec::new() }, count: 0.0 }
    }

    /// A stretch in which nothing is given up.
    fn settled(&mut self, stretch: &[Tried]) -> Vec<Done> {
        let here = seen(stretch);
        let given_up = stretch.iter().filter(|tried| tried.outcome.is_none());
        let ends = given_up.map(|tried| self.end(&here, tried.took)).collect::<Vec<_>>();
        [here, ends].concat()
    }

    /// What it came to that was waited for so long, where `here` was seen at that time.
    fn end(&mut self, here: &[Done], waited: Option<u32>) -> Done {
        // What nobody knows the time of is no longer than anything: `None` comes first.
        let longer = |seen: &[Done]| seen.partition_point(|done| done.took <= waited);
        let all = [here, &self.ever].map(|seen| &seen[longer(seen)..]);
        let all = all.into_iter().find(|longer| !longer.is_empty());
        // Multiples of the golden ratio fall evenly into 0.0..1.0, however many there are.
        self.count += 1.0;
        let share = (self.count * 0.618_033_988_749_895).fract();
        let never = Done { outcome: Outcome::Failed(Failure::FirstByteTimeout), took: waited };
        all.map_or(never, |longer| longer[part(longer.len(), share)])
    }
}

/// What was seen to its end, the quickest first.
fn seen(all: &[Tried]) -> Vec<Done> {
    let done = |tried: &Tried| Some(Done { outcome: tried.outcome?, took: tried.took });
    let mut seen: Vec<Done> = all.iter().filter_map(done).collect();
    seen.sort_unstable_by_key(|done| done.took);
    seen
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
            Tried { at: u64::from(nth) * 10_000, outcome: Some(outcome), took: Some(took) }
        });
        Past::new(all.collect(), Duration::from_millis(100), speed).expect("something was asked")
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(100 + ms)
    }

    #[test]
    fn what_was_good_is_as_quick_as_it_was_by_the_share_that_was_quicker() {
        let past = past(1.0);
        let takes = |ms| Some(Duration::from_millis(ms));
        let good = |ms| Lot { outcome: Outcome::Answered(200), takes: takes(ms) };
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
        assert_eq!(past.lot(at(2_500), 0.5, 0.9).takes, Some(Duration::from_micros(50)));
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
            outcome: Some(if nth == 3 { REFUSED } else { Outcome::Answered(200) }),
            took: Some(1_000),
        });
        let past = Past::new(rare.collect(), Duration::ZERO, 1.0).expect("something was asked");
        assert_eq!(past.stretches.len(), 15, "of ten seconds each");
        let crowded =
            Tried { at: 0, outcome: Some(Outcome::Failed(Failure::Crowded)), took: Some(1) };
        assert_eq!(Past::new(vec![crowded], Duration::ZERO, 1.0), None);
    }

    /// A hundred in a second, of which `answered` are answered after `took` and the others are
    /// given up after 5 s.
    fn given_up(second: u64, answered: u64, took: u32) -> impl Iterator<Item = Tried> {
        (0..100).map(move |nth| {
            let is_seen = nth < answered;
            let outcome = is_seen.then_some(Outcome::Answered(200));
            let took = if is_seen { took } else { 5_000_000 };
            Tried { at: second * SECOND + nth * 10_000, outcome, took: Some(took) }
        })
    }

    #[test]
    fn what_was_given_up_took_as_long_as_what_did_take_longer() {
        let all = given_up(0, 60, 7_000_000).chain(given_up(1, 60, 10)).chain(given_up(2, 0, 0));
        let past = Past::new(all.collect(), Duration::ZERO, 1.0).expect("something was asked");
        let long = Lot { outcome: Outcome::Answered(200), takes: Some(Duration::from_secs(7)) };
        let lot = |second, takes| past.lot(Duration::from_secs(second), takes, 0.99);
        assert_eq!([lot(0, 0.0), lot(0, 0.99)], [long, long], "all of those of that time");
        assert_eq!(lot(1, 0.5).takes, Some(Duration::from_micros(10)));
        assert_eq!([lot(1, 0.61), lot(2, 0.0)], [long, long], "else those of any time");
    }

    #[test]
    fn what_was_given_up_and_longer_than_all_others_was_never_answered() {
        let all = given_up(0, 100, 10).chain(given_up(1, 40, 10));
        let past = Past::new(all.collect(), Duration::ZERO, 1.0).expect("something was asked");
        let outcome = |second, fails| past.lot(Duration::from_secs(second), 0.5, fails).outcome;
        let never = Outcome::Failed(Failure::FirstByteTimeout);
        assert_eq!([outcome(0, 0.99), outcome(1, 0.39)], [Outcome::Answered(200); 2]);
        assert_eq!([outcome(1, 0.41), outcome(2, 0.41)], [never; 2]);
    }
}
