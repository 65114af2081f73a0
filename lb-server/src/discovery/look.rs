//! One look at one source: who is there now.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use lb_config::address::{BackendUrl, backend_url};
use lb_config::config::{DiscoverySource, Family, Format, Found, Origin, Priority};
use lb_config::{Severity, Source, load_backends};
use lb_core::config::{BackendConfig, WEIGHT_MAX};

use crate::platform::Platform;
use crate::platform::resolve::{Answer, Resolve, Target};

/// Bytes of a file with backends: as many backends as a service may have, at 1 KiB each.
const FILE_BYTES_MAX: usize = 16 << 20;

/// What a look showed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Looked {
    /// Exactly what the last one showed, good or bad.
    Nothing,
    /// A list.
    List {
        found: Vec<Found>,
        /// How long it holds, if it says so.
        ttl: Option<Duration>,
        /// What is doubtful about it.
        warnings: Vec<String>,
        /// What of it could not be found out.
        trouble: Option<String>,
    },
}

impl Looked {
    /// A list about which nothing more is to be said.
    pub(super) const fn list(found: Vec<Found>, ttl: Option<Duration>) -> Self {
        Self::List { found, ttl, warnings: Vec::new(), trouble: None }
    }
}

/// What looks at one source go by.
pub(crate) struct Glass<'p> {
    pub(crate) platform: &'p dyn Platform,
    /// Why names cannot be asked about, or who is asked.
    pub(crate) resolver: &'p Result<Option<Box<dyn Resolve>>, String>,
}

impl Glass<'_> {
    /// Looks once. `seen` is for the looks at this source alone, and `known` is what it found last.
    ///
    /// # Errors
    /// Why there is no answer, for the operator.
    pub(crate) async fn look(
        &self,
        source: &DiscoverySource,
        seen: &mut Option<Vec<u8>>,
        known: &[Found],
    ) -> Result<Looked, String> {
        match source {
            DiscoverySource::Dns { url, family } => self.addresses(url, *family).await,
            DiscoverySource::Srv { name, priority } => self.targets(name, *priority, known).await,
            DiscoverySource::File { path, format } => self.file(path, *format, seen).await,
        }
    }

    async fn addresses(&self, url: &BackendUrl, family: Family) -> Result<Looked, String> {
        let (host, port) = (url.origin.host.as_str(), url.origin.port);
        let answer = match self.resolver.as_ref().map_err(Clone::clone)? {
            Some(resolver) => {
                resolver.addresses(host, family).await.map(|it| (it.records, Some(it.ttl)))
            }
            None => self.platform.lookup(host, port).await.map(|found| {
                let of_family = |addr: &SocketAddr| match family {
                    Family::Any => true,
                    Family::V4 => addr.is_ipv4(),
                    Family::V6 => addr.is_ipv6(),
                };
                (found.iter().filter(|addr| of_family(addr)).map(SocketAddr::ip).collect(), None)
            }),
        };
        let (addresses, ttl) =
            answer.map_err(|error| format!("no answer about {host}: {error}"))?;
        // Answers turn their records round; a list that only turned round has not changed.
        let addresses: BTreeSet<IpAddr> = addresses.into_iter().collect();
        let (scheme, _) = url.identity.split_once("://").unwrap_or(("http", ""));
        let found = addresses.into_iter().map(|ip| {
            let addr = SocketAddr::new(ip, port);
            let Found { backend, .. } = backend(&format!("{scheme}://{addr}"), 1)?;
            // It is called by its address, and spoken to by its name: in TLS, say.
            Ok::<_, String>(Found {
                backend,
                origin: Origin { at: Some(ip), ..url.origin.clone() },
            })
        });
        Ok(Looked::list(found.collect::<Result<_, _>>()?, ttl))
    }

    async fn targets(
        &self,
        name: &str,
        priority: Priority,
        known: &[Found],
    ) -> Result<Looked, String> {
        let Some(resolver) = self.resolver.as_ref().map_err(Clone::clone)? else {
            return Err("nobody here knows SRV records".to_owned());
        };
        let answer = resolver.targets(name).await;
        let Answer { records, ttl } =
            answer.map_err(|error| format!("no answer about {name}: {error}"))?;
        let failed: BTreeMap<String, String> = records
            .iter()
            .filter_map(|target| Some((target.host.clone(), target.trouble.clone()?)))
            .collect();
        let (mut found, odd) = listed(records, priority);
        // A target of which nobody says where it is stays where it was, if that is known.
        found.retain_mut(|new| {
            if !failed.contains_key(&new.origin.host) {
                return true;
            }
            let before = known.iter().find(|it| it.backend.name == new.backend.name);
            new.origin.at = before.and_then(|it| it.origin.at);
            new.origin.at.is_some()
        });
        let unknown = failed
            .iter()
            .map(|(host, why)| format!("no answer about {host}, a target of {name}: {why}"));
        let all: Vec<String> = odd.into_iter().chain(unknown).collect();
        let trouble = all.first().map(|first| match all.len() - 1 {
            0 => first.clone(),
            more => format!("{first} (and {more} more)"),
        });
        match trouble {
            Some(why) if found.is_empty() => Err(why),
            trouble => Ok(Looked::List { found, ttl: Some(ttl), warnings: Vec::new(), trouble }),
        }
    }

    async fn file(
        &self,
        path: &Path,
        format: Format,
        seen: &mut Option<Vec<u8>>,
    ) -> Result<Looked, String> {
        let bytes = match self.platform.read_aside(path, FILE_BYTES_MAX).await {
            Ok(bytes) => bytes,
            Err(error) => {
                *seen = None;
                return Err(format!("{}: {error}", path.display()));
            }
        };
        if seen.as_ref() == Some(&bytes) {
            return Ok(Looked::Nothing);
        }
        let bytes = seen.insert(bytes);
        if bytes.len() > FILE_BYTES_MAX {
            let most = FILE_BYTES_MAX >> 20;
            return Err(format!("{}: longer than {most} MiB; split the service", path.display()));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let valid = error.valid_up_to();
            format!("{}: not UTF-8 at byte {valid}; write it in UTF-8", path.display())
        })?;
        let name = path.display().to_string();
        let (found, said) = load_backends(&Source { name: &name, text }, format);
        let lines = |severity| {
            let of_it = said.iter().filter(move |it| it.severity == severity);
            of_it.map(ToString::to_string).collect::<Vec<_>>()
        };
        match found {
            Some(found) => {
                let warnings = lines(Severity::Warning);
                Ok(Looked::List { found, ttl: None, warnings, trouble: None })
            }
            None => Err(lines(Severity::Error).join("\n")),
        }
    }
}

