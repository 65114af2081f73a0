//! `[[service.pool]]` and its backends.

use lb_core::config::{
    BACKENDS_MAX, BackendConfig, Location, POOL_WEIGHT_MAX, POOLS_MAX, PoolConfig, REGIONS_MAX,
    SteeringConfig, SteeringPolicy, WEIGHT_MAX,
};

use crate::address::{self, BackendUrl};
use crate::config::{Discovery, DiscoverySource, Origin};
use crate::diagnostic::Report;
use crate::native::{Taken, discovery, label, steering};
use crate::read::{Field, Given, Mistake, Table, Value};

/// What a pool is called that is the only one of its service and was given no name.
const ONLY: &str = "default";

/// All pools of a service, where their backends are, and where more are found.
#[derive(Default)]
pub(super) struct Pools {
    pub(super) pools: Vec<PoolConfig>,
    /// In the same order.
    pub(super) origins: Vec<Origin>,
    pub(super) discovery: Vec<Discovery>,
}

impl Pools {
    /// Where backends are, and what those have in common that are found by name.
    pub(super) fn expected(&self) -> Vec<Origin> {
        let found = self.discovery.iter().filter_map(|discovery| match &discovery.source {
            DiscoverySource::Dns { url, .. } => Some(&url.origin),
            DiscoverySource::Srv { .. } | DiscoverySource::File { .. } => None,
        });
        self.origins.iter().chain(found).cloned().collect()
    }
}

/// One backend as it was written.
pub(super) struct Written {
    pub(super) url: Given<BackendUrl>,
    weight: Given<u32>,
    draining: bool,
    region: Option<Given<String>>,
    /// Whether others were written beside it, be it with mistakes.
    is_one_of_several: bool,
}

/// All pools of a service.
pub(super) fn pools(service: &mut Table<'_>, steering: &SteeringConfig) -> Pools {
    let report = service.report();
    let header = service.header_of("pool");
    let add = format!("{header} with backends = [{{ url = \"http://10.0.0.1:3000\" }}]");
    let Some(written) = service.tables("pool").required(&add) else {
        return Default::default();
    };
    if written.value.is_empty() {
        report.error(written.at, "the service has no pool", format!("add {add}"));
    }
    let only = written.value.len() == 1;
    let mut names = Taken::default();
    let mut identities = Taken::default();
    let (mut pools, mut origins, mut regions) = (Vec::new(), Vec::new(), Vec::new());
    let mut sources = Vec::new();
    for (place, mut table) in written.value.into_iter().enumerate() {
        let name = name(&mut table, only, &mut names);
        let discovers = table.has_any(&["discover"]);
        sources.extend(discovery::discovery(table.table("discover"), place));
        let backends = match discovers {
            true => listed(&mut table, &mut identities).or(Vec::new()),
            false => backends(&mut table, &mut identities),
        };
        origins.extend(backends.iter().map(|backend| backend.url.value.origin.clone()));
        regions.extend(backends.iter().filter_map(|backend| backend.region.clone()));
        let pool = PoolConfig::new(&name, backends.iter().map(lower).collect());
        let most = if discovers { BACKENDS_MAX } else { pool.backends.len() };
        pools.push(steered(&mut table, pool, most, steering));
    }
    if pools.len() > POOLS_MAX {
        let what = format!("the service has {} pools", pools.len());
        report.error(written.at, what, format!("use 1..={POOLS_MAX}"));
    }
    check_regions(report, &regions, steering);
    if origins.len() > BACKENDS_MAX {
        let what = format!("the service has {} backends", origins.len());
        report.error(written.at, what, format!("use 1..={BACKENDS_MAX} over all its pools"));
    }
    Pools { pools, origins, discovery: sources }
}

/// When and for whom a pool serves that has `most` backends at most.
fn steered(
    table: &mut Table<'_>,
    pool: PoolConfig,
    most: usize,
    steering: &SteeringConfig,
) -> PoolConfig {
    let count = u16::try_from(most.clamp(1, BACKENDS_MAX)).unwrap_or(u16::MAX);
    let min_fit = table.integer("min_fit", 1..=count).or(1);
    let weight = table.integer("weight", 0..=POOL_WEIGHT_MAX).or(1);
    let countries = table.list("countries", |item| item.parsed(steering::country)).or(Vec::new());
    let regions = table.list("regions", |item| item.parsed(steering::region)).or(Vec::new());
    let latitude = table.number("latitude", -90.0..=90.0).given();
    let longitude = table.number("longitude", -180.0..=180.0).given();
    let policy = steering.policy;
    if policy != SteeringPolicy::Weighted {
        let why = "without [service.steering] policy = \"weighted\"";
        table.warn_without_effect(&["weight"], why);
    }
    if policy != SteeringPolicy::Geo {
        let why = "without [service.steering] policy = \"geo\"";
        table.warn_without_effect(&["countries", "regions"], why);
    }
    if policy != SteeringPolicy::Proximity {
        let why = "without [service.steering] policy = \"proximity\"";
        table.warn_without_effect(&["latitude", "longitude"], why);
    } else if latitude.is_none() || longitude.is_none() {
        let what = "the pool is nowhere: policy \"proximity\" asks those with coordinates first";
        table.report().warn(table.at(), what, "add latitude and longitude");
    }
    #[expect(clippy::cast_possible_truncation, reason = "degrees are within ±180")]
    let millionths = |degrees: f64| (degrees * 1e6) as i32;
    let location = latitude.zip(longitude).map(|(latitude, longitude)| Location {
        latitude: millionths(latitude.value),
        longitude: millionths(longitude.value),
    });
    PoolConfig { min_fit, weight, countries, regions, location, ..pool }
}

