//! A run that proves nothing does not pass, and a complaint says what is wrong and nothing else.

use expect_test::{Expect, expect};
use lb_sim::{Class, Engine, Scenario, Verdict, report, scenario};

/// Three seconds of calm before a backend that needs no introduction.
fn text(more: &str) -> String {
    format!(
        r#"# A test of verdicts.
schema = 1
duration = "3s"
{more}
[workload]
rate = 50

[[origin]]
at = "b1:80"

[[config.listener]]
bind = "0.0.0.0:8080"

[[config.service]]
name = "web"
hosts = ["web"]

[[config.service.pool]]
backends = [{{ url = "http://b1" }}]
"#
    )
}

fn load(text: &str) -> (Option<Scenario>, String) {
    let (scenario, diagnostics) = scenario::load(&lb_config::Source { name: "s.toml", text });
    let lines: Vec<String> = diagnostics.iter().map(|it| format!("{it}\n")).collect();
    (scenario, lines.concat())
}

fn judged(text: &str) -> (Verdict, String) {
    let (scenario, said) = load(text);
    let scenario = scenario.unwrap_or_else(|| panic!("{said}"));
    let verdict = Verdict::of(&scenario, 7, &Engine::Net.run(&scenario, 7));
    let report = report::verdict(&scenario, &verdict, Engine::Net);
    (verdict, report)
}

#[test]
fn a_calm_run_passes() {
    let (verdict, report) =
        judged(&text("expect.at_end = [\"error_ratio == 0\", \"p99 <= 50ms\"]"));
    assert_eq!(verdict.class(), None, "{report}");
}

#[test]
fn an_expectation_of_a_phase_that_is_not_there_fails() {
    let (verdict, report) = judged(&text("expect.at_end = [\"errors@faults == 0\"]"));
    assert_eq!(verdict.class(), Some(Class::Toothless), "{report}");
    assert!(report.contains("there was nothing to look at"), "{report}");
}

#[test]
fn a_run_in_which_nobody_asks_a_backend_fails() {
    let nowhere = text("").replace("rate = 50", "rate = 50\nhost = \"elsewhere\"");
    let (verdict, report) = judged(&nowhere);
    assert_eq!(verdict.class(), Some(Class::Toothless), "{report}");
    assert!(report.contains("no request reached an origin"), "{report}");
}

#[test]
fn what_is_broken_is_told_with_its_unit() {
    let (verdict, report) = judged(&text("expect.at_end = [\"p50 <= 1ms\", \"errors >= 1\"]"));
    assert_eq!(verdict.class(), Some(Class::Safety), "{report}");
    let line = report.lines().find(|line| line.contains("on: ")).expect("there is one");
    assert!(line.starts_with("      from 0.000s on: ") && line.ends_with(" ms"), "{line}");
}

#[test]
fn a_black_hole_that_only_slows_answers_is_noticed() {
    let fault = "recover_within = \"500ms\"\n[[fault]]\nat = \"1s\"\nfor = \"300ms\"\n\
                 kind = \"blackhole\"\norigin = \"b1:80\"";
    let (verdict, report) = judged(&text(fault));
    assert_eq!((verdict.class(), &verdict.bit[..]), (None, &[true][..]), "{report}");
}

/// A fault that closes kept connections at 1 s and for 500 ms.
const CLOSES: &str = "recover_within = \"500ms\"\n[[fault]]\nat = \"1s\"\nfor = \"500ms\"\n\
                      kind = \"close_idle\"\norigin = \"b1:80\"";

#[test]
fn a_backend_that_closes_kept_connections_is_noticed() {
    let (verdict, report) = judged(&text(CLOSES));
    assert_eq!((verdict.class(), &verdict.bit[..]), (None, &[true][..]), "{report}");
}

#[test]
fn a_backend_that_would_close_connections_later_than_they_are_used_is_not_noticed() {
    let (verdict, report) = judged(&text(&format!("{CLOSES}\nafter = \"400ms\"")));
    assert_eq!(verdict.class(), Some(Class::Toothless), "{report}");
    assert!(report.contains("close_idle after 400ms at b1 was noticed by nobody"), "{report}");
}

#[test]
fn a_fault_gets_no_credit_for_what_another_of_its_kind_did() {
    let later = "[[fault]]\nat = \"1600ms\"\nfor = \"500ms\"\nkind = \"close_idle\"\n\
                 after = \"400ms\"\norigin = \"b1:80\"";
    let (verdict, report) = judged(&text(&format!("{CLOSES}\n{later}")));
    assert_eq!(verdict.bit, [true, false], "{report}");
}

#[test]
fn a_chunked_body_without_its_last_chunk_is_noticed_and_not_passed_off() {
    let fault = CLOSES.replace("close_idle", "truncate");
    let chunked = text(&fault).replace("at = \"b1:80\"", "at = \"b1:80\"\nframing = \"chunked\"");
    let (verdict, report) = judged(&chunked);
    assert_eq!(verdict.bit, [true], "{report}");
    assert!(report.contains("✓ no answer is passed off as whole"), "{report}");
}

#[expect(clippy::needless_pass_by_value, reason = "calls read best with the text in place")]
fn check(more: &str, expected: Expect) {
    expected.assert_eq(&load(&text(more)).1);
}

#[test]
fn complaints_say_what_is_wrong_and_nothing_else() {
    check(
        "[[fault]]\nat = \"1s\"\nfor = \"1s\"\nkind = \"statuz\"\ncode = 523\norigin = \"b1:80\"",
        expect![[r#"
            s.toml:7:8: kind "statuz" is unknown; did you mean "status"?
        "#]],
    );
    let fault = |kind| format!("[[fault]]\nat = \"1s\"\nfor = \"1s\"\norigin = \"b1:80\"\n{kind}");
    check(
        &fault("kind = \"flap\""),
        expect![[r#"
        s.toml:4:1: period is missing in [[fault]]; add period = "2s"
    "#]],
    );
    check(
        &fault("kind = \"trickle\"\nover = \"10ms\""),
        expect![[r#"
        s.toml:9:8: over "10ms" is out of range; use 100ms..=1h
    "#]],
    );
    check(
        &format!("recover_within = \"500ms\"\n{}", fault("kind = \"reset\"\nrate = 2")),
        expect![[r#"
        s.toml:10:8: rate 2 is out of range; use 0..=1
    "#]],
    );
    check(
        "socket = 2",
        expect![[r#"
            s.toml:4:10: socket 2 is out of range; use 4..=4096
        "#]],
    );
    let slow = text("").replace("rate = 50", "rate = 50\nreads_after = \"1s\"");
    expect![[r#"
        s.toml:7:1: warning: reads_after has no effect without slow_readers; remove it
    "#]]
    .assert_eq(&load(&slow).1);
    check(
        "expect.at_end = [\"p99 <= 200\"]",
        expect![[r#"
        s.toml:4:18: at_end "p99 <= 200" compares a latency with a bare number; write the unit, as in 200ms
    "#]],
    );
    check(
        "config.server.workers = 2",
        expect![[r#"
        s.toml:1:1: warning: [config.server] workers has no effect: the simulator runs one worker; remove it
    "#]],
    );
}
