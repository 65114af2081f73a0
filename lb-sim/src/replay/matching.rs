//! Which services and backends of a record are which of a configuration.

use lb_config::Config;
use lb_config::address::backend_url;
use lb_config::config::Origin;

use crate::record::Record;
use crate::rehearsal::{address, listed};

/// Which services of a record are which of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched {
    /// By their places in the record, and in the configuration.
    pub pairs: Vec<(u16, usize)>,
    /// What is to be said of it.
    pub notes: Vec<String>,
}

/// Whether all that is said to be the same is there to be.
///
/// # Errors
/// What is not, and what there is instead.
pub fn known(record: &Record, config: &Config, same: &[(String, String)]) -> Result<(), String> {
    for (theirs, ours) in same {
        if !record.backends.contains(theirs) {
            let all: Vec<&str> = record.backends.iter().map(String::as_str).collect();
            let all = if all.is_empty() { "none at all".to_owned() } else { listed(&all) };
            return Err(format!(
                "--same {theirs}={ours}: the record names no {theirs:?}; it has {all}"
            ));
        }
        let said = origin(ours).as_ref().map(address);
        let mut origins = config.services.iter().flat_map(|service| &service.origins);
        if said.is_none() || !origins.any(|it| said == Some(address(it))) {
            return Err(format!(
                "--same {theirs}={ours}: the configuration has no backend at {ours}"
            ));
        }
    }
    Ok(())
}

/// Which services of a record are which of a configuration.
///
/// # Errors
/// There is no such service, or there is nothing that they have in common.
pub fn services(record: &Record, config: &Config, only: Option<&str>) -> Result<Matched, String> {
    let names: Vec<&str> = config.services.iter().map(|it| it.core.name.as_str()).collect();
    let place = |name: &str| names.iter().position(|known| *known == name);
    if let Some(only) = only.filter(|only| place(only).is_none()) {
        return Err(format!("there is no service {only:?}; its services: {}", names.join(", ")));
    }
    let wanted = |at: usize| only.is_none_or(|only| names[at] == only);
    let (mut pairs, mut notes) = (Vec::new(), Vec::new());
    let target = only.or_else(|| names.first().copied().filter(|_| names.len() == 1));
    if let ([theirs], Some(ours)) = (&*record.services, target) {
        // There is nothing to confuse.
        if theirs != ours && !theirs.is_empty() {
            notes.push(format!("the record's service {theirs} is taken for {ours}"));
        }
        pairs.push((0, place(ours).expect("it was found above")));
        return Ok(Matched { pairs, notes });
    }
    for (number, name) in (0..).zip(&record.services) {
        match (place(name), target.and_then(place)) {
            (Some(at), _) if wanted(at) => pairs.push((number, at)),
            (Some(_), _) => {}
            (None, Some(at)) if name.is_empty() => {
                notes.push(format!("what names no service is taken for {}", names[at]));
                pairs.push((number, at));
            }
            (None, None) if name.is_empty() => {
                notes.push(
                    "what names no service is left out; say with --service which it is of"
                        .to_owned(),
                );
            }
            (None, _) => notes.push(format!("service {name} of the record is in no configuration")),
        }
    }
    if pairs.is_empty() {
        return Err(format!(
            "the record has the services {}, the configuration {}; say with --service for which of these \
             a record of one service is",
            record.services.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", "),
            names.join(", ")
        ));
    }
    Ok(Matched { pairs, notes })
}

/// Where a url leads, or what a log calls an upstream; many names lead nowhere.
pub(super) fn origin(name: &str) -> Option<Origin> {
    let is_url = name.contains("://") || name.starts_with("unix:");
    let url = if is_url { name.to_owned() } else { format!("http://{name}") };
    backend_url(&url).ok().map(|it| it.origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_known_by_host_and_port_however_it_is_written() {
        let known = |name: &str| origin(name).as_ref().map(address);
        let at = |host: &str, port| Some((host.to_owned(), port));
        for name in ["http://10.0.0.1:80", "10.0.0.1:80", "10.0.0.1", "http://10.0.0.1/"] {
            assert_eq!(known(name), at("10.0.0.1", 80), "{name}");
        }
        assert_eq!(known("https://Example.com"), at("example.com", 443));
        for name in ["http://[::1]:8080", "[::1]:8080", "[0::1]:8080"] {
            assert_eq!(known(name), at("::1", 8080), "{name}");
        }
        assert_eq!(known("unix:/run/a.sock"), at("/run/a.sock", 1));
        assert_eq!(known("<NOSRV>"), None);
    }
}
