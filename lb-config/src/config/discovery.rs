//! Where backends are found, and where what was learned about them is kept.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use lb_core::config::BackendConfig;

use super::Origin;
use crate::address::BackendUrl;

/// Where backends of a pool are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// The place of the pool in `core.pools`. What is found comes after the backends that stand there.
    pub pool: usize,
    /// Who is asked.
    pub source: DiscoverySource,
    /// The shortest and the longest time from one look to the next. A file is looked at in the shorter.
    pub refresh: RangeInclusive<Duration>,
    /// Whether an answer without a backend is believed.
    pub accepts_empty: bool,
}

/// Who is asked where backends are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiscoverySource {
    /// The addresses of a name: each is a backend.
    Dns {
        /// The name, and what all of its addresses have in common.
        url: BackendUrl,
        /// Of what kind.
        family: Family,
    },
    /// The SRV records of a name (RFC 2782): each target is a backend.
    Srv {
        /// The name.
        name: String,
        /// Which of them.
        priority: Priority,
    },
    /// A file with a list of backends.
    File {
        /// Its path.
        path: PathBuf,
        /// How it is written.
        format: Format,
    },
}

/// Which addresses of a name are backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// All.
    Any,
    /// IPv4 (A records).
    V4,
    /// IPv6 (AAAA records).
    V6,
}

/// Which SRV records of a name are backends of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Those of the lowest priority number, which are to be asked first.
    First,
    /// Those of all higher ones, for a pool behind.
    Others,
    /// All of them alike.
    All,
}

/// How a file with a list of backends is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON (RFC 8259).
    Json,
    /// TOML.
    Toml,
}

/// A backend that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What the core knows of it.
    pub backend: BackendConfig,
    /// Where it is.
    pub origin: Origin,
}

/// Who is asked about names: of backends, and of lists of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Name servers. Empty leaves it to the system (`/etc/resolv.conf`, and the hosts file).
    pub servers: Vec<SocketAddr>,
    /// How long one answer may take.
    pub timeout: Duration,
    /// How long the addresses of a backend's name serve after they ran out, if there is no new answer.
    pub stale_max: Duration,
}

/// Where what was learned about backends outlives the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The path of the file.
    pub file: PathBuf,
    /// How old it may be when it is read.
    pub max_age: Duration,
    /// How often it is written.
    pub every: Duration,
}

impl State {
    /// How old what was learned may be, unless said otherwise.
    pub const MAX_AGE: Duration = Duration::from_secs(300);
}
