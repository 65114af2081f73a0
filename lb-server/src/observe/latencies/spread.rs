//! How times are spread: what quantiles are taken from.

use super::cells;

/// Times of late, by cell, of one series or of several together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spread {
    counts: Box<[u64; cells::COUNT]>,
    all: u64,
}

impl Default for Spread {
    fn default() -> Self {
        Self { counts: Box::new([0; cells::COUNT]), all: 0 }
    }
}

impl Spread {
    pub(super) fn add(&mut self, cell: u16, count: u64) {
        self.counts[usize::from(cell)] += count;
        self.all += count;
    }

    /// Forgets all, and keeps the memory for what comes next.
    pub(crate) fn clear(&mut self) {
        if self.all > 0 {
            self.counts.fill(0);
            self.all = 0;
        }
    }

    /// How many times there were.
    pub(crate) const fn count(&self) -> u64 {
        self.all
    }

    /// The times that this many thousandths of all did not exceed, in seconds; 1,000 ask for the longest.
    /// `None` where there were none. `thousandths` rise.
    pub(crate) fn quantiles<const N: usize>(&self, thousandths: [u64; N]) -> Option<[f64; N]> {
        if self.all == 0 {
            return None;
        }
        let mut found = [0.0; N];
        let (mut number, mut seen) = (0, self.counts[0]);
        for (share, found) in thousandths.into_iter().zip(&mut found) {
            // Its place among all in order, counted from 1.
            let rank = (share * self.all).div_ceil(1_000).clamp(1, self.all);
            while seen < rank {
                number += 1;
                seen += self.counts[number];
            }
            *found = middle_secs(number);
        }
        Some(found)
    }
}

/// The middle of what a cell holds: whole microseconds, of which the lower edge is none.
#[expect(clippy::cast_precision_loss, reason = "edges are far below 2⁵²")]
fn middle_secs(number: usize) -> f64 {
    let (above, up_to) = cells::edges(number);
    (above + 1 + up_to) as f64 / 2.0 / 1_000_000.0
}
