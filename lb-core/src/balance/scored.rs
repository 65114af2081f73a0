//! By chance, in proportion to weight and score.
//!
//! A score is what a formula makes of a backend's record: Proxy Worker's performance (with the
//! weights that it promises, and with a share for backends that nobody has asked yet), the same as
//! its source has it, and FlowBalance's health. Scores are worked out anew for each choice, from one
//! word per backend.
//!
//! A small group is **walked**: every candidate has its stretch of a line, and the die falls on one.
//! In a large group that would cost as much as there are backends, so a place is **tried**: drawn by
//! weight alone, and kept with the chance that its factor is of the best's (von Neumann, "Various
//! techniques used in connection with random digits", 1951). What is kept is in proportion to weight
//! times factor, which is what the line has, whoever else there is. Rejection forgets: giving up after
//! some tries and walking changes no share either. Only the scale, the best and the worst score, asks
//! for a look at everybody, and so it is a hint ([`super::ends`]) that one walk in as many choices as
//! there are backends brings up to date.

use alloc::boxed::Box;

use super::alias::Alias;
use super::ends::Ends;
use super::formula::{Formula, thousandths};
use super::{Candidates, Draw, Drawn, How};
use crate::config::Policy;
use crate::word::Shared;

/// Configured weights, the formula, and what is remembered of the last walk.
#[derive(Debug)]
pub(crate) struct Scored {
    formula: Formula,
    weights: Box<[u32]>,
    /// Throws places by weight.
    die: Alias,
    ends: Shared<Ends>,
}

/// Groups up to this are walked: it costs as much as trying, and is exact.
const WALKED_MAX: usize = 16;
/// Tries before a walk, and no more than there are backends, so that both together cost at most twice
/// a walk. With the floor of a twentieth a try is kept in one of 20 cases or more; all of 256 are in
/// vain once in 500,000 choices. Naive has no floor: where one is worth 86 and all others 1, once in
/// 20.
const TRIES_MAX: usize = 256;

impl Scored {
    pub(crate) fn new(policy: Policy, weights: &[u32]) -> Self {
        let formula = Formula::of(policy);
        let weights: Box<[u32]> = weights.iter().map(|weight| formula.weight(*weight)).collect();
        let die = Alias::new(&weights);
        Self { formula, weights, die, ends: Shared::new(Ends::UNSEEN) }
    }

    pub(crate) fn choose(&self, among: &impl Candidates, draw: &mut Draw<'_>) -> Option<Drawn> {
        if self.weights.len() <= WALKED_MAX {
            return self.walk(among, draw);
        }
        self.try_some(among, draw).or_else(|| self.walk(among, draw))
    }

    /// Draws by weight until a draw is kept. `None`: it is time to look at everybody.
    fn try_some(&self, among: &impl Candidates, draw: &mut Draw<'_>) -> Option<Drawn> {
        let count = u32::try_from(self.weights.len()).expect("BACKENDS_MAX fits in 32 bits");
        let mut hint = self.ends.get();
        if !hint.hold(among) || draw.rng.below(count) == 0 {
            return None;
        }
        let (mut ends, mut scale) = hint.now(among, |record| self.formula.score(record));
        let mut best = self.formula.factor(scale.best, &scale);
        for _ in 0..TRIES_MAX.min(self.weights.len()) {
            let place = self.die.draw(draw.rng);
            if !among.admits(place) {
                continue;
            }
            let score = self.formula.score(among.backend(place).record.get());
            if let Some(wider) = ends.with(&scale, place, score) {
                (ends, scale) = wider;
                best = self.formula.factor(scale.best, &scale);
                // Where another thread was sooner this one is left out until it is drawn again.
                let kept = self.ends.step(|seen| (seen == hint).then_some(ends));
                hint = kept.map_or(hint, |(_, to)| to);
            }
            let own = self.formula.factor(score, &scale);
            if own >= best || draw.rng.below(thousandths(best)) < thousandths(own) {
                let weighed = u64::from(self.weights[place]) * HUNDREDTHS;
                let own = weighed * u64::from(thousandths(own)) / u64::from(thousandths(best));
                let share = share_of(own, ends.total().into());
                return Some(Drawn { place, how: How::Scored { share } });
            }
        }
        None
    }

    /// Looks at every candidate, and at each once more until the mark is reached.
    fn walk(&self, among: &impl Candidates, draw: &mut Draw<'_>) -> Option<Drawn> {
        let places =
            || core::iter::successors(among.first_from(0), |place| among.first_from(place + 1));
        let score = |place: usize| self.formula.score(among.backend(place).record.get());
        let (ends, scale) = Ends::of(places().map(|place| (place, score(place))));
        let share = |place: usize| self.formula.share(self.weights[place], score(place), &scale);
        let total: u64 = places().map(share).sum();
        let mut mark = draw.rng.up_to(total.checked_sub(1)?);
        if self.weights.len() > WALKED_MAX {
            let best = u64::from(thousandths(self.formula.factor(scale.best, &scale)));
            self.ends.step(|_| Some(ends.totalling(total * HUNDREDTHS / best)));
        }
        // Another thread may change a record between the two walks: then the last will do.
        let mut last = None;
        for place in places() {
            last = Some(place);
            match mark.checked_sub(share(place)) {
                Some(rest) => mark = rest,
                None => break,
            }
        }
        last.map(|place| Drawn { place, how: How::Scored { share: share_of(share(place), total) } })
    }
}

