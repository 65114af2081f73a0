//! What makes a client stick to a backend: a cookie that names it, or that the proxy remembers it.
//!
//! Either is a wish and no order. It is followed as long as the backend may be chosen (one that
//! drains may, by those who know it) and was not tried before; otherwise the client goes where any
//! client goes and learns the new name with the answer. A cookie's value is a keyed hash of the backend's
//! name unless told otherwise: an internal address in clear is a gift to whoever scans networks,
//! and a place in a list would change with the list.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use core::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::backend::Backend;
use crate::config::{AffinityConfig, CookieConfig, CookieValue, SameSite, Secret, StickBy};
use crate::facts::Facts;
use crate::stick::Stick;
use crate::time::Time;

/// What makes the clients of one service stick.
#[derive(Debug)]
pub(crate) struct Affinity {
    by: By,
    strict: bool,
}

#[derive(Debug)]
enum By {
    Cookie(Cookie),
    Key(Stick),
}

/// What a request says of where its client sticks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bond {
    /// The backend that it sticks to, by place.
    pub(crate) wish: Option<u16>,
    /// Who it is, where it is remembered by that.
    pub(crate) key: Option<u64>,
}

/// The cookie of one service, and what it says of each backend.
#[derive(Debug)]
struct Cookie {
    config: CookieConfig,
    /// By place in the service.
    values: Box<[Box<str>]>,
    places: BTreeMap<Box<str>, u16>,
}

/// Bytes of the keyed hash that a cookie shows: 2⁶⁴ guesses would not find another backend's.
const OPAQUE_BYTES: usize = 16;

impl Affinity {
    /// The `backends` are in the order of their places. Without a key, values of cookies hold as long as
    /// the `seed` does: for this process. Who was remembered `before` still is.
    pub(crate) fn new<'b>(
        config: &AffinityConfig,
        service: &str,
        backends: impl Iterator<Item = &'b Backend>,
        seed: u64,
        before: Option<&Self>,
    ) -> Self {
        let by = match &config.by {
            StickBy::Cookie(cookie) => {
                By::Cookie(Cookie::new(cookie, service, backends.map(Backend::name), seed))
            }
            StickBy::Key(stick) => {
                let before = before.and_then(|affinity| match &affinity.by {
                    By::Key(stick) => Some(stick),
                    By::Cookie(_) => None,
                });
                By::Key(Stick::new(stick, backends.map(|it| it.number), before))
            }
        };
        Self { by, strict: config.strict }
    }

    /// The backend that a request asks for.
    pub(crate) fn bond(&self, facts: &dyn Facts, now: Time) -> Bond {
        match &self.by {
            By::Cookie(cookie) => Bond { wish: cookie.wish(facts), key: None },
            By::Key(stick) => {
                let key = stick.key(facts);
                Bond { wish: key.and_then(|key| stick.place(key, now)), key }
            }
        }
    }

    /// Who asks, where it is the proxy that remembers.
    pub(crate) fn key_of(&self, facts: &dyn Facts) -> Option<u64> {
        match &self.by {
            By::Cookie(_) => None,
            By::Key(stick) => stick.key(facts),
        }
    }

    /// Whether a client whose backend cannot be had is turned away.
    pub(crate) const fn is_strict(&self) -> bool {
        self.strict
    }

    /// A backend's answer goes to the client.
    pub(crate) fn remember(&self, key: u64, place: u16, now: Time) {
        if let By::Key(stick) = &self.by {
            stick.remember(key, place, now);
        }
    }

    /// The `Set-Cookie` that makes a client stick to `place`, unless it does already.
    pub(crate) fn set_cookie(&self, place: u16, wish: Option<u16>) -> Option<String> {
        match &self.by {
            By::Cookie(cookie) => cookie.set(place, wish),
            By::Key(_) => None,
        }
    }
}

