//! `[tracing]`: of which requests spans are made, and where they are sent.

use crate::address;
use crate::config::{Origin, Tracing};
use crate::read::{Mistake, Table, Value};

/// The whole of what is sampled: shares are counted in millionths.
const MILLION: f64 = 1_000_000.0;
/// What a collector would cut anyway.
const NAME_BYTES_MAX: usize = 255;

pub(super) fn tracing(mut table: Table<'_>) -> Option<Tracing> {
    let enabled = table.boolean("enabled").or(false);
    let collector = || Origin { host: "127.0.0.1".to_owned(), port: 4318, tls: false };
    let endpoint = table.parsed("endpoint", endpoint).or(collector());
    let sample_per_million = table.field("sample", |value| share(&value)).or(10_000);
    let service_name = table.parsed("service_name", service_name).or("lb".to_owned());
    if !enabled {
        let others = ["endpoint", "sample", "service_name"];
        table.warn_without_effect(&others, "without enabled = true");
    }
    enabled.then_some(Tracing { endpoint, sample_per_million, service_name })
}

fn endpoint(text: &str) -> Result<Origin, Mistake> {
    if text.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://")) {
        let what = "asks for TLS, in which spans are not sent";
        return Err(Mistake::new(what, "use http:// to a collector that is near"));
    }
    // What is wrong with a url is the same wherever it leads.
    Ok(address::backend_url(text)?.origin)
}

/// A share of 0..=1 in millionths, of which one is the least that is more than nothing.
fn share(value: &Value<'_>) -> Option<u32> {
    let share = value.number(0.0..=1.0)?;
    // Through text, because a cast could cut; -0 is in the range too, and is 0.
    let millionths =
        format!("{:.0}", (share * MILLION).abs()).parse().expect("it is in 0..=1000000");
    if millionths == 0 && share > 0.0 {
        let remedy = "use 0 for none, or 0.000001 or more";
        value.wrong(&Mistake::new("is less than one request in a million", remedy));
        return None;
    }
    Some(millionths)
}

fn service_name(text: &str) -> Result<String, Mistake> {
    match (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.contains(char::is_control) {
        true => Ok(text.to_owned()),
        false => Err(Mistake::new("is not a name", "use 1..=255 bytes on one line")),
    }
}
