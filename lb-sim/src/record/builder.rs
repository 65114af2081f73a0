//! A record as it grows, line by line.

use std::collections::BTreeMap;

use lb_core::Repeat;

use crate::log::TOO_MANY;

use super::cursor::{Fault, micros};
use super::{Attempt, EXCHANGES_MAX, End, Exchange, Record};

/// A record that is being read. Until it is done, exchanges arrive at microseconds of Unix time.
#[derive(Default)]
pub(super) struct Builder {
    record: Record,
    services: Names,
    backends: Names,
}

/// Names that have numbers.
#[derive(Default)]
struct Names(BTreeMap<Box<[u8]>, u16>);

/// What is known of an exchange beside its attempts.
pub(super) struct Seen {
    /// Microseconds of Unix time.
    pub(super) at: u64,
    pub(super) took: u64,
    /// The hash of whoever asked.
    pub(super) key: u64,
    pub(super) bytes_in: u64,
    pub(super) service: u16,
    pub(super) status: u16,
    pub(super) repeat: Repeat,
    pub(super) end: End,
}

/// How finely a log tells the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grain {
    /// Finely enough to take it as it is.
    Fine,
    /// In seconds, in which the exchange has ended: its arrival is before that by what it took.
    EndSecond,
}

impl Builder {
    pub(super) fn service(&mut self, name: &[u8]) -> Result<u16, Fault> {
        self.services.number(name, &mut self.record.services)
    }

    pub(super) fn backend(&mut self, name: &[u8]) -> Result<u16, Fault> {
        self.backends.number(name, &mut self.record.backends)
    }

    pub(super) fn exchanges(&self) -> usize {
        self.record.exchanges.len()
    }

    /// When what was added last was, if anything was.
    pub(super) fn latest(&self) -> Option<u64> {
        self.record.exchanges.last().map(|last| last.at)
    }

    /// Adds an exchange.
    pub(super) fn add(&mut self, seen: &Seen, attempts: &[Attempt]) -> Result<(), Fault> {
        let record = &mut self.record;
        if record.exchanges.len() >= EXCHANGES_MAX {
            let (what, remedy) = ("is beyond 50 million exchanges", "replay a part of the record");
            return Err(Fault { column: 1, what, remedy, is_fatal: true });
        }
        let first = u32::try_from(record.attempts.len()).expect("far fewer than 2³² attempts");
        // The core makes at most 255 of one exchange, and logs of others come to no more.
        let count = u8::try_from(attempts.len()).unwrap_or(u8::MAX);
        record.attempts.extend_from_slice(&attempts[..usize::from(count)]);
        let folded = (seen.key >> 32) ^ (seen.key & u64::from(u32::MAX));
        record.exchanges.push(Exchange {
            at: seen.at,
            took: micros(seen.took),
            user: u32::try_from(folded).expect("both halves have 32 bits"),
            bytes_in: u32::try_from(seen.bytes_in).unwrap_or(u32::MAX),
            first,
            count,
            service: seen.service,
            status: seen.status,
            repeat: seen.repeat,
            end: seen.end,
        });
        Ok(())
    }

    /// Of what was added from number `from` on the time is known by this grain.
    pub(super) fn grain(&mut self, from: usize, grain: Grain) {
        if grain == Grain::Fine {
            return;
        }
        let all = &mut self.record.exchanges[from..];
        let mut counts = BTreeMap::<u64, (u64, u64)>::new();
        for exchange in all.iter() {
            counts.entry(exchange.at).or_default().0 += 1;
        }
        for exchange in all {
            let (count, given) = counts.get_mut(&exchange.at).expect("it was counted above");
            let within = SECOND * (2 * *given + 1) / (2 * *count);
            *given += 1;
            exchange.at = (exchange.at + within).saturating_sub(exchange.took.into());
        }
    }

    /// Takes out of what was added from number `from` on what the proxy answered well without asking
    /// anybody, if it asked anybody at all: it would answer that again, and nobody else. How much that is.
    ///
    /// What it turned away it turned away by rules that may be others now.
    pub(super) fn leave_out_own(&mut self, from: usize) -> usize {
        let all = &mut self.record.exchanges;
        let before = all.len();
        if all[from..].iter().any(|exchange| exchange.count > 0) {
            let is_own = |it: &Exchange| it.count == 0 && it.end == End::Ours && it.is_good();
            let mut added = all.split_off(from);
            added.retain(|exchange| exchange.status == TOO_MANY || !is_own(exchange));
            all.append(&mut added);
        }
        before - all.len()
    }

    /// All of it, in order.
    pub(super) fn done(self) -> Record {
        let mut record = self.record;
        // Nearly sorted, since exchanges end nearly in the order in which they arrive.
        record.exchanges.sort_by_key(|exchange| exchange.at);
        let began = record.exchanges.first().map_or(0, |first| first.at);
        record.exchanges.iter_mut().for_each(|exchange| exchange.at -= began);
        record
    }
}

/// In microseconds.
const SECOND: u64 = 1_000_000;

impl Names {
    fn number(&mut self, name: &[u8], all: &mut Vec<String>) -> Result<u16, Fault> {
        if let Some(number) = self.0.get(name) {
            return Ok(*number);
        }
        let (what, remedy) = ("is beyond 65,535 names", "replay one service at a time");
        let beyond = |_| Fault { column: 1, what, remedy, is_fatal: true };
        let number = u16::try_from(all.len()).map_err(beyond)?;
        all.push(String::from_utf8_lossy(name).into_owned());
        self.0.insert(name.into(), number);
        Ok(number)
    }
}
