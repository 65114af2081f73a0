//! Who is who in a run, whatever configuration is served.
//!
//! Each configuration numbers its services and backends anew: after a reload that takes out the first
//! backend, the second has its number. In the log of a run everybody keeps one number: that of the
//! first configuration, or the next free one. A backend that was taken out and comes again is the one that
//! it was, with the breaker that it had, for as long as the core remembers it; unless its service was taken
//! out as well.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use lb_config::Config;
use lb_config::config::{Origin, Service};
use lb_core::{BackendId, Event, GONE_FOR};

/// Every service and backend that any configuration of a run names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    services: Vec<Team>,
    /// By configuration: its services.
    eras: Vec<Vec<Member>>,
}

/// A service and all backends that it ever has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Team {
    name: String,
    /// Where each is.
    backends: Vec<(String, u16)>,
    /// The numbers of all that it had since it is there, by the core's name, and until when each was in it
    /// that is there no longer.
    known: BTreeMap<String, (u16, Duration)>,
}

/// A service of one configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    number: u16,
    /// The core's name for each of its backends, and its number.
    backends: Vec<(String, u16)>,
}

impl Roster {
    /// Of a run that is served by these configurations in turn, each from then on.
    pub(crate) fn of<'c>(eras: impl IntoIterator<Item = (Duration, &'c Config)>) -> Self {
        let mut roster = Self::default();
        for (at, config) in eras {
            let era = config.services.iter().map(|service| roster.take(at, service)).collect();
            roster.eras.push(era);
        }
        roster
    }

    fn take(&mut self, at: Duration, service: &Service) -> Member {
        let known = self.services.iter().position(|team| team.name == service.core.name);
        let team = known.unwrap_or(self.services.len());
        if known.is_none() {
            self.services.push(Team { name: service.core.name.clone(), ..Team::default() });
        }
        let number = short(team);
        let before = self.eras.last().into_iter().flatten().find(|it| it.number == number);
        let Team { backends: team, known, .. } = &mut self.services[team];
        if before.is_none() {
            known.clear();
        }
        let before = before.map_or(&[][..], |it| &it.backends);
        for (name, number) in before {
            known.insert(name.clone(), (*number, at));
        }
        let mut backend = |(place, (name, origin)): (usize, (&str, &Origin))| {
            // Two of one name stand where they stood.
            let stood = before.get(place).filter(|(known, _)| known == name);
            let stays = stood.or_else(|| before.iter().find(|(known, _)| known == name));
            let gone = || known.get(name).filter(|(_, until)| at - *until < GONE_FOR);
            let was =
                stays.map(|(_, number)| *number).or_else(|| gone().map(|(number, _)| *number));
            let number = was.unwrap_or_else(|| {
                team.push((origin.host.clone(), origin.port));
                short(team.len() - 1)
            });
            (name.to_owned(), number)
        };
        let all = names(service).zip(&service.origins).enumerate();
        Member { number, backends: all.map(&mut backend).collect() }
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
        let (host, port) = &team.backends[usize::from(backend.backend)];
        (host, *port)
    }

    /// Where the backends of a service are, in the order of their numbers.
    pub(crate) fn addresses(&self, service: usize) -> impl Iterator<Item = (&str, u16)> {
        let backends = self.services[service].backends.iter();
        backends.map(|(host, port)| (host.as_str(), *port))
    }

    /// The service of this number in `config`, if it has it.
    pub fn service<'c>(&self, config: &'c Config, service: u16) -> Option<&'c Service> {
        let name = &self.services[usize::from(service)].name;
        config.services.iter().find(|said| said.core.name == *name).map(|said| &**said)
    }

    /// The backends of the service of this number after so many reloads, in the order in which it has
    /// them.
    pub fn backends(&self, reloads: usize, service: u16) -> Vec<BackendId> {
        let member = self.eras[reloads].iter().find(|it| it.number == service);
        let backends = member.into_iter().flat_map(|it| &it.backends);
        backends.map(|(_, backend)| BackendId { service, backend: *backend }).collect()
    }

    /// The event as the log has it, which happened under the configuration after so many reloads.
    pub(crate) fn renumbered(&self, reloads: usize, mut event: Event) -> Event {
        let era = &self.eras[reloads];
        match &mut event {
            Event::Started { service, .. } => *service = era[usize::from(*service)].number,
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
                let Member { number, backends } = &era[usize::from(backend.service)];
                let (_, place) = backends[usize::from(backend.backend)];
                *backend = BackendId { service: *number, backend: place };
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
    use std::sync::Arc;

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
    fn everybody_keeps_a_number_though_he_was_away() {
        let first = config("{ url = \"http://a\" }, { url = \"http://b\" }");
        let next = config("{ url = \"http://c\" }, { url = \"http://b\" }");
        let mut other = next.clone();
        Arc::make_mut(&mut other.services[0]).core.name = "other".to_owned();
        let eras = [&first, &next, &first, &other, &first, &next, &first];
        let minutes = [0, 1, 2, 3, 4, 5, 15].map(|it| Duration::from_secs(60 * it));
        let roster = Roster::of(minutes.into_iter().zip(eras));
        let id = |backend| BackendId { service: 0, backend };
        let ended = |backend| Event::Ended {
            exchange: ExchangeId(7),
            backend: id(backend),
            end: BodyEnd::Complete,
        };
        let heard = |reloads| [0, 1].map(|place| roster.renumbered(reloads, ended(place)));
        assert_eq!(heard(0), [ended(0), ended(1)]);
        assert_eq!(heard(1), [ended(2), ended(1)]);
        assert_eq!(heard(2), [ended(0), ended(1)], "a comes again, and is who it was");
        assert_eq!(heard(4), [ended(3), ended(4)], "nobody knew the service meanwhile");
        assert_eq!(heard(6), [ended(6), ended(4)], "after ten minutes it is forgotten");
        assert_eq!(roster.backends(1, 0), [id(2), id(1)]);
        assert_eq!([2, 3].map(|it| roster.address(id(it))), [("c", 80), ("a", 80)]);
    }
}
