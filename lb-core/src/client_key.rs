//! Who a request counts as where clients are counted: for rate limits, and for what each may have in flight.
//!
//! What a client may do depends on it, so nobody must be able to pass for another, or for many:
//!
//! - Sources are kept apart: a header that says an address is not the client at that address.
//! - A client has one network of IPv6 of 64 bits (RFC 6177), whichever of its addresses it uses.
//! - A parameter is what it says, however it is spelled (`%61` is `a`).
//! - What is said more than once counts as not said, since a backend may go by another of the values.
//! - Hashes depend on a seed that only the process knows: no value can be found that counts as another.

use alloc::boxed::Box;
use core::net::{IpAddr, Ipv6Addr};

use crate::config::KeySource;
use crate::facts::{Facts, cookies, forwarded_for};
use crate::hash::seeded_hash;
use crate::percent::form_decoded;

/// Sources in order: the first that a request has says who it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ClientKeys {
    sources: Box<[KeySource]>,
    seed: u64,
}

impl ClientKeys {
    pub(crate) fn new(sources: &[KeySource], seed: u64) -> Self {
        Self { sources: sources.into(), seed }
    }

    /// Who a request is, if any source says so.
    pub(crate) fn of(&self, facts: &dyn Facts) -> Option<u64> {
        (1..).zip(&self.sources).find_map(|(place, source)| {
            let mut said = Said { seed: self.seed ^ place, times: 0, hash: None };
            match source {
                KeySource::ClientIp => match network_of(facts.client()?) {
                    IpAddr::V4(ip) => said.is(&ip.octets()),
                    IpAddr::V6(ip) => said.is(&ip.octets()),
                },
                KeySource::ForwardedFor => said.is(forwarded_for(facts)?),
                KeySource::Header(name) => facts.each_line(name, &mut |value| said.is(value)),
                KeySource::Cookie(name) => facts.each_line("cookie", &mut |line| {
                    cookies(line, name).for_each(|value| said.is(value));
                }),
                KeySource::Path => said.is(facts.path().as_bytes()),
                KeySource::Query => said.is(facts.query()?.as_bytes()),
                KeySource::Parameter(name) => facts.query()?.split('&').for_each(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    if *form_decoded(key) == *name.as_bytes() {
                        said.is(&form_decoded(value));
                    }
                }),
                KeySource::Text(text) => said.is(text.as_bytes()),
            }
            said.hash.filter(|_| said.times == 1)
        })
    }
}

/// What a source says.
struct Said {
    seed: u64,
    times: u32,
    hash: Option<u64>,
}

impl Said {
    /// It says this, which is nothing if it is empty.
    fn is(&mut self, value: &[u8]) {
        self.times += 1;
        self.hash = (!value.is_empty()).then(|| seeded_hash(value, self.seed));
    }
}

/// Who an address belongs to: of IPv6 a client has a network of 64 bits (RFC 6177), and every address in it.
pub fn network_of(ip: IpAddr) -> IpAddr {
    const NETWORK: u128 = !0 << 64;
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & NETWORK)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Default)]
    struct Asked {
        client: &'static str,
        lines: &'static [(&'static str, &'static str)],
        query: &'static str,
    }

    impl Facts for Asked {
        fn client(&self) -> Option<IpAddr> {
            self.client.parse().ok()
        }

        fn header(&self, name: &str) -> Option<&[u8]> {
            self.lines.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_bytes())
        }

        fn each_line(&self, name: &str, tell: &mut dyn FnMut(&[u8])) {
            let lines = self.lines.iter().filter(|(known, _)| *known == name);
            lines.for_each(|(_, value)| tell(value.as_bytes()));
        }

        fn path(&self) -> &'static str {
            "/"
        }

        fn query(&self) -> Option<&str> {
            Some(self.query)
        }
    }

    fn of(sources: &[KeySource], asked: Asked) -> Option<u64> {
        ClientKeys::new(sources, 7).of(&asked)
    }

    fn at(client: &'static str) -> Asked {
        Asked { client, ..Asked::default() }
    }

    fn header() -> KeySource {
        KeySource::Header("x-key".into())
    }

    #[test]
    fn a_client_of_ipv6_is_one_whichever_address_it_uses() {
        let of = |client| of(&[KeySource::ClientIp], at(client));
        assert_eq!(of("2001:db8:1:1::1"), of("2001:db8:1:1:ffff::2"));
        assert_ne!(of("2001:db8:1:1::1"), of("2001:db8:1:2::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("nobody"), None);
    }

    #[test]
    fn nobody_passes_for_the_client_at_an_address_by_naming_it() {
        let chain = [header(), KeySource::ClientIp];
        let named = Asked { lines: &[("x-key", "192.0.2.1")], ..at("192.0.2.9") };
        assert_ne!(of(&chain, named), of(&chain, at("192.0.2.1")));
        // Nor by the bytes of the address.
        let bytes = Asked { lines: &[("x-key", "abcd")], ..at("192.0.2.9") };
        assert_ne!(of(&chain, bytes), of(&chain, at("97.98.99.100")));
        assert_ne!(ClientKeys::new(&chain, 8).of(&bytes), of(&chain, bytes), "the seed counts");
    }

    #[test]
    fn a_parameter_is_one_however_it_is_spelled() {
        let sources = [KeySource::Parameter("api_key".into())];
        let of = |query| of(&sources, Asked { query, ..Asked::default() });
        assert!(of("api_key=secret").is_some());
        for query in ["api_key=%73ecret", "%61pi_key=secret", "a=b&api_key=secret&c"] {
            assert_eq!(of(query), of("api_key=secret"), "{query}");
        }
        assert_ne!(of("api_key=Secret"), of("api_key=secret"));
        assert_eq!([of(""), of("api_key="), of("api_key")], [None; 3]);
    }

    #[test]
    fn what_is_said_twice_is_not_said() {
        let cookie = KeySource::Cookie("id".into());
        let parameter = KeySource::Parameter("id".into());
        let mine = of(&[KeySource::ClientIp], at("192.0.2.1"));
        assert!(mine.is_some());
        let twice: [(KeySource, &'static [_], &'static str); 5] = [
            (header(), &[("x-key", "junk"), ("x-key", "real")], ""),
            (header(), &[("x-key", ""), ("x-key", "real")], ""),
            (cookie.clone(), &[("cookie", "id=1; id=2")], ""),
            (cookie, &[("cookie", "id=1"), ("cookie", "a=b; id=2")], ""),
            (parameter, &[], "id=junk&id=real"),
        ];
        for (source, lines, query) in twice {
            let asked = Asked { lines, query, client: "192.0.2.1" };
            assert_eq!(of(core::slice::from_ref(&source), asked), None, "{source:?}");
            let last = ClientKeys::new(&[source, KeySource::ClientIp], 7).of(&asked);
            let alone = ClientKeys::new(&[KeySource::Path, KeySource::ClientIp], 7);
            assert!(last.is_some() && alone.of(&asked).is_some(), "the next source says it");
        }
    }
}
