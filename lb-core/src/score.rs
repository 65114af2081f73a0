//! How a backend has done of late: requests, errors, time to answer, in one word.
//!
//! What scores are worked out from ([`crate::config::Policy::Performance`] and its kin). The last
//! thousand or so requests count (and the last 64 times): beyond that counts are halved, so that a
//! backend is judged by how it is and not by how it was last week.

use core::time::Duration;

use crate::learned::LearnedRecord;
use crate::time::micros;
use crate::word::Word;

/// 16 bits each for requests and errors, 8 for critical ones, 24 for the mean time to answer in
/// units of 10 µs (167 s).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) requests: u16,
    pub(crate) errors: u16,
    /// Errors that tell of a backend out of reach: no connection, or 523.
    pub(crate) critical: u8,
    mean: u32,
}

/// Requests at which all counts are halved.
const REQUESTS_MAX: u16 = 1_000;
const UNIT_MICROS: u64 = 10;
/// Answers that the mean time goes by: with more a whole number would no longer move.
const MEAN_OF: u16 = 64;
const MEAN_MAX: u64 = (1 << 24) - 1;

/// What an attempt showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Good,
    Error,
    Critical,
}

impl Record {
    /// The same after one more attempt.
    pub(crate) fn after(self, shown: Shown, took: Duration) -> Self {
        let full = self.requests >= REQUESTS_MAX;
        let halved = |count: u16| if full { count / 2 } else { count };
        let requests = halved(self.requests) + 1;
        let sample = (micros(took) / UNIT_MICROS).min(MEAN_MAX);
        let of = u64::from(requests.min(MEAN_OF));
        let mean = (u64::from(self.mean) * (of - 1) + sample + of / 2) / of;
        let critical = if full { self.critical / 2 } else { self.critical };
        Self {
            requests,
            errors: halved(self.errors) + u16::from(shown != Shown::Good),
            critical: critical.saturating_add(u8::from(shown == Shown::Critical)),
            mean: u32::try_from(mean).expect("a mean of what fits in 24 bits"),
        }
    }

    /// As it can outlive the process.
    pub(crate) fn learned(self) -> LearnedRecord {
        let Self { requests, errors, critical, mean } = self;
        let mean = Duration::from_micros(u64::from(mean) * UNIT_MICROS);
        LearnedRecord { requests, errors, critical, mean }
    }

    /// What another process recorded.
    pub(crate) fn recalled(learned: LearnedRecord) -> Self {
        let requests = learned.requests.min(REQUESTS_MAX);
        let mean = (micros(learned.mean) / UNIT_MICROS).min(MEAN_MAX);
        Self {
            requests,
            errors: learned.errors.min(requests),
            critical: learned.critical,
            mean: u32::try_from(mean).expect("24 bits"),
        }
    }

    /// Milliseconds to answer, in the mean.
    pub(crate) fn mean_ms(self) -> f64 {
        f64::from(self.mean) / 100.0
    }

    /// Errors per request.
    pub(crate) fn error_rate(self) -> f64 {
        f64::from(self.errors) / f64::from(self.requests.max(1))
    }
}

/// Proxy Worker's score, the lower the better: seven parts errors, three parts time.
pub(crate) fn performance(record: Record) -> f64 {
    record.error_rate() * 100.0 * 0.7 + (record.mean_ms() / 100.0).min(50.0) * 0.3
}

/// FlowBalance's score, 0 to 100, the higher the better.
pub(crate) fn health(record: Record) -> f64 {
    const TIME: f64 = 0.3;
    const ERRORS: f64 = 0.4;
    const AVAILABILITY: f64 = 0.3;
    let score = 100.0
        - record.error_rate() * 100.0 * ERRORS
        - (record.mean_ms() / 1_000.0).min(50.0) * TIME
        - 10.0 * f64::from(record.critical) * AVAILABILITY;
    score.clamp(0.0, 100.0)
}

impl Word for Record {
    fn pack(self) -> u64 {
        u64::from(self.mean)
            | (u64::from(self.critical) << 24)
            | (u64::from(self.errors) << 32)
            | (u64::from(self.requests) << 48)
    }

    fn unpack(bits: u64) -> Self {
        let field = |shift: u32, width: u32| (bits >> shift) & ((1 << width) - 1);
        let small = |bits: u64| u16::try_from(bits).expect("16 bits");
        Self {
            requests: small(field(48, 16)),
            errors: small(field(32, 16)),
            critical: u8::try_from(field(24, 8)).expect("8 bits"),
            mean: u32::try_from(field(0, 24)).expect("24 bits"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// So many requests of so many milliseconds, some of them errors.
    pub(crate) fn record(requests: u32, errors: u32, mean: u64) -> Record {
        (0..requests).fold(Record::default(), |record, nth| {
            record.after(if nth < errors { Shown::Error } else { Shown::Good }, ms(mean))
        })
    }

    #[test]
    fn the_scores_of_proxy_worker() {
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(performance(record(100, 0, 145)), 0.435));
        assert!(close(performance(record(100, 10, 145)), 7.435));
        assert!(close(performance(record(100, 0, 600)), 1.8));
        assert!(close(performance(record(10, 10, 60_000)), 70.0 + 15.0), "time counts to 5 s");
    }

    #[test]
    fn the_scores_of_flowbalance() {
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(health(Record::default()), 100.0), "nothing is known");
        assert!(close(health(record(10, 5, 2_000)), 100.0 - 20.0 - 0.6));
        let critical = record(9, 0, 0).after(Shown::Critical, ms(0));
        assert!(close(health(critical), 100.0 - 4.0 - 3.0));
        let worst = (0..50).fold(Record::default(), |it, _| it.after(Shown::Critical, ms(90_000)));
        assert!(close(health(worst), 0.0), "never below zero");
    }

    #[test]
    fn the_last_thousand_requests_count() {
        let bad = record(5_000, 5_000, 50);
        let back = (0..3_000).fold(bad, |record, _| record.after(Shown::Good, ms(5)));
        assert!(bad.error_rate() > 0.99);
        assert!(back.error_rate() < 0.1, "{back:?}");
        assert!(back.mean_ms() < 10.0, "{back:?}");
        assert!(back.requests <= REQUESTS_MAX);
        assert_eq!(Record::unpack(bad.pack()), bad);
        assert_eq!(Record::unpack(back.pack()), back);
    }
}
