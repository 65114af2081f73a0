//! Rate limits per client, in a bounded table.
//!
//! The generic cell rate algorithm (ITU-T I.371): a client has one number, the time at which its
//! allowance would be whole again. A request that would push it too far ahead is one too many. There
//! is no window whose edge doubles the rate, and nothing to refill.
//!
//! The table holds a fixed number of clients, four to a set. A new client takes the place of the one
//! in its set that is nearest to a whole allowance, which loses least by being forgotten. So a flood
//! of new clients makes the table forgetful and no larger, and forgetting only ever favours a client.
//! Two clients whose tags agree share an allowance: four in a million.

use alloc::sync::Arc;
use core::time::Duration;

use crate::client_key::ClientKeys;
use crate::config::RateConfig;
use crate::time::Time;
use crate::word::{Shared, Word};

/// Clients that are remembered, at most: half a MiB.
#[cfg(not(loom))]
const CELLS: usize = 1 << 16;
/// loom follows each one of them.
#[cfg(loom)]
const CELLS: usize = 8;
const WAYS: usize = 4;
/// Races that a request takes part in before it is let through.
const RACES_MAX: usize = 8;

/// A client's allowance as one word: 20 bits of its key, 44 of the time at which it is whole again, in
/// units of the limiter's own and modulo 2⁴⁴. Nobody is ever further ahead than the limit allows, so
/// that whatever seems to be is past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cell {
    tag: u32,
    whole_at: u64,
}

const TIME_BITS: u32 = 44;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
/// How far ahead a client may be, in units: a small part of the circle, so that time seldom comes round
/// to a client that was away for long. That costs it one request at worst.
const AHEAD_MAX: u64 = 1 << 36;

/// What is left to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Requests that it may make at once.
    pub requests: u32,
    /// In how many seconds it may make all of its burst again, rounded up.
    pub whole_in_secs: u32,
}

/// The limits of one service.
#[derive(Debug)]
pub(crate) struct Rate {
    keys: ClientKeys,
    /// Nanoseconds in a unit: as few as the limit can be reckoned in.
    unit_ns: u64,
    /// What one request costs, and how far ahead a client may be, in units.
    cost: u64,
    ahead: u64,
    /// Shared with those before and after it that reckon alike.
    cells: Arc<[Shared<Cell>]>,
}

impl Rate {
    /// Clients go on with what is left to them by the limit that is `known` until now, if it tells them
    /// apart in the same way.
    pub(crate) fn new(config: &RateConfig, seed: u64, known: Option<(&Self, Time)>) -> Self {
        let cost_ns = (config.per.as_nanos() / u128::from(config.requests)).max(1);
        let ahead_ns = cost_ns * u128::from(config.burst);
        let unit_ns = ahead_ns.div_ceil(u128::from(AHEAD_MAX)).max(1);
        let units = |ns: u128| u64::try_from(ns / unit_ns).unwrap_or(AHEAD_MAX);
        let cost = units(cost_ns).max(1);
        let keys = ClientKeys::new(&config.key, seed);
        let ahead = cost.saturating_mul(u64::from(config.burst) - 1).min(AHEAD_MAX);
        let unit_ns = u64::try_from(unit_ns).unwrap_or(u64::MAX);
        let mut rate = Self { keys, unit_ns, cost, ahead, cells: Arc::default() };
        rate.cells = match known.filter(|(known, _)| known.keys == rate.keys) {
            Some((known, _)) if known.reckons_like(&rate) => Arc::clone(&known.cells),
            Some((known, now)) => {
                known.cells.iter().map(|cell| rate.taken_over(known, cell.get(), now)).collect()
            }
            None => (0..CELLS).map(|_| Shared::new(Cell::default())).collect(),
        };
        rate
    }

    const fn reckons_like(&self, other: &Self) -> bool {
        self.unit_ns == other.unit_ns && self.cost == other.cost && self.ahead == other.ahead
    }

    /// A client that another limit `knows`: it is as far ahead in time, as far as this limit lets anybody be.
    fn taken_over(&self, knows: &Self, cell: Cell, now: Time) -> Shared<Cell> {
        let ahead = u128::from(knows.is_ahead(cell, knows.units(now)));
        let ahead = ahead * u128::from(knows.unit_ns) / u128::from(self.unit_ns);
        let ahead = u64::try_from(ahead).unwrap_or(u64::MAX).min(self.ahead + self.cost);
        let whole_at = self.units(now).wrapping_add(ahead) & TIME_MASK;
        Shared::new(if ahead > 0 { Cell { whole_at, ..cell } } else { Cell::default() })
    }

    /// Who asks.
    pub(crate) const fn keys(&self) -> &ClientKeys {
        &self.keys
    }

