//! Trace context: header fields in and out.

use expect_test::{Expect, expect};
use lb_core::Rng;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
    };
    let mut headers = HeaderMap::new();
    for (name, value) in lines.iter().map(field) {
        headers.append(name, value);
    }
    headers
}

fn begin(headers: &HeaderMap, exchange: u64) -> Trace {
    Trace::begin(headers, 7, ExchangeId(exchange), 0)
}

#[test]
fn a_parent_is_read_as_version_00_writes_it() {
    let trace = begin(&headers(&[("traceparent", PARENT)]), 1);
    assert_eq!(trace.id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(trace.parent.unwrap().to_string(), "00f067aa0ba902b7");
    assert!(trace.is_sampled(), "the caller records it, whatever our share is");
    // Of the flags one is known.
    for (flags, sampled) in [("00", false), ("01", true), ("02", false), ("ff", true)] {
        let said = PARENT.replace("-01", &format!("-{flags}"));
        assert_eq!(read_parent(&said).unwrap().sampled, sampled, "{flags}");
    }
}

#[test]
fn what_is_no_parent_begins_a_trace_of_its_own() {
    let wrong = [
        "",
        "00",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-011",
        "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
        "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.what",
    ];
    for text in wrong {
        assert_eq!(read_parent(text), None, "{text:?}");
        let fields = [("traceparent", text), ("tracestate", "a=1")];
        let trace = begin(&headers(&fields), 1);
        assert_eq!((trace.parent, &trace.state), (None, &None), "{text:?}");
    }
    let twice = headers(&[("traceparent", PARENT), ("traceparent", PARENT)]);
    assert_eq!(begin(&twice, 1).parent, None);
}

#[test]
fn a_later_version_is_read_as_far_as_it_is_known() {
    for later in ["cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", ""] {
        let text =
            if later.is_empty() { format!("01{}-what-else", &PARENT[2..]) } else { later.into() };
        assert_eq!(read_parent(&text), read_parent(PARENT), "{text}");
    }
}

#[test]
fn a_trace_of_ours_depends_on_seed_and_exchange_alone() {
    let none = HeaderMap::new();
    assert_eq!(begin(&none, 1), begin(&none, 1));
    let ids = |trace: &Trace| (trace.id, trace.span);
    assert_ne!(ids(&begin(&none, 1)), ids(&begin(&none, 2)));
    let other = Trace::begin(&none, 8, ExchangeId(1), 0);
    assert_ne!(ids(&begin(&none, 1)), ids(&other));
    // The core draws from the stream of this name, and nobody is to see what.
    let mut core = Rng::stream(7, 1);
    assert_ne!(begin(&none, 1).span.0, fold(&mut core));
    let attempts: Vec<SpanId> = (0..3).map(|number| begin(&none, 1).attempt(number)).collect();
    assert!(attempts[0] != attempts[1] && attempts[1] != attempts[2]);
}

#[test]
fn a_share_of_our_traces_is_recorded() {
    let sampled = |per_million| {
        let trace =
            |exchange| Trace::begin(&HeaderMap::new(), 7, ExchangeId(exchange), per_million);
        (0..20_000).filter(|exchange| trace(*exchange).is_sampled()).count()
    };
    assert_eq!(sampled(0), 0);
    assert_eq!(sampled(MILLION), 20_000);
    // 2,000 expected with a standard deviation of 42; 4 of them.
    assert!(sampled(100_000).abs_diff(2_000) < 170);
}

#[test]
fn a_backend_is_told_of_the_attempt_and_of_what_came_with_the_trace() {
    let check = |fields: &[(&'static str, &str)], expected: &Expect| {
        let mut headers = headers(fields);
        let trace = begin(&headers, 1);
        trace.tell_backend(&mut headers, trace.attempt(0));
        let said = |name| headers.get(name).map_or("nothing", |value| value.to_str().unwrap());
        expected.assert_eq(&format!("{} {}", said(TRACEPARENT), said(TRACESTATE)));
    };
    check(&[], &expect!["00-d2215fc000c70ba9aac7aa18a2ef89fe-3d194ffbac0c2ae1-00 nothing"]);
    check(
        &[("traceparent", PARENT), ("tracestate", "a=1 , b@c=2"), ("tracestate", "d/e=x y")],
        &expect!["00-4bf92f3577b34da6a3ce929d0e0e4736-5159ac6724a2703c-01 a=1,b@c=2,d/e=x y"],
    );
    check(
        &[("tracestate", "a=1")],
        &expect!["00-d2215fc000c70ba9aac7aa18a2ef89fe-3d194ffbac0c2ae1-00 nothing"],
    );
    check(
        &[("traceparent", PARENT), ("tracestate", "a=1,a=2")],
        &expect!["00-4bf92f3577b34da6a3ce929d0e0e4736-5159ac6724a2703c-01 nothing"],
    );
}

#[test]
fn a_state_is_passed_on_within_bounds() {
    let state = |text: &str| {
        let fields = [("tracestate", text)];
        state::state(&headers(&fields)).map(|value| value.to_str().unwrap().to_owned())
    };
    for wrong in ["a", "=1", "a=", "A=1", "a=1=2", "_a=1", "a b=1", "a=1,b"] {
        assert_eq!(state(wrong), None, "{wrong}");
    }
    let members =
        |count: usize| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
    assert_eq!(state(&members(32)), Some(members(32)));
    assert_eq!(state(&members(33)), None);
    assert_eq!(state(",, a=1 ,,"), Some("a=1".into()));
    // The long one goes first, and then the oldest.
    let long = format!("long={}", "x".repeat(200));
    let short = |n: u8| format!("k{n}={}", "y".repeat(120));
    let list = [short(1), long, short(2), short(3)].join(",");
    assert_eq!(state(&list), Some([short(1), short(2), short(3)].join(",")));
    let list: Vec<String> = (1..=6).map(short).collect();
    assert_eq!(state(&list.join(",")), Some(list[..4].join(",")));
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(7),
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_a_backend_is_told_reads_back(seed in any::<u64>(), exchange in any::<u64>()) {
        let trace = Trace::begin(&HeaderMap::new(), seed, ExchangeId(exchange), 500_000);
        let mut headers = HeaderMap::new();
        let attempt = trace.attempt(0);
        trace.tell_backend(&mut headers, attempt);
        let expected = Parent { trace: trace.id, span: attempt, sampled: trace.sampled };
        prop_assert_eq!(parent(&headers), Some(expected));
    }

    #[test]
    fn any_text_is_a_parent_or_none(text in "(00|01|ff)?-?[0-9a-f]{0,33}-?[0-9a-fé]{0,17}-?\\PC{0,4}") {
        if let Some(parent) = read_parent(&text) {
            prop_assert!(parent.trace.0 != 0 && parent.span.0 != 0 && text.len() >= PARENT_BYTES);
        }
    }

    #[test]
    fn any_state_is_passed_on_short_or_not_at_all(text in "[ -~]{0,700}") {
        let passed = state::state(&headers(&[("tracestate", text.trim())]));
        prop_assert!(passed.is_none_or(|passed| passed.len() <= 512));
    }
}