impl Cookie {
    fn new<'n>(
        config: &CookieConfig,
        service: &str,
        names: impl Iterator<Item = &'n str>,
        seed: u64,
    ) -> Self {
        let own_key = seed.to_le_bytes();
        let key = config.key.as_ref().map_or(&own_key[..], Secret::bytes);
        let values: Box<[Box<str>]> = names.map(|name| value(config, key, service, name)).collect();
        let mut places = BTreeMap::new();
        for (place, value) in (0..).zip(&values) {
            // Of two that cannot be told apart by it (one host, two ports), the first is meant.
            places.entry(value.clone()).or_insert(place);
        }
        Self { config: config.clone(), values, places }
    }

    fn wish(&self, facts: &dyn Facts) -> Option<u16> {
        let value = core::str::from_utf8(facts.cookie(&self.config.name)?).ok()?;
        self.places.get(value).copied()
    }

    fn set(&self, place: u16, wish: Option<u16>) -> Option<String> {
        let cookie = &self.config;
        if wish == Some(place) && !cookie.always {
            return None;
        }
        let value = &self.values[usize::from(place)];
        let mut line = format!("{}={value}; Path={}", cookie.name, cookie.path);
        if let Some(age) = cookie.max_age {
            write!(line, "; Max-Age={}", age.as_secs()).expect("a string takes all");
        }
        if cookie.http_only {
            line.push_str("; HttpOnly");
        }
        if cookie.secure {
            line.push_str("; Secure");
        }
        line.push_str(match cookie.same_site {
            SameSite::Strict => "; SameSite=Strict",
            SameSite::Lax => "; SameSite=Lax",
            SameSite::None => "; SameSite=None",
        });
        Some(line)
    }
}

fn value(cookie: &CookieConfig, key: &[u8], service: &str, name: &str) -> Box<str> {
    match cookie.value {
        CookieValue::Opaque => opaque(key, service, name),
        CookieValue::Name => name.into(),
        CookieValue::Hostname => host(name).into(),
    }
}

/// The hash of service and name, so that one backend has a different value at each service.
fn opaque(key: &[u8], service: &str, name: &str) -> Box<str> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length of key will do");
    mac.update(service.as_bytes());
    mac.update(&[0]);
    mac.update(name.as_bytes());
    let hash = mac.finalize().into_bytes();
    hash[..OPAQUE_BYTES].iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}")).into()
}

/// The host of a url, without port.
fn host(url: &str) -> &str {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or(authority);
    match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 3] = ["http://10.0.0.1:3000", "http://10.0.0.2:3000", "http://[::1]:80"];

    fn of(change: impl FnOnce(&mut CookieConfig)) -> Cookie {
        let mut cookie = CookieConfig::default();
        change(&mut cookie);
        Cookie::new(&cookie, "web", NAMES.into_iter(), 7)
    }

    #[test]
    fn an_opaque_value_depends_on_key_service_and_name_and_shows_none() {
        let base = opaque(&[7; 32], "web", NAMES[0]);
        assert_eq!(base.len(), 2 * OPAQUE_BYTES);
        assert_eq!(base, opaque(&[7; 32], "web", NAMES[0]));
        for other in [
            opaque(&[8; 32], "web", NAMES[0]),
            opaque(&[7; 32], "we", NAMES[0]),
            opaque(&[7; 32], "web", NAMES[1]),
            opaque(&[7; 32], "webh", "ttp://10.0.0.1:3000"),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn the_hash_is_hmac_sha256() {
        // printf 'web\0http://a' | openssl dgst -sha256 -mac HMAC -macopt hexkey:0707…07
        let text = opaque(&[7; 32], "web", "http://a");
        assert_eq!(&*text, "de8b0b5610005afcac4a8a231c8fa9a8");
    }

    #[test]
    fn a_cookie_says_what_it_was_configured_to_say() {
        let line = |cookie: &Cookie| cookie.set(1, None).expect("it is new");
        let opaque = line(&of(|_| {}));
        assert!(
            opaque.starts_with("lb_affinity=")
                && opaque.ends_with("; Path=/; HttpOnly; SameSite=Lax")
        );
        assert!(!opaque.contains("10.0.0.2"));
        assert_eq!(
            line(&of(|cookie| {
                cookie.name = "b".into();
                cookie.value = CookieValue::Hostname;
                cookie.max_age = Some(core::time::Duration::from_secs(86_400));
                cookie.path = "/app".into();
                cookie.secure = true;
                cookie.http_only = false;
                cookie.same_site = SameSite::None;
            })),
            "b=10.0.0.2; Path=/app; Max-Age=86400; Secure; SameSite=None"
        );
        let named = of(|cookie| cookie.value = CookieValue::Name);
        assert!(line(&named).starts_with("lb_affinity=http://10.0.0.2:3000;"));
    }

    #[test]
    fn it_is_set_when_the_backend_changes_or_always() {
        assert!(of(|_| {}).set(1, Some(1)).is_none());
        assert!(of(|_| {}).set(1, Some(2)).is_some());
        assert!(of(|cookie| cookie.always = true).set(1, Some(1)).is_some());
    }

    #[test]
    fn the_host_of_a_url_is_its_host() {
        assert_eq!(host("http://[::1]:80"), "[::1]");
        assert_eq!(host("http://a.example:8080/x"), "a.example");
        assert_eq!(host("https://a.example"), "a.example");
        assert_eq!(host("plain"), "plain");
    }
}
