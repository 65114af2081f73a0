//! What was asked of routes: which requests each takes, and what becomes of them.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::event::ExchangeId;
use crate::hash::stable_hash;
use crate::rng::Rng;

pub use crate::condition::{
    COMPARED_BYTES_MAX, CONDITIONS_MAX, Conditions, FieldTest, Test, UPGRADE,
};
pub use crate::edit::{EditConfig, HeaderEdits, PathEdit, QueryEdits, RequestEdits, ResponseEdits};
pub use crate::path::{BadPath, CAPTURES_MAX, PATTERN_BYTES_MAX, PathPattern, SEGMENTS_MAX};
pub use crate::template::{
    BadTemplate, Slot, TEMPLATE_BYTES_MAX, Template, VARIABLES_MAX, Values, Variable,
};

/// Routes of a configuration, besides those that services' hosts are.
pub const ROUTES_MAX: usize = 4_000;
/// Hosts of one route.
pub const ROUTE_HOSTS_MAX: usize = 1_000;
/// Edits of one kind in a route or service: headers set, parameters removed, and so on.
pub const EDITS_MAX: usize = 64;
/// Bytes of a fixed response's body.
pub const RESPOND_BYTES_MAX: usize = 64 * 1024;

/// All routes of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutingConfig {
    /// What is sent to the same url with TLS before any route is looked for.
    pub https: Option<HttpsConfig>,
    /// In the order of the file; those that services' hosts are come last.
    pub routes: Vec<RouteConfig>,
    /// What becomes of a path that some servers read as that of another route.
    pub ambiguous_paths: AmbiguousPaths,
}

/// What becomes of a path that some servers read as that of another route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AmbiguousPaths {
    /// It is refused.
    #[default]
    Refuse,
    /// It goes where it leads as it is written: for backends that read it as it is compared here.
    Pass,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteConfig {
    /// Unique among routes; what logs call it. Those that are a service's hosts have its name.
    pub name: String,
    /// In lower case: exact, `*.example.com`, or `*`. At least one.
    pub hosts: Vec<String>,
    /// The paths that it takes.
    pub path: PathPattern,
    /// What else must hold.
    pub conditions: Conditions,
    /// What becomes of a request that it takes.
    pub action: Action,
    /// What is changed in the request and in its answer.
    pub edits: Arc<EditConfig>,
    /// Who gets a copy of some requests.
    pub mirror: Option<MirrorConfig>,
}

impl RouteConfig {
    /// All requests for these hosts, unchanged.
    pub fn catch_all(name: &str, hosts: Vec<String>, action: Action) -> Self {
        Self {
            name: name.into(),
            hosts,
            path: PathPattern::any(),
            conditions: Conditions::default(),
            action,
            edits: Arc::default(),
            mirror: None,
        }
    }

    /// Whether no request for a host that both have gets past this route to `later`, which stands
    /// behind it in the file, as far as can be told by looking at them.
    pub fn hides(&self, later: &Self) -> bool {
        self.path == later.path
            && self.conditions.count() >= later.conditions.count()
            && self.conditions.cover(&later.conditions)
    }
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes to the service at this place in the configuration.
    Service(u16),
    /// Its client is sent elsewhere.
    Redirect {
        /// Where.
        to: Template,
        /// 301, 302, 303, 307 or 308.
        status: u16,
    },
    /// It is answered here.
    Respond {
        /// `200..=599`.
        status: u16,
        /// Up to [`RESPOND_BYTES_MAX`]; empty for a status that has none.
        body: String,
        /// What the body is. Visible ASCII and spaces.
        content_type: String,
    },
}

/// Who comes without TLS is sent to the same url with TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsConfig {
    /// 301, 302, 307 or 308.
    pub status: u16,
    /// Where, as for a redirect.
    pub to: Template,
    /// For which hosts, as in a route.
    pub hosts: Vec<String>,
    /// Paths that are served without TLS.
    pub except: Vec<PathPattern>,
}

/// Who gets a copy of some requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MirrorConfig {
    /// The place of its service in the configuration.
    pub service: u16,
    /// How many of a hundred requests: `1..=100`.
    pub percent: u8,
}

impl MirrorConfig {
    /// Whether the request of this exchange is copied. The dice are thrown apart from those of the
    /// exchange: whether a request is mirrored says nothing about where it goes.
    pub fn takes(&self, seed: u64, id: ExchangeId) -> bool {
        let dice = &mut Rng::stream(seed ^ stable_hash(b"mirror"), id.0);
        dice.below(100) < self.percent.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_takes_its_share_and_the_same_requests_again() {
        for percent in [1, 10, 50, 100] {
            let mirror = MirrorConfig { service: 0, percent };
            let taken = |seed| (0..20_000).filter(move |id| mirror.takes(seed, ExchangeId(*id)));
            let (count, expected) = (taken(7).count(), 200 * usize::from(percent));
            // Four standard deviations of the widest, 71.
            assert!(count.abs_diff(expected) < 284, "{percent}%: {count}");
            assert!(taken(7).eq(taken(7)));
            assert!(percent == 100 || !taken(7).eq(taken(8)), "another seed, other requests");
        }
    }
}
