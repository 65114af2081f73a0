//! Traffic that was: exchanges and their attempts, read from a record of `lb-server` or from a log.
//!
//! Whatever the file looks like, what is read is the same: when each request arrived, who asked (as a
//! number that means nothing), whether it may be repeated, which backends were asked in turn with what
//! outcome and after how long, and what became of the request. [`read`] finds out which format a file has
//! (`lines`), and gives each line to that format's reader (`native`, `access`, `combined`, `haproxy`).
//!
//! A line that nobody understands is no reason to throw away the others: each kind of mistake is told once,
//! with the first line that has it and how many more do. Only a file of which more than
//! [`GARBAGE_PERCENT_MAX`] percent is not understood is refused, since it is then another format.

mod access;
mod builder;
mod clock;
mod combined;
mod cursor;
mod haproxy;
mod lines;
mod native;
mod past;
mod text;

use lb_core::{Outcome, Repeat};

pub use lines::{Format, GARBAGE_PERCENT_MAX, Mistake, read};
pub use past::{Lot, Past, Tried};

/// Exchanges of one replay: what 16 GiB of memory hold comfortably, and 13 hours of 1,000 a second.
pub const EXCHANGES_MAX: usize = 50_000_000;

/// nginx's word for a client that left before there was an answer, which is ours as well.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// Traffic that was.
#[derive(Debug, Default)]
pub struct Record {
    /// The services that were asked, by name; a log that names none has one, which is empty.
    pub services: Vec<String>,
    /// Every backend that was asked, by name, over all services.
    pub backends: Vec<String>,
    /// What was asked, in the order of arrival.
    pub exchanges: Vec<Exchange>,
    /// All attempts; each exchange knows where its own are.
    pub attempts: Vec<Attempt>,
    /// What a reader should know of how it was read.
    pub notes: Vec<String>,
    /// What was not understood.
    pub mistakes: Vec<Mistake>,
}

/// One request, and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Microseconds since the first of the record arrived.
    pub at: u64,
    /// Microseconds from its arrival to the last byte of its answer; beyond 71 minutes that much.
    pub took: u32,
    /// Who asked: a number that is the same for whoever has the same key.
    pub user: u32,
    /// Bytes of its body; beyond 4 GiB that much.
    pub bytes_in: u32,
    /// Where its attempts begin, and how many they are.
    pub first: u32,
    /// How many there are.
    pub count: u8,
    /// Whom it was for, by place in [`Record::services`].
    pub service: u16,
    /// What its client was told.
    pub status: u16,
    /// Whether it may be carried out twice.
    pub repeat: Repeat,
    /// How it ended.
    pub end: End,
}

/// How a recorded exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A backend's answer went out whole.
    Complete,
    /// The proxy answered itself.
    Ours,
    /// The client left before it had its answer.
    Left,
    /// The answer broke off.
    Broken,
}

/// One try at a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Whom, by place in [`Record::backends`]; `None`: the log does not say.
    pub backend: Option<u16>,
    /// What became of it; `None`: it was given up, because its client left or another was sooner.
    pub outcome: Option<Outcome>,
    /// Microseconds from the arrival of the exchange to its beginning.
    pub at: u32,
    /// Microseconds to the head of the answer, or until it had failed; `None`: the log does not say.
    pub took: Option<u32>,
}

impl Record {
    /// The attempts of an exchange, in order.
    pub fn attempts_of(&self, exchange: &Exchange) -> &[Attempt] {
        let first = exchange.first as usize;
        &self.attempts[first..first + usize::from(exchange.count)]
    }
}

impl Exchange {
    /// Whether its client left before there was an answer: whatever it waited for takes longer.
    pub fn is_given_up(&self) -> bool {
        self.end == End::Left && self.status == CLIENT_CLOSED_REQUEST
    }

    /// Whether its client got what it asked for, as [`crate::log::End::is_good`] has it.
    pub const fn is_good(&self) -> bool {
        matches!(self.end, End::Complete | End::Ours) && self.status < 500
    }
}
