//! An answer is whole or is seen to break off. What a backend broke off, and the proxy ended as if
//! nothing were missing, is the one mistake that no client can find out by itself.

use super::{Invariant, Judge};
use crate::ledger::Ledger;
use crate::log::{End, Entry, Topics, What};
use crate::scenario::Scenario;

pub(super) struct AnswersWhole;

impl Invariant for AnswersWhole {
    fn name(&self) -> &'static str {
        "no answer is passed off as whole"
    }

    fn wants(&self, _scenario: &Scenario) -> Topics {
        Topics::ENDED
    }

    fn on(&mut self, entry: &Entry, _ledger: &Ledger<'_>, judge: &mut Judge) {
        let What::Ended { request, end, .. } = entry.what else { return };
        if let End::Answered(_) | End::PassedOff(_) = end {
            judge.check(!matches!(end, End::PassedOff(_)), || {
                format!("request {request} was told that its answer is whole, and it is not")
            });
        }
    }
}
