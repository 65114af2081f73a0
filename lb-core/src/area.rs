//! Where a client is, and which regions suit it.
//!
//! Regions are names of parts, the widest first, as in `us-west-2`. Two are as like as the parts they
//! share from the left: `us-west` suits a client in `us-west-2` better than `us-east` does, and
//! `europe-west` does not suit it at all, though both are in some west. Where only the country is
//! known, a table says its region.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use crate::config::{AreaHeaders, Country, Location, REGIONS_MAX, SteeringConfig};
use crate::facts::Facts;

/// Some of the regions that a service knows, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RegionSet(u64);

/// The regions that the backends of a service are in.
#[derive(Debug)]
pub(crate) struct Regions(Box<[String]>);

/// Where a client is, as far as steering asks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Area {
    /// Pools that are meant for it, a bit each.
    pub(crate) pools: u64,
    /// Regions whose backends suit it best.
    pub(crate) regions: RegionSet,
    pub(crate) at: Option<Point>,
}

/// A place on the globe: three coordinates on a sphere of radius 1, exact to a metre.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point([f32; 3]);

/// What a pool is meant for.
#[derive(Debug)]
pub(crate) struct Meant {
    pub(crate) countries: Box<[Country]>,
    pub(crate) regions: Box<[String]>,
}

/// Finds out where clients are.
#[derive(Debug)]
pub(crate) struct Locator {
    headers: AreaHeaders,
    countries: Box<[(Country, String)]>,
    regions: Regions,
    /// By pool.
    meant: Box<[Meant]>,
    /// The regions nearest to the proxy itself, where they count and not the client's.
    zone: Option<RegionSet>,
}

/// Countries and their regions where nothing else was said (Proxy Worker's table).
const COUNTRIES: [(&str, &str); 10] = [
    ("CN HK TW", "asia-east"),
    ("JP KR", "asia-northeast"),
    ("SG MY TH ID PH VN", "asia-southeast"),
    ("IN PK BD", "asia-south"),
    ("US CA", "us-west"),
    ("MX", "americas-north"),
    ("BR AR CL", "americas-south"),
    ("GB DE FR NL IT ES", "europe-west"),
    ("PL CZ RU", "europe-east"),
    ("AU NZ", "oceania"),
];

impl RegionSet {
    pub(crate) const fn contains(self, region: u8) -> bool {
        self.0 >> region & 1 != 0
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl Regions {
    /// The regions in `names`, each once, whatever its case. At most [`REGIONS_MAX`] are kept.
    pub(crate) fn new<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        let mut regions: Vec<String> = names.map(str::to_ascii_lowercase).collect();
        regions.sort_unstable();
        regions.dedup();
        regions.truncate(REGIONS_MAX);
        Self(regions.into())
    }

    pub(crate) fn count(&self) -> u8 {
        u8::try_from(self.0.len()).expect("REGIONS_MAX fits in a byte")
    }

    /// The number of a region.
    pub(crate) fn of(&self, name: &str) -> Option<u8> {
        let place = self.0.iter().position(|region| region.eq_ignore_ascii_case(name))?;
        u8::try_from(place).ok()
    }

    /// What the region of a number is called.
    pub(crate) fn name(&self, region: u8) -> &str {
        &self.0[usize::from(region)]
    }

    /// Those most like `wanted`, if any is.
    fn like(&self, wanted: &str) -> RegionSet {
        let names = self.0.iter().map(|region| likeness(wanted, region));
        RegionSet(best_of(names))
    }
}

/// Parts that two regions share from the left. All of them is one more, so that nothing is more like
/// a region than itself.
fn likeness(wanted: &str, offered: &str) -> usize {
    let parts = |name| str::split(name, '-');
    let shared = parts(wanted).zip(parts(offered)).take_while(|(a, b)| a.eq_ignore_ascii_case(b));
    shared.count() + usize::from(wanted.eq_ignore_ascii_case(offered))
}

/// Those of the highest rank above zero, a bit each.
fn best_of(ranks: impl Iterator<Item = usize> + Clone) -> u64 {
    let best = ranks.clone().max().unwrap_or(0);
    let is_best = |rank: usize| u64::from(best > 0 && rank == best);
    ranks.enumerate().fold(0, |set, (nth, rank)| set | is_best(rank) << nth)
}

impl Locator {
    pub(crate) fn new(config: &SteeringConfig, regions: Regions, meant: Box<[Meant]>) -> Self {
        let zone = config.zone.as_deref().map(|zone| regions.like(zone));
        let (headers, countries) = (config.headers.clone(), config.countries.clone().into());
        Self { headers, countries, regions, meant, zone }
    }

    /// Where the client of a request is.
    pub(crate) fn locate(&self, facts: &dyn Facts) -> Area {
        let said = |name: &Option<String>| {
            let value = facts.header(name.as_deref()?)?.trim_ascii();
            core::str::from_utf8(value).ok().filter(|value| !value.is_empty())
        };
        let country = said(&self.headers.country).and_then(|said| Country::new(said.as_bytes()));
        let region = said(&self.headers.region).or_else(|| self.region_of(country?));
        let degrees = |name| said(name)?.parse().ok();
        let latitude: Option<f64> = degrees(&self.headers.latitude);
        let point = latitude.zip(degrees(&self.headers.longitude));
        Area {
            pools: self.pools_for(country, region),
            regions: match self.zone {
                Some(zone) => zone,
                None => region.map_or(RegionSet::default(), |region| self.regions.like(region)),
            },
            at: point.and_then(|(latitude, longitude)| Point::new(latitude, longitude)),
        }
    }

