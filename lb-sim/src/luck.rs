//! Which dice a request throws at an origin: its own, whatever else happens there.

use std::collections::BTreeMap;

use lb_core::ExchangeId;

use crate::dice::{CHECKS, Dice};

/// Who has come to an origin so far.
#[derive(Debug)]
pub(crate) struct Callers {
    seed: u64,
    origin: String,
    checks: u64,
    /// How often each exchange was here, of the latest.
    visits: BTreeMap<ExchangeId, u64>,
}

/// Exchanges that are remembered: an attempt that comes after so many others has the luck of a first one.
const VISITED_MAX: usize = 1 << 16;

impl Callers {
    /// Nobody yet, at the origin there. What its dice are called depends on nobody else.
    pub(crate) fn of(seed: u64, host: &str, port: u16) -> Self {
        let origin = if port == 80 { host.to_owned() } else { format!("{host}:{port}") };
        Self { seed, origin, checks: 0, visits: BTreeMap::new() }
    }

    /// The dice of the next visit of `exchange`, or of the next check.
    pub(crate) fn dice(&mut self, exchange: Option<ExchangeId>) -> Dice {
        match exchange {
            Some(exchange) => {
                let visits = self.visits.entry(exchange).or_default();
                *visits += 1;
                // There is one worker, so the numbers of exchanges are small; attempts are a few.
                let number = (exchange.0 << 8) | (*visits & 0xff);
                if self.visits.len() > VISITED_MAX {
                    self.visits.pop_first();
                }
                Dice::new(self.seed, &self.origin, number)
            }
            None => {
                self.checks += 1;
                Dice::new(self.seed ^ CHECKS, &self.origin, self.checks)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Chance;

    #[test]
    fn every_check_and_every_visit_has_luck_of_its_own_which_nobody_else_can_change() {
        let drawn = |callers: &mut Callers, exchange: Option<u64>| {
            callers.dice(exchange.map(ExchangeId)).bits()
        };
        let mut callers = Callers::of(7, "b1", 80);
        let visits = [None, Some(1), None, Some(1), Some(2)];
        let first = visits.map(|exchange| drawn(&mut callers, exchange));
        let mut known = first.to_vec();
        known.sort_unstable();
        known.dedup();
        assert_eq!(known.len(), visits.len(), "{first:?}");
        // The other way round each has the same.
        let mut callers = Callers::of(7, "b1", 80);
        let again = [Some(2), Some(1), Some(1), None, None].map(|it| drawn(&mut callers, it));
        assert_eq!(again, [first[4], first[1], first[3], first[0], first[2]]);
    }
}
