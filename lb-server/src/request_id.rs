//! The name of a request, as clients, backends and logs see it.

use std::fmt;

use http::HeaderValue;
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

    /// As a header says it. Every request asks for it, so it does without the formatting machinery,
    /// which takes ten times as many instructions.
    pub(crate) fn header(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.digits()).expect("digits are visible ASCII")
    }

    fn digits(&self) -> [u8; 32] {
        let halves = [self.process, self.exchange.0].map(u64::to_be_bytes);
        let mut digits = [0; 32];
        for (two, byte) in digits.chunks_exact_mut(2).zip(halves.as_flattened()) {
            two.copy_from_slice(
                &[byte >> 4, byte & 15].map(|it| b"0123456789abcdef"[usize::from(it)]),
            );
        }
        digits
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}{:016x}", self.process, self.exchange.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(crate::dice::replayed())]

        #[test]
        fn what_is_written_reads_back(seed in any::<u64>(), exchange in any::<u64>()) {
            let id = RequestId::new(seed, ExchangeId(exchange));
            prop_assert_eq!(RequestId::parse(&id.to_string()), Some(id));
            prop_assert!(id.header() == id.to_string());
            prop_assert_eq!(id.exchange().0, exchange);
        }

        #[test]
        fn anything_else_is_no_request_id(text in "\\PC{0,40}") {
            let written = RequestId::parse(&text).map(|id| id.to_string());
            prop_assert!(written.is_none_or(|written| written.eq_ignore_ascii_case(&text)));
        }
    }

    #[test]
    fn processes_are_told_apart_and_their_seeds_stay_secret() {
        let of_seed = |seed| RequestId::new(seed, ExchangeId(1)).to_string();
        assert_ne!(of_seed(7), of_seed(8));
        assert!(!of_seed(7).starts_with("0000000000000007"));
    }
}
