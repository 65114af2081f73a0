//! A text of learned state: what comes back, what is refused and why.

use std::sync::Arc;

use lb_config::{Source, load as load_config};
use lb_core::{LearnedBreaker, LearnedRecord, Measured};

use super::*;
use crate::gateway::Listeners;
use crate::platform::os::Os;

const CONFIG: &str = r#"
[[listener]]
bind = "127.0.0.1:0"
[[service]]
name = "web"
hosts = ["*"]
balance = { policy = "performance" }
[[service.pool]]
backends = [{ url = "http://10.0.0.1:3000" }, { url = "http://10.0.0.2:3000" }]
discover = { file = "backends.json" }
"#;

fn gateway() -> Arc<Gateway> {
    gateway_of(CONFIG)
}

fn gateway_of(text: &str) -> Arc<Gateway> {
    let (config, said) = load_config(&Source { name: "lb.toml", text });
    let config = config.unwrap_or_else(|| panic!("{said:#?}"));
    Gateway::new(Arc::new(Os::with_seed(7)), config, Listeners::default()).expect("sound")
}

fn span(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

/// A gateway that has learned something of its first backend.
fn learned() -> (Arc<Gateway>, Learned) {
    let gateway = gateway();
    let learned = Learned {
        breaker: LearnedBreaker::Open { level: 3, left: span(8_000_000) },
        record: LearnedRecord { requests: 40, errors: 9, critical: 2, mean: span(31_000) },
        ..Learned::default()
    };
    let known = |name: &str| (name == "http://10.0.0.1:3000").then_some((learned, Duration::ZERO));
    let snapshot = gateway.snapshot();
    let service = snapshot.services().next().expect("there is one");
    assert_eq!(service.recall(known, gateway.now()), 1);
    (gateway, learned)
}

/// The text of what was learned, and the time of day at which it was written.
fn text() -> (Vec<u8>, SystemTime) {
    let (gateway, _) = learned();
    (save(&gateway), gateway.platform.unix_time())
}

const AGE: Duration = Duration::from_secs(300);

#[test]
fn another_process_begins_with_what_this_one_learned() {
    let (gateway, learned) = learned();
    let saved = save(&gateway);
    let now = gateway.platform.unix_time();
    let remembered = load(&saved, now + Duration::from_secs(5), AGE).expect("it is sound");
    assert!(remembered.away() >= Duration::from_millis(4_900), "{remembered:?}");
    let other = self::gateway();
    assert_eq!(other.recall(remembered), 1);
    let snapshot = other.snapshot();
    let service = snapshot.services().next().expect("there is one");
    let again = service.backend(0).learned(other.now());
    assert_eq!(again.record, learned.record);
    let LearnedBreaker::Open { level, left } = again.breaker else { panic!("{again:?}") };
    assert_eq!(level, 3);
    assert!((span(2_000_000)..span(3_200_000)).contains(&left), "{left:?}: five seconds less");
    assert_eq!(service.backend(1).learned(other.now()), Learned::default());
}

#[test]
fn who_was_found_to_be_well_is_trusted_by_the_next_process_at_once() {
    let health = "[service.health]\nenabled = true\ninitial = \"unhealthy\"\n[[service.pool]]";
    let config = CONFIG.replace("[[service.pool]]", health);
    let unhealthy = |gateway: &Gateway| -> Vec<bool> {
        let snapshot = gateway.snapshot();
        let service = snapshot.services().next().expect("there is one");
        service.backends().map(|backend| backend.standing().unhealthy).collect()
    };
    let gateway = gateway_of(&config);
    assert_eq!(unhealthy(&gateway), [true, true]);
    let well = |name: &str| {
        (name == "http://10.0.0.1:3000").then_some((Learned::default(), Duration::ZERO))
    };
    let snapshot = gateway.snapshot();
    snapshot.services().next().expect("there is one").recall(well, gateway.now());
    let remembered = load(&save(&gateway), gateway.platform.unix_time(), AGE).expect("it is sound");
    let other = gateway_of(&config);
    other.recall(remembered);
    assert_eq!(unhealthy(&other), [false, true]);
}

#[test]
fn a_text_that_is_not_what_was_written_is_left_out_wherever_it_ends_or_differs() {
    let (saved, now) = text();
    assert!(load(&saved, now, AGE).is_ok());
    for end in 0..saved.len() {
        assert!(load(&saved[..end], now, AGE).is_err(), "cut at {end}");
    }
    for at in 0..saved.len() {
        for flip in [0x01, 0x20, 0x80] {
            let mut other = saved.clone();
            other[at] ^= flip;
            let read = load(&other, now, AGE);
            // The head is not summed up: another time of day in it is another age, or none.
            assert!(read.is_err() || at < 64, "byte {at} ^ {flip}: {read:?}");
        }
    }
}

#[test]
fn what_is_unusable_says_why() {
    let (saved, now) = text();
    let unusable = |text: &[u8], now| load(text, now, AGE).expect_err("it is not used");
    for foreign in [&b""[..], b"{}", b"[[listener]]\nbind = 1\n", b"\xff\xfe", b"{}\n{}\n"] {
        assert_eq!(unusable(foreign, now), Unusable::Foreign);
    }
    let said = String::from_utf8(saved.clone()).expect("a text");
    let newer = said.replace("{\"lb-state\":1,", "{\"lb-state\":2,");
    assert_eq!(unusable(newer.as_bytes(), now), Unusable::Version(2));
    assert_eq!(unusable(&saved[..saved.len() - 1], now), Unusable::Damaged);
    let later = now + Duration::from_secs(3_725);
    let old = unusable(&saved, later);
    assert_eq!(old.to_string(), "is 1h2m5s old, which is more than max_age");
    let earlier = now - Duration::from_secs(3_600);
    assert!(matches!(unusable(&saved, earlier), Unusable::Ahead(_)));
    let a_little = load(&saved, now - Duration::from_secs(30), AGE).expect("a clock that was set");
    assert_eq!(a_little.away(), Duration::ZERO);
}

#[test]
fn every_part_of_what_was_learned_is_in_the_text() {
    let all = Learned {
        breaker: LearnedBreaker::Closed { failures: 3, level: 2, calm_in: span(77) },
        unhealthy: true,
        ejections: 4,
        ejected_for: span(5),
        latency: Some(Measured { took: span(6), age: span(7) }),
        check: Some(Measured { took: span(8), age: span(9) }),
        record: LearnedRecord { requests: 10, errors: 11, critical: 12, mean: span(13) },
    };
    assert_eq!(text::round_trip(&all), all);
    assert_eq!(text::round_trip(&Learned::default()), Learned::default());
}
