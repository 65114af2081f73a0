//! Races for what is not seen from outside: tables, places and words that two threads write at once,
//! under every order in which they can meet.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p lb-core --release --lib races`

use core::time::Duration;

use loom::sync::Arc;
use loom::thread;

use crate::adaptive::Adaptive;
use crate::balance::ends::{Ends, Scale};
use crate::config::{
    AdaptiveConfig, ErrorRateConfig, LatencyConfig, LimitConfig, OutlierConfig, RateConfig,
    StickConfig,
};
use crate::facts::Unknown;
use crate::latency::Latency;
use crate::limit::Limits;
use crate::outlier::{Outliers, Tally};
use crate::rate::Rate;
use crate::score::{Record, Shown};
use crate::stick::Stick;
use crate::time::Time;
use crate::window::Window;
use crate::word::Shared;

/// Runs `body` on its own thread and on this one.
fn twice<T: 'static>(body: impl Fn(u64) -> T + Clone + 'static) -> [T; 2] {
    let other = body.clone();
    let other = thread::spawn(move || other(1));
    let own = body(0);
    [own, other.join().expect("no model panics")]
}

fn bounded(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn one_request_that_is_left_is_left_to_one_thread() {
    bounded(|| {
        let config = RateConfig { requests: 1, burst: 1, ..RateConfig::default() };
        let rate = Arc::new(Rate::new(&config, 7, None));
        let passed = twice(move |_| rate.take(77, Time::ZERO).is_ok());
        assert_eq!(passed.iter().filter(|it| **it).count(), 1);
    });
}

#[test]
fn two_clients_of_one_set_keep_their_own_limits() {
    bounded(|| {
        let config = RateConfig { requests: 1, burst: 1, ..RateConfig::default() };
        let rate = Arc::new(Rate::new(&config, 7, None));
        let shared = Arc::clone(&rate);
        // The same set, different tags.
        let key = |thread: u64| (thread + 1) << 50;
        assert_eq!(twice(move |thread| shared.take(key(thread), Time::ZERO).is_ok()), [true; 2]);
        assert!(rate.take(key(0), Time::ZERO).is_err() && rate.take(key(1), Time::ZERO).is_err());
    });
}

#[test]
fn one_place_is_taken_once_and_given_back() {
    bounded(|| {
        let config = LimitConfig { per_service: Some(1), queue_max: 1, ..LimitConfig::default() };
        let limits = Arc::new(Limits::new(&config, 7, None));
        let shared = Arc::clone(&limits);
        let held = twice(move |_| (shared.enter(), shared.queue(&Unknown)));
        assert!(held.iter().filter(|it| it.0.is_some()).count() <= 1);
        assert!(held.iter().filter(|it| it.1.is_some()).count() <= 1);
        drop(held);
        assert_eq!((limits.running(), limits.waiting()), (0, 0));
        assert!(limits.enter().is_some());
    });
}

#[test]
fn a_client_never_has_more_than_it_may_and_ends_with_nothing() {
    bounded(|| {
        let config = LimitConfig { per_client: Some(1), ..LimitConfig::default() };
        let limits = Arc::new(Limits::new(&config, 7, None));
        let shared = Arc::clone(&limits);
        let held = twice(move |_| shared.admit(&Unknown));
        assert_eq!(held.iter().filter(|it| matches!(it, Some(Some(_)))).count(), 1);
        assert_eq!(held.iter().filter(|it| it.is_none()).count(), 1);
        drop(held);
        // Whatever was taken is back: the next one finds a place.
        assert!(matches!(limits.admit(&Unknown), Some(Some(_))));
    });
}

#[test]
fn one_thread_compares_backends_in_an_interval() {
    loom::model(|| {
        let outliers = Arc::new(Outliers::new(OutlierConfig::default(), Time::ZERO));
        let due = twice(move |_| outliers.is_due(Time::from_millis(10_000)));
        assert_eq!(due.iter().filter(|it| **it).count(), 1);
    });
}

#[test]
fn who_is_remembered_by_two_threads_is_remembered_once() {
    bounded(|| {
        let stick = Arc::new(Stick::new(&StickConfig::default(), 0..8, None));
        let shared = Arc::clone(&stick);
        twice(move |thread| {
            let place = u16::try_from(thread).expect("two threads");
            shared.remember(1 << 60, place, Time::ZERO);
        });
        assert!(matches!(stick.place(1 << 60, Time::ZERO), Some(0 | 1)));
    });
}

#[test]
fn two_samples_leave_what_one_order_of_them_leaves() {
    loom::model(|| {
        let config = LatencyConfig::default();
        let latency = Arc::new(Shared::new(Latency::default()));
        let window = Arc::new(Shared::new(Window::default()));
        let tally = Arc::new(Shared::new(Tally::default()));
        let shared = (Arc::clone(&latency), Arc::clone(&window), Arc::clone(&tally));
        let rate = ErrorRateConfig { percent: 50, min_requests: 2, ..ErrorRateConfig::default() };
        twice(move |thread| {
            let (latency, window, tally) = &shared;
            let took = ms(5 + 1_000 * thread);
            latency.step(|it| Some(it.observe(took, Time::ZERO, &config)));
            window.step(|it| Some(it.record(thread == 0, Time::ZERO, &rate)));
            tally.step(|it| Some(it.after(thread == 0)));
        });
        let micros = latency.get().last();
        assert!(matches!(micros, Some(5_000 | 1_005_000)), "{micros:?}: the peak, or after it");
        assert!(window.get().is_bad(&rate), "both were counted: one of two failed");
        assert_eq!(tally.get(), Tally { requests: 2, failures: 1 });
    });
}

#[test]
fn two_answers_are_both_in_the_record_and_the_limit() {
    loom::model(|| {
        let config = AdaptiveConfig::default();
        let record = Arc::new(Shared::new(Record::default()));
        let adaptive = Arc::new(Shared::new(Adaptive::default()));
        let shared = (Arc::clone(&record), Arc::clone(&adaptive));
        twice(move |thread| {
            let (record, adaptive) = &shared;
            let shown = if thread == 0 { Shown::Critical } else { Shown::Good };
            record.step(|it| Some(it.after(shown, ms(10))));
            adaptive.step(|it| Some(it.after(Some(ms(10)), 4, &config)));
        });
        let record = record.get();
        assert_eq!((record.requests, record.errors, record.critical), (2, 1, 1));
        let once = Adaptive::default().after(Some(ms(10)), 4, &config);
        assert_eq!(adaptive.get(), once.after(Some(ms(10)), 4, &config));
    });
}

#[test]
fn two_that_go_beyond_the_ends_leave_one_order_of_them_and_the_last_look() {
    loom::model(|| {
        let (looked, scale) = Ends::of([(0, Some(5.0))].into_iter());
        let looked = looked.totalling(100);
        let beyond = |ends: Ends, scale: &Scale, thread: u64| {
            let (place, score) = if thread == 0 { (1, 3.0) } else { (2, 9.0) };
            ends.with(scale, place, Some(score)).expect("it goes beyond an end").0
        };
        let hint = Arc::new(Shared::new(looked));
        let shared = Arc::clone(&hint);
        let kept = twice(move |thread| {
            let seen = shared.get();
            // Who comes second may see the other's ends, with a scale that is its own.
            let next = beyond(seen, &scale, thread);
            shared.step(|it| (it == seen).then_some(next)).is_some()
        });
        let both = beyond(beyond(looked, &scale, 0), &scale, 1);
        let expected = match kept {
            [true, true] => both,
            [true, false] => beyond(looked, &scale, 0),
            [false, true] => beyond(looked, &scale, 1),
            [false, false] => panic!("somebody always gets through"),
        };
        assert_eq!((hint.get(), hint.get().total()), (expected, 100));
    });
}
