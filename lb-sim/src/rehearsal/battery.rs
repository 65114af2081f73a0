//! What happens to every system sooner or later, as scenarios around a service.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use lb_config::Config;
use lb_core::config::{PoolConfig, ProbeKind, WEIGHT_MAX};

use crate::model;
use crate::roster::Roster;
use crate::scenario::{
    Action, ActionKind, Again, Fault, FaultKind, Latency, Phase, Scenario, Surge, Whom,
};

use super::{DURATION, Stage};

/// Something that happens.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name, as in tables.
    pub name: &'static str,
    /// The question that it answers.
    pub asks: &'static str,
    /// The whole of it.
    pub scenario: Scenario,
    /// The origins that something is wrong with, by their places in the scenario.
    pub faulty: Vec<usize>,
    /// When it begins and when it is over; a case in which nothing goes wrong has neither.
    pub trouble: Option<(Duration, Duration)>,
}

impl Case {
    /// When a part of it is: trouble may come without any fault. What is said of no part is meant from the
    /// trouble's beginning on, as tables have it.
    pub fn span(&self, phase: Option<Phase>) -> Range<Duration> {
        let all = Duration::ZERO..self.scenario.duration;
        match (phase, self.trouble) {
            (Some(Phase::Between(from, to)), _) => from..to.min(all.end),
            (_, None) => all,
            (None, Some((begins, _))) => begins..all.end,
            (Some(Phase::Calm), Some((begins, _))) => all.start..begins,
            (Some(Phase::Faults), Some((begins, ends))) => begins..ends,
            (Some(Phase::Healed), Some((_, ends))) => ends..all.end,
        }
    }
}

/// Something that cannot happen to this service.
#[derive(Clone, Debug)]
pub struct Skipped {
    /// Its name.
    pub name: &'static str,
    /// Why not.
    pub why: &'static str,
}

/// All of it.
#[derive(Debug)]
pub struct Battery {
    /// What is rehearsed.
    pub cases: Vec<Case>,
    /// What is not.
    pub skipped: Vec<Skipped>,
    /// Why it says little, if it does.
    pub thin: Option<String>,
}

/// When trouble begins, and how long it lasts, if nothing else is said.
const AT: Duration = Duration::from_secs(15);
const LASTS: Duration = Duration::from_secs(15);

/// Fewer requests than these to a backend while something is wrong are hardly felt.
const FEW: f64 = 20.0;

/// The share of the answers that fail in a storm.
pub(super) const STORM: f64 = 0.3;

/// Everything that may happen to the service of `stage`.
pub fn battery(stage: &Stage) -> Battery {
    let each = stage.scenario.workload.rate * LASTS.as_secs_f64() / stage.origins.len() as f64;
    let thin = (each < FEW).then(|| {
        format!(
            "while something is wrong a backend gets {each:.0} requests, which say little; rehearse with a \
             higher --rate"
        )
    });
    let battery = Battery { cases: Vec::new(), skipped: Vec::new(), thin };
    let mut made = Making { stage, asked: asked(stage), battery };
    made.without_trouble();
    made.one_backend();
    made.all_backends();
    made.changes();
    made.lies();
    let none = "the model has neither names, caches nor clocks";
    for name in ["DNS change storm", "cache stampede", "clock jump"] {
        made.battery.skipped.push(Skipped { name, why: none });
    }
    made.battery
}

/// The origin of the first backend, which most requests would miss; where nobody is sent to that one, of
/// whoever is asked most.
fn asked(stage: &Stage) -> usize {
    let calm = Scenario { duration: AT, ..stage.scenario.clone() };
    let (_, facts) = model::measured(&calm, calm.seed);
    let attempts = facts.measure(&calm, &(Duration::ZERO..AT)).attempts;
    let first = stage.origins[0];
    match attempts[first] {
        0 => stage.origins.iter().copied().max_by_key(|at| attempts[*at]).unwrap_or(first),
        _ => first,
    }
}

struct Making<'s> {
    stage: &'s Stage,
    /// The origin of a backend that is asked.
    asked: usize,
    battery: Battery,
}

