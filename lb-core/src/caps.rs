//! What may be in flight, by the configuration in force.
//!
//! A service and those that take its place share one word of it. Whoever waits in line at a service
//! that has been succeeded, or tries again there, is judged by what is said now.

use crate::config::{IN_FLIGHT_MAX, LimitConfig};
use crate::word::Word;

/// What may be in flight at one backend and at the service, in 20 bits each; 0 stands for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Caps {
    backend: u32,
    /// At the service: a limit that finds itself lies between them, any other is both.
    least: u32,
    most: u32,
}

const BITS: u32 = 20;
const MASK: u64 = (1 << BITS) - 1;

impl Caps {
    pub(crate) fn new(config: &LimitConfig) -> Self {
        let (least, most) = match &config.adaptive {
            Some(adaptive) => (adaptive.min, adaptive.max),
            None => (config.per_service.unwrap_or(0), config.per_service.unwrap_or(0)),
        };
        Self { backend: config.per_backend.unwrap_or(0), least, most }
    }

    /// Attempts in flight at one backend, if that is limited.
    pub(crate) fn at_backend(self) -> Option<u32> {
        (self.backend > 0).then_some(self.backend)
    }

    /// Between what the limit on exchanges in flight at the service lies, if there is one.
    pub(crate) fn at_service(self) -> Option<(u32, u32)> {
        (self.most > 0).then_some((self.least, self.most))
    }

    /// Whether anything is limited.
    pub(crate) fn is_any(self) -> bool {
        self != Self::default()
    }
}

impl Word for Caps {
    fn pack(self) -> u64 {
        let [backend, least, most] = [self.backend, self.least, self.most].map(u64::from);
        (backend << (2 * BITS)) | (least << BITS) | most
    }

    fn unpack(bits: u64) -> Self {
        let at = |place: u32| u32::try_from(bits >> (place * BITS) & MASK).expect("20 bits");
        Self { backend: at(2), least: at(1), most: at(0) }
    }
}

const _: () = assert!((IN_FLIGHT_MAX as u64) <= MASK);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AdaptiveConfig;

    #[test]
    fn what_is_said_is_what_is_read() {
        let said = |per_backend, per_service, adaptive| {
            let config =
                LimitConfig { per_backend, per_service, adaptive, ..LimitConfig::default() };
            let caps = Caps::unpack(Caps::new(&config).pack());
            assert_eq!(caps, Caps::new(&config));
            (caps.at_backend(), caps.at_service(), caps.is_any())
        };
        let most = IN_FLIGHT_MAX;
        assert_eq!(said(None, None, None), (None, None, false));
        assert_eq!(said(Some(1), None, None), (Some(1), None, true));
        assert_eq!(said(None, Some(1), None), (None, Some((1, 1)), true));
        assert_eq!(said(Some(most), Some(most), None), (Some(most), Some((most, most)), true));
        let adaptive = AdaptiveConfig { min: 4, max: 60_000, ..AdaptiveConfig::default() };
        assert_eq!(said(None, Some(7), Some(adaptive)), (None, Some((4, 60_000)), true));
    }
}
