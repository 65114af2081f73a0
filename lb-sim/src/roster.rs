//! Who is who in a run, whatever configuration is served.
//!
//! Each configuration numbers its services and backends anew: after a reload that takes out the first
//! backend, the second has its number. In the log of a run everybody keeps one number for good: that
//! of the first configuration, or the next free one.

use std::ops::Range;

use lb_config::Config;
use lb_config::config::Service;
use lb_core::{BackendId, Event};

/// Every service and backend that any configuration of a run names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    services: Vec<Team>,
}

/// A service and its backends.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Team {
    name: String,
    /// Each by the core's name for it, and where it is.
    backends: Vec<(String, (String, u16))>,
}

impl Roster {
    /// Of a run that is served by these `configs` in turn.
    pub(crate) fn of<'c>(configs: impl IntoIterator<Item = &'c Config>) -> Self {
        let mut roster = Self::default();
        for config in configs {
            config.services.iter().for_each(|service| roster.take(service));
        }
        roster
    }

    fn take(&mut self, service: &Service) {
        let known = self.services.iter().position(|team| team.name == service.core.name);
        let at = known.unwrap_or(self.services.len());
        let is_new = known.is_none();
        if is_new {
            self.services.push(Team { name: service.core.name.clone(), backends: Vec::new() });
        }
        let team = &mut self.services[at].backends;
        for (name, origin) in names(service).zip(&service.origins) {
            // In the first configuration everybody has a number of his own already.
            if is_new || !team.iter().any(|(known, _)| known == name) {
                team.push((name.to_owned(), (origin.host.clone(), origin.port)));
            }
        }
    }

    /// How many services there are.
    pub fn services(&self) -> usize {
        self.services.len()
    }

    /// The numbers of all of them.
    pub fn numbers(&self) -> Range<u16> {
        0..u16::try_from(self.services.len()).expect("the core tells apart no more")
    }

    /// Where a backend is.
    pub fn address(&self, backend: BackendId) -> (&str, u16) {
        let team = &self.services[usize::from(backend.service)];
        let (_, (host, port)) = &team.backends[usize::from(backend.backend)];
        (host, *port)
    }

    /// Where the backends of a service are, in the order of their numbers.
    pub(crate) fn addresses(&self, service: usize) -> impl Iterator<Item = (&str, u16)> {
        let backends = self.services[service].backends.iter();
        backends.map(|(_, (host, port))| (host.as_str(), *port))
    }

    /// The service of this number in `config`, if it has it.
    pub fn service<'c>(&self, config: &'c Config, service: u16) -> Option<&'c Service> {
        let name = &self.services[usize::from(service)].name;
        config.services.iter().find(|said| said.core.name == *name)
    }

    /// The backends of the service of this number in `config`, in the order in which it has them.
    pub fn backends(&self, config: &Config, service: u16) -> Vec<BackendId> {
        let Some(said) = self.service(config, service) else { return Vec::new() };
        let count = said.origins.len();
        (0..count).map(|place| self.backend(service, said, place)).collect()
    }

    /// The event as the log has it, which happened under `config`.
    pub(crate) fn renumbered(&self, config: &Config, mut event: Event) -> Event {
        match &mut event {
            Event::Started { service, .. } => {
                *service = self.number(&config.services[usize::from(*service)]);
            }
            Event::Attempted { backend, .. }
            | Event::Concluded { backend, .. }
            | Event::Overtaken { backend, .. }
            | Event::Delivered { backend, .. }
            | Event::Ended { backend, .. }
            | Event::Ejected { backend, .. }
            | Event::Pardoned { backend }
            | Event::Hastened { backend }
            | Event::HealthMoved { backend, .. }
            | Event::BreakerMoved { backend, .. } => {
                let said = &config.services[usize::from(backend.service)];
                *backend = self.backend(self.number(said), said, usize::from(backend.backend));
            }
            Event::Queued { .. }
            | Event::Delayed { .. }
            | Event::Withheld { .. }
            | Event::Rejected { .. }
            | Event::Left { .. } => {}
        }
        event
    }

    /// The number of a service, for good.
    pub(crate) fn number(&self, said: &Service) -> u16 {
        let at = self.services.iter().position(|team| team.name == said.core.name);
        short(at.expect("the roster has every service"))
    }

    fn backend(&self, service: u16, said: &Service, place: usize) -> BackendId {
        let team = &self.services[usize::from(service)].backends;
        let name = names(said).nth(place).expect("a service has this many backends");
        // Two of one name stand where they stood.
        let stays = team.get(place).is_some_and(|(known, _)| known == name);
        let known = || team.iter().position(|(known, _)| known == name);
        let at = if stays { Some(place) } else { known() };
        BackendId { service, backend: short(at.expect("the roster has every backend")) }
    }
}

fn names(service: &Service) -> impl Iterator<Item = &str> {
    let backends = service.core.pools.iter().flat_map(|pool| &pool.backends);
    backends.map(|backend| backend.name.as_str())
}

fn short(at: usize) -> u16 {
    u16::try_from(at).expect("the core tells apart no more than it can number")
}

#[cfg(test)]
mod tests {
    use lb_core::{BodyEnd, ExchangeId};

    use super::*;

    fn config(backends: &str) -> Config {
        let text = format!(
            "[[listener]]\nbind = \"0.0.0.0:80\"\n[[service]]\nname = \"web\"\nhosts = [\"*\"]\n\
             [[service.pool]]\nbackends = [{backends}]\n"
        );
        let (config, said) = lb_config::load(&lb_config::Source { name: "c.toml", text: &text });
        config.unwrap_or_else(|| panic!("{said:?}"))
    }

    #[test]
    fn everybody_keeps_a_number_for_good() {
        let first = config("{ url = \"http://a\" }, { url = \"http://b\" }");
        let next = config("{ url = \"http://c\" }, { url = \"http://b\" }");
        let roster = Roster::of([&first, &next]);
        let id = |backend| BackendId { service: 0, backend };
        let ended = |backend| Event::Ended {
            exchange: ExchangeId(7),
            backend: id(backend),
            end: BodyEnd::Complete,
        };
        let heard = |config, place| roster.renumbered(config, ended(place));
        assert_eq!([heard(&first, 0), heard(&first, 1)], [ended(0), ended(1)]);
        assert_eq!([heard(&next, 0), heard(&next, 1)], [ended(2), ended(1)]);
        assert_eq!(roster.backends(&next, 0), [id(2), id(1)]);
        assert_eq!(roster.address(id(2)), ("c", 80));
    }
}
