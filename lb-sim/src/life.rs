//! What is done to the proxy while it serves: another configuration, a call to drain.
//!
//! It happens on the proxy's own host, in the midst of its tasks, as a signal's handler does it in the
//! binary.

use std::rc::Rc;
use std::sync::Arc;

use lb_server::Gateway;
use lb_server::shutdown::Trigger;
use tokio::time::{Instant, sleep_until};

use crate::log::{Log, What};
use crate::scenario::{Action, ActionKind};

/// Whoever holds the reins of a proxy.
pub(crate) struct Life {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) trigger: Rc<Trigger>,
    pub(crate) log: Log,
}

impl Life {
    /// Does each of `actions` at its time. The proxy's host starts with the world.
    pub(crate) async fn lead(self, actions: Vec<Action>) {
        let (start, mut reloads) = (Instant::now(), 0);
        for Action { at, kind } in actions {
            sleep_until(start + at).await;
            match kind {
                ActionKind::Reload(config) => {
                    reloads += 1;
                    self.log.write(What::Reloaded(reloads));
                    self.log.reloads(self.gateway.now());
                    let reloaded = self.gateway.reload(*config);
                    reloaded.expect("what lb-config lets pass can be served");
                    self.log.knows(self.gateway.snapshot());
                }
                ActionKind::Drain => {
                    self.log.write(What::DrainBegan);
                    self.trigger.drain();
                }
            }
        }
    }
}
