//! What one worker does for all of a process, until the last of them has ended.

use std::sync::{Arc, PoisonError};

use tokio::task::{JoinHandle, spawn_local};

use crate::discovery;
use crate::gateway::Gateway;
use crate::probe;

/// What goes on beside the traffic.
pub(crate) struct Duties {
    checking: JoinHandle<()>,
    exporting: JoinHandle<()>,
    finding: JoinHandle<()>,
}

impl Duties {
    /// Begins all of it. Must run inside a `LocalSet`.
    pub(crate) fn begin(gateway: &Arc<Gateway>) -> Self {
        let spans = Arc::clone(gateway);
        Self {
            checking: spawn_local(probe::run(Arc::clone(gateway))),
            exporting: spawn_local(async move { export_spans(&spans).await }),
            finding: spawn_local(discovery::run(Arc::clone(gateway))),
        }
    }

    /// Ends it.
    pub(crate) fn end(&self) {
        self.checking.abort();
        self.exporting.abort();
        self.finding.abort();
    }
}

/// Takes spans to whoever the configuration names, for as long as it is polled.
async fn export_spans(gateway: &Gateway) {
    let export = gateway.export.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut export) = export else { return };
    let mut snapshots = gateway.snapshots();
    loop {
        let to = snapshots.borrow_and_update().config.tracing.clone();
        let exporting = async {
            match &to {
                Some(to) => export.run(&*gateway.platform, to).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            changed = snapshots.wait_for(|next| next.config.tracing != to) => {
                changed.expect("the gateway is held here");
            }
            () = exporting => return,
        }
    }
}
