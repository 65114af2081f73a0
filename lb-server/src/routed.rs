//! A request with the route that takes it: what is changed in it, and in its answer.
//!
//! What changes is decided in `lb_core`; here the changes are made. Of a request that nothing changes,
//! nothing is kept.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use http::{Method, Response, StatusCode, response};
use http_body_util::Full;
use hyper::ext::ReasonPhrase;
use lb_core::config::{Action, HeaderEdits, RequestEdits, Values};
use lb_core::edit::{self, Change};
use lb_core::{BackendId, Facts, Match, Request, Scheme};

use crate::asking::{Asking, path};
use crate::error::Problem;
use crate::forwarded::reads_as;
use crate::headers::{self, Added, Forward, X_REQUEST_ID};
use crate::layers::Layers;
use crate::request_id::RequestId;
use crate::snapshot::Site;

/// A request on its way to a service.
pub(crate) struct Routed<'v> {
    pub(crate) found: Match<'v>,
    pub(crate) site: &'v Site,
    id: RequestId,
    /// What is changed, if anything is.
    pub(crate) layers: Option<Layers>,
    /// As the client sent it, where something is changed, or dots in its path were followed.
    original: Option<Box<Original>>,
}

/// What templates may say of a request.
struct Original {
    method: Method,
    uri: Uri,
    host: String,
    client: Option<IpAddr>,
    scheme: Scheme,
}

impl<'v> Routed<'v> {
    pub(crate) fn new(
        found: Match<'v>,
        site: &'v Site,
        asking: &Asking<'_>,
        id: RequestId,
    ) -> Self {
        let layers = Layers::new(&found.route().edits, &site.edits);
        let is_kept = layers.is_some() || found.followed(asking).is_some();
        // In a box: of most requests there is none.
        let original = || Original {
            method: asking.head.method.clone(),
            uri: asking.head.uri.clone(),
            host: asking.host.to_owned(),
            client: asking.client(),
            scheme: asking.scheme,
        };
        let original = is_kept.then(|| Box::new(original()));
        Self { found, site, id, layers, original }
    }

    /// Whether the edits say what a backend sees as `Host`.
    pub(crate) fn says_host(&self) -> bool {
        self.layers.as_ref().is_some_and(|layers| edit::host(&layers.requests()).is_some())
    }

    /// Makes the request a backend's. What it is told besides stays beside a head that nobody changes or
    /// copies.
    pub(crate) fn tell_backend(
        &self,
        head: &mut Parts,
        host: &str,
        forward: &Forward<'_>,
    ) -> Option<Added> {
        if self.original.is_none() && self.found.route().mirror.is_none() {
            return headers::apart(head, host, forward);
        }
        headers::to_backend(head, host, forward);
        None
    }

    /// Changes the request, on its way to a backend.
    pub(crate) fn edit_request(&self, head: &mut Parts) -> Result<(), Problem> {
        let Some(original) = &self.original else { return Ok(()) };
        let values = self.values(original, "");
        let layers = self.layers.as_ref().map(Layers::requests);
        let layers = layers.as_ref().map_or(&[][..], |layers| &layers[..]);
        if head.method != Method::CONNECT {
            edit_target(head, layers, &values)?;
        }
        for layer in layers {
            remove_lookalikes(&mut head.headers, &layer.headers);
            change(&mut head.headers, &layer.headers, &values);
        }
        headers::join_cookies(&mut head.headers);
        Ok(())
    }

    /// Changes the answer of `backend`, on its way to the client.
    pub(crate) fn edit_answer(&self, head: &mut response::Parts, backend: BackendId) {
        let (Some(layers), Some(original)) = (&self.layers, &self.original) else { return };
        let values = self.values(original, self.site.service.backend(backend.backend).name());
        for edits in layers.responses() {
            // Whether a tunnel stands is for the backend to say, and the status says it.
            if original.method != Method::CONNECT {
                let status = edits.status(head.status.as_u16());
                if head.status != status {
                    // Its words are those of the other.
                    head.extensions.remove::<ReasonPhrase>();
                }
                head.status = StatusCode::from_u16(status).expect("it is within 200..=599");
            }
            change(&mut head.headers, &edits.headers, &values);
        }
    }

    /// Changes the headers of our own answer, but for those that say what it is and what follows from it: what
    /// is meant for a backend's answer, such as how long it may be kept, is not meant for an error.
    pub(crate) fn edit_own_answer(&self, headers: &mut HeaderMap) {
        let (Some(layers), Some(original)) = (&self.layers, &self.original) else { return };
        let own = headers.clone();
        let values = self.values(original, "");
        layers.responses().iter().for_each(|edits| change(headers, &edits.headers, &values));
        for (name, value) in &own {
            headers.insert(name, value.clone());
        }
    }

