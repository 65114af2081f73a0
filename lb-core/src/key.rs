//! What a request is hashed by: the first of a chain of sources that it has.
//!
//! The same request gives the same key at every instance and after every restart, so that they
//! agree on its backend without talking to each other.

use alloc::boxed::Box;
use core::fmt::{self, Write};
use core::net::IpAddr;

use sha2::{Digest, Sha256};

use crate::config::{KeySource, Policy};
use crate::facts::{Facts, forwarded_for};
use crate::hash::stable_hash;

/// Sources in order, and how what they give becomes a number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Keys {
    sources: Box<[KeySource]>,
    hash: Hash,
}

/// How bytes become a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    /// XXH3, which spreads best.
    Stable,
    /// `String.hashCode` of Java, made positive: what AIOStreams and FlowBalance use.
    Java,
    /// The first eight bytes of SHA-256, little-endian: what the plugin of Backworks uses.
    Sha256,
    /// 31 times the hash plus the byte, in 32 bits: what Backworks used before.
    Times31,
}

impl Keys {
    /// `None` for a policy that hashes nothing.
    pub(crate) fn new(policy: Policy, sources: &[KeySource]) -> Option<Self> {
        let hash = match policy {
            Policy::Ring | Policy::Maglev | Policy::Rendezvous => Hash::Stable,
            Policy::JavaHashModulo => Hash::Java,
            Policy::Sha256Modulo => Hash::Sha256,
            Policy::Hash31Modulo => Hash::Times31,
            _ => return None,
        };
        Some(Self { sources: sources.into(), hash })
    }

    /// Keys that spread best, for a table of who sticks to whom.
    pub(crate) fn stable(sources: &[KeySource]) -> Self {
        Self { sources: sources.into(), hash: Hash::Stable }
    }

    /// The key of a request that has one.
    pub(crate) fn of(&self, facts: &dyn Facts) -> Option<u64> {
        self.sources.iter().find_map(|source| {
            let bytes = match source {
                KeySource::ClientIp => return facts.client().map(|ip| self.of_ip(ip)),
                KeySource::ForwardedFor => forwarded_for(facts)?,
                KeySource::Header(name) => facts.header(name)?,
                KeySource::Cookie(name) => facts.cookie(name)?,
                KeySource::Path => facts.path().as_bytes(),
                KeySource::Query => facts.query()?.as_bytes(),
                KeySource::Parameter(name) => facts.parameter(name)?.as_bytes(),
                KeySource::Text(text) => text.as_bytes(),
            };
            (!bytes.is_empty()).then(|| self.hash.of(bytes))
        })
    }

    /// An address is hashed as it is written, so that a header that names it gives the same.
    fn of_ip(&self, ip: IpAddr) -> u64 {
        let mut text = Text { bytes: [0; 48], length: 0 };
        match ip.to_canonical() {
            // Most are, and what formats everything takes ten times as long.
            IpAddr::V4(ip) => text.dotted(ip.octets()),
            IpAddr::V6(ip) => {
                write!(text, "{ip}").expect("the longest address has 45 characters");
            }
        }
        self.hash.of(text.bytes())
    }
}

impl Hash {
    fn of(self, bytes: &[u8]) -> u64 {
        match self {
            Self::Stable => stable_hash(bytes),
            Self::Java => java(bytes),
            Self::Sha256 => {
                let hash = Sha256::digest(bytes);
                let first = hash.first_chunk().expect("SHA-256 has 32 bytes");
                u64::from_le_bytes(*first)
            }
            Self::Times31 => bytes
                .iter()
                .fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(*byte)))
                .into(),
        }
    }
}

/// `h = 31·h + unit` over UTF-16 units in wrapping 32 bits, then the absolute value.
fn java(bytes: &[u8]) -> u64 {
    let fold = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
    let hash = match core::str::from_utf8(bytes) {
        Ok(text) => text.encode_utf16().fold(0, fold),
        // What is no UTF-8 is Latin-1, as header fields once were.
        Err(_) => bytes.iter().map(|byte| u16::from(*byte)).fold(0, fold),
    };
    u64::from(hash.unsigned_abs())
}

/// A short text without heap.
struct Text {
    bytes: [u8; 48],
    length: usize,
}

impl Text {
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    fn dotted(&mut self, octets: [u8; 4]) {
        for (nth, octet) in octets.into_iter().enumerate() {
            if nth > 0 {
                self.push(b'.');
            }
            if octet >= 100 {
                self.push(b'0' + octet / 100);
            }
            if octet >= 10 {
                self.push(b'0' + octet / 10 % 10);
            }
            self.push(b'0' + octet % 10);
        }
    }
}