    /// Takes one request from a client's allowance.
    ///
    /// # Errors
    /// How long to wait, if there is none left.
    pub(crate) fn take(&self, key: u64, now: Time) -> Result<Allowance, Duration> {
        let now = self.units(now);
        // Zero is the tag of cells that are nobody's: its client would have all of them.
        let tag = u32::try_from(key >> TIME_BITS).expect("20 bits").max(1);
        let sets = (CELLS / WAYS) as u64;
        let set = usize::try_from(key % sets).expect("an index") * WAYS;
        let cells = &self.cells[set..set + WAYS];
        for _ in 0..RACES_MAX {
            // Whose tag it is, else who loses least.
            let seen = cells.iter().map(Shared::get).enumerate();
            let best = seen.min_by_key(|(_, cell)| (cell.tag != tag, self.is_ahead(*cell, now)));
            let (way, seen) = best.expect("a set has some ways");
            let ahead = if seen.tag == tag { self.is_ahead(seen, now) } else { 0 };
            if ahead > self.ahead {
                return Err(self.span(ahead - self.ahead));
            }
            let ahead = ahead + self.cost;
            let taken = Cell { tag, whole_at: now.wrapping_add(ahead) & TIME_MASK };
            if cells[way].step(|cell| (cell == seen).then_some(taken)).is_some() {
                return Ok(self.left(ahead));
            }
        }
        Ok(self.left(0))
    }

    /// `now` in units, on the circle.
    fn units(&self, now: Time) -> u64 {
        let units = u128::from(now.as_micros()) * 1_000 / u128::from(self.unit_ns);
        u64::try_from(units & u128::from(TIME_MASK)).expect("44 bits")
    }

    /// How far ahead of `now` a client is, in units.
    const fn is_ahead(&self, cell: Cell, now: u64) -> u64 {
        let ahead = cell.whole_at.wrapping_sub(now) & TIME_MASK;
        if ahead > self.ahead + self.cost { 0 } else { ahead }
    }

    /// So many units, rounded up to microseconds.
    fn span(&self, units: u64) -> Duration {
        let micros = (u128::from(units) * u128::from(self.unit_ns)).div_ceil(1_000);
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// What is left to whoever is so far ahead, in units.
    fn left(&self, ahead: u64) -> Allowance {
        let requests = (self.ahead + self.cost).saturating_sub(ahead) / self.cost;
        let secs = self.span(ahead).as_micros().div_ceil(1_000_000);
        let small = |number: u128| u32::try_from(number).unwrap_or(u32::MAX);
        Allowance { requests: small(requests.into()), whole_in_secs: small(secs) }
    }
}

impl Word for Cell {
    fn pack(self) -> u64 {
        (u64::from(self.tag) << TIME_BITS) | self.whole_at
    }

