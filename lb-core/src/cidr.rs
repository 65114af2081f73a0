//! A range of addresses, as `10.0.0.0/8` or `2001:db8::/32` (RFC 4632 §3.1, RFC 4291 §2.3).

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

/// A range of addresses that begin with the same bits.
///
/// ```
/// use lb_core::Cidr;
///
/// let range: Cidr = "10.0.0.0/8".parse().unwrap();
/// assert!(range.contains("10.1.2.3".parse().unwrap()));
/// assert!(range.contains("::ffff:10.1.2.3".parse().unwrap()));
/// assert!(!range.contains("11.0.0.1".parse().unwrap()));
/// assert_eq!("192.0.2.1".parse::<Cidr>().unwrap().to_string(), "192.0.2.1/32");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cidr {
    /// An IPv4 address is held as the IPv6 address that stands for it (RFC 4291 §2.5.5.2).
    first: u128,
    bits: u8,
}

/// Why a text is no range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoCidr {
    /// What stands before the `/` is not an address.
    Address,
    /// What stands behind it is not a number of bits that such an address has.
    Bits,
    /// The address has bits beyond those, so that it is unclear which range is meant.
    Beyond,
}

/// Bits before the IPv4 address in the IPv6 address that stands for it.
const MAPPED: u8 = 96;

impl Cidr {
    /// Whether `address` is in it. An IPv4 address may come as IPv6.
    pub const fn contains(&self, address: IpAddr) -> bool {
        (as_v6(address) ^ self.first) & mask(self.bits) == 0
    }

    /// Whether all of `other` is in it.
    pub const fn covers(&self, other: &Self) -> bool {
        self.bits <= other.bits && (other.first ^ self.first) & mask(self.bits) == 0
    }
}

impl FromStr for Cidr {
    type Err = NoCidr;

    fn from_str(text: &str) -> Result<Self, NoCidr> {
        let (address, said) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NoCidr::Address)?;
        let (before, most) = if address.is_ipv4() { (MAPPED, 32) } else { (0, 128) };
        let bits = match said {
            None => most,
            Some(said) if said.bytes().all(|byte| byte.is_ascii_digit()) => {
                said.parse().ok().filter(|bits| *bits <= most).ok_or(NoCidr::Bits)?
            }
            Some(_) => return Err(NoCidr::Bits),
        };
        let (first, bits) = (as_v6(address), before + bits);
        if first & !mask(bits) != 0 {
            return Err(NoCidr::Beyond);
        }
        Ok(Self { first, bits })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = Ipv6Addr::from_bits(self.first);
        match first.to_ipv4_mapped() {
            Some(first) if self.bits >= MAPPED => write!(out, "{first}/{}", self.bits - MAPPED),
            _ => write!(out, "{first}/{}", self.bits),
        }
    }
}

impl fmt::Debug for Cidr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl fmt::Display for NoCidr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Address => "is not an address",
            Self::Bits => "has a number of bits that its address does not have",
            Self::Beyond => "has an address with bits beyond its prefix",
        })
    }
}

impl core::error::Error for NoCidr {}

const fn as_v6(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => Ipv4Addr::to_ipv6_mapped(&address).to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

const fn mask(bits: u8) -> u128 {
    match bits {
        0 => 0,
        bits => u128::MAX << (128 - bits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_range_holds_what_begins_with_its_bits() {
        let holds = |range: &str, address: &str| {
            range.parse::<Cidr>().unwrap().contains(address.parse().unwrap())
        };
        assert!(holds("0.0.0.0/0", "203.0.113.9") && holds("::/0", "203.0.113.9"));
        assert!(!holds("0.0.0.0/0", "2001:db8::1"), "IPv6 is not in all of IPv4");
        assert!(holds("192.0.2.128/25", "192.0.2.255") && !holds("192.0.2.128/25", "192.0.2.127"));
        assert!(holds("2001:db8::/33", "2001:db8:7fff::1"));
        assert!(!holds("2001:db8::/33", "2001:db8:8000::1"));
        assert!(holds("192.0.2.1", "::ffff:192.0.2.1") && !holds("192.0.2.1", "192.0.2.2"));
    }

    #[test]
    fn a_range_covers_what_is_narrower_and_within() {
        let covers = |wide: &str, narrow: &str| {
            wide.parse::<Cidr>().unwrap().covers(&narrow.parse().unwrap())
        };
        assert!(covers("10.0.0.0/8", "10.1.0.0/16") && covers("10.0.0.0/8", "10.0.0.0/8"));
        assert!(!covers("10.1.0.0/16", "10.0.0.0/8") && !covers("10.0.0.0/8", "11.0.0.0/16"));
        assert!(covers("::/0", "10.0.0.0/8") && !covers("0.0.0.0/0", "::/0"));
    }

    #[test]
    fn what_is_read_is_written_back_and_all_else_says_why_not() {
        for range in ["0.0.0.0/0", "10.0.0.0/8", "::/0", "2001:db8::/32", "::1/128"] {
            assert_eq!(range.parse::<Cidr>().unwrap().to_string(), range);
        }
        for (text, why) in [
            ("", NoCidr::Address),
            ("10.0.0/8", NoCidr::Address),
            ("10.0.0.0/33", NoCidr::Bits),
            ("10.0.0.0/", NoCidr::Bits),
            ("10.0.0.0/+8", NoCidr::Bits),
            ("::/129", NoCidr::Bits),
            ("10.0.0.1/8", NoCidr::Beyond),
        ] {
            assert_eq!(text.parse::<Cidr>(), Err(why), "{text:?}");
        }
    }
}
