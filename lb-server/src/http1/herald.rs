//! What a client of HTTP/1.1 is told before its answer (RFC 9110 §15.2): that we take its body, and what its
//! backend has to say meanwhile, such as 103 (Early Hints, RFC 8297).

use std::rc::Rc;

use http::{StatusCode, response};

use super::{lane::Lane, write};
use crate::headers;
use crate::layers::Layers;

/// Whoever tells the client of the request that is being answered.
#[derive(Clone)]
pub(crate) struct Herald {
    pub(super) lane: Rc<Lane>,
    pub(super) turn: u64,
    /// What is changed in the answer, if anything is.
    pub(super) layers: Option<Layers>,
}

/// Bytes that wait for a client that does not listen: what comes on top of them is not told.
const UNTOLD_BYTES_MAX: usize = 64 * 1024;

impl Herald {
    /// An interim answer of a backend goes on. What it says to us alone does not: that it takes the body,
    /// which we have asked for, and that it switches, which is for whoever asked for that.
    pub(crate) fn tell(&self, interim: &response::Parts) {
        let is_ours =
            matches!(interim.status, StatusCode::CONTINUE | StatusCode::SWITCHING_PROTOCOLS);
        let mut untold = self.lane.untold.borrow_mut();
        let is_current = self.lane.turn.get() == self.turn && !self.lane.is_over.get();
        if is_ours || !is_current || untold.len() > UNTOLD_BYTES_MAX {
            return;
        }
        write::status_line(b"HTTP/1.1 ", interim.status, &interim.extensions, &mut untold);
        let layers = self.layers.as_ref();
        let is_decided = |name: &str| layers.is_some_and(|it| it.decide_for_client(name));
        write::fields(&headers::ahead(&interim.headers, is_decided), &mut untold);
        untold.extend_from_slice(b"\r\n");
    }
}
