//! Health checks, carried out as the core says: each on a connection of its own, beside the requests.

use std::collections::BTreeMap;

use lb_core::config::{ProbeConfig, ProbeKind};
use lb_core::{Checked, Found, Outcome, Rng, Then, Time};

use crate::dice::CHECKS;
use crate::log::Sink;

use super::Engine;
use super::agenda::Due;
use super::fate::{Deadlines, Place};
use super::stage::Made;

/// The checks of one backend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check {
    service: usize,
    backend: u16,
    /// How many there were, and when this one was due.
    round: u64,
    began: Time,
    /// What it finds, when that was asked, and when it is known.
    found: Option<(Found, Time, Time)>,
}

impl<S: Sink> Engine<'_, S> {
    /// Checks are due as the configuration says that is served from now on. Whoever was checked before
    /// keeps its turn, and a check that is under way goes on if it would be the same one.
    pub(super) fn schedule_checks(&mut self, before: Option<usize>) {
        let known: BTreeMap<(String, String), (Check, usize)> = before
            .into_iter()
            .flat_map(|era| self.checks.iter().map(move |check| (era, check)))
            .map(|(era, check)| {
                let service = &self.stage.eras[era].made().services[check.service];
                let backend = service.backend(check.backend).name().to_owned();
                ((service.name().to_owned(), backend), (*check, era))
            })
            .collect();
        self.agenda.clear_checks();
        self.checks.clear();
        let made = self.stage.eras[self.era].made();
        let since = self.now;
        for (index, service) in made.services.iter().enumerate() {
            for member in service.backends() {
                let backend = member.id().backend;
                let Some(first) = service.first_check(backend, since) else { continue };
                let names = (service.name().to_owned(), member.name().to_owned());
                let new = Check { service: index, backend, round: 0, began: first, found: None };
                let check = known.get(&names).map_or(new, |(check, era)| {
                    let before = self.stage.eras[*era].made();
                    let origin =
                        |made: &Made, it: &Check| made.origins[it.service][usize::from(it.backend)];
                    let same = before.services[check.service].probe() == service.probe()
                        && origin(before, check) == origin(made, &new);
                    let found = check.found.filter(|_| same);
                    Check { found, began: check.began, round: check.round, ..new }
                });
                let at = check.found.map_or(check.began, |(.., at)| at).max(self.now);
                let began = if check.found.is_some() { check.began } else { at };
                let number = u32::try_from(self.checks.len()).expect("backends have 16 bits");
                self.agenda.put(at, Due::Check(number));
                self.checks.push(Check { began, ..check });
            }
        }
    }

    /// A check begins, or has found something.
    pub(super) fn check(&mut self, number: u32) {
        let check = self.checks[number as usize];
        let era = &self.stage.eras[self.era];
        let made = era.made();
        let service = &made.services[check.service];
        let config = service.probe().expect("a check was due");
        let deadline = check.began + config.timeout;
        let origin = made.origins[check.service][usize::from(check.backend)];
        let Some((found, asked, _)) = check.found else {
            let dice = Rng::stream(self.seed ^ CHECKS, (u64::from(number) << 40) ^ check.round);
            return self.ask(number, origin, config, deadline, dice);
        };
        let Check { round, began, backend, .. } = check;
        let checked = Checked { round, began, took: self.now - asked, found };
        match service.checked(backend, checked, self.now, &era.told) {
            // Whatever is asked for, an origin answers all the same.
            Then::Ask(_) => {
                let dice = Rng::stream(self.seed ^ CHECKS, (u64::from(number) << 40) ^ round);
                self.ask(number, origin, config, deadline, dice);
            }
            Then::Wait(until) => {
                let next = Check { round: round + 1, began: until, found: None, ..check };
                self.checks[number as usize] = next;
                self.agenda.put(until, Due::Check(number));
            }
        }
    }

    fn ask(&mut self, number: u32, origin: usize, config: &ProbeConfig, deadline: Time, dice: Rng) {
        let (at, found) = look(&mut self.places[origin], config, self.now, deadline, dice);
        self.checks[number as usize].found = Some((found, self.now, at));
        self.agenda.put(at, Due::Check(number));
    }
}

/// What a check finds that is made at `now`, and when.
fn look(
    place: &mut Place<'_>,
    config: &ProbeConfig,
    now: Time,
    by: Time,
    dice: Rng,
) -> (Time, Found) {
    // It leaves the kept connections alone.
    let kept = std::mem::take(&mut place.server.idle);
    let fate = place.send(now, Deadlines::of_check(by), dice);
    place.server.idle = kept;
    let found = match (&config.kind, fate.outcome) {
        (ProbeKind::Tcp, _) if fate.reached.is_some() => Found::Connected,
        (ProbeKind::Http { .. }, Outcome::Answered(status)) => {
            Found::Answered { status, body: true }
        }
        _ => Found::Nothing,
    };
    (fate.at.min(by).max(now), found)
}
