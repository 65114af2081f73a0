//! What must not be carried out twice is not sent again once a backend may have acted on it.
//!
//! Origins write down every request that reaches them and what they will answer. An edge that
//! answers 521, 522, 523, 525 or 526 says by it that nobody acted. The list is written down here
//! once more, since the core's own table is what is being judged.

use std::collections::BTreeSet;

use lb_core::ExchangeId;
use lb_core::config::Methods;

use super::{Invariant, Judge};
use crate::ledger::Ledger;
use crate::log::{Entry, What};

#[derive(Default)]
pub(super) struct NoDuplicates {
    /// POST exchanges that some origin may have acted on.
    acted: BTreeSet<ExchangeId>,
}

impl Invariant for NoDuplicates {
    fn name(&self) -> &'static str {
        "nothing non-idempotent is sent twice"
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        let What::Reached { exchange, post: true, status, origin, .. } = entry.what else { return };
        // A service may say that it recognises what it has seen.
        let service = ledger.exchanges.get(&exchange).map(|known| ledger.service(known.service));
        if service.is_some_and(|service| service.core.retry.methods == Methods::Any) {
            return;
        }
        judge.check(!self.acted.contains(&exchange), || {
            format!("the POST of exchange {} reaches origin {origin} as well", exchange.0)
        });
        let nobody_acted = matches!(status, 521 | 522 | 523 | 525 | 526);
        if !nobody_acted {
            self.acted.insert(exchange);
        }
    }
}
