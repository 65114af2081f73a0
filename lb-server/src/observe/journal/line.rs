//! An exchange as a line of the access log.

use std::net::SocketAddr;

use serde::Serialize;

use crate::observe::made::Made;
use crate::observe::why::AttemptLine;

/// One line of the access log.
#[derive(Serialize)]
pub(super) struct Line<'l> {
    pub(super) time: String,
    pub(super) request_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_request_id: Option<&'l str>,
    pub(super) client: Option<String>,
    /// The proxy that is connected, where `client` is who it speaks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) peer: Option<SocketAddr>,
    pub(super) method: Option<&'l str>,
    pub(super) host: Option<&'l str>,
    pub(super) path: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) route: Option<&'l str>,
    pub(super) service: Option<&'l str>,
    pub(super) status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) end: Option<&'static str>,
    pub(super) duration_ms: f64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) queued: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retry_withheld: Option<&'static str>,
    pub(super) attempts: Vec<AttemptLine<'l>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) choices: &'l [Made],
}
