//! `[service.balance]`: how a backend is chosen within a pool.

use lb_core::config::{
    CHOICES_MAX, HashConfig, KEY_SOURCES_MAX, KeySource, LOAD_PERCENT_MAX, LatencyConfig, Policy,
    SWITCH_MARGIN_MAX, SteeringConfig, SteeringPolicy,
};

use crate::native::DURATIONS;
use crate::read::{Mistake, Table};

/// The policy and what it goes by.
pub(super) struct Balance {
    pub(super) policy: Policy,
    pub(super) choices: u8,
    pub(super) latency: LatencyConfig,
    pub(super) hash: HashConfig,
    pub(super) switch_margin: u8,
}

pub(super) fn balance(mut table: Table<'_>, steering: &SteeringConfig, checks: bool) -> Balance {
    let policies = [
        ("round-robin", Policy::RoundRobin),
        ("weighted-random", Policy::WeightedRandom),
        ("least-request", Policy::LeastRequest),
        ("least-request-exact", Policy::LeastRequestExact),
        ("peak-ewma", Policy::PeakEwma),
        ("prequal", Policy::Prequal),
        ("fastest", Policy::Fastest),
        ("performance", Policy::Performance),
        ("performance-naive", Policy::PerformanceNaive),
        ("health-score", Policy::HealthScore),
        ("first", Policy::First),
        ("ring", Policy::Ring),
        ("maglev", Policy::Maglev),
        ("rendezvous", Policy::Rendezvous),
        ("java-hash-modulo", Policy::JavaHashModulo),
        ("sha256-modulo", Policy::Sha256Modulo),
        ("hash31-modulo", Policy::Hash31Modulo),
    ];
    let said = table.choice("policy", &policies).or_given(Policy::LeastRequest);
    let policy = said.value;
    if policy == Policy::Fastest && !checks {
        let what = "policy \"fastest\" goes by health checks, and there are none";
        table.report().error(said.at, what, "add [service.health] with enabled = true");
    }
    let switch_margin = table.integer("switch_margin", 0..=SWITCH_MARGIN_MAX).or(10);
    if policy != Policy::Fastest && steering.policy != SteeringPolicy::Fastest {
        table.warn_without_effect(&["switch_margin"], "where nothing goes by \"fastest\"");
    }
    let choices = table.integer("choices", 2..=CHOICES_MAX).or(2);
    let latency = latency(&mut table, policy);
    let default = HashConfig::default();
    let sources = table.list("hash", |item| item.parsed(source)).or_given(default.sources);
    let load_percent = table.integer("load_percent", 101..=LOAD_PERCENT_MAX);
    let load_percent = load_percent.given().map(|percent| percent.value);
    if !(1..=KEY_SOURCES_MAX).contains(&sources.value.len()) {
        let what = format!("hash has {} sources", sources.value.len());
        table.report().error(sources.at, what, format!("use 1..={KEY_SOURCES_MAX}"));
    }
    if !policy.hashes() {
        table.warn_without_effect(&["hash"], "with this policy: it goes by no key");
    }
    if !policy.is_consistent() {
        let why = "with this policy: ring, maglev and rendezvous bound the load";
        table.warn_without_effect(&["load_percent"], why);
    }
    if policy != Policy::LeastRequest {
        table.warn_without_effect(&["choices"], "with this policy: least-request compares");
    }
    let hash = HashConfig { sources: sources.value, load_percent };
    Balance { policy, choices, latency, hash, switch_margin }
}

fn latency(table: &mut Table<'_>, policy: Policy) -> LatencyConfig {
    let default = LatencyConfig::default();
    let latency = LatencyConfig {
        half_life: table.duration("half_life", DURATIONS).or(default.half_life),
        failure_penalty: table.duration("failure_penalty", DURATIONS).or(default.failure_penalty),
    };
    if !policy.measures() {
        let why = "with this policy: it does not go by latency";
        table.warn_without_effect(&["half_life", "failure_penalty"], why);
    }
    latency
}

/// `client-ip`, `header:x-user`, `cookie:id`, `path`, `query`, `query:id`, `text:unknown`.
pub(super) fn source(text: &str) -> Result<KeySource, Mistake> {
    let (kind, name) = text.split_once(':').map_or((text, None), |(kind, name)| (kind, Some(name)));
    let owned = |name: &str| name.to_owned();
    let source = match (kind, name) {
        ("client-ip", None) => KeySource::ClientIp,
        ("forwarded-for", None) => KeySource::ForwardedFor,
        ("path", None) => KeySource::Path,
        ("query", None) => KeySource::Query,
        ("header", Some(name)) if is_token(name) => KeySource::Header(name.to_ascii_lowercase()),
        ("cookie", Some(name)) if is_token(name) => KeySource::Cookie(owned(name)),
        ("query", Some(name)) if !name.is_empty() => KeySource::Parameter(owned(name)),
        ("text", Some(text)) if !text.is_empty() => KeySource::Text(owned(text)),
        _ => {
            let remedy = "use \"client-ip\", \"forwarded-for\", \"header:NAME\", \"cookie:NAME\", \
                          \"path\", \"query\", \"query:NAME\" or \"text:SOME\"";
            return Err(Mistake::new("is no source of a key", remedy));
        }
    };
    Ok(source)
}

/// RFC 9110 §5.6.2.
pub(super) fn is_token(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(good)
}