impl Write for Text {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let end = self.length + more.len();
        let room = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        room.copy_from_slice(more.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use super::*;

    struct Asked {
        client: &'static str,
        header: Option<(&'static str, &'static str)>,
        query: &'static str,
    }

    const ASKED: Asked = Asked { client: "203.0.113.7", header: None, query: "" };

    impl Facts for Asked {
        fn client(&self) -> Option<IpAddr> {
            self.client.parse().ok()
        }

        fn header(&self, name: &str) -> Option<&[u8]> {
            self.header.filter(|(is, _)| *is == name).map(|(_, value)| value.as_bytes())
        }

        fn path(&self) -> &'static str {
            "/a"
        }

        fn query(&self) -> Option<&str> {
            Some(self.query)
        }
    }

    fn key(policy: Policy, sources: &[KeySource], asked: &Asked) -> Option<u64> {
        Keys::new(policy, sources).expect("the policy hashes").of(asked)
    }

    fn of_text(policy: Policy, text: &str) -> u64 {
        key(policy, &[KeySource::Text(text.into())], &ASKED).expect("a text is always there")
    }

    #[test]
    fn every_address_is_written_as_the_library_writes_it() {
        let keys = Keys::stable(&[]);
        let is_written = |ip: IpAddr| {
            let written = alloc::format!("{}", ip.to_canonical());
            assert_eq!(keys.of_ip(ip), stable_hash(written.as_bytes()), "{ip}");
        };
        for octet in 0..=255 {
            is_written(IpAddr::from([octet, 255 - octet, 0, octet]));
        }
        for text in ["::1", "::ffff:192.0.2.1", "2001:db8::ffff:c000:201"] {
            is_written(text.parse().expect("an address"));
        }
    }

    /// compat/aiostreams.md §3.
    #[test]
    fn the_java_hash_is_that_of_aiostreams() {
        for (text, hash) in [
            ("127.0.0.1", 1_505_998_205),
            ("203.0.113.7", 1_392_238_757),
            ("198.51.100.23", 1_087_838_610),
            ("10.0.0.1", 511_552_166),
            ("::1", 57_585),
            ("unknown", 284_840_886),
        ] {
            assert_eq!(of_text(Policy::JavaHashModulo, text), hash, "{text}");
        }
    }

    /// compat/backworks.md §3: both forms modulo 3.
    #[test]
    fn the_two_hashes_of_backworks_are_its_own() {
        for (text, sha256, times31) in [
            ("127.0.0.1", 2, 2),
            ("203.0.113.7", 0, 2),
            ("198.51.100.23", 2, 0),
            ("10.0.0.1", 1, 2),
        ] {
            assert_eq!(of_text(Policy::Sha256Modulo, text) % 3, sha256, "{text}");
            assert_eq!(of_text(Policy::Hash31Modulo, text) % 3, times31, "{text}");
        }
    }

    #[test]
    fn the_first_source_that_a_request_has_is_its_key() {
        let header = KeySource::Header("x-user".into());
        let cookie = KeySource::Cookie("id".into());
        let chain = [header, cookie, KeySource::Parameter("id".into()), KeySource::ClientIp];
        let of = |asked: &Asked| key(Policy::Maglev, &chain, asked);
        let hash = |text: &str| Some(stable_hash(text.as_bytes()));
        assert_eq!(of(&ASKED), hash("203.0.113.7"));
        assert_eq!(of(&Asked { query: "id=7", ..ASKED }), hash("7"));
        assert_eq!(of(&Asked { query: "id=", ..ASKED }), hash("203.0.113.7"), "empty is not there");
        let header = Some(("x-user", "ann"));
        assert_eq!(of(&Asked { query: "id=7", header, ..ASKED }), hash("ann"));
        let header = Some(("cookie", "id=9"));
        assert_eq!(of(&Asked { query: "id=7", header, ..ASKED }), hash("9"));
        assert_eq!(key(Policy::Ring, &[KeySource::Path], &ASKED), hash("/a"));
        let forwarded = Asked { header: Some(("x-forwarded-for", "192.0.2.1, 10.0.0.1")), ..ASKED };
        assert_eq!(key(Policy::Ring, &[KeySource::ForwardedFor], &forwarded), hash("192.0.2.1"));
        assert_eq!(key(Policy::Ring, &[KeySource::ForwardedFor], &ASKED), None);
    }

    #[test]
    fn an_address_is_hashed_as_it_is_written() {
        for client in ["::ffff:203.0.113.7", "203.0.113.7"] {
            let of_ip =
                key(Policy::JavaHashModulo, &[KeySource::ClientIp], &Asked { client, ..ASKED });
            assert_eq!(of_ip, Some(1_392_238_757));
        }
        let longest: String = "2001:db8:1111:2222:3333:4444:5555:6666".into();
        assert_eq!(longest.parse::<IpAddr>().map(|ip| alloc::format!("{ip}")), Ok(longest));
    }
}