impl Making<'_> {
    /// Adds a case in which `change` is done to the world.
    fn add(&mut self, name: &'static str, asks: &'static str, change: impl FnOnce(&mut Scenario)) {
        let mut scenario = self.stage.scenario.clone();
        change(&mut scenario);
        scenario.claim = asks.to_owned();
        scenario.roster = Roster::of(scenario.eras());
        scenario.actions.sort_by_key(|action| action.at);
        let mut faulty: Vec<usize> = scenario.faults.iter().map(|fault| fault.origin).collect();
        faulty.sort_unstable();
        faulty.dedup();
        let begins = scenario.faults.iter().map(|fault| fault.at);
        let surges = &scenario.workload.surges;
        let begins = begins.chain(surges.iter().map(|surge| surge.at));
        let begins = begins.chain(scenario.actions.iter().map(|action| action.at)).min();
        let ends = scenario.faults.iter().map(Fault::end);
        let ends = ends.chain(surges.iter().map(|surge| surge.at + surge.lasts));
        let ends = ends.chain(scenario.actions.iter().map(|action| action.at)).max();
        let trouble = begins.zip(ends);
        self.battery.cases.push(Case { name, asks, scenario, faulty, trouble });
    }

    fn skip(&mut self, name: &'static str, why: &'static str) {
        self.battery.skipped.push(Skipped { name, why });
    }

    /// Who has nobody beside him is all of his service.
    fn has_others(&self) -> bool {
        self.stage.origins.len() > 1
    }

    fn without_trouble(&mut self) {
        self.add("steady", "Nothing happens.", |_| {});
        self.add("ten times the load", "Ten times as many ask, for ten seconds.", |it| {
            let lasts = Duration::from_secs(10);
            it.workload.surges.push(Surge { at: AT, lasts, times: 10.0 });
        });
        self.add("hits and misses", "One answer in ten takes forty times as long.", |it| {
            for origin in &mut it.origins {
                let mean = origin.latency.mean();
                let often = mean.mul_f64(0.204);
                origin.latency = Latency::Bimodal { often, rarely: often * 40, share: 0.1 };
            }
        });
    }

    fn one_backend(&mut self) {
        let at = self.asked;
        let one = |kind| move |it: &mut Scenario| it.faults.push(fault(at, kind));
        self.add("one dies", "A backend's process stops.", one(FaultKind::Refuse));
        self.add("one vanishes", "A backend answers nothing.", one(FaultKind::Blackhole));
        let slow = FaultKind::Brownout { speed: 0.1 };
        self.add("one is slow", "A backend takes ten times as long.", one(slow));
        let flap = FaultKind::Flap { period: Duration::from_secs(5) };
        self.add("one flaps", "A backend comes and goes every five seconds.", one(flap));
        let says = |code, rate| FaultKind::Status { code, rate, whom: Whom::All };
        self.add("one answers 523", "An edge cannot reach its origin.", one(says(523, 1.0)));
        self.add("one half fails", "A backend fails every other request.", one(says(500, 0.5)));
        self.add("one fails at once", "A backend answers 500 in no time.", |it| {
            it.faults.push(fault(at, says(500, 1.0)));
            it.faults.push(fault(at, FaultKind::Brownout { speed: 20.0 }));
        });
        self.add("one comes back cold", "A backend restarts, and is slow at first.", |it| {
            let (down, cold) = (Duration::from_secs(5), Duration::from_secs(10));
            it.faults.push(Fault { lasts: down, ..fault(at, FaultKind::Refuse) });
            let kind = FaultKind::Brownout { speed: 0.3 };
            it.faults.push(Fault { at: AT + down, lasts: cold, ..fault(at, kind) });
        });
    }

    fn all_backends(&mut self) {
        let all = self.stage.origins.clone();
        let each = |it: &mut Scenario, kind| {
            it.faults.extend(all.iter().map(|origin| fault(*origin, kind)));
        };
        self.add("all are slow", "Every backend takes four times as long.", |it| {
            each(it, FaultKind::Brownout { speed: 0.25 });
        });
        self.add("all die", "Every backend stops, and comes back.", |it| {
            each(it, FaultKind::Refuse);
        });
        self.add("retry storm", "Three answers of ten are 503.", |it| {
            each(it, FaultKind::Status { code: 503, rate: STORM, whom: Whom::All });
        });
        self.add("impatient clients", "All turn slow, and clients ask again.", |it| {
            each(it, FaultKind::Brownout { speed: 0.25 });
            it.workload.timeout = Duration::from_secs(2);
            it.workload.again = Again { tries: 3, after: Duration::from_millis(500) };
        });
        match self.zone() {
            Some(zone) => {
                self.add("a zone goes", "A region, a pool or half of all vanish.", |it| {
                    it.faults.extend(zone.iter().map(|at| fault(*at, FaultKind::Blackhole)));
                })
            }
            None => self.skip("a zone goes", "there is one backend"),
        }
    }

    /// The origins of a region or of one of several pools, where somebody is asked, or half of all.
    fn zone(&self) -> Option<Vec<usize>> {
        let Stage { scenario, service, origins, pools, .. } = self.stage;
        let said = &scenario.config.services[*service].core.pools;
        let regions: Vec<Option<&str>> = said
            .iter()
            .flat_map(|pool| &pool.backends)
            .map(|backend| backend.region.as_deref())
            .collect();
        let asked = origins.iter().position(|at| *at == self.asked).unwrap_or_default();
        let of_region: Vec<usize> = (0..origins.len())
            .filter(|at| regions[*at].is_some() && regions[*at] == regions[asked])
            .collect();
        let zone = if !of_region.is_empty() && of_region.len() < origins.len() {
            of_region
        } else if pools.len() > 1 {
            pools.iter().find(|pool| pool.contains(&asked)).unwrap_or(&pools[0]).clone()
        } else {
            (0..origins.len() / 2).collect()
        };
        (!zone.is_empty()).then(|| zone.into_iter().map(|at| origins[at]).collect())
    }

    fn changes(&mut self) {
        let all = self.stage.origins.clone();
        if self.has_others() {
            let step = (2 * LASTS) / u32::try_from(all.len()).unwrap_or(u32::MAX);
            let lasts = step.mul_f64(0.8).min(Duration::from_secs(5));
            self.add("rolling deploy", "Each backend restarts, one after the other.", |it| {
                for (nth, origin) in (0..).zip(&all) {
                    let at = AT + step * nth;
                    it.faults.push(Fault { at, lasts, ..fault(*origin, FaultKind::Refuse) });
                }
            });
            self.reload("one is taken out", "A reload without a backend.", |config, service| {
                let said = Arc::make_mut(&mut config.services[service]);
                let pools = &said.core.pools;
                let two = || pools.iter().any(|pool| pool.backends.len() > 1);
                let spares =
                    |pool: &PoolConfig| pool.backends.len() > usize::from(pool.min_fit.max(1));
                let place = pools.iter().position(spares).ok_or_else(|| match two() {
                    true => "lb-server would refuse it: no pool has more backends than its min_fit",
                    false => "no pool has two backends",
                })?;
                let before = said.core.pools[..place].iter().map(|pool| pool.backends.len());
                said.origins.remove(before.sum());
                said.core.pools[place].backends.remove(0);
                Ok(())
            });
            self.reload(
                "a weight changes",
                "A reload that triples a weight.",
                |config, service| {
                    let said = Arc::make_mut(&mut config.services[service]);
                    let pool = &mut said.core.pools[0];
                    let first = pool.backends.first_mut().ok_or("the first pool has no backend")?;
                    first.weight = (first.weight * 3).min(WEIGHT_MAX);
                    Ok(())
                },
            );
        } else {
            self.skip("rolling deploy", "there is one backend");
            self.skip("one is taken out", "there is one backend");
            self.skip("a weight changes", "there is one backend");
        }
        self.add("reloads", "The same configuration again, every four seconds.", |it| {
            let config = Box::new(it.config.clone());
            it.actions = (0..8)
                .map(|nth| Action {
                    at: AT + Duration::from_secs(4) * nth,
                    kind: ActionKind::Reload(config.clone()),
                })
                .collect();
        });
    }

    fn reload(
        &mut self,
        name: &'static str,
        asks: &'static str,
        change: impl FnOnce(&mut Config, usize) -> Result<(), &'static str>,
    ) {
        let mut config = self.stage.scenario.config.clone();
        match change(&mut config, self.stage.service) {
            Ok(()) => self.add(name, asks, |it| {
                it.actions = vec![Action { at: AT, kind: ActionKind::Reload(Box::new(config)) }];
            }),
            Err(why) => self.skip(name, why),
        }
    }

    /// Health checks say one thing, and requests another.
    fn lies(&mut self) {
        let at = self.asked;
        let says = |whom| FaultKind::Status { code: 500, rate: 1.0, whom };
        let service = &self.stage.scenario.config.services[self.stage.service].core;
        let Some(kind) = service.probe.as_ref().map(|probe| probe.kind.clone()) else {
            self.skip("checks are blind", "there are no health checks");
            self.skip("a false alarm", "there are no health checks");
            return;
        };
        self.add("checks are blind", "A backend fails requests, and no check.", |it| {
            it.faults.push(fault(at, says(Whom::Requests)));
        });
        if kind == ProbeKind::Tcp {
            return self.skip("a false alarm", "checks by TCP look at no answer");
        }
        self.add("a false alarm", "A backend fails checks, and no request.", |it| {
            it.faults.push(fault(at, says(Whom::Checks)));
        });
    }
}

fn fault(origin: usize, kind: FaultKind) -> Fault {
    debug_assert!(AT + LASTS < DURATION, "there is time to recover");
    Fault { at: AT, lasts: LASTS, origin, kind }
}
