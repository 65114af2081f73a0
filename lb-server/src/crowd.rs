//! How many connections each client has open.
//!
//! All workers share one count, since the kernel spreads a client's connections among them. It is behind
//! a lock that is held for a look into a tree, once when a connection opens and once when it closes.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lb_core::network_of;

use crate::forwarded::trusts;
use crate::view::View;

/// The clients that have connections open, of which there are at most as many as connections.
#[derive(Debug, Default)]
pub(crate) struct Crowd(Mutex<BTreeMap<IpAddr, usize>>);

/// A connection of a client. Dropping it takes it off the count.
#[derive(Debug)]
pub(crate) struct Share {
    crowd: Arc<Crowd>,
    client: IpAddr,
}

/// A client has as many connections open as it may.
pub(crate) struct Crowded;

/// What a client at this address has of those that it may have open. A proxy stands for all of its clients.
pub(crate) fn share(view: &View, client: SocketAddr) -> Result<Option<Share>, Crowded> {
    if trusts(&view.config.trust, client.ip()) {
        return Ok(None);
    }
    let most = view.config.server.connections_per_client_max;
    view.gateway.crowd.enter(client, most).map(Some).ok_or(Crowded)
}

impl Crowd {
    /// One more connection of the client at `peer`, which may have `most`; `None`: it has them.
    fn enter(self: &Arc<Self>, peer: SocketAddr, most: usize) -> Option<Share> {
        let client = network_of(peer.ip());
        let mut counts = self.counts();
        let count = counts.entry(client).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Share { crowd: Arc::clone(self), client })
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut counts = self.crowd.counts();
        let count = counts.get_mut(&self.client).expect("it was counted when it came");
        *count -= 1;
        if *count == 0 {
            counts.remove(&self.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_its_own_count_which_its_connections_give_back() {
        let crowd = Arc::<Crowd>::default();
        let enter = |peer: &str| crowd.enter(peer.parse().unwrap(), 2);
        let first = enter("192.0.2.1:1").unwrap();
        // The same one, as an IPv6 socket sees it.
        let second = enter("[::ffff:192.0.2.1]:2").unwrap();
        assert!(enter("192.0.2.1:3").is_none() && enter("192.0.2.2:1").is_some());
        drop(first);
        let third = enter("192.0.2.1:3").unwrap();
        drop((second, third));
        let network = [enter("[2001:db8::1]:1"), enter("[2001:db8::ffff:2]:1")];
        assert!(network.iter().all(Option::is_some) && enter("[2001:db8::3]:1").is_none());
        assert!(enter("[2001:db8:0:1::1]:1").is_some());
        drop(network);
        assert!(crowd.counts().is_empty(), "nobody is remembered");
    }
}