    fn values<'r>(&'r self, original: &'r Original, backend: &'r str) -> Values<'r> {
        Values {
            request: original,
            found: &self.found,
            request_id: &self.id,
            service: self.site.service.name(),
            backend,
        }
    }
}

/// The answer that a route gives itself; `None` if it leads to a service.
pub(crate) fn answer(
    found: &Match<'_>,
    asking: &Asking<'_>,
    id: RequestId,
    date: HeaderValue,
) -> Option<Result<Response<Full<Bytes>>, Problem>> {
    let values = Values { request: asking, found, request_id: &id, service: "", backend: "" };
    let mut response = Response::new(Full::default());
    match &found.route().action {
        Action::Service(_) => return None,
        Action::Redirect { to, status } => {
            // Without a host of its own there is nowhere to send it.
            let Some(to) = to.fill(&values) else { return Some(Err(Problem::NoHost)) };
            let to = HeaderValue::try_from(to).expect("templates fill in visible ASCII");
            response.headers_mut().insert(header::LOCATION, to);
            *response.status_mut() = status_of(*status);
        }
        Action::Respond { status, body, content_type } => {
            if !content_type.is_empty() {
                let kind = HeaderValue::from_str(content_type);
                let kind = kind.expect("lb-config has looked at it");
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
            }
            *response.status_mut() = status_of(*status);
            if asking.head.method == Method::HEAD && edit::has_body(*status) {
                let length = headers::written(&body.len());
                response.headers_mut().insert(header::CONTENT_LENGTH, length);
            } else {
                *response.body_mut() = Full::from(body.clone());
            }
        }
    }
    change(response.headers_mut(), &found.route().edits.response.headers, &values);
    response.headers_mut().insert(header::DATE, date);
    response.headers_mut().insert(X_REQUEST_ID, id.header());
    Some(Ok(response))
}

/// Changes path, query and `Host`. The target of a CONNECT has the first two not, and is the third.
fn edit_target(
    head: &mut Parts,
    layers: &[&RequestEdits],
    values: &Values<'_>,
) -> Result<(), Problem> {
    if let Some(target) = edit::target(layers, values).map_err(|_| Problem::TargetTooLong)? {
        let target = PathAndQuery::try_from(target).map_err(|_| Problem::TargetTooLong)?;
        head.uri = Uri::from(target);
    }
    if let Some(host) = edit::host(layers) {
        let host = HeaderValue::from_str(host).expect("lb-config has looked at it");
        head.headers.insert(header::HOST, host);
    }
    Ok(())
}

fn status_of(said: u16) -> StatusCode {
    StatusCode::from_u16(said).expect("lb-config has looked at it")
}

/// Removes what a backend may take for a header that is removed or set, so that no client says it instead.
fn remove_lookalikes(headers: &mut HeaderMap, edits: &HeaderEdits) {
    let is_like = |name: &str| edits.decided().any(|known| name != known && reads_as(name, known));
    let found = headers.keys().map(HeaderName::as_str).filter(|name| name.contains('_'));
    let found: Vec<String> = found.filter(|name| is_like(name)).map(str::to_owned).collect();
    for name in found {
        headers.remove(name);
    }
}

fn change(headers: &mut HeaderMap, edits: &HeaderEdits, values: &Values<'_>) {
    let value =
        |text: String| HeaderValue::try_from(text).expect("templates fill in visible ASCII");
    for (name, change) in edits.changes(values) {
        let name = HeaderName::try_from(name).expect("lb-config has looked at it");
        match change {
            Change::Remove => drop(headers.remove(name)),
            Change::Set(text) => drop(headers.insert(name, value(text))),
            Change::Append(text) => drop(headers.append(name, value(text))),
        }
    }
}

impl Request for Original {
    fn method(&self) -> &str {
        self.method.as_str()
    }

    fn host(&self) -> &str {
        &self.host
    }

    fn scheme(&self) -> Scheme {
        self.scheme
    }
}

impl Facts for Original {
    fn client(&self) -> Option<IpAddr> {
        self.client
    }

    /// Templates say nothing of headers.
    fn header(&self, _name: &str) -> Option<&[u8]> {
        None
    }

    fn path(&self) -> &str {
        path(&self.method, &self.uri)
    }

    fn query(&self) -> Option<&str> {
        self.uri.query()
    }
}
