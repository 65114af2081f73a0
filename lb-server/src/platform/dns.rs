//! Names in the real world: hickory's stub resolver, which says how long an answer holds.
//!
//! It keeps nothing: whoever asks does so when an answer has run out. Where no servers are named it is
//! the system's configuration that counts, hosts file and search list included.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::join_all;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData};
use lb_config::config::{Dns, Family};

use super::Local;
use super::resolve::{Answer, Resolve, Target};

/// How often a server is asked once more.
const RETRIES: usize = 1;
/// Targets that are asked about at once.
const AT_ONCE_MAX: usize = 16;

pub(super) struct Stub {
    stub: TokioResolver,
    /// Whether those are asked whom the system names.
    is_the_systems: bool,
}

impl Stub {
    pub(super) fn new(dns: &Dns) -> io::Result<Self> {
        let mut builder = if dns.servers.is_empty() {
            TokioResolver::builder_tokio().map_err(io::Error::other)?
        } else {
            let servers = dns.servers.iter().map(|server| {
                let at = |mut connection: ConnectionConfig| {
                    connection.port = server.port();
                    connection
                };
                let both = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
                NameServerConfig::new(server.ip(), true, both)
            });
            let config = ResolverConfig::from_name_servers(servers.collect());
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        options.timeout = dns.timeout;
        options.attempts = RETRIES;
        options.cache_size = 0;
        if !dns.servers.is_empty() {
            options.use_hosts_file = ResolveHosts::Never;
        }
        let stub = builder.build().map_err(io::Error::other)?;
        Ok(Self { stub, is_the_systems: dns.servers.is_empty() })
    }
}

impl Resolve for Stub {
    fn addresses<'r>(
        &'r self,
        name: &'r str,
        family: Family,
    ) -> Local<'r, io::Result<Answer<IpAddr>>> {
        Box::pin(async move {
            let name = &as_it_stands(name)?;
            let v4 = async {
                match family {
                    Family::V6 => None,
                    Family::Any | Family::V4 => Some(self.stub.ipv4_lookup(name.clone()).await),
                }
            };
            let v6 = async {
                match family {
                    Family::V4 => None,
                    Family::Any | Family::V6 => Some(self.stub.ipv6_lookup(name.clone()).await),
                }
            };
            let (v4, v6) = tokio::join!(biased; v4, v6);
            let mut all = Answer { records: Vec::new(), ttl: Duration::MAX };
            for lookup in [v4, v6].into_iter().flatten() {
                let of_one = answer(lookup, address)?;
                // Who has addresses of one kind says nothing about how long it lacks the other.
                if !of_one.records.is_empty() || all.records.is_empty() {
                    let both = !of_one.records.is_empty() && !all.records.is_empty();
                    all.ttl = if both { all.ttl.min(of_one.ttl) } else { of_one.ttl };
                }
                all.records.extend(of_one.records);
            }
            Ok(all)
        })
    }

    fn targets<'r>(&'r self, name: &'r str) -> Local<'r, io::Result<Answer<Target>>> {
        Box::pin(async move {
            let lookup = self.stub.srv_lookup(as_it_stands(name)?).await;
            let beside = lookup.as_ref().map(addresses_beside).unwrap_or_default();
            let mut found = answer(lookup, |data| match data {
                RData::SRV(srv) => {
                    let host = srv.target.to_ascii().to_ascii_lowercase();
                    Some(Target {
                        at: beside.get(&host).and_then(|all| all.first().copied()),
                        host: host.trim_end_matches('.').to_owned(),
                        port: srv.port,
                        priority: srv.priority,
                        weight: srv.weight,
                        trouble: None,
                    })
                }
                _ => None,
            })?;
            if self.is_the_systems {
                // Whoever dials finds them, all of their addresses, for as long as those hold.
                found.records.iter_mut().for_each(|target| target.at = None);
                return Ok(found);
            }
            let unknown = |it: &&mut Target| it.at.is_none() && !it.host.is_empty();
            let mut unknown: Vec<_> = found.records.iter_mut().filter(unknown).collect();
            for targets in unknown.chunks_mut(AT_ONCE_MAX) {
                let asked = targets.iter().map(async |target| {
                    let absolute = format!("{}.", target.host);
                    self.addresses(&absolute, Family::Any).await
                });
                let answers = join_all(asked).await;
                for (target, answer) in targets.iter_mut().zip(answers) {
                    match answer {
                        Ok(answer) => {
                            target.at = answer.records.iter().min().copied();
                            found.ttl = found.ttl.min(answer.ttl);
                        }
                        // The others are none the worse for it.
                        Err(error) => target.trouble = Some(error.to_string()),
                    }
                }
            }
            Ok(found)
        })
    }
}

/// The name with the bytes that it is written in. As a text it would have to be an internationalized one
/// (RFC 5891), which may have no `_`; those of backends may, and are ASCII by now.
fn as_it_stands(name: &str) -> io::Result<Name> {
    Name::from_ascii(name).map_err(io::Error::other)
}

/// The addresses that came with an answer about names, so that nobody has to ask again (RFC 2782).
fn addresses_beside(lookup: &Lookup) -> BTreeMap<String, BTreeSet<IpAddr>> {
    let mut beside: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
    for record in lookup.additionals() {
        if let Some(ip) = address(&record.data) {
            let name = record.name.to_ascii().to_ascii_lowercase();
            beside.entry(name).or_default().insert(ip);
        }
    }
    beside
}

const fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(ip) => Some(IpAddr::V4(ip.0)),
        RData::AAAA(ip) => Some(IpAddr::V6(ip.0)),
        _ => None,
    }
}

fn answer<T>(
    lookup: Result<Lookup, NetError>,
    read: impl Fn(&RData) -> Option<T>,
) -> io::Result<Answer<T>> {
    let secs = |ttl: u32| Duration::from_secs(ttl.into());
    match lookup {
        Ok(lookup) => {
            let records = lookup.answers().iter().filter_map(|record| read(&record.data)).collect();
            // An alias that runs out before its addresses counts as well.
            let ttl = lookup.answers().iter().map(|record| record.ttl).min();
            Ok(Answer { records, ttl: secs(ttl.unwrap_or(0)) })
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) if is_answer(&none) => {
            Ok(Answer { records: Vec::new(), ttl: secs(none.negative_ttl.unwrap_or(0)) })
        }
        Err(error) => Err(io::Error::other(error)),
    }
}

/// Whether it says that there is nothing. A code that nobody knows says no such thing, nor does whoever
/// sends us to other servers (RFC 2308 §2.2.1).
fn is_answer(none: &NoRecords) -> bool {
    let is_referral = none.ns.is_some() && none.soa.is_none();
    matches!(none.response_code, ResponseCode::NoError | ResponseCode::NXDomain) && !is_referral
}
