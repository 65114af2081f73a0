//! What a platform may answer about names, beyond the addresses to dial: records and how long they hold.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use lb_config::config::Family;

use super::Local;

/// Answers about names. An answer without records is one: there is no such name, or nothing of the kind
/// at it. An error is none.
pub trait Resolve {
    /// The addresses of a name.
    fn addresses<'r>(
        &'r self,
        name: &'r str,
        family: Family,
    ) -> Local<'r, io::Result<Answer<IpAddr>>>;
    /// The SRV records of a name (RFC 2782).
    fn targets<'r>(&'r self, name: &'r str) -> Local<'r, io::Result<Answer<Target>>>;
}

/// Records, and how long they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// In no particular order.
    pub records: Vec<T>,
    /// How long the shortest-lived of them holds.
    pub ttl: Duration,
}

/// An SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// A host name without its last dot; empty where the service is decidedly not available.
    pub host: String,
    /// The port there.
    pub port: u16,
    /// Lower ones are to be asked first.
    pub priority: u16,
    /// The share among those of the same priority.
    pub weight: u16,
    /// Where the host is, if that was asked as well: it may be known to nobody else.
    pub at: Option<IpAddr>,
    /// Why nobody knows where it is, though that was asked.
    pub trouble: Option<String>,
}