fn check_regions(report: &Report<'_>, regions: &[Given<String>], steering: &SteeringConfig) {
    let mut names: Vec<&str> = regions.iter().map(|region| region.value.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let Some(first) = regions.first() else { return };
    if names.len() > REGIONS_MAX {
        let what = format!("the backends are in {} regions", names.len());
        report.error(first.at, what, format!("use at most {REGIONS_MAX} in a service"));
    }
    let headers = &steering.headers;
    if steering.zone.is_none() && headers.country.is_none() && headers.region.is_none() {
        let what = "region has no effect: nothing says which one is near";
        let remedy = "set zone, country_header or region_header in [service.steering]";
        report.warn(first.at, what, remedy);
    }
}

fn name(table: &mut Table<'_>, only: bool, taken: &mut Taken) -> String {
    let field = table.parsed("name", label);
    if only {
        return field.or(ONLY.to_owned());
    }
    let Some(name) = field.required("name = \"main\": only a single pool may go without") else {
        return ONLY.to_owned();
    };
    if let Err(first) = taken.take(&name.value, name.at) {
        let place = table.report().place(first);
        let what = format!("name {:?} is taken by the pool at {place}", name.value);
        table.report().error(name.at, what, "give each pool of a service a name of its own");
    }
    name.value
}

/// The backends of a pool that finds no others: at least one.
fn backends(table: &mut Table<'_>, identities: &mut Taken) -> Vec<Written> {
    let report = table.report();
    let example = "backends = [{ url = \"http://10.0.0.1:3000\" }]";
    let Some(backends) = listed(table, identities).required(example) else { return Vec::new() };
    if backends.value.is_empty() {
        report.error(backends.at, "backends is empty", "add { url = \"http://10.0.0.1:3000\" }");
    }
    if let [only] = backends.value.as_slice()
        && only.weight.said
        && !only.is_one_of_several
    {
        let what = "weight has no effect in a pool of one backend";
        report.warn(only.weight.at, what, "remove it or add another backend");
    }
    backends.value
}

/// The list of backends, each in it once. Those with a mistake are left out.
pub(super) fn listed<'d>(table: &mut Table<'d>, identities: &mut Taken) -> Field<'d, Vec<Written>> {
    let report = table.report();
    table.field("backends", |value| {
        let mut count = 0_usize;
        let mut all = value.list(|item| {
            count += 1;
            backend(&item)
        })?;
        for backend in &mut all {
            backend.is_one_of_several = count > 1;
            let (identity, at) = (&backend.url.value.identity, backend.url.at);
            if let Err(first) = identities.take(identity, at) {
                let what = format!(
                    "backend {identity} is in this service already, at {}",
                    report.place(first)
                );
                report.error(at, what, "remove one of the two, and use weight for a larger share");
            }
        }
        Some(all)
    })
}

fn backend(item: &Value<'_>) -> Option<Written> {
    if item.is_text() {
        item.wrong(&Mistake::new("is a text and not a table", "write { url = \"..\" }"));
        return None;
    }
    let mut table = item.item_table()?;
    let url = table.parsed("url", address::backend_url);
    let url = url.required("url = \"http://10.0.0.1:3000\"");
    let weight = table.field("weight", |value| weight(&value)).or_given(1);
    let draining = table.boolean("draining").or(false);
    let region = table.parsed("region", steering::region).given();
    Some(Written { url: url?, weight, draining, region, is_one_of_several: false })
}

fn weight(value: &Value<'_>) -> Option<u32> {
    if value.as_integer() == Some(0) {
        let remedy = format!("remove the backend or use 1..={WEIGHT_MAX}");
        value.wrong(&Mistake::new("gets no traffic", remedy));
        return None;
    }
    value.integer(1..=WEIGHT_MAX)
}

pub(super) fn lower(written: &Written) -> BackendConfig {
    BackendConfig {
        weight: written.weight.value,
        draining: written.draining,
        region: written.region.as_ref().map(|region| region.value.clone()),
        ..BackendConfig::new(&written.url.value.identity)
    }
}
