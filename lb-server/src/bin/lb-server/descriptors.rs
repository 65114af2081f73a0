//! How many files and sockets the process may have open.

use lb_config::Config;
use lb_server::platform::{PIPES_MAX, SPARE_PIPES_MAX};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::process::cores;
use crate::say;

/// Descriptors beside those of clients and of connections to backends that carry a request: listeners,
/// idle connections to backends, the log, the runtime's own.
const OTHERS: u64 = 256;

/// Raises the limit to what may be had without a privilege, and returns it.
pub(crate) fn raise() -> Option<u64> {
    let complaint = |why: String| {
        say(&format!("lb-server: warning: the limit on open files cannot be raised: {why}"));
    };
    let (soft, hard) = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok(limits) => limits,
        Err(error) => {
            complaint(error.to_string());
            return None;
        }
    };
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => Some(hard),
        Err(error) => {
            complaint(format!("{error}; it stays {soft}"));
            Some(soft)
        }
    }
}

/// Warns if `limit` is less than what the configuration lets clients ask for.
pub(crate) fn warn_if_few(limit: Option<u64>, config: &Config) {
    let connections = config.server.connections_max as u64;
    let workers =
        if config.server.splice { config.server.workers.unwrap_or_else(cores) as u64 } else { 0 };
    let (most, spare) = (PIPES_MAX as u64 * workers, SPARE_PIPES_MAX as u64 * workers);
    // Each client may have a request at a backend, and a piece of its answer in a pipe.
    let pipes = 2 * most.min(connections.saturating_add(spare));
    let needed = connections.saturating_mul(2).saturating_add(OTHERS + pipes);
    let Some(limit) = limit.filter(|limit| *limit < needed) else { return };
    let left = limit.saturating_sub(OTHERS);
    let (all, each) = (left.saturating_sub(2 * most) / 2, left.saturating_sub(2 * spare) / 4);
    let or = match all.max(each) {
        0 => String::new(),
        fit => format!(" or set connections_max = {fit}"),
    };
    say(&format!(
        "lb-server: warning: {limit} open files are too few for connections_max = {connections}, \
         which may need {needed}: accepting will pause when they run out; raise the limit \
         (ulimit -Hn {needed}, or LimitNOFILE={needed} for systemd){or}"
    ));
}
