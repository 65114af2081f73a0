//! What a route and its service change of an exchange, for as long as that goes on.
//!
//! Who removes a header or sets it wants nobody else to say it. Fields behind a body, and heads before an
//! answer, come when the head has long been edited: they lose every name that was decided there.

use std::sync::Arc;

use http::HeaderMap;
use lb_core::config::{EditConfig, HeaderEdits, RequestEdits, ResponseEdits};

use crate::forwarded::reads_as;
use crate::headers;

/// The edits that a request passes, and its answer the other way round.
#[derive(Clone)]
pub(crate) struct Layers {
    route: Arc<EditConfig>,
    service: Arc<EditConfig>,
}

impl Layers {
    /// `None`: nothing is changed.
    pub(crate) fn new(route: &Arc<EditConfig>, service: &Arc<EditConfig>) -> Option<Self> {
        let stays =
            [route, service].iter().all(|it| it.request.is_empty() && it.response.is_empty());
        (!stays).then(|| Self { route: Arc::clone(route), service: Arc::clone(service) })
    }

    pub(crate) fn requests(&self) -> [&RequestEdits; 2] {
        [&self.route.request, &self.service.request]
    }

    pub(crate) fn responses(&self) -> [&ResponseEdits; 2] {
        [&self.service.response, &self.route.response]
    }

    /// Whether they decide what a backend is told by this name.
    pub(crate) fn decide_for_backend(&self, name: &str) -> bool {
        self.requests().iter().any(|edits| decides(&edits.headers, name))
    }

    /// Whether they decide what a client is told by this name.
    pub(crate) fn decide_for_client(&self, name: &str) -> bool {
        self.responses().iter().any(|edits| decides(&edits.headers, name))
    }
}

/// What may come behind a request's body in which these change something.
pub(crate) fn behind_body(mut trailers: HeaderMap, layers: Option<&Layers>) -> HeaderMap {
    let is_decided = |name: &str| layers.is_some_and(|layers| layers.decide_for_backend(name));
    headers::trailers(&mut trailers, is_decided);
    trailers
}

/// Whether a header is removed or set, as CGI and WSGI read it, to which `_` is as good as `-`.
fn decides(edits: &HeaderEdits, name: &str) -> bool {
    edits.decided().any(|known| reads_as(name, known))
}
