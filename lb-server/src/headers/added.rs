//! What a request gets on its way to a backend, besides what came with it.
//!
//! Where nobody else touches its head these fields stay beside it, and are written behind it: to find a place
//! for each of them in a map takes longer than all that is done with them there.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::{VIA, X_FORWARDED_CLIENT_CERT, X_REQUEST_ID};
use crate::forwarded::{Told, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, X_REAL_IP};

/// The fields that we add to a head in which none of them stands but `Via`.
#[derive(Clone, Debug)]
pub(crate) struct Added([Option<HeaderValue>; COUNT]);

const COUNT: usize = 7;

/// In the order in which they are written.
static NAMES: [HeaderName; COUNT] = [
    X_FORWARDED_HOST,
    X_REAL_IP,
    X_FORWARDED_FOR,
    X_FORWARDED_PROTO,
    X_FORWARDED_CLIENT_CERT,
    X_REQUEST_ID,
    header::VIA,
];

impl Added {
    pub(super) fn new(told: Told, certificate: Option<HeaderValue>, id: HeaderValue) -> Self {
        let Told { host, client, chain, scheme } = told;
        let scheme = HeaderValue::from_static(scheme.as_str());
        Self([host, client, chain, Some(scheme), certificate, Some(id), Some(VIA)])
    }

    /// Each of them, in the order in which they are written.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        let fields = NAMES.iter().zip(&self.0);
        fields.filter_map(|(name, value)| Some((name, value.as_ref()?)))
    }

    /// The one of this name, which is in lower case.
    pub(crate) fn get(&self, name: &str) -> Option<&HeaderValue> {
        self.iter().find_map(|(known, value)| (known.as_str() == name).then_some(value))
    }

    /// Puts them into the head.
    pub(crate) fn join(self, headers: &mut HeaderMap) {
        headers.reserve(COUNT);
        for (name, value) in NAMES.iter().zip(self.0) {
            if let Some(value) = value {
                headers.append(name, value);
            }
        }
    }
}
