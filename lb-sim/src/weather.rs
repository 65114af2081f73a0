//! What is wrong with an origin, and when: the faults of a scenario, asked for points in time.
//!
//! Faults may overlap, and what they come to is said here for all engines. They are known before a run begins:
//! so the model knows what becomes of a message when it is sent, and the others are told what is wrong now
//! whenever that changes (`harm`).

use std::time::Duration;

use lb_core::Time;

use crate::scenario::{Fault, FaultKind, Scenario, Whom};
use crate::way::Way;

/// The faults of one origin.
#[derive(Debug)]
pub(crate) struct Weather<'s> {
    faults: Vec<&'s Fault>,
}

impl<'s> Weather<'s> {
    pub(crate) fn of(scenario: &'s Scenario, origin: usize) -> Self {
        let faults = scenario.faults.iter().filter(|fault| fault.origin == origin).collect();
        Self { faults }
    }

    /// Whether nothing is ever wrong.
    pub(crate) fn is_fair(&self) -> bool {
        self.faults.is_empty()
    }

    fn on(&self, at: Time) -> impl Iterator<Item = &Fault> {
        let at = since_start(at);
        self.faults.iter().copied().filter(move |fault| fault.is_on(at))
    }

    fn has(&self, at: Time, kind: impl Fn(FaultKind) -> bool) -> bool {
        self.on(at).any(|fault| kind(fault.kind))
    }

    /// What `of` finds in the faults that are on.
    fn said<T>(&self, at: Time, of: impl Fn(FaultKind) -> Option<T>) -> impl Iterator<Item = T> {
        self.on(at).filter_map(move |fault| of(fault.kind))
    }

    /// Whether connections are refused because nobody listens.
    pub(crate) fn refuses(&self, at: Time) -> bool {
        self.has(at, |kind| matches!(kind, FaultKind::Refuse | FaultKind::Flap { .. }))
    }

    /// How the way to it is.
    pub(crate) fn way(&self, at: Time) -> Way {
        self.said(at, Way::of).max().unwrap_or(Way::Sound)
    }

    /// Whether what the origin says is lost.
    pub(crate) fn swallows(&self, at: Time) -> bool {
        matches!(self.way(at), Way::Mute | Way::Cut)
    }

    /// When something that is sent at `at` really sets out: black holes keep it and let it go, unless worse
    /// happens to the way meanwhile. Then it is lost.
    pub(crate) fn sets_out(&self, at: Time) -> Option<Time> {
        let mut at = at;
        while let Some(hole) = self.on(at).find(|fault| fault.kind == FaultKind::Blackhole) {
            let end = Time::ZERO + hole.end();
            let is_met = |fault: &&Fault| fault.at < hole.end() && fault.end() > since_start(at);
            let mut met = self.faults.iter().copied().filter(is_met);
            if met.any(|fault| Way::of(fault.kind) > Some(Way::Held)) {
                return None;
            }
            at = end;
        }
        Some(at)
    }

    /// When every connection to it breaks, from after `from` to `to`, for the first time.
    pub(crate) fn breaks(&self, from: Time, to: Time) -> Option<Time> {
        let within = |at: &Time| from < *at && *at <= to;
        let begins = self.faults.iter().filter_map(|fault| match fault.kind {
            FaultKind::Refuse | FaultKind::Crash => {
                Some(Time::ZERO + fault.at).filter(|at| within(at))
            }
            FaultKind::Flap { period } => flaps(fault, period).find(within),
            _ => None,
        });
        begins.min()
    }

    /// What some requests and checks are answered with, which share of them, and whose.
    pub(crate) fn statuses(&self, at: Time) -> impl Iterator<Item = (u16, f64, Whom)> {
        self.said(at, |kind| match kind {
            FaultKind::Status { code, rate, whom } => Some((code, rate, whom)),
            _ => None,
        })
    }

    /// The share of the requests that is read before the connection ends without an answer.
    pub(crate) fn resets(&self, at: Time) -> f64 {
        let rates = self.said(at, |kind| match kind {
            FaultKind::Reset { rate } => Some(rate),
            _ => None,
        });
        rates.fold(0.0, f64::max)
    }

    /// How much longer an answer takes.
    pub(crate) fn delay(&self, at: Time) -> Duration {
        let delays = self.said(at, |kind| match kind {
            FaultKind::Slow { by } => Some(by),
            _ => None,
        });
        delays.sum()
    }

    /// The share of its speed that is left to an origin.
    pub(crate) fn speed(&self, at: Time) -> f64 {
        let speeds = self.said(at, |kind| match kind {
            FaultKind::Brownout { speed } => Some(speed),
            _ => None,
        });
        speeds.product()
    }

    /// Whether places are ever taken away.
    pub(crate) fn shrinks(&self) -> bool {
        self.faults.iter().any(|fault| matches!(fault.kind, FaultKind::Shrink { .. }))
    }

