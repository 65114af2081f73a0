//! Who does worse than the others, and how a backend comes to its share.

use core::time::Duration;

use lb_core::config::{OutlierConfig, Policy, ServiceConfig, SlowStartConfig};
use lb_core::{Ask, Repeat};
use lb_core::{
    Body, BodyEnd, Event, Exchange, ExchangeId, Outcome, Outlier, Service, Step, Time, Unobserved,
};

use crate::support::{Log, POLICIES, attempt, config, place, secs, service, start};

fn compared(policy: Policy, count: usize) -> ServiceConfig {
    let weights = vec![1; count];
    let outliers = OutlierConfig { min_backends: 3, min_requests: 20, ..OutlierConfig::default() };
    ServiceConfig { outliers: Some(outliers), breaker: None, ..config(policy, &[&weights]) }
}

/// `requests` at `now`; whoever `fails` answers 500 to.
fn serve(service: &Service, log: &Log, now: Time, requests: u64, fails: impl Fn(usize) -> bool) {
    for id in 0..requests {
        let ask = Ask::bare(ExchangeId(now.as_micros() + id), Repeat::Safe);
        let attempt = attempt(Exchange::start(service, log, ask, now));
        let status = if fails(place(&attempt)) { 500 } else { 200 };
        let step = attempt.finish(Outcome::Answered(status), Body::Intact, now);
        let Step::Deliver(delivery) = step else { panic!("no retries") };
        delivery.end(BodyEnd::Complete, service, now, log);
    }
}

fn ejections(log: &Log) -> Vec<(u16, Time, Outlier)> {
    let of = |(_, event)| match event {
        Event::Ejected { backend, until, why } => Some((backend.backend, until, why)),
        _ => None,
    };
    log.take().into_iter().filter_map(of).collect()
}

#[test]
fn an_outlier_is_out_for_a_while_and_longer_each_time() {
    let service = service(&compared(Policy::RoundRobin, 10));
    let log = Log::default();
    serve(&service, &log, secs(1), 1_000, |place| place == 4);
    assert_eq!(ejections(&log), [], "not before the interval is over");
    serve(&service, &log, secs(10), 1_000, |place| place == 4);
    let [(4, until, Outlier::SuccessRate { own: 0, mean: 9_000, .. })] = ejections(&log)[..] else {
        panic!("4 is out");
    };
    assert_eq!(until, secs(40));
    // Out: nobody asks it, and nobody is worse than the others.
    serve(&service, &log, secs(20), 1_000, |place| {
        assert_ne!(place, 4);
        false
    });
    assert_eq!(ejections(&log), []);
    // It comes back by itself, is no better, and is out for twice as long.
    serve(&service, &log, secs(41), 1_000, |place| place == 4);
    serve(&service, &log, secs(51), 1, |_| false);
    let [(4, until, _)] = ejections(&log)[..] else { panic!("4 is out again") };
    assert_eq!(until, secs(51 + 60));
}

#[test]
fn no_more_are_out_than_may_be_and_none_when_all_are_ill() {
    for policy in POLICIES.into_iter().filter(|it| *it != Policy::First && *it != Policy::Fastest) {
        let mut config = compared(policy, 10);
        let outliers = config.outliers.as_mut().expect("it compares");
        (outliers.failure_percent, outliers.eject_percent_max) = (Some(50), 30);
        outliers.min_requests = 5;
        let service = service(&config);
        let log = Log::default();
        serve(&service, &log, secs(1), 2_000, |place| place < 5);
        serve(&service, &log, secs(10), 1, |_| false);
        let out = ejections(&log);
        assert!(
            (1..=3).contains(&out.len()) && out.iter().all(|it| it.0 < 5),
            "{policy:?}: {out:?}"
        );
        serve(&service, &log, secs(11), 2_000, |_| true);
        serve(&service, &log, secs(20), 1, |_| false);
        let out = service.backends().filter(|it| it.standing().is_ejected(secs(20))).count();
        assert_eq!(out, 3, "{policy:?}");
    }
}

fn slow(policy: Policy) -> ServiceConfig {
    let window = Duration::from_secs(100);
    let slow_start = Some(SlowStartConfig { window, floor_percent: 5 });
    ServiceConfig { slow_start, ..config(policy, &[&[1; 4]]) }
}

/// What the backend at place 3 gets of 20,000 picks at `now`.
fn share(service: &Service, now: Time) -> f64 {
    let hit = |id: u64| place(&attempt(start(service, (now.as_micros() << 16) + id, now))) == 3;
    (0..20_000).filter(|id| hit(*id)).count() as f64 / 20_000.0
}

#[test]
fn a_new_backends_share_rises_evenly_to_its_own() {
    for policy in [Policy::RoundRobin, Policy::WeightedRandom, Policy::LeastRequest] {
        let mut before = slow(policy);
        let fourth = before.pools[0].backends.pop().expect("there are four");
        let old = service(&before);
        before.pools[0].backends.push(fourth);
        let service = old.succeed(&before, 3, 7, secs(1_000)).expect("it is meaningful");
        let shares: Vec<f64> =
            (0..=10).map(|tenth| share(&service, secs(1_000 + 10 * tenth))).collect();
        assert!(shares.windows(2).all(|two| two[0] <= two[1] + 0.01), "{policy:?}: {shares:?}");
        // A choice of four that holds with chance f: f of a fourth where others take over what was
        // spared, and f/(3 + f) where a turn that was spared is a turn less.
        for (tenth, chance) in [(0, 0.05), (5, 0.5), (10, 1.0)] {
            let range = chance / 4.0 - 0.01..chance / (3.0 + chance) + 0.01;
            assert!(range.contains(&shares[tenth]), "{policy:?}: {shares:?}");
        }
    }
}

#[test]
fn who_has_recovered_starts_slowly_and_who_is_alone_gets_everything() {
    let service = service(&slow(Policy::WeightedRandom));
    let mut failing = None;
    for id in 0.. {
        let attempt = attempt(start(&service, id, secs(1)));
        if place(&attempt) == 3 {
            failing = Some(attempt);
            break;
        }
    }
    drop(failing.expect("it is chosen").finish(Outcome::Answered(500), Body::Intact, secs(1)));
    // Its breaker is open for an hour, then a trial closes it.
    let now = secs(3_602);
    for id in 1 << 40.. {
        let attempt = attempt(start(&service, id, now));
        if place(&attempt) == 3 {
            drop(attempt.finish(Outcome::Answered(200), Body::Intact, now));
            break;
        }
    }
    assert!(share(&service, now) < 0.03);
    assert!((share(&service, now + Duration::from_secs(100)) - 0.25).abs() < 0.01);
    (0..3).for_each(|place| service.drain(place, true));
    assert!((share(&service, now) - 1.0).abs() < 1e-9);
    let step = Exchange::start(&service, &Unobserved, Ask::bare(ExchangeId(1), Repeat::Safe), now);
    assert_eq!(place(&attempt(step)), 3);
}
