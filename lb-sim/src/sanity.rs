//! What may be asked of a world: how long it needs to recover, and whether it can carry its load.
//!
//! That everything is as before some time after the last fault is promised to nobody whose breakers stay
//! open for an hour, and that overload ends with its cause to nobody whose clients ask for more than his
//! servers can do. So swarms draw worlds that pass both questions, shrinkers stay among them, and the
//! invariant about metastability judges no others.

use std::sync::Arc;
use std::time::Duration;

use lb_config::config::Service;
use lb_core::config::{Policy, ServiceConfig, SteeringPolicy};

use crate::measure::Addresses;
use crate::scenario::{Latency, Origin, Scenario};

/// What is left of a capacity for what is uneven.
const HEADROOM: f64 = 1.25;
/// A request in 10 to the power of so many may find a server full that chance alone has filled.
const NINES: f64 = 8.0;
/// Until the first request comes that may try a backend, and others follow.
const TRAFFIC: Duration = Duration::from_secs(1);
/// A run is no longer than an hour.
const TRIALS_MAX: Duration = Duration::from_secs(3_600);

/// How long after the last fault everything may take until it is as before, at worst.
pub fn recovery(scenario: &Scenario) -> Duration {
    let services = scenario.configs().flat_map(|config| &config.services);
    let longest = services
        .map(|service| of_service(&service.core, scenario.workload.rate))
        .max()
        .unwrap_or_default();
    longest + backlog(scenario)
}

/// A breaker may open once more for what began in bad times, and each after the other: checks bring a
/// backend back, then its breaker lets it on trial.
fn of_service(service: &ServiceConfig, rate: f64) -> Duration {
    let timeouts = service.timeouts;
    let stragglers = timeouts.connect + timeouts.first_byte;
    let breaker = service.breaker.map_or(Duration::ZERO, |it| {
        2 * it.open_for_max + TRAFFIC + trials(service, it.half_open_successes, rate)
    });
    let checks = service.probe.as_ref().map_or(Duration::ZERO, |it| {
        let interval = it.interval_max.unwrap_or(it.interval).max(it.interval);
        (interval + interval / 5 + it.timeout) * (u32::from(it.rise) + 1)
    });
    let outliers = service.outliers.map_or(Duration::ZERO, |it| it.interval + it.eject_for_max);
    stragglers + breaker + checks + outliers + timeouts.body_idle.min(timeouts.exchange)
}

/// How long a backend that gets its share waits for so many trials, unless luck is very bad: with four times
/// as many requests as it takes, and three more, once in ten million.
fn trials(service: &ServiceConfig, successes: u8, rate: f64) -> Duration {
    let backends: usize = service.pools.iter().map(|pool| pool.backends.len()).sum();
    let gap = f64::from(u32::try_from(backends).unwrap_or(u32::MAX)) / rate;
    // Clients that wait for their answers have no rate.
    let span = Duration::try_from_secs_f64(gap * 4.0 * (f64::from(successes) + 3.0));
    span.map_or(TRIALS_MAX, |span| span.min(TRIALS_MAX))
}

/// What servers still have to do for whom nobody waits any more.
fn backlog(scenario: &Scenario) -> Duration {
    let one = |origin: &Origin| {
        let places = u32::try_from(origin.concurrency?).ok()?;
        let queue = u32::try_from(origin.queue).unwrap_or(u32::MAX);
        Some(origin.latency.mean() * 2 * (queue / places + 1))
    };
    scenario.origins.iter().filter_map(one).max().unwrap_or_default()
}

/// Whether a world is left alone for long enough to recover.
pub fn has_time(scenario: &Scenario) -> bool {
    scenario.faults.is_empty() || scenario.recover_within >= recovery(scenario)
}

/// Whether an answer of a sound backend always comes in time, and all of them can be given.
pub fn is_ample(scenario: &Scenario) -> bool {
    let tail = scenario.origins.iter().map(|origin| tail(&origin.latency)).max();
    let tail = 2 * tail.unwrap_or_default() + 4 * scenario.network.max;
    let patient = |it: &Arc<Service>| {
        it.core.timeouts.first_byte >= tail && it.core.timeouts.connect >= tail / 4
    };
    let patient = scenario.configs().all(|config| config.services.iter().all(patient));
    patient && scenario.workload.timeout >= tail && carries(scenario, 1.0)
}

/// Whether what clients and the proxy ask for at worst, with everything that is asked again, is less than
/// what the servers can do: then nothing can keep overload going that its cause does not.
pub fn is_stable(scenario: &Scenario) -> bool {
    let retries = |it: &Arc<Service>| match it.core.retry.attempts_max {
        1 => 0.0,
        _ => {
            let budget = it.core.retry.budget;
            f64::from(budget.percent) / 100.0
                + f64::from(budget.min_per_second) / scenario.workload.rate
        }
    };
    let services = scenario.configs().flat_map(|config| &config.services);
    let retries = services.map(retries).fold(0.0, f64::max);
    let clients = 1.0 + f64::from(scenario.workload.again.tries);
    carries(scenario, clients * (1.0 + retries)) && is_ample(scenario)
}

