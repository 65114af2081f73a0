//! What must not be carried out twice is not sent again once a backend may have acted on it.
//!
//! Origins write down every request that reaches them and what they will answer. An edge that
//! answers 521, 522, 523, 525 or 526 says by it that nobody acted. The list is written down here
//! once more, since the core's own table is what is being judged.

use lb_core::config::Methods;

use super::{Invariant, Judge};
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::scenario::Scenario;

pub(super) struct NoDuplicates;

/// Whether an origin that answers with `status` may have acted on the request.
pub(crate) fn may_have_acted(status: u16) -> bool {
    !matches!(status, 521 | 522 | 523 | 525 | 526)
}

impl Invariant for NoDuplicates {
    fn name(&self) -> &'static str {
        "nothing non-idempotent is sent twice"
    }

    fn wants(&self, _scenario: &Scenario) -> Topics {
        Topics::REACHED
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        let What::Reached { exchange, post: true, origin, .. } = entry.what else { return };
        // Of whom the ledger has forgotten nothing can be said any more: he ended long ago.
        let Some(known) = ledger.exchanges.get(&exchange) else { return };
        // A service may say that it recognises what it has seen.
        if ledger.service(known.service).core.retry.methods == Methods::Any {
            return;
        }
        judge.check(!known.acted, || {
            format!("the POST of exchange {} reaches origin {origin} as well", exchange.0)
        });
    }
}
