//! What one worker does for all of a process, until the last of them has ended.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;

use crate::discovery;
use crate::distrust::Said;
use crate::gateway::Gateway;
use crate::probe;
use crate::shutdown::{Member, Phase, Shutdown};

/// How long the last spans may take to be exported when everything else has ended.
const LAST_SPANS_TIMEOUT: Duration = Duration::from_secs(5);

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

    /// Ends it, and the spans that wait last: those of the other workers as well, and for a bounded time
    /// or until the process stops at once.
    pub(crate) async fn end(self, gateway: &Gateway, member: &Member, shutdown: &mut Shutdown) {
        self.checking.abort();
        self.finding.abort();
        let mut exporting = self.exporting;
        let exported = async {
            member.is_last().await;
            gateway.exporter.close();
            // Whether it ended or panicked, what still waits is counted.
            let _ended = (&mut exporting).await;
        };
        tokio::select! {
            biased;
            () = exported => {}
            () = sleep(LAST_SPANS_TIMEOUT) => {}
            () = shutdown.reached(Phase::Stopping) => {}
        }
        exporting.abort();
        let lost = gateway.exporter.give_up();
        if lost > 0 {
            gateway.announce(|| {
                format!("warning: the last {lost} spans are lost: no collector took them in time")
            });
        }
    }
}

/// Takes spans to whoever the configuration names, until it is said that no more will come.
async fn export_spans(gateway: &Gateway) {
    let export = gateway.export.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut export) = export else { return };
    let (mut snapshots, said) = (gateway.snapshots(), Said::default());
    loop {
        let to = snapshots.borrow_and_update().config.tracing.clone();
        let exporting = async {
            let Some(to) = &to else { return export.is_over().await };
            let tells = |why: &str| {
                if said.may(gateway.now()) {
                    let (host, port) = (&to.endpoint.host, to.endpoint.port);
                    gateway.announce(|| format!(
                        "warning: spans are lost: the collector at {host}:{port} {why}; look into its log, \
                         and at endpoint of [tracing]"
                    ));
                }
            };
            export.run(&*gateway.platform, to, &tells).await;
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
