//! The time axis that all pictures of a run share, cut into bins.
//!
//! A bin is 1, 2, 2.5 or 5 times a power of ten long, so that its numbers can be read as "in these 250 ms",
//! and a page has at most so many of them however long the run is.

use std::ops::Range;
use std::time::Duration;

/// Time from left to right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    /// How long a bin is.
    pub(crate) step: Duration,
    /// How many there are.
    pub(crate) count: usize,
    /// Where it ends: within the last bin.
    pub(crate) end: Duration,
}

/// Labels on it.
const TICKS_MAX: u128 = 10;
/// The shortest bin.
const STEP_MIN: Duration = Duration::from_millis(1);

impl Axis {
    /// From the beginning of a run to `end`, in at most `count_max` bins.
    pub(crate) fn new(end: Duration, count_max: usize) -> Self {
        let end = end.max(STEP_MIN);
        let step = step(end, count_max as u128);
        let count = usize::try_from(end.as_nanos().div_ceil(step.as_nanos()));
        Self { step, count: count.expect("a step is chosen so that there are few"), end }
    }

    /// All bins.
    pub(crate) fn bins(self) -> impl Iterator<Item = Range<Duration>> {
        let edge = move |nth: usize| self.step * u32::try_from(nth).unwrap_or(u32::MAX);
        (0..self.count).map(move |nth| edge(nth)..edge(nth + 1).min(self.end))
    }

    /// The bin of a time, if it is on the axis.
    pub(crate) fn bin(self, at: Duration) -> Option<usize> {
        let bin = usize::try_from(at.as_nanos() / self.step.as_nanos()).ok();
        bin.filter(|bin| *bin < self.count)
    }

    /// Where a time is, in percent of the whole; what comes later stands at the end.
    pub(crate) fn percent(self, at: Duration) -> f64 {
        let whole = self.step.as_secs_f64() * self.count as f64;
        at.as_secs_f64().min(whole) / whole * 100.0
    }

    /// `left` and `width` of a span, as a style.
    pub(crate) fn place(self, span: &Range<Duration>) -> String {
        let (left, right) = (self.percent(span.start), self.percent(span.end));
        format!("left:{left:.2}%;width:{:.2}%", (right - left).max(0.0))
    }

    /// `left` of a time, as a style.
    pub(crate) fn left(self, at: Duration) -> String {
        format!("left:{:.2}%", self.percent(at))
    }

    /// Times worth a label.
    pub(crate) fn ticks(self) -> impl Iterator<Item = Duration> {
        let step = step(self.end, TICKS_MAX);
        (0_u32..).map(move |nth| step * nth).take_while(move |at| *at <= self.end)
    }
}

/// The shortest round step of which `count_max` reach as far as `end`.
fn step(end: Duration, count_max: u128) -> Duration {
    let mut decade = STEP_MIN;
    loop {
        let steps = [decade, 2 * decade, decade * 5 / 2, 5 * decade];
        let is_long = |step: &Duration| end.as_nanos() <= step.as_nanos() * count_max;
        if let Some(step) = steps.into_iter().find(is_long) {
            return step;
        }
        decade *= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_round_and_few() {
        let of = |end_ms| {
            let axis = Axis::new(Duration::from_millis(end_ms), 120);
            (axis.step.as_millis(), axis.count, axis.ticks().last().map(|it| it.as_millis()))
        };
        assert_eq!(of(30_000), (250, 120, Some(30_000)));
        assert_eq!(of(60_000), (500, 120, Some(60_000)));
        assert_eq!(of(1_000_000), (10_000, 100, Some(1_000_000)));
        assert_eq!(of(31_300), (500, 63, Some(30_000)));
        assert_eq!(of(0), (1, 1, Some(1)));
    }

    #[test]
    fn a_time_beyond_the_end_stands_at_the_end_and_in_no_bin() {
        let axis = Axis::new(Duration::from_secs(30), 120);
        let at = Duration::from_secs;
        assert_eq!(
            [axis.bin(at(0)), axis.bin(at(15)), axis.bin(at(30))],
            [Some(0), Some(60), None]
        );
        assert_eq!(axis.place(&(at(15)..at(99))), "left:50.00%;width:50.00%");
        assert_eq!(axis.bins().last(), Some(Duration::from_millis(29_750)..at(30)));
    }
}