/// The targets that are backends of a pool, in the order of their names, and what is wrong with those that
/// can be none: the others are none the worse for it.
fn listed(mut targets: Vec<Target>, priority: Priority) -> (Vec<Found>, Vec<String>) {
    // RFC 2782: a target of "." says that the service is decidedly not available.
    targets.retain(|target| !target.host.is_empty());
    let first = targets.iter().map(|target| target.priority).min();
    targets.retain(|target| match priority {
        Priority::First => Some(target.priority) == first,
        Priority::Others => Some(target.priority) != first,
        Priority::All => true,
    });
    targets.sort_by(|a, b| (&a.host, a.port, a.priority).cmp(&(&b.host, b.port, b.priority)));
    targets.dedup_by(|a, b| (&a.host, a.port) == (&b.host, b.port));
    let largest = targets.iter().map(|target| target.weight).max().unwrap_or(0);
    let (mut all, mut odd) = (Vec::new(), Vec::new());
    for Target { host, port, weight, at, .. } in targets {
        match backend(&format!("http://{host}:{port}"), share(weight, largest)) {
            Ok(Found { backend, origin }) => {
                all.push(Found { backend, origin: Origin { at, ..origin } });
            }
            Err(why) => odd.push(why),
        }
    }
    (all, odd)
}

/// A weight of 16 bits as one of ours: to scale where they are small enough, and never nothing.
fn share(weight: u16, largest: u16) -> u32 {
    let (weight, largest) = (u32::from(weight), u32::from(largest));
    let scaled = if largest > WEIGHT_MAX { weight * WEIGHT_MAX / largest } else { weight };
    scaled.max(1)
}

fn backend(url: &str, weight: u32) -> Result<Found, String> {
    let BackendUrl { identity, origin } = backend_url(url)
        .map_err(|wrong| format!("the answer has {url:?}, which {}", wrong.what))?;
    Ok(Found { backend: BackendConfig { weight, ..BackendConfig::new(&identity) }, origin })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(host: &str, priority: u16, weight: u16) -> Target {
        Target { host: host.to_owned(), port: 80, priority, weight, at: None, trouble: None }
    }

    fn names(targets: &[Target], priority: Priority) -> Vec<String> {
        let (found, odd) = listed(targets.to_vec(), priority);
        assert_eq!(odd, [""; 0], "they are sound");
        found.iter().map(|it| format!("{} x{}", it.backend.name, it.backend.weight)).collect()
    }

    #[test]
    fn the_lowest_priority_is_a_pool_and_the_others_are_another() {
        let targets = [target("c", 20, 5), target("b", 10, 0), target("a", 10, 3)];
        assert_eq!(names(&targets, Priority::First), ["http://a:80 x3", "http://b:80 x1"]);
        assert_eq!(names(&targets, Priority::Others), ["http://c:80 x5"]);
        let all = ["http://a:80 x3", "http://b:80 x1", "http://c:80 x5"];
        assert_eq!(names(&targets, Priority::All), all);
    }

    #[test]
    fn weights_beyond_ours_are_scaled_down_together_and_none_is_nothing() {
        let targets = [target("a", 1, 65_535), target("b", 1, 32_768), target("c", 1, 0)];
        let scaled = ["http://a:80 x1000", "http://b:80 x500", "http://c:80 x1"];
        assert_eq!(names(&targets, Priority::First), scaled);
        let equal = [target("a", 1, 0), target("b", 1, 0)];
        assert_eq!(names(&equal, Priority::First), ["http://a:80 x1", "http://b:80 x1"]);
    }

    #[test]
    fn a_target_is_one_backend_and_the_root_is_none() {
        let twice = [target("a", 1, 5), target("a", 2, 9)];
        assert_eq!(names(&twice, Priority::All), ["http://a:80 x5"]);
        assert_eq!(names(&[target("", 0, 0)], Priority::First), [""; 0]);
    }

    #[test]
    fn a_target_that_can_be_no_backend_is_left_out_and_told() {
        let without_port = Target { port: 0, ..target("d", 1, 1) };
        let all = vec![target("a b", 1, 1), target("c", 1, 1), without_port, target("web.1", 1, 1)];
        let (found, odd) = listed(all, Priority::First);
        assert_eq!((found.len(), found[0].backend.name.as_str()), (1, "http://c:80"));
        for (odd, url) in odd.iter().zip(["http://a b:80", "http://d:0", "http://web.1:80"]) {
            assert!(odd.contains(url), "{odd}");
        }
        assert_eq!(odd.len(), 3);
    }
}
