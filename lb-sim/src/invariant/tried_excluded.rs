//! A backend that was tried is not tried again while another one of the service is fit.

use lb_core::{Event, How, Role};

use super::moves::Moves;
use super::{Invariant, Judge};
use crate::ledger::Ledger;
use crate::log::{Entry, Topics, What};
use crate::scenario::Scenario;

#[derive(Default)]
pub(super) struct TriedExcluded {
    moves: Moves,
}

impl Invariant for TriedExcluded {
    fn name(&self) -> &'static str {
        "tried backends are excluded"
    }

    fn wants(&self, _scenario: &Scenario) -> Topics {
        Topics::ATTEMPTED.and(Topics::BACKEND)
    }

    fn on(&mut self, entry: &Entry, ledger: &Ledger<'_>, judge: &mut Judge) {
        self.moves.enter(entry);
        let What::Core(Event::Attempted { exchange: id, backend, choice, .. }) = entry.what else {
            return;
        };
        let Some(exchange) = ledger.exchanges.get(&id) else { return };
        let tried = |backend| exchange.attempts.iter().any(|it| it.backend == backend);
        if exchange.attempts.is_empty() {
            return;
        }
        judge.check(choice.again == tried(backend) || choice.role == Role::Panic, || {
            let name = ledger.name(backend);
            format!("exchange {} is wrong about whether it tried {name} before", id.0)
        });
        let serving = ledger.serving(exchange).into_iter();
        let mut fresh = serving.filter(|other| ledger.is_fit(*other) && !tried(*other));
        let same = choice.how == How::Same;
        if same || !tried(backend) {
            return judge.check(true, String::new);
        }
        // Who is as busy as he may be cannot be asked.
        let most = ledger.service(backend.service).core.limits.per_backend;
        let has_room = |other| most.is_none_or(|most| ledger.in_flight(other) < most as usize);
        // Who began before a reload is told of nobody who is back since; he looks himself, by and by.
        let outlives = exchange.reloads < ledger.loaded;
        let knows = |other| !outlives || self.moves.is_settled(other, entry.at);
        let fresh = fresh.find(|other| has_room(*other) && knows(*other));
        judge.check(fresh.is_none(), || {
            let (name, fresh) = (ledger.name(backend), fresh.map(|fresh| ledger.name(fresh)));
            let fresh = fresh.unwrap_or_default();
            format!("exchange {} tries {name} again while {fresh} is fit", id.0)
        });
    }
}
