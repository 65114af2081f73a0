//! Prequal: of a few recent samples, the quickest that is not hot.
//!
//! Wydrowski et al., "Load is not what you should balance", NSDI 2024. A pool of samples is kept; a
//! backend in it is *hot* if it has more in flight than most of the samples (the quantile
//! [`HOT_QUANTILE`]). Of those that are not hot the one that answers soonest is taken. Paper and proxy
//! differ in one thing: there servers are
//! asked how they are, here every attempt was made by us, so that what a sample says is read afresh
//! with each choice and is never stale. As there, each choice brings in new samples, and a used one
//! goes, so that nobody is struck by a row of choices.

use super::alias::Alias;
use super::{Candidates, Draw, Drawn, How};
use crate::config::LatencyConfig;
use crate::word::atomic::{AtomicU32, Ordering};

/// The samples that all threads share.
#[derive(Debug)]
pub(crate) struct Prequal {
    die: Alias,
    config: LatencyConfig,
    samples: [AtomicU32; SAMPLES],
}

/// As many as in the paper.
const SAMPLES: usize = 1 << SAMPLES_BITS;
const SAMPLES_BITS: u32 = 4;
/// New samples for each choice, as in the paper.
const FRESH: usize = 3;
/// Of sixteen samples in order of requests in flight, those beyond the thirteenth are hot (0.84 in
/// the paper: 2 to the power of −¼).
const HOT_QUANTILE: (usize, usize) = (84, 100);
const EMPTY: u32 = u32::MAX;

/// A backend as it is now.
#[derive(Clone, Copy, Debug)]
struct Sample {
    slot: usize,
    place: usize,
    in_flight: u32,
    micros: Option<u64>,
}

impl Prequal {
    pub(crate) fn new(weights: &[u32], config: LatencyConfig) -> Self {
        let samples = core::array::from_fn(|_| AtomicU32::new(EMPTY));
        Self { die: Alias::new(weights), config, samples }
    }

    pub(crate) fn choose(&self, among: &impl Candidates, draw: &mut Draw<'_>) -> Option<Drawn> {
        self.sample(among, draw)?;
        let mut seen = [None; SAMPLES];
        let mut loads = [0; SAMPLES];
        let mut count = 0;
        for (slot, sample) in self.samples.iter().enumerate() {
            let Ok(place) = usize::try_from(sample.load(Ordering::Relaxed)) else { continue };
            // A sample may have come from before a backend became unfit, or was tried.
            if place == EMPTY as usize || !among.admits(place) {
                continue;
            }
            let backend = among.backend(place);
            let in_flight = backend.in_flight();
            // What is remembered is the time for each request that was there: with as many as there
            // are now, and one more, it takes so much longer.
            let micros = backend.estimate(draw.now, &self.config);
            let micros = micros.map(|micros| micros * (u64::from(in_flight) + 1));
            seen[slot] = Some(Sample { slot, place, in_flight, micros });
            loads[count] = in_flight;
            count += 1;
        }
        let samples = || seen.iter().flatten().copied();
        loads[..count].sort_unstable();
        let (part, whole) = HOT_QUANTILE;
        let hot_above = *loads.get((count * part / whole).min(count.checked_sub(1)?))?;
        let cold = samples().filter(|sample| sample.in_flight <= hot_above);
        // Who was never measured is as quick as the quickest, until it has answered.
        let quickest = samples().filter_map(|sample| sample.micros).min().unwrap_or(0);
        let key = |sample: &Sample| (sample.micros.unwrap_or(quickest), sample.in_flight);
        let Sample { slot, place, in_flight, micros } = cold.min_by_key(key)?;
        self.samples[slot].store(EMPTY, Ordering::Relaxed);
        let micros = micros.map(|micros| u32::try_from(micros).unwrap_or(u32::MAX));
        Some(Drawn { place, how: How::Cold { in_flight, hot_above, micros } })
    }

    /// Brings in new samples; `None` when there is no candidate.
    fn sample(&self, among: &impl Candidates, draw: &mut Draw<'_>) -> Option<()> {
        for _ in 0..FRESH {
            let place = self.die.draw_among(among, draw.rng)?;
            let empty = self.samples.iter().position(|it| it.load(Ordering::Relaxed) == EMPTY);
            let slot = empty.unwrap_or_else(|| draw.rng.below(1 << SAMPLES_BITS) as usize);
            self.samples[slot].store(u32::try_from(place).expect("a place"), Ordering::Relaxed);
        }
        Some(())
    }
}
