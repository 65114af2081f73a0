//! The name of a request, as clients, backends and logs see it.

use std::fmt;

use lb_core::ExchangeId;

/// 32 hexadecimal digits: 16 that tell processes apart, 16 that are the exchange's number.
///
/// ```
/// use lb_server::RequestId;
///
/// let id = RequestId::parse("00000000000000070000000000000001").expect("32 digits");
/// assert_eq!(id.exchange().0, 1);
/// assert_eq!(id.to_string(), "00000000000000070000000000000001");
/// assert_eq!(RequestId::parse("7-1"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId {
    process: u64,
    exchange: ExchangeId,
}

impl RequestId {
    /// The name of `exchange` in the process whose chance comes from `seed`. The seed itself does
    /// not appear: who knew it could foretell every choice.
    pub(crate) fn new(seed: u64, exchange: ExchangeId) -> Self {
        Self { process: lb_core::stable_hash(&seed.to_be_bytes()), exchange }
    }

    /// Reads what `Display` wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let half = |range| u64::from_str_radix(text.get(range)?, 16).ok();
        digits.then_some(())?;
        Some(Self { process: half(0..16)?, exchange: ExchangeId(half(16..32)?) })
    }

    /// Which exchange it names.
    pub const fn exchange(&self) -> ExchangeId {
        self.exchange
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}{:016x}", self.process, self.exchange.0)
    }
}