    /// How many places are left, where some are taken away.
    pub(crate) fn places(&self, at: Time) -> Option<usize> {
        let left = self.said(at, |kind| match kind {
            FaultKind::Shrink { concurrency } => Some(concurrency),
            _ => None,
        });
        left.min()
    }

    /// When the place of this number is there, at `at` or later.
    pub(crate) fn opens(&self, place: usize, at: Time) -> Time {
        let is_gone = |fault: &&Fault| matches!(fault.kind, FaultKind::Shrink { concurrency } if concurrency <= place);
        let mut at = at;
        while let Some(fault) = self.on(at).find(is_gone) {
            at = Time::ZERO + fault.end();
        }
        at
    }

    /// How long a body takes.
    pub(crate) fn body(&self, at: Time) -> Duration {
        let over = self.said(at, |kind| match kind {
            FaultKind::Trickle { over } => Some(over),
            _ => None,
        });
        over.max().unwrap_or_default()
    }

    /// Whether bodies break off.
    pub(crate) fn truncates(&self, at: Time) -> bool {
        self.has(at, |kind| kind == FaultKind::Truncate)
    }

    /// For how long a connection may be idle before it is closed, if it ever is.
    pub(crate) fn closes_idle(&self, at: Time) -> Option<Duration> {
        let after = self.said(at, |kind| match kind {
            FaultKind::CloseIdle { after } => Some(after),
            _ => None,
        });
        after.min()
    }

    /// At which of its requests a connection of HTTP/2 says GOAWAY, if it does.
    pub(crate) fn goodbye(&self, at: Time) -> Option<u32> {
        let requests = self.said(at, |kind| match kind {
            FaultKind::Goaway { requests } => Some(requests),
            _ => None,
        });
        requests.min()
    }

    /// The share of the streams that is not taken.
    pub(crate) fn refuses_streams(&self, at: Time) -> f64 {
        let rates = self.said(at, |kind| match kind {
            FaultKind::RefusedStream { rate } => Some(rate),
            _ => None,
        });
        rates.fold(0.0, f64::max)
    }
}

/// What an origin answers to a request or a check, by a number in `0.0..1.0`.
pub(crate) fn answer(
    mut statuses: impl Iterator<Item = (u16, f64, Whom)>,
    chance: f64,
    is_check: bool,
) -> u16 {
    let said = statuses.find(|(_, rate, whom)| chance < *rate && whom.has(is_check));
    said.map_or(200, |(code, ..)| code)
}

/// Every time at which an origin that flaps goes away.
fn flaps(fault: &Fault, period: Duration) -> impl Iterator<Item = Time> + use<> {
    let (begin, end) = (fault.at, fault.end());
    let periods = (0..).map(move |count| begin + period * count);
    periods.take_while(move |at| *at < end).map(|at| Time::ZERO + at)
}

/// A point in time as scenarios have it.
pub(crate) fn since_start(at: Time) -> Duration {
    at - Time::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(kind: FaultKind, at: u64, lasts: u64) -> Fault {
        let ms = Duration::from_millis;
        Fault { at: ms(at), lasts: ms(lasts), origin: 0, kind }
    }

    #[test]
    fn a_black_hole_keeps_what_is_sent_until_the_last_one_is_over() {
        let faults = [fault(FaultKind::Blackhole, 10, 10), fault(FaultKind::Blackhole, 15, 10)];
        let weather = Weather { faults: faults.iter().collect() };
        let at = Time::from_millis;
        let sent = [5, 10, 19, 25].map(|ms| weather.sets_out(at(ms)));
        assert_eq!(sent, [5, 25, 25, 25].map(|ms| Some(at(ms))));
    }

    #[test]
    fn what_a_black_hole_keeps_is_lost_where_the_way_is_cut_meanwhile() {
        let faults = [fault(FaultKind::Blackhole, 10, 10), fault(FaultKind::Partition, 14, 2)];
        let weather = Weather { faults: faults.iter().collect() };
        let at = Time::from_millis;
        let sent = [9, 10, 15, 16, 19].map(|ms| weather.sets_out(at(ms)));
        assert_eq!(sent, [Some(9), None, None, Some(20), Some(20)].map(|ms| ms.map(at)));
    }

    #[test]
    fn connections_break_when_a_process_stops_and_each_time_that_it_flaps() {
        let flap = FaultKind::Flap { period: Duration::from_millis(4) };
        let faults = [fault(FaultKind::Refuse, 10, 5), fault(flap, 20, 10)];
        let weather = Weather { faults: faults.iter().collect() };
        let breaks = |from, to| {
            let at = weather.breaks(Time::from_millis(from), Time::from_millis(to))?;
            Some(at.as_millis_ceil())
        };
        assert_eq!(breaks(0, 9), None);
        assert_eq!(breaks(0, 10), Some(10));
        assert_eq!(breaks(10, 19), None);
        assert_eq!(breaks(10, 30), Some(20));
        assert_eq!(breaks(20, 30), Some(24));
        assert_eq!(breaks(28, 99), None);
    }
}
