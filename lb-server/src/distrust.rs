//! Why TLS with a backend fails, or a client's certificate is refused: an exchange says that it did
//! (`tls_failed`), or a counter, and the operator is told why, with what to do, and not each time.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lb_core::{Failure, Time};

use crate::gateway::Gateway;
use crate::snapshot::Endpoint;
use crate::tls::{HandshakeError, Why};

/// How long nothing more is said of a backend, or for a reason, of which something was said.
const QUIET: Duration = Duration::from_secs(60);

/// When something was said, in microseconds of the gateway's time; 0 is never.
#[derive(Default)]
pub(crate) struct Said(AtomicU64);

impl Said {
    /// Whether something may be said at `now`. It is, then, and for one who asks.
    pub(crate) fn may(&self, now: Time) -> bool {
        let last = self.0.load(Ordering::Relaxed);
        let is_quiet = last != 0 && now < Time::from_micros(last) + QUIET;
        !is_quiet && self.0.swap(now.as_micros().max(1), Ordering::Relaxed) == last
    }
}

/// Tells the operator of a handshake that failed. Returns what it makes of the attempt.
pub(crate) fn distrusted(gateway: &Gateway, endpoint: &Endpoint, why: &HandshakeError) -> Failure {
    if endpoint.said.may(gateway.now()) {
        let (origin, remedy) = (&endpoint.origin, remedy(why.why));
        let said = || format!("backend https://{}:{}: {why}; {remedy}", origin.host, origin.port);
        gateway.announce(said);
    }
    why.failure()
}

/// Tells the operator of a backend that refused the proxy after the handshake.
pub(crate) fn refused(gateway: &Gateway, endpoint: &Endpoint) {
    let detail = "it wants another certificate of the proxy's, or one at all".to_owned();
    distrusted(gateway, endpoint, &HandshakeError { why: Why::Refused, detail });
}

/// Tells the operator of a client that was refused for its certificate, at most once a minute for each
/// reason: anybody can bring that about.
pub(crate) fn turned_away(gateway: &Gateway, peer: Option<SocketAddr>, why: &HandshakeError) {
    let remedy = match why.why {
        Why::NotTrusted => "if it is to be let in, name who vouches for it in ca of client_auth",
        Why::Expired => "renew its certificate, or check the clocks",
        Why::NoCertificate => "give it a certificate, or say mode = \"optional\" in client_auth",
        Why::WrongName
        | Why::Refused
        | Why::Incompatible
        | Why::NotTls
        | Why::Broken
        | Why::Closed => return,
    };
    if gateway.turned_away[why.why as usize].may(gateway.now()) {
        let who = peer.map_or_else(|| "a client".to_owned(), |peer| format!("client {peer}"));
        gateway.announce(|| format!("{who}: {why}; {remedy}"));
    }
}

/// What the operator can do about it.
const fn remedy(why: Why) -> &'static str {
    match why {
        Why::NotTrusted => "name who vouches for it in ca of [service.tls]",
        Why::WrongName => {
            "name whom it proves to be in server_name of [service.tls], or correct its url"
        }
        Why::Expired => "renew its certificate, or check the clocks",
        Why::NoCertificate => "give the backend a certificate",
        Why::Refused => {
            "if it asks for a certificate, name the proxy's in cert and key of [service.tls]"
        }
        Why::Incompatible => {
            "compare min_version of [service.tls] and protocol with what it speaks"
        }
        Why::NotTls => "write http:// in its url, or another port",
        Why::Broken | Why::Closed => "look into its own log",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_spoken_of_once_a_minute() {
        let said = Said::default();
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        let may = [0, 0, 59, 60, 61, 119, 121].map(|seconds| said.may(at(seconds)));
        assert_eq!(may, [true, false, false, false, true, false, true]);
    }
}
