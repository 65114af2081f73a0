//! What the proxy serves by, one configuration after the other, and who is told what it does.

use std::cell::{OnceCell, RefCell};
use std::sync::Arc;

use lb_config::Config;
use lb_core::config::{Action, Conditions, RouteConfig};
use lb_core::{Event, Explanation, Observe, Router, Service, Time, Unrouted};

use crate::log::{Sink, Topics, What};
use crate::measure::Addresses;
use crate::scenario::Scenario;
use crate::weather::since_start;

use super::asked::Asked;

/// All configurations of a run, of which the first is served from the beginning.
pub(super) struct Stage<'c, S> {
    pub(super) eras: Vec<Era<'c, S>>,
}

/// The time of one configuration.
pub(super) struct Era<'c, S> {
    pub(super) told: Told<'c, S>,
    made: OnceCell<Made>,
}

/// What a configuration describes.
pub(super) struct Made {
    pub(super) services: Box<[Arc<Service>]>,
    router: Router,
    /// Where all requests are led alike, where they are.
    alike: Option<OnceCell<Lead>>,
    /// The origin of each backend of each service, by its place in the scenario.
    pub(super) origins: Box<[Box<[usize]>]>,
    /// The number that each service keeps over all configurations.
    pub(super) numbers: Box<[usize]>,
}

/// Writes down what the core says.
pub(super) struct Told<'c, S> {
    pub(super) scenario: &'c Scenario,
    /// After so many reloads, and what is served then.
    era: usize,
    pub(super) config: &'c Config,
    sink: &'c RefCell<S>,
    /// What that has to be told of.
    hears: Topics,
    /// Whether everybody has the number that the core says.
    is_plain: bool,
    explains: bool,
}

impl<'c, S: Sink> Stage<'c, S> {
    pub(super) fn new(scenario: &'c Scenario, sink: &'c RefCell<S>, explains: bool) -> Self {
        let is_plain = scenario.configs().count() == 1;
        let hears = sink.borrow().hears();
        let eras = scenario.configs().enumerate().map(|(era, config)| Era {
            told: Told { scenario, era, config, sink, hears, is_plain, explains },
            made: OnceCell::new(),
        });
        Self { eras: eras.collect() }
    }

    /// Begins to serve by the configuration of this number.
    ///
    /// # Errors
    /// What the core says to a configuration that means nothing.
    pub(super) fn begin(&self, number: usize, seed: u64, now: Time) -> Result<(), String> {
        let era = &self.eras[number];
        let Told { scenario, config, .. } = era.told;
        let before = number.checked_sub(1).and_then(|before| self.eras[before].made.get());
        let service = |(index, said): (u16, &Arc<lb_config::config::Service>)| {
            let named = |known: &&Arc<Service>| known.name() == said.core.name;
            let known = before.and_then(|made| made.services.iter().find(named));
            let service = match known {
                Some(known) => known.succeed(&said.core, index, seed, now),
                None => Service::new(&said.core, index, seed).map(Arc::new),
            };
            service.map_err(|why| format!("service {:?}: {why}", said.core.name))
        };
        let services = (0..).zip(&config.services).map(service).collect::<Result<_, _>>()?;
        let known = Addresses::new(scenario);
        let origins = config
            .services
            .iter()
            .map(|said| said.origins.iter().map(|it| known.place(&it.host, it.port)).collect());
        let numbers = config.services.iter().map(|said| scenario.roster.number(said).into());
        let router = Router::new(&config.routing);
        let is_bare = |route: &RouteConfig| route.conditions == Conditions::default();
        // Requests have one host and one path.
        let alike = config.routing.routes.iter().all(is_bare).then(OnceCell::new);
        let (origins, numbers) = (origins.collect(), numbers.collect());
        let made = Made { services, router, alike, origins, numbers };
        assert!(era.made.set(made).is_ok(), "each configuration begins once");
        Ok(())
    }
}

/// Where a request is led: to a service, or to an answer of this status.
type Lead = Result<Led, u16>;

/// A service, and the status that its answers get on the way there, if that is another.
#[derive(Clone, Copy)]
pub(super) struct Led {
    pub(super) service: usize,
    pub(super) status: Option<u16>,
}

/// The status of a request that is for nobody.
const NO_SERVICE: u16 = 404;
/// The status of one whose path leads to several places.
const AMBIGUOUS_PATH: u16 = 400;

impl Made {
    /// Where a request is led.
    pub(super) fn lead(&self, asked: &Asked<'_>) -> Lead {
        match &self.alike {
            Some(known) => *known.get_or_init(|| self.find(asked)),
            None => self.find(asked),
        }
    }

    fn find(&self, asked: &Asked<'_>) -> Lead {
        let found = self.router.find(asked);
        match found.as_ref().map(|found| &found.route().action) {
            Ok(Action::Service(index)) => {
                let status = found.ok().and_then(|it| it.route().edits.response.status);
                Ok(Led { service: usize::from(*index), status })
            }
            Ok(Action::Redirect { status, .. } | Action::Respond { status, .. }) => Err(*status),
            Err(Unrouted::NoRoute) => Err(NO_SERVICE),
            Err(Unrouted::AmbiguousPath) => Err(AMBIGUOUS_PATH),
        }
    }
}

impl<S> Era<'_, S> {
    pub(super) fn made(&self) -> &Made {
        self.made.get().expect("nobody asks before it begins")
    }

    /// Leases held on each backend of each service, if it ever began.
    pub(super) fn held(&self) -> impl Iterator<Item = u32> {
        let services = self.made.get().into_iter().flat_map(|made| &*made.services);
        services.flat_map(|service| service.backends()).map(|backend| backend.in_flight())
    }
}

impl<S: Sink> Told<'_, S> {
    pub(super) fn write(&self, now: Time, what: What) {
        if self.hears.has(what.topic()) {
            self.enter(now, what);
        }
    }

    fn enter(&self, now: Time, what: What) {
        self.sink.borrow_mut().enter(since_start(now), what);
    }
}

impl<S: Sink> Observe for Told<'_, S> {
    fn on(&self, now: Time, event: &Event) {
        if !self.hears.has(Topics::of(event)) {
            return;
        }
        let event = match self.is_plain {
            true => *event,
            false => self.scenario.roster.renumbered(self.era, *event),
        };
        self.enter(now, What::Core(event));
    }

    fn explains(&self) -> bool {
        self.explains
    }

    fn explained(&self, explanation: &Explanation<'_>) {
        let (exchange, text) = (explanation.exchange, explanation.to_string());
        self.write(explanation.at, What::Explained { exchange, text });
    }
}
