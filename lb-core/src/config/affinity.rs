//! What was asked for of affinity.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::config::KeySource;

/// What makes a client stick to a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AffinityConfig {
    /// What remembers the backend.
    pub by: StickBy,
    /// Whether a client whose backend cannot be had gets 503 and not another backend.
    pub strict: bool,
}

/// What remembers which backend a client sticks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StickBy {
    /// The client, by a cookie.
    Cookie(CookieConfig),
    /// The proxy, by a key of the request.
    Key(StickConfig),
}

/// Clients that are remembered by a key of their requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StickConfig {
    /// Who a client is: the first source that the request has. Those without any do not stick.
    pub key: Vec<KeySource>,
    /// How long one is remembered after an answer.
    pub ttl: Duration,
}

impl Default for StickConfig {
    fn default() -> Self {
        Self { key: vec![KeySource::ClientIp], ttl: Duration::from_secs(3_600) }
    }
}

/// The cookie that remembers a backend (RFC 6265 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieConfig {
    /// Its name.
    pub name: String,
    /// What it says of the backend.
    pub value: CookieValue,
    /// The key of opaque values, the same on every instance that shares clients. `None`: one of the
    /// process, so that clients choose anew after a restart.
    pub key: Option<Secret>,
    /// How long a client keeps it; `None` is as long as the browser runs.
    pub max_age: Option<Duration>,
    /// The paths that it is sent for.
    pub path: String,
    /// Whether it is sent over TLS alone.
    pub secure: bool,
    /// Whether scripts may read it.
    pub http_only: bool,
    /// Whether it is sent with requests that other sites cause.
    pub same_site: SameSite,
    /// Whether it is set again with every answer, and not only when the backend changes.
    pub always: bool,
}

/// Bytes that are shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// These bytes.
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(..)")
    }
}

/// What a cookie says of the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookieValue {
    /// A keyed hash of the backend's name: tells nothing and cannot be guessed.
    Opaque,
    /// The backend's name, in clear.
    Name,
    /// The host of the backend's url, in clear (as AIOStreams does).
    Hostname,
}

/// Whether a cookie is sent with requests that other sites cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// Never.
    Strict,
    /// When a link is followed.
    Lax,
    /// Always; only over TLS.
    None,
}

impl Default for CookieConfig {
    fn default() -> Self {
        Self {
            name: "lb_affinity".into(),
            value: CookieValue::Opaque,
            key: None,
            max_age: None,
            path: "/".into(),
            secure: false,
            http_only: true,
            same_site: SameSite::Lax,
            always: false,
        }
    }
}