    fn unpack(bits: u64) -> Self {
        let tag = u32::try_from(bits >> TIME_BITS).expect("20 bits");
        Self { tag, whole_at: bits & TIME_MASK }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::stable_hash;

    fn ms(ms: u64) -> Time {
        Time::from_millis(1_000_000 + ms)
    }

    fn of(requests: u32, per: Duration, burst: u32) -> Rate {
        Rate::new(&RateConfig { requests, per, burst, ..RateConfig::default() }, 7, None)
    }

    fn key(client: u32) -> u64 {
        stable_hash(&client.to_be_bytes())
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let rate = of(10, Duration::from_secs(1), 5);
        for _ in 0..5 {
            assert_eq!(rate.take(key(1), ms(0)).map(drop), Ok(()));
        }
        assert_eq!(rate.take(key(1), ms(0)), Err(Duration::from_millis(100)));
        assert_eq!(rate.take(key(1), ms(60)), Err(Duration::from_millis(40)));
        assert_eq!(rate.take(key(1), ms(100)).map(drop), Ok(()));
        assert_eq!(rate.take(key(1), ms(199)), Err(Duration::from_millis(1)));
        assert_eq!(rate.take(key(2), ms(199)).map(drop), Ok(()), "another client is not concerned");
        // After a pause the burst is whole again, and no more than that.
        let passed = (0..20).filter(|_| rate.take(key(1), ms(60_000)).is_ok()).count();
        assert_eq!(passed, 5);
    }

    fn succeed(before: &Rate, requests: u32, per: Duration, burst: u32, now: Time) -> Rate {
        let config = RateConfig { requests, per, burst, ..RateConfig::default() };
        Rate::new(&config, 7, Some((before, now)))
    }

    #[test]
    fn another_limit_goes_on_with_what_is_left_to_clients() {
        let hour = Duration::from_secs(3_600);
        let rate = of(1, hour, 2);
        let passes = |rate: &Rate, client| rate.take(key(client), ms(0)).is_ok();
        assert!(passes(&rate, 1) && passes(&rate, 1) && !passes(&rate, 1) && passes(&rate, 2));
        let same = succeed(&rate, 1, hour, 2, ms(0));
        assert!(!passes(&same, 1) && passes(&same, 2) && !passes(&same, 2) && passes(&same, 3));
        assert!(passes(&rate, 3) && !passes(&same, 3), "both count what either lets through");
        // Twice as many in the same time: who had spent two of two has spent all of four, in time.
        let more = succeed(&rate, 2, hour, 4, ms(0));
        assert_eq!(more.take(key(1), ms(0)).map(drop), Err(Duration::from_secs(1_800)));
        // Nobody is kept for longer than the new limit keeps anybody.
        let quick = succeed(&rate, 10, Duration::from_secs(1), 1, ms(0));
        assert!(!passes(&quick, 1) && passes(&quick, 4));
        assert_eq!(quick.take(key(1), ms(100)).map(drop), Ok(()));
        let config = RateConfig { key: alloc::vec![], ..RateConfig::default() };
        let other = Rate::new(&config, 7, Some((&rate, ms(0))));
        assert!(passes(&other, 1), "who is told apart in another way begins anew");
    }

    #[test]
    fn over_any_span_no_more_passes_than_burst_and_rate() {
        let rate = of(50, Duration::from_secs(1), 20);
        let mut passed = 0;
        for step in 0..100_000_u64 {
            passed += u64::from(rate.take(key(1), Time::from_micros(step * 100)).is_ok());
            assert!(passed <= 20 + step * 50 / 10_000 + 1, "{passed} after {step}");
        }
        assert!(passed >= 500, "and no fewer than the rate: {passed}");
    }

    #[test]
    fn a_limit_of_many_is_as_exact_as_one_of_few() {
        for requests in [30_000, 60_000, 1_000_000] {
            let rate = of(requests, Duration::from_secs(1), 1_000);
            let mut passed = 0;
            for micros in 0..1_000_000 {
                for _ in 0..2 {
                    passed += u32::from(rate.take(key(1), Time::from_micros(micros)).is_ok());
                }
            }
            let expected = requests + 1_000;
            assert!(passed.abs_diff(expected) <= expected / 500, "{passed} and not {expected}");
        }
    }

    /// Time comes round every few hours or years: nobody is refused for that.
    #[test]
    fn a_limit_holds_for_as_long_as_a_process_runs() {
        let (few, many) = (of(1, Duration::from_secs(1), 1), of(1_000, Duration::from_secs(1), 1));
        for day in 0..20_000 {
            let now = Time::from_millis(day * 24 * 3_600_000);
            for rate in [&few, &many] {
                assert!(rate.take(key(1), now).is_ok(), "day {day}");
                assert!(rate.take(key(1), now).is_err(), "day {day}");
            }
        }
    }

    /// Those without a key share one limit, and not one in each cell that is nobody's.
    #[test]
    fn a_key_of_zeros_is_a_key_like_any_other() {
        let rate = of(1, Duration::from_secs(1), 1);
        assert_eq!(rate.take(0, ms(0)).map(drop), Ok(()));
        assert!((0..10).all(|_| rate.take(0, ms(0)).is_err()));
    }

    #[test]
    fn what_is_left_goes_down_with_each_request_and_comes_back() {
        let rate = of(1, Duration::from_secs(10), 3);
        let left = |at| rate.take(key(1), ms(at)).map(|it| (it.requests, it.whole_in_secs));
        assert_eq!([0, 0, 0].map(left), [Ok((2, 10)), Ok((1, 20)), Ok((0, 30))]);
        assert!(left(0).is_err());
        assert_eq!(left(14_999), Ok((0, 26)), "one and a half came back, and one is taken");
        assert_eq!(left(1_000_000), Ok((2, 10)));
    }

    /// Ten million clients at once: the table is as large as before, and who stays busy is limited.
    #[test]
    fn a_flood_of_clients_makes_no_table_larger_and_limits_nobody_wrongly() {
        let rate = of(1, Duration::from_secs(1), 1);
        let mut refused = 0;
        for client in 0..10_000_000_u32 {
            refused += u32::from(rate.take(key(client), ms(0)).is_err());
        }
        assert_eq!(rate.cells.len() * size_of::<Shared<Cell>>(), 512 * 1024);
        // Only those whose tags agree with one that is still there.
        assert!(refused < 100, "{refused} of ten million");
        let busy = key(77);
        assert_eq!(rate.take(busy, ms(1)).map(drop), Ok(()));
        assert!(rate.take(busy, ms(2)).is_err());
    }

    #[test]
    fn the_largest_limits_do_not_overflow() {
        let max = crate::config::RATE_MAX;
        for (requests, per, burst) in [
            (1, crate::config::DURATION_MAX, max),
            (max, Duration::from_micros(1), max),
            (max, crate::config::DURATION_MAX, 1),
        ] {
            let rate = of(requests, per, burst);
            for now in [Time::ZERO, Time::MAX] {
                assert_eq!(rate.take(key(1), now).map(drop), Ok(()));
            }
        }
    }
}