/// In what a total is remembered, of a weight at the best's score.
const HUNDREDTHS: u64 = 100;

/// A part in thousandths of the whole, which may be of a moment ago.
fn share_of(part: u64, whole: u64) -> u32 {
    u32::try_from((part * 1_000 / whole.max(1)).min(1_000)).expect("at most 1,000")
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;
    use core::cell::Cell;

    use proptest::prelude::*;
    use proptest::test_runner::{Config, RngSeed};

    use super::*;
    use crate::area::Area;
    use crate::backend::Backend;
    use crate::balance::formula::record;
    use crate::config::WEIGHT_MAX;
    use crate::rng::Rng;
    use crate::score::Record;
    use crate::time::Time;

    /// A group, and how often somebody asked for the next of its candidates.
    struct Group {
        backends: Vec<Backend>,
        admitted: Vec<bool>,
        looks: Cell<usize>,
    }

    impl Group {
        fn new(records: &[Record]) -> Self {
            let backends: Vec<Backend> = records.iter().map(|_| Backend::new("", 0)).collect();
            let group =
                Self { admitted: alloc::vec![true; backends.len()], looks: Cell::new(0), backends };
            records.iter().enumerate().for_each(|(place, record)| group.shows(place, *record));
            group
        }

        fn shows(&self, place: usize, record: Record) {
            self.backends[place].record.step(|_| Some(record));
        }
    }

    impl Candidates for Group {
        fn admits(&self, place: usize) -> bool {
            self.admitted[place]
        }

        fn is_fit(&self, place: usize) -> bool {
            self.admitted[place]
        }

        fn first_from(&self, from: usize) -> Option<usize> {
            self.looks.set(self.looks.get() + 1);
            (from..self.backends.len()).find(|place| self.admitted[*place])
        }

        fn backend(&self, place: usize) -> &Backend {
            &self.backends[place]
        }

        fn in_flight_of_all(&self) -> u32 {
            0
        }
    }

    /// How often each was chosen, in so many choices.
    fn choose(scored: &Scored, group: &Group, choices: u64) -> Vec<u64> {
        let mut counts = alloc::vec![0; group.backends.len()];
        for id in 0..choices {
            let mut rng = Rng::stream(7, id);
            let (now, area) = (Time::ZERO, Area::default());
            let mut draw = Draw { rng: &mut rng, first: true, now, key: None, area };
            let drawn = scored.choose(group, &mut draw).expect("somebody is admitted");
            assert!(group.admitted[drawn.place], "{drawn:?} is no candidate");
            counts[drawn.place] += 1;
        }
        counts
    }

    /// What a walk has for each.
    fn shares(scored: &Scored, group: &Group) -> Vec<u64> {
        let score = |place: usize| scored.formula.score(group.backends[place].record.get());
        let among = || (0..group.backends.len()).filter(|place| group.admitted[*place]);
        let (_, scale) = Ends::of(among().map(|place| (place, score(place))));
        let share = |place| scored.formula.share(scored.weights[place], score(place), &scale);
        (0..group.backends.len())
            .map(|place| if group.admitted[place] { share(place) } else { 0 })
            .collect()
    }

    /// Pearson's test, with cells in which few are expected thrown together: what is measured has a
    /// mean of the degrees of freedom and twice that as its variance. Five standard deviations.
    fn assert_in_proportion(counts: &[u64], shares: &[u64]) {
        const EXPECTED_MIN: f64 = 10.0;
        #[expect(clippy::cast_precision_loss, reason = "counts and shares are below 2⁵²")]
        let float = |number: u64| number as f64;
        let each = float(counts.iter().sum()) / float(shares.iter().sum());
        let (mut sum, mut cells) = (0.0, 0_u32);
        let mut cell = (0.0, 0.0);
        for (count, share) in counts.iter().zip(shares) {
            cell = (cell.0 + float(*count), cell.1 + float(*share) * each);
            if cell.1 >= EXPECTED_MIN {
                sum += (cell.0 - cell.1) * (cell.0 - cell.1) / cell.1;
                cells += 1;
                cell = (0.0, 0.0);
            }
        }
        let freedom = f64::from(cells);
        let most = freedom + 5.0 * libm::sqrt(2.0 * freedom) + 10.0;
        assert!(sum <= most, "{sum} of {cells} cells: {counts:?} are not as {shares:?}");
    }

    fn records() -> impl Strategy<Value = Record> {
        let shown = (0..100_u32, 0..=100_u32, 0..7_000_u64);
        shown.prop_map(|(requests, percent, mean)| record(requests, requests * percent / 100, mean))
    }

    fn policies() -> impl Strategy<Value = Policy> {
        prop::sample::select(
            &[Policy::Performance, Policy::PerformanceNaive, Policy::HealthScore][..],
        )
    }

    proptest! {
        #![proptest_config(Config {
            cases: 100,
            rng_seed: RngSeed::Fixed(7),
            failure_persistence: None,
            ..Config::default()
        })]

        #[test]
        fn a_large_group_is_chosen_from_as_a_walk_would(
            policy in policies(),
            of in prop::collection::vec((1..=WEIGHT_MAX, records()), WALKED_MAX + 1..150),
            unfit in prop_oneof![Just(0), 0..100_u32, Just(97)],
            seed: u64,
        ) {
            let (weights, records): (Vec<u32>, Vec<Record>) = of.into_iter().unzip();
            let scored = Scored::new(policy, &weights);
            let mut group = Group::new(&records);
            let mut dice = Rng::stream(seed, 0);
            group.admitted.iter_mut().for_each(|admitted| *admitted = dice.below(100) >= unfit);
            group.admitted[dice.below(17) as usize] = true;
            assert_in_proportion(&choose(&scored, &group, 20_000), &shares(&scored, &group));
            // Some come, some go, and all show something else; soon that is what counts.
            group.admitted.iter_mut().for_each(|admitted| *admitted ^= dice.below(3) == 0);
            group.admitted[dice.below(17) as usize] = true;
            group.shows(3, record(50, 0, 1));
            records.iter().rev().enumerate().for_each(|(at, record)| group.shows(at, *record));
            choose(&scored, &group, 5_000);
            assert_in_proportion(&choose(&scored, &group, 20_000), &shares(&scored, &group));
        }

        #[test]
        fn a_choice_costs_the_same_however_many_there_are(
            policy in prop::sample::select(&[Policy::Performance, Policy::HealthScore][..]),
            records in prop::collection::vec(records(), 200..600),
        ) {
            let scored = Scored::new(policy, &alloc::vec![1; records.len()]);
            let group = Group::new(&records);
            choose(&scored, &group, 5_000);
            // One walk in as many choices as there are backends looks at each three times.
            prop_assert!(group.looks.get() < 5 * 5_000, "{} looks", group.looks.get());
        }
    }

    /// Half of them quick, half slow: 7 to 1, or 71 to 65 beside one that does nothing but fail. The
    /// last has a thousandth of the others' weight.
    fn quick_and_slow() -> (Scored, Group) {
        let both = [record(100, 0, 10), record(100, 0, 2_000)];
        let group = Group::new(&both.repeat(50));
        let mut weights = [WEIGHT_MAX; 100];
        weights[99] = 1;
        (Scored::new(Policy::Performance, &weights), group)
    }

    fn quick_percent(scored: &Scored, group: &Group, choices: u64) -> u64 {
        choose(scored, group, choices).iter().step_by(2).sum::<u64>() * 100 / choices
    }

    #[test]
    fn who_is_hardly_ever_drawn_is_a_measure_in_time() {
        let (scored, group) = quick_and_slow();
        assert!((83..92).contains(&quick_percent(&scored, &group, 1_000)), "7 to 1");
        group.shows(99, record(100, 100, 10));
        // Nobody draws it, once in 100,000; every hundredth choice looks at all.
        choose(&scored, &group, 1_000);
        assert!((48..57).contains(&quick_percent(&scored, &group, 1_000)), "71 to 65");
    }

    #[test]
    fn who_is_no_longer_fit_is_no_measure_from_then_on() {
        let (scored, mut group) = quick_and_slow();
        group.shows(99, record(100, 100, 10));
        assert!((48..57).contains(&quick_percent(&scored, &group, 1_000)), "71 to 65");
        group.admitted[99] = false;
        group.looks.set(0);
        choose(&scored, &group, 1);
        assert!(group.looks.get() > 99, "the first choice looks at all");
        assert!((75..97).contains(&quick_percent(&scored, &group, 100)), "7 to 1");
    }

    #[test]
    fn who_outdoes_the_best_is_the_measure_from_its_first_draw_on() {
        let group = Group::new(&alloc::vec![record(100, 50, 10); 1_001]);
        let mut weights = [1; 1_001];
        weights[7] = 1_000;
        let scored = Scored::new(Policy::Performance, &weights);
        assert!((450..550).contains(&choose(&scored, &group, 1_000)[7]), "one of two");
        group.shows(7, record(100, 0, 10));
        group.looks.set(0);
        let counts = choose(&scored, &group, 100);
        assert!(counts[7] > 88, "36 to a twentieth of it: 95 of 100, and not {}", counts[7]);
        assert_eq!(group.looks.get(), 0, "and nobody had to look at all");
    }
}