    fn region_of(&self, country: Country) -> Option<&str> {
        let own = self.countries.iter().find(|(known, _)| *known == country);
        let usual = || COUNTRIES.iter().find(|(countries, _)| countries.contains(country.as_str()));
        own.map(|(_, region)| region.as_str()).or_else(|| usual().map(|(_, region)| *region))
    }

    /// The pools for a country, else those for the region most like the client's.
    fn pools_for(&self, country: Option<Country>, region: Option<&str>) -> u64 {
        let for_country = |meant: &Meant| country.is_some_and(|it| meant.countries.contains(&it));
        let by_country = best_of(self.meant.iter().map(|meant| usize::from(for_country(meant))));
        if by_country != 0 {
            return by_country;
        }
        let Some(region) = region else { return 0 };
        let rank = |meant: &Meant| meant.regions.iter().map(|it| likeness(region, it)).max();
        best_of(self.meant.iter().map(|meant| rank(meant).unwrap_or(0)))
    }
}

impl Point {
    /// The place at so many degrees north and east; `None` where there is none.
    pub(crate) fn new(latitude: f64, longitude: f64) -> Option<Self> {
        let is_there = latitude.abs() <= 90.0 && longitude.abs() <= 180.0;
        let (north, east) = (latitude.to_radians(), longitude.to_radians());
        let (level, up) = (libm::cos(north), libm::sin(north));
        #[expect(clippy::cast_possible_truncation, reason = "a metre is exact enough")]
        let point = [level * libm::cos(east), level * libm::sin(east), up].map(|it| it as f32);
        is_there.then_some(Self(point))
    }

    pub(crate) fn of(said: Location) -> Self {
        let degrees = |millionths: i32| f64::from(millionths) / 1e6;
        Self::new(degrees(said.latitude), degrees(said.longitude)).expect("it was checked")
    }

    /// The great circle between the two, in radians (half the haversine formula, by the chord).
    pub(crate) fn distance(self, other: Self) -> f64 {
        let square = |nth: usize| {
            let side = f64::from(self.0[nth]) - f64::from(other.0[nth]);
            side * side
        };
        2.0 * libm::asin((libm::sqrt(square(0) + square(1) + square(2)) / 2.0).min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_like_another_from_the_left() {
        let like = |wanted, names: &[&str]| {
            let regions = Regions::new(names.iter().copied());
            let found = regions.like(wanted);
            let names = (0..regions.count()).filter(|region| found.contains(*region));
            names.map(|nth| regions.0[usize::from(nth)].clone()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(like("us-west", &["europe-west", "us-east", "us-west"]), "us-west");
        assert_eq!(like("US-West", &["us-west-2", "us-west", "us-west-1"]), "us-west");
        assert_eq!(like("us-west-2", &["us-east", "us-west", "europe-west"]), "us-west");
        assert_eq!(like("us-central", &["us-east", "us-west", "europe-west"]), "us-east us-west");
        // What Proxy Worker confused: a part alone, wherever it stands.
        assert_eq!(like("us-west", &["europe-west", "asia-east"]), "");
        assert_eq!(like("us", &["us-east", "usual"]), "us-east");
        assert_eq!(like("", &["us-east"]), "");
    }

    #[test]
    fn distances_are_those_of_the_globe() {
        let at = |latitude, longitude| Point::new(latitude, longitude).unwrap();
        let km = |a: Point, b: Point| 6_371.0 * a.distance(b);
        let (berlin, sydney) = (at(52.52, 13.405), at(-33.8688, 151.2093));
        assert!((km(berlin, at(48.8566, 2.3522)) - 877.5).abs() < 1.0, "Paris");
        assert!((km(berlin, sydney) - 16_090.0).abs() < 20.0);
        assert!((km(at(0.0, 179.9), at(0.0, -179.9)) - 22.2).abs() < 0.1, "over the date line");
        assert!((km(at(90.0, 0.0), at(-90.0, 77.0)) - 20_015.0).abs() < 1.0, "pole to pole");
        assert!(km(berlin, berlin) < 1e-6);
        for wrong in [(90.1, 0.0), (0.0, -180.1), (f64::NAN, 0.0), (0.0, f64::INFINITY)] {
            assert_eq!(Point::new(wrong.0, wrong.1), None);
        }
    }

    #[test]
    fn every_country_of_the_table_is_one() {
        let countries = COUNTRIES.iter().flat_map(|(countries, _)| countries.split(' '));
        assert!(countries.clone().all(|it| Country::new(it.as_bytes()).is_some()));
        assert_eq!(countries.count(), 31);
        assert_eq!(Country::new(b"de").unwrap().as_str(), "DE");
        assert_eq!((Country::new(b"d3"), Country::new(b"DEU")), (None, None));
    }
}