/// Whether servers can do what is asked of them so many times over.
fn carries(scenario: &Scenario, times: f64) -> bool {
    let demand = scenario.workload.rate * times;
    let known = Addresses::new(scenario);
    let bear = |service: &Arc<Service>| {
        // Where nobody owes each its share, one may get all.
        let is_even = spreads(&service.core);
        let pools = service.core.pools.iter().flat_map(|pool| {
            let count = u32::try_from(pool.backends.len()).unwrap_or(u32::MAX);
            let share = if is_even { 1.0 / f64::from(count) } else { 1.0 };
            pool.backends.iter().map(move |_| share)
        });
        pools.zip(&service.origins).all(|(share, at)| {
            bears(&scenario.origins[known.place(&at.host, at.port)], demand * share)
        })
    };
    scenario.configs().flat_map(|config| &config.services).all(bear)
}

/// Whether a server answers so many requests per second, and its queue takes what chance brings.
///
/// That more than so many come at a time as it has places is as likely as that a Poisson variable is as
/// far from its mean (Chernoff's bound); each place of the queue makes it less likely by the load.
fn bears(origin: &Origin, rate: f64) -> bool {
    let whole = |count: usize| u32::try_from(count).map_or(f64::MAX, f64::from);
    let Some(places) = origin.concurrency.map(whole) else { return true };
    let busy = rate * origin.latency.mean().as_secs_f64().max(1e-6);
    let load = busy / places;
    let arrive = (places - busy).powi(2) / (2.0 * places) * core::f64::consts::LOG10_E;
    let queue = whole(origin.queue) * -libm::log10(load);
    load * HEADROOM <= 1.0 && arrive + queue >= NINES
}

/// Whether all backends of a pool get about the same.
pub(crate) fn spreads(service: &ServiceConfig) -> bool {
    let policy = matches!(
        service.policy,
        Policy::RoundRobin
            | Policy::WeightedRandom
            | Policy::LeastRequest
            | Policy::LeastRequestExact
    );
    policy && is_even(service)
}

/// Whether all backends of a pool are as good as each other to whoever looks at nothing else.
pub(crate) fn is_even(service: &ServiceConfig) -> bool {
    let mut weights = service.pools.iter().flat_map(|pool| &pool.backends).map(|it| it.weight);
    let first = weights.next();
    service.affinity.is_none()
        && service.steering.policy == SteeringPolicy::Priority
        && weights.all(|weight| Some(weight) == first)
}

/// What an answer never takes: once in a billion.
fn tail(latency: &Latency) -> Duration {
    match *latency {
        Latency::Exponential { mean } => mean * 20,
        Latency::Lognormal { median, sigma } => median.mul_f64(libm::exp(6.0 * sigma)),
        _ => latency.ample(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario;

    fn world(more: &str) -> Scenario {
        let text = format!(
            "# A world.\nschema = 1\nduration = \"1h\"\nrecover_within = \"1m\"\n[workload]\nrate = 100\n\
             [[origin]]\nat = \"b1:80\"\nlatency = \"10ms\"\nconcurrency = 2\nqueue = 30\n\
             [[fault]]\nat = \"1s\"\nfor = \"1s\"\nkind = \"crash\"\norigin = \"b1:80\"\n\
             [[config.listener]]\nbind = \"0.0.0.0:80\"\n[[config.service]]\nname = \"web\"\nhosts = [\"*\"]\n\
             [[config.service.pool]]\nbackends = [{{ url = \"http://b1\" }}]\n{more}"
        );
        let (scenario, said) = scenario::load(&lb_config::Source { name: "s.toml", text: &text });
        scenario.unwrap_or_else(|| panic!("{said:?}"))
    }

    #[test]
    fn a_breaker_that_stays_open_for_minutes_takes_minutes_to_recover() {
        let short = "[config.service.breaker]\nopen_for = \"1s\"\nopen_for_max = \"2s\"\n\
                     [config.service.timeouts]\nfirst_byte = \"2s\"\nbody_idle = \"1s\"\n";
        assert!(recovery(&world("")) > Duration::from_secs(600));
        assert!(recovery(&world(short)) < Duration::from_secs(20));
        assert!(!has_time(&world("")));
    }

    #[test]
    fn overload_is_nobodys_promise_and_retries_count_as_load() {
        assert!(is_ample(&world("")), "two places of 10 ms each are 200 a second");
        assert!(!is_stable(&world("[config.service.retry]\nbudget = { percent = 100 }\n")));
        assert!(is_stable(&world("[config.service.retry]\nattempts_max = 1\n")));
        assert!(!is_ample(&world("[config.service.timeouts]\nfirst_byte = \"15ms\"\n")));
    }

    #[test]
    fn a_queue_must_take_what_chance_brings() {
        let full = |concurrency, queue, rate| {
            let mut origin = world("").origins.remove(0);
            (origin.concurrency, origin.queue) = (Some(concurrency), queue);
            !bears(&origin, rate)
        };
        assert!(full(1, 20, 70.0), "one in a thousand finds 21 before it");
        assert!(!full(1, 100, 70.0));
        assert!(!full(100, 0, 100.0), "who has a place for everybody needs no queue");
        assert!(full(1, 100_000, 90.0), "a tenth is not enough");
    }
}
