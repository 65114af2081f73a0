//! `[service.steering]`: how a pool is chosen, and where clients are.

use lb_core::config::{AreaHeaders, Country, OVERPROVISION_MAX, SteeringConfig, SteeringPolicy};

use crate::native::balance::is_token;
use crate::read::{Field, Mistake, Table};

pub(super) fn steering(mut table: Table<'_>, checks: bool) -> SteeringConfig {
    let policies = [
        ("priority", SteeringPolicy::Priority),
        ("weighted", SteeringPolicy::Weighted),
        ("random", SteeringPolicy::Random),
        ("least-outstanding", SteeringPolicy::LeastOutstanding),
        ("geo", SteeringPolicy::Geo),
        ("proximity", SteeringPolicy::Proximity),
        ("fastest", SteeringPolicy::Fastest),
    ];
    let said = table.choice("policy", &policies).or_given(SteeringPolicy::Priority);
    let policy = said.value;
    if policy == SteeringPolicy::Fastest && !checks {
        let what = "policy \"fastest\" goes by health checks, and there are none";
        table.report().error(said.at, what, "add [service.health] with enabled = true");
    }
    let overprovision = table.integer("overprovision_percent", 100..=OVERPROVISION_MAX).given();
    if policy != SteeringPolicy::Priority {
        let why = "with this policy: pools spill over by priority";
        table.warn_without_effect(&["overprovision_percent"], why);
    }
    let zone = table.parsed("zone", region).given().map(|zone| zone.value);
    let headers = AreaHeaders {
        country: header(table.parsed("country_header", header_name)),
        region: header(table.parsed("region_header", header_name)),
        latitude: header(table.parsed("latitude_header", header_name)),
        longitude: header(table.parsed("longitude_header", header_name)),
    };
    if zone.is_some() && policy != SteeringPolicy::Geo {
        let why = "with zone, which says what is near wherever the client is";
        table.warn_without_effect(&["country_header", "region_header"], why);
    }
    if policy != SteeringPolicy::Proximity {
        let why = "with this policy: proximity goes by coordinates";
        table.warn_without_effect(&["latitude_header", "longitude_header"], why);
    }
    if policy == SteeringPolicy::Proximity
        && (headers.latitude.is_none() || headers.longitude.is_none())
    {
        let what = "policy \"proximity\" is not told where clients are";
        let remedy = "add latitude_header and longitude_header";
        table.report().error(table.at(), what, remedy);
    }
    if policy == SteeringPolicy::Geo && headers.country.is_none() && headers.region.is_none() {
        let what = "policy \"geo\" is not told where clients are";
        table.report().error(table.at(), what, "add country_header or region_header");
    }
    let countries = countries(table.table("countries"));
    SteeringConfig {
        policy,
        overprovision_percent: overprovision.map(|percent| percent.value),
        zone,
        headers,
        countries,
    }
}

fn countries(table: Table<'_>) -> Vec<(Country, String)> {
    let entries = table.entries();
    let one = |(name, value): (crate::read::Given<&str>, crate::read::Value<'_>)| {
        let region = value.parsed(region)?;
        match Country::new(name.value.as_bytes()) {
            Some(country) => Some((country, region)),
            None => {
                let what = format!("{} is no country", name.value);
                value.report().error(name.at, what, "use two letters, as in DE (ISO 3166-1)");
                None
            }
        }
    };
    entries.into_iter().filter_map(one).collect()
}

fn header(field: Field<'_, String>) -> Option<String> {
    field.given().map(|name| name.value)
}

fn header_name(text: &str) -> Result<String, Mistake> {
    match is_token(text) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(Mistake::new("is no name of a header", "write \"cf-ipcountry\" or the like")),
    }
}

/// Parts joined by `-`, the widest first.
pub(super) fn region(text: &str) -> Result<String, Mistake> {
    const REGION_MAX: usize = 63;
    let good = |part: &str| !part.is_empty() && part.bytes().all(|it| it.is_ascii_alphanumeric());
    match text.len() <= REGION_MAX && text.split('-').all(good) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(Mistake::new(
            "is no region",
            "use up to 63 letters and digits in parts joined by -, as in \"us-west-2\"",
        )),
    }
}

pub(super) fn country(text: &str) -> Result<Country, Mistake> {
    Country::new(text.as_bytes())
        .ok_or_else(|| Mistake::new("is no country", "use two letters, as in \"DE\" (ISO 3166-1)"))
}
