//! How long things took: counts so fine that quantiles of them are exact to 1.25 %.
//!
//! A series has a counter per cell ([`cells`]), and to record a time is to add one to one of them,
//! without a lock and without memory of its own. Whoever reads does the work: all workers count in the
//! same cells, the classic histogram is summed up from them, and quantiles are read off.
//!
//! Quantiles are of the last minutes, since nobody wants to know that of last week. The cells are
//! those of the running minute. When a minute is over, whoever comes first takes them out, into a list of
//! those that are not zero; five such lists are kept. No timer does it: while nobody comes, nothing
//! changes, and nothing is lost by being late. A minute that begins may get a time or two that belong
//! to the one before.
//!
//! ```text
//!   record ──► cells (this minute) ──when it is over──► minutes (the last five) ──► quantiles
//!                                  └──────────────────► counts  (since the start) ─► histogram
//! ```
//!
//! A series that nobody uses takes 16 bytes. One in use takes 424, and 640 for each decade of times that it
//! ever saw (usually two or three), and 8 for each cell that was hit in each of the last five minutes.

mod cells;
mod spread;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::Duration;

use lb_core::Time;

pub(crate) use spread::Spread;

/// Upper bounds of the classic histogram: 1-2-5 steps, as an alert on a ratio wants them. Cells end
/// there, so that its counts are exact.
pub(crate) const SECONDS: [f64; BOUNDS] = [
    0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
    20.0, 50.0, 100.0,
];
const BOUNDS: usize = 18;
/// The same in microseconds, in steps of 1, 2 and 5.
const BOUNDS_US: [u64; BOUNDS] = {
    let (mut bounds, mut at) = ([200; BOUNDS], 1);
    while at < BOUNDS {
        bounds[at] = match at % 3 {
            1 => bounds[at - 1] / 2 * 5,
            _ => bounds[at - 1] * 2,
        };
        at += 1;
    }
    bounds
};
/// Of which thousandths quantiles are told, the last being the longest time.
pub(crate) const SHARES: [u64; 5] = [500, 900, 990, 999, 1_000];
/// Minutes that quantiles are of, beside the one that runs.
const MINUTES: u64 = 5;
const MINUTE_US: u64 = 60_000_000;

/// How long things of one kind took.
#[derive(Debug, Default)]
pub struct Latencies {
    /// The minute that `cells` are of.
    minute: AtomicU64,
    /// All times together since the start, in microseconds.
    micros: AtomicU64,
    /// By decade; there when the first time in it was recorded. 32 bits hold what comes in a minute.
    cells: [OnceLock<Box<[AtomicU32]>>; cells::DECADES],
    past: Mutex<Past>,
}

#[derive(Debug, Default)]
struct Past {
    /// Since the start, but for the minute that runs.
    counts: Buckets,
    /// The last ones in which anything was recorded, the oldest first.
    minutes: VecDeque<Minute>,
}

#[derive(Debug)]
struct Minute {
    number: u64,
    /// Which cells were hit, and how often.
    cells: Box<[(u16, u32)]>,
}

/// How many times were up to which bound, and in the last above all of them.
type Buckets = [u64; BOUNDS + 1];

/// What a classic histogram says.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Up to each of [`SECONDS`] and above the one before, and the rest.
    pub(crate) counts: Buckets,
    /// All times together.
    pub(crate) sum: Duration,
}

impl Latencies {
    /// It is `now`, and something took `took`.
    #[inline]
    pub fn record(&self, now: Time, took: Duration) {
        let minute = minute_of(now);
        if self.minute.load(Relaxed) < minute {
            self.turn(minute);
        }
        let micros = u64::try_from(took.as_micros())
            .map_or(cells::LONGEST_US, |it| it.min(cells::LONGEST_US));
        self.micros.fetch_add(micros, Relaxed);
        let (decade, cell) = cells::place(micros);
        self.cells[decade].get_or_init(|| fresh(decade))[cell].fetch_add(1, Relaxed);
    }

    /// The times that this many thousandths of those of the last minutes did not exceed, in seconds; 1,000
    /// ask for the longest. `None` where there were none. `thousandths` rise.
    pub fn quantiles<const N: usize>(&self, now: Time, thousandths: [u64; N]) -> Option<[f64; N]> {
        let mut spread = Spread::default();
        self.add_to(&mut spread, now);
        spread.quantiles(thousandths)
    }

    /// Adds what was recorded in the last minutes.
    pub(crate) fn add_to(&self, spread: &mut Spread, now: Time) {
        let past = self.read(now);
        for minute in &past.minutes {
            minute.cells.iter().for_each(|(cell, count)| spread.add(*cell, u64::from(*count)));
        }
        self.each_cell(|cell, count| spread.add(cell, u64::from(count.load(Relaxed))));
    }

    /// What was recorded since the start.
    pub(crate) fn tally(&self) -> Tally {
        // Held to the end: what is counted moves from the cells to the past under it.
        let past = self.past();
        let mut counts = past.counts;
        self.each_cell(|cell, count| counts[bucket(cell)] += u64::from(count.load(Relaxed)));
        Tally { counts, sum: Duration::from_micros(self.micros.load(Relaxed)) }
    }

    /// What is known of past minutes at `now`; as long as it is held, none becomes past.
    fn read(&self, now: Time) -> MutexGuard<'_, Past> {
        let mut past = self.past();
        self.file(&mut past, minute_of(now));
        past
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another minute has begun. A worker does not wait where somebody else sees to it.
    #[cold]
    fn turn(&self, minute: u64) {
        match self.past.try_lock() {
            Ok(mut past) => self.file(&mut past, minute),
            Err(TryLockError::Poisoned(past)) => self.file(&mut past.into_inner(), minute),
            Err(TryLockError::WouldBlock) => {}
        }
    }

    /// Files the minute that ran among the past ones, if it is over.
    fn file(&self, past: &mut Past, minute: u64) {
        let number = self.minute.load(Relaxed);
        if minute <= number {
            return;
        }
        let mut hit = Vec::new();
        self.each_cell(|cell, count| {
            let count = count.swap(0, Relaxed);
            past.counts[bucket(cell)] += u64::from(count);
            hit.push((cell, count));
        });
        if !hit.is_empty() {
            past.minutes.push_back(Minute { number, cells: hit.into() });
        }
        while past.minutes.front().is_some_and(|oldest| oldest.number + MINUTES < minute) {
            past.minutes.pop_front();
        }
        self.minute.store(minute, Relaxed);
    }

    /// Shows the cells that are not zero.
    fn each_cell(&self, mut show: impl FnMut(u16, &AtomicU32)) {
        for (decade, cells) in self.cells.iter().enumerate() {
            let cells = cells.get().map_or(&[][..], |cells| cells);
            for (cell, count) in cells.iter().enumerate().filter(|(_, it)| it.load(Relaxed) > 0) {
                show(cells::number(decade, cell), count);
            }
        }
    }
}

impl Tally {
    /// How many times there were.
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cold]
fn fresh(decade: usize) -> Box<[AtomicU32]> {
    std::iter::repeat_with(AtomicU32::default).take(cells::in_decade(decade)).collect()
}

const fn minute_of(now: Time) -> u64 {
    now.as_micros() / MINUTE_US
}

/// In which bucket of the classic histogram all times of a cell are.
fn bucket(cell: u16) -> usize {
    let (_, up_to) = cells::edges(usize::from(cell));
    BOUNDS_US.partition_point(|bound| *bound < up_to)
}

#[cfg(test)]
mod tests;
