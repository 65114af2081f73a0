//! When backends are asked how they are, as whoever asks them is told.

use core::time::Duration;
use std::sync::Arc;

use lb_core::config::{Policy, ProbeConfig, ProbeKind};
use lb_core::{Checked, Found, Service, Then, Time, Unobserved};

use crate::support::{config, secs, service};

fn checked_every_ten_seconds(distrusts: bool) -> Arc<Service> {
    let probe = ProbeConfig {
        kind: ProbeKind::Tcp,
        interval: Duration::from_secs(10),
        rise: 3,
        fall: 1,
        distrusts,
        ..ProbeConfig::default()
    };
    let mut config = config(Policy::RoundRobin, &[&[1; 8]]);
    config.probe = Some(probe);
    service(&config)
}

/// Seconds from each check of a backend to the next, which find this.
fn pauses(service: &Service, place: u16, found: &[Found]) -> Vec<f64> {
    let mut began = secs(100);
    let pause = |(round, found): (u64, &Found)| {
        let checked = Checked { round, began, took: Duration::ZERO, found: *found };
        let Then::Wait(next) = service.checked(place, checked, began, &Unobserved) else {
            panic!("there is nothing else to ask")
        };
        let pause = (next - began).as_secs_f64();
        began = next;
        pause
    };
    (0..).zip(found).map(pause).collect()
}

const GOOD: Found = Found::Connected;
const BAD: Found = Found::Nothing;

#[test]
fn who_is_trusted_after_three_good_checks_gets_them_at_once_and_the_others_at_leisure() {
    let short = |pause: f64| (0.9..=1.1).contains(&pause);
    let long = |pause: f64| (9.0..=11.0).contains(&pause);
    let check = |distrusts, place, found: &[Found], expected: &str| {
        let service = checked_every_ten_seconds(distrusts);
        let pauses = pauses(&service, place, found);
        let said = pauses.iter().map(|pause| match (short(*pause), long(*pause)) {
            (true, false) => 's',
            (false, true) => 'l',
            _ => panic!("{pause} s"),
        });
        assert_eq!(said.collect::<String>(), expected);
        assert!(!service.backend(place).standing().unhealthy);
    };
    check(true, 0, &[GOOD; 5], "sslll");
    // One that was seen to fail rises as slowly as was asked for.
    check(true, 1, &[BAD, GOOD, GOOD, GOOD, GOOD], "lllll");
    check(true, 2, &[GOOD, BAD, GOOD, GOOD, GOOD], "sllll");
    check(false, 3, &[GOOD, BAD, GOOD, GOOD, GOOD], "lllll");
}

#[test]
fn the_first_check_comes_after_a_backend_became_known() {
    for since in [Time::ZERO, secs(1_000)] {
        let trusted = checked_every_ten_seconds(false);
        let firsts = (0..8).map(|place| trusted.first_check(place, since).expect("there are some"));
        let firsts: Vec<f64> = firsts.map(|at| (at - since).as_secs_f64()).collect();
        assert!(firsts.iter().all(|at| (0.0..=10.0).contains(at)), "{firsts:?}");
        assert!(firsts.iter().any(|at| *at > 3.0), "they are spread: {firsts:?}");
        assert_eq!(checked_every_ten_seconds(true).first_check(0, since), Some(since));
    }
}
