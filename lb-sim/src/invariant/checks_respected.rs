//! No request goes to a backend that health checks have taken out, but in panic.

use lb_core::{Event, Role};

use super::{Invariant, Judge};
use crate::ledger::Ledger;
use crate::log::{Entry, What};

pub(super) struct ChecksRespected;

impl Invariant for ChecksRespected {
    fn name(&self) -> &'static str {
        "no traffic to the unhealthy"
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        let What::Core(Event::Attempted { exchange, backend, choice, .. }) = entry.what else {
            return;
        };
        if ledger.service(backend.service).core.probe.is_none() {
            return;
        }
        let healthy = !ledger.unhealthy.contains(&backend);
        judge.check(healthy || choice.role == Role::Panic, || {
            format!("exchange {} reaches {}, which is unhealthy", exchange.0, ledger.name(backend))
        });
    }
}
