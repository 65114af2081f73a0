//! Into which cell a time falls, and which times a cell holds.
//!
//! A cell is an interval of microseconds, open below and closed above, as Prometheus' `le` means it.
//! Up to 100 µs each microsecond has a cell of its own. From there on each decade has 160: steps of 2 %
//! of the decade's beginning up to twice that, of 5 % up to five times, of 10 % up to ten times:
//!
//! ```text
//!   100 µs ── 50 of 2 µs ── 200 µs ──── 60 of 5 µs ──── 500 µs ──── 50 of 10 µs ──── 1 ms ── 50 of 20 µs ──
//! ```
//!
//! So no cell is wider than a fortieth of the times in it, and the middle of a cell is at most an
//! eightieth (1.25 %) away from each of them. Every step of 1, 2 and 5 is an edge of a cell, which is why
//! a coarse histogram with such bounds can be summed up from cells and is exact.

/// Cells of one microsecond each.
const FINEST: usize = 100;
const PER_DECADE: usize = 160;
/// The first is up to 100 µs, the last from 1,000 s to [`LONGEST_US`].
pub(super) const DECADES: usize = 9;
/// All cells.
pub(super) const COUNT: usize = FINEST + (DECADES - 1) * PER_DECADE;
/// 2 hours and 46 minutes. What took longer is counted as that.
pub(super) const LONGEST_US: u64 = 10_000_000_000;
/// A hundredth of each decade's beginning, from 100 µs.
const UNITS: [u64; DECADES - 1] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];

/// The decade of a time, and the cell in it.
#[inline]
pub(super) fn place(micros: u64) -> (usize, usize) {
    // A cell holds its upper edge, not its lower one.
    let below = micros.clamp(1, LONGEST_US) - 1;
    if below < FINEST as u64 {
        return (0, index(below));
    }
    let power = below.ilog10() as usize - 2;
    let digits = below / UNITS[power]; // 100 to 999
    let cell = match digits {
        ..200 => (digits - 100) / 2,
        200..500 => 50 + (digits - 200) / 5,
        _ => 110 + (digits - 500) / 10,
    };
    (power + 1, index(cell))
}

fn index(cell: u64) -> usize {
    usize::try_from(cell).expect("a decade has 160 cells")
}

/// How many cells a decade has.
pub(super) const fn in_decade(decade: usize) -> usize {
    if decade == 0 { FINEST } else { PER_DECADE }
}

/// The place of a cell among all.
pub(super) fn number(decade: usize, cell: usize) -> u16 {
    let before = if decade == 0 { 0 } else { FINEST + (decade - 1) * PER_DECADE };
    u16::try_from(before + cell).expect("there are 1,380 cells")
}

/// The edges of a cell in microseconds: above the first, up to and including the second.
pub(super) fn edges(number: usize) -> (u64, u64) {
    let number = number as u64;
    let (finest, per_decade) = (FINEST as u64, PER_DECADE as u64);
    let Some(coarse) = number.checked_sub(finest) else { return (number, number + 1) };
    let unit = UNITS[index(coarse / per_decade)];
    let (above, step) = match coarse % per_decade {
        cell @ ..50 => (100 + 2 * cell, 2),
        cell @ 50..110 => (200 + 5 * (cell - 50), 5),
        cell => (500 + 10 * (cell - 110), 10),
    };
    (above * unit, (above + step) * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number_of(micros: u64) -> usize {
        let (decade, cell) = place(micros);
        assert!(cell < in_decade(decade), "{micros}");
        usize::from(number(decade, cell))
    }

    #[test]
    fn cells_follow_each_other_without_a_gap_and_hold_what_is_put_into_them() {
        let mut end = 0;
        for number in 0..COUNT {
            let (above, up_to) = edges(number);
            assert_eq!(above, end, "cell {number}");
            assert_eq!((number_of(above + 1), number_of(up_to)), (number, number));
            end = up_to;
        }
        assert_eq!(end, LONGEST_US);
        assert_eq!((number_of(0), number_of(u64::MAX)), (0, COUNT - 1));
    }

    #[test]
    fn no_cell_is_wider_than_a_fortieth_of_what_is_in_it() {
        for number in FINEST..COUNT {
            let (above, up_to) = edges(number);
            assert!((up_to - above) * 40 <= above, "{above} to {up_to}");
        }
    }
}
